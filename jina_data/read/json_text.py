"""JSON that is not lines: one array of objects, or objects one after another, of any layout.

A value ends where its brackets close. Broken JSON inside closed brackets costs that value alone; brackets that never
close cost the rest of the file, which becomes one unreadable record.
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
from jina_data.read.streams import CHUNK_BYTES, Source

BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb'|["{}\[\]]', re.DOTALL)
_TOKEN_OR_COMMA = re.compile(_STRING + rb'|["{}\[\],]', re.DOTALL)
_FLAT = rb'[^"{}\[\]]++|' + _STRING
_INNER = rb"\{(?:" + _FLAT + rb")*+\}|\[(?:" + _FLAT + rb")*+\]"
_SHALLOW = re.compile(rb"\{(?:" + _FLAT + rb"|" + _INNER + rb")*+\}", re.DOTALL)
"""A whole object with at most one level of brackets inside, as most are: found in one step."""
_BETWEEN = re.compile(rb"[\s,]*")
_SPACE = re.compile(rb"\s*")


class Record(NamedTuple):
    """One value of the file: where it starts and ends, the line breaks before it, and what is wrong with it."""

    offset: int
    end: int
    line: int
    raw: bytes
    error: str | None = None


def layout_of(head: bytes) -> str:
    """Tell how the text of a `.json` file is laid out by its first bytes: "lines", "array" or "values".

    Lines, if most of them are objects by themselves.
    """
    head = head.removeprefix(BOM)
    if head.lstrip()[:1] == b"[":
        return "array"
    lines = [line for line in head.split(b"\n")[:SAMPLE_ROWS] if line.strip()]
    whole = lines if head.endswith(b"\n") or len(lines) < 2 else lines[:-1]
    return "lines" if 2 * sum(map(_is_object, whole)) > len(whole) else "values"


def _is_object(line: bytes) -> bool:
    try:
        load_object(line)
    except NotARowError:
        return False
    return True


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the values of a file in sequence, a range at a time, from where a range ended."""
    with Source(file) as source:
        scanner = Scanner(source, file.option("layout"), start)
        records: list[Record] = []
        number, begin, first_line = first_number, start.get("offset", 0), 0
        for record in scanner:
            records.append(record)
            if record.end - begin >= RANGE_BYTES or len(records) >= RANGE_ROWS:
                yield _parse(records, number, first_line, scanner, schema)
                records, number, begin, first_line = [], number + 1, record.end, scanner.line
        if records:
            yield _parse(records, number, first_line, scanner, schema)


def _parse(records: list[Record], number: int, first_line: int, scanner: Scanner, schema: pa.Schema) -> ParsedRange:
    places = [place for place, record in enumerate(records) if record.error is None]
    rows, failures = parse_values([records[place].raw for place in places], schema)
    errors = {places[place]: error for place, error in failures}
    errors |= {place: record.error for place, record in enumerate(records) if record.error is not None}
    positions = np.array(places, np.int32)[rows.column(ROW).to_numpy()]
    rows = rows.set_column(rows.column_names.index(ROW), ROW, pa.array(positions, pa.int32()))
    unreadable = [
        Unreadable(
            place,
            records[place].line - first_line + 1,
            records[place].offset,
            errors[place],
            as_text(records[place].raw),
        )
        for place in sorted(errors)
    ]
    end = {"offset": scanner.offset, "closed": int(scanner.closed)}
    return ParsedRange(number, rows, unreadable, len(records), scanner.line - first_line, end)


