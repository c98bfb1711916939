"""Computes ranks by counting: the number of vectors of a pool that are closer to an anchor than its positive is.

No list of nearest neighbors is needed: products of a tile of anchors and a tile of the pool are compared and counted
in place. Vectors have half precision, so a product of two coordinates is a multiple of 2^-48 and a dot product of unit
vectors is exact in float64, in any order of its sum. Tiles are multiplied in float32, whose error has a bound; only
products closer to a limit than this bound are computed again in float64. So counts and maxima are exact: they depend
neither on BLAS nor on threads, tiles or the device.

An anchor is finished as soon as its rank is known to exceed the cap. Tiles grow, so most of these finish early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.words import inner

if TYPE_CHECKING:
    import torch

HalfArray = npt.NDArray[np.float16]
SingleArray = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
LongArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]

ReadPool = Callable[[int, int], HalfArray]
"""Reads the vectors of a pool from ordinal `first` to before `stop`, (n, D)."""

_CPU_ROWS, _CPU_COLUMNS = 512, 2048
_TORCH_ROWS, _TORCH_COLUMNS = 4096, 32768
_FIRST_COLUMNS = (64, 256, 1024)

_MAX_LENGTH = 1 + 2**-9
"""More than the length of any vector that was scaled to 1 and rounded to half precision."""


@dataclass(frozen=True)
class Exclusions:
    """Vectors that do not compete: for row i those with the pool's ordinals[start[i]:stop[i]], ascending."""

    start: LongArray
    stop: LongArray
    ordinals: LongArray

    def take(self, rows: LongArray) -> Exclusions:
        """Return the exclusions of some rows."""
        return Exclusions(self.start[rows], self.stop[rows], self.ordinals)


@dataclass(frozen=True)
class Ranks:
    """The ranks of N anchors: the result of `count_ranks`.

    `rank` (N,): cap + 1 is any rank above the cap. `best` (N,): the product of the best competitor, NaN where there is
    none or where the rank is above the cap.
    """

    rank: npt.NDArray[np.int32]
    best: FloatArray


def dots(vectors: HalfArray, others: HalfArray) -> FloatArray:
    """Return the exact dot products of two lists of vectors (N, D), row by row."""
    out = np.empty(len(vectors))
    for start in range(0, len(vectors), 4096):
        rows = slice(start, start + 4096)
        out[rows] = np.einsum("nd,nd->n", vectors[rows].astype(np.float64), others[rows].astype(np.float64))
    return out


def count_ranks(
    anchors: HalfArray,
    positive_products: FloatArray,
    pool: ReadPool,
    excluded: Exclusions,
    *,
    span: tuple[int, int],
    cap: int,
    torch_device: str | None = None,
) -> Ranks:
    """Rank the product of each anchor with its positive among its products with a part of a pool.

    Args:
        anchors: (N, D), of length 1 or zeros.
        positive_products: (N,), the exact product of each anchor with its positive.
        pool: reads the pool, preferably in random order.
        excluded: ordinals of the pool that do not count, for each anchor.
        span: the part of the pool: its first ordinal and its end.
        cap: the largest rank that is exact.
        torch_device: the device on which torch multiplies; numpy does if this is None.
    """
    state = _RankState.start(anchors, positive_products, excluded)
    if torch_device is None:
        _count_numpy(state, pool, span, cap)
    else:
        _count_torch(state, pool, span, cap, torch_device)
    is_over = state.counts >= cap
    best = np.where(is_over | np.isneginf(state.best), np.nan, state.best)
    return Ranks((1 + np.minimum(state.counts, cap)).astype(np.int32), best)


@dataclass
class _RankState:
    """The state of N anchors after a part of the pool; `cursor` (N,) indexes the next ordinal that each excludes.

    `counts` is the number of competitors above the positive, `best` the largest product of a competitor, both exact for
    the tiles read so far. `error` bounds the error of a float32 product of the anchor plus that of a rounded limit.
    """

    anchors: HalfArray
    positive_products: FloatArray
    error: FloatArray
    excluded: Exclusions
    cursor: LongArray
    counts: LongArray
    best: FloatArray

    @classmethod
    def start(cls, anchors: HalfArray, positive_products: FloatArray, excluded: Exclusions) -> _RankState:
        n, dim = anchors.shape
        # Products of halves are exact in float32; each of the sums may be off by 2^-24 of the lengths' product, and so
        # may be a limit when it is rounded.
        error = 1.01 * (dim + 4) * 2.0**-24 * np.sqrt(dots(anchors, anchors)) * _MAX_LENGTH
        no_best = np.full(n, -np.inf)
        return cls(anchors, positive_products, error, excluded, excluded.start.copy(), np.zeros(n, np.int64), no_best)


