"""Reads JSON that is not JSON lines: an array of objects, or objects one after another, in any layout.

A value ends where its brackets close. Broken JSON inside closed brackets makes only that value unreadable. Brackets
that never close make the rest of the file one unreadable record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jina_data.read.json_rows import Failures, NotARowError, load_object, parse_lines, parse_records
from jina_data.read.model import (
    MAX_RECORD_BYTES,
    RANGE_BYTES,
    RANGE_ROWS,
    RAW_BYTES,
    ROW,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    InputFile,
    ParsedRange,
    Unreadable,
    as_text,
)
from jina_data.read.streams import CHUNK_BYTES, ByteSource

BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb'|["{}\[\]]', re.DOTALL)
_TOKEN_OR_COMMA = re.compile(_STRING + rb'|["{}\[\],]', re.DOTALL)
_FLAT = rb'[^"{}\[\]]++|' + _STRING
_INNER = rb"\{(?:" + _FLAT + rb")*+\}|\[(?:" + _FLAT + rb")*+\]"
_SHALLOW = re.compile(rb"\{(?:" + _FLAT + rb"|" + _INNER + rb")*+\}", re.DOTALL)
"""A whole object with at most one level of brackets inside. Most objects match, in one step."""
_BETWEEN = re.compile(rb"[\s,]*")
_SPACE = re.compile(rb"\s*")


class JsonRecord(NamedTuple):
    """A value of the file: the bytes at which it starts and ends, the line breaks before it, and its error."""

    offset: int
    end: int
    line: int
    raw: bytes
    error: str | None = None


def layout_of(head: bytes) -> str:
    """Return the layout of a `.json` file from its first bytes: "lines", "array" or "values".

    It is "lines" if more than half of the lines are objects.
    """
    head = head.removeprefix(BOM)
    if head.lstrip()[:1] == b"[":
        return "array"
    lines = [line for line in head.split(b"\n")[:SAMPLE_ROWS] if line.strip()]
    complete_lines = lines if head.endswith(b"\n") or len(lines) < 2 else lines[:-1]
    return "lines" if 2 * sum(map(_is_object, complete_lines)) > len(complete_lines) else "values"


def _is_object(line: bytes) -> bool:
    try:
        load_object(line)
    except NotARowError:
        return False
    return True


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the values of a file in sequence, a range at a time, from the end of a range."""
    with ByteSource(file) as source:
        scanner = Scanner(source, file.option("layout"), start)
        records: list[JsonRecord] = []
        number, begin, first_line = first_number, start.get("offset", 0), 0
        for record in scanner:
            records.append(record)
            if record.end - begin >= RANGE_BYTES or len(records) >= RANGE_ROWS:
                yield _parse(records, number, first_line, scanner, schema)
                records, number, begin, first_line = [], number + 1, record.end, scanner.line
        if records:
            yield _parse(records, number, first_line, scanner, schema)


def _parse(records: list[JsonRecord], number: int, first_line: int, scanner: Scanner, schema: pa.Schema) -> ParsedRange:
    good_rows = [row for row, record in enumerate(records) if record.error is None]
    table, failures = parse_values([records[row].raw for row in good_rows], schema)
    errors = {good_rows[position]: error for position, error in failures}
    errors |= {row: record.error for row, record in enumerate(records) if record.error is not None}
    positions = np.array(good_rows, np.int32)[table.column(ROW).to_numpy()]
    table = table.set_column(table.column_names.index(ROW), ROW, pa.array(positions, pa.int32()))
    unreadable = [
        Unreadable(
            row,
            records[row].line - first_line + 1,
            records[row].offset,
            errors[row],
            as_text(records[row].raw),
        )
        for row in sorted(errors)
    ]
    end = {"offset": scanner.offset, "closed": int(scanner.closed)}
    return ParsedRange(number, table, unreadable, len(records), scanner.line - first_line, end)


