"""Lays out the charts of the report for its SVG macros: paths, ticks and marks in units of the view box."""

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
"""The size of the view box."""

LEFT, RIGHT, TOP, BOTTOM = 38, 318, 16, 122
"""The edges of the plot inside the view box."""

TAIL = 14
"""The width of a bar that holds a tail."""

LOG_RATIO = 30
"""Counts are drawn on a log scale if the largest is more than this multiple of the median count."""


@dataclass(frozen=True)
class Tick:
    """A position on an axis, and its label."""

    position: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A vertical line at a limit: its position, its label, and whether the limit lies outside the axis."""

    position: float
    text: str
    beyond: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart: the path of the bars (or of the curve), the path of their dropped parts, axes and marks."""

    bars: str
    dropped: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    is_log: bool = False


def histogram(score: ScoreCounts) -> Chart:
    """Draw the distribution of a score, the part that the stage dropped, and its limits."""
    bins = score.bins
    spans = _bar_spans(score)
    top = max(bins.counts)
    filled = sorted(count for count in bins.counts if count)
    is_log = top > LOG_RATIO * filled[len(filled) // 2]
    return Chart(
        bars=_bars(spans, bins.counts, top, is_log=is_log),
        dropped=_bars(spans, bins.dropped, top, is_log=is_log),
        x_ticks=_x_ticks(score),
        y_ticks=_y_ticks(top, is_log=is_log),
        marks=[_mark(score, limit) for limit in score.thresholds],
        is_log=is_log,
    )


def lsh_curve(n_bands: int, n_rows: int, threshold: float) -> Chart:
    """Draw the probability that two rows share a band, by Jaccard similarity s: 1 - (1 - s^n_rows)^n_bands."""
    points = [(s / 100, shares_band(s / 100, n_bands, n_rows)) for s in range(101)]
    path = "M" + "L".join(f"{_number(_x(s, 0, 1))} {_number(BOTTOM - (BOTTOM - TOP) * p)}" for s, p in points)
    ticks = [Tick(_x(s / 5, 0, 1), compact(s / 5)) for s in range(6)]
    y_ticks = [Tick(BOTTOM - (BOTTOM - TOP) * p, compact(p)) for p in (0, 0.5, 1)]
    return Chart(path, "", ticks, y_ticks, [Mark(_x(threshold, 0, 1), compact(threshold))])


def shares_band(similarity: float, n_bands: int, n_rows: int) -> float:
    """Return the probability that two rows share at least one of `n_bands` bands, each of `n_rows` hashes."""
    return 1 - (1 - similarity**n_rows) ** n_bands


def x_of(score: ScoreCounts, value: float) -> float:
    """Return the x position of a value; a value in a tail or outside the axis is in the middle of the tail's bar."""
    low, high = _frame(score)
    first, last = _axis(score)
    if value < first:
        return LEFT + TAIL / 2 if score.bins.tail_below else LEFT
    if value > last:
        return RIGHT - TAIL / 2 if score.bins.tail_above else RIGHT
    return low + (high - low) * (value - first) / (last - first)


def _axis(score: ScoreCounts) -> tuple[float, float]:
    """Return the values at the ends of the axis, without the tails."""
    bins = score.bins
    return bins.edges[1 if bins.tail_below else 0], bins.edges[-2 if bins.tail_above else -1]


def _frame(score: ScoreCounts) -> tuple[float, float]:
    """Return the x positions of the ends of the axis, without the tails."""
    return (
        LEFT + (TAIL + 3 if score.bins.tail_below else 0),
        RIGHT - (TAIL + 3 if score.bins.tail_above else 0),
    )


def _bar_spans(score: ScoreCounts) -> list[tuple[float, float]]:
    """Return the left and right end of each bar."""
    bins = score.bins
    inner = bins.edges[1 if bins.tail_below else 0 : -1 if bins.tail_above else None]
    spans = list(pairwise(x_of(score, edge) for edge in inner))
    tail_below = [(LEFT, LEFT + TAIL)] if bins.tail_below else []
    tail_above = [(RIGHT - TAIL, RIGHT)] if bins.tail_above else []
    return [*tail_below, *spans, *tail_above]


def _bars(spans: Sequence[tuple[float, float]], counts: Sequence[int], top: int, *, is_log: bool) -> str:
    path = []
    for (start, end), count in zip(spans, counts, strict=True):
        if count:
            # A single row among millions is still visible.
            height = max(1.0, (BOTTOM - TOP) * _share(count, top, is_log=is_log))
            width = max(0.8, end - start - 0.8)
            path.append(f"M{_number(start)} {BOTTOM}v{_number(-height)}h{_number(width)}v{_number(height)}z")
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
        ticks = [tick for tick in ticks if tick.position > LEFT + 44]
        ticks.insert(
            0, Tick(LEFT + TAIL / 2, f"< {compact(math.ceil(first))}" if score.is_whole else f"< {compact(first)}")
        )
    if score.bins.tail_above:
        ticks = [tick for tick in ticks if tick.position < RIGHT - 44]
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
    """Place a limit; on whole numbers it is halfway between the last kept value and the first dropped value."""
    shift = 0.5 if score.is_whole and float(limit.value).is_integer() else 0.0
    value = limit.value - shift if limit.keeps == "above" else limit.value + shift
    first, last = score.bins.edges[0], score.bins.edges[-1]
    text = compact(limit.value)
    if value < first:
        return Mark(x_of(score, value), f"← {text}", beyond=True)
    if value > last:
        return Mark(x_of(score, value), f"{text} →", beyond=True)
    return Mark(x_of(score, value), text)


def _x(value: float, first: float, last: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - first) / (last - first)


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(f"{next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9)) * power:.12g}")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def legend(chart: Chart, score: ScoreCounts) -> dict[str, Any]:
    """Return the parts of the caption of a histogram."""
    quantiles = {name: compact(score.quantiles[name]) for name in ("0.01", "0.5", "0.99")}
    limits = [
        f"{limit.reason} if {'below' if limit.keeps == 'above' else 'above'} {compact(limit.value)}"
        for limit in score.thresholds
    ]
    title = f"{score.name} of the dropped rows" if score.name == LEDGER_SCORE else score.name
    return {"title": title, "quantiles": quantiles, "limits": limits, "is_log": chart.is_log}