def _spans(first: int, stop: int, columns: int) -> Iterator[tuple[int, int]]:
    sizes = iter(_FIRST_COLUMNS)
    while first < stop:
        end = min(first + min(next(sizes, columns), columns), stop)
        yield first, end
        first = end


def _count_numpy(state: _RankState, pool: ReadPool, span: tuple[int, int], cap: int) -> None:
    rows = np.arange(len(state.positive_products))
    anchors = state.anchors.astype(np.float32)
    active_anchors = anchors
    buffer = np.empty(_CPU_ROWS * _CPU_COLUMNS, np.float32)
    for first, stop in _spans(*span, _CPU_COLUMNS):
        tile = pool(first, stop).astype(np.float32)
        for start in range(0, len(rows), _CPU_ROWS):
            tile_rows = rows[start : start + _CPU_ROWS]
            products = buffer[: len(tile_rows) * len(tile)].reshape(len(tile_rows), len(tile))
            np.matmul(active_anchors[start : start + _CPU_ROWS], tile.T, out=products)
            _count_tile(
                *(products, tile_rows, first, anchors, tile),
                *(state.positive_products, state.error, state.excluded.stop, state.excluded.ordinals),
                *(state.cursor, state.counts, state.best),
            )
        stays = state.counts[rows] < cap
        if not stays.all():
            rows, active_anchors = rows[stays], active_anchors[stays]
        if not len(rows):
            return


