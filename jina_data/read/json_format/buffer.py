"""Holds the part of a stream of bytes that is searched, and counts bytes and lines."""

from __future__ import annotations

import re

from jina_data.read.encoding import BOM
from jina_data.read.streams import CHUNK_BYTES, ByteSource


class Buffer:
    """The part of a stream that is searched: `position` is the next byte, `offset` and `line` are its place."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.data = b""
        self.position = 0
        self.offset = source.offset
        self.line = 0
        self.column = 0
        self.at_end = False

    @property
    def n_unread(self) -> int:
        """The bytes behind the position."""
        return len(self.data) - self.position

    def move_to(self, offset: int) -> None:
        """Go forward to a byte of the stream, without counting lines."""
        if offset <= self.offset + self.n_unread:
            self.position += offset - self.offset
        else:
            self.source.move_to(offset)
            self.data, self.position = b"", 0
        self.offset = offset

    def advance(self, length: int) -> None:
        """Go over bytes that are in the buffer."""
        end = self.position + length
        n_breaks = self.data.count(b"\n", self.position, end)
        self.line += n_breaks
        self.column = end - self.data.rfind(b"\n", 0, end) - 1 if n_breaks else self.column + length
        self.offset += length
        self.position = end

    def read_more(self) -> bool:
        """Read more; the buffer at least doubles, so that the repeated search of a long value takes linear time."""
        n_bytes = max(CHUNK_BYTES, self.n_unread)
        part = self.source.read(n_bytes)
        self.data = self.data[self.position :] + part
        self.position = 0
        self.at_end = len(part) < n_bytes
        return bool(part)

    def fill(self, n_bytes: int) -> None:
        """Read until the given number of bytes are unread, or to the end."""
        while self.n_unread < n_bytes and not self.at_end:
            self.read_more()

    def skip(self, pattern: re.Pattern[bytes]) -> None:
        """Go over all that matches a pattern."""
        while True:
            self.fill(len(BOM))
            match = pattern.match(self.data, self.position)
            self.advance(match.end() - self.position if match else 0)
            if self.n_unread >= len(BOM) or self.at_end:
                return

    def starts_with(self, *starts: bytes) -> bool:
        """Return whether the next bytes are one of some."""
        return self.data.startswith(starts, self.position)
