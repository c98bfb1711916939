"""Costs of the steps of a run for each unit and row, fitted to trials, and the measured speed of ranking."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jina_data.forecast.trial import Step, Trial


@dataclass(frozen=True)
class LinearCost:
    """Seconds for each unit of work and for each row."""

    per_unit: float
    per_row: float

    def total(self, n_units: float, n_rows: float) -> float:
        """Return the seconds of `n_units` units with `n_rows` rows in all."""
        return self.per_unit * n_units + self.per_row * n_rows


def fit_cost(small: tuple[float, int, float], large: tuple[float, int, float]) -> LinearCost:
    """Fit a cost to two measurements of (seconds, units, rows).

    The seconds of a unit are a linear function of its rows: two points determine it. If they do not give a positive
    cost of a row and a non-negative cost of a unit, all seconds of the large measurement count as costs of rows.
    """
    (small_seconds, small_units, small_rows), (large_seconds, large_units, large_rows) = small, large
    if not large_units or not large_rows:
        return LinearCost(small_seconds / small_units if small_units else 0.0, 0.0)
    more_rows = large_rows / large_units - small_rows / max(1, small_units)
    if not small_units or more_rows <= 0:
        return LinearCost(0.0, large_seconds / large_rows)
    per_row = (large_seconds / large_units - small_seconds / small_units) / more_rows
    per_unit = small_seconds / small_units - per_row * small_rows / small_units
    if per_row <= 0 or per_unit < 0:
        return LinearCost(0.0, large_seconds / large_rows)
    return LinearCost(per_unit, per_row)


def fit_costs(small: Trial, large: Trial, reached: Mapping[Step, tuple[float, float]]) -> dict[Step, LinearCost]:
    """Return the costs of all steps; `reached` has the rows of each step in the small and the large trial."""
    return {
        step: fit_cost(
            (small.seconds.get(step, 0.0), small.units.get(step, 0), reached[step][0]),
            (seconds, large.units[step], reached[step][1]),
        )
        for step, seconds in large.seconds.items()
        if step in reached
    }


@dataclass(frozen=True)
class RankingSpeed:
    """The speed of counting ranks in this process, in operations a second: of the matrix product alone, and in total.

    The matrix product uses every core; the comparison after it uses one.
    """

    product: float
    total: float

    def seconds(self, operations: float, workers: int) -> float:
        """Return the seconds on the clock for a number of operations shared by `workers`."""
        product = operations / self.product
        return product + max(0.0, operations / self.total - product) / workers


def measure_ranking(dim: int, device: str, n_anchors: int = 2048, n_pool: int = 16_384) -> RankingSpeed:
    """Measure the speed of counting ranks, on random vectors for which no anchor stops early."""
    from jina_data.kernels.rank import Exclusions, count_ranks

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n_pool, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pool = vectors.astype(np.float16)
    # A similarity of 1 to the own positive: no other text is closer, so every anchor is compared with the whole pool.
    anchors, similarity = pool[:n_anchors], np.ones(n_anchors)
    zeros = np.zeros(n_anchors, np.int64)
    excluded = Exclusions(zeros, zeros, np.empty(0, np.int64))
    torch_device = "cuda" if device == "cuda" else None

    def count(n_rows: int) -> float:
        started = time.perf_counter()
        count_ranks(
            *(anchors, similarity, lambda start, stop: pool[start:stop], excluded),
            span=(0, n_rows),
            cap=100,
            torch_device=torch_device,
        )
        return time.perf_counter() - started

    count(1024)  # compiles the kernel
    operations = 2.0 * n_anchors * n_pool * dim
    total = operations / count(n_pool)
    if device == "cuda":
        return RankingSpeed(total, total)
    return RankingSpeed(max(total, _measure_product(vectors, n_anchors)), total)


def _measure_product(vectors: np.ndarray, n_anchors: int) -> float:
    started = time.perf_counter()
    for start in range(0, n_anchors, 512):
        np.matmul(vectors[start : start + 512], vectors.T)
    return 2.0 * n_anchors * vectors.size / (time.perf_counter() - started)


def estimate_scanned_share(ranks: np.ndarray, cap: int, pool: float, full_pool: float) -> float:
    """Return the average share of the pool that an anchor is compared with before its rank exceeds the cap."""
    if not len(ranks):
        return 1.0
    # The closer texts are spread evenly over the full pool, so `cap` of them take `cap / expected` of it.
    expected = (ranks - 1) * max(1.0, full_pool / max(1.0, pool))
    return float(np.minimum(1.0, cap / np.maximum(expected, 1e-9)).mean())
