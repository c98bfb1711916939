"""Which of some given texts stand in others, whole, with one word changed, or by a long run of words.

Texts are compared word by word, as `kernels.folded_words` hashes words. How overlaps are found is told in
`kernels.overlap_seeds`, how they are judged in `kernels.overlap_search`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.folded_words import ULONGS, HashArray, Words, word_hashes
from jina_data.kernels.overlap_search import run_right, search_texts
from jina_data.kernels.overlap_seeds import (
    BASE,
    Limits,
    Seeds,
    SmallArray,
    choose_seeds,
    keys_of,
    make_seeds,
    seed_step,
)
from jina_data.kernels.words import LONGS, IntArray


class Found(NamedTuple):
    """The best overlap of each of T texts: the given text (-1: none), how many of its words, and an index of KINDS."""

    texts: SmallArray
    words: IntArray
    kinds: npt.NDArray[np.int8]


@dataclass(frozen=True)
class OverlapIndex:
    """K given texts with different words, ready to be looked for.

    `words` are theirs; `sources` (K,) is the place of each, the first of those with the same words, among the texts
    that the index was made of.
    """

    limits: Limits
    words: Words
    sources: IntArray
    halves: Seeds
    runs: Seeds

    @classmethod
    def build(cls, texts: Iterable[pa.LargeStringArray], limits: Limits) -> OverlapIndex:
        """Index some texts, in the order in which they shall be named."""
        parts = [word_hashes(values) for values in texts] or [Words(np.empty(0, np.uint64), np.zeros(1, np.int64))]
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        words = _packed(np.concatenate([part.hashes for part in parts]), counts)
        del parts
        firsts = _first_of_each(words)
        chosen = np.zeros(len(counts), np.bool_)
        chosen[firsts] = True
        words = _packed(words.hashes[np.repeat(chosen, counts)], counts[chosen])
        halves, runs = choose_seeds(words.offsets, limits)
        return cls(limits, words, firsts, make_seeds(words, halves), make_seeds(words, runs))

    @property
    def n_bytes(self) -> int:
        """The memory it takes."""
        return sum(array.nbytes for part in (self.words, self.halves, self.runs, (self.sources,)) for array in part)

    def search(self, values: pa.LargeStringArray) -> Found:
        """Find the best overlap of each of T texts with a given one.

        The best has the greatest share of the given text's words, then the most words, then stands first.
        """
        own, limits = word_hashes(values), self.limits
        n_texts = len(values)
        found = Found(np.full(n_texts, -1, np.int32), np.zeros(n_texts, np.int64), np.zeros(n_texts, np.int8))
        bounds = np.array([limits.n_grams, limits.min_words, limits.min_words_changed, seed_step(limits)], np.int64)
        longest = int(np.diff(own.offsets).max(initial=0))
        powers = np.full(int(max(self.halves.lengths.max(initial=0), self.runs.lengths.max(initial=0))) + 1, BASE)
        powers[0] = 1
        np.multiply.accumulate(powers, out=powers)
        scratch = np.zeros(longest + 1, np.uint64)
        search_texts(*own, *self.words, self.halves, self.runs, bounds, powers, scratch, *found)
        return found


def _packed(hashes: HashArray, counts: IntArray) -> Words:
    return Words(hashes, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))


def _first_of_each(words: Words) -> IntArray:
    """Return the texts that have a word, the first of those with the same words, in order."""
    counts = np.diff(words.offsets)
    keys = keys_of(words, np.arange(len(counts)), np.zeros(len(counts), np.int64), counts)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    twin = first[group.reshape(-1)]
    same = np.empty(len(counts), np.bool_)
    _same_texts(*words, twin, same)
    keep: IntArray = np.flatnonzero((counts > 0) & (~same | (twin == np.arange(len(counts)))))
    return keep


@njit(types.void(ULONGS, LONGS, LONGS, types.boolean[::1]), nogil=True, cache=True)
def _same_texts(words: HashArray, offsets: IntArray, twins: IntArray, same: npt.NDArray[np.bool_]) -> None:
    for text in range(len(twins)):
        one, other = offsets[text], offsets[twins[text]]
        length = offsets[text + 1] - one
        same[text] = (
            length == offsets[twins[text] + 1] - other and run_right(words, one, words, other, length) == length
        )
