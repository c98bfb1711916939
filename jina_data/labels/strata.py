"""Divides the rows that reached a stage into strata, and draws rows to label from each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.report import CleanReport
from jina_data.errors import UsageError
from jina_data.run.inspection import check_name
from jina_data.stages.base import Threshold, literal, quoted

MAX_REASONS = 4
"""The number of reasons that are strata of their own, those with the most rows."""

LEDGER_SCORE = "score"
"""The name in the report of the ledger's score, which exists for dropped rows only."""

BANDED, BEYOND, NO_SCORE, ALL, OTHER = "in bands", "beyond the limit", "no score", "all", "other reasons"
"""The parts of the rows of a stage; for dropped rows that are not in bands, a part is named as its reason."""


@dataclass(frozen=True)
class Limit:
    """The score that decides in a stage, with its threshold. Ranks are not counted beyond `rank_cap`."""

    name: str
    threshold: Threshold
    rank_cap: int | None = None

    @property
    def text(self) -> str:
        """Describe which rows the stage keeps."""
        side = "at most" if self.threshold.keeps == "below" else "at least"
        return f"{self.name} {side} {self.threshold.value:g}"

    def band(self, low: float, high: float) -> str:
        """Describe the rows with scores from `low` to `high`."""
        ends = [
            f"> {self.rank_cap}" if self.rank_cap is not None and value > self.rank_cap else f"{value:.4g}"
            for value in (low, high)
        ]
        return f"{self.name} {' to '.join(dict.fromkeys(ends))}"


@dataclass(frozen=True)
class Stratum:
    """Rows that a stage dropped or kept, of one band of the score or one reason."""

    kept: bool
    title: str
    rows: int
    key: tuple[str, int]
    """The part and the band in the table of the strata."""


@dataclass(frozen=True)
class Draw:
    """A row to label. `sample` is "random" (from its stratum) or "near" (the threshold)."""

    row_id: int
    file: str
    row: int
    source: str
    sample: str


