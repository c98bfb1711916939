"""Reads CSV and TSV in ranges of whole records, with the byte offset and line of every record that is unreadable.

A block of records is parsed by Arrow if its quotes are certain to be those of well-formed fields. All other blocks are
parsed record by record with the csv module, strictly. Both give the same rows.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jina_data.read.csv_format.blocks import end_of_records, parse_block
from jina_data.read.csv_format.cells import infer, typed
from jina_data.read.csv_format.dialect import NO_DELIMITER, Dialect, detect, is_rule, unusual_delimiter
from jina_data.read.encoding import BOM, NOT_UTF8
from jina_data.read.model import (
    MAX_RECORD_BYTES,
    RANGE_BYTES,
    RAW_BYTES,
    ROW,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    InputFile,
    ParsedRange,
    Unreadable,
    as_text,
)
from jina_data.read.names import replaced_names, usable_names
from jina_data.read.schema import conform_or_text
from jina_data.read.streams import ByteSource

_FILLING = "\0\x1a \t\r\n"
"""What may fill up the end of a file: zeros of a cut download, Ctrl-Z of DOS, blanks."""

PARSERS = 2
"""Threads that parse the blocks of a file."""

Positions = npt.NDArray[np.int32]

CONFLICT_MARKS = ("<<<<<<< ", "=======", ">>>>>>> ", "||||||| ")
OPEN_QUOTE = "unexpected end of data"
OTHER_LINE_BREAK = "new-line character seen in unquoted field"
"""The messages of the csv module for a quote that is not closed, and for a line break in a field without quotes."""

PADDED, REPEATED_HEADERS, RULES = "padded", "repeated_headers", "rules"
"""Counts of a range: rows with fewer fields than columns, records that repeat the header, and lines of dashes."""


def resolve_dialect(head: bytes, *, at_end: bool, file: InputFile) -> tuple[dict[str, str], list[str]]:
    """Return the dialect and the column names of a file, as options, and notes; `head` is its first MiB, in UTF-8."""
    text = head.removeprefix(BOM).decode("utf-8", "replace")
    found = detect(text, at_end=at_end, kind=file.format, settings=file.settings)
    dialect, notes = found.dialect, list(found.notes)
    if dialect.delimiter != ("\t" if file.format == "tsv" else ",") and file.settings.delimiter is None:
        notes.insert(0, _one_column(text) if dialect.delimiter == NO_DELIMITER else f"delimiter {dialect.delimiter!r}")
    if dialect.skip_rows and file.settings.skip_rows is None:
        notes.insert(0, f"skipped {dialect.skip_rows} line{'s' * (dialect.skip_rows > 1)} before the header")
    if dialect.ruler:
        notes.append("skipped the line of dashes after the header")
    if dialect.header:
        notes += replaced_names(found.names)
    texts = {"names": usable_names(found.names), "header": found.header}
    return {**dialect.to_options(), **{name: json.dumps(value) for name, value in texts.items()}}, notes


def _one_column(text: str) -> str:
    other = unusual_delimiter(text)
    return "one column" + (f"; if {other!r} separates columns, use --delimiter {other!r}" if other else "")


def dialect_of(file: InputFile) -> Dialect:
    """Return the dialect of a file that was resolved."""
    return Dialect.of(file.option("dialect"))


def names_of(file: InputFile) -> list[str]:
    """Return the names of the columns of a file that was resolved."""
    names: list[str] = json.loads(file.option("names"))
    return names


class Record(NamedTuple):
    """A record of the file: its fields or its error, the bytes at which it starts and ends, and its line."""

    offset: int
    end: int
    line: int
    fields: list[str]
    raw: bytes = b""
    error: str | None = None


class _Feed:
    """Passes lines to the csv module, and keeps the lines of the current record; lines can be put back."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.taken: list[bytes] = []
        self._lines = lines
        self._put_back: list[bytes] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        raw = self._put_back.pop() if self._put_back else next(self._lines)
        self.taken.append(raw)
        return as_text(raw.removeprefix(BOM) if len(self.taken) == 1 else raw)

    def put_back(self, lines: Sequence[bytes]) -> None:
        self._put_back += reversed(lines)


def lines_of(block: bytes, line_end: bytes) -> Iterator[bytes]:
    """Return the lines of a block, with their ends."""
    *lines, last = block.split(line_end)
    for line in lines:
        yield line + line_end
    if last:
        yield last


