"""Loads the kept rows of a finished run: as an Arrow table, a pandas frame, or a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from jina_data.errors import MissingExtraError, RunFolderError
from jina_data.read import ROW, all_ranges, conform, resolve_inputs, settled_schema


def kept_rows(run: Path) -> pa.Table:
    """Return the rows in data/ of a finished run, in their order.

    Raises:
        RunFolderError: there is no data.
    """
    paths = sorted(str(path) for path in (run / "data").glob("part-*"))
    if not paths:
        raise RunFolderError(f"{run}/data has no files; expected the folder of a finished run")
    files = [file for file in resolve_inputs(paths) if file.size]
    schema = settled_schema(files)
    tables = [conform(parsed.rows.drop_columns([ROW]), schema) for file in files for parsed in all_ranges(file, schema)]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def to_pandas(table: pa.Table) -> Any:
    """Return a table as a pandas frame.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        return table.to_pandas()
    except ImportError as error:
        raise MissingExtraError("to_pandas requires pandas, which is not installed: pip install pandas") from error


def to_dataset(table: pa.Table) -> Any:
    """Return a table as a `datasets.Dataset` in memory.

    Raises:
        MissingExtraError: datasets is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "to_dataset requires the package datasets, which is not installed: pip install 'jina-data[hub]'"
        ) from error
    return datasets.Dataset(datasets.table.InMemoryTable(table))