def parse_values(values: list[bytes], schema: pa.Schema) -> tuple[pa.Table, Failures]:
    """Read objects, wherever their line breaks are.

    Line breaks are replaced by carriage returns, so that each object is a line. In a string both are errors.
    """
    rows = parse_lines(b"\n".join(value.replace(b"\n", b"\r") for value in values), schema)
    return (rows, []) if rows is not None else parse_records(values, schema)


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first values, and from more until one is a row."""
    with ByteSource(file) as source:
        records: list[bytes] = []
        for record in Scanner(source, file.option("layout"), {}):
            records.append(record.raw)
            if record.end >= SAMPLE_BYTES or len(records) >= SAMPLE_ROWS:
                rows, _ = parse_records(records, pa.schema([]))
                if rows.num_rows:
                    return rows.drop_columns([ROW]).schema
                records = []
    return parse_records(records, pa.schema([]))[0].drop_columns([ROW]).schema


class Scanner:
    """Cuts a stream into its values.

    `offset` and `line` are the bytes and line breaks before the next value; `closed` is true after the last.
    """

    def __init__(self, source: ByteSource, layout: str, start: dict[str, int]) -> None:
        self.offset = start.get("offset", 0)
        self.line = 0
        self.closed = bool(start.get("closed", 0))
        self._source = source
        self._array = layout == "array"
        self._buffer = b""
        self._position = 0
        source.move_to(self.offset)
        if self.offset == 0:
            self._open()

    def _open(self) -> None:
        self._read_more()
        if self._buffer.startswith(BOM):
            self._advance(len(BOM))
        if self._array:
            self._skip(_SPACE)
            self._advance(1)

    def __iter__(self) -> Iterator[JsonRecord]:
        while not self.closed:
            self._skip(_BETWEEN)
            if not self._n_unread:
                self.closed = True
                if self._array:
                    yield self._record(0, "the file ends inside its array; it was probably cut off")
            elif self._array and self._buffer.startswith(b"]", self._position):
                self._advance(1)
                self._skip(_SPACE)
                self.closed = True
                if self._n_unread:
                    yield self._rest_of_file("text behind the end of the array")
            elif self._buffer.startswith(b"{", self._position):
                yield self._object()
            else:
                yield self._non_object()

    def _object(self) -> JsonRecord:
        """Return an object, up to the bracket that closes it.

        `depth` is the number of open brackets after `scanned` bytes. A token that the buffer cuts off is searched again
        after more was read.
        """
        shallow = _SHALLOW.match(self._buffer, self._position)
        if shallow:
            return self._record(shallow.end() - self._position, None)
        scanned = depth = 0
        while self._n_unread < MAX_RECORD_BYTES:
            token, start, end = self._token(_TOKEN, scanned)
            if token in (b"", b'"'):
                scanned = start
                if not self._read_more():
                    break
                continue
            scanned = end
            depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
            if depth == 0:
                return self._record(scanned, None)
        return self._rest_of_file("a value begins here whose brackets or quotes never close")

    def _non_object(self) -> JsonRecord:
        """Return text that is not an object: up to the next comma of the array, or up to the next object."""
        scanned = depth = 0
        while self._n_unread < MAX_RECORD_BYTES:
            token, start, end = self._token(_TOKEN_OR_COMMA if self._array else _TOKEN, scanned)
            if token in (b"", b'"'):
                scanned = start
                if not self._read_more():
                    break
                continue
            if depth == 0 and (token in (b",", b"]") if self._array else token == b"{"):
                return self._record(start, None)
            scanned = end
            depth = max(depth + (token in (b"{", b"[")) - (token in (b"}", b"]")), 0)
        return self._rest_of_file("text that is no JSON object, to the end of the file")

    def _token(self, pattern: re.Pattern[bytes], scanned: int) -> tuple[bytes, int, int]:
        """Find the next bracket, string or lone quote (its string goes beyond the buffer), after `scanned` bytes."""
        match = pattern.search(self._buffer, self._position + scanned)
        if match is None:
            return b"", self._n_unread, self._n_unread
        token = match.group() if match.end() - match.start() == 1 else b"string"
        return token, match.start() - self._position, match.end() - self._position

    def _record(self, length: int, error: str | None) -> JsonRecord:
        offset, line, raw = self.offset, self.line, self._buffer[self._position : self._position + length]
        self._advance(length)
        return JsonRecord(offset, self.offset, line, raw, error)

    def _rest_of_file(self, error: str) -> JsonRecord:
        """Return the rest of the file as one record, without keeping it in memory."""
        offset, line, raw = self.offset, self.line, self._buffer[self._position : self._position + RAW_BYTES]
        self._advance(self._n_unread)
        while self._read_more():
            raw += self._buffer[: RAW_BYTES - len(raw)]
            self._advance(self._n_unread)
        self.closed = True
        n_bytes = self.offset - offset
        truncation = f", of which raw shows {RAW_BYTES:,}" if n_bytes > RAW_BYTES else ""
        error = f"{error}; nothing in these {n_bytes:,} bytes{truncation} was read"
        return JsonRecord(offset, self.offset, line, raw, error)

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        while True:
            match = pattern.match(self._buffer, self._position)
            self._advance(match.end() - self._position if match else 0)
            if self._n_unread or not self._read_more():
                return

    @property
    def _n_unread(self) -> int:
        return len(self._buffer) - self._position

    def _advance(self, length: int) -> None:
        self.line += self._buffer.count(b"\n", self._position, self._position + length)
        self.offset += length
        self._position += length

    def _read_more(self) -> bool:
        """Read more; the buffer at least doubles, so that the repeated search of a long value takes linear time."""
        part = self._source.read(max(CHUNK_BYTES, self._n_unread))
        self._buffer = self._buffer[self._position :] + part
        self._position = 0
        return bool(part)
