"""Hashes the case-folded words of texts to 64 bits; texts are compared by these hashes.

Words are those of `kernels.words`. Case folds code point by code point, as Python folds it (full Unicode); white space
folds to a blank. Equal hashes count as equal words.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from functools import cache
from string import ascii_letters, digits
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.words import (
    BYTES,
    LONGS,
    ByteArray,
    IntArray,
    Integer,
    decode,
    inner,
    next_word,
    string_buffers,
    word_table,
)

HashArray = npt.NDArray[np.uint64]
FoldArray = npt.NDArray[np.int32]

ULONGS = types.Array(types.uint64, 1, "C", readonly=True)
FOLDS = types.Array(types.int32, 1, "C", readonly=True), types.Array(types.int32, 2, "C", readonly=True)
"""Types of kernel arguments: hashes, and the two arrays of `fold_table`."""

SPACE = np.int64(32)
NONE, ONE, HALF = np.uint64(0), np.uint64(1), np.uint64(32)

_FOLDED_CODES = 1 << 17  # no character above has another case
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT, _BYTE, _FULL, _NOT_ASCII = np.uint64(33), np.uint64(8), np.uint64(56), np.uint64(1 << 63)

_UNDERSCORE, _APART, _UNSURE = 95, 128, 129


def _ascii_folded() -> ByteArray:
    """Return, for each byte: an ASCII letter in lower case, a digit or underscore; or _APART where it always separates
    words (unless marks follow, which are not ASCII); or _UNSURE."""
    table = np.full(256, _APART, np.uint8)
    table[128:] = _UNSURE
    table[list(b"'.:,;")] = _UNSURE
    for char in ascii_letters + digits + "_":
        table[ord(char)] = ord(char.lower())
    return table


# Words of ASCII are found and hashed in one pass, which is twice as fast as two passes.
_ASCII_FOLDED = _ascii_folded()


class FoldedWords(NamedTuple):
    """The words of T texts as hashes (W,): those of text t are `offsets[t]` to `offsets[t + 1]` (T + 1,)."""

    hashes: HashArray
    offsets: IntArray


def word_hashes(values: pa.LargeStringArray) -> FoldedWords:
    """Hash the words of T texts, case folded."""
    data, offsets = string_buffers(values)
    # There are at most as many words as bytes; pages of the array that are not written cost no memory.
    hashes, ends = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64), np.zeros(len(values) + 1, np.int64)
    n_words = _hash_words(data, offsets, word_table(), *fold_table(), hashes, ends)
    return FoldedWords(hashes[:n_words], ends)


@cache
def fold_table() -> tuple[FoldArray, FoldArray]:
    """Return the case folding of every code point, (2**17,), and the foldings to several characters, (E, 3).

    A negative entry -1 - e stands for expansion e, which is padded with 0. White space folds to a blank.
    """
    table, expansions = np.arange(_FOLDED_CODES, dtype=np.int32), []
    for code in range(_FOLDED_CODES):
        folded = chr(code).casefold()
        if chr(code).isspace():
            table[code] = SPACE
        elif len(folded) > 1:
            expansions.append([*map(ord, folded), 0][:3])
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


@njit(nogil=True, forceinline=True)
def next_folded_word(
    data: ByteArray, i: Integer, end: Integer, table: ByteArray, fold: FoldArray, expansions: FoldArray
) -> tuple[Integer, np.uint64, bool]:
    """Return the end of the first word in bytes `i` to `end`, its hash, and whether there is one.

    `i` must be the start of a text or the end of a word.
    """
    while i < end and _ASCII_FOLDED[data[i]] == _APART and (i + 1 == end or data[i + 1] < 128):
        i += 1
    if i == end:
        return end, NONE, False
    stop, h = _ascii_word(data, i, end)
    if stop > i:
        return stop, h, True
    start, stop, kinds = next_word(data, i, end, table)
    if kinds == 0:
        return end, NONE, False
    return stop, _hash_word(data, start, stop, fold, expansions), True


@njit(nogil=True, forceinline=True)
def _ascii_word(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, np.uint64]:
    """Find the end of a word of ASCII letters and digits, and hash it; return `i` itself for any other word.

    `pending` holds up to 7 characters, a byte each, that are not in `h` yet; with the eighth, all are mixed in.
    `_hash_word` does the same, so both give the same hash.
    """
    start, h, pending = i, ONE, NONE
    if _ASCII_FOLDED[data[i]] == _UNDERSCORE:
        return start, h
    while i < end and _ASCII_FOLDED[data[i]] < _APART:
        pending = pending << _BYTE | np.uint64(_ASCII_FOLDED[data[i]])
        if pending >> _FULL:
            h, pending = step(h, pending), NONE
        i += 1
    if i < end and _ASCII_FOLDED[data[i]] != _APART:
        return start, h
    return i, step(h, pending)


@inner
def _hash_word(data: ByteArray, i: Integer, stop: Integer, fold: FoldArray, expansions: FoldArray) -> np.uint64:
    """Hash the case-folded characters in bytes `i` to `stop`."""
    h, pending = ONE, NONE
    while i < stop:
        if data[i] < 128:
            pending = pending << _BYTE | np.uint64(fold[data[i]])
            if pending >> _FULL:
                h, pending = step(h, pending), NONE
            i += 1
            continue
        folded, i = next_folded(data, i, stop, fold)
        if folded >= 0:
            h, pending = _push(h, pending, folded)
        else:
            for k in range(3):
                if expansions[-1 - folded, k]:
                    h, pending = _push(h, pending, np.int64(expansions[-1 - folded, k]))
    hashed: np.uint64 = step(h, pending)
    return hashed


@inner
def _push(h: np.uint64, pending: np.uint64, code: Integer) -> tuple[np.uint64, np.uint64]:
    """Add a character to a hash; up to 8 ASCII characters wait in `pending` and are mixed in together."""
    if code >= 128:
        if pending:
            h = step(h, pending)
        return step(h, np.uint64(code) | _NOT_ASCII), NONE
    pending = pending << _BYTE | np.uint64(code)
    if pending >> _FULL:
        return step(h, pending), NONE
    return h, pending


# `hashes` has room for a word per byte of the texts and one more. At the top of the inner loop, `hashes[:n_words]` are
# the words of all texts before `row` and of this text before byte `stop`, so `n_words` stays below the number of bytes
# read. A word is hashed from its bytes alone: its hash depends neither on the batch nor on the thread.
@njit(
    types.int64(BYTES, LONGS, BYTES, *FOLDS, types.uint64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
)
def _hash_words(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    fold: FoldArray,
    expansions: FoldArray,
    hashes: HashArray,
    ends: IntArray,
) -> Integer:
    n_words = np.int64(0)
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        while stop < end:
            stop, h, is_word = next_folded_word(data, stop, end, table, fold, expansions)
            if is_word:
                hashes[n_words] = h
                n_words += 1
        ends[row + 1] = n_words
    return n_words
