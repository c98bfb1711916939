"""The elements of texts: shingles, hashed to 64 bits.

A text of at least n words has as elements its n-grams of words, as `kernels/folded_words` hashes them. A shorter text
has one element that stands for the whole text, or its n-grams of characters, or none; white space and case are folded
there, and all else counts. Each kind of element is hashed under a seed of its own, so that they never meet.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.folded_words import (
    FOLDS,
    NONE,
    ONE,
    SPACE,
    ULONGS,
    FoldArray,
    HashArray,
    finish,
    fold_table,
    next_folded,
    next_folded_word,
    spread,
    step,
)
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner, string_buffers, word_table

KEEP, EXACT, CHAR_NGRAMS = 0, 1, 2
"""What becomes of a text with too few words: no elements, one for the whole text, or its n-grams of characters."""

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd, and one less is not a multiple of 4: no two places of an n-gram cancel


@dataclass(frozen=True)
class Shingling:
    """How texts become elements: n-grams of `words` words; shorter texts by `short`, n-grams of `chars` characters."""

    words: int = 5
    short: int = EXACT
    chars: int = 4


@dataclass(frozen=True)
class Elements:
    """The elements of N rows: those of row i are `values[offsets[i]:offsets[i + 1]]`, in any order, some repeated."""

    values: HashArray
    offsets: IntArray


def text_elements(values: pa.LargeStringArray, how: Shingling, tag: str) -> Elements:
    """Return the elements of N texts; those under different tags never meet."""
    data, offsets = string_buffers(values)
    fold, expansions = fold_table()
    # A word and a character take a byte at least; pages of the array that are not written cost no memory.
    out = np.empty(int(offsets[-1] - offsets[0]) + len(values), np.uint64)
    bounds = np.zeros(len(values) + 1, np.int64)
    options = np.array([how.words, how.short, how.chars], np.int64)
    found = _text_elements(data, offsets, word_table(), fold, expansions, options, _seeds(tag), out, bounds)
    return Elements(out[:found], bounds)


def sorted_sets(elements: Elements) -> Elements:
    """Return the sets of elements of N rows, sorted."""
    values, bounds = elements.values.copy(), np.zeros(len(elements.offsets), np.int64)
    found = _sort_sets(values, elements.offsets, bounds)
    return Elements(values[:found], bounds)


@cache
def _seeds(tag: str) -> HashArray:
    """Return the seeds of the kinds of elements under a tag: n-grams of words, whole texts, n-grams of characters."""
    kinds = ("words", "text", "chars")
    digests = b"".join(blake2b(f"{kind}:{tag}".encode(), digest_size=8).digest() for kind in kinds)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@inner
def _short_text(
    data: ByteArray,
    i: Integer,
    end: Integer,
    fold: FoldArray,
    expansions: FoldArray,
    n_chars: Integer,
    seeds: HashArray,
    ring: HashArray,
    out: HashArray,
    found: Integer,
) -> Integer:
    """Write the elements of a short text behind the `found` ones: of the whole (`n_chars` 0), or of its n-grams."""
    whole, rolled, power = ONE, NONE, ONE
    for _ in range(n_chars):
        power *= _BASE
    chars, first = np.int64(0), found
    blank = False
    while i < end:
        folded, i = next_folded(data, i, end, fold)
        if folded == SPACE:
            if chars:
                blank = True
            continue
        for k in range(-1 if blank else 0, 3 if folded < 0 else 1):
            one = SPACE if k < 0 else folded
            if k >= 0 and folded < 0:
                one = np.int64(expansions[-1 - folded, k])
                if one == 0:
                    break
            chars += 1
            if n_chars == 0:
                whole = step(whole, np.uint64(one))
                continue
            place, h = (chars - 1) % n_chars, spread(np.uint64(one))
            rolled = rolled * _BASE + h
            if chars > n_chars:
                rolled -= ring[place] * power
            ring[place] = h
            if chars >= n_chars:
                out[found] = finish(rolled ^ seeds[2])
                found += 1
        blank = False
    if chars and found == first:
        out[found] = finish(whole ^ seeds[1]) if n_chars == 0 else finish(rolled ^ seeds[2])
        found += 1
    return found


@njit(
    types.int64(
        *(BYTES, LONGS, BYTES, *FOLDS, LONGS, ULONGS),
        *(types.uint64[::1], types.int64[::1]),
    ),
    nogil=True,
    cache=True,
)
def _text_elements(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    fold: FoldArray,
    expansions: FoldArray,
    options: IntArray,
    seeds: HashArray,
    out: HashArray,
    bounds: IntArray,
) -> Integer:
    n_words, short, n_chars = options[0], options[1], options[2]
    ring, char_ring = np.empty(n_words, np.uint64), np.empty(n_chars, np.uint64)
    power = ONE
    for _ in range(n_words):
        power *= _BASE
    found = np.int64(0)
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        words, place, rolled = 0, 0, NONE
        while stop < end:
            stop, h, is_word = next_folded_word(data, stop, end, table, fold, expansions)
            if not is_word:
                break
            rolled = rolled * _BASE + h
            if words >= n_words:
                rolled -= ring[place] * power
            ring[place] = h
            place = place + 1 if place + 1 < n_words else 0
            words += 1
            if words >= n_words:
                out[found] = finish(rolled ^ seeds[0])
                found += 1
        if words < n_words and short != KEEP:
            chars = n_chars if short == CHAR_NGRAMS else 0
            found = _short_text(data, offsets[row], end, fold, expansions, chars, seeds, char_ring, out, found)
        bounds[row + 1] = found
    return found


@njit(types.int64(types.uint64[::1], LONGS, types.int64[::1]), nogil=True, cache=True)
def _sort_sets(values: HashArray, offsets: IntArray, bounds: IntArray) -> Integer:
    """Sort the elements of each row and drop the repeated ones, in place."""
    found = np.int64(0)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        values[start:end].sort()
        for i in range(start, end):
            if i == start or values[i] != values[i - 1]:
                out = values[i]
                values[found] = out
                found += 1
        bounds[row + 1] = found
    return found
