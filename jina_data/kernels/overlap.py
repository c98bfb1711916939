"""Which of some given texts stand in others, whole, with one word changed, or by a long run of words.

Texts are compared word by word. A word is what `kernels.words` calls one, with its case folded code point by code
point, and enters as a hash of 64 bits: equal hashes count as equal words.

Every overlap that is looked for leaves a short run of words intact, a seed: the whole text if it is short; one of the
two halves of a text with one word changed; and of a run of `n_grams` words, the piece that begins at one of every few
words of the given text. Seeds are found by a polynomial hash that rolls over the words at a constant cost for any
length; what they lead to is then compared word by word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.words import (
    BYTES,
    LONGS,
    ByteArray,
    Integer,
    decode,
    inner,
    next_word,
    string_buffers,
    word_table,
)

HashArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]
SmallArray = npt.NDArray[np.int32]

KINDS = ("equal", "contained", "changed", "run")
"""How two texts overlap, the strictest first."""
_EQUAL, _CONTAINED, _CHANGED, _RUN = range(4)

MOST_STEPS = 1 << 26
"""Seeds visited and words compared for one text, at most: a bound for texts that repeat themselves without end."""

_PRIME = np.uint64(0x100000001B3)
_OFFSET = np.uint64(0xCBF29CE484222325)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_WHOLE = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_NONE = np.uint64(0)

_ULONGS = types.Array(types.uint64, 1, "C", readonly=True)
_INTS = types.Array(types.int32, 1, "C", readonly=True)


@dataclass(frozen=True)
class Limits:
    """What counts as an overlap, in words."""

    n_grams: int
    min_words: int
    min_words_changed: int


class Words(NamedTuple):
    """The words of T texts as hashes (W,): those of text t are `offsets[t]` to `offsets[t + 1]` (T + 1,)."""

    hashes: HashArray
    offsets: IntArray


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


_SEEDS = types.NamedTuple((types.uint64[::1], *(types.int32[::1],) * 4, types.uint8[::1], types.int64[::1]), Seeds)


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
        halves, runs = _seed_texts(words.offsets, limits)
        return cls(limits, words, firsts, _seeds(words, halves), _seeds(words, runs))

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
        bounds = np.array([limits.n_grams, limits.min_words, limits.min_words_changed, _step(limits)], np.int64)
        longest = int(np.diff(own.offsets).max(initial=0))
        powers = np.full(int(max(self.halves.lengths.max(initial=0), self.runs.lengths.max(initial=0))) + 1, _BASE)
        powers[0] = 1
        np.multiply.accumulate(powers, out=powers)
        scratch = np.zeros(longest + 1, np.uint64)
        _search(*own, *self.words, self.halves, self.runs, bounds, powers, scratch, *found)
        return found


def word_hashes(values: pa.LargeStringArray) -> Words:
    """Hash the words of T texts, case folded."""
    data, offsets = string_buffers(values)
    # Two words have at least a byte between them, or take more than one each; pages that are not written cost nothing.
    hashes, ends = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64), np.zeros(len(values) + 1, np.int64)
    fold, longer = fold_table()
    n_words = _hash_words(data, offsets, word_table(), fold, longer, hashes, ends)
    return Words(hashes[:n_words], ends)


@cache
def fold_table() -> tuple[SmallArray, SmallArray]:
    """Return what every code point folds to: (2**21,) the code point, 0 for itself, or -1 - i for the i-th row of the
    second table (F, 3), of those that fold to several, filled up with 0."""
    fold, longer = np.zeros(1 << 21, np.int32), list[list[int]]()
    for code in range(0x20000):  # no case beyond these planes
        folded = [ord(char) for char in chr(code).casefold()]
        if folded != [code]:
            fold[code] = folded[0] if len(folded) == 1 else -1 - len(longer)
            if len(folded) > 1:
                longer.append([*folded, 0, 0][:3])
    fold.flags.writeable = False
    return fold, np.array(longer, np.int32)


def _packed(hashes: HashArray, counts: IntArray) -> Words:
    return Words(hashes, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))


def _step(limits: Limits) -> int:
    """Return every how many words a seed of a run begins."""
    return limits.n_grams - _run_length(limits) + 1


def _run_length(limits: Limits) -> int:
    return min(limits.n_grams, limits.n_grams // 2 + 2)


def _first_of_each(words: Words) -> IntArray:
    """Return the texts that have a word, the first of those with the same words, in order."""
    counts = np.diff(words.offsets)
    keys = _keys(words, np.arange(len(counts)), np.zeros(len(counts), np.int64), counts)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    twin = first[group.reshape(-1)]
    same = np.empty(len(counts), np.bool_)
    _same_texts(*words, twin, same)
    keep: IntArray = np.flatnonzero((counts > 0) & (~same | (twin == np.arange(len(counts)))))
    return keep


class _Chosen(NamedTuple):
    """Seeds to be: text, first word there, number of words; a length of 0 stands for a whole text, found by that."""

    texts: IntArray
    places: IntArray
    lengths: IntArray


def _seed_texts(offsets: IntArray, limits: Limits) -> tuple[_Chosen, _Chosen]:
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
    parts = [_Chosen(every[mask], places[mask], lengths[mask]) for mask, places, lengths in some]
    halves = _Chosen(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    length, step = _run_length(limits), _step(limits)
    pieces = np.where(short, 0, (counts - length) // step + 1)
    texts = np.repeat(every, pieces)
    numbers = np.arange(len(texts)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return halves, _Chosen(texts, numbers * step, np.full(len(texts), length, np.int64))


def _seeds(words: Words, chosen: _Chosen) -> Seeds:
    texts, places, lengths = chosen
    is_whole = lengths == 0
    keys = _keys(words, texts, places, np.where(is_whole, np.diff(words.offsets)[texts], lengths))
    keys[is_whole] ^= _WHOLE
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


def _keys(words: Words, texts: IntArray, places: IntArray, lengths: IntArray) -> HashArray:
    keys = np.empty(len(texts), np.uint64)
    _hash_runs(words.hashes, words.offsets[texts] + places, lengths, keys)
    return keys


@inner
def _hash_word(data: ByteArray, i: Integer, end: Integer, fold: SmallArray, longer: SmallArray) -> Any:
    key = _OFFSET
    while i < end:
        code, i = decode(data, i, end)
        folded = np.int64(fold[code])
        if folded >= 0:
            key = (key ^ np.uint64(folded if folded else code)) * _PRIME
        else:
            for part in longer[-1 - folded]:
                if part:
                    key = (key ^ np.uint64(part)) * _PRIME
    return _mixed(key)


@inner
def _mixed(key: Any) -> Any:
    key = (key ^ (key >> _HALF)) * _MIX
    key = (key ^ (key >> _HALF)) * _WHOLE
    return key ^ (key >> _HALF)


@inner
def _run_right(one: HashArray, i: Integer, other: HashArray, j: Integer, most: Integer) -> Integer:
    """Count the words that agree from words `i` and `j` on, up to `most`."""
    run = np.int64(0)
    while run < most and i + run < len(one) and j + run < len(other) and one[i + run] == other[j + run]:
        run += 1
    return run


@inner
def _run_left(one: HashArray, i: Integer, other: HashArray, j: Integer, most: Integer) -> Integer:
    """Count the words that agree in front of words `i` and `j`, up to `most`."""
    run = np.int64(0)
    while run < most and i - run > 0 and j - run > 0 and one[i - run - 1] == other[j - run - 1]:
        run += 1
    return run


@inner
def _one_off_right(own: HashArray, i: Integer, text: HashArray, at: Integer) -> Any:
    """Tell whether the text from word `at` stands at word `i` with its first word replaced, left out, or one more."""
    rest = len(text) - at
    return (
        _run_right(own, i, text, at + 1, rest) == rest - 1
        or _run_right(own, i + 1, text, at + 1, rest) == rest - 1
        or _run_right(own, i + 1, text, at, rest) == rest
    )


@inner
def _one_off_left(own: HashArray, i: Integer, text: HashArray, at: Integer) -> Any:
    """Tell the same of the text in front of word `at`, which ends in front of word `i`."""
    return (
        _run_left(own, i, text, at - 1, at) == at - 1
        or _run_left(own, i - 1, text, at - 1, at) == at - 1
        or _run_left(own, i - 1, text, at, at) == at
    )


@inner
def _beats(words: Integer, of: Integer, text: Integer, offsets: IntArray, best: IntArray) -> Any:
    """Tell whether so many words found `of` a text beat what is best so far."""
    if best[0] < 0:
        return True
    best_of = offsets[best[0] + 1] - offsets[best[0]]
    mine, other = words * best_of, best[1] * of
    if mine != other:
        return mine > other
    return of > best_of or (of == best_of and text <= best[0])


@inner
def _judge(
    own: HashArray,
    i: Integer,
    text_words: HashArray,
    place: Integer,
    text: Integer,
    offsets: IntArray,
    bounds: IntArray,
    most_left: Integer,
    best: IntArray,
) -> None:
    """Extend a seed as far as the words agree, and see what that makes."""
    size = len(text_words)
    left = _run_left(own, i, text_words, place, most_left)
    if left >= most_left:
        return  # an earlier seed of the same run was seen
    right = _run_right(own, i, text_words, place, size)
    best[3] += left + right
    first, behind = place - left, place + right
    run, kind = left + right, np.int64(_RUN)
    if run == size:
        if size == len(own):
            kind = np.int64(_EQUAL)
        elif size >= bounds[1]:
            kind = np.int64(_CONTAINED)
    elif size >= bounds[2] and (
        (first == 0 and _one_off_right(own, i + right, text_words, behind))
        or (behind == size and _one_off_left(own, i - left, text_words, first))
    ):
        run, kind = size - 1, np.int64(_CHANGED)
        best[3] += size
    if (kind == _RUN and run < bounds[0]) or not _beats(run, size, text, offsets, best):
        return
    if best[0] != text or best[1] < run or kind < best[2]:
        best[0], best[1], best[2] = text, run, kind


@inner
def _bucket(key: Any, n_buckets: Integer) -> Integer:
    shift = np.uint64(64)
    while n_buckets > 1:
        n_buckets >>= 1
        shift -= np.uint64(1)
    return np.int64(key >> shift)


@inner
def _sifted(sieve: ByteArray, key: Any) -> Any:
    low = key & np.uint64(8 * len(sieve) - 1)
    return sieve[low >> np.uint64(3)] >> (low & np.uint64(7)) & np.uint64(1) == 1


@inner
def _visit(
    seeds: Seeds,
    key: Any,
    own: HashArray,
    i: Integer,
    given: HashArray,
    offsets: IntArray,
    bounds: IntArray,
    most_left: Integer,
    best: IntArray,
) -> None:
    """Look at all that a seed at word `i` leads to."""
    bucket = _bucket(key, len(seeds.buckets) - 1)
    for group in range(seeds.buckets[bucket], seeds.buckets[bucket + 1]):
        if seeds.keys[group] == key:
            for seed in range(seeds.starts[group], seeds.starts[group + 1]):
                best[3] += 1
                if best[3] > MOST_STEPS:
                    return
                text = np.int64(seeds.texts[seed])
                start, end = offsets[text], offsets[text + 1]
                if _beats(min(end - start, len(own)), end - start, text, offsets, best):
                    _judge(
                        own, i, given[start:end], np.int64(seeds.places[seed]), text, offsets, bounds, most_left, best
                    )


@njit(
    types.int64(BYTES, LONGS, BYTES, _INTS, types.Array(types.int32, 2, "C"), types.uint64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
)
def _hash_words(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    fold: SmallArray,
    longer: SmallArray,
    hashes: HashArray,
    ends: IntArray,
) -> Integer:
    word = 0
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        while stop < end:
            start, stop, kinds = next_word(data, stop, end, table)
            if kinds:
                hashes[word] = _hash_word(data, start, stop, fold, longer)
                word += 1
        ends[row + 1] = word
    return word


@njit(types.void(_ULONGS, LONGS, LONGS, types.uint64[::1]), nogil=True, cache=True)
def _hash_runs(words: HashArray, starts: IntArray, lengths: IntArray, keys: HashArray) -> None:
    for seed in range(len(keys)):
        key = _NONE
        for at in range(starts[seed], starts[seed] + lengths[seed]):
            key = key * _BASE + words[at]
        keys[seed] = key


@njit(types.void(_ULONGS, LONGS, LONGS, types.boolean[::1]), nogil=True, cache=True)
def _same_texts(words: HashArray, offsets: IntArray, twins: IntArray, same: npt.NDArray[np.bool_]) -> None:
    for text in range(len(twins)):
        one, other = offsets[text], offsets[twins[text]]
        length = offsets[text + 1] - one
        same[text] = (
            length == offsets[twins[text] + 1] - other and _run_right(words, one, words, other, length) == length
        )


@njit(
    types.void(
        *(_ULONGS, LONGS, _ULONGS, LONGS, _SEEDS, _SEEDS, LONGS, _ULONGS, types.uint64[::1]),
        *(types.int32[::1], types.int64[::1], types.int8[::1]),
    ),
    nogil=True,
    cache=True,
)
def _search(
    own: HashArray,
    own_offsets: IntArray,
    given: HashArray,
    given_offsets: IntArray,
    halves: Seeds,
    runs: Seeds,
    bounds: IntArray,
    powers: HashArray,
    sums: HashArray,
    texts: SmallArray,
    words: IntArray,
    kinds: npt.NDArray[np.int8],
) -> None:
    best = np.zeros(4, np.int64)  # text, words found, kind, steps
    for text in range(len(texts)):
        mine = own[own_offsets[text] : own_offsets[text + 1]]
        size = np.int64(len(mine))
        best[0], best[1], best[2], best[3] = -1, 0, 0, 0
        for i in range(size):
            sums[i + 1] = sums[i] * _BASE + mine[i]
        if size and _sifted(halves.sieve, sums[size] ^ _WHOLE):
            _visit(halves, sums[size] ^ _WHOLE, mine, 0, given, given_offsets, bounds, size, best)
        for seeds, most_left in ((halves, size), (runs, bounds[3])):
            sieve = seeds.sieve
            for length in seeds.lengths:
                power = powers[length]
                for i in range(size - length + 1):
                    key = sums[i + length] - sums[i] * power
                    if _sifted(sieve, key):
                        _visit(seeds, key, mine, i, given, given_offsets, bounds, most_left, best)
        texts[text], words[text], kinds[text] = best[0], best[1], best[2]
