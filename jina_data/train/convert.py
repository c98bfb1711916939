"""Inputs that are no Parquet files on this machine, read as `clean` reads them; its readers are imported only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, first_line
from jina_data.run.files import whole_path

if TYPE_CHECKING:
    from jina_data.read import InputFile

PARQUET = (".parquet", ".pq")


def is_parquet(path: Path) -> bool:
    """Tell whether a path names a Parquet file."""
    return path.suffix in PARQUET


def convert(given: str, target: Path) -> Path:
    """Write an input as Parquet, whole or not at all; one that is there already is taken.

    Raises:
        InputError: it cannot be read, or a row of it.
    """
    if not target.exists():
        schema, tables = _parsed(given)
        with whole_path(target) as temporary, pq.ParquetWriter(temporary, schema) as sink:
            for table in tables:
                sink.write_table(table)
    return target


def read_table(given: str) -> pa.Table:
    """Read a whole table into memory: Parquet, or what `clean` reads.

    Raises:
        InputError: it cannot be read, or a row of it.
    """
    if not is_parquet(Path(given)):
        schema, tables = _parsed(given)
        return pa.concat_tables([schema.empty_table(), *tables])
    if not Path(given).exists():
        raise InputError(f"{given}: there is no such file or folder. Check the path")
    try:
        return pq.read_table(given)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{given} cannot be read as Parquet: {first_line(error)}. Copy it anew") from None


def _parsed(given: str) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return the columns of an input, and its rows range by range."""
    from jina_data.read import resolve_inputs, sample_schema, unite_schemas, writable

    files = resolve_inputs([given])
    schema = unite_schemas([(file.name, sample_schema(file)) for file in files])
    return writable(schema), (table for file in files for table in _rows(file, schema))


def _rows(file: InputFile, schema: pa.Schema) -> Iterator[pa.Table]:
    from jina_data.read import conform, parse_range, split, stream_ranges, writable

    specs = split(file, schema)
    ranges = stream_ranges(file, schema, None, 0) if specs is None else (parse_range(file, s, schema) for s in specs)
    for one in ranges:
        for broken in one.unreadable[:1]:
            raise InputError(
                f"{file.name}: {len(one.unreadable)} rows cannot be read, the first for this reason: {broken.error}. "
                "Run jina-data clean first, which sets such rows aside"
            )
        known = [name for name in one.rows.column_names if name in schema.names]
        yield conform(one.rows.select(known), writable(schema))
