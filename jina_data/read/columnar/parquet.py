"""Reads Parquet files in ranges of rows. A reader continues at its position if the next range follows."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.read.columnar.columns import binary_columns, parse_rows, with_text_columns
from jina_data.read.columnar.plain_types import plain_rows, plain_schema
from jina_data.read.model import RANGE_BYTES, RANGE_ROWS, InputFile, ParsedRange, RangeSpec
from jina_data.read.names import usable_names
from jina_data.read.streams import can_seek, open_seekable, open_stored, translate_errors

BUFFER_BYTES = 2**20
PROBE_ROWS = 1_000


class ParquetReader:
    """A Parquet file, read forward: row groups before the requested rows are skipped, other rows decoded and dropped.

    `schema` has the columns with plain types. `_position` is the row at which `_pending`, and after it the next batch,
    starts; -1 before the first read.
    `_first_rows` is the first row of each row group, and the number of rows.
    """

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._pending: pa.RecordBatch | None = None
        self._position = -1
        with translate_errors(file.name), ExitStack() as unless_open:
            self._handle = unless_open.enter_context(open_seekable(file))
            self._parquet = pq.ParquetFile(
                self._handle, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
            groups = self._parquet.metadata
            self.n_rows: int = groups.num_rows
            self._first_rows = [0]
            for group in range(groups.num_row_groups):
                self._first_rows.append(self._first_rows[-1] + groups.row_group(group).num_rows)
            self.rows_per_range = self._choose_rows_per_range()
            self.schema = self._probe_schema()
            unless_open.pop_all()

    def __enter__(self) -> ParquetReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._batches, self._pending = iter(()), None
        self._parquet.close()
        self._handle.close()

    def _probe_schema(self) -> pa.Schema:
        """Return the columns with plain types, without metadata; columns of bytes that hold texts are texts."""
        plain = plain_schema(self._parquet.schema_arrow)
        schema = pa.schema(list(zip(usable_names(plain.names), plain.types, strict=True)))
        if not self.n_rows or not binary_columns(schema):
            return schema
        sample = self.read(0, min(PROBE_ROWS, self.rows_per_range, self.n_rows))
        self._position, self._pending = -1, None
        return with_text_columns(schema, sample)

    def _choose_rows_per_range(self) -> int:
        """Choose by the average size of a row, in the metadata or in memory, whichever is larger."""
        if self.n_rows == 0:
            return RANGE_ROWS
        metadata = self._parquet.metadata
        stored = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        probe_rows = _clamp(RANGE_BYTES * self.n_rows // max(stored, 1), PROBE_ROWS)
        self._seek(0, probe_rows)
        probe = next(self._batches)
        self._position = -1
        row_bytes = max(stored / self.n_rows, probe.nbytes / probe.num_rows, 1)
        return _clamp(int(RANGE_BYTES / row_bytes), RANGE_ROWS)

    def read(self, start: int, stop: int) -> pa.Table:
        """Return a range of rows, in the file's types."""
        if not (0 <= self._position <= start) or self._group(start) > self._group(self._position):
            self._seek(start, self.rows_per_range)
        parts: list[pa.RecordBatch] = []
        with translate_errors(self.file.name):
            while self._position < stop:
                batch = self._pending if self._pending is not None else next(self._batches)
                begin = min(max(start - self._position, 0), batch.num_rows)
                end = min(batch.num_rows, stop - self._position)
                parts.append(batch.slice(begin, end - begin))
                self._pending = batch.slice(end) if end < batch.num_rows else None
                self._position += end
            rows = pa.Table.from_batches(parts, self._parquet.schema_arrow).combine_chunks()
            rows = plain_rows(rows)
        return rows.rename_columns(usable_names(rows.column_names))

    def _group(self, row: int) -> int:
        return bisect_right(self._first_rows, row) - 1

    def _seek(self, row: int, batch_rows: int) -> None:
        first_group = self._group(row)
        groups = list(range(first_group, len(self._first_rows) - 1))
        self._batches = self._parquet.iter_batches(batch_rows, row_groups=groups, use_threads=False)
        self._pending, self._position = None, self._first_rows[first_group]


def _clamp(n_rows: int, maximum: int) -> int:
    return max(1, min(n_rows, maximum))


def stored_names(file: InputFile) -> list[str]:
    """Return the names of the columns as they are in the file."""
    with translate_errors(file.name), open_seekable(file) as handle:
        names: list[str] = pq.read_schema(handle).names
        return names


def sample_schema(file: InputFile) -> pa.Schema:
    """Return the columns of a file.

    Raises:
        InputError: the file is truncated.
    """
    with ParquetReader(file) as reader:
        return reader.schema


def split(file: InputFile) -> list[RangeSpec] | None:
    """Return the ranges of a file; None if it is compressed or cannot seek, so must be read in sequence."""
    if file.compression or not _is_seekable_file(file):
        return None
    with ParquetReader(file) as reader:
        return _specs(file, reader)


def _is_seekable_file(file: InputFile) -> bool:
    if file.is_local:
        return True
    with translate_errors(file.name), open_stored(file) as stored:
        return can_seek(stored)


def _specs(file: InputFile, reader: ParquetReader) -> list[RangeSpec]:
    starts = range(0, reader.n_rows, reader.rows_per_range)
    stops = [min(start + reader.rows_per_range, reader.n_rows) for start in starts]
    return [RangeSpec(file.index, *span) for span in zip(range(len(starts)), starts, stops, strict=True)]


_thread = threading.local()
"""The last reader of each thread: the next range is probably the next in its file."""


def parse_range(file: InputFile, spec: RangeSpec, schema: pa.Schema) -> ParsedRange:
    """Read a range of rows."""
    reader = _thread_reader()
    if reader is None or reader.file != file:
        _close_reader()
        reader = _thread.reader = ParquetReader(file)
        _thread.process = os.getpid()
    try:
        return _parse(reader, spec, schema)
    except BaseException:
        _close_reader()
        raise
    finally:
        if spec.stop >= reader.n_rows:
            _close_reader()


def _thread_reader() -> ParquetReader | None:
    """Return the reader of this thread, unless it came with a fork: its position in the file is the parent's."""
    reader: ParquetReader | None = getattr(_thread, "reader", None)
    return reader if getattr(_thread, "process", None) == os.getpid() else None


def _close_reader() -> None:
    reader = _thread_reader()
    if reader is not None:
        reader.close()
    _thread.reader = None


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the ranges of a file in sequence, from a row at which a range starts."""
    with ParquetReader(file) as reader:
        specs = [spec for spec in _specs(file, reader) if spec.start >= start.get("row", 0)]
        for number, spec in enumerate(specs, first_number):
            yield _parse(reader, replace(spec, number=number), schema)


def _parse(reader: ParquetReader, spec: RangeSpec, schema: pa.Schema) -> ParsedRange:
    rows = reader.read(spec.start, spec.stop)
    return parse_rows(reader.file, rows, reader.schema, schema, number=spec.number, end=spec.stop)
