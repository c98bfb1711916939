"""The elements of texts (shingles, hashed to 64 bits), MinHash over them, and the keys of bands.

A text of at least n words has as elements its n-grams of words: words as in `kernels/words`, case folded. A shorter
text has one element that stands for the whole text, or its n-grams of characters, or none; white space and case are
folded there, and all else counts. Each kind of element is hashed under a seed of its own, so that they never meet.

Elements come out of a full mix of 64 bits, so they may be taken for random numbers. A MinHash function is then a
linear form a * high + b * low (mod 2^32) of their halves: two such forms take independent values, which those of one
half, a * low + b, do not.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b, shake_128
from string import ascii_letters, digits

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
MinArray = npt.NDArray[np.uint32]
FoldArray = npt.NDArray[np.int32]

KEEP, EXACT, CHAR_NGRAMS = 0, 1, 2
"""What becomes of a text with too few words: no elements, one for the whole text, or its n-grams of characters."""

_FOLDED_CODES = 1 << 17  # no character above has another case
_SPACE = np.int64(32)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd, and one less is not a multiple of 4: no two places of an n-gram cancel
_LOW_SEED = np.uint64(0xA0761D6478BD642F)
_HALF, _SHIFT = np.uint64(32), np.uint64(33)
_BYTE, _FULL = np.uint64(8), np.uint64(56)
_NONE, _ONE, _NOT_ASCII = np.uint64(0), np.uint64(1), np.uint64(1 << 63)
_MOST = np.uint32(0xFFFFFFFF)

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

ULONGS = types.Array(types.uint64, 1, "C", readonly=True)


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


@dataclass(frozen=True)
class Sketch:
    """What N rows are compared by: the key of each band, (B, N); two hashes and the size of the set of elements."""

    bands: HashArray
    high: HashArray
    low: HashArray
    sizes: IntArray


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


def sketch(roles: Sequence[Elements], n_rows: int, *, bands: int, rows: int) -> Sketch:
    """Sketch N rows by the union of their roles' elements: `bands` keys, each of `rows` MinHash values."""
    forms = _linear_forms(bands * rows)
    mins = np.full((n_rows, bands * rows), _MOST, np.uint32)
    high, low = np.zeros(n_rows, np.uint64), np.zeros(n_rows, np.uint64)
    sizes = np.zeros(n_rows, np.int64)
    for elements in roles:
        most = int(np.diff(elements.offsets).max(initial=0))
        slots, stamps = np.empty(_table_size(most), np.uint64), np.full(_table_size(most), -1, np.int64)
        _sketch(elements.values, elements.offsets, forms, slots, stamps, mins, high, low, sizes)
    out = np.empty((bands, n_rows), np.uint64)
    _band_keys(mins, rows, out)
    return Sketch(out, high, low, sizes)


def sorted_sets(elements: Elements) -> Elements:
    """Return the sets of elements of N rows, sorted."""
    values, bounds = elements.values.copy(), np.zeros(len(elements.offsets), np.int64)
    found = _sort_sets(values, elements.offsets, bounds)
    return Elements(values[:found], bounds)


@cache
def fold_table() -> tuple[FoldArray, npt.NDArray[np.int32]]:
    """Return what case folding makes of every code point, (2**17,), and the foldings of several characters, (E, 3).

    A negative entry -1 - e stands for expansion e; unused places there are 0. White space folds to a blank.
    """
    table, expansions = np.arange(_FOLDED_CODES, dtype=np.int32), []
    for code in range(_FOLDED_CODES):
        folded = chr(code).casefold()
        if chr(code).isspace():
            table[code] = _SPACE
        elif len(folded) > 1:
            expansions.append([*map(ord, folded), 0][:3])
            table[code] = -len(expansions)
        else:
            table[code] = ord(folded)
    out = np.array(expansions, np.int32)
    table.flags.writeable = out.flags.writeable = False
    return table, out


@cache
def _seeds(tag: str) -> HashArray:
    """Return the seeds of the kinds of elements under a tag: n-grams of words, whole texts, n-grams of characters."""
    kinds = ("words", "text", "chars")
    digests = b"".join(blake2b(f"{kind}:{tag}".encode(), digest_size=8).digest() for kind in kinds)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@cache
