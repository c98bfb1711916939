"""Seeds: the short runs of words by which texts are found that stand in others, and how to find the seeds.

Every overlap that is looked for leaves a seed intact: the whole text if it is short; one of the two halves of a text
with one word changed; and of a run of `n_grams` words, the piece that begins at one of every few words of the given
text. Seeds are found by a polynomial hash that rolls over the words at a constant cost for any length.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.folded_words import NONE, ULONGS, HashArray, Words
from jina_data.kernels.words import LONGS, ByteArray, IntArray

SmallArray = npt.NDArray[np.int32]

BASE = np.uint64(0x9E3779B97F4A7C15)
"""The base of the polynomial hash."""
WHOLE = np.uint64(0x94D049BB133111EB)
"""Tells the key of a whole text from that of a part."""


@dataclass(frozen=True)
class Limits:
    """What counts as an overlap, in words."""

    n_grams: int
    min_words: int
    min_words_changed: int


class Seeds(NamedTuple):
    """Where to find seeds: G keys (ascending), the S seeds of key g from `starts[g]` to `starts[g + 1]` (G + 1,).

    `texts` (S,) and `places` (S,) tell the text of a seed and its first word there. `buckets` leads from the upper
    bits of a key to the first key that has them; `sieve` has a bit for the lower bits of each key. `lengths` are the
    words of a seed; seeds of all these lengths are here together.
    """

    keys: HashArray
    starts: SmallArray
    texts: SmallArray
    places: SmallArray
    buckets: SmallArray
    sieve: ByteArray
    lengths: IntArray


SEEDS = types.NamedTuple((types.uint64[::1], *(types.int32[::1],) * 4, types.uint8[::1], types.int64[::1]), Seeds)
"""The type of a kernel's argument."""


class Chosen(NamedTuple):
    """Seeds to be: text, first word there, number of words; a length of 0 stands for a whole text, found by that."""

    texts: IntArray
    places: IntArray
    lengths: IntArray


def choose_seeds(offsets: IntArray, limits: Limits) -> tuple[Chosen, Chosen]:
    """Choose the seeds of whole texts and halves, and those of runs."""
    counts = np.diff(offsets)
    every = np.arange(len(counts))
    zeros = np.zeros(len(counts), np.int64)
    short = counts < limits.n_grams
    whole = short & (counts >= limits.min_words) & (counts < limits.min_words_changed)
    first, last = counts // 2, counts - counts // 2
    changed = counts >= limits.min_words_changed
    # A half as long as a run is found as one.
    some = [(short, zeros, zeros), (whole, zeros, counts)]
    some += [(changed & (short | (half < limits.n_grams)), at, half) for at, half in ((zeros, first), (first, last))]
    parts = [Chosen(every[mask], places[mask], lengths[mask]) for mask, places, lengths in some]
    halves = Chosen(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    length, step = _run_length(limits), seed_step(limits)
    pieces = np.where(short, 0, (counts - length) // step + 1)
    texts = np.repeat(every, pieces)
    numbers = np.arange(len(texts)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return halves, Chosen(texts, numbers * step, np.full(len(texts), length, np.int64))


def seed_step(limits: Limits) -> int:
    """Return every how many words a seed of a run begins."""
    return limits.n_grams - _run_length(limits) + 1


def _run_length(limits: Limits) -> int:
    return min(limits.n_grams, limits.n_grams // 2 + 2)


def make_seeds(words: Words, chosen: Chosen) -> Seeds:
    """Make the seeds that were chosen ready to be found."""
    texts, places, lengths = chosen
    is_whole = lengths == 0
    keys = keys_of(words, texts, places, np.where(is_whole, np.diff(words.offsets)[texts], lengths))
    keys[is_whole] ^= WHOLE
    order = np.lexsort((places, texts, keys))
    distinct, starts = np.unique(keys[order], return_index=True)
    bits = max(1, len(distinct).bit_length())
    edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    buckets = np.append(np.searchsorted(distinct, edges), len(distinct))
    flags = np.zeros(1 << (bits + 4), np.bool_)
    flags[distinct & np.uint64(len(flags) - 1)] = True
    return Seeds(
        distinct,
        np.append(starts, len(keys)).astype(np.int32),
        texts[order].astype(np.int32),
        places[order].astype(np.int32),
        buckets.astype(np.int32),
        np.packbits(flags, bitorder="little"),
        np.unique(lengths[~is_whole]),
    )


def keys_of(words: Words, texts: IntArray, places: IntArray, lengths: IntArray) -> HashArray:
    """Return the keys (S,) of runs of words: of each the text, its first word there, and how many words it has."""
    keys = np.empty(len(texts), np.uint64)
    _hash_runs(words.hashes, words.offsets[texts] + places, lengths, keys)
    return keys


@njit(types.void(ULONGS, LONGS, LONGS, types.uint64[::1]), nogil=True, cache=True)
def _hash_runs(words: HashArray, starts: IntArray, lengths: IntArray, keys: HashArray) -> None:
    for seed in range(len(keys)):
        key = NONE
        for at in range(starts[seed], starts[seed] + lengths[seed]):
            key = key * BASE + words[at]
        keys[seed] = key
