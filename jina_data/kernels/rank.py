"""Ranks by counting: how many vectors of a pool are closer to an anchor than its own positive is.

No list of nearest neighbours is needed: products of a tile of anchors and a tile of the pool are compared and counted
where they lie. Vectors come in half precision, so a product of two coordinates is a multiple of 2^-48 and a dot
product of unit vectors is exact in float64, whatever the order of its sum. Tiles are multiplied in float32, whose
error has a bound; only what is closer to a limit than that is multiplied again in float64. So counts and maxima are
exact: they depend neither on BLAS nor on threads, tiles or the device.

An anchor leaves as soon as its rank is sure to be over the cap. Tiles grow, so most of those that do leave early.
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
"""Reads vectors of a pool, from one ordinal to before another, (n, D)."""

_CPU_ROWS, _CPU_COLUMNS = 512, 2048
_TORCH_ROWS, _TORCH_COLUMNS = 4096, 32768
_FIRST_COLUMNS = (64, 256, 1024)

_LENGTH = 1 + 2**-9
"""More than the length of any vector that was scaled to 1 and rounded to half precision."""


@dataclass(frozen=True)
class Excluded:
    """What is no competitor: for row i the pool's ordinals[start[i]:stop[i]], ascending."""

    start: LongArray
    stop: LongArray
    ordinals: LongArray

    def take(self, rows: LongArray) -> Excluded:
        """Return the same for some of the rows."""
        return Excluded(self.start[rows], self.stop[rows], self.ordinals)


@dataclass(frozen=True)
class Ranks:
    """What `count_ranks` found for N anchors.

    `rank` (N,): cap + 1 stands for more. `best` (N,): the product of the best competitor, NaN where there is none or
    where the rank is more.
    """

    rank: npt.NDArray[np.int32]
    best: FloatArray


def dots(left: HalfArray, right: HalfArray) -> FloatArray:
    """Return the exact dot products of two lists of vectors (N, D), row by row."""
    out = np.empty(len(left))
    for start in range(0, len(left), 4096):
        some = slice(start, start + 4096)
        out[some] = np.einsum("nd,nd->n", left[some].astype(np.float64), right[some].astype(np.float64))
    return out


def count_ranks(
    anchors: HalfArray,
    own: FloatArray,
    pool: ReadPool,
    excluded: Excluded,
    *,
    span: tuple[int, int],
    cap: int,
    torch_device: str | None = None,
) -> Ranks:
    """Rank the own product of each anchor among its products with a part of a pool.

    Args:
        anchors: (N, D), of length 1 or zeros.
        own: (N,), the exact product of each anchor with its own positive.
        pool: reads the pool, which is best in random order.
        excluded: ordinals of the pool that do not count, for each anchor.
        span: the part of the pool, first ordinal and the one behind the last.
        cap: ranks are exact up to this one.
        torch_device: where torch multiplies; without one, numpy does.
    """
    state = _State.start(anchors, own, excluded)
    if torch_device is None:
        _count_numpy(state, pool, span, cap)
    else:
        _count_torch(state, pool, span, cap, torch_device)
    more = state.counts >= cap
    best = np.where(more | np.isneginf(state.best), np.nan, state.best)
    return Ranks((1 + np.minimum(state.counts, cap)).astype(np.int32), best)


@dataclass
class _State:
    """What is known of N anchors so far; `cursor` is the next ordinal that each excludes."""

    anchors: HalfArray
    own: FloatArray
    error: FloatArray
    excluded: Excluded
    cursor: LongArray
    counts: LongArray
    best: FloatArray

    @classmethod
    def start(cls, anchors: HalfArray, own: FloatArray, excluded: Excluded) -> _State:
        n, dim = anchors.shape
        # Products of halves are exact in float32; each of the sums may be off by 2^-24 of the lengths' product, and so
        # may be a limit when it is rounded.
        error = 1.01 * (dim + 4) * 2.0**-24 * np.sqrt(dots(anchors, anchors)) * _LENGTH
        nothing = np.full(n, -np.inf)
        return cls(anchors, own, error, excluded, excluded.start.copy(), np.zeros(n, np.int64), nothing)


def _spans(first: int, stop: int, columns: int) -> Iterator[tuple[int, int]]:
    sizes = iter(_FIRST_COLUMNS)
    while first < stop:
        behind = min(first + min(next(sizes, columns), columns), stop)
        yield first, behind
        first = behind


def _count_numpy(state: _State, pool: ReadPool, span: tuple[int, int], cap: int) -> None:
    rows = np.arange(len(state.own))
    wide = state.anchors.astype(np.float32)
    active = wide
    buffer = np.empty(_CPU_ROWS * _CPU_COLUMNS, np.float32)
    for first, stop in _spans(*span, _CPU_COLUMNS):
        tile = pool(first, stop).astype(np.float32)
        for at in range(0, len(rows), _CPU_ROWS):
            some = rows[at : at + _CPU_ROWS]
            products = buffer[: len(some) * len(tile)].reshape(len(some), len(tile))
            np.matmul(active[at : at + _CPU_ROWS], tile.T, out=products)
            _count_tile(
                *(products, some, first, wide, tile),
                *(state.own, state.error, state.excluded.stop, state.excluded.ordinals),
                *(state.cursor, state.counts, state.best),
            )
        stay = state.counts[rows] < cap
        if not stay.all():
            rows, active = rows[stay], active[stay]
        if not len(rows):
            return


