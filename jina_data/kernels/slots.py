"""A table of keys with open addressing, for kernels that count what occurs again in a text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jina_data.kernels.words import IntArray, Integer, inner

HashArray = npt.NDArray[np.uint64]

SPREAD, HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


@inner
def find(keys: HashArray, stamps: IntArray, stamp: Integer, mask: Integer, key: np.uint64) -> tuple[Integer, bool]:
    """Return the slot of a key in an open-addressing table, and whether it was there; if not, it now is.

    A slot is in use where its stamp is the current one, so that the next text needs no clearing. `mask` is one less
    than the part of the table in use, a power of two.
    """
    spread = key * SPREAD
    slot = np.int64(spread ^ spread >> HALF) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot, True
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return slot, False


@inner
def mask_for(n_items: Integer) -> Integer:
    """Return the mask of a table that is at most half full with that many items."""
    size = 4
    while size < 2 * n_items:
        size *= 2
    return size - 1
