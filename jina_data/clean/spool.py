"""Writes and reads the spool: the parsed input in fixed ranges, as Parquet. All later steps read from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import InputRange
from jina_data.read import ROW, InputFile, ParsedRange, conform, is_exact
from jina_data.run.files import atomic_file, atomic_path


@dataclass(frozen=True)
class RangeFacts:
    """The metadata of a range in the spool, available without reading its rows."""

    n_rows: int
    n_unreadable: int
    n_lines: int
    n_bytes: int
    end: dict[str, int]
    counts: dict[str, int] = field(default_factory=dict)
    """What was mended while reading: `padded` short rows, `repeated_headers`, `rules`."""


def write_range(folder: CleanFolder, file_index: int, parsed: ParsedRange) -> RangeFacts:
    """Write a parsed range: first the unreadable records, then the rows, whose file marks the range as done."""
    facts = RangeFacts(
        parsed.row_count,
        len(parsed.unreadable),
        parsed.line_count,
        parsed.rows.nbytes,
        dict(parsed.end),
        dict(parsed.counts),
    )
    if parsed.unreadable:
        with atomic_file(folder.unreadable(file_index, parsed.number), "w") as sink:
            for record in parsed.unreadable:
                sink.write(json.dumps(asdict(record)) + "\n")
    table = parsed.rows.replace_schema_metadata({b"jina_data": json.dumps(asdict(facts)).encode()})
    write_parquet(folder.spool(file_index, parsed.number), table, compression="lz4")
    return facts


def write_parquet(path: Path, table: pa.Table, *, compression: str = "zstd") -> None:
    """Write a table as one row group, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression=compression, row_group_size=max(1, table.num_rows))


def read_facts(folder: CleanFolder, file_index: int, number: int) -> tuple[RangeFacts, pa.Schema]:
    """Read the metadata and the columns of a range."""
    schema = pq.read_schema(folder.spool(file_index, number))
    facts = RangeFacts(**json.loads(schema.metadata[b"jina_data"]))
    position = schema.get_field_index(ROW)
    return facts, schema.remove(position).remove_metadata()


def is_exact_range(folder: CleanFolder, file: InputFile, number: int, schema: pa.Schema) -> bool:
    """Return whether the rows of a range can be cast to a wider schema without loss.

    An empty cell of CSV is null in a column of numbers and "" in one of texts, so its ranges have to have the type.
    Integers are compared with the limits of their column in the metadata of the file.
    """
    metadata = pq.read_metadata(folder.spool(file.index, number))
    for column in metadata.schema.to_arrow_schema():
        target = schema.field(column.name).type if column.name in schema.names else column.type
        if file.format in ("csv", "tsv") and column.type != target:
            return False
        if is_exact(column.type, target):
            continue
        if not pa.types.is_integer(column.type) or not _limits_fit(metadata, column.name, target):
            return False
    return True


def _limits_fit(metadata: pq.FileMetaData, name: str, target: pa.DataType) -> bool:
    for group in range(metadata.num_row_groups):
        chunk = next(
            chunk
            for position in range(metadata.num_columns)
            if (chunk := metadata.row_group(group).column(position)).path_in_schema == name
        )
        limits = chunk.statistics
        if limits is None or not limits.has_min_max:
            if limits is None or limits.null_count < chunk.num_values:
                return False
            continue
        low, high = limits.min, limits.max
        if pa.types.is_floating(target) and not -(2**53) <= low <= high <= 2**53:
            return False
        if pa.types.is_unsigned_integer(target) and low < 0:
            return False
    return True


def read_rows(folder: CleanFolder, piece: InputRange, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Read columns of a range, and `__row`, in the types of the run's schema.

    A column that exists only in other ranges is null.
    """
    path = folder.spool(piece.file_index, piece.number)
    present = set(pq.read_schema(path).names)
    names = [name for name in columns if name in present]
    table = pq.read_table(path, columns=[*names, ROW], partitioning=None)
    return conform(table, pa.schema([schema.field(name) for name in columns]))


def unreadable_rows(folder: CleanFolder, piece: InputRange) -> Iterator[dict[str, Any]]:
    """Yield the unreadable records of a range, in order; rows and lines count from the start of the range."""
    path = folder.unreadable(piece.file_index, piece.number)
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