_LONGS = types.Array(types.int64, 1, "C", readonly=True)
_DOUBLES = types.Array(types.float64, 1, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_KEYS = types.Array(types.uint64, 1, "C", readonly=True)


@inner
def _dot(left: SingleArray, right: SingleArray) -> float:
    total = 0.0
    for k in range(len(left)):
        total += np.float64(left[k]) * np.float64(right[k])
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
    own: FloatArray,
    error: FloatArray,
    stop: LongArray,
    ordinals: LongArray,
    cursor: LongArray,
    counts: LongArray,
    best: FloatArray,
) -> None:
    """Count what is above `own` in a tile (m, n) of products, and raise `best`."""
    n = products.shape[1]
    for i in range(len(rows)):
        row, line = rows[i], products[i]
        while cursor[row] < stop[row] and ordinals[cursor[row]] < first + n:
            if ordinals[cursor[row]] >= first:
                line[ordinals[cursor[row]] - first] = -np.inf
            cursor[row] += 1
        low, high = np.float32(own[row] - error[row]), np.float32(own[row] + error[row])
        reach = np.float32(best[row] - error[row])
        over, above, better = np.int32(0), np.int32(0), np.int32(0)
        for j in range(n):
            over += np.int32(line[j] > low)
            above += np.int32(line[j] > high)
            better += np.int32(line[j] > reach)
        counts[row] += above
        if over > above:
            for j in range(n):
                if low < line[j] <= high and _dot(anchors[row], tile[j]) > own[row]:
                    counts[row] += 1
        if better > 0:
            for j in range(n):
                if line[j] > reach:
                    best[row] = max(best[row], _dot(anchors[row], tile[j]))
                    reach = np.float32(best[row] - error[row])


def _count_torch(state: _State, pool: ReadPool, span: tuple[int, int], cap: int, device: str) -> None:
    import torch

    if device == "cuda":
        state.error *= 4  # tensor cores cut where others round
    before = torch.get_float32_matmul_precision()
    try:
        if device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 holds halves exactly
        with torch.inference_mode():
            _count_blocks(state, pool, span, cap, device)
    finally:
        torch.set_float32_matmul_precision(before)


def _count_blocks(state: _State, pool: ReadPool, span: tuple[int, int], cap: int, device: str) -> None:
    import torch

    wide = torch.from_numpy(state.anchors).to(device).float()
    rows = np.arange(len(state.own))
    for first, stop in _spans(*span, _TORCH_COLUMNS):
        block = pool(first, stop)
        columns = torch.from_numpy(block).to(device).float().T
        for at in range(0, len(rows), _TORCH_ROWS):
            some = rows[at : at + _TORCH_ROWS]
            products = wide[torch.from_numpy(some).to(device)] @ columns
            _count_block(state, products, some, first, block)
        rows = rows[state.counts[rows] < cap]
        if not len(rows):
            return


def _count_block(state: _State, products: torch.Tensor, rows: LongArray, first: int, block: HalfArray) -> None:
    """Count what is above `own` in a block (m, n) of products, and raise `best`; what is close goes to the host."""
    import torch

    def limit(values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(products.device)[:, None]

    def exact(where: torch.Tensor) -> tuple[LongArray, FloatArray]:
        i, j = where.nonzero().cpu().numpy().T
        return rows[i], dots(state.anchors[rows[i]], block[j])

    places = _find_excluded(rows, first, first + len(block), state.excluded.stop, state.excluded.ordinals, state.cursor)
    i, j = torch.from_numpy(places).to(products.device)
    products[i, j] = -torch.inf
    own, error = state.own[rows], state.error[rows]
    over, above = products > limit(own - error), products > limit(own + error)
    state.counts[rows] += above.sum(1).cpu().numpy()
    near, product = exact(over & ~above)
    np.add.at(state.counts, near[product > state.own[near]], 1)
    top = products.amax(1, keepdim=True) - limit(3 * error)
    better, product = exact((products > limit(state.best[rows] - error)) & (products >= top))
    np.maximum.at(state.best, better, product)


@njit(
    types.int64[:, ::1](_LONGS, types.int64, types.int64, _LONGS, _LONGS, types.int64[::1]),
    nogil=True,
    cache=True,
)
def _find_excluded(
    rows: LongArray, first: int, behind: int, stop: LongArray, ordinals: LongArray, cursor: LongArray
) -> LongArray:
    """Return where ordinals from `first` to `behind` are excluded: places in `rows` and in the block, (2, E)."""
    ends = np.empty(len(rows), np.int64)
    total = np.int64(0)
    for i in range(len(rows)):
        row = rows[i]
        while cursor[row] < stop[row] and ordinals[cursor[row]] < first:
            cursor[row] += 1
        end = cursor[row]
        while end < stop[row] and ordinals[end] < behind:
            end += 1
        total += end - cursor[row]
        ends[i] = end
    out = np.empty((2, total), np.int64)
    at = 0
    for i in range(len(rows)):
        for place in range(cursor[rows[i]], ends[i]):
            out[0, at], out[1, at] = i, ordinals[place] - first
            at += 1
        cursor[rows[i]] = ends[i]
    return out


@njit(
    types.void(_KEYS, _KEYS, _KEYS, _KEYS, types.int64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
)
def find_runs(
    high: KeyArray, low: KeyArray, wanted_high: KeyArray, wanted_low: KeyArray, start: LongArray, stop: LongArray
) -> None:
    """Find where each of N wanted keys (high, low) stands in a sorted list of keys: from `start` to before `stop`."""
    for i in range(len(wanted_high)):
        for behind in range(2):
            left, right = np.int64(0), np.int64(len(high))
            while left < right:
                middle = (left + right) // 2
                same = high[middle] == wanted_high[i]
                less = high[middle] < wanted_high[i] or (same and low[middle] < wanted_low[i])
                if less or (behind == 1 and same and low[middle] == wanted_low[i]):
                    left = middle + 1
                else:
                    right = middle
            if behind == 0:
                start[i] = left
            else:
                stop[i] = left
