"""Confidence intervals of shares for few triplets, for which a bootstrap says nothing."""

from __future__ import annotations

import math
from statistics import NormalDist

FEW_TRIPLETS = 30
"""With fewer triplets, a bootstrap interval is too narrow."""


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Return the score interval of a share of n independent cases (Wilson, JASA 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Exact at the ends, where rounding would leave a share outside of its own interval.
    low = 0.0 if share == 0 else (centre - half) / scale
    return low, 1.0 if share == 1 else (centre + half) / scale


def newcombe(first: float, second: float, n: int, level: float) -> tuple[float, float]:
    """Return an interval of second - first, two shares of n cases, from their score intervals.

    Newcombe, Statistics in Medicine 17 (1998), method 10. It ignores that both models see the same cases, so it is
    wider than necessary.
    """
    first_low, first_high = wilson(first, n, level)
    second_low, second_high = wilson(second, n, level)
    difference = second - first
    return (
        difference - math.hypot(second - second_low, first_high - first),
        difference + math.hypot(second_high - second, first - first_low),
    )
