"""Reads text files in lines: each line that is not blank is a row of the column `text`; LF, CRLF and CR end lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from jina_data.read.encoding import BOM, NOT_UTF8
from jina_data.read.model import (
    MAX_RECORD_BYTES,
    RANGE_BYTES,
    RANGE_ROWS,
    RAW_BYTES,
    ROW,
    InputFile,
    ParsedRange,
    Unreadable,
    as_text,
)
from jina_data.read.schema import conform_or_text
from jina_data.read.streams import CHUNK_BYTES, ByteSource

SCHEMA = pa.schema([("text", pa.string())])
DELIMITERS = ("\t", "|", ";", ",")
_NAME = re.compile(r"[^\W\d][\w .#/()-]{0,39}")
"""What looks like the name of a column."""


class Line(NamedTuple):
    """A line of a file without its end: its number in the range (from 0), its offset in the file, and its bytes."""

    number: int
    offset: int
    raw: bytes


def sample_schema(file: InputFile) -> pa.Schema:  # noqa: ARG001
    """Return the column of texts."""
    return SCHEMA


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the lines of a file in sequence, a range at a time, from the offset of a line."""
    with ByteSource(file) as source:
        begin = start.get("offset", 0)
        source.move_to(begin)
        number, n_lines, offset = first_number, 0, begin
        lines: list[Line] = []
        for raw in _raw_lines(source):
            text = raw.removeprefix(BOM) if offset == 0 else raw
            line = text.rstrip(b"\r\n")
            if line.strip():
                lines.append(Line(n_lines, offset + len(raw) - len(text), line))
            offset += len(raw)
            n_lines += 1
            if offset - begin >= RANGE_BYTES or len(lines) >= RANGE_ROWS:
                yield _parse(lines, schema, number=number, n_lines=n_lines, end=offset)
                lines, number, begin, n_lines = [], number + 1, offset, 0
        if n_lines:
            yield _parse(lines, schema, number=number, n_lines=n_lines, end=offset)


def _raw_lines(source: ByteSource) -> Iterator[bytes]:
    """Yield the lines of a stream with their ends."""
    tail: list[bytes] = []
    while part := source.read(CHUNK_BYTES):
        if tail and tail[-1].endswith(b"\r") and not part.startswith(b"\n"):
            yield b"".join(tail)
            tail = []
        lines = part.splitlines(keepends=True)
        if tail and len(lines) > 1:
            yield b"".join([*tail, lines[0]])
            yield from lines[1:-1]
            tail = []
        else:
            yield from lines[:-1]
        tail.append(lines[-1])
        if lines[-1].endswith(b"\n"):
            yield b"".join(tail)
            tail = []
    if tail:
        yield b"".join(tail)


def _parse(lines: list[Line], schema: pa.Schema, *, number: int, n_lines: int, end: int) -> ParsedRange:
    texts: list[str] = []
    rows: list[int] = []
    unreadable: list[Unreadable] = []
    row = 0
    for line in lines:
        text, error = _decode(line.raw)
        if error:
            raw = as_text(line.raw[:RAW_BYTES] if len(line.raw) > MAX_RECORD_BYTES else line.raw)
            unreadable.append(Unreadable(row, line.number + 1, line.offset, error, raw))
        elif text.isspace():
            continue
        else:
            texts.append(text)
            rows.append(row)
        row += 1
    table = conform_or_text(pa.table({"text": pa.array(texts, pa.string())}), schema)
    table = table.append_column(ROW, pa.array(rows, pa.int32()))
    return ParsedRange(number, table, unreadable, row, n_lines, {"offset": end})


def _decode(raw: bytes) -> tuple[str, str | None]:
    if len(raw) > MAX_RECORD_BYTES:
        return "", f"the line is longer than {MAX_RECORD_BYTES:,} bytes"
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return "", NOT_UTF8


def table_format(head: bytes, *, at_end: bool) -> str | None:
    """Return "tsv" or "csv" if a text file is a table, from its first bytes; None if it is lines of text.

    A table has the same delimiter in every line, equally often: a tab, or `|`, `;` or a comma after a line that looks
    like column names.
    """
    lines = head.removeprefix(BOM).decode("utf-8", "replace").splitlines()
    lines = [line for line in (lines if at_end else lines[:-1]) if line.strip()]
    if not lines:
        return None
    has_quotes = any('"' in line for line in lines)
    for delimiter, quote in (("\t", None), *((delimiter, '"') for delimiter in DELIMITERS)):
        if delimiter == "\t" and quote and not has_quotes:
            continue
        try:
            unquoted = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            records = list(csv.reader(lines, delimiter=delimiter) if quote else unquoted)
        except csv.Error:
            continue
        width = len(records[0])
        if not at_end and len(records) > 1:
            records.pop()  # perhaps cut off within quotes
        if width < 2 or any(len(record) != width for record in records):
            continue
        if delimiter == "\t":
            return "tsv"
        if len(records) > 1 and _is_header(lines[0], records[0], delimiter):
            return "csv"
    return None


def _is_header(line: str, names: list[str], delimiter: str) -> bool:
    """Return whether a line looks like column names, and not like prose: a blank follows the commas of prose."""
    if delimiter != "|" and f"{delimiter} " in line:
        return False
    stripped = [name.strip() for name in names]
    return len(set(stripped)) == len(stripped) and all(map(_NAME.fullmatch, stripped))
