"""Reads Arrow IPC files (Feather V2) and streams in sequence; a local file is mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from jina_data.errors import InputError
from jina_data.read.columnar.columns import parse_rows, with_text_columns
from jina_data.read.columnar.plain_types import plain_rows, plain_schema
from jina_data.read.model import RANGE_BYTES, RANGE_ROWS, SAMPLE_ROWS, InputFile, ParsedRange
from jina_data.read.names import usable_names
from jina_data.read.streams import open_seekable, translate_errors

FILE_MAGIC = b"ARROW1"


class ArrowReader:
    """An open Arrow file: its columns, and its record batches from a row on."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        with translate_errors(file.name), ExitStack() as unless_open:
            self._handle = unless_open.enter_context(open_seekable(file, mapped=True))
            is_file = self._handle.read(len(FILE_MAGIC)) == FILE_MAGIC
            self._handle.seek(0)
            self._reader: Any = ipc.open_file(self._handle) if is_file else ipc.open_stream(self._handle)
            self._is_file = is_file
            unless_open.pop_all()

    def __enter__(self) -> ArrowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    @property
    def stored_names(self) -> list[str]:
        """The names of the columns as they are in the file."""
        names: list[str] = self._reader.schema.names
        return names

    @property
    def schema(self) -> pa.Schema:
        """The columns, with plain types."""
        schema = plain_schema(self._reader.schema)
        return pa.schema(list(zip(usable_names(schema.names), schema.types, strict=True)))

    def batches(self, start: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield the batches from that of a row on: the first row of each, and its rows with plain types."""
        position = 0
        for batch in self._batches():
            if batch.num_rows and position + batch.num_rows > start:
                with translate_errors(self.file.name):
                    rows = plain_rows(pa.Table.from_batches([batch]))
                yield position, rows.rename_columns(usable_names(rows.column_names))
            position += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with translate_errors(self.file.name):
            batches = self._all_batches()
            while (batch := next(batches, None)) is not None:
                self._check(batch)
                yield batch

    def _all_batches(self) -> Iterator[pa.RecordBatch]:
        if not self._is_file:
            yield from self._reader
            return
        for number in range(self._reader.num_record_batches):
            yield self._reader.get_batch(number)

    def _check(self, batch: pa.RecordBatch) -> None:
        """Check the offsets of a batch, which lead out of its buffers in a damaged file; texts are checked later."""
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise InputError(
                    f"{self.file.name}: the file is damaged: {error}. Fetch or write the file again."
                ) from error


def stored_names(file: InputFile) -> list[str]:
    """Return the names of the columns as they are in the file."""
    with ArrowReader(file) as reader:
        return list(reader.stored_names)


def sample_schema(file: InputFile) -> pa.Schema:
    """Return the columns of a file.

    Raises:
        InputError: the file is truncated or damaged.
    """
    with ArrowReader(file) as reader:
        first = next(reader.batches(), None)
        sample = reader.schema.empty_table() if first is None else first[1].slice(0, SAMPLE_ROWS)
        return with_text_columns(reader.schema, sample)


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the rows of a file in sequence, a range at a time, from a row at which a range starts."""
    own_schema = sample_schema(file)
    with ArrowReader(file) as reader:
        start_row = start.get("row", 0)
        for number, rows, end in cut_ranges(reader.batches(start_row), start_row, first_number):
            yield parse_rows(file, rows, own_schema, schema, number=number, end=end)


def cut_ranges(batches: Iterator[tuple[int, pa.Table]], start: int, number: int) -> Iterator[tuple[int, pa.Table, int]]:
    """Cut batches into ranges from a row on: the number of each, its rows, and the row after it.

    A range has at most RANGE_ROWS rows, and at most RANGE_BYTES bytes by the average of the rows of each batch, so that
    the ranges after a range are the same wherever reading begins.
    """
    parts: list[pa.Table] = []
    row, n_rows, n_bytes = start, 0, 0.0
    for position, batch in batches:
        row_bytes = max(batch.nbytes / batch.num_rows, 1)
        taken = max(start - position, 0)
        while taken < batch.num_rows:
            room = min(RANGE_ROWS - n_rows, max(1, int((RANGE_BYTES - n_bytes) / row_bytes)))
            parts.append(batch.slice(taken, room))
            n_rows, n_bytes = n_rows + parts[-1].num_rows, n_bytes + parts[-1].num_rows * row_bytes
            taken += parts[-1].num_rows
            if n_rows >= RANGE_ROWS or n_bytes + row_bytes > RANGE_BYTES:
                row += n_rows
                yield number, pa.concat_tables(parts).combine_chunks(), row
                parts, n_rows, n_bytes, number = [], 0, 0.0, number + 1
    if parts:
        yield number, pa.concat_tables(parts).combine_chunks(), row + n_rows
