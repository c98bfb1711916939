"""From what became of a sample to what will become of all rows: the share that each stage drops, with its uncertainty.

Every share is a point and DRAWS random values of what it may be. Stages are put behind each other by multiplying the
draws, so that uncertainty adds up as it should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jina_data.forecast.distributions import binomial_tail, student_t_quantile
from jina_data.forecast.trial import UNREADABLE, RowOutcomes
from jina_data.stages.rows import BoolArray, FloatArray

DRAWS = 2_000
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """What is expected, and between what it lies with a probability of about 95 %."""

    low: float
    expected: float
    high: float

    @classmethod
    def of(cls, expected: float, draws: FloatArray) -> Interval:
        """Return the interval that holds all draws but the 2.5 % at both ends, and the expected value."""
        low, high = np.quantile(draws, [0.025, 0.975]).tolist()
        return cls(min(low, expected), expected, max(high, expected))

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return an interval of one value."""
        return cls(value, value, value)

    def times(self, factor: float) -> Interval:
        """Return the interval of a multiple."""
        return Interval(self.low * factor, self.expected * factor, self.high * factor)

    def plus(self, other: Interval) -> Interval:
        """Return the interval of a sum; low ends and high ends are taken to come together."""
        return Interval(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def rounded(self) -> Interval:
        """Return the interval in whole numbers."""
        return Interval(round(self.low), round(self.expected), round(self.high))


@dataclass(frozen=True)
class Share:
    """A share: what is expected, and DRAWS values of what it may be."""

    expected: float
    draws: FloatArray

    def plus(self, other: Share) -> Share:
        """Return the share that this and another take, of the same rows; no row is taken by both."""
        return Share(min(1.0, self.expected + other.expected), np.minimum(self.draws + other.draws, 1.0))


@dataclass(frozen=True)
class Sampled:
    """N sampled records: what became of them, the block each was drawn with, and the input rows each stands for
    (relative to the mean). `fraction` of the input was sampled. Records are independent where each is its own block."""

    fates: RowOutcomes
    blocks: IntArray
    weights: FloatArray
    fraction: float

    def reaching(self, index: int) -> BoolArray:
        """Tell which records get to a stage."""
        stage = self.fates.stage
        reached: BoolArray = (stage != UNREADABLE) & ((stage < 0) | (stage >= index))
        return reached


def share_of(
    hit: npt.NDArray[np.generic],
    weights: FloatArray,
    blocks: IntArray,
    *,
    fraction: float,
    rng: np.random.Generator,
) -> Share:
    """Estimate a share from N sampled rows (or parts of rows: `hit` is between 0 and 1).

    Rows of a block are alike, so the blocks tell the variance: as many independent rows are assumed as would have it,
    never more than there are. Around them lies the beta distribution of Jeffreys, which is not empty where nothing
    was hit. A sample of a large fraction is worth more than its size (correction for finite populations).
    """
    total = weights.sum()
    values = hit.astype(np.float64)
    share = float((weights * values).sum() / total) if total > 0 else 0.0
    missing = 1.0 - fraction
    if missing <= 0:
        return Share(share, np.full(DRAWS, share))
    if total <= 0:
        return Share(share, rng.beta(0.5, 0.5, DRAWS))
    n_rows = total**2 / (weights**2).sum() / missing
    variance = _block_variance(weights * (values - share), blocks) / total**2 * missing
    if share * (1 - share) > 0 and variance > 0:
        supposed = share * (1 - share) / variance
        n_rows = supposed if not np.isin(values, (0, 1)).all() else min(n_rows, supposed)
    return Share(share, rng.beta(share * n_rows + 0.5, (1 - share) * n_rows + 0.5, DRAWS))


def _block_variance(residuals: FloatArray, blocks: IntArray) -> float:
    """Return the variance of a sum of residuals whose blocks are independent, widened where blocks are few."""
    _, place = np.unique(blocks, return_inverse=True)
    sums = np.bincount(place, residuals)
    n_blocks = len(sums)
    if n_blocks < 2:
        return 0.0
    wider = (student_t_quantile(0.975, n_blocks - 1) / 1.96) ** 2
    return float(n_blocks / (n_blocks - 1) * (sums**2).sum() * wider)


def repeated_share(sampled: Sampled, index: int, rng: np.random.Generator) -> Share:
    """Estimate the share that repeats an earlier row, from the repeats within the sample alone.

    A sample of a fraction f holds both rows of a pair f times as often as it holds one. So the sample's share is that
    of the input where repeats come in large groups, and must be divided by f where they come in pairs that lie
    anywhere. Groups found in three blocks are large. For those found in two, everything from 1 to 1/f may be the
    factor; its geometric mean is expected. Repeats inside a block need no factor.
    """
    reach = sampled.reaching(index)
    falls = np.flatnonzero((sampled.fates.stage == index) & (sampled.fates.partner >= 0))
    partner = sampled.fates.partner[falls]
    far = sampled.blocks[partner] != sampled.blocks[falls]
    counted = np.zeros(len(reach))
    counted[falls[~far]] = 1.0
    falls, partner = falls[far], partner[far]
    large = _blocks_of_groups(partner, sampled.blocks[falls]) >= 3
    counted[falls[large]] = 1.0
    # The first of a large group most probably repeats a row that was not sampled.
    counted[partner[large]] = 1.0 - sampled.fraction
    share = share_of(counted[reach], sampled.weights[reach], sampled.blocks[reach], fraction=sampled.fraction, rng=rng)
    return share.plus(_pairs_share(int((~large).sum()), max(1, int(reach.sum())), sampled.fraction, rng))


def _blocks_of_groups(partner: IntArray, blocks: IntArray) -> IntArray:
    """Return for each row that repeats `partner`, in another block, how many blocks its group was found in."""
    groups, group_of = np.unique(partner, return_inverse=True)
    distinct = np.unique(np.stack([group_of, blocks], axis=1), axis=0) if len(partner) else np.empty((0, 2), np.int64)
    n_blocks: IntArray = 1 + np.bincount(distinct[:, 0], minlength=len(groups))
    of_rows: IntArray = n_blocks[group_of]
    return of_rows


def _pairs_share(n_found: int, n_reach: int, fraction: float, rng: np.random.Generator) -> Share:
    if fraction >= 1:
        return Share(n_found / n_reach, np.full(DRAWS, n_found / n_reach))
    counts = rng.gamma(n_found + 0.5, 1.0, DRAWS)
    # Both ends must be believable, not only what lies between them.
    place = np.clip(rng.uniform(-4.5, 5.5, DRAWS), 0, 1)
    factors = fraction**-place
    expected = n_found / n_reach * fraction**-0.5
    return Share(min(expected, 1.0), np.minimum(counts / n_reach * factors, 1.0))


def counted_share(
    sampled: Sampled,
    index: int,
    keys: npt.NDArray[np.uint64],
    occurrences: tuple[npt.NDArray[np.uint64], IntArray],
    rng: np.random.Generator,
) -> tuple[Share, FloatArray]:
    """Estimate the share that repeats an earlier row, where it is known how often each content occurs in all input.

    Of g rows with the same content one stays: each is worth 1/g of a row. The others of its content need not get as
    far as a sampled row does; how many do is told by the contents that were sampled twice.

    Returns:
        The share, and the part of each record that stays.
    """
    known, counts = occurrences
    reach = sampled.reaching(index)
    others = counts[np.searchsorted(known, keys)].astype(np.float64) - 1
    weights = sampled.weights[reach]
    company, drawn = _company(keys, reach, rng)
    stays = 1 / (1 + others * company)
    share = share_of(1 - stays[reach], weights, sampled.blocks[reach], fraction=sampled.fraction, rng=rng)
    if not share.expected:
        return share, stays
    grid = np.linspace(0, 1, 17)
    gone = [float((weights * (1 - 1 / (1 + others[reach] * part))).sum() / weights.sum()) for part in grid]
    return Share(share.expected, np.minimum(share.draws * np.interp(drawn, grid, gone) / share.expected, 1.0)), stays


def _company(keys: npt.NDArray[np.uint64], reach: BoolArray, rng: np.random.Generator) -> tuple[float, FloatArray]:
    """Estimate how probably another row of the same content gets as far as one that does, and draw what it may be.

    Before any content was sampled twice, it is taken to lie in the middle between the share of all rows and 1.
    """
    _, place, size = np.unique(keys, return_inverse=True, return_counts=True)
    reaching = np.bincount(place, reach)
    both, pairs = float((reaching * (reaching - 1)).sum()), float((reaching * (size - 1)).sum())
    middle = (1 + float(reach.mean())) / 2
    yes, no = both + 4 * middle, pairs - both + 4 * (1 - middle)
    if no <= 0:
        return 1.0, np.ones(DRAWS)
    return yes / (yes + no), rng.beta(yes, no, DRAWS)


def rank_share(
    ranks: IntArray, share: Share, *, top_k: int, pool: int, full_pool: float, rng: np.random.Generator
) -> Share:
    """Estimate the share that `consistency` drops among a larger pool than the sample's.

    In parts of the sample's pool a rank is smaller by chance, as is known (binomial); that tells how the share grows
    with the pool. Its odds may go on growing as a power of the pool, or the share itself may: expected is the middle.
    At least it grows with the logarithm; at most faster than the fastest, by 0.6 of what lies between the two.

    Args:
        ranks: (N,) of the sampled rows, from 1.
        share: the share dropped among the sample's pool.
        top_k: the largest rank that is kept.
        pool: the size of the sample's pool.
        full_pool: that of the run's.
    """
    if full_pool <= pool or pool < 8 or not len(ranks):
        return share
    parts = np.array([1 / 8, 1 / 4, 1 / 2, 1.0])
    dropped = np.array([float(binomial_tail(top_k - 1, ranks - 1, part).mean()) for part in parts])
    if dropped[0] <= 0 or dropped[-1] >= 1:
        return share
    here, ahead = dropped[-1], np.log(full_pool / pool)
    steady, power, odds = (
        _line(parts, values, ahead) for values in (dropped, np.log(dropped), np.log(dropped / (1 - dropped)))
    )
    grown = np.array([here + steady, here * np.exp(power), 1 / (1 + (1 / here - 1) * np.exp(-odds))])
    low, high = (min(float(end), 1.0) - here for end in (grown.min(), grown.max()))
    expected = (min(float(grown[1]), 1.0) + float(grown[2])) / 2 - here
    draws = share.draws + rng.uniform(low, high + 0.6 * (high - low), DRAWS)
    return Share(min(1.0, share.expected + expected), np.minimum(draws, 1.0))


def _line(parts: FloatArray, values: FloatArray, ahead: float) -> float:
    """Draw the line of some values over the logarithm of the pool on, and return how much higher it gets."""
    return max(0.0, float(np.polyfit(np.log(parts), values, 1)[0])) * ahead
