"""The charts of the report as numbers for its SVG macros: paths, ticks and marks in units of the view box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jina_data.clean.histograms import LEDGER_SCORE, ScoreCounts
from jina_data.html.page import compact
from jina_data.stages.base import Threshold

WIDTH, HEIGHT = 330, 150
"""The view box."""

LEFT, RIGHT, TOP, BOTTOM = 38, 318, 16, 122
"""The frame of the plot in it."""

TAIL = 14
"""The width of a bar that holds a whole tail."""

LOG_RATIO = 30
"""Counts are drawn on a log scale where the largest is so many times their median."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A vertical line at a limit: the text over it, and whether the limit lies beyond the axis."""

    at: float
    text: str
    beyond: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart: the path of all bars (or of the curve), that of their dropped part, axes and marks."""

    bars: str
    dropped: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    is_log: bool = False


def histogram(score: ScoreCounts) -> Chart:
    """Draw the distribution of a score, the part that the stage dropped, and its limits."""
    bins = score.bins
    places = _bar_places(score)
    top = max(bins.counts)
    filled = sorted(count for count in bins.counts if count)
    is_log = top > LOG_RATIO * filled[len(filled) // 2]
    return Chart(
        bars=_bars(places, bins.counts, top, is_log=is_log),
        dropped=_bars(places, bins.dropped, top, is_log=is_log),
        x_ticks=_x_ticks(score),
        y_ticks=_y_ticks(top, is_log=is_log),
        marks=[_mark(score, limit) for limit in score.thresholds],
        is_log=is_log,
    )


def lsh_curve(n_bands: int, n_rows: int, threshold: float) -> Chart:
    """Draw the chance that two rows share a band, by their Jaccard similarity: 1 - (1 - s^rows)^bands."""
    points = [(s / 100, shares_band(s / 100, n_bands, n_rows)) for s in range(101)]
    path = "M" + "L".join(f"{_number(_at(s, 0, 1))} {_number(BOTTOM - (BOTTOM - TOP) * p)}" for s, p in points)
    ticks = [Tick(_at(s / 5, 0, 1), compact(s / 5)) for s in range(6)]
    sides = [Tick(BOTTOM - (BOTTOM - TOP) * p, compact(p)) for p in (0, 0.5, 1)]
    return Chart(path, "", ticks, sides, [Mark(_at(threshold, 0, 1), compact(threshold))])


def shares_band(similarity: float, n_bands: int, n_rows: int) -> float:
    """Return the chance that two rows of a Jaccard similarity share at least one of some bands of hashes."""
    return 1 - (1 - similarity**n_rows) ** n_bands


def x_of(score: ScoreCounts, value: float) -> float:
    """Return where a value stands on the x axis; what lies in a tail or beyond stands in the middle of the tail."""
    low, high = _frame(score)
    first, last = _axis(score)
    if value < first:
        return LEFT + TAIL / 2 if score.bins.tail_below else LEFT
    if value > last:
        return RIGHT - TAIL / 2 if score.bins.tail_above else RIGHT
    return low + (high - low) * (value - first) / (last - first)


def _axis(score: ScoreCounts) -> tuple[float, float]:
    """Return the values at both ends of the axis, without tails."""
    bins = score.bins
    return bins.edges[1 if bins.tail_below else 0], bins.edges[-2 if bins.tail_above else -1]


def _frame(score: ScoreCounts) -> tuple[float, float]:
    """Return where both ends of the axis stand."""
    return (
        LEFT + (TAIL + 3 if score.bins.tail_below else 0),
        RIGHT - (TAIL + 3 if score.bins.tail_above else 0),
    )


def _bar_places(score: ScoreCounts) -> list[tuple[float, float]]:
    """Return from where to where each bar goes."""
    bins = score.bins
    inner = bins.edges[1 if bins.tail_below else 0 : -1 if bins.tail_above else None]
    at = [x_of(score, edge) for edge in inner]
    places = list(pairwise(at))
    before = [(LEFT, LEFT + TAIL)] if bins.tail_below else []
    behind = [(RIGHT - TAIL, RIGHT)] if bins.tail_above else []
    return [*before, *places, *behind]


def _bars(places: Sequence[tuple[float, float]], counts: Sequence[int], top: int, *, is_log: bool) -> str:
    path = []
    for (left, right), count in zip(places, counts, strict=True):
        if count:
            # A single row among millions is still to be seen.
            height = max(1.0, (BOTTOM - TOP) * _share(count, top, is_log=is_log))
            width = max(0.8, right - left - 0.8)
            path.append(f"M{_number(left)} {BOTTOM}v{_number(-height)}h{_number(width)}v{_number(height)}z")
    return "".join(path)


def _share(count: float, top: int, *, is_log: bool) -> float:
    return math.log1p(count) / math.log1p(top) if is_log else count / top


def _x_ticks(score: ScoreCounts) -> list[Tick]:
    first, last = _axis(score)
    step = _nice((last - first) / 4)
    if score.is_whole:
        step = max(1.0, float(round(step)))
    number = math.ceil(first / step - 1e-9)
    ticks = []
    while number * step <= last + 1e-9 * step:
        ticks.append(Tick(x_of(score, number * step), compact(number * step)))
        number += 1
    if score.bins.tail_below:
        ticks = [tick for tick in ticks if tick.at > LEFT + 44]
        ticks.insert(
            0, Tick(LEFT + TAIL / 2, f"< {compact(math.ceil(first))}" if score.is_whole else f"< {compact(first)}")
        )
    if score.bins.tail_above:
        ticks = [tick for tick in ticks if tick.at < RIGHT - 44]
        ticks.append(
            Tick(RIGHT - TAIL / 2, f"> {compact(math.floor(last))}" if score.is_whole else f"> {compact(last)}")
        )
    return ticks


def _y_ticks(top: int, *, is_log: bool) -> list[Tick]:
    if is_log:
        values = [10**power for power in range(int(math.log10(top)) + 1)]
        values = values[:: max(1, math.ceil(len(values) / 4))]
    else:
        step = max(1, int(_nice(top / 3)))
        values = list(range(step, top + 1, step))
    return [Tick(BOTTOM - (BOTTOM - TOP) * _share(value, top, is_log=is_log), compact(value)) for value in values]


def _mark(score: ScoreCounts, limit: Threshold) -> Mark:
    """Draw a limit; one on whole numbers stands between the last that stays and the first that falls."""
    shift = 0.5 if score.is_whole and float(limit.value).is_integer() else 0.0
    value = limit.value - shift if limit.keeps == "above" else limit.value + shift
    first, last = score.bins.edges[0], score.bins.edges[-1]
    text = compact(limit.value)
    if value < first:
        return Mark(x_of(score, value), f"← {text}", beyond=True)
    if value > last:
        return Mark(x_of(score, value), f"{text} →", beyond=True)
    return Mark(x_of(score, value), text)


def _at(value: float, first: float, last: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - first) / (last - first)


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(f"{next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9)) * power:.12g}")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def legend(chart: Chart, score: ScoreCounts) -> dict[str, Any]:
    """Return what is written under a histogram."""
    quantiles = {name: compact(score.quantiles[name]) for name in ("0.01", "0.5", "0.99")}
    limits = [
        f"{limit.reason} {'below' if limit.keeps == 'above' else 'above'} {compact(limit.value)}"
        for limit in score.thresholds
    ]
    title = f"{score.name} of the dropped rows" if score.name == LEDGER_SCORE else score.name
    return {"title": title, "quantiles": quantiles, "limits": limits, "is_log": chart.is_log}
