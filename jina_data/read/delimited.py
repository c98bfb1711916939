"""Reads CSV and TSV with Python's csv module, with the byte offset and line of every record."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Literal, NamedTuple

import pyarrow as pa

from jina_data.errors import InputError
from jina_data.read.cells import infer, typed_rows
from jina_data.read.model import (
    MAX_RECORD_BYTES,
    RANGE_BYTES,
    RANGE_ROWS,
    RAW_BYTES,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    InputFile,
    ParsedRange,
    Unreadable,
    as_text,
)
from jina_data.read.names import usable_names
from jina_data.read.streams import CHUNK_BYTES, ByteSource

BOM = b"\xef\xbb\xbf"


class DelimitedRecord(NamedTuple):
    """A record of the file: its fields or its error, the bytes at which it starts and ends, and its line."""

    offset: int
    end: int
    line: int
    fields: list[str]
    raw: bytes = b""
    error: str | None = None


class _RecordFeed:
    """Passes a stream to the csv module line by line, and keeps the lines of the current record."""

    def __init__(self, lines: Iterator[bytes], offset: int) -> None:
        self.offset = offset
        self.line = 0
        self.raw_lines: list[bytes] = []
        self.not_utf8 = False
        self._lines = lines

    def __iter__(self) -> _RecordFeed:
        return self

    def __next__(self) -> str:
        raw = next(self._lines)
        self.raw_lines.append(raw)
        self.offset += len(raw)
        self.line += 1
        if self.offset == len(raw):
            raw = raw.removeprefix(BOM)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.not_utf8 = True
            return as_text(raw)


def lines_of(source: ByteSource) -> Iterator[bytes]:
    """Return the lines of a stream; only a line feed ends one."""
    tail = b""
    while part := source.read(CHUNK_BYTES):
        *lines, last = part.split(b"\n")
        if lines:
            yield tail + lines[0] + b"\n"
            for line in lines[1:]:
                yield line + b"\n"
            tail = last
        else:
            tail += last
    if tail:
        yield tail


class Records:
    """The records of a stream of lines; `offset` and `line` are the position of the next record."""

    def __init__(self, lines: Iterator[bytes], options: dict[str, str], offset: int = 0) -> None:
        csv.field_size_limit(MAX_RECORD_BYTES)
        self._feed = _RecordFeed(lines, offset)
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if options["quoting"] == "rfc4180" else csv.QUOTE_NONE
        self._reader = csv.reader(self._feed, delimiter=options["delimiter"], quoting=quoting, strict=True)

    @property
    def offset(self) -> int:
        """The bytes of the file before the next record."""
        return self._feed.offset

    @property
    def line(self) -> int:
        """The lines before the next record, counted from the line at which reading began."""
        return self._feed.line

    def __iter__(self) -> Iterator[DelimitedRecord]:
        feed = self._feed
        while True:
            offset, line, error, fields = feed.offset, feed.line, None, list[str]()
            feed.raw_lines, feed.not_utf8 = [], False
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as csv_error:
                error = _explain(str(csv_error))
            if feed.not_utf8:
                error = "not UTF-8"
            if fields or error:
                yield DelimitedRecord(
                    offset,
                    feed.offset,
                    line,
                    fields,
                    feed.raw_lines[0] if len(feed.raw_lines) == 1 else b"".join(feed.raw_lines),
                    error,
                )


def _explain(message: str) -> str:
    if message == "unexpected end of data":
        return "a quote opens here that nothing closes before the end of the file"
    if message.startswith("field larger"):
        return f"a field of more than {MAX_RECORD_BYTES:,} characters; is a quote not closed?"
    return f"not CSV: {message}"


def choose_dialect(head: bytes, *, at_end: bool, kind: str) -> dict[str, str]:
    """Choose delimiter and quoting from the first bytes of a file.

    CSV is quoted as in RFC 4180. Its delimiter is the comma, or the semicolon or tab if the header has no comma but one
    of those. TSV has no quoting, unless fields begin with a quote and a reading with quotes gives better records.
    """
    complete_lines = head if at_end else head[: head.rfind(b"\n") + 1]
    lines = [line + b"\n" for line in complete_lines.split(b"\n") if line]
    if kind == "csv":
        header = lines[0] if lines else b""
        delimiter = next((delimiter for delimiter in (b",", b";", b"\t") if delimiter in header), b",")
        return {"delimiter": delimiter.decode(), "quoting": "rfc4180"}
    unquoted, quoted = ({"delimiter": "\t", "quoting": quoting} for quoting in ("none", "rfc4180"))
    if not any(field.startswith(b'"') for line in lines for field in line.split(b"\t")):
        return unquoted
    return quoted if _score(lines, quoted, at_end=at_end) > _score(lines, unquoted, at_end=at_end) else unquoted


def _score(lines: list[bytes], options: dict[str, str], *, at_end: bool) -> tuple[int, int, int]:
    """Rate a reading of lines: all records good first, then the number of good records, then quoting.

    A record is good if it has no error and as many fields as the first.
    """
    records = list(Records(iter(lines), options))
    if not at_end and records and records[-1].error:
        records.pop()
    good = sum(record.error is None and len(record.fields) == len(records[0].fields) for record in records)
    quoted = options["quoting"] == "rfc4180"
    return int(good == len(records)), good, int(quoted)


def header_of(file: InputFile) -> list[str]:
    """Return the column names of a file.

    Raises:
        InputError: there is no header, or its names cannot be used.
    """
    with ByteSource(file) as source:
        first = next(iter(Records(lines_of(source), dict(file.options))), None)
    if first is None:
        raise InputError(
            f"{file.name}: the file is empty. A {file.format} file must begin with a line of column names."
        )
    if first.error:
        raise InputError(f"{file.name}: the header could not be read: {first.error}. Correct the first line.")
    return usable_names(first.fields)


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first records, and from more until one is good."""
    names = header_of(file)
    rows: list[list[str]] = []
    with ByteSource(file) as source:
        for number, record in enumerate(Records(lines_of(source), dict(file.options))):
            if number and not _problem(record, names):
                rows.append(record.fields)
            if rows and (number >= SAMPLE_ROWS or record.end >= SAMPLE_BYTES):
                break
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.schema([(name, infer(values)) for name, values in zip(names, columns, strict=True)])


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the records of a file in sequence, a range at a time, from the end of a range."""
    names = header_of(file)
    with ByteSource(file) as source:
        begin = start.get("offset", 0)
        source.move_to(begin)
        reader = Records(lines_of(source), dict(file.options), begin)
        records: list[DelimitedRecord] = []
        number, first_line = first_number, 0
        stream = iter(reader)
        if begin == 0:
            next(stream, None)
        for record in stream:
            records.append(record)
            if record.end - begin >= RANGE_BYTES or len(records) >= RANGE_ROWS:
                yield _parse(records, names, schema, number=number, lines=(first_line, reader.line))
                records, number, begin, first_line = [], number + 1, record.end, reader.line
        if records:
            yield _parse(records, names, schema, number=number, lines=(first_line, reader.line))


def _parse(
    records: list[DelimitedRecord], names: list[str], schema: pa.Schema, *, number: int, lines: tuple[int, int]
) -> ParsedRange:
    errors = {row: problem for row, record in enumerate(records) if (problem := _problem(record, names))}
    good_rows = [row for row in range(len(records)) if row not in errors]
    table, misfits = typed_rows([records[row].fields for row in good_rows], good_rows, names, schema)
    errors |= misfits
    unreadable = [
        Unreadable(row, record.line - lines[0] + 1, record.offset, errors[row], _raw_text(record.raw))
        for row, record in ((row, records[row]) for row in sorted(errors))
    ]
    return ParsedRange(number, table, unreadable, len(records), lines[1] - lines[0], {"offset": records[-1].end})


def _raw_text(raw: bytes) -> str:
    text = as_text(raw[:RAW_BYTES] if len(raw) > MAX_RECORD_BYTES else raw)
    return text.removesuffix("\n").removesuffix("\r")


def _problem(record: DelimitedRecord, names: list[str]) -> str | None:
    if record.error or len(record.fields) == len(names):
        return record.error
    return f"expected {len(names)} fields, found {len(record.fields)}"
