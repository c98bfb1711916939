"""Queries over a finished run of `mine`: dropped pairs, and the negatives of one pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb

from jina_data.errors import UsageError
from jina_data.mining.outputs import REASONS
from jina_data.mining.report import MineReport
from jina_data.run.inspection import (
    DropGroup,
    DropQuery,
    check_name,
    choose_groups,
    find_file,
    nothing_dropped,
    split_place,
    text_lines,
)
from jina_data.run.names import plain_name

STAGE = "mine"
"""The only stage of a run of `mine`."""


@dataclass(frozen=True)
class MineInspection:
    """A finished run of `mine`, opened for queries; `con` has the views `ledger`, `dropped` and `data`."""

    folder: Path
    report: MineReport
    con: duckdb.DuckDBPyConnection

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a finished run.

        Raises:
            RunFolderError: there is no finished run of `mine`.
        """
        path, con = Path(folder), duckdb.connect()
        report = MineReport.load(path)
        con.execute("SET preserve_insertion_order = true")
        for name in ("ledger", "dropped", "data"):
            con.read_parquet(_parts(path / name)).create_view(name)
        return cls(path, report, con)

    def drop_lines(self, query: DropQuery) -> Iterator[str]:
        """Yield the counts of dropped pairs by reason, each with a sample.

        Raises:
            UsageError: the run has no such stage, reason or source.
        """
        if query.source is not None:
            check_name("source", query.source, (source["name"] for source in self.report.sources))
        counted = self.con.execute(
            "SELECT reason, count(*) FROM ledger WHERE NOT kept AND source = coalesce(?, source) GROUP BY ALL",
            [query.source],
        ).fetchall()
        groups = [DropGroup(STAGE, STAGE, reason, n) for reason, n in counted]
        chosen = choose_groups(groups, query, stages=[STAGE], reasons=REASONS)
        if not chosen:
            yield nothing_dropped(query)
        for group in chosen:
            yield f"{group.title} {group.reason}: {group.rows:,} rows"
            yield from self._sample(group.reason, query)
            yield ""

    def _sample(self, reason: str, query: DropQuery) -> Iterator[str]:
        picked = self.con.execute(
            "SELECT file, row, _score, anchor, positive FROM ledger JOIN dropped ON file = _file AND row = _row "
            "WHERE reason = ? AND source = coalesce(?, source) ORDER BY hash(file, row, ?::BIGINT), file, row LIMIT ?",
            [reason, query.source, query.seed, query.n_rows],
        ).fetchall()
        for file, row, score, anchor, positive in picked:
            yield f"- {file}:{row} (negatives found: {score:g})"
            yield from text_lines({"anchor": anchor, "positive": positive}, query.width)

    def row_text(self, place: str, *, width: int) -> str:
        """Describe what happened to one pair, named as FILE:ROW.

        Raises:
            UsageError: there is no such row, or the name of the file is ambiguous.
        """
        file, row = split_place(plain_name(place))
        files = [name for (name,) in self.con.execute("SELECT DISTINCT file FROM ledger ORDER BY 1").fetchall()]
        file = find_file(file, files)
        # The rows of data/ are those of the kept pairs, in the order of the ledger: `start` is the first of a pair.
        entry = self.con.execute(
            "SELECT source, kept, reason, written, start, positive_score, scores, partners FROM (SELECT *, "
            "(sum(written) OVER (ROWS UNBOUNDED PRECEDING) - written)::BIGINT AS start FROM ledger) "
            "WHERE file = ? AND row = ?",
            [file, row],
        ).fetchone()
        if entry is None:
            raise UsageError(f"{file} has no pair in row {row}; rows are counted from 0")
        source, kept, reason, written, start, positive_score, scores, partners = entry
        lines = [f"{file}:{row} (source {source})", "kept" if kept else f"dropped by {STAGE}: {reason}"]
        lines += text_lines(self._texts(file, row, start if kept else None, written), width)
        lines.append(f"similarity to the anchor: positive {positive_score:.3f}")
        lines += [f"  negative {score:.3f}, from {where}" for score, where in zip(scores, partners, strict=True)]
        return "\n".join(lines)

    def _texts(self, file: str, row: int, start: int | None, written: int) -> dict[str, Any]:
        if start is None:
            rows = self.con.execute(
                "SELECT anchor, positive FROM dropped WHERE _file = ? AND _row = ?", [file, row]
            ).fetchall()
            return dict(zip(("anchor", "positive"), rows[0], strict=True)) if rows else {}
        table = self.con.execute(f"SELECT * FROM data LIMIT {int(written)} OFFSET {int(start)}")
        names = [column[0] for column in table.description or []]
        rows = table.fetchall()
        texts = dict(zip(names, rows[0], strict=True)) if rows else {}
        return {**texts, "negative": [values[-1] for values in rows]} if len(rows) > 1 else texts


def _parts(folder: Path) -> Sequence[str]:
    return [str(path) for path in sorted(folder.glob("part-*.parquet"))]