def parse_values(values: list[bytes], schema: pa.Schema) -> tuple[pa.Table, Failures]:
    """Read objects, each by itself, wherever their line breaks are.

    A line break in a string is an error, as the carriage return is that stands for it here.
    """
    rows = parse_lines(b"\n".join(value.replace(b"\n", b"\r") for value in values), schema)
    return (rows, []) if rows is not None else parse_records(values, schema)


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first values; as many as it takes to find one row."""
    with Source(file) as source:
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
    """Cuts a stream into its values. `offset` and `line` are where it stands; `closed`: nothing more will come."""

    def __init__(self, source: Source, layout: str, start: dict[str, int]) -> None:
        self.offset = start.get("offset", 0)
        self.line = 0
        self.closed = bool(start.get("closed", 0))
        self._source = source
        self._array = layout == "array"
        self._buffer = b""
        self._at = 0
        source.move_to(self.offset)
        if self.offset == 0:
            self._open()

    def _open(self) -> None:
        self._more()
        if self._buffer.startswith(BOM):
            self._take(len(BOM))
        if self._array:
            self._skip(_SPACE)
            self._take(1)

    def __iter__(self) -> Iterator[Record]:
        while not self.closed:
            self._skip(_BETWEEN)
            if not self._left:
                self.closed = True
                if self._array:
                    yield self._record(0, "the file ends inside its array; it was probably cut off")
            elif self._array and self._buffer.startswith(b"]", self._at):
                self._take(1)
                self._skip(_SPACE)
                self.closed = True
                if self._left:
                    yield self._rest("text behind the end of the array")
            elif self._buffer.startswith(b"{", self._at):
                yield self._value()
            else:
                yield self._other()

    def _value(self) -> Record:
        """Take an object, up to the bracket that closes it."""
        shallow = _SHALLOW.match(self._buffer, self._at)
        if shallow:
            return self._record(shallow.end() - self._at, None)
        at = depth = 0
        while self._left < MAX_RECORD_BYTES:
            token, start, end = self._token(_TOKEN, at)
            if token in (b"", b'"'):
                at = start
                if not self._more():
                    break
                continue
            at = end
            depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
            if depth == 0:
                return self._record(at, None)
        return self._rest("a value begins here whose brackets or quotes never close")

    def _other(self) -> Record:
        """Take what is not an object: to the next comma of the array, or to the next object."""
        at = depth = 0
        while self._left < MAX_RECORD_BYTES:
            token, start, end = self._token(_TOKEN_OR_COMMA if self._array else _TOKEN, at)
            if token in (b"", b'"'):
                at = start
                if not self._more():
                    break
                continue
            if depth == 0 and (token in (b",", b"]") if self._array else token == b"{"):
                return self._record(start, None)
            at = end
            depth = max(depth + (token in (b"{", b"[")) - (token in (b"}", b"]")), 0)
        return self._rest("text that is no JSON object, to the end of the file")

    def _token(self, pattern: re.Pattern[bytes], at: int) -> tuple[bytes, int, int]:
        """Find the next bracket, string or lone quote (the string goes on behind the buffer), from where we stand."""
        found = pattern.search(self._buffer, self._at + at)
        if found is None:
            return b"", self._left, self._left
        token = found.group() if found.end() - found.start() == 1 else b"string"
        return token, found.start() - self._at, found.end() - self._at

    def _record(self, length: int, error: str | None) -> Record:
        offset, line, raw = self.offset, self.line, self._buffer[self._at : self._at + length]
        self._take(length)
        return Record(offset, self.offset, line, raw, error)

    def _rest(self, error: str) -> Record:
        """Take the rest of the file without holding it."""
        offset, line, raw = self.offset, self.line, self._buffer[self._at : self._at + RAW_BYTES]
        self._take(self._left)
        while self._more():
            raw += self._buffer[: RAW_BYTES - len(raw)]
            self._take(self._left)
        self.closed = True
        n_bytes = self.offset - offset
        shown = f", of which raw shows {RAW_BYTES:,}" if n_bytes > RAW_BYTES else ""
        return Record(offset, self.offset, line, raw, f"{error}; nothing in these {n_bytes:,} bytes{shown} was read")

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        while True:
            found = pattern.match(self._buffer, self._at)
            self._take(found.end() - self._at if found else 0)
            if self._left or not self._more():
                return

    @property
    def _left(self) -> int:
        return len(self._buffer) - self._at

    def _take(self, length: int) -> None:
        self.line += self._buffer.count(b"\n", self._at, self._at + length)
        self.offset += length
        self._at += length

    def _more(self) -> bool:
        """Read on; what is left doubles, so that a long value is searched a fixed number of times."""
        part = self._source.read(max(CHUNK_BYTES, self._left))
        self._buffer = self._buffer[self._at :] + part
        self._at = 0
        return bool(part)
