"""Reads datasets of the Hugging Face Hub and local datasets: `datasets:ID?config=&split=&revision=&data_files=`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa

from jina_data.errors import InputError, JinaDataError, MissingExtraError
from jina_data.read.model import RANGE_BYTES, RANGE_ROWS, ROW, SAMPLE_ROWS, InputFile, ParsedRange
from jina_data.read.names import usable_names
from jina_data.read.network import is_offline, network_problem, quiet_retries
from jina_data.read.schema import conform, conform_or_text, unite_schemas

BATCH_ROWS = 256
"""Rows of a batch; a range of a dataset is a whole number of batches."""

_OPTIONS = ("config", "split", "revision", "data_files", "data_dir")


def resolve(name: str, index: int) -> InputFile:
    """Return the dataset, configuration and split of an input as an input file.

    Raises:
        InputError: the dataset does not exist, or has several splits and the input names none.
        MissingExtraError: `datasets` is not installed.
    """
    dataset_id, _, query = name.removeprefix("datasets:").partition("?")
    options = dict(parse_qsl(query))
    for option in options:
        if option not in _OPTIONS:
            raise InputError(f"{name}: unknown option {option!r}. Expected one of {', '.join(_OPTIONS)}.")
    options["id"] = dataset_id
    file = InputFile(index, name, "datasets", options=tuple(sorted(options.items())))
    splits = _splits(file)
    if "split" in options:
        if options["split"] not in splits:
            raise InputError(f"{name}: there is no split {options['split']!r}. Expected one of {', '.join(splits)}.")
    else:
        if len(splits) != 1:
            separator = "&" if "?" in name else "?"
            raise InputError(
                f"{name}: the dataset has several splits: {', '.join(splits)}. "
                f"Name one, for example {name}{separator}split={splits[0]}"
            )
        options["split"] = splits[0]
    return InputFile(index, name, "datasets", etag=_version(file), options=tuple(sorted(options.items())))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "datasets:... requires the package datasets, which is not installed: pip install 'jina-data[hub]'"
        ) from error
    return datasets


def _call(file: InputFile, function_name: str, **arguments: Any) -> Any:
    data = {name: value for name in ("revision", "data_files", "data_dir") if (value := file.option(name))}
    config = file.option("config") or None
    function = getattr(_datasets(), function_name)
    names = (config,) if function_name == "get_dataset_split_names" else ()
    named = {} if names else {"name": config}
    try:
        with quiet_retries():
            return function(file.option("id"), *names, **named, **data, **arguments)
    except JinaDataError:
        raise
    except Exception as error:
        data.pop("revision", None)
        if (snapshot := _snapshot(file, error)) is not None:
            with quiet_retries(), contextlib.suppress(Exception):
                return function(str(snapshot), *names, **named, **data, **arguments)
        raise InputError(f"{file.name}: {_problem(error, file.name)}") from error


def _snapshot(file: InputFile, error: Exception) -> Path | None:
    """Return the folder of a dataset whose files were downloaded from the Hub before, if the Hub is out of reach."""
    dataset_id = file.option("id")
    if not is_offline(error) or Path(dataset_id).exists():
        return None
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset_id.replace('/', '--')}"
    revision = file.option("revision", "main")
    reference = cached / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    snapshots = sorted((cached / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
    named = [path for path in snapshots if path.name == commit]
    # A client that asked for the commit itself has left no reference to `main`.
    found = named or ([] if file.option("revision") else snapshots)
    return found[-1] if found else None


def _problem(error: Exception, name: str) -> str:
    problem = network_problem(error, name)
    if problem is None:
        return f"the dataset could not be opened: {error}"
    return f"{problem}." + (" The dataset is not in the cache, either." if is_offline(error) else "")


def _splits(file: InputFile) -> list[str]:
    return [str(split) for split in _call(file, "get_dataset_split_names")]


def _version(file: InputFile) -> str | None:
    builder = _call(file, "load_dataset_builder")
    # The revision is the same for files that were downloaded before.
    snapshot = Path(str(builder.base_path or "")).parts
    if "snapshots" in snapshot[:-1]:
        return snapshot[snapshot.index("snapshots") + 1]
    return str(builder.hash) if builder.hash else None


def _stream(file: InputFile, start: int = 0) -> Any:
    stream = _call(file, "load_dataset", split=file.option("split"), streaming=True)
    return (stream.skip(start) if start else stream).with_format("arrow")


def _tables(file: InputFile, start: int, n_rows: int) -> Iterator[pa.Table]:
    stream = _stream(file, start)
    try:
        with quiet_retries():
            for table in stream.iter(batch_size=n_rows):
                yield table.replace_schema_metadata(None)
    except Exception as error:
        if (problem := network_problem(error, file.name)) is not None:
            raise InputError(f"{file.name}: {problem}.") from error
        raise InputError(f"{file.name}: the dataset could not be read: {type(error).__name__}: {error}") from error


def sample_schema(file: InputFile) -> pa.Schema:
    """Return the columns of a dataset: those of its features, else those of its first rows."""
    features = _stream(file).features
    if features is not None:
        schema = features.arrow_schema.remove_metadata()
    else:
        first = next(_tables(file, 0, SAMPLE_ROWS), None)
        schema = pa.schema([]) if first is None else first.schema
    return pa.schema(list(zip(usable_names(schema.names), schema.types, strict=True)))


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read a dataset in sequence, a range at a time, from a row at which a range starts."""
    row, number = start.get("row", 0), first_number
    tables: list[pa.Table] = []
    n_rows = n_bytes = 0
    for table in _tables(file, row, BATCH_ROWS):
        tables.append(table)
        n_rows += table.num_rows
        n_bytes += sum(pa.ipc.get_record_batch_size(batch) for batch in table.combine_chunks().to_batches())
        if n_bytes >= RANGE_BYTES or n_rows >= RANGE_ROWS:
            row += n_rows
            yield _parse(tables, schema, number=number, end=row)
            tables, n_rows, n_bytes, number = [], 0, 0, number + 1
    if tables:
        yield _parse(tables, schema, number=number, end=row + n_rows)


def _parse(tables: list[pa.Table], schema: pa.Schema, *, number: int, end: int) -> ParsedRange:
    tables = [table.rename_columns(usable_names(table.column_names)) for table in tables]
    found = unite_schemas([table.schema for table in tables])
    rows = pa.concat_tables([conform(table, found) for table in tables])
    rows = conform_or_text(rows.combine_chunks(), schema)
    rows = rows.append_column(ROW, pa.array(range(rows.num_rows), pa.int32()))
    return ParsedRange(number, rows, [], rows.num_rows, 0, {"row": end})
