"""CSV and TSV: Python's csv module, with the byte offset and line of every record."""

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
from jina_data.read.schema import check_names
from jina_data.read.streams import CHUNK_BYTES, Source

BOM = b"\xef\xbb\xbf"


class Record(NamedTuple):
    """One record of the file: its fields, or why it has none, and where it stands."""

    offset: int
    end: int
    line: int
    fields: list[str]
    raw: bytes = b""
    error: str | None = None


class _Feed:
    """Hands a stream to the csv module line by line and remembers what it took for the record at hand."""

    def __init__(self, lines: Iterator[bytes], offset: int) -> None:
        self.offset = offset
        self.line = 0
        self.taken: list[bytes] = []
        self.not_utf8 = False
        self._lines = lines

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        raw = next(self._lines)
        self.taken.append(raw)
        self.offset += len(raw)
        self.line += 1
        if self.offset == len(raw):
            raw = raw.removeprefix(BOM)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.not_utf8 = True
            return as_text(raw)


def lines_of(source: Source) -> Iterator[bytes]:
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
    """The records of a stream of lines; `offset` and `line` are where it stands."""

    def __init__(self, lines: Iterator[bytes], options: dict[str, str], offset: int = 0) -> None:
        csv.field_size_limit(MAX_RECORD_BYTES)
        self._feed = _Feed(lines, offset)
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if options["quoting"] == "rfc4180" else csv.QUOTE_NONE
        self._reader = csv.reader(self._feed, delimiter=options["delimiter"], quoting=quoting, strict=True)

    @property
    def offset(self) -> int:
        """Bytes of the file before the next record."""
        return self._feed.offset

    @property
    def line(self) -> int:
        """Lines before the next record, from where reading began."""
        return self._feed.line

    def __iter__(self) -> Iterator[Record]:
        feed = self._feed
        while True:
            offset, line, error, fields = feed.offset, feed.line, None, list[str]()
            feed.taken, feed.not_utf8 = [], False
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as problem:
                error = _explained(str(problem))
            if feed.not_utf8:
                error = "not UTF-8"
            if fields or error:
                yield Record(
                    offset,
                    feed.offset,
                    line,
                    fields,
                    feed.taken[0] if len(feed.taken) == 1 else b"".join(feed.taken),
                    error,
                )


def _explained(problem: str) -> str:
    if problem == "unexpected end of data":
        return "a quote opens here that nothing closes before the end of the file"
    if problem.startswith("field larger"):
        return f"a field of more than {MAX_RECORD_BYTES:,} characters; is a quote not closed?"
    return f"not CSV: {problem}"


def settle(head: bytes, *, at_end: bool, kind: str) -> dict[str, str]:
    """Choose delimiter and quoting from the first bytes of a file.

    CSV is quoted as RFC 4180 has it, and delimited by commas, or by semicolons or tabs if its header has no comma but
    one of those. TSV has quotes as plain text, unless fields that begin with a quote only make sense quoted.
    """
    complete = head if at_end else head[: head.rfind(b"\n") + 1]
    lines = [line + b"\n" for line in complete.split(b"\n") if line]
    if kind == "csv":
        header = lines[0] if lines else b""
        delimiter = next((mark for mark in (b",", b";", b"\t") if mark in header), b",")
        return {"delimiter": delimiter.decode(), "quoting": "rfc4180"}
    plain, quoted = ({"delimiter": "\t", "quoting": quoting} for quoting in ("none", "rfc4180"))
    if not any(field.startswith(b'"') for line in lines for field in line.split(b"\t")):
        return plain
    return quoted if _score(lines, quoted, at_end=at_end) > _score(lines, plain, at_end=at_end) else plain


def _score(lines: list[bytes], options: dict[str, str], *, at_end: bool) -> tuple[int, int, int]:
    """Rate a reading: no bad record, then most records good, then (between equals of as many records) unquoting."""
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
    with Source(file) as source:
        first = next(iter(Records(lines_of(source), dict(file.options))), None)
    if first is None:
        raise InputError(f"{file.name}: it is empty. A {file.format} file begins with a line of column names.")
    if first.error:
        raise InputError(f"{file.name}: the header cannot be read: {first.error}. Correct its first line.")
    check_names(file.name, first.fields)
    return first.fields


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first records; as many as it takes to find a good one."""
    names = header_of(file)
    rows: list[list[str]] = []
    with Source(file) as source:
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
    """Read the records of a file in sequence, a range at a time, from where a range ended."""
    names = header_of(file)
    with Source(file) as source:
        begin = start.get("offset", 0)
        source.move_to(begin)
        reader = Records(lines_of(source), dict(file.options), begin)
        records: list[Record] = []
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
    records: list[Record], names: list[str], schema: pa.Schema, *, number: int, lines: tuple[int, int]
) -> ParsedRange:
    errors = {place: problem for place, record in enumerate(records) if (problem := _problem(record, names))}
    places = [place for place in range(len(records)) if place not in errors]
    rows, misfits = typed_rows([records[place].fields for place in places], places, names, schema)
    errors |= misfits
    unreadable = [
        Unreadable(place, record.line - lines[0] + 1, record.offset, errors[place], _shown(record.raw))
        for place, record in ((place, records[place]) for place in sorted(errors))
    ]
    return ParsedRange(number, rows, unreadable, len(records), lines[1] - lines[0], {"offset": records[-1].end})


def _shown(raw: bytes) -> str:
    text = as_text(raw[:RAW_BYTES] if len(raw) > MAX_RECORD_BYTES else raw)
    return text.removesuffix("\n").removesuffix("\r")


def _problem(record: Record, names: list[str]) -> str | None:
    if record.error or len(record.fields) == len(names):
        return record.error
    return f"expected {len(names)} fields, found {len(record.fields)}"
