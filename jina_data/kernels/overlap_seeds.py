"""Chooses and indexes seeds: short runs of words of reference texts, by which overlaps with other texts are found.

Every overlap leaves a seed intact: the whole text if it is short; one of the two halves of a text with one word
changed; and of a run of `n_grams` words, a piece that begins at a multiple of `seed_step` words of the reference text.
Seeds are found by a polynomial hash that rolls over the words at a constant cost for any length.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.folded_words import NONE, ULONGS, FoldedWords, HashArray
from jina_data.kernels.words import LONGS, ByteArray, IntArray

SmallArray = npt.NDArray[np.int32]

BASE = np.uint64(0x9E3779B97F4A7C15)
"""The base of the polynomial hash."""
WHOLE_TEXT = np.uint64(0x94D049BB133111EB)
"""Combined with the key of a whole text by XOR, so that it differs from the key of an equal part."""


@dataclass(frozen=True)
class Limits:
    """What counts as an overlap, in words."""

    n_grams: int
    min_words: int
    min_words_changed: int


class Seeds(NamedTuple):
    """An index of S seeds by G ascending keys: those of key g are seeds `starts[g]` to `starts[g + 1]` (G + 1,).

    `texts` (S,) and `positions` (S,) are the text of a seed and its first word in that text. `buckets` maps the upper
    bits of a key to the first key that has them, with G at the end; `key_bits` has a bit for the lower bits of each
    key. `lengths` are the lengths of seeds in words, except those of whole texts; all share the index.
    """

    keys: HashArray
    starts: SmallArray
    texts: SmallArray
    positions: SmallArray
    buckets: SmallArray
    key_bits: ByteArray
    lengths: IntArray


SEEDS = types.NamedTuple((types.uint64[::1], *(types.int32[::1],) * 4, types.uint8[::1], types.int64[::1]), Seeds)
"""The type of a kernel argument."""


class SeedSpans(NamedTuple):
    """Seeds as spans of words: text, first word, number of words. Length 0 is a whole text, found by equal texts."""

    texts: IntArray
    positions: IntArray
    lengths: IntArray


def choose_seeds(offsets: IntArray, limits: Limits) -> tuple[SeedSpans, SeedSpans]:
    """Return the seeds of whole texts and halves, and those of runs.

    - Texts shorter than `n_grams` have no run: they are found when a whole text equals them.
    - Texts of `min_words` words or more, but too short for a changed word, are found whole as a part of a text.
    - Texts of `min_words_changed` words or more leave one half intact when a word changes in the other.
    """
    counts = np.diff(offsets)
    texts = np.arange(len(counts))
    zeros = np.zeros(len(counts), np.int64)
    short = counts < limits.n_grams
    whole = short & (counts >= limits.min_words) & (counts < limits.min_words_changed)
    changed = counts >= limits.min_words_changed
    first_half, last_half = counts // 2, counts - counts // 2
    choices = [(short, zeros, zeros), (whole, zeros, counts)]
    for positions, lengths in ((zeros, first_half), (first_half, last_half)):
        # A half with the length of a run or more is found as a run.
        choices.append((changed & (short | (lengths < limits.n_grams)), positions, lengths))
    spans = [SeedSpans(texts[mask], positions[mask], lengths[mask]) for mask, positions, lengths in choices]
    halves = SeedSpans(*(np.concatenate(columns) for columns in zip(*spans, strict=True)))
    length, step = _run_length(limits), seed_step(limits)
    n_pieces = np.where(short, 0, (counts - length) // step + 1)
    run_texts = np.repeat(texts, n_pieces)
    # The number of each piece within its text.
    numbers = np.arange(len(run_texts)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    return halves, SeedSpans(run_texts, numbers * step, np.full(len(run_texts), length, np.int64))


def seed_step(limits: Limits) -> int:
    """Return the distance in words between the starts of two seeds of runs.

    A run of n words has n - length + 1 pieces of a seed's length: exactly one begins at a multiple of that number.
    """
    return limits.n_grams - _run_length(limits) + 1


def _run_length(limits: Limits) -> int:
    return min(limits.n_grams, limits.n_grams // 2 + 2)


def make_seeds(words: FoldedWords, spans: SeedSpans) -> Seeds:
    """Index seeds by their keys."""
    texts, positions, lengths = spans
    is_whole = lengths == 0
    keys = keys_of(words, texts, positions, np.where(is_whole, np.diff(words.offsets)[texts], lengths))
    keys[is_whole] ^= WHOLE_TEXT
    order = np.lexsort((positions, texts, keys))
    distinct, starts = np.unique(keys[order], return_index=True)
    n_bits = max(1, len(distinct).bit_length())
    edges = np.arange(1 << n_bits, dtype=np.uint64) << np.uint64(64 - n_bits)
    buckets = np.append(np.searchsorted(distinct, edges), len(distinct))
    bits = np.zeros(1 << (n_bits + 4), np.bool_)
    bits[distinct & np.uint64(len(bits) - 1)] = True
    return Seeds(
        distinct,
        np.append(starts, len(keys)).astype(np.int32),
        texts[order].astype(np.int32),
        positions[order].astype(np.int32),
        buckets.astype(np.int32),
        np.packbits(bits, bitorder="little"),
        np.unique(lengths[~is_whole]),
    )


def keys_of(words: FoldedWords, texts: IntArray, positions: IntArray, lengths: IntArray) -> HashArray:
    """Return the keys (S,) of runs of words, given by text, first word in the text, and number of words."""
    keys = np.empty(len(texts), np.uint64)
    _hash_runs(words.hashes, words.offsets[texts] + positions, lengths, keys)
    return keys


# A key is the polynomial hash of words `starts[seed]` to `starts[seed] + lengths[seed]`, modulo 2^64, as
# `overlap_search.search_texts` computes it by rolling. Spans lie within a text, so within `words`.
@njit(types.void(ULONGS, LONGS, LONGS, types.uint64[::1]), nogil=True, cache=True)
def _hash_runs(words: HashArray, starts: IntArray, lengths: IntArray, keys: HashArray) -> None:
    for seed in range(len(keys)):
        key = NONE
        for word in range(starts[seed], starts[seed] + lengths[seed]):
            key = key * BASE + words[word]
        keys[seed] = key
