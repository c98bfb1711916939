"""Checks that the row counts of all outputs of a run agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jina_data.clean.plan import InputRange
from jina_data.clean.report import CleanReport
from jina_data.errors import LawError
from jina_data.run.files import count_lines, count_rows


def check_laws(out: Path, report: CleanReport, pieces: Sequence[InputRange]) -> None:
    """Check that every row is in exactly one output, by counting each output separately.

    Raises:
        LawError: the counts of the ledger, of data/, of dropped/ and of the parsed rows do not agree.
    """
    rows = report.rows
    counted = {
        "read": sum(piece.n_rows for piece in pieces),
        "kept": count_rows(out / "data"),
        "dropped": count_rows(out / "dropped"),
        "unreadable": count_lines(out / "unreadable.jsonl"),
    }
    reported = {"read": rows.read, "kept": rows.kept, "dropped": rows.dropped, "unreadable": rows.unreadable}
    if counted != reported or rows.read != rows.kept + rows.dropped + rows.unreadable:
        raise LawError(f"the rows do not add up: the ledger has {reported}, the files have {counted}")
    for part in (*report.files, *report.sources):
        if part.read != part.kept + part.dropped + part.unreadable:
            raise LawError(f"the rows of {part.name} do not add up: {part}")
