"""Provides a hash table with open addressing, for kernels that count repetitions in a text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jina_data.kernels.words import IntArray, Integer, inner

HashArray = npt.NDArray[np.uint64]

SPREAD, HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


@inner
def find_slot(keys: HashArray, stamps: IntArray, stamp: Integer, mask: Integer, key: np.uint64) -> tuple[Integer, bool]:
    """Return the slot of a key, and whether the table had it; insert it if not.

    A slot is in use where its stamp is `stamp`: a new stamp empties the table without clearing it. `mask` is one less
    than the number of slots in use, a power of two. The caller keeps at least one slot free (`mask_for`), so the probe
    ends.
    """
    mixed = key * SPREAD
    slot = np.int64(mixed ^ mixed >> HALF) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot, True
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return slot, False


@inner
def mask_for(n_items: Integer) -> Integer:
    """Return the mask of a table that is at most half full with `n_items` items."""
    size = 4
    while size < 2 * n_items:
        size *= 2
    return size - 1
