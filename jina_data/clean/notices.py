"""Warns about files with many unreadable records, and about stages that drop many rows of a source."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import InputRange, Plan
from jina_data.clean.spool import unreadable_rows
from jina_data.errors import InputError, UsageError
from jina_data.run.names import plain_name

MAX_UNREADABLE = 0.5
"""The share of the records of a file above which a run stops, unless it is set."""

UNREADABLE_SHARE = 0.01
"""The share of the records of a file from which a run warns about unreadable ones."""

DROPPED_SHARE, MIN_ROWS = 0.2, 20
"""A warning needs a larger share of the rows of a source than the first, and at least the second number of its rows."""

INSPECT = "jina-data inspect DIR"
"""The command in warnings. The report has no paths of the run folder, so that the same run gives the same report."""

MAX_NOTICES = 10
"""The maximum number of warnings of a kind; the others are counted."""

CHOSEN = ("sample",)
"""Stages that drop the number of rows that the user asks for, and give no warning."""

MAX_CHARS = 200
"""The maximum number of characters of an error in a message."""


@dataclass(frozen=True)
class ReadFailures:
    """The records of a file, and the first one that could not be parsed; `line` counts from 1, None if unknown."""

    file: str
    rows: int
    unreadable: int
    line: int | None
    error: str

    @property
    def first(self) -> str:
        """The first error with its line."""
        where = "" if self.line is None else f", line {self.line:,}"
        error = self.error if len(self.error) <= MAX_CHARS else f"{self.error[: MAX_CHARS - 3]}..."
        return f"The first error{where}: {error.rstrip('.')}"


def check_share(share: float) -> float:
    """Return the maximum share of unreadable records.

    Raises:
        UsageError: it is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"--max-unreadable is {share:g}; expected a share from 0 to 1, such as 0.5")
    return share


def find_failures(folder: CleanFolder, plan: Plan, pieces: Sequence[InputRange]) -> list[ReadFailures]:
    """Return the files with unreadable records, in the order of the inputs."""
    rows: dict[int, int] = {}
    unreadable: dict[int, int] = {}
    first: dict[int, tuple[int | None, str]] = {}
    for piece in pieces:
        rows[piece.file_index] = rows.get(piece.file_index, 0) + piece.n_rows
        unreadable[piece.file_index] = unreadable.get(piece.file_index, 0) + piece.n_unreadable
        if piece.n_unreadable and piece.file_index not in first:
            record = next(unreadable_rows(folder, piece))
            line = None if record["line"] is None else piece.first_line + record["line"]
            first[piece.file_index] = (line, record["error"])
    return [
        ReadFailures(plan.file_name(index), rows[index], unreadable[index], *first[index]) for index in sorted(first)
    ]


def check_readable(failures: Sequence[ReadFailures], max_unreadable: float) -> None:
    """Check that no file has more unreadable records than allowed.

    Raises:
        InputError: a file has; the message gives its counts, its first error, and what to do.
    """
    for failure in failures:
        if failure.unreadable > max_unreadable * failure.rows:
            raise InputError(
                f"{plain_name(failure.file)}: {_counts(failure)} cannot be read; the limit is "
                f"{_percent(max_unreadable)} of a file. {failure.first}. Check that the format, delimiter and encoding "
                f"of the file are right, or leave the file out. To continue without these records, set "
                f"--max-unreadable 1"
            )


def unreadable_notices(failures: Sequence[ReadFailures]) -> list[str]:
    """Return a warning for every file with more than 1 % unreadable records, those with most first."""
    many = [failure for failure in failures if failure.unreadable > UNREADABLE_SHARE * failure.rows]
    many.sort(key=lambda failure: -failure.unreadable)
    lines = [
        f"{plain_name(failure.file)}: {_counts(failure)} cannot be read. {failure.first}. "
        f"See them with `{_inspect('--reason', 'unreadable')}`"
        for failure in many[:MAX_NOTICES]
    ]
    if rest := many[MAX_NOTICES:]:
        n_rows = sum(failure.unreadable for failure in rest)
        lines.append(f"{len(rest):,} more files have more than 1 % unreadable records, {n_rows:,} in all")
    return lines


def drop_notices(con: duckdb.DuckDBPyConnection, plan: Plan) -> list[str]:
    """Return a warning for every stage that drops more than 20 % of the rows of a source that reach it.

    `con` has the view `ledger`. The warnings with the most dropped rows come first.
    """
    found = [drop for drop in _large_drops(con) if plan.stages[drop[0]].name not in CHOSEN]
    lines = []
    for index, source, reason, dropped, reached in found[:MAX_NOTICES]:
        stage = plan.stages[index].name
        command = _inspect("--stage", stage, "--reason", reason, "--source", source)
        lines.append(
            f"{stage} drops {dropped:,} of {reached:,} rows ({_percent(dropped / reached)}) of {plain_name(source)}, "
            f"most of them as {reason}. Check some of them with `{command}`"
        )
    if rest := found[MAX_NOTICES:]:
        n_rows = sum(drop[3] for drop in rest)
        lines.append(
            f"in {len(rest):,} more cases a stage drops more than {_percent(DROPPED_SHARE)} of a source, {n_rows:,} "
            "rows in all; see the table by source in report.html"
        )
    return lines


def _large_drops(con: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str, int, int]]:
    """Return stage, source, most frequent reason, dropped rows and rows that reached the stage."""
    # The rows that reach a stage are those of the source that were read, without those that earlier stages dropped.
    rows: list[tuple[int, str, str, int, int]] = con.execute(
        """
        WITH drops AS (SELECT source, stage_index, reason, count(*) AS n FROM ledger
                       WHERE stage_index IS NOT NULL GROUP BY ALL),
             stages AS (SELECT source, stage_index, sum(n)::BIGINT AS dropped, arg_max(reason, (n, reason)) AS reason
                        FROM drops GROUP BY ALL),
             sources AS (SELECT source, count(*) FILTER (kept OR stage_index IS NOT NULL) AS parsed
                         FROM ledger GROUP BY ALL),
             counted AS (SELECT stage_index, source, reason, dropped, (parsed - coalesce(sum(dropped) OVER (
                             PARTITION BY source ORDER BY stage_index
                             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0))::BIGINT AS reached
                         FROM stages JOIN sources USING (source))
        FROM counted WHERE reached >= ? AND dropped > ? * reached ORDER BY dropped DESC, stage_index, source
        """,
        [MIN_ROWS, DROPPED_SHARE],
    ).fetchall()
    return rows


def _counts(failure: ReadFailures) -> str:
    share = _percent(failure.unreadable / failure.rows)
    return f"{failure.unreadable:,} of {failure.rows:,} records ({share})"


def _inspect(*options: str) -> str:
    return f"{INSPECT} {shlex.join(map(plain_name, options))}"


def with_folder(notice: str, folder: Path | None) -> str:
    """Return a warning for the terminal, with the run folder in place of DIR."""
    named = shlex.join(["jina-data", "inspect", plain_name(str(folder))])
    return notice if folder is None else notice.replace(INSPECT, named)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
