"""Queries over a finished run of `negate`: rejected and unanswered pairs, and the attempts for one pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb

from jina_data.errors import UsageError
from jina_data.negation.corpora import REASONS as ROW_REASONS
from jina_data.negation.report import NegateReport
from jina_data.negation.verify import REASONS
from jina_data.run.inspection import DropGroup, DropQuery, check_name, choose_groups, nothing_dropped, text_lines
from jina_data.run.names import parquet_in

PAIRS, CHECK, ANSWER = "pairs", "check", "answer"
"""The stages of a run: rows that are no pairs, rejected negatives, and pairs without an answer."""


@dataclass(frozen=True)
class NegateInspection:
    """A finished run of `negate`, opened for queries; `con` has the views `rejected`, `unanswered` and `accepted`."""

    folder: Path
    report: NegateReport
    con: duckdb.DuckDBPyConnection

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a finished run.

        Raises:
            RunFolderError: there is no finished run of `negate`.
        """
        path, con = Path(folder), duckdb.connect()
        report = NegateReport.load(path)
        for name, part in (("rejected", "rejected"), ("unanswered", "unanswered"), ("accepted", "data/full")):
            con.read_parquet(parquet_in(path / part)).create_view(name)
        return cls(path, report, con)

    def drop_lines(self, query: DropQuery) -> Iterator[str]:
        """Yield the counts of rows without a negative by stage and reason; each with a sample if it has texts.

        Raises:
            UsageError: the run has no such stage, reason or source.
        """
        if query.source is not None:
            check_name("source", query.source, self.report.rows["rows"])
        groups = self._groups(query.source)
        reasons = [*(group.reason for group in groups), *REASONS, *ROW_REASONS]
        chosen = choose_groups(groups, query, stages=(PAIRS, CHECK, ANSWER), reasons=reasons)
        if not chosen:
            yield nothing_dropped(query)
        for group in chosen:
            note = " (not stored; see the source)" if group.stage == PAIRS else ""
            yield f"{group.title} {group.reason}: {group.rows:,} rows{note}"
            if group.stage != PAIRS:
                yield from self._sample(group, query)
            yield ""

    def _groups(self, source: str | None) -> list[DropGroup]:
        """Return the rows that are no pairs, and the pairs whose last negative was rejected or never came."""
        unusable: dict[str, int] = {}
        for name, reasons in self.report.rows["unusable"].items():
            for reason, n in reasons.items() if source in (None, name) else ():
                unusable[reason] = unusable.get(reason, 0) + n
        groups = [DropGroup(PAIRS, PAIRS, reason, n) for reason, n in unusable.items()]
        for stage, view, column in (
            (CHECK, "rejected WHERE final", "reason"),
            (ANSWER, "unanswered WHERE true", "error"),
        ):
            counted = self.con.execute(
                f"SELECT {column} AS reason, count(*) AS n FROM {view} AND source = coalesce(?, source) "
                "GROUP BY ALL ORDER BY n DESC, reason",
                [source],
            ).fetchall()
            groups += [DropGroup(stage, stage, reason, n) for reason, n in counted]
        return groups

    def _sample(self, group: DropGroup, query: DropQuery) -> Iterator[str]:
        is_rejected = group.stage == CHECK
        columns = "id, detail, anchor, entailment" + (", negative, raw" if is_rejected else "")
        view = "rejected WHERE final AND reason = ?" if is_rejected else "unanswered WHERE error = ?"
        found = self.con.execute(
            f"SELECT {columns} FROM {view} AND source = coalesce(?, source) ORDER BY hash(id, ?::BIGINT), id LIMIT ?",
            [group.reason, query.source, query.seed, query.n_rows],
        )
        for row in found.fetchall():
            values = dict(zip(columns.split(", "), row, strict=True))
            detail = values.pop("detail")
            yield f"- {values.pop('id')}{f' ({detail})' if detail else ''}"
            yield from text_lines(_without_empty(values), query.width)

    def row_text(self, place: str, *, width: int) -> str:
        """Describe what happened to one pair, named by its id or by its id in the source.

        Raises:
            UsageError: there is no such pair, or several have this id.
        """
        lines: list[str] = []
        ids: set[str] = set()
        for state, view in (("rejected", "rejected"), ("no answer", "unanswered"), ("kept", "accepted")):
            found = self.con.execute(
                f"SELECT * FROM {view} WHERE id = ? OR source_id = ? ORDER BY attempt", [place, place]
            )
            names = [column[0] for column in found.description or []]
            for row in found.fetchall():
                values = dict(zip(names, row, strict=True))
                ids.add(values["id"])
                lines += _attempt_lines(state, values, width)
        if len(ids) != 1:
            problem = f"could be {' or '.join(sorted(ids)[:10])}" if ids else "is not a pair of this run"
            raise UsageError(f"{place!r} {problem}; expected the id of a pair, as in the column id of data/full")
        return "\n".join([f"{ids.pop()}", *lines])


def _attempt_lines(state: str, values: Mapping[str, Any], width: int) -> list[str]:
    """Return the lines about one attempt: the state, its reason, and the texts."""
    reason = values.get("reason") or values.get("error")
    detail = f" ({values['detail']})" if values.get("detail") else ""
    head = f"attempt {values['attempt'] + 1}: {state}{f': {reason}{detail}' if reason else ''}"
    texts = {name: values.get(name) for name in ("anchor", "entailment", "negative", "raw")}
    return [head, *text_lines(_without_empty(texts), width)]


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}
