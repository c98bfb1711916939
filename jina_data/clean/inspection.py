"""Queries over a finished run: dropped rows with their reasons, and what happened to one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.report import CleanReport
from jina_data.errors import UsageError
from jina_data.stages.base import quoted


@dataclass(frozen=True)
class Inspection:
    """A finished run, opened for queries."""

    folder: Path
    report: CleanReport
    roles: Mapping[str, Sequence[str]]
    con: duckdb.DuckDBPyConnection

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a finished run.

        Raises:
            RunFolderError: there is no finished run.
        """
        path = Path(folder)
        report = CleanReport.load(path)
        roles = CleanFolder(path).read_json(path / "manifest.json")["roles"]
        con = duckdb.connect()
        for name in ("ledger", "dropped"):
            con.read_parquet(str(path / name / "*.parquet")).create_view(name)
        return cls(path, report, roles, con)

    @property
    def _text_columns(self) -> list[str]:
        return [column for columns in self.roles.values() for column in columns]

    def sample(
        self, reason: str, stage_index: int, n_rows: int, seed: int, file: str | None = None
    ) -> list[dict[str, Any]]:
        """Return a seeded sample of the rows that a stage dropped for a reason, with their partners' texts.

        With `file`, only rows of that input file. A row is a dict {"place", "score", "partner", "texts",
        "partner_texts"}.
        """
        picked = self.con.execute(
            "SELECT file, row, score, partner, partner_row_id FROM ledger WHERE stage_index = ? AND reason = ? "
            "AND file = coalesce(?, file) ORDER BY hash(row_id, ?::BIGINT), row_id LIMIT ?",
            [stage_index, reason, file, seed, n_rows],
        ).fetchall()
        return [
            {
                "place": f"{file}:{row}",
                "score": score,
                "partner": partner,
                "texts": self.texts(file, row),
                "partner_texts": self.texts(*_split_place(partner)) if partner_row_id is not None else None,
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

    def _kept_row(self, position: int) -> dict[str, Any] | None:
        import pyarrow.dataset as ds

        suffix = "json" if any((self.folder / "data").glob("*.jsonl")) else "parquet"
        data = ds.dataset(sorted(map(str, (self.folder / "data").iterdir())), format=suffix)
        # `select` may have renamed or removed text columns.
        names = [name for name in data.schema.names if name in self._text_columns] or data.schema.names
        rows = data.take([position], columns=names).to_pylist()
        return dict(rows[0]) if rows else None

    def _dropped_row(self, file: str, row: int) -> dict[str, Any] | None:
        names = ", ".join(map(quoted, self._text_columns))
        values = self.con.execute(f"SELECT {names} FROM dropped WHERE _file = ? AND _row = ?", [file, row]).fetchone()
        return None if values is None else dict(zip(self._text_columns, values, strict=True))

    def drops_text(self, *, stage: str | None, reason: str | None, n_rows: int, seed: int, width: int) -> Iterator[str]:
        """Yield the lines of `jina-data inspect`: for each stage and reason, the count and a sample.

        Raises:
            UsageError: no stage or reason of this name dropped anything.
        """
        chosen = [
            (counts.index, counts.name, why, count)
            for counts in self.report.stages
            for why, count in counts.dropped.items()
            if stage in (None, counts.name) and reason in (None, why)
        ]
        if not chosen and (stage or reason):
            pairs = sorted({f"{counts.name} {why}" for counts in self.report.stages for why in counts.dropped})
            raise UsageError(
                "no rows were dropped by that stage or for that reason. "
                f"The stages and reasons with dropped rows are: {', '.join(pairs) or 'none'}"
            )
        if not chosen:
            yield "no rows were dropped"
        for index, name, why, count in chosen:
            yield f"{name} (stage {index}) {why}: {count:,} rows"
            for drop in self.sample(why, index, n_rows, seed):
                yield from _drop_lines(drop, width)
            yield ""

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
            lines.append(f"unreadable: {self._unreadable(file, row)}")
        else:
            lines.append(f"dropped by {stage} (stage {index}): {reason}{_score(score)}")
            if partner is not None:
                lines.append(f"partner {partner}")
        texts = self.texts(file, row) if index is not None or kept else None
        lines += _text_lines(texts, width)
        lines += self._scores(file, row)
        return "\n".join(lines)

    def _resolve(self, place: str) -> tuple[str, int]:
        """Return the full name of the file and the row: the end of the name is enough if only one file matches."""
        file, row = _split_place(place)
        names = [part.name for part in self.report.files]
        matches = [name for name in names if name == file]
        matches = matches or [name for name in names if name.endswith(f"/{file}")]
        matches = matches or [name for name in names if name.endswith(file)]
        if len(matches) != 1:
            problem = "is not a file of this run" if not matches else f"could be {' or '.join(matches)}"
            raise UsageError(f"{file!r} {problem}; the files are {', '.join(names)}")
        return matches[0], row

    def _unreadable(self, file: str, row: int) -> str:
        with (self.folder / "unreadable.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if (record["file"], record["row"]) == (file, row):
                    return f"line {record['line']}, byte {record['byte_offset']}: {record['error']}"
        return "not in unreadable.jsonl"

    def _scores(self, file: str, row: int) -> list[str]:
        entry = self.con.execute("SELECT row_id FROM ledger WHERE file = ? AND row = ?", [file, row]).fetchone()
        row_id = 0 if entry is None else entry[0]
        lines = []
        for folder in sorted((self.folder / "scores").glob("*")):
            scores = self.con.execute(
                "SELECT * EXCLUDE (row_id) FROM read_parquet(?) WHERE row_id = ?", [str(folder / "*.parquet"), row_id]
            )
            names = [column[0] for column in scores.description or []]
            for values in scores.fetchall():
                pairs = zip(names, values, strict=True)
                lines.append(f"  {folder.name}: " + ", ".join(f"{name} {value}" for name, value in pairs))
        return ["scores", *lines] if lines else []


def _split_place(place: str) -> tuple[str, int]:
    file, _, row = place.rpartition(":")
    if not file or not row.isdigit():
        raise UsageError(f"{place!r} is not FILE:ROW, for example questions.jsonl:17")
    return file, int(row)


def _drop_lines(drop: Mapping[str, Any], width: int) -> Iterator[str]:
    yield f"- {drop['place']}{_score(drop['score'])}"
    yield from _text_lines(drop["texts"], width)
    if drop["partner"] is not None:
        yield f"  partner {drop['partner']}"
        yield from _text_lines(drop["partner_texts"], width)


def _text_lines(texts: Mapping[str, Any] | None, width: int) -> list[str]:
    return [f"    {name}: {_cut(value, width)}" for name, value in (texts or {}).items()]


def _cut(value: Any, width: int) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}... ({len(text):,} characters)"


def _score(score: float | None) -> str:
    return "" if score is None else f" (score {score:g})"