def records_of(
    block: bytes, dialect: Dialect, *, is_last: bool, offset: int = 0, line: int = 0, width: int = 0
) -> Iterator[Record]:
    """Parse a block record by record; unless it is the last, a record that goes on beyond its end is left out.

    If a record is malformed, its first line is one, and parsing goes on with the next line, so that a quote that is
    never closed costs only its own record. `width` is the number of columns, which decides what a line break is that is
    not that of the file: the end of a record, or a part of a field.
    """
    line_end = dialect.line_end.encode()
    feed = _Feed(lines_of(block, line_end))
    reader = dialect.records(feed)
    while True:
        feed.taken, error, fields = [], None, list[str]()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as csv_error:
            if str(csv_error) == OPEN_QUOTE and not is_last:
                return
            error = _explain(str(csv_error))
            feed.put_back(feed.taken[1:])
            feed.taken = feed.taken[:1]
            reader = dialect.records(feed)
            if width and str(csv_error).startswith(OTHER_LINE_BREAK) and (is_last or feed.taken[0].endswith(line_end)):
                records = _with_other_breaks(feed.taken[0], dialect, width)
                for part, part_fields in records:
                    if part_fields:
                        yield Record(offset, offset + len(part), line, part_fields, part)
                    offset += len(part)
                if records:
                    line += 1
                    continue
        raw = feed.taken[0] if len(feed.taken) == 1 else b"".join(feed.taken)
        if not is_last and not raw.endswith(line_end):
            return
        end, n_lines = offset + len(raw), len(feed.taken)
        if error is None and not _is_utf8(fields):
            error = NOT_UTF8
        if fields or error:
            yield Record(offset, end, line, fields, raw, error)
        offset, line = end, line + n_lines


def _with_other_breaks(raw: bytes, dialect: Dialect, width: int) -> list[tuple[bytes, list[str]]]:
    """Parse a line with line breaks other than those of the file, outside of quotes: CR in a file of LF, for example.

    They end records if all parts that are not blank have as many fields as there are columns; else they are parts of
    fields. Returns no records if neither fits.
    """
    line_end = dialect.line_end.encode()
    other = b"\r" if line_end == b"\n" else b"\n"
    body = raw.removesuffix(line_end).removesuffix(b"\r" if other == b"\r" else b"")
    parts = [*(part + other for part in body.split(other)[:-1]), body.rpartition(other)[2] + raw[len(body) :]]
    records = [(part, _fields(as_text(part).rstrip("\r\n"), dialect)) for part in parts]
    if any(fields for _, fields in records) and all(
        not part.strip() or (len(fields) == width and _is_utf8(fields)) for part, fields in records
    ):
        return records
    text, mark = as_text(body), "\uf8ff"
    fields = [field.replace(mark, other.decode()) for field in _fields(text.replace(other.decode(), mark), dialect)]
    return [(raw, fields)] if mark not in text and len(fields) == width and _is_utf8(fields) else []


def _fields(line: str, dialect: Dialect) -> list[str]:
    try:
        return next(dialect.records(iter([line])), [])
    except csv.Error:
        return []


def _is_utf8(fields: Sequence[str]) -> bool:
    return all(field.isascii() or not any("\udc80" <= character <= "\udcff" for character in field) for field in fields)


def _explain(message: str) -> str:
    if message == OPEN_QUOTE:
        return "a quote opens here that nothing closes before the end of the file"
    if message.startswith(OTHER_LINE_BREAK):
        return "a line break outside of quotes that is not that of the file (CR, LF or CR LF)"
    if message.startswith("field larger"):
        return f"a field of more than {MAX_RECORD_BYTES:,} characters; is a quote not closed?"
    return f"not CSV: {message}"


@dataclass
class _Judge:
    """Tells which records are rows: it fills up short ones, and knows what follows a broken record."""

    names: list[str]
    header: list[str] | None
    quote: str
    counts: dict[str, int] = field(default_factory=dict)
    after_broken: bool = False

    @classmethod
    def of(cls, file: InputFile) -> _Judge:
        """Return the judge of the records of a file."""
        header = json.loads(file.option("header")) if dialect_of(file).header else None
        return cls(names_of(file), header, dialect_of(file).quote)

    def take_counts(self) -> dict[str, int]:
        """Return the counts, and begin again from zero."""
        counts, self.counts = self.counts, {}
        return counts

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def is_no_record(self, record: Record) -> bool:
        """Return whether a record is a blank line, a line of dashes, a number of rows, or a repeated header."""
        if record.error is None and record.fields == self.header:
            self._count(REPEATED_HEADERS)
            return True
        if record.error is not None or len(self.names) < 2 or len(record.fields) != 1:
            return False
        if not self.after_broken and is_rule(record.fields):
            self._count(RULES)
            return True
        return not record.fields[0].strip(_FILLING).strip()

    def row(self, record: Record) -> list[str | None] | str:
        """Return the cells of a row, or why the record is none."""
        result = record.error or self._cells(record.fields)
        if self.after_broken and not isinstance(result, str) and self._is_rest(record):
            result = "the rest of a broken record"
        self.after_broken = isinstance(result, str)
        return result

    def _is_rest(self, record: Record) -> bool:
        quote = self.quote.encode()
        return len(record.fields) < len(self.names) or bool(quote and record.raw.count(quote) % 2)

    def _cells(self, fields: list[str]) -> list[str | None] | str:
        missing = len(self.names) - len(fields)
        if not missing:
            return list(fields)
        if any(fields[0].startswith(mark) for mark in CONFLICT_MARKS) and len(fields) == 1:
            return "a conflict marker of git; resolve the conflict in the file"
        if missing > 0:
            self._count(PADDED)
            return [*fields, *(None for _ in range(missing))]
        if not any(fields[missing:]):
            return list(fields[:missing])
        return f"expected {len(self.names)} fields, found {len(fields)}"