def _linear_forms(n_forms: int) -> MinArray:
    """Return the coefficients of the MinHash functions, (2, K), all odd; they never change."""
    digest = shake_128(b"jina-data minhash").digest(8 * n_forms)
    # One form after the other, so that the first forms do not depend on how many there are.
    return np.ascontiguousarray(np.frombuffer(digest, "<u4").reshape(n_forms, 2).T.astype(np.uint32) | np.uint32(1))


def _table_size(n_items: int) -> int:
    """Return the least power of two with room for twice as many items."""
    return 1 << max(2, (2 * n_items - 1).bit_length())


@inner
def _finish(h: np.uint64) -> np.uint64:
    """Mix 64 bits: every bit decides about every other (the finalizer of MurmurHash3)."""
    h = (h ^ h >> _SHIFT) * _MIX_1
    h = (h ^ h >> _SHIFT) * _MIX_2
    return h ^ h >> _SHIFT


@inner
def _step(h: np.uint64, code: np.uint64) -> np.uint64:
    h = (h ^ code) * _SPREAD
    return h ^ h >> _HALF


@inner
def _push(h: np.uint64, held: np.uint64, code: Integer) -> tuple[np.uint64, np.uint64]:
    """Take one more character into a hash; up to 8 of ASCII are `held` back and mixed in together."""
    if code >= 128:
        if held:
            h = _step(h, held)
        return _step(h, np.uint64(code) | _NOT_ASCII), _NONE
    held = held << _BYTE | np.uint64(code)
    if held >> _FULL:
        return _step(h, held), _NONE
    return h, held


@inner
def _quick_word(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, np.uint64]:
    """Find the end of a word of ASCII letters and digits, and hash it; `i` itself where the word is not so simple."""
    start, h, held = i, _ONE, _NONE
    if _QUICK[data[i]] == _UNDERSCORE:
        return start, h
    while i < end and _QUICK[data[i]] < _APART:
        held = held << _BYTE | np.uint64(_QUICK[data[i]])
        if held >> _FULL:
            h, held = _step(h, held), _NONE
        i += 1
    if i < end and _QUICK[data[i]] != _APART:
        return start, h
    return i, _step(h, held)


@inner
def _hash_word(
    data: ByteArray, i: Integer, stop: Integer, fold: FoldArray, expansions: npt.NDArray[np.int32]
) -> np.uint64:
    """Hash the case-folded characters in bytes `i` to `stop`."""
    h, held = _ONE, _NONE
    while i < stop:
        if data[i] < 128:
            held = held << _BYTE | np.uint64(fold[data[i]])
            if held >> _FULL:
                h, held = _step(h, held), _NONE
            i += 1
            continue
        code, i = decode(data, i, stop)
        folded = np.int64(fold[code]) if code < _FOLDED_CODES else np.int64(code)
        if folded >= 0:
            h, held = _push(h, held, folded)
        else:
            for k in range(3):
                if expansions[-1 - folded, k]:
                    h, held = _push(h, held, np.int64(expansions[-1 - folded, k]))
    hashed: np.uint64 = _step(h, held)
    return hashed


@inner
def _short_text(
    data: ByteArray,
    i: Integer,
    end: Integer,
    fold: FoldArray,
    expansions: npt.NDArray[np.int32],
    n_chars: Integer,
    seeds: HashArray,
    ring: HashArray,
    out: HashArray,
    found: Integer,
) -> Integer:
    """Write the elements of a short text behind the `found` ones: of the whole (`n_chars` 0), or of its n-grams."""
    whole, rolled, power = _ONE, _NONE, _ONE
    for _ in range(n_chars):
        power *= _BASE
    chars, first = np.int64(0), found
    blank = False
    while i < end:
        code, i = decode(data, i, end)
        folded = np.int64(fold[code]) if code < _FOLDED_CODES else np.int64(code)
        if folded == _SPACE:
            if chars:
                blank = True
            continue
        for k in range(-1 if blank else 0, 3 if folded < 0 else 1):
            one = _SPACE if k < 0 else folded
            if k >= 0 and folded < 0:
                one = np.int64(expansions[-1 - folded, k])
                if one == 0:
                    break
            chars += 1
            if n_chars == 0:
                whole = _step(whole, np.uint64(one))
                continue
            place, h = (chars - 1) % n_chars, _finish(np.uint64(one) * _SPREAD)
            rolled = rolled * _BASE + h
            if chars > n_chars:
                rolled -= ring[place] * power
            ring[place] = h
            if chars >= n_chars:
                out[found] = _finish(rolled ^ seeds[2])
                found += 1
        blank = False
    if chars and found == first:
        out[found] = _finish(whole ^ seeds[1]) if n_chars == 0 else _finish(rolled ^ seeds[2])
        found += 1
    return found


