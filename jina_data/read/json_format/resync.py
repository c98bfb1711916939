"""Finds the next record behind a broken one: never an object inside the broken record.

A place at which a valid value begins may be a record or an item of a list inside the broken record. The values that
follow it decide: an item's list closes, and behind it comes more of the broken record; a list of records closes at
the end of its document. Where this is not known, the keys decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jina_data.read.encoding import BOM
from jina_data.read.json_format.grammar import BETWEEN, BLANKS, SPACE, START, STRING, value_end
from jina_data.read.json_format.load import NotARowError, load_value

MAX_CHAIN = 64
"""Values that are followed behind a place; a longer list is one of records, if the keys are those of records."""

_KEY = re.compile(rb"(:" + SPACE + rb")?+" + STRING + SPACE + rb":\Z")
_NEXT_ARRAY = {shape: re.compile(rb"\[" + SPACE + rb"(?:\]|" + start.pattern + rb")") for shape, start in START.items()}
_FIRST_ITEM = re.compile(rb"[:\[,]" + SPACE + rb"\[\Z")
_EMPTY = re.compile(rb"\{" + SPACE + rb"\}")
_MEMBER = re.compile(rb"," + SPACE + STRING + SPACE + rb":" + SPACE)


@dataclass(frozen=True)
class Keys:
    """The keys of the first records: those that all have, and those that any has."""

    required: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()

    def are_those_of(self, row: Any) -> bool:
        """Return whether a value has the keys of a record; False if no record is known."""
        names = frozenset(row if isinstance(row, dict) else ())
        return bool(self.known) and self.required <= names and 2 * len(self.known & names) >= len(names)


class Resync:
    """Looks for records in a buffer.

    `n_closing` is the number of braces behind a list of records in its document. `is_inside`: they are in a list.
    """

    def __init__(self, shape: str, keys: Keys, n_closing: int) -> None:
        self._shape = shape
        self._keys = keys
        self._n_closing = n_closing
        self.is_inside = False
        self._text = b'"' if shape == "texts" else b","

    def next_record(self, buffer: bytes, start: int, stop: int, *, at_end: bool) -> int | None:
        """Return where the first record between two places begins. `at_end`: the file ends with the buffer."""
        while place := START[self._shape].search(buffer, start, stop):
            is_record, start = self._judge(buffer, place.start(), at_end)
            if is_record:
                return place.start()
        return None

    def _judge(self, buffer: bytes, place: int, at_end: bool) -> tuple[bool, int]:
        """Return whether a record begins at a place, and where to search next if not."""
        before = buffer[max(place - 2**12, 0) : place].rstrip()
        if _is_inside(before) or (self._shape != "objects" and before[-1:] not in (b",", b"")):
            return False, place + 1
        if _EMPTY.match(buffer, place):  # perhaps a part of a text
            return False, place + 1
        count, is_certain, searched = 0, True, place + 1
        for position, follows in self._chain(buffer, place, at_end):
            count += 1
            searched = position if count == 1 or (is_certain and follows in ("closes", "wrong")) else searched
            if follows == "wrong":
                return False, searched
            if follows == "broken":
                is_certain = False
            elif follows == "closes":
                ends = self.ends_document(buffer, position, at_end=at_end)
                return ends and (is_certain or self._has_keys(buffer, place)), searched
            elif follows == "end" and is_certain and not self.is_inside and not before.endswith(b","):
                return True, searched
            elif follows == "unknown" or count >= MAX_CHAIN:
                break
        return count > 0 and self._has_keys(buffer, place), searched

    def _chain(self, buffer: bytes, place: int, at_end: bool) -> Iterator[tuple[int, str]]:
        """Yield, for each of the values that follow one another from a place, where it ends and what follows it.

        The first is valid; others may be broken, if their brackets close.
        """
        first = place
        while True:
            end = value_end(buffer, place)
            if end is None or not (end[1] or (place > first and buffer[place : place + 1] in (b"{", b"["))):
                return
            if not end[1]:
                yield place, "broken"
            position = _skip(buffer, end[0])
            following = buffer[position : position + 1]
            if following == b"]":
                yield position + 1, "closes"
            elif following in (b"}", b":") or _MEMBER.match(buffer, position):
                yield position, "wrong"
            elif following in (b",", b"{", b"[", BOM[:1], b"\x1e", self._text):
                place = BETWEEN.match(buffer, position).end()  # type: ignore[union-attr]
                yield position, "value"
            else:
                yield position, "end" if position == len(buffer) and at_end else "unknown"
            if position == len(buffer) and not at_end:
                return

    def ends_document(self, buffer: bytes, position: int, *, at_end: bool) -> bool:
        """Return whether behind a ] at a position comes the end of a document, or the next document."""
        if not self.is_inside:
            return False
        for _ in range(self._n_closing):
            position = _skip(buffer, position)
            while member := _MEMBER.match(buffer, position):
                end = value_end(buffer, member.end())
                if end is None or not end[1]:
                    return False
                position = _skip(buffer, end[0])
            if not buffer.startswith(b"}", position):
                return False
            position += 1
        position = _skip(buffer, position)
        if position == len(buffer):
            return at_end
        if self._n_closing:
            return buffer.startswith((BOM, b"{"), position)
        return buffer.startswith(BOM, position) or _NEXT_ARRAY[self._shape].match(buffer, position) is not None

    def _has_keys(self, buffer: bytes, place: int) -> bool:
        end = value_end(buffer, place)
        try:
            return end is not None and (
                self._shape != "objects" or self._keys.are_those_of(load_value(buffer[place : end[0]]))
            )
        except NotARowError:
            return False


def _is_inside(before: bytes) -> bool:
    """Return whether a key or an opening bracket precedes; a text that follows a key is no key."""
    if before.endswith(b"["):
        return _FIRST_ITEM.search(before, len(before) - 64 if len(before) > 64 else 0) is not None
    if not before.endswith(b":") or not before[:-1].rstrip().endswith(b'"'):
        return False
    key = _KEY.search(before)
    return key is None or key.group(1) is None


def _skip(buffer: bytes, position: int) -> int:
    return BLANKS.match(buffer, position).end()  # type: ignore[union-attr]
