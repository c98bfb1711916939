"""Computes MinHash values of sets of elements, and the keys of bands.

Elements are fully mixed 64-bit hashes, so they can be treated as random numbers. A MinHash function is then a linear
form a * high + b * low (mod 2^32) of their halves. Two such forms have independent values; two forms of one half,
a * low + b, do not.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import shake_128

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.folded_words import HALF, ULONGS, HashArray, finish, step
from jina_data.kernels.shingles import Elements
from jina_data.kernels.words import LONGS, IntArray, Integer

MinArray = npt.NDArray[np.uint32]

_LOW_SEED = np.uint64(0xA0761D6478BD642F)
_MAX_UINT32 = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class Sketch:
    """The keys by which N rows are compared: of each band (B, N); two hashes and the size of the set of elements."""

    bands: HashArray
    high: HashArray
    low: HashArray
    sizes: IntArray


def sketch(roles: Sequence[Elements], n_rows: int, *, bands: int, rows: int) -> Sketch:
    """Sketch N rows by the union of their roles' elements: `bands` keys, each of `rows` MinHash values."""
    forms = _linear_forms(bands * rows)
    mins = np.full((n_rows, bands * rows), _MAX_UINT32, np.uint32)
    high, low = np.zeros(n_rows, np.uint64), np.zeros(n_rows, np.uint64)
    sizes = np.zeros(n_rows, np.int64)
    for elements in roles:
        max_elements = int(np.diff(elements.offsets).max(initial=0))
        slots, stamps = np.empty(_table_size(max_elements), np.uint64), np.full(_table_size(max_elements), -1, np.int64)
        _sketch(elements.values, elements.offsets, forms, slots, stamps, mins, high, low, sizes)
    out = np.empty((bands, n_rows), np.uint64)
    _band_keys(mins, rows, out)
    return Sketch(out, high, low, sizes)


@cache
def _linear_forms(n_forms: int) -> MinArray:
    """Return the coefficients of the MinHash functions, (2, K), all odd; they never change."""
    digest = shake_128(b"jina-data minhash").digest(8 * n_forms)
    # The digest is read form by form, so that the first forms do not depend on the number of forms.
    return np.ascontiguousarray(np.frombuffer(digest, "<u4").reshape(n_forms, 2).T.astype(np.uint32) | np.uint32(1))


def _table_size(n_items: int) -> int:
    """Return the smallest power of two that is at least twice the number of items, and at least 4."""
    return 1 << max(2, (2 * n_items - 1).bit_length())


@njit(
    types.void(
        ULONGS,
        LONGS,
        types.Array(types.uint32, 2, "C", readonly=True),
        types.uint64[::1],
        types.int64[::1],
        types.uint32[:, ::1],
        types.uint64[::1],
        types.uint64[::1],
        types.int64[::1],
    ),
    nogil=True,
    cache=True,
)
def _sketch(
    values: HashArray,
    offsets: IntArray,
    forms: MinArray,
    slots: HashArray,
    stamps: IntArray,
    mins: MinArray,
    high: HashArray,
    low: HashArray,
    sizes: IntArray,
) -> None:
    """Lower the minima of N rows (N, K) by their elements, each once, and add to the hashes and sizes of their sets.

    `slots` and `stamps` are a hash table of the elements of the row at hand, in its first mask + 1 slots, which are at
    most half full: every probe meets a free slot. A slot is in use if its stamp is the row; stamps begin at -1. Minimum
    and sum do not depend on the order of elements, so a row depends on its set alone.
    """
    upper, lower = forms[0], forms[1]
    for row in range(len(offsets) - 1):
        mask = 3
        while mask + 1 < 2 * (offsets[row + 1] - offsets[row]):
            mask = 2 * mask + 1
        row_mins = mins[row]
        for i in range(offsets[row], offsets[row + 1]):
            value = values[i]
            slot = np.int64(value) & mask
            while stamps[slot] == row and slots[slot] != value:
                slot = (slot + 1) & mask
            if stamps[slot] == row:
                continue
            stamps[slot], slots[slot] = row, value
            sizes[row] += 1
            # These sums wrap at 2^64.
            high[row] += value
            low[row] += finish(value ^ _LOW_SEED)
            a, b = np.uint32(value >> HALF), np.uint32(value)
            for k in range(len(row_mins)):
                row_mins[k] = min(row_mins[k], np.uint32(np.uint32(upper[k] * a) + np.uint32(lower[k] * b)))


@njit(types.void(types.uint32[:, ::1], types.int64, types.uint64[:, ::1]), nogil=True, cache=True)
def _band_keys(mins: MinArray, n_rows: Integer, out: HashArray) -> None:
    """Hash the minima of each band of N rows to (B, N); two minima of 32 bits are added to the hash at a time."""
    for row in range(len(mins)):
        for band in range(len(out)):
            h = np.uint64(band + 1)
            k, stop = band * n_rows, (band + 1) * n_rows
            while k + 1 < stop:
                h = step(h, np.uint64(mins[row, k]) << HALF | np.uint64(mins[row, k + 1]))
                k += 2
            if k < stop:
                h = step(h, np.uint64(mins[row, k]))
            out[band, row] = finish(h)
