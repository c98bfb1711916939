"""Queries over a finished run: dropped rows with their reasons, and what happened to one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.ledger import READ_REASON, READ_STAGE
from jina_data.clean.report import CleanReport
from jina_data.errors import UsageError
from jina_data.run.inspection import (
    DropGroup,
    DropQuery,
    check_name,
    choose_groups,
    find_file,
    nothing_dropped,
    shown_raw,
    split_place,
    text_lines,
)
from jina_data.run.names import parquet_in, plain_name
from jina_data.stages import STAGES
from jina_data.stages.base import quoted


@dataclass(frozen=True)
class Inspection:
    """A finished run, opened for queries."""

    folder: Path
    report: CleanReport
    roles: Mapping[str, Sequence[str]]
    data_roles: Mapping[str, Sequence[str]]
    """The roles of the columns of data/."""
    con: duckdb.DuckDBPyConnection

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a finished run.

        Raises:
            RunFolderError: there is no finished run.
        """
        path = Path(folder)
        report = CleanReport.load(path)
        manifest = CleanFolder(path).read_json(path / "manifest.json")
        con = duckdb.connect()
        for name in ("ledger", "dropped"):
            con.read_parquet(parquet_in(path / name)).create_view(name)
        return cls(path, report, manifest["roles"], manifest["data_roles"], con)

    @property
    def _text_columns(self) -> list[str]:
        return [column for columns in self.roles.values() for column in columns]

    def sample(
        self,
        reason: str,
        stage_index: int,
        n_rows: int,
        seed: int,
        file: str | None = None,
        *,
        source: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return a seeded sample of the rows that a stage dropped for a reason, with their partners' texts.

        With `file` or `source`, only rows of that input file or source. A row is a dict {"place", "score", "partner",
        "texts", "partner_texts"}.
        """
        picked = self.con.execute(
            "SELECT file, row, score, partner, partner_row_id FROM ledger WHERE stage_index = ? AND reason = ? "
            "AND file = coalesce(?, file) AND source = coalesce(?, source) "
            "ORDER BY hash(row_id, ?::BIGINT), row_id LIMIT ?",
            [stage_index, reason, file, source, seed, n_rows],
        ).fetchall()
        return [
            {
                "place": f"{file}:{row}",
                "score": score,
                "partner": partner,
                "texts": self.texts(file, row),
                "partner_texts": self.texts(*split_place(partner)) if partner_row_id is not None else None,
            }
            for file, row, score, partner, partner_row_id in picked
        ]

    def texts(self, file: str, row: int) -> dict[str, Any] | None:
        """Return the texts of a row by column: those of a dropped row from dropped/, of a kept one from data/."""
        entry = self.con.execute("SELECT kept, row_id FROM ledger WHERE file = ? AND row = ?", [file, row]).fetchone()
        if entry is None:
            return None
        kept, row_id = entry
        if not kept:
            return self._dropped_row(file, row)
        # data/ holds the kept rows in the order of their row ids.
        position = self.con.execute("SELECT count(*) FROM ledger WHERE kept AND row_id < ?", [row_id]).fetchone()
        assert position is not None
        return self._kept_row(position[0])

    def role_texts(self, file: str, row: int) -> dict[str, Any]:
        """Return the texts of a row by role; by role and column if a role has several columns.

        As in `texts`, a dropped row has the texts of the input, and a kept row those of data/.
        """
        texts = self.texts(file, row) or {}
        named = {}
        for roles in (self.data_roles, self.roles):
            for role, columns in roles.items():
                found = [column for column in columns if column in texts]
                named.update({column: role if len(found) == 1 else f"{role} ({column})" for column in found})
        return {named.get(column, column): value for column, value in texts.items()}

    def row_scores(self, row_id: int) -> dict[str, dict[str, Any]]:
        """Return the scores of a row, by the folder of the stage in scores/ and by name."""
        out = {}
        for folder in sorted((self.folder / "scores").glob("*")):
            scores = self.con.execute(
                "SELECT * EXCLUDE (row_id) FROM read_parquet(?) WHERE row_id = ?", [parquet_in(folder), row_id]
            )
            names = [column[0] for column in scores.description or []]
            for values in scores.fetchall():
                out[folder.name] = dict(zip(names, values, strict=True))
        return out

    def _kept_row(self, position: int) -> dict[str, Any] | None:
        import pyarrow.dataset as ds

        suffix = "json" if any((self.folder / "data").glob("*.jsonl")) else "parquet"
        data = ds.dataset(sorted(map(str, (self.folder / "data").iterdir())), format=suffix)
        # `select` may have removed all text columns.
        texts = [column for columns in self.data_roles.values() for column in columns]
        names = [name for name in data.schema.names if name in texts] or data.schema.names
        rows = data.take([position], columns=names).to_pylist()
        return dict(rows[0]) if rows else None

    def _dropped_row(self, file: str, row: int) -> dict[str, Any] | None:
        names = ", ".join(map(quoted, self._text_columns))
        values = self.con.execute(f"SELECT {names} FROM dropped WHERE _file = ? AND _row = ?", [file, row]).fetchone()
        return None if values is None else dict(zip(self._text_columns, values, strict=True))

    def drop_lines(self, query: DropQuery) -> Iterator[str]:
        """Yield the counts of dropped and unreadable rows by stage and reason, each with a sample.

        Raises:
            UsageError: the run has no such stage, reason or source.
        """
        if query.source is not None:
            check_name("source", query.source, (part.name for part in self.report.sources))
        stages = [READ_STAGE, *(counts.name for counts in self.report.stages)]
        chosen = choose_groups(self._groups(query.source), query, stages=stages, reasons=self._reasons())
        if not chosen:
            yield nothing_dropped(query)
        for group in chosen:
            yield f"{group.title} {group.reason}: {group.rows:,} rows"
            if group.index is None:
                yield from self._unreadable_lines(query)
            else:
                for drop in self.sample(group.reason, group.index, query.n_rows, query.seed, source=query.source):
                    yield from _drop_lines(drop, query.width)
            yield ""

    def _groups(self, source: str | None) -> list[DropGroup]:
        rows = self.con.execute(
            "SELECT coalesce(stage_index, -1) AS position, stage, reason, count(*) AS n FROM ledger "
            "WHERE NOT kept AND source = coalesce(?, source) GROUP BY ALL ORDER BY position, n DESC, reason",
            [source],
        ).fetchall()
        return [
            DropGroup(stage, stage, reason, n)
            if position < 0
            else DropGroup(stage, f"{stage} (stage {position})", reason, n, position)
            for position, stage, reason, n in rows
        ]

    def _reasons(self) -> list[str]:
        """Return the reasons of this run: those for which rows were dropped first, then the others of its stages."""
        dropped = [reason for counts in self.report.stages for reason in counts.dropped]
        possible = [reason for counts in self.report.stages for reason in _possible_reasons(counts.name)]
        return list(dict.fromkeys([*dropped, READ_REASON, *possible]))

    def _unreadable_lines(self, query: DropQuery) -> Iterator[str]:
        """Yield a seeded sample of the unreadable records with their errors, in the order of the input."""
        picked = self.con.execute(
            "SELECT file, row FROM ledger WHERE stage = ? AND source = coalesce(?, source) "
            "ORDER BY hash(row_id, ?::BIGINT), row_id LIMIT ?",
            [READ_STAGE, query.source, query.seed, query.n_rows],
        ).fetchall()
        places = set(picked)
        for record in self._unreadable_records():
            if (record["file"], record["row"]) in places:
                yield f"- {record['file']}:{record['row']} ({_failure(record)})"
                yield f"    {shown_raw(record['raw'], query.width)}"

    def _unreadable_records(self) -> Iterator[dict[str, Any]]:
        with (self.folder / "unreadable.jsonl").open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def row_text(self, place: str, *, width: int) -> str:
        """Describe what happened to one row, named as FILE:ROW.

        Raises:
            UsageError: there is no such row, or the name of the file is ambiguous.
        """
        file, row = self._resolve(place)
        entry = self.con.execute(
            "SELECT kept, stage_index, stage, reason, score, partner, source FROM ledger WHERE file = ? AND row = ?",
            [file, row],
        ).fetchone()
        if entry is None:
            raise UsageError(f"{file} has no row {row}; rows are counted from 0")
        kept, index, stage, reason, score, partner, source = entry
        lines = [f"{file}:{row} (source {source})"]
        if kept:
            lines.append("kept")
        elif index is None:
            record = self._unreadable(file, row)
            lines.append(f"unreadable: {_failure(record) if record else 'not in unreadable.jsonl'}")
            lines += [f"    {shown_raw(record['raw'], width)}"] if record else []
        else:
            lines.append(f"dropped by {stage} (stage {index}): {reason}{_score(score)}")
            if partner is not None:
                lines.append(f"partner {partner}")
        texts = self.texts(file, row) if index is not None or kept else None
        lines += text_lines(texts, width)
        lines += self._scores(file, row)
        return "\n".join(lines)

    def _resolve(self, place: str) -> tuple[str, int]:
        file, row = split_place(plain_name(place))
        return find_file(file, [part.name for part in self.report.files]), row

    def _unreadable(self, file: str, row: int) -> dict[str, Any] | None:
        records = self._unreadable_records()
        return next((record for record in records if (record["file"], record["row"]) == (file, row)), None)

    def _scores(self, file: str, row: int) -> list[str]:
        entry = self.con.execute("SELECT row_id FROM ledger WHERE file = ? AND row = ?", [file, row]).fetchone()
        row_id = 0 if entry is None else entry[0]
        lines = [
            f"  {folder}: " + ", ".join(f"{name} {value}" for name, value in scores.items())
            for folder, scores in self.row_scores(row_id).items()
        ]
        return ["scores", *lines] if lines else []


def _failure(record: Mapping[str, Any]) -> str:
    places = [f"{name} {record[key]}" for name, key in (("line", "line"), ("byte", "byte_offset"))]
    known = [place for place in places if not place.endswith(" None")]
    return f"{', '.join(known)}: {record['error']}" if known else str(record["error"])


def _possible_reasons(stage: str) -> tuple[str, ...]:
    """Return the reasons of a stage; a stage of the user's may not be known here."""
    return STAGES[stage].reasons if stage in STAGES else ()


def _drop_lines(drop: Mapping[str, Any], width: int) -> Iterator[str]:
    yield f"- {drop['place']}{_score(drop['score'])}"
    yield from text_lines(drop["texts"], width)
    if drop["partner"] is not None:
        yield f"  partner {drop['partner']}"
        yield from text_lines(drop["partner_texts"], width)


def _score(score: float | None) -> str:
    return "" if score is None else f" (score {score:g})"
