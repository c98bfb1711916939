"""Estimates the share of all rows that each stage drops, with its uncertainty, from the outcomes of a sample.

Every share is an expected value and DRAWS random values from its distribution. The draws of consecutive stages are
multiplied, which combines their uncertainties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jina_data.forecast.distributions import binomial_tail, student_t_quantile
from jina_data.forecast.trial import UNREADABLE, SampleOutcomes
from jina_data.stages.rows import BoolArray, FloatArray

DRAWS = 2_000
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """An expected value, and the bounds between which the true value is with a probability of about 95 %."""

    low: float
    expected: float
    high: float

    @classmethod
    def of(cls, expected: float, draws: FloatArray) -> Interval:
        """Return the interval of the expected value and all draws except the 2.5 % at each end."""
        low, high = np.quantile(draws, [0.025, 0.975]).tolist()
        return cls(min(low, expected), expected, max(high, expected))

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return the interval of an exact value."""
        return cls(value, value, value)

    def times(self, factor: float) -> Interval:
        """Return the interval of the value times a factor."""
        return Interval(self.low * factor, self.expected * factor, self.high * factor)

    def plus(self, other: Interval) -> Interval:
        """Return the interval of a sum, as if both were low, or high, at the same time."""
        return Interval(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def rounded(self) -> Interval:
        """Return the interval rounded to whole numbers."""
        return Interval(round(self.low), round(self.expected), round(self.high))


@dataclass(frozen=True)
class Share:
    """A share: its expected value, and DRAWS random values from its distribution."""

    expected: float
    draws: FloatArray

    def plus(self, other: Share) -> Share:
        """Return the share of the rows in either of two disjoint groups."""
        return Share(min(1.0, self.expected + other.expected), np.minimum(self.draws + other.draws, 1.0))


@dataclass(frozen=True)
class SampledRows:
    """N sampled records with their outcomes.

    `blocks` has the block of each record, and `weights` the number of input rows that each record represents, relative
    to the mean. `fraction` of the input was sampled. Records of different blocks are independent.
    """

    outcomes: SampleOutcomes
    blocks: IntArray
    weights: FloatArray
    fraction: float

    def reaching(self, index: int) -> BoolArray:
        """Return which records reach a stage."""
        stage = self.outcomes.stage
        reached: BoolArray = (stage != UNREADABLE) & ((stage < 0) | (stage >= index))
        return reached


def estimate_share(
    hit: npt.NDArray[np.generic],
    weights: FloatArray,
    blocks: IntArray,
    *,
    fraction: float,
    rng: np.random.Generator,
) -> Share:
    """Estimate a share from N sampled rows; `hit` is between 0 and 1, since a part of a row may count.

    Rows of a block are similar, so the variance is that between blocks. It determines the effective number of
    independent rows, which is at most the number of rows. The draws are from the Jeffreys beta distribution, which has
    a positive width even if nothing was hit. A sample of a large fraction of the input counts as more rows than it has
    (finite population correction).
    """
    total = weights.sum()
    values = hit.astype(np.float64)
    share = float((weights * values).sum() / total) if total > 0 else 0.0
    not_sampled = 1.0 - fraction
    if not_sampled <= 0:
        return Share(share, np.full(DRAWS, share))
    if total <= 0:
        return Share(share, rng.beta(0.5, 0.5, DRAWS))
    n_rows = total**2 / (weights**2).sum() / not_sampled
    variance = _block_variance(weights * (values - share), blocks) / total**2 * not_sampled
    if share * (1 - share) > 0 and variance > 0:
        effective = share * (1 - share) / variance
        n_rows = effective if not np.isin(values, (0, 1)).all() else min(n_rows, effective)
    return Share(share, rng.beta(share * n_rows + 0.5, (1 - share) * n_rows + 0.5, DRAWS))


def _block_variance(residuals: FloatArray, blocks: IntArray) -> float:
    """Return the variance of a sum of residuals from independent blocks, larger if there are few blocks."""
    _, block_of = np.unique(blocks, return_inverse=True)
    sums = np.bincount(block_of, residuals)
    n_blocks = len(sums)
    if n_blocks < 2:
        return 0.0
    # The variance is used with a normal interval, so it includes the ratio to Student's t.
    widening = (student_t_quantile(0.975, n_blocks - 1) / 1.96) ** 2
    return float(n_blocks / (n_blocks - 1) * (sums**2).sum() * widening)


def estimate_repeated_share(sampled: SampledRows, index: int, rng: np.random.Generator) -> Share:
    """Estimate the share of rows that repeat an earlier row, from the repeats within the sample.

    If a sample of a fraction f includes one row of a pair, it includes the other with probability f. So the share in
    the sample is that of the input if repeats come in large groups, and must be divided by f if they come in pairs at
    random positions. A group that occurs in three blocks counts as large. For a group that occurs in two, the factor
    may be anything from 1 to 1/f; its geometric mean is expected. Repeats within a block need no factor.
    """
    reach = sampled.reaching(index)
    dropped = np.flatnonzero((sampled.outcomes.stage == index) & (sampled.outcomes.partner >= 0))
    partner = sampled.outcomes.partner[dropped]
    across_blocks = sampled.blocks[partner] != sampled.blocks[dropped]
    counted = np.zeros(len(reach))
    counted[dropped[~across_blocks]] = 1.0
    dropped, partner = dropped[across_blocks], partner[across_blocks]
    large = _count_group_blocks(partner, sampled.blocks[dropped]) >= 3
    counted[dropped[large]] = 1.0
    # The first row of a large group most probably repeats a row that is not in the sample.
    counted[partner[large]] = 1.0 - sampled.fraction
    share = estimate_share(
        counted[reach], sampled.weights[reach], sampled.blocks[reach], fraction=sampled.fraction, rng=rng
    )
    return share.plus(_pairs_share(int((~large).sum()), max(1, int(reach.sum())), sampled.fraction, rng))


def _count_group_blocks(partner: IntArray, blocks: IntArray) -> IntArray:
    """Return the number of blocks with rows of its group, for each row that repeats a `partner` in another block."""
    groups, group_of = np.unique(partner, return_inverse=True)
    distinct = np.unique(np.stack([group_of, blocks], axis=1), axis=0) if len(partner) else np.empty((0, 2), np.int64)
    n_blocks: IntArray = 1 + np.bincount(distinct[:, 0], minlength=len(groups))
    of_rows: IntArray = n_blocks[group_of]
    return of_rows


def _pairs_share(n_pairs: int, n_reach: int, fraction: float, rng: np.random.Generator) -> Share:
    if fraction >= 1:
        return Share(n_pairs / n_reach, np.full(DRAWS, n_pairs / n_reach))
    counts = rng.gamma(n_pairs + 0.5, 1.0, DRAWS)
    # The exponent of the factor: clipping gives both ends, 0 and 1, a probability of 45 % each.
    exponent = np.clip(rng.uniform(-4.5, 5.5, DRAWS), 0, 1)
    factors = fraction**-exponent
    expected = n_pairs / n_reach * fraction**-0.5
    return Share(min(expected, 1.0), np.minimum(counts / n_reach * factors, 1.0))


def estimate_counted_share(
    sampled: SampledRows,
    index: int,
    keys: npt.NDArray[np.uint64],
    occurrences: tuple[npt.NDArray[np.uint64], IntArray],
    rng: np.random.Generator,
) -> tuple[Share, FloatArray]:
    """Estimate the share of rows that repeat an earlier row, given the occurrences of each content in the input.

    Of g rows with the same content one is kept, so each counts as 1/g of a kept row. If a sampled row reaches the
    stage, other rows of its content need not: the contents that were sampled twice give the probability.

    Returns:
        The share, and the kept part of each record.
    """
    contents, counts = occurrences
    reach = sampled.reaching(index)
    others = counts[np.searchsorted(contents, keys)].astype(np.float64) - 1
    weights = sampled.weights[reach]
    reach_probability, reach_draws = _estimate_reach(keys, reach, rng)
    kept = 1 / (1 + others * reach_probability)
    share = estimate_share(1 - kept[reach], weights, sampled.blocks[reach], fraction=sampled.fraction, rng=rng)
    if not share.expected:
        return share, kept
    # The share as a function of the probability, by interpolation, scales each draw.
    grid = np.linspace(0, 1, 17)
    dropped = [float((weights * (1 - 1 / (1 + others[reach] * part))).sum() / weights.sum()) for part in grid]
    draws = share.draws * np.interp(reach_draws, grid, dropped) / share.expected
    return Share(share.expected, np.minimum(draws, 1.0)), kept


def _estimate_reach(
    keys: npt.NDArray[np.uint64], reach: BoolArray, rng: np.random.Generator
) -> tuple[float, FloatArray]:
    """Estimate, and draw, the probability that a row reaches a stage if another row of the same content does.

    The prior, with the weight of four pairs, is the middle between 1 and the share of all rows that reach the stage.
    """
    _, content_of, size = np.unique(keys, return_inverse=True, return_counts=True)
    reaching = np.bincount(content_of, reach)
    both, pairs = float((reaching * (reaching - 1)).sum()), float((reaching * (size - 1)).sum())
    middle = (1 + float(reach.mean())) / 2
    yes, no = both + 4 * middle, pairs - both + 4 * (1 - middle)
    if no <= 0:
        return 1.0, np.ones(DRAWS)
    return yes / (yes + no), rng.beta(yes, no, DRAWS)


def estimate_rank_share(
    ranks: IntArray, share: Share, *, top_k: int, pool: int, full_pool: float, rng: np.random.Generator
) -> Share:
    """Estimate the share that `consistency` drops with a larger pool than that of the sample.

    In a random part of the sample's pool, the number of closer texts is binomial. So the share dropped can be computed
    for parts of the pool, which shows how it grows. The expected share is the middle of two extrapolations: its odds,
    or the share itself, grow as a power of the pool. The lowest extrapolation grows with the logarithm of the pool. The
    interval ends above the highest one, by 0.6 of the range.

    Args:
        ranks: (N,) of the sampled rows, from 1.
        share: the share dropped with the pool of the sample.
        top_k: the largest rank that is kept.
        pool: the size of the pool of the sample.
        full_pool: the size of the pool of the run.
    """
    if full_pool <= pool or pool < 8 or not len(ranks):
        return share
    parts = np.array([1 / 8, 1 / 4, 1 / 2, 1.0])
    dropped = np.array([float(binomial_tail(top_k - 1, ranks - 1, part).mean()) for part in parts])
    if dropped[0] <= 0 or dropped[-1] >= 1:
        return share
    current, log_growth = dropped[-1], np.log(full_pool / pool)
    linear, power, odds = (
        _extrapolate(parts, values, log_growth)
        for values in (dropped, np.log(dropped), np.log(dropped / (1 - dropped)))
    )
    shares = np.array([current + linear, current * np.exp(power), 1 / (1 + (1 / current - 1) * np.exp(-odds))])
    low, high = (min(float(end), 1.0) - current for end in (shares.min(), shares.max()))
    expected = (min(float(shares[1]), 1.0) + float(shares[2])) / 2 - current
    draws = share.draws + rng.uniform(low, high + 0.6 * (high - low), DRAWS)
    return Share(min(1.0, share.expected + expected), np.minimum(draws, 1.0))


def _extrapolate(parts: FloatArray, values: FloatArray, log_growth: float) -> float:
    """Fit a line to the values over the logarithm of the pool, and return the increase after `log_growth`."""
    return max(0.0, float(np.polyfit(np.log(parts), values, 1)[0])) * log_growth
