"""The laws of the run folder, checked by counting its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from jina_data.clean.plan import Range
from jina_data.clean.report import CleanReport
from jina_data.errors import LawError


def check_laws(out: Path, report: CleanReport, pieces: Sequence[Range]) -> None:
    """Make sure that every row is accounted for, by counting each output on its own.

    Raises:
        LawError: the counts of the ledger, of data/, of dropped/ and of what was parsed do not agree.
    """
    rows = report.rows
    counted = {
        "read": sum(piece.n_rows for piece in pieces),
        "kept": count_rows(out / "data"),
        "dropped": count_rows(out / "dropped"),
        "unreadable": count_lines(out / "unreadable.jsonl"),
    }
    said = {"read": rows.read, "kept": rows.kept, "dropped": rows.dropped, "unreadable": rows.unreadable}
    if counted != said or rows.read != rows.kept + rows.dropped + rows.unreadable:
        raise LawError(f"the rows do not add up: the ledger says {said}, the files hold {counted}")
    for part in (*report.files, *report.sources):
        if part.read != part.kept + part.dropped + part.unreadable:
            raise LawError(f"the rows of {part.name} do not add up: {part}")


def count_rows(folder: Path) -> int:
    """Count the rows of the shards in a folder."""
    parquet: int = sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
    return parquet + sum(count_lines(path) for path in folder.glob("*.jsonl"))


def count_lines(path: Path) -> int:
    """Count the lines of a file."""
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
