"""Clear errors for full disks, other failures to write, and lack of memory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from jina_data.errors import JinaDataError, ResourceError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)

FULL_TEXT = re.compile(
    r"No space left|Disk quota exceeded|disk is full|os error (28|122)\b|failed to offload data block"
    r"|max_temp_directory_size|^\d+ requested and \d+ written|PytorchStreamWriter|inline_container"
)
"""How libraries report a full disk that give no error number.

They are safetensors and tokenizers (Rust), SQLite, DuckDB when it spills, numpy (which knows only how much it could
write) and torch.save (which only names its writer).
"""

REASONS = {
    errno.EFBIG: "a file would be larger than the file system or the limit of this process (ulimit -f) allows",
    errno.EMFILE: "this process has too many open files; raise the limit (ulimit -n) or lower --workers",
    errno.ENFILE: "the machine has too many open files",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the network file system lost a file (stale file handle)",
}
"""Other failures of the machine, by error number."""


@contextlib.contextmanager
def resource_errors(folder: Path) -> Iterator[None]:
    """Translate errors about a full disk or a lack of memory into one clear error, which names `folder`.

    Raises:
        ResourceError: the disk is full or fails, or memory ran out.
    """
    try:
        yield
    except JinaDataError:
        raise
    except Exception as error:
        if (problem := resource_problem(error, folder)) is None:
            raise
        raise ResourceError(f"{problem} and run the same command again: the run will resume") from None


def resource_problem(error: BaseException, folder: Path | None = None) -> str | None:
    """Return what the machine lacks and what to do about it; None for any other error."""
    if is_disk_full(error):
        return f"the disk{f' of {folder}' if folder is not None else ''} is full. Free some space"
    if isinstance(error, OSError) and error.errno in REASONS:
        where = f"{folder}: " if folder is not None else ""
        return f"{where}{REASONS[error.errno]}. Correct this"
    duckdb = sys.modules.get("duckdb")  # without an import, there are no DuckDB errors
    is_duckdb_memory = duckdb is not None and isinstance(error, duckdb.OutOfMemoryException)
    if is_duckdb_memory or isinstance(error, pa.ArrowMemoryError):
        return f"out of memory: {first_line(error)}. Raise --memory-limit or lower --workers"
    if isinstance(error, MemoryError):
        return "out of memory. Lower --workers or --batch-rows"
    return None


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or the error that caused it, reports a full disk."""
    seen = 0
    while error is not None and seen < 10:
        number = getattr(error, "errno", None)
        if number in FULL or (number is None and FULL_TEXT.search(str(error))):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def allocate(file: BinaryIO, n_bytes: int) -> None:
    """Reserve the space of a file that will be mapped into memory: a full disk would end the process on a write.

    Raises:
        OSError: the disk has too little space.
    """
    if hasattr(os, "posix_fallocate") and n_bytes:
        os.posix_fallocate(file.fileno(), 0, n_bytes)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
