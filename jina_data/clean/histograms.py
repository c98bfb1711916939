"""Histograms of what the stages measured, with their limits, counted by DuckDB over the score files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from jina_data.clean.plan import Plan
from jina_data.stages.base import Collective, Threshold, literal, quoted

N_BINS = 32
"""About so many bins; their edges are round numbers."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

LEDGER_SCORE = "score"
"""How the score of dropped rows is called, of stages that have no score file."""

NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE")
NUMERIC = frozenset((*NUMBERS, *(f"U{name}" for name in NUMBERS)))


@dataclass(frozen=True)
class Bins:
    """Counts of values in N bins between N + 1 edges, and how many of them belong to rows that the stage dropped.

    Where the score has limits, only the rows dropped for their reasons count as dropped.
    A bin holds its upper edge, the first its lower one as well. Where `tail_below` or `tail_above` is true, the first
    or last bin is a long tail in one, wider than the others.
    """

    edges: Sequence[float]
    counts: Sequence[int]
    dropped: Sequence[int]
    tail_below: bool = False
    tail_above: bool = False


@dataclass(frozen=True)
class ScoreCounts:
    """How one score of one stage is distributed. Quantiles are good to three digits.

    `is_whole` tells that all values are whole numbers; the edges then lie half-way between them.
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
class _Group:
    """Values that agree to three digits."""

    count: int
    low: float
    high: float
    is_whole: bool


def count_scores(con: duckdb.DuckDBPyConnection, plan: Plan, scores: Path) -> list[ScoreCounts]:
    """Count every numeric score of every stage; `con` has the view `ledger`, `scores` is the folder of that name."""
    return [counts for index in range(len(plan.stages)) for counts in _count_stage(con, plan, scores, index)]


def _count_stage(con: duckdb.DuckDBPyConnection, plan: Plan, scores: Path, index: int) -> Iterator[ScoreCounts]:
    stage = plan.stages[index]
    limits = stage.thresholds(plan.views[index])
    files = sorted(str(path) for path in (scores / f"{index:02d}-{stage.name}").glob("part-*.parquet"))
    if files:
        con.read_parquet(files).create_view("scored", replace=True)
        for name, values in _numeric_columns(con):
            fell = _fell(index, limits.get(name, ()))
            found = f"SELECT {values}::DOUBLE AS x, row_id IN ({fell}) AS fell FROM scored"
            yield from _count_values(con, index, name, found, limits.get(name, ()))
    elif isinstance(stage, Collective):
        found = f"SELECT score AS x, true AS fell FROM ledger WHERE stage_index = {index}"
        yield from _count_values(con, index, LEDGER_SCORE, found, limits.get(LEDGER_SCORE, ()))


def _fell(index: int, limits: Sequence[Threshold]) -> str:
    """Return the query for the rows that a stage dropped, for the reasons of some limits or, without any, for all."""
    reasons = ", ".join(dict.fromkeys(literal(limit.reason) for limit in limits))
    return f"SELECT row_id FROM ledger WHERE stage_index = {index}" + (f" AND reason IN ({reasons})" if reasons else "")


def _numeric_columns(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return the names of the scores that are numbers or lists of numbers, and their values in SQL."""
    out = []
    for name, kind, *_ in con.execute("DESCRIBE scored").fetchall():
        if name != "row_id" and kind in NUMERIC:
            out.append((name, quoted(name)))
        elif kind.endswith("[]") and kind.removesuffix("[]") in NUMERIC:
            out.append((name, f"unnest({quoted(name)})"))
    return out


def _count_values(
    con: duckdb.DuckDBPyConnection, index: int, name: str, found: str, limits: Sequence[Threshold]
) -> Iterator[ScoreCounts]:
    """Count some values: first in fine groups, which give the range and the quantiles, then in bins."""
    finite = f"(SELECT * FROM ({found}) WHERE isfinite(x))"
    # Three digits make a bounded number of groups, whatever the values.
    key = "CASE WHEN x = 0 THEN 0 ELSE round(x, (2 - floor(log10(abs(x))))::INTEGER) END"
    rows = con.execute(
        f"SELECT count(*), min(x), max(x), bool_and(x = trunc(x)) FROM {finite} GROUP BY {key} ORDER BY min(x)"
    ).fetchall()
    groups = [_Group(*row) for row in rows]
    if not groups:
        return
    quantiles = _quantiles(groups)
    is_whole = all(group.is_whole for group in groups)
    bins = _edges(groups[0].low, groups[-1].high, quantiles, is_whole, [limit.value for limit in limits])
    bounds = f"{list(bins.edges[1:])}::DOUBLE[]"
    counted = con.execute(
        f"SELECT map_values(histogram(x, {bounds})), map_values(histogram(x, {bounds}) FILTER (fell)) FROM {finite}"
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


def _quantiles(groups: Sequence[_Group]) -> dict[float, float]:
    total = sum(group.count for group in groups)
    out: dict[float, float] = {}
    passed, place = 0, -1
    for share in QUANTILES:
        while passed < share * total and place + 1 < len(groups):
            place += 1
            passed += groups[place].count
        out[share] = groups[max(place, 0)].low
    return out


def _edges(low: float, high: float, quantiles: Mapping[float, float], is_whole: bool, limits: Sequence[float]) -> Bins:
    """Choose round edges from `low` to `high`; a tail that is longer than all the rest becomes one bin."""
    first, last = quantiles[0.01], quantiles[0.99]
    span = last - first
    # A limit that lies near is worth a wider range.
    near = [limit for limit in limits if low <= limit <= high and first - span <= limit <= last + span]
    left = low if span == 0 or first - low <= span else min([first, *near])
    right = high if span == 0 or high - last <= span else max([last, *near])
    # Edges that differ in the tenth digit only would not be round numbers.
    size = max(abs(left), abs(right), 1e-300)
    step = _round_step(max((right - left) / N_BINS, 1e-9 * size)) if right > left else size / 10
    if is_whole:
        step = max(1.0, float(math.ceil(step)))
    shift = 0.5 if is_whole else 0.0
    begin = math.floor((left + shift) / step) if is_whole else _floor(left / step)
    end = begin + 1
    while _edge(end, step, shift) < right:
        end += 1
    edges = [_edge(number, step, shift) for number in range(begin, end + 1)]
    tail_below, tail_above = edges[0] > low, edges[-1] < high
    edges = ([low - shift] if tail_below else []) + edges + ([high + shift] if tail_above else [])
    zeros = [0] * (len(edges) - 1)
    return Bins(edges, zeros, zeros, tail_below, tail_above)


def _edge(number: int, step: float, shift: float) -> float:
    return float(f"{number * step - shift:.12g}")


def _floor(value: float) -> int:
    """Round down, unless the value is a whole number but for the error of a division."""
    return round(value) if abs(value - round(value)) < 1e-9 else math.floor(value)


def _round_step(step: float) -> float:
    """Return the next number of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    factor = next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
    return float(f"{factor * power:.12g}")