_LONGS = types.Array(types.int64, 1, "C", readonly=True)
_DOUBLES = types.Array(types.float64, 1, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_KEYS = types.Array(types.uint64, 1, "C", readonly=True)


@inner
def _dot(vector: SingleArray, other: SingleArray) -> float:
    total = 0.0
    for k in range(len(vector)):
        total += np.float64(vector[k]) * np.float64(other[k])
    return total


@njit(
    types.void(
        *(types.float32[:, ::1], _LONGS, types.int64, _SINGLES, _SINGLES, _DOUBLES, _DOUBLES, _LONGS, _LONGS),
        *(types.int64[::1], types.int64[::1], types.float64[::1]),
    ),
    nogil=True,
    cache=True,
)
def _count_tile(
    products: SingleArray,
    rows: LongArray,
    first: int,
    anchors: SingleArray,
    tile: SingleArray,
    positive_products: FloatArray,
    error: FloatArray,
    excluded_stop: LongArray,
    ordinals: LongArray,
    cursor: LongArray,
    counts: LongArray,
    best: FloatArray,
) -> None:
    """Count the products of a tile (m, n) above the positive, and raise `best`.

    Line i belongs to anchor `rows[i]`, column j to the vector with ordinal `first + j`. Excluded vectors get -inf: the
    cursor of a row moves past all its ordinals below `first + n`, and tiles come in ascending order. A float32 product
    above `high` is certainly above the positive, one up to `low` is not; in between the exact product decides. Every
    product above `best` has a float32 value above `reach`. A row reads and writes its own entries only.
    """
    n = products.shape[1]
    for i in range(len(rows)):
        row, row_products = rows[i], products[i]
        while cursor[row] < excluded_stop[row] and ordinals[cursor[row]] < first + n:
            if ordinals[cursor[row]] >= first:
                row_products[ordinals[cursor[row]] - first] = -np.inf
            cursor[row] += 1
        low, high = np.float32(positive_products[row] - error[row]), np.float32(positive_products[row] + error[row])
        reach = np.float32(best[row] - error[row])
        n_over_low, n_over_high, n_over_reach = np.int32(0), np.int32(0), np.int32(0)
        for j in range(n):
            n_over_low += np.int32(row_products[j] > low)
            n_over_high += np.int32(row_products[j] > high)
            n_over_reach += np.int32(row_products[j] > reach)
        counts[row] += n_over_high
        if n_over_low > n_over_high:
            for j in range(n):
                if low < row_products[j] <= high and _dot(anchors[row], tile[j]) > positive_products[row]:
                    counts[row] += 1
        if n_over_reach > 0:
            for j in range(n):
                if row_products[j] > reach:
                    best[row] = max(best[row], _dot(anchors[row], tile[j]))
                    reach = np.float32(best[row] - error[row])


def _count_torch(state: _RankState, pool: ReadPool, span: tuple[int, int], cap: int, device: str) -> None:
    import torch

    if device == "cuda":
        state.error *= 4  # tensor cores truncate where others round
    precision = torch.get_float32_matmul_precision()
    try:
        if device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 holds halves exactly
        with torch.inference_mode():
            _count_blocks(state, pool, span, cap, device)
    finally:
        torch.set_float32_matmul_precision(precision)


def _count_blocks(state: _RankState, pool: ReadPool, span: tuple[int, int], cap: int, device: str) -> None:
    import torch

    anchors = torch.from_numpy(state.anchors).to(device).float()
    rows = np.arange(len(state.positive_products))
    for first, stop in _spans(*span, _TORCH_COLUMNS):
        block = pool(first, stop)
        columns = torch.from_numpy(block).to(device).float().T
        for start in range(0, len(rows), _TORCH_ROWS):
            block_rows = rows[start : start + _TORCH_ROWS]
            products = anchors[torch.from_numpy(block_rows).to(device)] @ columns
            _count_block(state, products, block_rows, first, block)
        rows = rows[state.counts[rows] < cap]
        if not len(rows):
            return


def _count_block(state: _RankState, products: torch.Tensor, rows: LongArray, first: int, block: HalfArray) -> None:
    """Count the products of a block (m, n) above the positive, and raise `best`; those near a limit go to the host."""
    import torch

    def limit(values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(products.device)[:, None]

    def exact(mask: torch.Tensor) -> tuple[LongArray, FloatArray]:
        i, j = mask.nonzero().cpu().numpy().T
        return rows[i], dots(state.anchors[rows[i]], block[j])

    positions = _find_excluded(
        rows, first, first + len(block), state.excluded.stop, state.excluded.ordinals, state.cursor
    )
    i, j = torch.from_numpy(positions).to(products.device)
    products[i, j] = -torch.inf
    positive_products, error = state.positive_products[rows], state.error[rows]
    over_low, over_high = products > limit(positive_products - error), products > limit(positive_products + error)
    state.counts[rows] += over_high.sum(1).cpu().numpy()
    near_rows, product = exact(over_low & ~over_high)
    np.add.at(state.counts, near_rows[product > state.positive_products[near_rows]], 1)
    top = products.amax(1, keepdim=True) - limit(3 * error)
    better_rows, product = exact((products > limit(state.best[rows] - error)) & (products >= top))
    np.maximum.at(state.best, better_rows, product)


@njit(
    types.int64[:, ::1](_LONGS, types.int64, types.int64, _LONGS, _LONGS, types.int64[::1]),
    nogil=True,
    cache=True,
)
def _find_excluded(
    rows: LongArray, first: int, end: int, excluded_stop: LongArray, ordinals: LongArray, cursor: LongArray
) -> LongArray:
    """Return the excluded positions of a block with ordinals `first` to `end`: index into `rows` and column, (2, E).

    Blocks come in ascending order. The first loop moves each cursor to the first ordinal of the block and counts, so
    the second writes exactly the `total` entries of `out`.
    """
    ends = np.empty(len(rows), np.int64)
    total = np.int64(0)
    for i in range(len(rows)):
        row = rows[i]
        while cursor[row] < excluded_stop[row] and ordinals[cursor[row]] < first:
            cursor[row] += 1
        run_end = cursor[row]
        while run_end < excluded_stop[row] and ordinals[run_end] < end:
            run_end += 1
        total += run_end - cursor[row]
        ends[i] = run_end
    out = np.empty((2, total), np.int64)
    n_out = 0
    for i in range(len(rows)):
        for k in range(cursor[rows[i]], ends[i]):
            out[0, n_out], out[1, n_out] = i, ordinals[k] - first
            n_out += 1
        cursor[rows[i]] = ends[i]
    return out


@njit(
    types.void(_KEYS, _KEYS, _KEYS, _KEYS, types.int64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
)
def find_runs(
    high: KeyArray, low: KeyArray, query_high: KeyArray, query_low: KeyArray, start: LongArray, stop: LongArray
) -> None:
    """Find the positions of N keys (high, low) in a sorted list of keys: from `start` to before `stop`.

    Two binary searches, side 0 for the first key that is not less, side 1 for the first that is greater: keys before
    `lower` are too small, keys from `upper` on are not, until both meet. `middle` is below `upper`, so in bounds.
    """
    for i in range(len(query_high)):
        for side in range(2):
            lower, upper = np.int64(0), np.int64(len(high))
            while lower < upper:
                middle = (lower + upper) // 2
                high_equal = high[middle] == query_high[i]
                is_less = high[middle] < query_high[i] or (high_equal and low[middle] < query_low[i])
                if is_less or (side == 1 and high_equal and low[middle] == query_low[i]):
                    lower = middle + 1
                else:
                    upper = middle
            if side == 0:
                start[i] = lower
            else:
                stop[i] = lower
