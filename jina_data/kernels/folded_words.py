"""Hashes the case-folded words of texts to 64 bits, each with its signs; texts are compared by these hashes.

Words are those of `kernels.words`, signs those of `kernels.signs`. A sign belongs to the word before it, and at the
start of a text to the first word. Case folds code point by code point, as Python folds it (full Unicode); white space
folds to a blank, and the variation selectors of text and emoji to nothing. Equal hashes count as equal words.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.signs import is_counted, may_be_sign, plain_sign, sign_end, sign_table
from jina_data.kernels.text_marks import last_char
from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    NUMBER,
    UNCOUNTED,
    ByteArray,
    IntArray,
    Integer,
    decode,
    inner,
    next_segment,
    string_buffers,
    word_table,
)

HashArray = npt.NDArray[np.uint64]
FoldArray = npt.NDArray[np.int32]

ULONGS = types.Array(types.uint64, 1, "C", readonly=True)
FOLDS = types.Array(types.int32, 1, "C", readonly=True), types.Array(types.int32, 2, "C", readonly=True)
"""Types of kernel arguments: hashes, and the two arrays of `fold_table`."""

COUNTED = LETTER | NUMBER
SPACE = np.int64(32)
NONE, ONE, HALF = np.uint64(0), np.uint64(1), np.uint64(32)

_FOLDED_CODES = 1 << 17  # no character above has another case
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class FoldedWords(NamedTuple):
    """The words of T texts, each with its signs, as hashes (W,): those of text t are `offsets[t]` to `offsets[t + 1]`
    (T + 1,). A hash is odd if its word has signs or ends in a number."""

    hashes: HashArray
    offsets: IntArray


def word_hashes(values: pa.LargeStringArray) -> FoldedWords:
    """Hash the words of T texts with their signs, case folded."""
    data, offsets = string_buffers(values)
    # There are at most as many words as bytes; pages of the array that are not written cost no memory.
    hashes, ends = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64), np.zeros(len(values) + 1, np.int64)
    n_words = _hash_words(data, offsets, word_table(), sign_table(), *fold_table(), hashes, ends)
    return FoldedWords(hashes[:n_words], ends)


@cache
def fold_table() -> tuple[FoldArray, FoldArray]:
    """Return the case folding of every code point, (2**17,), and the foldings to several characters, (E, 3).

    A negative entry -1 - e stands for expansion e, which is padded with 0. White space folds to a blank, U+FE0E and
    U+FE0F to nothing.
    """
    table, expansions = np.arange(_FOLDED_CODES, dtype=np.int32), []
    for code in range(_FOLDED_CODES):
        folded = "" if code in (0xFE0E, 0xFE0F) else chr(code).casefold()
        if chr(code).isspace():
            table[code] = SPACE
        elif len(folded) != 1:
            expansions.append([*map(ord, folded), 0, 0, 0][:3])
            table[code] = -len(expansions)
        else:
            table[code] = ord(folded)
    out = np.array(expansions, np.int32)
    table.flags.writeable = out.flags.writeable = False
    return table, out


@inner
def finish(h: np.uint64) -> np.uint64:
    """Mix 64 bits: every bit of the result depends on every bit of `h` (the finalizer of MurmurHash3)."""
    h = (h ^ h >> _SHIFT) * _MIX_1
    h = (h ^ h >> _SHIFT) * _MIX_2
    return h ^ h >> _SHIFT


@inner
def step(h: np.uint64, code: np.uint64) -> np.uint64:
    """Add 64 bits to a hash."""
    h = (h ^ code) * _SPREAD
    return h ^ h >> HALF


@inner
def spread(code: np.uint64) -> np.uint64:
    """Mix a code point by itself."""
    mixed: np.uint64 = finish(code * _SPREAD)
    return mixed


@inner
def next_folded(data: ByteArray, i: Integer, end: Integer, fold: FoldArray) -> tuple[Integer, Integer]:
    """Return the folding of the code point at byte `i`, as an entry of `fold_table`, and the index after it."""
    code, i = decode(data, i, end)
    return np.int64(fold[code]) if code < _FOLDED_CODES else np.int64(code), i


@inner
def _skip_signs(
    data: ByteArray, start: Integer, i: Integer, end: Integer, table: ByteArray, sorts: ByteArray, fold: FoldArray
) -> tuple[Integer, np.uint64]:
    """Return the start of the next word, or `end`, and the hash of the signs before it (0: there are none).

    `i` is the start of a text or the end of a word. Each round moves on by a byte at least, to the end of a segment.
    """
    signs = NONE
    while i < end:
        code, stop = decode(data, i, end)
        sort = sorts[code]
        if is_counted(sort):
            break
        if not may_be_sign(sort) and code < 128 and (stop == end or data[stop] < 128):
            i = stop
            continue
        is_layout = code < 128 and i + 3 < end and data[i + 1] == code and data[i + 2] == code and data[i + 3] == code
        if code == 95 or code >= 128 or (stop < end and data[stop] >= 128):
            stop, kinds = next_segment(data, i, end, table)
            if kinds & COUNTED:
                break
        if is_layout:
            while i < end and data[i] == code:
                i += 1
            continue
        if may_be_sign(sort):
            stop_sign = sign_end(data, start, i, stop, end, sorts)
            signs = _hash_sign(signs, data, i, stop_sign, fold)
            stop = max(stop, stop_sign)
        i = stop
    return i, signs


@inner
def _hash_sign(signs: np.uint64, data: ByteArray, i: Integer, stop: Integer, fold: FoldArray) -> np.uint64:
    """Add the sign in bytes `i` to `stop`, with its marks, to a hash."""
    while i < stop:
        code, i = decode(data, i, stop)
        code = plain_sign(code)
        folded = np.int64(fold[code]) if code < _FOLDED_CODES else np.int64(code)
        if folded >= 0:
            signs = step(signs, np.uint64(folded))
    return signs


@inner
def _ends_in_number(data: ByteArray, i: Integer, stop: Integer, table: ByteArray) -> bool:
    """Return whether the last letter or number of a word is a number; marks may follow it."""
    kind = np.uint8(0)
    while stop > i and kind & COUNTED == 0:
        stop = last_char(data, i, stop)
        kind = table[decode(data, stop, len(data))[0]]
    return bool(kind & NUMBER)


@inner
def _hash_word(data: ByteArray, i: Integer, stop: Integer, fold: FoldArray, expansions: FoldArray) -> np.uint64:
    """Hash the case-folded characters in bytes `i` to `stop`."""
    h = ONE
    while i < stop:
        folded, i = next_folded(data, i, stop, fold)
        if folded >= 0:
            h = step(h, np.uint64(folded))
            continue
        for k in range(3):
            if expansions[-1 - folded, k]:
                h = step(h, np.uint64(expansions[-1 - folded, k]))
    return h


# `hashes` has room for a word per byte of the texts and one more. At the top of the inner loop, `hashes[:n_words]` are
# the words of all texts before `row` and of this text before byte `i`, the start of a word, so `n_words` stays below
# the number of bytes read. A word is hashed from its bytes and its signs alone, and a sign is found by its text: a hash
# depends neither on the batch nor on the thread.
@njit(
    types.int64(BYTES, LONGS, BYTES, BYTES, *FOLDS, types.uint64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
    **UNCOUNTED,
)
def _hash_words(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    sorts: ByteArray,
    fold: FoldArray,
    expansions: FoldArray,
    hashes: HashArray,
    ends: IntArray,
) -> Integer:
    n_words = np.int64(0)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        i, leading, h, is_marked, is_first = start, NONE, NONE, False, True
        while True:
            i, signs = _skip_signs(data, start, i, end, table, sorts, fold)
            if is_first:
                leading = signs
            else:
                h = step(h, signs) if signs else h
                hashes[n_words] = h & ~ONE | np.uint64(is_marked or signs != NONE)
                n_words += 1
            if i >= end:
                break
            stop, _ = next_segment(data, i, end, table)
            h = _hash_word(data, i, stop, fold, expansions)
            is_marked = _ends_in_number(data, i, stop, table)
            if is_first and leading:
                # The same signs after the word make another hash.
                h, is_marked = step(finish(h), leading), True
            i, is_first = stop, False
        ends[row + 1] = n_words
    return n_words