@dataclass(frozen=True)
class StageRows:
    """The rows that reached a stage. `name` is unique in the run; `limit` is None if no single score decides."""

    stage: str
    name: str
    index: int
    limit: Limit | None
    has_partners: bool
    """Whether the stage drops rows only because of other rows. Then a kept row alone does not show if it is bad."""
    strata: Sequence[Stratum]
    con: duckdb.DuckDBPyConnection

    @classmethod
    def divide(cls, con: duckdb.DuckDBPyConnection, report: CleanReport, folder: Path, stage: str) -> StageRows:
        """Divide the rows that reached a stage, given by its name or by index and name, such as 06-consistency.

        Raises:
            UsageError: the run has no such stage or several, or the stage dropped nothing and has no threshold.
        """
        index, name = _find_stage(report, stage)
        counts = report.stages[index]
        files = sorted(map(str, (folder / "scores" / f"{index:02d}-{counts.name}").glob("*.parquet")))
        limit, columns = _find_limit(report, index, stored=bool(files))
        if limit is not None:
            recipe = CleanFolder(folder).read_json(folder / "manifest.json")["recipe"]
            limit = replace(limit, rank_cap=recipe["stages"][index].get(counts.name, {}).get("rank_cap"))
        n_dropped = counts.rows_in - counts.rows_out
        if not n_dropped and limit is None:
            raise UsageError(
                f"the stage {name} dropped nothing and has no score with a threshold, so there is nothing to label. "
                f"Name one of {', '.join(each.name for each in report.stages if each.dropped) or 'another run'}"
            )
        if not counts.rows_in:
            raise UsageError(f"no row reached the stage {name}, so there is nothing to label")
        _create_table(con, index, limit, list(counts.dropped)[:MAX_REASONS], _scores_query(con, files, columns, limit))
        alone = con.execute("SELECT count(*) FROM ledger WHERE stage_index = ? AND partner IS NULL", [index]).fetchone()
        return cls(
            *(counts.name, name, index, limit),
            has_partners=n_dropped > 0 and alone == (0,),
            strata=list(_strata(con, index, limit)),
            con=con,
        )

    def draw(self, n_rows: int, seed: int) -> list[Draw]:
        """Draw rows at random from each stratum, half of them dropped, in a random order.

        Each beginning of the list has about the same share of each stratum as the list. The draw of fewer rows is a
        part of the draw of more rows.
        """
        n_dropped, n_kept = self._halves(n_rows, *(sum(part.rows for part in self._side(kept)) for kept in (0, 1)))
        placed: list[tuple[float, int]] = []
        for kept, n_side in ((False, n_dropped), (True, n_kept)):
            side = self._side(kept)
            for stratum, n_stratum in zip(side, _allot(n_side, [part.rows for part in side]), strict=True):
                row_ids = self._first(stratum, n_stratum, seed)
                shuffled = random.Random(f"{seed}:{kept}:{stratum.key}")
                places = [(position + shuffled.random()) / len(row_ids) for position in range(len(row_ids))]
                placed += zip(places, row_ids, strict=True)
        return self._draws([row_id for _, row_id in sorted(placed)], "random")

    def nearest(self, n_rows: int, seed: int) -> list[Draw]:
        """Return the rows nearest to the threshold, half of them dropped, in a random order.

        Raises:
            UsageError: no single score decides.
        """
        if self.limit is None:
            raise UsageError(f"the stage {self.name} has no single score with a threshold; draw the rows at random")
        sizes = [sum(part.rows for part in self._side(kept) if part.key[0] == BANDED) for kept in (False, True)]
        chosen: list[int] = []
        for kept, n_side in zip((False, True), self._halves(n_rows, *sizes), strict=True):
            query = f"SELECT row_id FROM {_table(self.index)} WHERE passed = ? AND part = ? "
            order = f"ORDER BY abs(x - {self.limit.threshold.value!r}), hash(row_id, ?::BIGINT), row_id LIMIT ?"
            chosen += [row[0] for row in self.con.execute(query + order, [kept, BANDED, seed, n_side]).fetchall()]
        random.Random(seed).shuffle(chosen)
        return self._draws(chosen, "near")

    def stratum_of(self, row_ids: Sequence[int]) -> dict[int, Stratum]:
        """Return the strata of rows by row id; rows that did not reach the stage are missing."""
        by_key = {(stratum.kept, *stratum.key): stratum for stratum in self.strata}
        found = self.con.execute(
            f"SELECT row_id, passed, part, band FROM {_table(self.index)} "
            "WHERE row_id IN (SELECT unnest(?::UBIGINT[]))",
            [list(row_ids)],
        ).fetchall()
        return {row_id: by_key[key] for row_id, *rest in found if (key := tuple(rest)) in by_key}

    def _side(self, kept: bool | int) -> list[Stratum]:
        return [stratum for stratum in self.strata if stratum.kept == bool(kept)]

    def _halves(self, n_rows: int, dropped: int, kept: int) -> tuple[int, int]:
        """Return the numbers of dropped and kept rows to label: half each, or more if the other side is smaller."""
        if self.has_partners:
            return min(n_rows, dropped), 0
        n_kept = min(kept, n_rows // 2)
        n_dropped = min(dropped, n_rows - n_kept)
        return n_dropped, min(kept, n_rows - n_dropped)

    def _first(self, stratum: Stratum, n_rows: int, seed: int) -> list[int]:
        found = self.con.execute(
            f"SELECT row_id FROM {_table(self.index)} WHERE passed = ? AND part = ? AND band = ? "
            "ORDER BY hash(row_id, ?::BIGINT), row_id LIMIT ?",
            [stratum.kept, *stratum.key, seed, n_rows],
        ).fetchall()
        return [row[0] for row in found]

    def _draws(self, row_ids: Sequence[int], sample: str) -> list[Draw]:
        found = self.con.execute(
            "SELECT row_id, file, row, source FROM ledger WHERE row_id IN (SELECT unnest(?::UBIGINT[]))",
            [list(row_ids)],
        ).fetchall()
        places = {row_id: rest for row_id, *rest in found}
        return [Draw(row_id, file, row, source, sample) for row_id in row_ids for file, row, source in [places[row_id]]]


def _table(index: int) -> str:
    return f"strata_{index}"


def _find_stage(report: CleanReport, stage: str) -> tuple[int, str]:
    """Return the index of a stage, and its name; with the index if several stages have the name."""
    names = [counts.name for counts in report.stages]
    numbered = {f"{index:02d}-{name}": index for index, name in enumerate(names)}
    if stage in numbered:
        index = numbered[stage]
        return index, names[index] if names.count(names[index]) == 1 else stage
    check_name("stage", stage, names)
    if names.count(stage) > 1:
        which = ", ".join(name for name, index in numbered.items() if names[index] == stage)
        raise UsageError(f"this run has several stages {stage!r}; name one of {which}")
    return names.index(stage), stage


def _find_limit(report: CleanReport, index: int, *, stored: bool) -> tuple[Limit | None, list[str]]:
    """Return the one limit that decides, and the scores that it is a limit of; there is more than one with roles."""
    limits = {score.name: score.thresholds for score in report.scores if score.stage == index and score.thresholds}
    thresholds = [threshold for each in limits.values() for threshold in each]
    measures = {name.rpartition(".")[2] for name in limits}
    if len(measures) != 1 or len(set(thresholds)) != 1 or len(thresholds) != len(limits):
        return None, []
    return Limit(measures.pop(), thresholds[0]), list(limits) if stored else []


def _scores_query(
    con: duckdb.DuckDBPyConnection, files: Sequence[str], columns: Sequence[str], limit: Limit | None
) -> str:
    """Return the query for the score x of each row.

    Every text of a row has to pass, so x is the worst score of its roles. In a list, which has a score for each text of
    one role, one text has to pass, so the best one counts.
    """
    if limit is None or not columns:
        return "SELECT NULL::UBIGINT AS row_id, NULL::DOUBLE AS x WHERE false"
    best, worst = ("list_min", "greatest") if limit.threshold.keeps == "below" else ("list_max", "least")
    scores = con.read_parquet(list(files))
    kinds = dict(zip(scores.columns, map(str, scores.types), strict=True))
    values = [f"{best}({quoted(name)})" if kinds[name].endswith("[]") else quoted(name) for name in columns]
    paths = ", ".join(map(literal, files))
    return f"SELECT row_id, {worst}({', '.join(values)})::DOUBLE AS x FROM read_parquet([{paths}])"


def _create_table(
    con: duckdb.DuckDBPyConnection, index: int, limit: Limit | None, reasons: Sequence[str], scores: str
) -> None:
    """Create the table of the rows that reached a stage: row_id, passed, part, x and band.

    Bands of the dropped rows, and of the kept ones: the half with the largest distances from the threshold is 2. The
    others are divided at their median into 0 (the nearest) and 1. If at least half of the rows have the same largest
    distance, such as ranks that are not counted further, these rows are 2, and no others.
    """
    threshold = limit.threshold if limit else Threshold(0.0, "below", "")
    value, reason = threshold.value, threshold.reason
    is_in_ledger = limit is not None and limit.name == LEDGER_SCORE
    of_ledger = "r.score" if is_in_ledger else "NULL"
    no_score = ALL if limit is None or is_in_ledger else NO_SCORE
    is_beyond = f"x {'>' if threshold.keeps == 'below' else '<'} {value!r}"
    listed = ", ".join(map(literal, reasons)) or "''"
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE {_table(index)} AS
        WITH reached AS (
            SELECT row_id, (kept OR stage_index > {index}) AS passed, reason, score
            FROM ledger WHERE kept OR stage_index >= {index}
        ), scored AS (
            SELECT r.row_id, r.passed, r.reason, coalesce(s.x, CASE WHEN NOT r.passed THEN {of_ledger} END) AS x
            FROM reached r LEFT JOIN ({scores}) s USING (row_id)
        ), parts AS (
            SELECT row_id, passed, CASE WHEN isfinite(x) THEN x END AS x, CASE
                WHEN NOT passed AND reason = {literal(reason)} AND isfinite(x) THEN '{BANDED}'
                WHEN NOT passed AND reason IN ({listed}) THEN reason
                WHEN NOT passed THEN '{OTHER}'
                WHEN x IS NULL OR NOT isfinite(x) THEN '{no_score}'
                WHEN {is_beyond} THEN '{BEYOND}'
                ELSE '{BANDED}' END AS part
            FROM scored
        ), distances AS (
            SELECT *, abs(x - {value!r}) AS distance FROM parts
        ), medians AS (
            SELECT passed, median, median = farthest AS is_tied
            FROM (
                SELECT passed, quantile_disc(distance, 0.5) AS median, max(distance) AS farthest
                FROM distances WHERE part = '{BANDED}' GROUP BY passed
            )
        ), halves AS (
            SELECT d.*, distance > median OR is_tied AND distance = median AS is_far
            FROM distances d LEFT JOIN medians ON d.passed = medians.passed
        ), quarters AS (
            SELECT passed, quantile_disc(distance, 0.5) AS quarter
            FROM halves WHERE part = '{BANDED}' AND NOT is_far GROUP BY passed
        )
        SELECT row_id, h.passed AS passed, part, x, CASE
            WHEN part <> '{BANDED}' OR distance <= quarter AND NOT is_far THEN 0
            WHEN is_far THEN 2
            ELSE 1 END AS band
        FROM halves h LEFT JOIN quarters ON h.passed = quarters.passed
    """)


def _strata(con: duckdb.DuckDBPyConnection, index: int, limit: Limit | None) -> Iterator[Stratum]:
    """Yield the strata: dropped rows first, and those nearest to the threshold first."""
    groups = con.execute(
        f"SELECT passed, part, band, count(*), min(x), max(x) FROM {_table(index)} GROUP BY passed, part, band "
        f"ORDER BY passed, part <> '{BANDED}', band, part"
    ).fetchall()
    for passed, part, band, n_rows, low, high in groups:
        title = part
        if limit is not None and part in (BANDED, BEYOND):
            title = limit.band(low, high) + (f" ({BEYOND})" if part == BEYOND else "")
        yield Stratum(passed, title, n_rows, (part, band))


def _allot(n_rows: int, sizes: Sequence[int]) -> list[int]:
    """Divide a number of rows equally among strata, none of which gets more than its size."""
    parts = [0] * len(sizes)
    left = min(n_rows, sum(sizes))
    while left:
        for position, size in enumerate(sizes):
            if left and parts[position] < size:
                parts[position] += 1
                left -= 1
    return parts
