"""Opens input files as decompressed byte streams, local or remote; every error names the file and the offset."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import pyarrow as pa

from jina_data.errors import InputError, JinaDataError
from jina_data.read.encoding import Utf8Stream
from jina_data.read.files import compression
from jina_data.read.files.compression import STREAM_ERRORS, open_decompressed
from jina_data.read.files.zip_member import open_member
from jina_data.read.model import InputFile

CHUNK_BYTES = compression.CHUNK_BYTES


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
    except STREAM_ERRORS as error:
        where = "" if source is None else f" after {source.offset:,} decompressed bytes"
        raise InputError(
            f"{name}: the compressed stream is truncated or damaged{where} ({error}). "
            "Fetch or write the file again, or leave it out; nothing after that point can be read."
        ) from error
    except MemoryError:
        raise
    except UnicodeError as error:
        raise InputError(
            f"{name}: the text is not in the encoding that is set ({error}). Leave out --encoding, or set the right "
            "one; text in UTF-16 without a byte order mark is utf-16-le or utf-16-be."
        ) from error
    except Exception as error:
        where = "" if source is None else f" at byte {source.offset:,}"
        text = str(error).rstrip(".") or type(error).__name__
        raise InputError(f"{name}: could not be read{where}: {text}. Fetch or write the file again.") from error


def open_stored(file: InputFile) -> BinaryIO:
    """Open the stored bytes of a file."""
    if not file.is_local:
        from jina_data.read.remote import open_url

        return open_url(file.name)
    path = Path(file.local_path)
    handle = path.open("rb")
    stat = path.stat()
    if file.path is None and (file.size, file.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
        handle.close()
        raise InputError(
            f"{file.name}: changed since the run began (it had {file.size:,} bytes, now {stat.st_size:,}). "
            "Start over with the current file: --overwrite."
        )
    return handle


def can_seek(stored: BinaryIO) -> bool:
    """Return whether an open file can be sought in; it is at its start afterwards."""
    try:
        stored.seek(0, 2)
        stored.seek(0)
    except (OSError, ValueError, AttributeError):
        return False
    return True


def copied(stored: BinaryIO) -> BinaryIO:
    """Copy the rest of a stream to a temporary file, which is at its start."""
    with ExitStack() as unless_whole:
        copy = unless_whole.enter_context(tempfile.TemporaryFile())
        while part := stored.read(16 * CHUNK_BYTES):
            copy.write(part)
        copy.seek(0)
        unless_whole.pop_all()
    return cast(BinaryIO, copy)


class _Available:
    """A stream that returns the bytes that it has, fewer than were asked for: those before damage are not lost."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)


class ByteSource:
    """The decompressed bytes of a file, read forward; `offset` is the position of the next byte.

    `member` is the name of the file in a zip archive.
    """

    def __init__(self, file: InputFile, *, buffer_bytes: int = CHUNK_BYTES) -> None:
        self.name = file.name
        self.offset = 0
        self._buffer_bytes = buffer_bytes
        self.member: str | None = None
        self._compressed = file.compression is not None
        with translate_errors(self.name), ExitStack() as unless_open:
            self._stored = open_stored(file)
            unless_open.callback(self._stored.close)
            self._bytes = self._stored
            for layer in file.compression.split("+") if file.compression else ():
                self._bytes = self._open_layer(self._bytes, layer, unless_open)
            if encoding := file.option("encoding"):
                decoded = Utf8Stream(cast(BinaryIO, _Available(self._bytes)), encoding)
                self._bytes = cast(BinaryIO, io.BufferedReader(decoded, CHUNK_BYTES))
                self._compressed = True
            self._available = _Available(self._bytes) if self._compressed else self._bytes
            self._opened = unless_open.pop_all()

    def _open_layer(self, stored: BinaryIO, layer: str, opened: ExitStack) -> BinaryIO:
        if layer != "zip":
            stream = open_decompressed(stored, layer, self._buffer_bytes)
        else:
            if stored is not self._stored or not can_seek(stored):
                stored = copied(stored)
                opened.callback(stored.close)
            self.member, stream = open_member(stored, self.name)
        opened.callback(stream.close)
        return stream

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def read(self, n_bytes: int = CHUNK_BYTES) -> bytes:
        """Return the next `n_bytes` bytes, fewer only at the end of the file."""
        parts: list[bytes] = []
        missing = n_bytes
        with translate_errors(self.name, self):
            while missing and (part := self._available.read(missing)):
                parts.append(part)
                missing -= len(part)
                self.offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def stored_bytes(self) -> int:
        """Return how many stored bytes were read so far."""
        return self._stored.tell()

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


def _is_utf8(name: str) -> bool:
    """Return whether Arrow can open a file by its name."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def open_seekable(file: InputFile, *, mapped: bool = False) -> Any:
    """Open the decompressed bytes of a file so that they can be sought in, for Arrow; `mapped` maps them into memory.

    A compressed file, and a remote one that cannot seek, is copied to a temporary file.
    """
    if file.compression is None:
        stored = open_stored(file)
        if can_seek(stored) and not (file.is_local and _is_utf8(file.local_path)):
            return stored
        stored.close()
        if file.is_local:
            return pa.memory_map(file.local_path) if mapped and file.size else pa.OSFile(file.local_path)
    with ByteSource(file) as source:
        return copied(cast(BinaryIO, source))
