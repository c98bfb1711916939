"""Finds reference texts in other texts: contained whole, with one word changed, or by a long run of words.

Texts are compared word by word, as `kernels.folded_words` hashes words. `kernels.overlap_seeds` describes how overlaps
are found, `kernels.overlap_search` how they are verified.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.folded_words import ULONGS, FoldedWords, HashArray, word_hashes
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


class OverlapMatch(NamedTuple):
    """The best overlap of each of T texts: the reference text (-1: none), how many of its words, an index of KINDS."""

    texts: SmallArray
    words: IntArray
    kinds: npt.NDArray[np.int8]


@dataclass(frozen=True)
class OverlapIndex:
    """An index of K reference texts with different words.

    `words` are their words. `sources` (K,) is the position of each among the texts that the index was built from: the
    first of the texts with the same words.
    """

    limits: Limits
    words: FoldedWords
    sources: IntArray
    halves: Seeds
    runs: Seeds

    @classmethod
    def build(cls, texts: Iterable[pa.LargeStringArray], limits: Limits) -> OverlapIndex:
        """Index reference texts; `sources` counts them in this order."""
        parts = [word_hashes(values) for values in texts] or [
            FoldedWords(np.empty(0, np.uint64), np.zeros(1, np.int64))
        ]
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        words = _pack_words(np.concatenate([part.hashes for part in parts]), counts)
        del parts
        sources = _distinct_texts(words)
        is_distinct = np.zeros(len(counts), np.bool_)
        is_distinct[sources] = True
        words = _pack_words(words.hashes[np.repeat(is_distinct, counts)], counts[is_distinct])
        halves, runs = choose_seeds(words.offsets, limits)
        return cls(limits, words, sources, make_seeds(words, halves), make_seeds(words, runs))

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the index takes."""
        return sum(array.nbytes for part in (self.words, self.halves, self.runs, (self.sources,)) for array in part)

    def search(self, values: pa.LargeStringArray) -> OverlapMatch:
        """Find the best overlap of each of T texts with a reference text.

        The best has the largest share of the reference text's words, then the most words, then comes first.
        """
        searched, limits = word_hashes(values), self.limits
        n_texts = len(values)
        matches = OverlapMatch(np.full(n_texts, -1, np.int32), np.zeros(n_texts, np.int64), np.zeros(n_texts, np.int8))
        bounds = np.array([limits.n_grams, limits.min_words, limits.min_words_changed, seed_step(limits)], np.int64)
        longest = int(np.diff(searched.offsets).max(initial=0))
        powers = np.full(int(max(self.halves.lengths.max(initial=0), self.runs.lengths.max(initial=0))) + 1, BASE)
        powers[0] = 1
        np.multiply.accumulate(powers, out=powers)
        scratch = np.zeros(longest + 1, np.uint64)
        search_texts(*searched, *self.words, self.halves, self.runs, bounds, powers, scratch, *matches)
        return matches


def _pack_words(hashes: HashArray, counts: IntArray) -> FoldedWords:
    return FoldedWords(hashes, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))


def _distinct_texts(words: FoldedWords) -> IntArray:
    """Return the texts that have a word, in order; of texts with the same words, the first.

    A text whose key collides with that of a text with other words is kept too.
    """
    counts = np.diff(words.offsets)
    keys = keys_of(words, np.arange(len(counts)), np.zeros(len(counts), np.int64), counts)
    _, first_texts, group = np.unique(keys, return_index=True, return_inverse=True)
    twins = first_texts[group.reshape(-1)]
    same = np.empty(len(counts), np.bool_)
    _same_texts(*words, twins, same)
    distinct: IntArray = np.flatnonzero((counts > 0) & (~same | (twins == np.arange(len(counts)))))
    return distinct


# Sets `same[t]` to whether text t has the same words as text `twins[t]`. `run_right` stays within `words`, and the
# lengths are compared first, so words of a following text do not count.
@njit(types.void(ULONGS, LONGS, LONGS, types.boolean[::1]), nogil=True, cache=True)
def _same_texts(words: HashArray, offsets: IntArray, twins: IntArray, same: npt.NDArray[np.bool_]) -> None:
    for text in range(len(twins)):
        start, twin_start = offsets[text], offsets[twins[text]]
        length = offsets[text + 1] - start
        same[text] = (
            length == offsets[twins[text] + 1] - twin_start
            and run_right(words, start, words, twin_start, length) == length
        )
