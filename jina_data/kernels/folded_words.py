"""The words of texts with their case folded, as hashes of 64 bits: what texts are compared by.

Words are those of `kernels.words`. Case folds code point by code point, as Python folds it (full Unicode); white space
folds to a blank. Equal hashes count as equal words.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
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


def _quick_bytes() -> ByteArray:
    """Return, for each byte: an ASCII letter in lower case, a digit or underscore; or _APART where it surely parts
    words (unless marks follow, which are not ASCII); or _UNSURE."""
    table = np.full(256, _APART, np.uint8)
    table[128:] = _UNSURE
    table[list(b"'.:,;")] = _UNSURE
    for char in ascii_letters + digits + "_":
        table[ord(char)] = ord(char.lower())
    return table


# Words of ASCII are found and hashed in one go: that is twice as fast as one after the other.
_QUICK = _quick_bytes()


class Words(NamedTuple):
    """The words of T texts as hashes (W,): those of text t are `offsets[t]` to `offsets[t + 1]` (T + 1,)."""

    hashes: HashArray
    offsets: IntArray


def word_hashes(values: pa.LargeStringArray) -> Words:
    """Hash the words of T texts, case folded."""
    data, offsets = string_buffers(values)
    # Two words have at least a byte between them, or take more than one each; pages that are not written cost nothing.
    hashes, ends = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64), np.zeros(len(values) + 1, np.int64)
    n_words = _hash_words(data, offsets, word_table(), *fold_table(), hashes, ends)
    return Words(hashes[:n_words], ends)


@cache
def fold_table() -> tuple[FoldArray, FoldArray]:
    """Return what case folding makes of every code point, (2**17,), and the foldings of several characters, (E, 3).

    A negative entry -1 - e stands for expansion e; unused places there are 0. White space folds to a blank.
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
    """Mix 64 bits: every bit decides about every other (the finalizer of MurmurHash3)."""
    h = (h ^ h >> _SHIFT) * _MIX_1
    h = (h ^ h >> _SHIFT) * _MIX_2
    return h ^ h >> _SHIFT


@inner
def step(h: np.uint64, code: np.uint64) -> np.uint64:
    """Take 64 more bits into a hash."""
    h = (h ^ code) * _SPREAD
    return h ^ h >> HALF


@inner
def spread(code: np.uint64) -> np.uint64:
    """Mix a code point by itself."""
    mixed: np.uint64 = finish(code * _SPREAD)
    return mixed


@inner
def next_folded(data: ByteArray, i: Integer, end: Integer, fold: FoldArray) -> tuple[Integer, Integer]:
    """Return what the code point at byte `i` folds to, as `fold_table` has it, and the byte behind it."""
    code, i = decode(data, i, end)
    return np.int64(fold[code]) if code < _FOLDED_CODES else np.int64(code), i


@njit(nogil=True, forceinline=True)
def next_folded_word(
    data: ByteArray, i: Integer, end: Integer, table: ByteArray, fold: FoldArray, expansions: FoldArray
) -> tuple[Integer, np.uint64, bool]:
    """Return the end of the first word in bytes `i` to `end`, its hash, and whether there is one.

    `i` must be the start of a text or the end of a word.
    """
    while i < end and _QUICK[data[i]] == _APART and (i + 1 == end or data[i + 1] < 128):
        i += 1
    if i == end:
        return end, NONE, False
    stop, h = _quick_word(data, i, end)
    if stop > i:
        return stop, h, True
    start, stop, kinds = next_word(data, i, end, table)
    if kinds == 0:
        return end, NONE, False
    return stop, _hash_word(data, start, stop, fold, expansions), True


@njit(nogil=True, forceinline=True)
def _quick_word(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, np.uint64]:
    """Find the end of a word of ASCII letters and digits, and hash it; `i` itself where the word is not so simple."""
    start, h, held = i, ONE, NONE
    if _QUICK[data[i]] == _UNDERSCORE:
        return start, h
    while i < end and _QUICK[data[i]] < _APART:
        held = held << _BYTE | np.uint64(_QUICK[data[i]])
        if held >> _FULL:
            h, held = step(h, held), NONE
        i += 1
    if i < end and _QUICK[data[i]] != _APART:
        return start, h
    return i, step(h, held)


@inner
def _hash_word(data: ByteArray, i: Integer, stop: Integer, fold: FoldArray, expansions: FoldArray) -> np.uint64:
    """Hash the case-folded characters in bytes `i` to `stop`."""
    h, held = ONE, NONE
    while i < stop:
        if data[i] < 128:
            held = held << _BYTE | np.uint64(fold[data[i]])
            if held >> _FULL:
                h, held = step(h, held), NONE
            i += 1
            continue
        folded, i = next_folded(data, i, stop, fold)
        if folded >= 0:
            h, held = _push(h, held, folded)
        else:
            for k in range(3):
                if expansions[-1 - folded, k]:
                    h, held = _push(h, held, np.int64(expansions[-1 - folded, k]))
    hashed: np.uint64 = step(h, held)
    return hashed


@inner
def _push(h: np.uint64, held: np.uint64, code: Integer) -> tuple[np.uint64, np.uint64]:
    """Take one more character into a hash; up to 8 of ASCII are `held` back and mixed in together."""
    if code >= 128:
        if held:
            h = step(h, held)
        return step(h, np.uint64(code) | _NOT_ASCII), NONE
    held = held << _BYTE | np.uint64(code)
    if held >> _FULL:
        return step(h, held), NONE
    return h, held


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
