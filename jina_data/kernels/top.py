"""Finds the vectors of a pool that are closest to each anchor, and their products, exactly.

Tiles are multiplied in float32, whose error has a bound; products that may belong to the best are computed again in
float64, where the dot product of vectors in half precision is exact (see `kernels.rank`). So the result depends
neither on BLAS nor on threads, tiles or the device. Of equal products, the one with the lower ordinal comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, types

from jina_data.kernels.rank import (
    Exclusions,
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

_MAX_LENGTH = 1 + 2**-9
"""More than the length of any vector that was scaled to 1 and rounded to half precision."""


@dataclass(frozen=True)
class TopResult:
    """The best of a pool for N anchors, best first: `ordinals` (N, K), -1 where there are fewer, and `products`."""

    ordinals: LongArray
    products: FloatArray


def find_top(
    anchors: HalfArray,
    pool: ReadPool,
    n_pool: int,
    excluded: Exclusions,
    *,
    k: int,
    upper: FloatArray,
    torch_device: str | None = None,
) -> TopResult:
    """Find the K vectors of a pool with the largest products with each anchor, up to a limit on the product.

    Args:
        anchors: (N, D), of length 1 or zeros.
        pool: reads the pool.
        n_pool: number of vectors in the pool.
        excluded: ordinals that do not count, for each anchor.
        k: number of vectors to find.
        upper: (N,) the largest product that counts; infinite for no limit.
        torch_device: the device on which torch multiplies; numpy does if this is None.
    """
    k = min(k, n_pool)
    n, dim = anchors.shape
    ordinals, products = np.full((n, k), -1, np.int64), np.full((n, k), -np.inf)
    if not n or not k:
        return TopResult(ordinals, products)
    error = 1.01 * (dim + 4) * 2.0**-24 * np.sqrt(dots(anchors, anchors)) * _MAX_LENGTH
    state = _TopState(anchors.astype(np.float32), upper.astype(np.float64), error, excluded, ordinals, products)
    if torch_device is None:
        _find_numpy(state, pool, n_pool)
    else:
        _find_torch(state, pool, n_pool, torch_device)
    order = np.lexsort((ordinals, -products), axis=1)
    return TopResult(np.take_along_axis(ordinals, order, 1), np.take_along_axis(products, order, 1))


@dataclass
class _TopState:
    """N anchors, and the K best of each so far: rows of `ordinals` and `products`, heaps with the worst as root."""

    anchors: SingleArray
    upper: FloatArray
    error: FloatArray
    excluded: Exclusions
    ordinals: LongArray
    products: FloatArray


def _spans(stop: int, columns: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + columns, stop)) for first in range(0, stop, columns))


def _find_numpy(state: _TopState, pool: ReadPool, n_pool: int) -> None:
    excluded = state.excluded
    for first, stop in _spans(n_pool, _CPU_COLUMNS):
        tile = pool(first, stop).astype(np.float32)
        for start in range(0, len(state.anchors), _CPU_ROWS):
            rows = slice(start, start + _CPU_ROWS)
            products = state.anchors[rows] @ tile.T
            _merge_tile(
                *(products, first, state.anchors[rows], tile, state.upper[rows], state.error[rows]),
                *(excluded.start[rows], excluded.stop[rows], excluded.ordinals),
                *(state.ordinals[rows], state.products[rows]),
            )


_LONGS = types.Array(types.int64, 1, "C", readonly=True)
_DOUBLES = types.Array(types.float64, 1, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)


@inner
def _worse(product: float, ordinal: int, than: float, than_ordinal: int) -> bool:
    return product < than or (product == than and ordinal > than_ordinal)


@inner
def _offer(ordinals: LongArray, products: FloatArray, ordinal: int, product: float) -> None:
    """Replace the worst of the heap of an anchor by a candidate, if that is better.

    Index 0 is the worst, and no node is worse than its parent, before and after. The loop moves the hole at `node` down
    while the worse of its children is worse than the candidate. Both children are checked against `k`.
    """
    if not _worse(products[0], ordinals[0], product, ordinal):
        return
    node, k = 0, len(products)
    while 2 * node + 1 < k:
        child = 2 * node + 1
        if child + 1 < k and _worse(products[child + 1], ordinals[child + 1], products[child], ordinals[child]):
            child += 1
        if not _worse(products[child], ordinals[child], product, ordinal):
            break
        products[node], ordinals[node] = products[child], ordinals[child]
        node = child
    products[node], ordinals[node] = product, ordinal


@inner
def _dot(vector: SingleArray, other: SingleArray) -> float:
    total = 0.0
    for k in range(len(vector)):
        total += np.float64(vector[k]) * np.float64(other[k])
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
    """Offer a tile (m, n) of rough products to the heaps of m anchors.

    Column j is the vector with ordinal `first + j`; excluded ones get -inf. A rough product below `low` cannot be
    better than the worst of the heap, one above `high` exceeds the limit of the anchor; in between the exact product
    decides. The K best of all offers do not depend on their order, so not on tiles.
    """
    for i in range(len(rough)):
        for entry in range(start[i], stop[i]):
            if first <= excluded[entry] < first + rough.shape[1]:
                rough[i, excluded[entry] - first] = -np.inf
        low, high = np.float32(products[i, 0] - error[i]), np.float32(upper[i] + error[i])
        for j in range(rough.shape[1]):
            # Rounding may have put a value on the wrong side of `low` or `high`: the error includes it.
            if low <= rough[i, j] <= high and rough[i, j] > -np.inf:
                product = _dot(anchors[i], tile[j])
                if product <= upper[i]:
                    _offer(ordinals[i], products[i], first + j, product)
                    low = np.float32(products[i, 0] - error[i])


def _find_torch(state: _TopState, pool: ReadPool, n_pool: int, device: str) -> None:
    import torch

    if device == "cuda":
        state.error *= 4  # tensor cores cut where others round
    precision = torch.get_float32_matmul_precision()
    try:
        if device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 holds halves exactly
        with torch.inference_mode():
            anchors = torch.from_numpy(state.anchors).to(device)
            for first, stop in _spans(n_pool, _TORCH_COLUMNS):
                tile = pool(first, stop).astype(np.float32)
                columns = torch.from_numpy(tile).to(device).T
                for start in range(0, len(state.anchors), _TORCH_ROWS):
                    rows = slice(start, start + _TORCH_ROWS)
                    _offer_block(state, rows, anchors[rows] @ columns, first, tile)
    finally:
        torch.set_float32_matmul_precision(precision)


def _offer_block(state: _TopState, anchor_rows: slice, rough: torch.Tensor, first: int, tile: SingleArray) -> None:
    """Offer a block (m, n) of rough products: only those that may be among the block's K best leave the device."""
    import torch

    def limit(values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(rough.device)[:, None]

    upper, error, products = state.upper[anchor_rows], state.error[anchor_rows], state.products[anchor_rows]
    i, j = _excluded_positions(
        state.excluded.start[anchor_rows], state.excluded.stop[anchor_rows], state.excluded.ordinals, first, len(tile)
    )
    rough[torch.from_numpy(i).to(rough.device), torch.from_numpy(j).to(rough.device)] = -torch.inf
    # Products in the band around `upper` may exceed the limit: they must not push others out of the block's best.
    certain = torch.where(rough <= limit(upper - error), rough, -torch.inf)
    worst = certain.topk(min(products.shape[1], len(tile)), dim=1).values[:, -1:]
    low = torch.maximum(worst - 2 * limit(error), limit(products[:, 0] - error))
    candidates = (rough >= low) & (rough <= limit(upper + error)) & (rough > -torch.inf)
    rows, columns = candidates.nonzero().cpu().numpy().T
    _offer_candidates(
        *(np.ascontiguousarray(rows), np.ascontiguousarray(columns), first, state.anchors[anchor_rows], tile, upper),
        *(state.ordinals[anchor_rows], products),
    )


def _excluded_positions(
    start: LongArray, stop: LongArray, ordinals: LongArray, first: int, n_columns: int
) -> tuple[LongArray, LongArray]:
    """Return the rows and columns of the excluded products of a block."""
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
def _offer_candidates(
    rows: LongArray,
    columns: LongArray,
    first: int,
    anchors: SingleArray,
    tile: SingleArray,
    upper: FloatArray,
    ordinals: LongArray,
    products: FloatArray,
) -> None:
    """Offer products of a block, at `rows` and `columns`, to the heaps of its anchors."""
    for candidate in range(len(rows)):
        i, j = rows[candidate], columns[candidate]
        product = _dot(anchors[i], tile[j])
        if product <= upper[i]:
            _offer(ordinals[i], products[i], first + j, product)
