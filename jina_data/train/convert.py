"""Converts inputs other than local Parquet files with the readers of `clean`, which are imported only when needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, first_line
from jina_data.run.files import atomic_path

if TYPE_CHECKING:
    from jina_data.read import InputFile

PARQUET = (".parquet", ".pq")


def is_parquet(path: Path) -> bool:
    """Return whether a path names a Parquet file."""
    return path.suffix in PARQUET


def convert(name: str, target: Path) -> Path:
    """Write an input as Parquet, atomically; an existing file is reused.

    Raises:
        InputError: the input, or one of its rows, cannot be read.
    """
    if not target.exists():
        schema, tables = _parse(name)
        with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema) as sink:
            for table in tables:
                sink.write_table(table)
    return target


def read_table(name: str) -> pa.Table:
    """Read a table into memory: Parquet, or any other input of `clean`.

    Raises:
        InputError: the table, or one of its rows, cannot be read.
    """
    if not is_parquet(Path(name)):
        schema, tables = _parse(name)
        return pa.concat_tables([schema.empty_table(), *tables])
    if not Path(name).exists():
        raise InputError(f"{name}: there is no such file or folder. Check the path")
    try:
        return pq.read_table(name)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{name} cannot be read as Parquet: {first_line(error)}. Copy it again") from None


def _parse(name: str) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return the schema of an input, and its rows range by range."""
    from jina_data.read import resolve_inputs, settled_schema, writable

    files = resolve_inputs([name])
    schema = settled_schema(files)
    return writable(schema), (table for file in files for table in _rows(file, schema))


def _rows(file: InputFile, schema: pa.Schema) -> Iterator[pa.Table]:
    from jina_data.read import conform, parse_range, split, stream_ranges, writable

    specs = split(file, schema)
    ranges = stream_ranges(file, schema, None, 0) if specs is None else (parse_range(file, s, schema) for s in specs)
    for parsed in ranges:
        for unreadable in parsed.unreadable[:1]:
            raise InputError(
                f"{file.name}: {len(parsed.unreadable)} rows cannot be read; first error: {unreadable.error}. "
                "Run jina-data clean first, which removes unreadable rows"
            )
        names = [name for name in parsed.rows.column_names if name in schema.names]
        yield conform(parsed.rows.select(names), writable(schema))
