"""Cuts a stream of JSON documents into its values: the items of arrays, or the documents themselves.

A document is an array of values, a value, or an object in which a list of values is found under `keys`. A broken value
ends where the next value begins for certain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from jina_data.read.encoding import BOM
from jina_data.read.json_format.buffer import Buffer
from jina_data.read.json_format.grammar import BETWEEN, BLANKS, SPACE, START, STRING, value_end
from jina_data.read.json_format.load import NotARowError, load_value
from jina_data.read.json_format.reading import is_small
from jina_data.read.json_format.resync import Keys, Resync
from jina_data.read.model import MAX_RECORD_BYTES, RAW_BYTES
from jina_data.read.streams import CHUNK_BYTES, ByteSource

LOOKAHEAD_BYTES = 2**20
"""Bytes behind a broken value in which the next value is searched first."""

LONG_BYTES = 2**23
"""A value of more bytes that does not close is searched for other values, which would mean that it is broken."""

_SEPARATORS = (b",", b"]", b"{", b"[", b"\x1e", BOM)
_BROKEN_START = re.compile(rb'[^",](?:' + BLANKS.pattern + STRING + SPACE + rb":)|.\s*+\Z", re.DOTALL)
"""One wrong byte where an object or a bracket should be."""
_KEY = re.compile(STRING + SPACE + rb":")
_TRAILING = re.compile(rb"[\s,]*\Z")


@dataclass(frozen=True)
class Documents:
    """What the documents of a file are: `array`, `values` or `wrapped` (a list under `keys`), of values of a shape."""

    layout: str
    shape: str
    keys: tuple[str, ...] = ()


class JsonValue(NamedTuple):
    """A value of the file: the bytes at which it starts and ends, the line breaks before it, and its error.

    `outer` are the fields of the document around it.
    """

    offset: int
    end: int
    line: int
    raw: bytes
    error: str | None
    outer: dict[str, Any]


class Scanner:
    """The values of a stream, from its start or from a place that `end` gave.

    `closed` is true after the last value. `keys_of_records` finds keys of the first records, when they are needed.
    """

    def __init__(
        self, source: ByteSource, documents: Documents, start: dict[str, int], keys_of_records: Callable[[], Keys]
    ) -> None:
        self.documents = documents
        self.buffer = Buffer(source)
        self.closed = bool(start.get("closed", 0))
        self._inside = False
        self._is_clean = True
        self._document = start.get("document", 0)
        self._outer: dict[str, Any] = {}
        self._keys_of_records = keys_of_records
        self._resync: Resync | None = None
        if start.get("inside") and documents.layout == "wrapped":
            self.buffer.move_to(self._document)
            self._open_document()
        self._inside = bool(start.get("inside", 0))
        self.buffer.move_to(start.get("offset", 0))
        self.buffer.line = 0

    @property
    def line(self) -> int:
        """The line breaks before the next value, from where the scanner started."""
        return self.buffer.line

    @property
    def end(self) -> dict[str, int]:
        """The place before the next value."""
        state = {"offset": self.buffer.offset, "closed": int(self.closed)}
        if self._inside:
            state |= {"inside": 1, "document": self._document}
        return state

    def __iter__(self) -> Iterator[JsonValue]:
        while not self.closed:
            self.buffer.skip(BETWEEN)
            if not self.buffer.n_unread:
                self.closed = True
                if self._inside:
                    yield self._value(0, "the file ends inside its array; it was probably cut off")
            elif self._inside and self.buffer.starts_with(b"]"):
                error = self._close_list()
                if error is not None:
                    yield error
            elif self.documents.layout == "array" and self._is_broken_opening():
                self._inside = True
                yield self._value(1, "expected [, with which the array begins")
            elif not self._inside and self._opens_list():
                self._document = self.buffer.offset
                self.buffer.advance(1)
                self._inside = True
            elif not self._inside and self.documents.layout == "wrapped" and self.buffer.starts_with(b"{"):
                problem = self._open_document()
                if problem is not None:
                    yield self._rest_of_file(problem)
            else:
                yield self._next_value()

    def _is_broken_opening(self) -> bool:
        if self._inside or self.buffer.offset > len(BOM) or self.buffer.starts_with(b"["):
            return False
        following = BLANKS.match(self.buffer.data, self.buffer.position + 1)
        start = following.end() if following else 0
        return START[self.documents.shape].match(self.buffer.data, start) is not None

    def _opens_list(self) -> bool:
        if not self.buffer.starts_with(b"["):
            return False
        if self.documents.layout == "array":
            return True
        return self.documents.shape == "objects" and self._is_clean and self._is_array_of_objects()

    def _is_array_of_objects(self) -> bool:
        self.buffer.fill(CHUNK_BYTES)
        rest = BLANKS.match(self.buffer.data, self.buffer.position + 1)
        return rest is not None and self.buffer.data.startswith((b"{", b"]"), rest.end())

    def _next_value(self) -> JsonValue:
        while (found := value_end(self.buffer.data, self.buffer.position)) is None:
            if self.buffer.n_unread >= LONG_BYTES and self._is_broken_here():
                break
            if self.buffer.n_unread >= MAX_RECORD_BYTES or not self.buffer.read_more():
                break
        if found is None and self.buffer.at_end and not self.buffer.starts_with(b"{", b"[", b'"'):
            return self._value(self.buffer.n_unread, None)
        if found is not None and found[1]:
            length = found[0] - self.buffer.position
            self.buffer.fill(length + CHUNK_BYTES if self.buffer.n_unread < length + 64 else length)
            if self._is_stray_bracket(found[0]):
                return self._value(1, "a [ where no list begins")
            if self._is_separated(self.buffer.position + length):
                self._is_clean = True
                return self._value(length, None)
        return self._broken_value()

    def _is_stray_bracket(self, end: int) -> bool:
        """Return whether a list is no item, but closes with the list of records, of which it swallows the rest."""
        if not self._inside or self.documents.shape != "objects" or not self.buffer.starts_with(b"["):
            return False
        self.buffer.fill(end - self.buffer.position + CHUNK_BYTES)
        return self.buffer.at_end and not self.buffer.data[end:].strip(b" \t\r\n}")

    def _is_broken_here(self) -> bool:
        """Return whether a long value is one that never ends: another record begins inside."""
        data, start = self.buffer.data, self.buffer.position
        stop = start + LOOKAHEAD_BYTES
        return self._search().next_record(data, start + 1, stop, at_end=self.buffer.at_end) is not None

    def _is_separated(self, end: int) -> bool:
        """Return whether what follows a value may follow one: a separator, or one wrong byte instead of it."""
        data = self.buffer.data
        following = BLANKS.match(data, end)
        position = following.end() if following else end
        if position == len(data) or data.startswith(_SEPARATORS, position) or _BROKEN_START.match(data, position):
            return True
        if self.documents.shape == "texts" and data.startswith(b'"', position):
            return position > end
        if not self._inside and (self.documents.layout == "array" or self._is_whole(end, position)):
            return True
        if position > end and self._is_other_value(position):
            return True
        following = BLANKS.match(data, position + 1)
        start = following.end() if following else position + 1
        if position == end and self._inside and data.startswith(b"]", start):
            return self._search().ends_document(data, start + 1, at_end=self.buffer.at_end)
        if not self._inside and data[position : position + 1] in (b"}", b"]"):
            start = position + 1
        return position == end and START[self.documents.shape].match(data, start) is not None

    def _is_whole(self, end: int, following: int) -> bool:
        """Return whether a value ends with its line: one that is a line, or whose } is at the column of its {."""
        data, start = self.buffer.data, self.buffer.position
        last_line = data.rfind(b"\n", start, end) + 1
        if not data[end:following].strip(b" \t"):
            return False
        if last_line:
            return end - 1 - last_line == self.buffer.column
        return _KEY.match(data, following) is None

    def _is_other_value(self, start: int) -> bool:
        """Return whether a value begins here that is no record, such as a number."""
        found = value_end(self.buffer.data, start)
        if found is None or not found[1]:
            return False
        following = BLANKS.match(self.buffer.data, found[0])
        position = following.end() if following else found[0]
        return position == len(self.buffer.data) or self.buffer.data.startswith(_SEPARATORS, position)

    def _search(self) -> Resync:
        if self._resync is None:
            n_closing = len(self.documents.keys)
            self._resync = Resync(self.documents.shape, self._keys_of_records(), n_closing)
        self._resync.is_inside = self._inside
        return self._resync

    def _broken_value(self) -> JsonValue:
        """Return a broken value: up to the next record, or up to where its brackets close, or the rest of the file."""
        self._is_clean = False
        buffer = self.buffer
        is_behind = buffer.offset > 0 and not self._inside and self.documents.layout == "array"
        if is_behind and not buffer.starts_with(b"{"):
            return self._rest_of_file("text behind the end of the array")
        buffer.fill(LOOKAHEAD_BYTES)
        while True:
            length = self._broken_length()
            if length is not None:
                return self._value(length, self._error(length))
            if buffer.n_unread >= MAX_RECORD_BYTES or not buffer.read_more():
                return self._rest_of_file("a value begins here whose brackets or quotes never close")

    def _broken_length(self) -> int | None:
        """Return the length of a broken value; None if more of the file has to be read."""
        data, start, at_end = self.buffer.data, self.buffer.position, self.buffer.at_end
        search = self._search()
        found = value_end(data, start)
        end = found[0] if found and data.startswith((b"{", b"[", b'"'), start) else None
        following = search.next_record(data, start + 1, len(data), at_end=at_end)
        if following is None and not at_end:
            return None
        last = following or len(data)
        if following is None and self._inside:
            end_of_list = self._end_of_list(start)
            last = end_of_list or last
            if end_of_list is None:
                return end - start if end is not None and not data[end:].strip(b" \t\r\n,") else None
        if end is not None and end <= last and not data[end:last].strip(b" \t\r\n,"):
            return end - start
        trailing = _TRAILING.search(data, start + 1, last)
        return (trailing.start() if trailing else last) - start

    def _end_of_list(self, start: int) -> int | None:
        """Return where the ] is with which the list of records of the last document ends."""
        data = self.buffer.data
        end = data.rfind(b"]", start)
        while end > start and not self._search().ends_document(data, end + 1, at_end=True):
            end = data.rfind(b"]", start, end)
        return end if end > start else None

    def _error(self, length: int) -> str:
        raw = self.buffer.data[self.buffer.position : self.buffer.position + length]
        try:
            load_value(raw)
        except NotARowError as error:
            return str(error)
        return "not JSON: after this value, more text follows that is none"

    def _open_document(self) -> str | None:
        """Go into the list of records of a document; return why there is none."""
        self._document, self._outer = self.buffer.offset, {}
        self.buffer.fill(1)
        self.buffer.advance(1)
        level = 0
        keys = self.documents.keys
        while True:
            self.buffer.skip(BETWEEN)
            if not self.buffer.starts_with(b'"'):
                return f"there is no list under '{'.'.join(keys)}' in this document"
            key = self._take()
            self.buffer.skip(BLANKS)
            if not isinstance(key, str) or not self.buffer.starts_with(b":"):
                return "not JSON: expected a key and a colon"
            self.buffer.advance(1)
            self.buffer.skip(BLANKS)
            is_last = level == len(keys) - 1
            if key == keys[level] and self.buffer.starts_with(b"[" if is_last else b"{"):
                self.buffer.advance(1)
                level += 1
                if is_last:
                    self._inside = True
                    return None
            else:
                value = self._take()
                if is_small(value):
                    self._outer[".".join((*keys[:level], key))] = value

    def _take(self) -> Any:
        """Read a value of a document, outside of its list of records."""
        while (found := value_end(self.buffer.data, self.buffer.position)) is None:
            if self.buffer.n_unread >= MAX_RECORD_BYTES or not self.buffer.read_more():
                return None
        length = found[0] - self.buffer.position
        raw = self.buffer.data[self.buffer.position : found[0]]
        self.buffer.advance(length)
        try:
            return load_value(raw)
        except NotARowError:
            return None

    def _close_list(self) -> JsonValue | None:
        """Leave the list of records, and its document; return an error if a ] does not close it."""
        self.buffer.fill(LOOKAHEAD_BYTES)
        data, position = self.buffer.data, self.buffer.position + 1
        is_end = self._search().ends_document(data, position, at_end=self.buffer.at_end)
        if not is_end and (not self.buffer.at_end or self._end_of_list(position) is not None):
            return self._broken_value()
        if self.documents.layout != "wrapped":
            self.buffer.advance(1)
            self._inside = False
            return None
        self.buffer.advance(1)
        self._inside = False
        depth = len(self.documents.keys)
        while depth > 0:
            self.buffer.skip(BETWEEN)
            if not self.buffer.n_unread:
                self.closed = True
                return self._value(0, "the file ends inside its document; it was probably cut off")
            if self.buffer.starts_with(b"}"):
                depth -= 1
                self.buffer.advance(1)
            elif self.buffer.starts_with(b":"):
                self.buffer.advance(1)
            else:
                before = self.buffer.offset
                self._take()
                if self.buffer.offset == before:
                    return self._rest_of_file("not JSON: text behind the list of records")
        return None

    def _value(self, length: int, error: str | None) -> JsonValue:
        buffer = self.buffer
        offset, line = buffer.offset, buffer.line
        raw = buffer.data[buffer.position : buffer.position + length]
        buffer.advance(length)
        return JsonValue(offset, buffer.offset, line, raw, error, self._outer)

    def _rest_of_file(self, error: str) -> JsonValue:
        """Return the rest of the file as one value, without keeping it in memory."""
        buffer = self.buffer
        offset, line = buffer.offset, buffer.line
        raw = buffer.data[buffer.position : buffer.position + RAW_BYTES]
        buffer.advance(buffer.n_unread)
        while buffer.read_more():
            raw += buffer.data[: RAW_BYTES - len(raw)]
            buffer.advance(buffer.n_unread)
        self.closed = True
        n_bytes = buffer.offset - offset
        truncation = f", of which raw shows {RAW_BYTES:,}" if n_bytes > RAW_BYTES else ""
        error = f"{error}; nothing in these {n_bytes:,} bytes{truncation} was read"
        return JsonValue(offset, buffer.offset, line, raw, error, self._outer)