@njit(
    types.int64(
        BYTES,
        LONGS,
        BYTES,
        types.Array(types.int32, 1, "C", readonly=True),
        types.Array(types.int32, 2, "C", readonly=True),
        LONGS,
        ULONGS,
        types.uint64[::1],
        types.int64[::1],
    ),
    nogil=True,
    cache=True,
)
def _text_elements(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    fold: FoldArray,
    expansions: npt.NDArray[np.int32],
    options: IntArray,
    seeds: HashArray,
    out: HashArray,
    bounds: IntArray,
) -> Integer:
    n_words, short, n_chars = options[0], options[1], options[2]
    ring, char_ring = np.empty(n_words, np.uint64), np.empty(n_chars, np.uint64)
    power = _ONE
    for _ in range(n_words):
        power *= _BASE
    found = np.int64(0)
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        words, place, rolled = 0, 0, _NONE
        while stop < end:
            if _QUICK[data[stop]] == _APART and (stop + 1 == end or data[stop + 1] < 128):
                stop += 1
                continue
            start = stop
            stop, h = _quick_word(data, start, end)
            if stop == start:
                start, stop, kinds = next_word(data, start, end, table)
                if kinds == 0:
                    break
                h = _hash_word(data, start, stop, fold, expansions)
            rolled = rolled * _BASE + h
            if words >= n_words:
                rolled -= ring[place] * power
            ring[place] = h
            place = place + 1 if place + 1 < n_words else 0
            words += 1
            if words >= n_words:
                out[found] = _finish(rolled ^ seeds[0])
                found += 1
        if words < n_words and short != KEEP:
            chars = n_chars if short == CHAR_NGRAMS else 0
            found = _short_text(data, offsets[row], end, fold, expansions, chars, seeds, char_ring, out, found)
        bounds[row + 1] = found
    return found


@njit(
    types.void(
        ULONGS,
        LONGS,
        types.Array(types.uint32, 2, "C", readonly=True),
        types.uint64[::1],
        types.int64[::1],
        types.uint32[:, ::1],
        types.uint64[::1],
        types.uint64[::1],
        types.int64[::1],
    ),
    nogil=True,
    cache=True,
)
def _sketch(
    values: HashArray,
    offsets: IntArray,
    forms: MinArray,
    slots: HashArray,
    stamps: IntArray,
    mins: MinArray,
    high: HashArray,
    low: HashArray,
    sizes: IntArray,
) -> None:
    """Lower the minima of N rows (N, K) by their elements, each once, and add to the hashes and sizes of their sets."""
    upper, lower = forms[0], forms[1]
    for row in range(len(offsets) - 1):
        mask = 3
        while mask + 1 < 2 * (offsets[row + 1] - offsets[row]):
            mask = 2 * mask + 1
        least = mins[row]
        for i in range(offsets[row], offsets[row + 1]):
            value = values[i]
            slot = np.int64(value) & mask
            while stamps[slot] == row and slots[slot] != value:
                slot = (slot + 1) & mask
            if stamps[slot] == row:
                continue
            stamps[slot], slots[slot] = row, value
            sizes[row] += 1
            # A sum of random numbers depends on the set alone, not on its order.
            high[row] += value
            low[row] += _finish(value ^ _LOW_SEED)
            a, b = np.uint32(value >> _HALF), np.uint32(value)
            for k in range(len(least)):
                least[k] = min(least[k], np.uint32(np.uint32(upper[k] * a) + np.uint32(lower[k] * b)))


@njit(types.void(types.uint32[:, ::1], types.int64, types.uint64[:, ::1]), nogil=True, cache=True)
def _band_keys(mins: MinArray, n_rows: Integer, out: HashArray) -> None:
    """Hash the minima of each band of N rows, (B, N)."""
    for row in range(len(mins)):
        for band in range(len(out)):
            h = np.uint64(band + 1)
            k, stop = band * n_rows, (band + 1) * n_rows
            while k + 1 < stop:
                h = _step(h, np.uint64(mins[row, k]) << _HALF | np.uint64(mins[row, k + 1]))
                k += 2
            if k < stop:
                h = _step(h, np.uint64(mins[row, k]))
            out[band, row] = _finish(h)


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
