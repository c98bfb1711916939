"""Look for given texts in others: seeds lead to them, and what they lead to is compared word by word.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.folded_words import ULONGS, HashArray
from jina_data.kernels.overlap_seeds import BASE, SEEDS, WHOLE, Seeds, SmallArray
from jina_data.kernels.words import LONGS, ByteArray, IntArray, Integer, inner

KINDS = ("equal", "contained", "changed", "run")
"""How two texts overlap, the strictest first."""
_EQUAL, _CONTAINED, _CHANGED, _RUN = range(4)

MOST_STEPS = 1 << 26
"""Seeds visited and words compared for one text, at most: a bound for texts that repeat themselves without end."""


@inner
def run_right(one: HashArray, i: Integer, other: HashArray, j: Integer, most: Integer) -> Integer:
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
        run_right(own, i, text, at + 1, rest) == rest - 1
        or run_right(own, i + 1, text, at + 1, rest) == rest - 1
        or run_right(own, i + 1, text, at, rest) == rest
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
    right = run_right(own, i, text_words, place, size)
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
    types.void(
        *(ULONGS, LONGS, ULONGS, LONGS, SEEDS, SEEDS, LONGS, ULONGS, types.uint64[::1]),
        *(types.int32[::1], types.int64[::1], types.int8[::1]),
    ),
    nogil=True,
    cache=True,
)
def search_texts(
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
    """Find the best overlap of each of T texts with a given one: `texts`, `words` and `kinds` (T,) are filled.

    Args:
        own: the words of the texts, with their offsets.
        given: the words of the given texts, with their offsets.
        halves, runs: seeds of these.
        bounds: the limits, and every how many words a seed of a run begins.
        powers: those of the base.
        sums: room for the longest text.
    """
    best = np.zeros(4, np.int64)  # text, words found, kind, steps
    for text in range(len(texts)):
        mine = own[own_offsets[text] : own_offsets[text + 1]]
        size = np.int64(len(mine))
        best[0], best[1], best[2], best[3] = -1, 0, 0, 0
        for i in range(size):
            sums[i + 1] = sums[i] * BASE + mine[i]
        if size and _sifted(halves.sieve, sums[size] ^ WHOLE):
            _visit(halves, sums[size] ^ WHOLE, mine, 0, given, given_offsets, bounds, size, best)
        for seeds, most_left in ((halves, size), (runs, bounds[3])):
            sieve = seeds.sieve
            for length in seeds.lengths:
                power = powers[length]
                for i in range(size - length + 1):
                    key = sums[i + length] - sums[i] * power
                    if _sifted(sieve, key):
                        _visit(seeds, key, mine, i, given, given_offsets, bounds, most_left, best)
        texts[text], words[text], kinds[text] = best[0], best[1], best[2]