class Cut(NamedTuple):
    """Whole records of a file, and the bytes and lines before them."""

    offset: int
    line: int
    block: bytes


class _Blocks:
    """The bytes of a file from an offset on, as a block that grows at its end and shrinks at its start.

    `offset` and `line` are those of the start of the block; lines are counted from where reading began.
    """

    def __init__(self, source: ByteSource, dialect: Dialect, offset: int, *, width: int) -> None:
        source.move_to(offset)
        self._width = width
        self.offset, self.line = offset, 0
        self.block = b""
        self.is_last = False
        self._source = source
        self._dialect = dialect

    def grow(self, n_bytes: int) -> None:
        """Read more, until the block has at least the given number of bytes or is the last."""
        part = self._source.read(max(0, n_bytes - len(self.block)))
        self.block += part
        if len(self.block) < n_bytes:
            self.is_last = True

    def drop(self, n_bytes: int) -> None:
        """Remove bytes from the start of the block."""
        line_end = self._dialect.line_end.encode()
        self.line += self.block.count(line_end, 0, n_bytes)
        self.offset += n_bytes
        self.block = self.block[n_bytes:]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing more to read."""
        return self.is_last and not self.block

    def cut(self) -> Cut | None:
        """Take the whole records that end within `RANGE_BYTES`; None if their quotes are not well-formed."""
        self.grow(RANGE_BYTES + 1)
        end = end_of_records(self.block, self._dialect, max_bytes=RANGE_BYTES, is_last=self.is_last)
        if not end:
            return None
        taken = Cut(self.offset, self.line, self.block[:end])
        self.drop(end)
        return taken

    def put_back(self, cuts: Sequence[Cut]) -> None:
        """Put blocks back in front of the block."""
        self.offset, self.line = cuts[0].offset, cuts[0].line
        self.block = b"".join([*(cut.block for cut in cuts), self.block])

    def records(self, n_bytes: int) -> Iterator[Record]:
        """Return the records of the block; it grows from the given size until it holds a whole record."""
        while True:
            self.grow(n_bytes)
            is_last = self.is_last or n_bytes > MAX_RECORD_BYTES
            place = {"offset": self.offset, "line": self.line, "width": self._width}
            records = records_of(self.block, self._dialect, is_last=is_last, **place)
            first = next(records, None)
            if first is not None or is_last:
                return iter(()) if first is None else chain([first], records)
            n_bytes *= 2

    def skip_header(self) -> None:
        """Move behind the lines before the header, and the header."""
        for _ in range(self._dialect.skip_rows):
            self.grow(SAMPLE_BYTES)
            end = self.block.find(self._dialect.line_end.encode()) + 1
            self.drop(end or len(self.block))
        if self._dialect.header:
            header = next((record for record in self.records(SAMPLE_BYTES) if record.error is None), None)
            self.drop(len(self.block) if header is None else header.end - self.offset)
        if self._dialect.ruler:
            ruler = next((record for record in self.records(SAMPLE_BYTES) if any(map(str.strip, record.fields))), None)
            self.drop(0 if ruler is None else ruler.end - self.offset)


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first records, and from more until one is a row."""
    names, judge = names_of(file), _Judge.of(file)
    rows: list[list[str | None]] = []
    with ByteSource(file) as source:
        blocks = _Blocks(source, dialect_of(file), 0, width=len(names))
        blocks.skip_header()
        while not rows:
            end = blocks.offset
            for record in blocks.records(SAMPLE_BYTES):
                end = record.end
                row = judge.row(record) if not judge.is_no_record(record) else ""
                if not isinstance(row, str):
                    rows.append(row)
                if len(rows) >= SAMPLE_ROWS:
                    break
            blocks.drop(end - blocks.offset)
            if blocks.is_last:
                break
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.schema([(name, infer(values)) for name, values in zip(names, columns, strict=True)])


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the records of a file in sequence, a range at a time, from the end of a range.

    A range has as many whole records as fit in `RANGE_BYTES`, and at least one.
    """
    dialect, judge = dialect_of(file), _Judge.of(file)
    with ByteSource(file) as source:
        blocks = _Blocks(source, dialect, start.get("offset", 0), width=len(judge.names))
        if not start:
            blocks.skip_header()
        judge.after_broken = bool(start.get("broken"))
        number, first_line = first_number, 0
        for parsed, line in _parse_all(file, schema, judge, blocks):
            end = {"offset": parsed.end["offset"], "broken": int(judge.after_broken)}
            yield replace(parsed, number=number, line_count=line - first_line, end=end)
            number, first_line = number + 1, line


def _parse_all(file: InputFile, schema: pa.Schema, judge: _Judge, blocks: _Blocks) -> Iterator[tuple[ParsedRange, int]]:
    """Parse the blocks, and yield each range with the number of lines up to its end.

    Threads parse well-formed blocks while the next ones are read. If one turns out to need the strict parser, it and
    those after it are put back.
    """
    parse = partial(parse_block, dialect=dialect_of(file), names=judge.names, header=judge.header)
    first_line = 0
    with ThreadPoolExecutor(PARSERS) as pool:
        pending: deque[tuple[Cut, Future[pa.Table | None]]] = deque()
        while True:
            while len(pending) <= PARSERS and not judge.after_broken and (cut := blocks.cut()):
                pending.append((cut, pool.submit(parse, cut.block)))
            if pending:
                cut, future = pending.popleft()
                table = future.result()
                if table is not None:
                    positions = np.arange(table.num_rows, dtype=np.int32)
                    first_line = cut.line + cut.block.count(b"\n")
                    end = {"offset": cut.offset + len(cut.block)}
                    yield replace(_finish(file, schema, table, positions, []), end=end), first_line
                    continue
                blocks.put_back([cut, *(later for later, _ in pending)])
                pending.clear()
            if blocks.is_empty:
                return
            parsed = _parse_records(file, schema, judge, blocks, first_line)
            first_line = blocks.line
            if parsed.row_count or not blocks.is_empty:
                yield replace(parsed, end={"offset": blocks.offset}), first_line


def _parse_records(file: InputFile, schema: pa.Schema, judge: _Judge, blocks: _Blocks, first_line: int) -> ParsedRange:
    """Parse the records at the start of the block that end within `RANGE_BYTES`, or one that is longer."""
    begin = end = blocks.offset
    rows: list[list[str | None]] = []
    positions: list[int] = []
    unreadable: list[Unreadable] = []
    number = 0
    for record in blocks.records(RANGE_BYTES + 1):
        if number and record.end - begin > RANGE_BYTES:
            break
        end = record.end
        if judge.is_no_record(record):
            continue
        row = judge.row(record)
        if isinstance(row, str):
            line = record.line - first_line + 1
            unreadable.append(Unreadable(number, line, record.offset, row, _raw_text(record.raw)))
        else:
            rows.append(row)
            positions.append(number)
        number += 1
    else:
        end = blocks.offset + len(blocks.block) if blocks.is_last else end
    blocks.drop(end - begin)
    columns = list(zip(*rows, strict=True)) or [()] * len(judge.names)
    table = pa.table([pa.array(values, pa.string()) for values in columns], names=judge.names)
    return _finish(file, schema, table, np.array(positions, np.int32), unreadable, counts=judge.take_counts())


def _finish(
    file: InputFile,
    schema: pa.Schema,
    texts: pa.Table,
    positions: Positions,
    unreadable: list[Unreadable],
    *,
    counts: dict[str, int] | None = None,
) -> ParsedRange:
    """Give rows their types; rows with values that do not fit a type that was set are unreadable."""
    table, misfits = typed(texts, schema, file.settings.types)
    n_records = len(positions) + len(unreadable)
    if misfits:
        errors = [
            Unreadable(int(positions[row]), None, None, error, json.dumps(texts.slice(row, 1).to_pylist()[0]))
            for row, error in misfits.items()
        ]
        unreadable = sorted([*unreadable, *errors], key=lambda record: record.row)
        good = np.array([row for row in range(len(positions)) if row not in misfits], np.int32)
        table, positions = table.take(pa.array(good)), positions[good]
    table = conform_or_text(table, schema).append_column(ROW, pa.array(positions, pa.int32()))
    return ParsedRange(0, table, unreadable, n_records, 0, counts=counts or {})


def _raw_text(raw: bytes) -> str:
    text = as_text(raw[:RAW_BYTES] if len(raw) > MAX_RECORD_BYTES else raw)
    return text.removesuffix("\n").removesuffix("\r")
