"""Makes the elements of texts: shingles, hashed to 64 bits.

The elements of a text of at least n words are its word n-grams, as `kernels/folded_words` hashes words with their
signs. The first and the last words of a text are in fewer than n of them. So that a number or a sign counts as much
there as elsewhere, the up to n - 1 first and the up to n - 1 last words are elements, too, if they have one.
For `whole` texts, the elements are two hashes of all words in order instead: a key of 128 bits.

A shorter text has one element for the whole text, or its character n-grams, or none; these fold white space and case,
and every other character counts. Each kind of element has a different seed, so that elements of two kinds are never
equal (except for collisions).

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
    spread,
    step,
    word_hashes,
)
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner, string_buffers

KEEP, EXACT, CHAR_NGRAMS = 0, 1, 2
"""The elements of a text with too few words: none, one for the whole text, or its character n-grams."""

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd, and one less is no multiple of 4: no two positions of an n-gram cancel


@dataclass(frozen=True)
class Shingling:
    """The kinds of elements: n-grams of `words` words, or for shorter texts `short`, n-grams of `chars` characters.

    With `whole`, a text of `words` words or more has one key for all its words.
    """

    words: int = 5
    short: int = EXACT
    chars: int = 4
    whole: bool = False


@dataclass(frozen=True)
class Elements:
    """The elements of N rows: those of row i are `values[offsets[i]:offsets[i + 1]]`, in any order, with duplicates."""

    values: HashArray
    offsets: IntArray


def text_elements(values: pa.LargeStringArray, shingling: Shingling, tag: str) -> Elements:
    """Return the elements of N texts; elements with different tags are never equal (except for collisions)."""
    data, offsets = string_buffers(values)
    # n words take 2 n - 1 bytes at least, since words of one byte are apart, and have fewer elements. Folding makes at
    # most three characters of two bytes (U+0390, U+03B0). Pages of the array that are not written cost no memory.
    out = np.empty(3 * int(offsets[-1] - offsets[0]) // 2 + len(values), np.uint64)
    bounds = np.zeros(len(values) + 1, np.int64)
    options = np.array([shingling.words, shingling.short, shingling.chars, shingling.whole], np.int64)
    n_elements = _text_elements(data, offsets, *word_hashes(values), *fold_table(), options, _seeds(tag), out, bounds)
    return Elements(out[:n_elements], bounds)


def sorted_sets(elements: Elements) -> Elements:
    """Return the sets of elements of N rows, sorted."""
    values, bounds = elements.values.copy(), np.zeros(len(elements.offsets), np.int64)
    n_elements = _sort_sets(values, elements.offsets, bounds)
    return Elements(values[:n_elements], bounds)


@cache
def _seeds(tag: str) -> HashArray:
    """Return the seeds of the kinds of elements under a tag: n-grams of words, whole texts, n-grams of characters,
    first words, last words."""
    kinds = ("words", "text", "chars", "first", "last")
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


@inner
def _n_grams(words: HashArray, n: Integer, seeds: HashArray, out: HashArray, n_elements: Integer) -> Integer:
    """Append the n-grams of at least n words to `out[:n_elements]`, and the first and last words with a mark.

    `rolled` is the polynomial hash of the window: the word that leaves it is subtracted, times `power` = _BASE ** n.
    `marked` is the number of words up to the last one with a sign or number. The last words are hashed from the end.
    """
    rolled, power, marked = NONE, ONE, 0
    for _ in range(n):
        power *= _BASE
    for k in range(len(words)):
        rolled = rolled * _BASE + words[k]
        if k >= n:
            rolled -= words[k - n] * power
        if words[k] & ONE:
            marked = k + 1
        if k + 1 >= n or marked:
            out[n_elements] = finish(rolled ^ seeds[0 if k + 1 >= n else 3])
            n_elements += 1
    rolled, power = NONE, ONE
    for k in range(1, n):
        rolled += words[len(words) - k] * power
        power *= _BASE
        if marked > len(words) - k:
            out[n_elements] = finish(rolled ^ seeds[4])
            n_elements += 1
    return n_elements


# `out` has room for all elements: see `text_elements`. At the top of the row loop, `out[:n_elements]` are the elements
# of the rows before, which end at `bounds[row]`. The words of a row are `hashes[word_ends[row]:word_ends[row + 1]]`,
# and all else begins anew for each row. So elements depend neither on the batch nor on the thread.
@njit(
    types.int64(
        *(BYTES, LONGS, ULONGS, LONGS, *FOLDS, LONGS, ULONGS),
        *(types.uint64[::1], types.int64[::1]),
    ),
    nogil=True,
    cache=True,
)
def _text_elements(
    data: ByteArray,
    offsets: IntArray,
    hashes: HashArray,
    word_ends: IntArray,
    fold: FoldArray,
    expansions: FoldArray,
    options: IntArray,
    seeds: HashArray,
    out: HashArray,
    bounds: IntArray,
) -> Integer:
    n_words, short, n_chars, is_whole = options[0], options[1], options[2], options[3] != 0
    char_ring = np.empty(n_chars, np.uint64)
    n_elements = np.int64(0)
    for row in range(len(offsets) - 1):
        words = hashes[word_ends[row] : word_ends[row + 1]]
        rolled, whole = NONE, ONE
        if len(words) < n_words and short != KEEP:
            chars = n_chars if short == CHAR_NGRAMS else 0
            start, end = offsets[row], offsets[row + 1]
            n_elements = _short_text(data, start, end, fold, expansions, chars, seeds, char_ring, out, n_elements)
        elif len(words) >= n_words and is_whole:
            for h in words:
                rolled, whole = rolled * _BASE + h, step(whole, h)
            out[n_elements], out[n_elements + 1] = finish(rolled ^ seeds[0]), finish(whole ^ seeds[3])
            n_elements += 2
        elif len(words) >= n_words:
            n_elements = _n_grams(words, n_words, seeds, out, n_elements)
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
