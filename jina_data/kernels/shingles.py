"""Makes the elements of texts: shingles, hashed to 64 bits.

The elements of a text of at least n words are its word n-grams, as `kernels/folded_words` hashes words. A shorter text
has one element for the whole text, or its character n-grams, or none; these fold white space and case, and every other
character counts. Each kind of element has a different seed, so that elements of two kinds are never equal (except for
collisions).

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
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
"""The elements of a text with too few words: none, one for the whole text, or its character n-grams."""

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd, and one less is no multiple of 4: no two positions of an n-gram cancel


@dataclass(frozen=True)
class Shingling:
    """The kinds of elements: n-grams of `words` words, or for shorter texts `short`, n-grams of `chars` characters."""

    words: int = 5
    short: int = EXACT
    chars: int = 4


@dataclass(frozen=True)
class Elements:
    """The elements of N rows: those of row i are `values[offsets[i]:offsets[i + 1]]`, in any order, with duplicates."""

    values: HashArray
    offsets: IntArray


def text_elements(values: pa.LargeStringArray, shingling: Shingling, tag: str) -> Elements:
    """Return the elements of N texts; elements with different tags are never equal (except for collisions)."""
    data, offsets = string_buffers(values)
    fold, expansions = fold_table()
    # A word takes a byte at least, and folding makes at most three characters of two bytes (U+0390, U+03B0). Pages of
    # the array that are not written cost no memory.
    out = np.empty(3 * int(offsets[-1] - offsets[0]) // 2 + len(values), np.uint64)
    bounds = np.zeros(len(values) + 1, np.int64)
    options = np.array([shingling.words, shingling.short, shingling.chars], np.int64)
    n_elements = _text_elements(data, offsets, word_table(), fold, expansions, options, _seeds(tag), out, bounds)
    return Elements(out[:n_elements], bounds)


def sorted_sets(elements: Elements) -> Elements:
    """Return the sets of elements of N rows, sorted."""
    values, bounds = elements.values.copy(), np.zeros(len(elements.offsets), np.int64)
    n_elements = _sort_sets(values, elements.offsets, bounds)
    return Elements(values[:n_elements], bounds)


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
    n_elements: Integer,
) -> Integer:
    """Append the elements of a short text to `out[:n_elements]`: one for the whole (`n_chars` 0), or its n-grams.

    `ring` holds the last `n_chars` mixed characters, that of character c in slot c % n_chars; `rolled` is their
    polynomial hash: the character that leaves the window is subtracted, times `power` = _BASE ** n_chars. A run of
    white space counts as one blank before the next character, so none at the ends. A text with fewer characters than an
    n-gram has one element. `whole` hashes all characters in order.
    """
    whole, rolled, power = ONE, NONE, ONE
    for _ in range(n_chars):
        power *= _BASE
    chars, n_before = np.int64(0), n_elements
    blank = False
    while i < end:
        folded, i = next_folded(data, i, end, fold)
        if folded == SPACE:
            if chars:
                blank = True
            continue
        for k in range(-1 if blank else 0, 3 if folded < 0 else 1):
            code = SPACE if k < 0 else folded
            if k >= 0 and folded < 0:
                code = np.int64(expansions[-1 - folded, k])
                if code == 0:
                    break
            chars += 1
            if n_chars == 0:
                whole = step(whole, np.uint64(code))
                continue
            slot, h = (chars - 1) % n_chars, spread(np.uint64(code))
            rolled = rolled * _BASE + h
            if chars > n_chars:
                rolled -= ring[slot] * power
            ring[slot] = h
            if chars >= n_chars:
                out[n_elements] = finish(rolled ^ seeds[2])
                n_elements += 1
        blank = False
    if chars and n_elements == n_before:
        out[n_elements] = finish(whole ^ seeds[1]) if n_chars == 0 else finish(rolled ^ seeds[2])
        n_elements += 1
    return n_elements


# `out` has room for all elements: see `text_elements`. At the top of the row loop, `out[:n_elements]` are the elements
# of the rows before, which end at `bounds[row]`. `ring` (n_words,) holds the hashes of the last n_words words, the
# oldest in `slot` once it is full, and `rolled` is their polynomial hash: the word that leaves the window is
# subtracted, times `power` = _BASE ** n_words. All of this begins anew for each row; `ring` is only read where this row
# wrote it. So elements depend neither on the batch nor on the thread.
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
    n_elements = np.int64(0)
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        words, slot, rolled = 0, 0, NONE
        while stop < end:
            stop, h, is_word = next_folded_word(data, stop, end, table, fold, expansions)
            if not is_word:
                break
            rolled = rolled * _BASE + h
            if words >= n_words:
                rolled -= ring[slot] * power
            ring[slot] = h
            slot = slot + 1 if slot + 1 < n_words else 0
            words += 1
            if words >= n_words:
                out[n_elements] = finish(rolled ^ seeds[0])
                n_elements += 1
        if words < n_words and short != KEEP:
            chars = n_chars if short == CHAR_NGRAMS else 0
            n_elements = _short_text(
                data, offsets[row], end, fold, expansions, chars, seeds, char_ring, out, n_elements
            )
        bounds[row + 1] = n_elements
    return n_elements


@njit(types.int64(types.uint64[::1], LONGS, types.int64[::1]), nogil=True, cache=True)
def _sort_sets(values: HashArray, offsets: IntArray, bounds: IntArray) -> Integer:
    """Sort the elements of each row and drop duplicates, in place.

    `n_elements` never exceeds `i`, so no element is overwritten before it is read. `values[i - 1]` may be overwritten
    before it is compared, but only with itself.
    """
    n_elements = np.int64(0)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        values[start:end].sort()
        for i in range(start, end):
            if i == start or values[i] != values[i - 1]:
                value = values[i]
                values[n_elements] = value
                n_elements += 1
        bounds[row + 1] = n_elements
    return n_elements
