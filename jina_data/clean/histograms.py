"""Histograms of the scores of the stages, with the limits, counted by DuckDB over the score files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from jina_data.clean.plan import Plan
from jina_data.stages.base import Collective, Threshold, literal, quoted

N_BINS = 32
"""The approximate number of bins; their edges are round numbers."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

LEDGER_SCORE = "score"
"""The name of the ledger's score of dropped rows, for stages without a score file."""

NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE")
NUMERIC = frozenset((*NUMBERS, *(f"U{name}" for name in NUMBERS)))


@dataclass(frozen=True)
class Bins:
    """Counts of values in N bins between N + 1 edges, of all rows and of the rows that the stage dropped.

    If the score has limits, only rows dropped for the reasons of the limits count as dropped. A bin includes its upper
    edge; the first bin includes its lower edge too. With `tail_below` or `tail_above`, the first or last bin is wider
    than the others and holds a long tail.
    """

    edges: Sequence[float]
    counts: Sequence[int]
    dropped: Sequence[int]
    tail_below: bool = False
    tail_above: bool = False


@dataclass(frozen=True)
class ScoreCounts:
    """The distribution of one score of one stage. Quantiles are accurate to three digits.

    If all values are whole numbers (`is_whole`), the edges of the bins are halfway between them.
    """

    stage: int
    name: str
    count: int
    min: float
    max: float
    is_whole: bool
    quantiles: Mapping[str, float]
    bins: Bins
    thresholds: Sequence[Threshold] = ()


@dataclass(frozen=True)
class _ScoreGroup:
    """The values of a score that are equal to three digits."""

    count: int
    low: float
    high: float
    is_whole: bool


def count_scores(con: duckdb.DuckDBPyConnection, plan: Plan, scores: Path) -> list[ScoreCounts]:
    """Count every numeric score of every stage; `con` has the view `ledger`, `scores` is the folder of score files."""
    return [counts for index in range(len(plan.stages)) for counts in _count_stage(con, plan, scores, index)]


def _count_stage(con: duckdb.DuckDBPyConnection, plan: Plan, scores: Path, index: int) -> Iterator[ScoreCounts]:
    stage = plan.stages[index]
    limits = stage.thresholds(plan.views[index])
    files = sorted(str(path) for path in (scores / f"{index:02d}-{stage.name}").glob("part-*.parquet"))
    if files:
        con.read_parquet(files).create_view("scored", replace=True)
        for name, values in _numeric_columns(con):
            dropped = _dropped_query(index, limits.get(name, ()))
            query = f"SELECT {values}::DOUBLE AS x, row_id IN ({dropped}) AS is_dropped FROM scored"
            yield from _count_values(con, index, name, query, limits.get(name, ()))
    elif isinstance(stage, Collective):
        query = f"SELECT score AS x, true AS is_dropped FROM ledger WHERE stage_index = {index}"
        yield from _count_values(con, index, LEDGER_SCORE, query, limits.get(LEDGER_SCORE, ()))


def _dropped_query(index: int, limits: Sequence[Threshold]) -> str:
    """Return the query for the rows that a stage dropped for the reasons of the limits; without limits, for any."""
    reasons = ", ".join(dict.fromkeys(literal(limit.reason) for limit in limits))
    return f"SELECT row_id FROM ledger WHERE stage_index = {index}" + (f" AND reason IN ({reasons})" if reasons else "")


