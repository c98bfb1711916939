"""From what a sample took to what all rows will take: seconds of every step, bytes on disk, operations of ranking."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jina_data.forecast.trial import Step, Trial


@dataclass(frozen=True)
class Rate:
    """Seconds (or bytes) for each unit of work and for each row of it."""

    per_unit: float
    per_row: float

    def over(self, n_units: float, n_rows: float) -> float:
        """Return what so many units with so many rows in all take."""
        return self.per_unit * n_units + self.per_row * n_rows


def rate_of(small: tuple[float, int, float], large: tuple[float, int, float]) -> Rate:
    """Fit a rate to two measurements of (seconds, units, rows): what a unit costs shows in the small one."""
    (taken, units, rows), (all_taken, all_units, all_rows) = small, large
    if not all_units or not all_rows:
        return Rate(taken / units if units else 0.0, 0.0)
    gap = all_rows / all_units - rows / max(1, units)
    if not units or gap <= 0:
        return Rate(0.0, all_taken / all_rows)
    per_row = (all_taken / all_units - taken / units) / gap
    per_unit = taken / units - per_row * rows / units
    if per_row <= 0 or per_unit < 0:
        return Rate(0.0, all_taken / all_rows)
    return Rate(per_unit, per_row)


def rates_of(small: Trial, large: Trial, reached: Mapping[Step, tuple[float, float]]) -> dict[Step, Rate]:
    """Return the rates of all steps; `reached` are the rows that each step had in both trials."""
    return {
        step: rate_of(
            (small.seconds.get(step, 0.0), small.units.get(step, 0), reached[step][0]),
            (taken, large.units[step], reached[step][1]),
        )
        for step, taken in large.seconds.items()
        if step in reached
    }


@dataclass(frozen=True)
class Ranking:
    """How fast ranks are counted in this process: operations a second of the product alone, and of all of it.

    The product takes every core; the comparison behind it takes one.
    """

    product: float
    total: float

    def seconds(self, operations: float, workers: int) -> float:
        """Return what workers take together for so many operations."""
        product = operations / self.product
        return product + max(0.0, operations / self.total - product) / workers


def measure_ranking(dim: int, device: str, n_anchors: int = 2048, n_pool: int = 16_384) -> Ranking:
    """Measure how fast ranks are counted, on random vectors of which none leaves early."""
    from jina_data.kernels.rank import Exclusions, count_ranks

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n_pool, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pool = vectors.astype(np.float16)
    anchors, own = pool[:n_anchors], np.ones(n_anchors)
    none = np.zeros(n_anchors, np.int64)
    excluded = Exclusions(none, none, np.empty(0, np.int64))
    where = "cuda" if device == "cuda" else None

    def count(n_rows: int) -> float:
        started = time.perf_counter()
        count_ranks(
            *(anchors, own, lambda first, behind: pool[first:behind], excluded),
            span=(0, n_rows),
            cap=100,
            torch_device=where,
        )
        return time.perf_counter() - started

    count(1024)
    operations = 2.0 * n_anchors * n_pool * dim
    total = operations / count(n_pool)
    if device == "cuda":
        return Ranking(total, total)
    return Ranking(max(total, _measure_product(vectors, n_anchors)), total)


def _measure_product(vectors: np.ndarray, n_anchors: int) -> float:
    started = time.perf_counter()
    for first in range(0, n_anchors, 512):
        np.matmul(vectors[first : first + 512], vectors.T)
    return 2.0 * n_anchors * vectors.size / (time.perf_counter() - started)


def counted_share_of_pool(ranks: np.ndarray, cap: int, pool: float, full_pool: float) -> float:
    """Return the share of the pool that an anchor meets before its rank is sure to be over the cap, on average."""
    if not len(ranks):
        return 1.0
    expected = (ranks - 1) * max(1.0, full_pool / max(1.0, pool))
    return float(np.minimum(1.0, cap / np.maximum(expected, 1e-9)).mean())
