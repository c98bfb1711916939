"""Searches texts for reference texts: seeds give candidates, which are compared word by word.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.folded_words import ULONGS, HashArray
from jina_data.kernels.overlap_seeds import BASE, SEEDS, WHOLE_TEXT, Seeds, SmallArray
from jina_data.kernels.words import LONGS, ByteArray, IntArray, Integer, inner

KINDS = ("equal", "contained", "changed", "run")
"""How two texts overlap, the strictest first."""
_EQUAL, _CONTAINED, _CHANGED, _RUN = range(4)

MAX_STEPS = 1 << 26
"""Maximum number of visited seeds and compared words for one text. It bounds texts with endless repetition."""


@inner
def run_right(words: HashArray, i: Integer, other_words: HashArray, j: Integer, limit: Integer) -> Integer:
    """Count the equal words from words `i` and `j` on, up to `limit`; stop at the end of either array."""
    run = np.int64(0)
    while (
        run < limit and i + run < len(words) and j + run < len(other_words) and words[i + run] == other_words[j + run]
    ):
        run += 1
    return run


@inner
def _run_left(words: HashArray, i: Integer, other_words: HashArray, j: Integer, limit: Integer) -> Integer:
    """Count the equal words directly before words `i` and `j`, up to `limit`; stop at the start of either array."""
    run = np.int64(0)
    while run < limit and i - run > 0 and j - run > 0 and words[i - run - 1] == other_words[j - run - 1]:
        run += 1
    return run


@inner
def _one_off_right(searched: HashArray, i: Integer, text: HashArray, start: Integer) -> Any:
    """Return whether the end of a text, from word `start`, occurs at word `i` with one word changed at its start.

    The three cases: its first word is replaced, removed, or has another word before it.
    """
    length = len(text) - start
    return (
        run_right(searched, i, text, start + 1, length) == length - 1
        or run_right(searched, i + 1, text, start + 1, length) == length - 1
        or run_right(searched, i + 1, text, start, length) == length
    )


@inner
def _one_off_left(searched: HashArray, i: Integer, text: HashArray, stop: Integer) -> Any:
    """Return the same of the beginning of a text, before word `stop`, directly before word `i`."""
    return (
        _run_left(searched, i, text, stop - 1, stop) == stop - 1
        or _run_left(searched, i - 1, text, stop - 1, stop) == stop - 1
        or _run_left(searched, i - 1, text, stop, stop) == stop
    )


@inner
def _beats(n_words: Integer, size: Integer, text: Integer, offsets: IntArray, best: IntArray) -> Any:
    """Return whether an overlap of `n_words` of the `size` words of a text beats the best so far.

    Shares are compared as cross products of integers, exactly.
    """
    if best[0] < 0:
        return True
    best_size = offsets[best[0] + 1] - offsets[best[0]]
    share, best_share = n_words * best_size, best[1] * size
    if share != best_share:
        return share > best_share
    return size > best_size or (size == best_size and text <= best[0])


@inner
def _extend_seed(
    searched: HashArray,
    i: Integer,
    text_words: HashArray,
    position: Integer,
    text: Integer,
    offsets: IntArray,
    bounds: IntArray,
    max_left: Integer,
    best: IntArray,
) -> None:
    """Extend a seed at word `i` as far as the words are equal, and update `best` if that makes a better overlap.

    `best` is (text, words, kind, steps). The run is words `start` to `stop` of the reference text, all equal to words
    `i - n_left` to `i + n_right` of the searched text.
    """
    size = len(text_words)
    n_left = _run_left(searched, i, text_words, position, max_left)
    if n_left >= max_left:
        return  # an earlier seed of the same run was followed
    n_right = run_right(searched, i, text_words, position, size)
    best[3] += n_left + n_right
    start, stop = position - n_left, position + n_right
    run, kind = n_left + n_right, np.int64(_RUN)
    if run == size:
        if size == len(searched):
            kind = np.int64(_EQUAL)
        elif size >= bounds[1]:
            kind = np.int64(_CONTAINED)
    elif size >= bounds[2] and (
        (start == 0 and _one_off_right(searched, i + n_right, text_words, stop))
        or (stop == size and _one_off_left(searched, i - n_left, text_words, start))
    ):
        run, kind = size - 1, np.int64(_CHANGED)
        best[3] += size
    if (kind == _RUN and run < bounds[0]) or not _beats(run, size, text, offsets, best):
        return
    if best[0] != text or best[1] < run or kind < best[2]:
        best[0], best[1], best[2] = text, run, kind


@inner
def _bucket(key: Any, n_buckets: Integer) -> Integer:
    """Return the upper log2(n_buckets) bits of a key, where `n_buckets` is a power of two, at least 2."""
    shift = np.uint64(64)
    while n_buckets > 1:
        n_buckets >>= 1
        shift -= np.uint64(1)
    return np.int64(key >> shift)


@inner
def _may_contain(key_bits: ByteArray, key: Any) -> Any:
    """Return whether any seed has the lower bits of a key: no seed is missed, and most other keys end here."""
    bit = key & np.uint64(8 * len(key_bits) - 1)
    return key_bits[bit >> np.uint64(3)] >> (bit & np.uint64(7)) & np.uint64(1) == 1


@inner
def _follow_seed(
    seeds: Seeds,
    key: Any,
    searched: HashArray,
    i: Integer,
    reference: HashArray,
    offsets: IntArray,
    bounds: IntArray,
    max_left: Integer,
    best: IntArray,
) -> None:
    """Extend all seeds with a key, found at word `i`, whose reference text could still beat the best overlap.

    Keys ascend within a bucket, seeds of key g are those from `starts[g]` to `starts[g + 1]`. `best[3]` counts the
    steps and ends the visit after MAX_STEPS.
    """
    bucket = _bucket(key, len(seeds.buckets) - 1)
    for group in range(seeds.buckets[bucket], seeds.buckets[bucket + 1]):
        if seeds.keys[group] == key:
            for seed in range(seeds.starts[group], seeds.starts[group + 1]):
                best[3] += 1
                if best[3] > MAX_STEPS:
                    return
                text = np.int64(seeds.texts[seed])
                start, end = offsets[text], offsets[text + 1]
                if _beats(min(end - start, len(searched)), end - start, text, offsets, best):
                    _extend_seed(
                        searched,
                        i,
                        reference[start:end],
                        np.int64(seeds.positions[seed]),
                        text,
                        offsets,
                        bounds,
                        max_left,
                        best,
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
    searched: HashArray,
    searched_offsets: IntArray,
    reference: HashArray,
    reference_offsets: IntArray,
    halves: Seeds,
    runs: Seeds,
    bounds: IntArray,
    powers: HashArray,
    sums: HashArray,
    texts: SmallArray,
    words: IntArray,
    kinds: npt.NDArray[np.int8],
) -> None:
    """Find the best overlap of each of T texts with a reference text: fill `texts`, `words` and `kinds` (T,).

    After the first inner loop, `sums[i]` is the polynomial hash of the first i words (sums[0] is 0, all modulo 2^64),
    so the key of words i to i + length is `sums[i + length] - sums[i] * BASE**length`. `i + length` never exceeds
    `size`. `best` and `sums` are set anew for each text, so a result depends neither on the batch nor on the thread.

    Args:
        searched: the words of the searched texts, with their offsets.
        reference: the words of the reference texts, with their offsets.
        halves, runs: the seeds of the reference texts.
        bounds: n_grams, min_words, min_words_changed, and the distance in words between two seeds of runs.
        powers: powers of the base, up to the longest seed.
        sums: scratch, one longer than the longest text, with 0 in front.
    """
    best = np.zeros(4, np.int64)  # text, words, kind, steps
    for text in range(len(texts)):
        text_words = searched[searched_offsets[text] : searched_offsets[text + 1]]
        size = np.int64(len(text_words))
        best[0], best[1], best[2], best[3] = -1, 0, 0, 0
        for i in range(size):
            sums[i + 1] = sums[i] * BASE + text_words[i]
        if size and _may_contain(halves.key_bits, sums[size] ^ WHOLE_TEXT):
            _follow_seed(
                halves, sums[size] ^ WHOLE_TEXT, text_words, 0, reference, reference_offsets, bounds, size, best
            )
        for seeds, max_left in ((halves, size), (runs, bounds[3])):
            key_bits = seeds.key_bits
            for length in seeds.lengths:
                power = powers[length]
                for i in range(size - length + 1):
                    key = sums[i + length] - sums[i] * power
                    if _may_contain(key_bits, key):
                        _follow_seed(seeds, key, text_words, i, reference, reference_offsets, bounds, max_left, best)
        texts[text], words[text], kinds[text] = best[0], best[1], best[2]