def _numeric_columns(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return the names of the numeric scores, or lists of numbers, with SQL expressions for their values."""
    out = []
    for name, kind, *_ in con.execute("DESCRIBE scored").fetchall():
        if name != "row_id" and kind in NUMERIC:
            out.append((name, quoted(name)))
        elif kind.endswith("[]") and kind.removesuffix("[]") in NUMERIC:
            out.append((name, f"unnest({quoted(name)})"))
    return out


def _count_values(
    con: duckdb.DuckDBPyConnection, index: int, name: str, query: str, limits: Sequence[Threshold]
) -> Iterator[ScoreCounts]:
    """Count the values of a query: first in fine groups, for the range and the quantiles, then in bins."""
    finite = f"(SELECT * FROM ({query}) WHERE isfinite(x))"
    # Group by the value rounded to three digits: the number of groups stays bounded for any values.
    key = "CASE WHEN x = 0 THEN 0 ELSE round(x, (2 - floor(log10(abs(x))))::INTEGER) END"
    rows = con.execute(
        f"SELECT count(*), min(x), max(x), bool_and(x = trunc(x)) FROM {finite} GROUP BY {key} ORDER BY min(x)"
    ).fetchall()
    groups = [_ScoreGroup(*row) for row in rows]
    if not groups:
        return
    quantiles = _quantiles(groups)
    is_whole = all(group.is_whole for group in groups)
    bins = _edges(groups[0].low, groups[-1].high, quantiles, is_whole, [limit.value for limit in limits])
    bounds = f"{list(bins.edges[1:])}::DOUBLE[]"
    # Two lists of one count for each bin: of all values, and of those of dropped rows (null if there are none).
    counted = con.execute(
        f"SELECT map_values(histogram(x, {bounds})), map_values(histogram(x, {bounds}) FILTER (is_dropped)) "
        f"FROM {finite}"
    ).fetchall()
    counts, dropped = counted[0]
    yield ScoreCounts(
        stage=index,
        name=name,
        count=sum(group.count for group in groups),
        min=groups[0].low,
        max=groups[-1].high,
        is_whole=is_whole,
        quantiles={str(share): value for share, value in quantiles.items()},
        bins=Bins(bins.edges, counts, dropped or [0] * len(counts), bins.tail_below, bins.tail_above),
        thresholds=tuple(limits),
    )


def _quantiles(groups: Sequence[_ScoreGroup]) -> dict[float, float]:
    total = sum(group.count for group in groups)
    out: dict[float, float] = {}
    # Groups ascend; `n_values` counts the values of the groups up to and including `last`.
    n_values, last = 0, -1
    for share in QUANTILES:
        while n_values < share * total and last + 1 < len(groups):
            last += 1
            n_values += groups[last].count
        out[share] = groups[max(last, 0)].low
    return out


def _edges(low: float, high: float, quantiles: Mapping[float, float], is_whole: bool, limits: Sequence[float]) -> Bins:
    """Choose round edges from `low` to `high`; a tail longer than the range of 98 % of the values becomes one bin."""
    first, last = quantiles[0.01], quantiles[0.99]
    span = last - first
    # Limits near the 98 % range are included in it.
    near = [limit for limit in limits if low <= limit <= high and first - span <= limit <= last + span]
    start = low if span == 0 or first - low <= span else min([first, *near])
    stop = high if span == 0 or high - last <= span else max([last, *near])
    # A step below the tenth digit of the values would not give round edges.
    size = max(abs(start), abs(stop), 1e-300)
    step = _round_step(max((stop - start) / N_BINS, 1e-9 * size)) if stop > start else size / 10
    if is_whole:
        step = max(1.0, float(math.ceil(step)))
    shift = 0.5 if is_whole else 0.0
    begin = math.floor((start + shift) / step) if is_whole else _floor(start / step)
    end = begin + 1
    while _edge(end, step, shift) < stop:
        end += 1
    edges = [_edge(number, step, shift) for number in range(begin, end + 1)]
    tail_below, tail_above = edges[0] > low, edges[-1] < high
    edges = ([low - shift] if tail_below else []) + edges + ([high + shift] if tail_above else [])
    zeros = [0] * (len(edges) - 1)
    return Bins(edges, zeros, zeros, tail_below, tail_above)


def _edge(number: int, step: float, shift: float) -> float:
    return float(f"{number * step - shift:.12g}")


def _floor(value: float) -> int:
    """Round down; a value within 1e-9 of a whole number is rounded to it, because divisions are inexact."""
    return round(value) if abs(value - round(value)) < 1e-9 else math.floor(value)


def _round_step(step: float) -> float:
    """Return the smallest number of at least `step` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    factor = next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
    return float(f"{factor * power:.12g}")
