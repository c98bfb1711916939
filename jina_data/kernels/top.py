"""The vectors of a pool that are closest to each anchor, exactly: which, and their products.

Tiles are multiplied in float32, whose error has a bound; whatever may belong to the best is multiplied again in
float64, where the dot product of vectors in half precision is exact (see `kernels.rank`). So the outcome depends
neither on BLAS nor on threads, tiles or the device. Of equal products the lower ordinal goes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, types

from jina_data.kernels.rank import (
    Excluded,
    FloatArray,
    HalfArray,
    LongArray,
    ReadPool,
    SingleArray,
    dots,
)
from jina_data.kernels.words import inner

if TYPE_CHECKING:
    import torch

_CPU_ROWS, _CPU_COLUMNS = 512, 4096
_TORCH_ROWS, _TORCH_COLUMNS = 4096, 32768

_LENGTH = 1 + 2**-9
"""More than the length of any vector that was scaled to 1 and rounded to half precision."""


@dataclass(frozen=True)
class Found:
    """The best of a pool for N anchors, best first: `ordinals` (N, K), -1 where there are fewer, and `products`."""

    ordinals: LongArray
    products: FloatArray


def find_top(
    anchors: HalfArray,
    pool: ReadPool,
    n_pool: int,
    excluded: Excluded,
    *,
    k: int,
    upper: FloatArray,
    torch_device: str | None = None,
) -> Found:
    """Find the K vectors of a pool with the largest products with each anchor, of those up to a limit.

    Args:
        anchors: (N, D), of length 1 or zeros.
        pool: reads the pool.
        n_pool: how many vectors it has.
        excluded: ordinals that do not count, for each anchor.
        k: how many to find.
        upper: (N,) the largest product that counts; infinite for no limit.
        torch_device: where torch multiplies; without one, numpy does.
    """
    k = min(k, n_pool)
    n, dim = anchors.shape
    ordinals, products = np.full((n, k), -1, np.int64), np.full((n, k), -np.inf)
    if not n or not k:
        return Found(ordinals, products)
    error = 1.01 * (dim + 4) * 2.0**-24 * np.sqrt(dots(anchors, anchors)) * _LENGTH
    state = _State(anchors.astype(np.float32), upper.astype(np.float64), error, excluded, ordinals, products)
    if torch_device is None:
        _find_numpy(state, pool, n_pool)
    else:
        _find_torch(state, pool, n_pool, torch_device)
    order = np.lexsort((ordinals, -products), axis=1)
    return Found(np.take_along_axis(ordinals, order, 1), np.take_along_axis(products, order, 1))


@dataclass
class _State:
    """N anchors, and the K best of each so far as a heap whose root is the worst."""

    anchors: SingleArray
    upper: FloatArray
    error: FloatArray
    excluded: Excluded
    ordinals: LongArray
    products: FloatArray


def _spans(stop: int, columns: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + columns, stop)) for first in range(0, stop, columns))


def _find_numpy(state: _State, pool: ReadPool, n_pool: int) -> None:
    excluded = state.excluded
    for first, stop in _spans(n_pool, _CPU_COLUMNS):
        tile = pool(first, stop).astype(np.float32)
        for at in range(0, len(state.anchors), _CPU_ROWS):
            some = slice(at, at + _CPU_ROWS)
            products = state.anchors[some] @ tile.T
            _merge_tile(
                *(products, first, state.anchors[some], tile, state.upper[some], state.error[some]),
                *(excluded.start[some], excluded.stop[some], excluded.ordinals),
                *(state.ordinals[some], state.products[some]),
            )


_LONGS = types.Array(types.int64, 1, "C", readonly=True)
_DOUBLES = types.Array(types.float64, 1, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)


@inner
def _worse(product: float, ordinal: int, than: float, than_ordinal: int) -> bool:
    return product < than or (product == than and ordinal > than_ordinal)


@inner
def _offer(ordinals: LongArray, products: FloatArray, ordinal: int, product: float) -> None:
    """Put a candidate into the heap of one anchor in place of its worst, if it is better."""
    if not _worse(products[0], ordinals[0], product, ordinal):
        return
    at, k = 0, len(products)
    while 2 * at + 1 < k:
        child = 2 * at + 1
        if child + 1 < k and _worse(products[child + 1], ordinals[child + 1], products[child], ordinals[child]):
            child += 1
        if not _worse(products[child], ordinals[child], product, ordinal):
            break
        products[at], ordinals[at] = products[child], ordinals[child]
        at = child
    products[at], ordinals[at] = product, ordinal


@inner
def _dot(left: SingleArray, right: SingleArray) -> float:
    total = 0.0
    for k in range(len(left)):
        total += np.float64(left[k]) * np.float64(right[k])
    return total


@njit(
    types.void(
        *(types.float32[:, ::1], types.int64, _SINGLES, _SINGLES, _DOUBLES, _DOUBLES),
        *(_LONGS, _LONGS, _LONGS, types.int64[:, ::1], types.float64[:, ::1]),
    ),
    nogil=True,
    cache=True,
)
def _merge_tile(
    rough: SingleArray,
    first: int,
    anchors: SingleArray,
    tile: SingleArray,
    upper: FloatArray,
    error: FloatArray,
    start: LongArray,
    stop: LongArray,
    excluded: LongArray,
    ordinals: LongArray,
    products: FloatArray,
) -> None:
    """Offer a tile (m, n) of rough products to the heaps of m anchors."""
    for i in range(len(rough)):
        for place in range(start[i], stop[i]):
            if first <= excluded[place] < first + rough.shape[1]:
                rough[i, excluded[place] - first] = -np.inf
        low, high = np.float32(products[i, 0] - error[i]), np.float32(upper[i] + error[i])
        for j in range(rough.shape[1]):
            # A value next to `low` or `high` may lie on either side: rounding these two is part of the error.
            if low <= rough[i, j] <= high and rough[i, j] > -np.inf:
                product = _dot(anchors[i], tile[j])
                if product <= upper[i]:
                    _offer(ordinals[i], products[i], first + j, product)
                    low = np.float32(products[i, 0] - error[i])


def _find_torch(state: _State, pool: ReadPool, n_pool: int, device: str) -> None:
    import torch

    if device == "cuda":
        state.error *= 4  # tensor cores cut where others round
    before = torch.get_float32_matmul_precision()
    try:
        if device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 holds halves exactly
        with torch.inference_mode():
            wide = torch.from_numpy(state.anchors).to(device)
            for first, stop in _spans(n_pool, _TORCH_COLUMNS):
                tile = pool(first, stop).astype(np.float32)
                columns = torch.from_numpy(tile).to(device).T
                for at in range(0, len(state.anchors), _TORCH_ROWS):
                    some = slice(at, at + _TORCH_ROWS)
                    _offer_block(state, some, wide[some] @ columns, first, tile)
    finally:
        torch.set_float32_matmul_precision(before)


def _offer_block(state: _State, some: slice, rough: torch.Tensor, first: int, tile: SingleArray) -> None:
    """Offer a block (m, n) of rough products: only what may be among the K best of the block leaves the device."""
    import torch

    def limit(values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(rough.device)[:, None]

    upper, error, products = state.upper[some], state.error[some], state.products[some]
    i, j = _places(state.excluded.start[some], state.excluded.stop[some], state.excluded.ordinals, first, len(tile))
    rough[torch.from_numpy(i).to(rough.device), torch.from_numpy(j).to(rough.device)] = -torch.inf
    # What lies in the band around `upper` may fall out: it must not push others out of the best of the block.
    sure = torch.where(rough <= limit(upper - error), rough, -torch.inf)
    worst = sure.topk(min(products.shape[1], len(tile)), dim=1).values[:, -1:]
    low = torch.maximum(worst - 2 * limit(error), limit(products[:, 0] - error))
    chosen = (rough >= low) & (rough <= limit(upper + error)) & (rough > -torch.inf)
    rows, columns = chosen.nonzero().cpu().numpy().T
    _merge_some(
        *(np.ascontiguousarray(rows), np.ascontiguousarray(columns), first, state.anchors[some], tile, upper),
        *(state.ordinals[some], products),
    )


def _places(
    start: LongArray, stop: LongArray, ordinals: LongArray, first: int, n_columns: int
) -> tuple[LongArray, LongArray]:
    """Return where a block has what is excluded: rows and columns."""
    counts = stop - start
    rows = np.repeat(np.arange(len(start)), counts)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = np.asarray(ordinals)[np.repeat(start, counts) + within] - first
    inside = (columns >= 0) & (columns < n_columns)
    return rows[inside], columns[inside]


@njit(
    types.void(
        *(types.int64[::1], types.int64[::1], types.int64, _SINGLES, _SINGLES, _DOUBLES),
        *(types.int64[:, ::1], types.float64[:, ::1]),
    ),
    nogil=True,
    cache=True,
)
def _merge_some(
    rows: LongArray,
    columns: LongArray,
    first: int,
    anchors: SingleArray,
    tile: SingleArray,
    upper: FloatArray,
    ordinals: LongArray,
    products: FloatArray,
) -> None:
    """Offer some places of a block to the heaps of its anchors."""
    for at in range(len(rows)):
        i, j = rows[at], columns[at]
        product = _dot(anchors[i], tile[j])
        if product <= upper[i]:
            _offer(ordinals[i], products[i], first + j, product)
