"""Counts the words of texts by kind, and their repeated n-grams, in one pass over the UTF-8.

- The weight of a word compares it with a word of a script with spaces, which weighs 1. A wide character of a script
  written without spaces weighs 1/2, other letters of such a script (Thai, Khmer ...) 1/4. Weights are kept in quarters.
- An n-gram is the shortest run of words with a weight of at least n; its length is the characters of its words.
- Words are compared without the case of their ASCII letters: that is enough for repetition and stop words, and needs
  no table of foldings.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.slots import HALF, HashArray, find_slot, mask_for
from jina_data.kernels.text_marks import WIDE, mark_table, marks_at
from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    UNSPACED,
    ByteArray,
    IntArray,
    Integer,
    decode,
    inner,
    next_word,
    string_buffers,
    word_table,
)

Counts = dict[str, IntArray]
SlotTable = tuple[HashArray, IntArray, IntArray, IntArray, IntArray, Integer]  # keys, stamps, counts, covered, ends

WORDS = ("words", "spaced_words", "spaced_width", "letter_words", "stop_words", "word_chars", "weight")

QUARTERS = 4
"""The weight of a word of a script with spaces."""

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BASE, _ONE = np.uint64(0xD6E8FEB86659FD93), np.uint64(1)


def count_word_sorts(
    values: pa.LargeStringArray,
    *,
    stop_words: Sequence[str] = (),
    top: Sequence[int] = (),
    duplicated: Sequence[int] = (),
    min_weight: int = 0,
) -> Counts:
    """Count the words of N texts by kind; each count is (N,).

    `stop_words` counts how many different stop words (at most 64) occur, in lower, upper or title case. `top_n` is the
    number of characters in the occurrences of the most frequent n-gram, without overlapping ones, if it occurs at least
    twice. `duplicated_n` is the number of characters in n-grams that occurred before, from left to right. Both are -1
    for a text with a weight of less than `min_weight` quarters.
    """
    data, offsets = string_buffers(values)
    names = (*WORDS, *(f"top_{n}" for n in top), *(f"duplicated_{n}" for n in duplicated))
    out = np.zeros((len(values), len(names)), np.int64)
    sizes = np.array([*top, *(-n for n in duplicated)], np.int64) * QUARTERS
    hashes, numbers = _stop_words(stop_words)
    _word_sorts(data, offsets, word_table(), mark_table(), hashes, numbers, sizes, min_weight, out)
    return dict(zip(names, out.T, strict=True))


def _stop_words(stop_words: Sequence[str]) -> tuple[HashArray, IntArray]:
    """Return the hash of every form of the stop words, and the number of its stop word."""
    forms = [
        (form.encode(), number)
        for number, word in enumerate(stop_words)
        for form in {word.lower(), word.upper(), word.title()}
    ]
    hashes = [_hash_word(np.frombuffer(form, np.uint8), 0, len(form)) for form, _ in forms]
    return np.array(hashes, np.uint64), np.array([number for _, number in forms], np.int64)


@njit(nogil=True, cache=True)
def _hash_word(data: ByteArray, start: Integer, end: Integer) -> np.uint64:
    """Return a hash of a word in which the case of ASCII letters does not matter."""
    key = _FNV_START
    for i in range(start, end):
        byte = data[i]
        key = (key ^ np.uint64(byte | 32 if 65 <= byte <= 90 else byte)) * _FNV_PRIME
    return key ^ key >> HALF


@inner
def _size_word(data: ByteArray, i: Integer, end: Integer, marks: ByteArray) -> tuple[Integer, Integer]:
    """Return the characters and the width of a word."""
    chars = width = 0
    while i < end:
        code, i = decode(data, i, end)
        chars += 1
        width += 2 if marks[code] & WIDE else 1
    return chars, width


@inner
def _bits_set(number: np.uint64) -> Integer:
    count = 0
    while number:
        number &= number - _ONE
        count += 1
    return count


@inner
def _window_end(weights: IntArray, first: Integer, stop: Integer, size: Integer) -> Integer:
    """Return the end of the n-gram that starts at word `first`, from sums of weights; the one before ends at `stop`.

    The end is `len(weights)`, one more than the number of words, where the remaining words do not weigh enough.
    """
    while stop < len(weights) and weights[stop] - weights[first] < size:
        stop += 1
    return stop


@inner
def _top_coverage(
    size: Integer, hashes: HashArray, powers: HashArray, chars: IntArray, weights: IntArray, table: SlotTable
) -> Integer:
    """Return how many characters the most frequent n-gram covers, 0 if none occurs twice.

    Both ends of the window only move right. For the n-gram in a slot, `counts` and `covered` are its occurrences so far
    that do not overlap, and `ends` is the end of the last one. There are at most as many n-grams as words, and the
    table has twice as many slots.
    """
    keys, stamps, counts, covered, ends, stamp = table
    n_words, stop, max_count, max_covered = len(weights) - 1, np.int64(0), 1, 0
    mask = mask_for(n_words)
    for first in range(n_words):
        stop = _window_end(weights, first, stop, size)
        if stop > n_words:
            break
        key = hashes[stop] - hashes[first] * powers[stop - first]
        slot, is_repeated = find_slot(keys, stamps, stamp, mask, key)
        if not is_repeated:
            counts[slot] = covered[slot] = ends[slot] = 0
        if first >= ends[slot]:
            counts[slot] += 1
            covered[slot] += chars[stop] - chars[first]
            ends[slot] = stop
            if counts[slot] > max_count or (counts[slot] == max_count > 1 and covered[slot] > max_covered):
                max_count, max_covered = counts[slot], covered[slot]
    return max_covered


@inner
def _duplicated_coverage(
    size: Integer, hashes: HashArray, powers: HashArray, chars: IntArray, weights: IntArray, table: SlotTable
) -> Integer:
    """Return how many characters lie in n-grams that occurred before; after one, the search continues at its end."""
    keys, stamps, _, _, _, stamp = table
    n_words, first, stop, total = len(weights) - 1, np.int64(0), np.int64(0), 0
    mask = mask_for(n_words)
    while first < n_words:
        stop = _window_end(weights, first, stop, size)
        if stop > n_words:
            break
        _, is_repeated = find_slot(keys, stamps, stamp, mask, hashes[stop] - hashes[first] * powers[stop - first])
        if is_repeated:
            total += chars[stop] - chars[first]
        first = stop if is_repeated else first + 1
    return total


@inner
def _n_grams(
    sizes: IntArray,
    hashes: HashArray,
    powers: HashArray,
    chars: IntArray,
    weights: IntArray,
    table: SlotTable,
    out: IntArray,
) -> None:
    """Count the characters that n-grams of each size cover: the most frequent one (size > 0), the repeated ones (< 0).

    Each size has a stamp of its own, so that one hash table serves all.
    """
    keys, stamps, counts, covered, ends, stamp = table
    for k in range(len(sizes)):
        # If no shorter n-gram repeats, no longer one does.
        if k and 0 < sizes[k - 1] / sizes[k] <= 1 and out[k - 1] == 0:
            continue
        slots = (keys, stamps, counts, covered, ends, stamp + k)
        if sizes[k] > 0:
            out[k] = _top_coverage(sizes[k], hashes, powers, chars, weights, slots)
        else:
            out[k] = _duplicated_coverage(-sizes[k], hashes, powers, chars, weights, slots)


# `hashes`, `chars` and `weights` are prefix sums over the words of the text at hand: entry n covers its first n words,
# entry 0 is 0. `hashes` is a polynomial hash modulo 2^64, so words `first` to `stop` have the hash `hashes[stop] -
# hashes[first] * powers[stop - first]`. All arrays have room for the words of the longest text, and the hash table for
# twice as many. `powers` grows with the longest text so far; all else is written anew for each row, and a stamp belongs
# to a row and a size. So out[row], in the order of WORDS and of the sizes, depends on its text alone.
@njit(
    types.void(
        BYTES, LONGS, BYTES, BYTES, types.uint64[::1], types.int64[::1], types.int64[::1], types.int64,
        types.int64[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def _word_sorts(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    marks: ByteArray,
    stop_hashes: HashArray,
    stop_numbers: IntArray,
    sizes: IntArray,
    min_weight: int,
    out: IntArray,
) -> None:
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    # Two neighboring words take three bytes at least ("a²"). Pages that no text needs cost no memory.
    max_words = longest * 2 // 3 + 3 if len(sizes) else 1
    n_slots = mask_for(max_words) + 1 if len(sizes) else 1
    hashes, powers = np.empty(max_words, np.uint64), np.empty(max_words, np.uint64)
    chars, weights = np.empty(max_words, np.int64), np.empty(max_words, np.int64)
    keys, stamps = np.empty(n_slots, np.uint64), np.zeros(n_slots, np.int64)
    counts, covered, ends = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    n_powers = 1
    powers[0] = 1
    hashes[0] = chars[0] = weights[0] = 0
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        sums = out[row]
        n, stop_bits = 0, np.uint64(0)
        while stop < end:
            start, stop, kinds = next_word(data, stop, end, table)
            if not kinds:
                break
            n_chars, width = _size_word(data, start, stop, marks)
            weight = QUARTERS if not kinds & UNSPACED else 2 if marks_at(data, start, stop, marks) & WIDE else 1
            sums[0] += 1
            if not kinds & UNSPACED:
                sums[1] += 1
                sums[2] += width
            sums[3] += kinds & LETTER != 0
            sums[5] += n_chars
            sums[6] += weight
            if not len(sizes) and not len(stop_hashes):
                continue
            key = _hash_word(data, start, stop)
            for k in range(len(stop_hashes)):
                if stop_hashes[k] == key:
                    stop_bits |= _ONE << np.uint64(stop_numbers[k])
            if len(sizes):
                n += 1
                hashes[n] = hashes[n - 1] * _BASE + key
                chars[n], weights[n] = chars[n - 1] + n_chars, weights[n - 1] + weight
        sums[4] = _bits_set(stop_bits)
        while n_powers <= n:
            powers[n_powers] = powers[n_powers - 1] * _BASE
            n_powers += 1
        if sums[6] < min_weight:
            sums[7:] = -1
        else:
            slots = (keys, stamps, counts, covered, ends, row * len(sizes) + 1)
            _n_grams(sizes, hashes, powers, chars, weights[: n + 1], slots, sums[7:])
