"""The laws of the run folder, checked by counting its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jina_data.clean.plan import Range
from jina_data.clean.report import CleanReport
from jina_data.errors import LawError
from jina_data.run.files import count_lines, count_rows


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
