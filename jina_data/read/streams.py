"""Opens input files as decompressed byte streams, local or remote; every error names the file and the offset."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import zstandard

from jina_data.errors import InputError, JinaDataError
from jina_data.read.encoding import Utf8Stream
from jina_data.read.model import InputFile

CHUNK_BYTES = 2**18
ZSTD_INPUT_BYTES = 2**13
"""Small, because one input chunk is decompressed to all of its output at once."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def compression_of(head: bytes) -> str | None:
    """Return the compression of a file, detected by its first bytes."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    return "zstd" if head.startswith(ZSTD_MAGIC) or skippable else None


@contextmanager
def translate_errors(name: str, source: ByteSource | None = None) -> Iterator[None]:
    """Convert every error while a file is read to an `InputError` that names the file.

    Remote file systems raise errors of their packages, so the clause is broad.
    """
    try:
        yield
    except JinaDataError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"{name}: no such file. Check the path; it may have been moved since the run began."
        ) from error
    except PermissionError as error:
        raise InputError(f"{name}: no permission to read it. Check its permissions or your credentials.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        where = "" if source is None else f" after {source.offset:,} decompressed bytes"
        raise InputError(
            f"{name}: the compressed stream is truncated or damaged{where} ({error}). "
            "Fetch or write the file again, or leave it out; nothing after that point can be read."
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        where = "" if source is None else f" at byte {source.offset:,}"
        text = str(error).rstrip(".") or type(error).__name__
        raise InputError(f"{name}: could not be read{where}: {text}. Fetch or write the file again.") from error


def open_stored(file: InputFile) -> BinaryIO:
    """Open the stored bytes of a file."""
    if not file.is_local:
        from jina_data.read.remote import open_url

        return open_url(file.name)
    handle = Path(file.name).open("rb")  # noqa: SIM115
    stat = Path(file.name).stat()
    if (file.size, file.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
        handle.close()
        raise InputError(
            f"{file.name}: changed since the run began (it had {file.size:,} bytes, now {stat.st_size:,}). "
            "Start over with the current file: --overwrite."
        )
    return handle


class ByteSource:
    """The decompressed bytes of a file, read forward; `offset` is the position of the next byte."""

    def __init__(self, file: InputFile) -> None:
        self.name = file.name
        self.offset = 0
        self._compressed = file.compression is not None
        with translate_errors(self.name):
            self._stored = open_stored(file)
            self._bytes = _open_decompressed(self._stored, file.compression)
        if encoding := file.option("encoding"):
            self._bytes = cast(BinaryIO, io.BufferedReader(Utf8Stream(self._bytes, encoding), CHUNK_BYTES))
            self._compressed = True

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bytes.close()
        self._stored.close()

    def read(self, n_bytes: int = CHUNK_BYTES) -> bytes:
        """Return the next `n_bytes` bytes, fewer only at the end of the file."""
        parts: list[bytes] = []
        missing = n_bytes
        with translate_errors(self.name, self):
            while missing and (part := self._bytes.read(missing)):
                parts.append(part)
                missing -= len(part)
                self.offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def move_to(self, offset: int) -> None:
        """Move forward to an offset: with a seek where possible, else by reading."""
        if offset == self.offset:
            return
        if not self._compressed and self._seek(offset):
            self.offset = offset
            return
        while self.offset < offset and self.read(min(CHUNK_BYTES, offset - self.offset)):
            pass

    def _seek(self, offset: int) -> bool:
        try:
            return self._bytes.seek(offset) == offset
        except (ValueError, OSError):
            return False


def _open_decompressed(stored: BinaryIO, compression: str | None) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stored))
    if compression == "zstd":
        return cast(BinaryIO, io.BufferedReader(_ZstdFrames(stored), CHUNK_BYTES))
    return stored


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
                self._input = self._stored.read(ZSTD_INPUT_BYTES)
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
