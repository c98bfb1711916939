"""Atomic writes, hashes and row counts of files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for an atomic write: it gets its name at the end, when it is complete."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding) as sink:
        yield sink


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path for an atomic write; it is renamed to `path` at the end, and removed after a failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(value, indent=2)  # UTF-8 has no lone surrogates, which stand for bytes in names of files
    with atomic_file(path, "w") as sink:
        sink.write(f"{text}\n")


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
