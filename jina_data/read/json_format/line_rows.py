"""Cuts JSON lines into records: a line is a record, with exceptions that broken files need.

A record over several lines (pretty-printed, or with a line break inside a text) is one record, so that a line inside of
it is never a row. A line with several objects is several records. Both are recognised for certain, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jina_data.read.json_format.grammar import BETWEEN, START, value_end
from jina_data.read.json_format.load import NotARowError, try_load

CONTEXT_BYTES = 2**16
"""The longest record over several lines. So many bytes around a block decide what its first and last lines are."""

BLANK = b" \t\r"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_CLOSING = {b"{": b"}", b"[": b"]"}


class Record(NamedTuple):
    """A record: the line (from 0) and byte at which it starts, its bytes, and its value, or why it has none."""

    line: int
    offset: int
    raw: bytes
    value: Any


class Line(NamedTuple):
    """A line that is not blank: its number and its place."""

    number: int
    start: int
    raw: bytes


def records_of(data: bytes, shape: str) -> Iterator[Record]:
    """Yield the records of whole lines."""
    lines = list(_lines(data))
    position = 0
    while position < len(lines):
        line = lines[position]
        last = position
        value = try_load(line.raw)
        if not isinstance(value, NotARowError):
            yield Record(line.number, line.start, line.raw, value)
        elif (last := _last_line(lines, position)) > position:
            raw = data[line.start : lines[last].start + len(lines[last].raw)]
            yield Record(line.number, line.start, raw, try_load(raw))
        else:
            yield from _split(line, shape) or [Record(line.number, line.start, line.raw, value)]
        position = last + 1


def _lines(data: bytes) -> Iterator[Line]:
    start = 0
    for number, raw in enumerate(data.split(b"\n")):
        if raw.strip(BLANK):
            yield Line(number, start, raw.removesuffix(b"\r"))
        start += len(raw) + 1


def _last_line(lines: Sequence[Line], first: int) -> int:
    """Return the line at whose end the brackets that a line opens close; the line itself if there is none."""
    start = lines[first]
    if start.raw.lstrip()[:1] not in (b"{", b"["):
        return first
    stack: list[bytes] = []
    in_string = False
    for position in range(first, len(lines)):
        line = lines[position]
        if line.start + len(line.raw) - start.start > CONTEXT_BYTES:
            return first
        if position > first and not _continues(lines[position - 1].raw, line.raw, stack[-1], in_string=in_string):
            return first
        in_string, end = _read_line(line.raw, stack, in_string=in_string)
        if end is not None:
            is_at_end = not line.raw[end:].strip()
            return position if is_at_end else first
    return first


def _read_line(line: bytes, stack: list[bytes], *, in_string: bool) -> tuple[bool, int | None]:
    """Follow the brackets of a line; return whether it ends in a string, and where the first bracket closes."""
    position = 0
    if in_string:
        rest = _STRING_REST.match(line)
        if rest is None:
            return True, None
        position = rest.end()
    for token in _TOKEN.finditer(line, position):
        text = token.group()
        if text == b'"':
            return True, None
        if text in _CLOSING:
            stack.append(text)
        elif text in (b"}", b"]"):
            stack.pop()
            if not stack:
                return False, token.end()
    return False, None


def _continues(line: bytes, following: bytes, bracket: bytes, *, in_string: bool) -> bool:
    """Return whether a line can follow inside of an open string, or of an open bracket."""
    following = following.lstrip()
    if in_string:
        return START["objects"].match(following) is None or following.startswith(b"{}")
    last, first = line.rstrip()[-1:], following[:1]
    if first in (b",", _CLOSING[bracket], b":"):
        return True
    if last == b":":
        return True
    return last in (b",", bracket) and (bracket == b"[" or first == b'"')


def _split(line: Line, shape: str) -> list[Record]:
    """Return the values of a line that holds nothing else, and one byte between two of them at most; else nothing."""
    start = START.get(shape if shape != "texts" else "objects", START["objects"])
    values: list[Record] = []
    position = 0
    while True:
        between = BETWEEN.match(line.raw, position)
        begin = between.end() if between else position
        if begin == len(line.raw):
            return values
        is_close = begin == position or b"\r" in line.raw[position:begin]
        if values and is_close and not start.match(line.raw, begin) and start.match(line.raw, begin + 1):
            begin += 1
        end = value_end(line.raw, begin) if start.match(line.raw, begin) else None
        if end is None or not end[1]:
            return []
        raw = line.raw[begin : end[0]]
        values.append(Record(line.number, line.start + begin, raw, try_load(raw)))
        position = end[0]
