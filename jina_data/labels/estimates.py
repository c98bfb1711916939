"""Estimates of precision and recall, with 95 % intervals, from a random sample of each stratum.

The strata divide the rows that reached a stage. With N_h rows in stratum h, and b_h bad rows among n_h labelled ones,
the number of bad rows is estimated as the sum of N_h b_h / n_h (Cochran 1977, Sampling Techniques, section 5.3).
Precision is the estimate for the strata of dropped rows, divided by the number of dropped rows. Recall is the estimate
for the dropped rows, divided by that for all rows.

The interval of each stratum is that of Wilson (1927). The distances of its ends from the estimate are multiplied by
sqrt(1 - n_h / N_h), so that the interval of a stratum in which every row is labelled is one point. The intervals of
strata are combined by the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27, 1693):
the distance of each end of the sum is the root of the sum of the squares of the distances. Recall is above r if
(1 - r) x dropped bad rows - r x kept bad rows is positive; the ends of its interval are the r at which the ends of the
interval of this difference are zero (Donner and Zou 2012, Statistical Methods in Medical Research 21, 347).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

from jina_data.stages.competence import wilson


@dataclass(frozen=True)
class Counts:
    """Of the rows of a stratum, `labelled` are a random sample, and `bad` of these should be dropped."""

    rows: int
    labelled: int
    bad: int


@dataclass(frozen=True)
class Estimate:
    """An estimated number or share with its 95 % interval."""

    value: float
    low: float
    high: float


def estimate_bad(strata: Sequence[Counts]) -> Estimate | None:
    """Estimate the number of bad rows in all strata together; None if a stratum has no labels."""
    if any(counts.labelled == 0 for counts in strata):
        return None
    value = below = above = 0.0
    for counts in strata:
        share = counts.bad / counts.labelled
        low, high = wilson(counts.bad, counts.labelled)
        scale = counts.rows * sqrt(max(0.0, 1 - counts.labelled / counts.rows))
        value += counts.rows * share
        below = hypot(below, scale * max(0.0, share - low))
        above = hypot(above, scale * max(0.0, high - share))
    return Estimate(value, max(0.0, value - below), min(float(sum(counts.rows for counts in strata)), value + above))


def precision(dropped: Sequence[Counts]) -> Estimate | None:
    """Estimate the share of the dropped rows that are bad; None without dropped rows or labels of a stratum."""
    n_rows, bad = sum(counts.rows for counts in dropped), estimate_bad(dropped)
    return Estimate(bad.value / n_rows, bad.low / n_rows, bad.high / n_rows) if bad and n_rows else None


def recall(dropped: Sequence[Counts], kept: Sequence[Counts]) -> Estimate | None:
    """Estimate the share of the bad rows that were dropped; None without bad rows or labels of a stratum."""
    hits, misses = estimate_bad(dropped), estimate_bad(kept)
    if hits is None or misses is None or not hits.value + misses.value:
        return None

    def low(r: float) -> float:
        distance = hypot((1 - r) * (hits.value - hits.low), r * (misses.high - misses.value))
        return (1 - r) * hits.value - r * misses.value - distance

    def high(r: float) -> float:
        distance = hypot((1 - r) * (hits.high - hits.value), r * (misses.value - misses.low))
        return (1 - r) * hits.value - r * misses.value + distance

    value = hits.value / (hits.value + misses.value)
    return Estimate(value, min(value, _zero(low)), max(value, _zero(high)))


def _zero(function: Callable[[float], float]) -> float:
    """Return where a function of [0, 1] stops being positive; 1 if it never does."""
    start, stop = 0.0, 1.0
    for _ in range(60):
        middle = (start + stop) / 2
        start, stop = (middle, stop) if function(middle) > 0 else (start, middle)
    return stop
