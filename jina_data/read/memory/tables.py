"""Reads tables, frames, datasets and relations as Arrow tables, and writes them as one Parquet file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError
from jina_data.read.as_text import json_text
from jina_data.read.columnar.plain_types import plain_rows
from jina_data.read.memory.rows import plain_value
from jina_data.read.names import replaced_names, usable_names
from jina_data.read.schema import cast, conform, unite_schemas, writable

BATCH_ROWS = 1_000
FRAME_ROWS = 65_536
GROUP_BYTES = 2**25
MAX_GROUP_ROWS = 2**16
MAX_HELD_BYTES = 2**28
SAMPLE_ROWS = 1_000


def tables_of(value: Any, name: str) -> Iterator[pa.Table] | None:
    """Return the data of an object as tables, one at a time; None if it consists of rows that are dicts."""
    pandas, datasets = sys.modules.get("pandas"), sys.modules.get("datasets")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return _frame_tables(value)
    if datasets is not None and isinstance(value, datasets.Dataset | datasets.IterableDataset):
        return None if value.features is None else _dataset_tables(value)
    if hasattr(value, "collect_batches"):  # a lazy frame of polars
        return (table for part in value.collect_batches() for table in _stream_tables(part, name))
    if hasattr(value, "scanner"):  # a dataset of pyarrow
        return _stream_tables(value.scanner().to_reader(), name)
    return _stream_tables(value, name) if hasattr(value, "__arrow_c_stream__") else None


def _stream_tables(value: Any, name: str) -> Iterator[pa.Table]:
    if isinstance(value, pa.Table):  # a stream has no unions
        yield value
        return
    try:
        with pa.RecordBatchReader.from_stream(value) as reader:
            yield reader.schema.empty_table()
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise InputError(f"{name}: the data could not be read: {error}") from error


def _dataset_tables(dataset: Any) -> Iterator[pa.Table]:
    yield dataset.features.arrow_schema.empty_table()
    yield from dataset.with_format("arrow").iter(batch_size=BATCH_ROWS)


def _frame_tables(frame: Any) -> Iterator[pa.Table]:
    """Yield the rows of a pandas frame; an index is a column if it has a name."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index(allow_duplicates=True)
    names = [_column_name(name) for name in frame.columns]
    for start in range(0, max(len(frame), 1), FRAME_ROWS):
        part = frame.iloc[start : start + FRAME_ROWS]
        columns = [_frame_column(part.iloc[:, position], name) for position, name in enumerate(names)]
        yield pa.Table.from_arrays(columns, names=names)


def _column_name(name: Any) -> str:
    """Return the name of a column of a frame: text, empty if it has none."""
    if isinstance(name, tuple):
        return "_".join(map(str, name))
    return "" if name is None or name != name else str(name)  # noqa: PLR0124 (not a number, as pandas makes of None)


def _frame_column(series: Any, name: str) -> pa.Array | pa.ChunkedArray:
    """Return a column of a frame; values of several types are texts, as JSON writes them."""
    kind = type(series.dtype).__name__
    if kind == "SparseDtype":
        series = series.sparse.to_dense()
    elif kind == "PeriodDtype":  # Arrow has only its number of months or days
        series = series.astype(str).where(series.notna(), None)
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        values = (plain_value(value, f"column {name!r}") for value in series.tolist())
        return pa.array([None if value is None else json_text(value) for value in values], pa.string())


def write_tables(tables: Iterable[pa.Table], name: str, path: Path) -> list[str]:
    """Write tables as one Parquet file; return notes about columns with new names.

    Tables with other columns or types than those before are united with them.

    Raises:
        InputError: a table cannot be read or written.
    """
    parts: list[Path] = []
    schemas: list[pa.Schema] = []
    notes: dict[str, None] = {}

    def prepare(table: pa.Table) -> pa.Table:
        notes.update(dict.fromkeys(replaced_names(table.column_names)))
        return _prepared(table)

    try:
        for number, (schema, group) in enumerate(_by_schema(map(prepare, tables))):
            parts.append(path.with_name(f"{path.stem}-{number:05d}.part"))
            schemas.append(schema)
            _write(group, schema, parts[-1])
        if len(parts) == 1:
            parts[0].replace(path)
        else:
            _unite(parts, schemas, path)
        return list(notes)
    except pa.ArrowException as error:
        raise InputError(f"{name}: the data could not be copied: {error}") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _prepared(table: pa.Table) -> pa.Table:
    table = plain_rows(table)
    table = table.rename_columns(usable_names(table.column_names))
    return conform(table, writable(pa.schema([(column.name, column.type) for column in table.schema])))


def _by_schema(tables: Iterator[pa.Table]) -> Iterator[tuple[pa.Schema, Iterator[pa.Table]]]:
    """Group adjacent tables with the same columns; each group has to be read before the next."""
    pending = next(tables, None)
    if pending is None:
        yield pa.schema([]), iter(())

    def group(schema: pa.Schema) -> Iterator[pa.Table]:
        nonlocal pending
        while pending is not None and pending.schema.equals(schema):
            yield pending
            pending = next(tables, None)

    while pending is not None:
        yield pending.schema, group(pending.schema)


def _unite(parts: list[Path], schemas: list[pa.Schema], path: Path) -> None:
    """Write the tables of several files with the columns of all; a column that would lose values is text."""
    schema = unite_schemas(schemas)
    for column in {column for part in parts for table in _read(part) for column in _misfits(table, schema)}:
        schema = schema.set(schema.get_field_index(column), pa.field(column, pa.string()))
    _write((conform(table, schema) for part in parts for table in _read(part)), schema, path)


def _misfits(table: pa.Table, schema: pa.Schema) -> Iterator[str]:
    for name in table.column_names:
        try:
            cast(table.column(name), schema.field(name).type)
        except pa.ArrowInvalid:
            yield name


def _read(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as stored:
        for batch in stored.iter_batches(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


def _write(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write tables in row groups whose rows do not depend on how the rows are divided into tables."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(iter(tables), schema):
            writer.write_table(group, row_group_size=group.num_rows)


def _groups(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    n_held = n_bytes = 0
    n_rows = SAMPLE_ROWS
    for table in tables:
        held.append(table)
        n_held, n_bytes = n_held + table.num_rows, n_bytes + table.nbytes
        while n_held >= n_rows or n_bytes >= MAX_HELD_BYTES:
            rows = pa.concat_tables(held).combine_chunks()
            group = rows.slice(0, n_rows)
            if group.num_rows:
                yield group
            if n_rows == SAMPLE_ROWS:
                n_rows = _group_rows(group, schema)
            held = [rows.slice(group.num_rows)]
            n_held, n_bytes = held[0].num_rows, held[0].nbytes
    if n_held:
        yield pa.concat_tables(held).combine_chunks()


def _group_rows(sample: pa.Table, schema: pa.Schema) -> int:
    """Choose the rows of a row group by the stored size of the first rows, which depends on their values alone."""
    sink = pa.BufferOutputStream()
    pq.write_table(sample.cast(schema), sink, compression="none")
    n_bytes = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0).total_byte_size
    row_bytes = max(1, n_bytes / sample.num_rows)
    return int(max(SAMPLE_ROWS // 8, min(GROUP_BYTES // row_bytes, MAX_GROUP_ROWS)))
