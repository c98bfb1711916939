"""."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import ResourceError


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write a file that appears under its name whole or not at all: to a temporary name, then renamed."""
    encoding = None if "b" in mode else "utf-8"
    with whole_path(path) as temporary, temporary.open(mode, encoding=encoding) as sink:
        yield sink


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; rename it to `path` afterwards, remove it on any failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path, "w") as sink:
        json.dump(value, sink, ensure_ascii=False, indent=2)
        sink.write("\n")


@contextlib.contextmanager
def resource_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, or memory that ran out, into one clear error."""
    import duckdb

    try:
        yield
    except (OSError, pa.ArrowException, duckdb.Error) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error):
            raise ResourceError(
                f"the disk of {folder} is full. Make room and give the same command again: "
                "the run goes on where it stopped"
            ) from None
        if isinstance(error, duckdb.OutOfMemoryException | pa.ArrowMemoryError):
            raise ResourceError(
                f"out of memory: {str(error).splitlines()[0]}. Raise --memory-limit or lower --workers, "
                "and give the same command again: the run goes on where it stopped"
            ) from None
        raise
    except MemoryError:
        raise ResourceError(
            "out of memory. Lower --workers or --batch-rows, and give the same command again: "
            "the run goes on where it stopped"
        ) from None


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def count_rows(folder: Path) -> int:
    """Count the rows of the shards in a folder."""
    parquet: int = sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
    return parquet + sum(count_lines(path) for path in folder.glob("*.jsonl"))


def count_lines(path: Path) -> int:
    """Count the lines of a file."""
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
