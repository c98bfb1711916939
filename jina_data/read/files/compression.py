"""Decompresses byte streams: gzip, zstd, xz, lzma, bzip2 and lz4; `zip_member` reads zip archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pyarrow as pa
import zstandard

CHUNK_BYTES = 2**18
INPUT_BYTES = 2**13
"""Small, because one input chunk is decompressed to all of its output at once."""

MAX_LAYERS = 3
"""A file may be compressed more than once, as a `.csv.gz` in a `.zip` is."""

SUFFIXES = (".gz", ".gzip", ".zst", ".zstd", ".xz", ".lzma", ".bz2", ".bzip2", ".lz4", ".zip")
"""The suffixes of compressed files. They only lead to the suffix before them; the first bytes tell the compression."""

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08PK\x03\x04": "zip",
}
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""The bytes after `BZh9`: those of a block, or those of the end of an empty stream."""


class DamagedError(Exception):
    """A compressed stream is truncated or damaged."""


STREAM_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError, DamagedError)
"""The errors of streams that are truncated or damaged."""


def compression_of(head: bytes) -> str | None:
    """Return the compression of a file, detected by its first bytes (at least 16, if it has as many)."""
    for magic, compression in _MAGIC.items():
        if head.startswith(magic):
            return compression
    if head[:3] == b"BZh" and head[3:4].isdigit() and head[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    if _is_lzma(head):
        return "lzma"
    # A zstd file may begin with a frame that is skipped.
    return "zstd" if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F else None


def _is_lzma(head: bytes) -> bool:
    """Return whether a file is in the old format of lzma: it begins with properties, dictionary size and length."""
    if len(head) < 13 or head[0] != 0x5D:
        return False
    dictionary, length = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    is_power = dictionary >= 2**12 and dictionary & (dictionary - 1) == 0
    return is_power and (length == 2**64 - 1 or length < 2**40)


def open_decompressed(stored: BinaryIO, compression: str, buffer_bytes: int = CHUNK_BYTES) -> BinaryIO:
    """Return the decompressed bytes of a stream, of any compression but zip."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stored, mode="rb"))
    frames: io.RawIOBase
    if compression == "zstd":
        frames = _ZstdFrames(stored)
    elif compression == "lz4":
        frames = _Lz4Frames(stored)
    else:
        frames = _Frames(stored, bz2.BZ2Decompressor if compression == "bzip2" else lzma.LZMADecompressor)
    return cast(BinaryIO, io.BufferedReader(frames, buffer_bytes))


class _ZstdFrames(io.RawIOBase):
    """The content of all frames of a zstd file; the end of the file inside a frame is an error."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self._context = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            if not self._input:
                self._input = self._stored.read(INPUT_BYTES)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            self._decompress()
        n_bytes = min(len(buffer), len(self._output))
        buffer[:n_bytes] = self._output[:n_bytes]
        self._output = self._output[n_bytes:]
        return n_bytes

    def _decompress(self) -> None:
        self._frame = self._frame or self._context.decompressobj()
        self._output = memoryview(self._frame.decompress(self._input))
        self._input = b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = None


class _Frames(io.RawIOBase):
    """The content of all streams of an xz, lzma or bzip2 file; zeros may follow each stream."""

    def __init__(self, stored: BinaryIO, make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> None:
        self._stored = stored
        self._make = make
        self._stream: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = None
        self._input = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if not self._input and (self._stream is None or self._stream.needs_input):
                self._input = self._stored.read(INPUT_BYTES)
                if not self._input:
                    if self._stream is not None:
                        raise EOFError("the file ends inside a compressed stream")
                    return 0
            if self._stream is None:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._stream = self._make()
            if output := self._decompress(self._stream, len(buffer)):
                buffer[: len(output)] = output
                return len(output)

    def _decompress(self, stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, n_bytes: int) -> bytes:
        try:
            output = stream.decompress(self._input, n_bytes)
        except (OSError, ValueError) as error:  # what bz2 raises
            raise DamagedError(str(error)) from error
        self._input = b""
        if stream.eof:
            self._input, self._stream = stream.unused_data, None
        return output


class _Kept:
    """A stream that stays open when Arrow closes it, which it does again when it frees its own stream."""

    closed = False

    def __init__(self, stored: BinaryIO) -> None:
        self.read = stored.read

    def close(self) -> None:
        pass


class _Lz4Frames(io.RawIOBase):
    """The content of all frames of an lz4 file."""

    def __init__(self, stored: BinaryIO) -> None:
        self._frames = pa.CompressedInputStream(pa.PythonFile(_Kept(stored), mode="r"), "lz4")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._frames.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        try:
            output: bytes = self._frames.read(len(buffer))
        except OSError as error:
            if error.errno is not None:
                raise
            raise DamagedError(str(error)) from error
        buffer[: len(output)] = output
        return len(output)
