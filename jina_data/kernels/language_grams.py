"""Tokens and their n-grams of characters, as fastText (0.9.2) takes a text apart.

- Tokens stand between spaces, tab, LF, VT, FF, CR and NUL, and nothing else: U+00A0 and U+3000 join.
- A token has the n-grams of characters of <token>, but for < and > alone; each by FNV-1a over signed bytes, modulo a
  number of buckets. Those that pruning removed do not count.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.fasttext_file import PREFIX, Model
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner

SmallArray = npt.NDArray[np.int32]
HashArray = npt.NDArray[np.uint64]

_END = b"</s>"
_FNV_START, _FNV_PRIME, _SIGN = np.uint32(2166136261), np.uint32(16777619), np.uint32(0xFFFFFF00)
_PREFIX = np.frombuffer(PREFIX.encode(), np.uint8)
_SIX, _LOW, _BIT = np.uint64(6), np.uint64(63), np.uint64(1)
_ODD, _PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_EACH_BYTE, _TWO, _FOUR, _TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(2), np.uint64(4), np.uint64(56)


class Words(NamedTuple):
    """The W words and L labels of a model: their bytes, from `ends[i]` to `ends[i + 1]` (W + L + 1,), and `slots`, a
    table with open addressing that leads from a hash to an entry, or -1. `end` is the number of `</s>`, or -1."""

    data: ByteArray
    ends: IntArray
    slots: SmallArray
    n_words: int
    end: int


class Grams(NamedTuple):
    """Which n-grams have a vector: of `minn` to `maxn` characters, by their hash modulo a number of buckets.

    `division` (3,) holds that number d, 2^shift / d and the shift. Of a pruned model the buckets with a bit in `bits`
    (d / 64,) have a row; the rows are in order, and `ranks` (d / 64,) counts them in front of each 64 buckets, with
    the words before them. Otherwise both are empty, and every bucket has a row behind the words.
    """

    minn: int
    maxn: int
    division: HashArray
    bits: HashArray
    ranks: SmallArray


SMALLS = types.int32[::1]
WORDS = types.NamedTuple((types.uint8[::1], types.int64[::1], SMALLS, types.int64, types.int64), Words)
GRAMS = types.NamedTuple((types.int64, types.int64, types.uint64[::1], types.uint64[::1], types.int32[::1]), Grams)
"""Types of kernel arguments."""


def index_words(entries: list[bytes], n_words: int) -> Words:
    """Index the entries of a dictionary: words, then labels."""
    data = np.frombuffer(b"".join(entries), np.uint8).copy()
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(entry) for entry in entries])]).astype(np.int64)
    slots = np.full(1 << (2 * len(entries)).bit_length(), -1, np.int32)
    _fill_slots(data, ends, slots)
    end = max((number for number, entry in enumerate(entries) if entry == _END), default=-1)
    return Words(data, ends, slots, n_words, end if end < n_words else -1)


def known_rows(words: Words, grams: Grams) -> tuple[SmallArray, IntArray]:
    """Return the input rows of every word, its own and those of its n-grams: those of word w end at `ends[w + 1]`."""
    sizes = np.diff(words.ends)[: words.n_words] + 2
    # One more is written behind the last.
    room = int((1 + sizes * max(0, grams.maxn - grams.minn + 1)).sum()) + 1
    rows, ends = np.empty(room, np.int32), np.zeros(words.n_words + 1, np.int64)
    found = _known_rows(words, grams, np.empty(int(sizes.max(initial=2)), np.uint8), rows, ends)
    return rows[:found].copy(), ends


def index_grams(model: Model) -> tuple[Grams, IntArray | None]:
    """Index the n-grams; of a pruned model, return also which row behind the words belongs to each bit, in order."""
    _, _, _, bucket, minn, maxn = model.settings
    bucket = max(bucket, 1)
    shift = 31 + bucket.bit_length()
    division = np.array([bucket, (1 << shift) // bucket, shift], np.uint64)
    if model.pruned is None:
        return Grams(minn, maxn, division, np.zeros(0, np.uint64), np.zeros(0, np.int32)), None
    row_of = dict(model.pruned.tolist())
    hashes = sorted(one for one in row_of if 0 <= one < bucket)
    flags = np.zeros(-(-bucket // 64) * 64, np.bool_)
    flags[np.array(hashes, np.int64)] = True
    counts = flags.reshape(-1, 64).sum(1)
    bits = np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)
    ranks = (len(model.words) + np.cumsum(counts) - counts).astype(np.int32)
    return Grams(minn, maxn, division, bits, ranks), np.array([row_of[one] for one in hashes], np.int64)


@inner
def _step(h: np.uint32, byte: np.uint8) -> np.uint32:
    """Take one more byte, as a signed one, into a hash."""
    wide = np.uint32(byte) | _SIGN if byte >= 128 else np.uint32(byte)
    return np.uint32((h ^ wide) * _FNV_PRIME)


@inner
def _first_slot(h: np.uint32, slots: SmallArray) -> Integer:
    return np.int64(h ^ h >> np.uint32(15)) & (len(slots) - 1)


@inner
def find_word(words: Words, h: np.uint32, token: ByteArray, size: Integer) -> Integer:
    """Return the entry that is the token in <token>, or -1."""
    slot = _first_slot(h, words.slots)
    while words.slots[slot] >= 0:
        entry = np.int64(words.slots[slot])
        start = words.ends[entry]
        if words.ends[entry + 1] - start == size - 2:
            same = 0
            while same < size - 2 and words.data[start + same] == token[1 + same]:
                same += 1
            if same == size - 2:
                return entry
        slot = (slot + 1) & (len(words.slots) - 1)
    return np.int64(-1)


@inner
def _remainder(h: np.uint32, division: HashArray) -> np.uint64:
    """Return a hash modulo the number of buckets, without a division: those are slow."""
    wide = np.uint64(h)
    rest: np.uint64 = wide - (wide * division[1] >> division[2]) * division[0]
    return rest - division[0] if rest >= division[0] else rest


@inner
def _has_row(grams: Grams, place: np.uint64) -> Integer:
    return np.int64(grams.bits[place >> _SIX] >> (place & _LOW) & _BIT if len(grams.bits) else _BIT)


@inner
def _row_of(grams: Grams, n_words: Integer, place: np.uint64) -> Integer:
    """Return the input row of an n-gram that has one."""
    if not len(grams.bits):
        return n_words + np.int64(place)
    x = grams.bits[place >> _SIX] & ((_BIT << (place & _LOW)) - _BIT)
    x -= x >> _BIT & _ODD
    x = (x & _PAIRS) + (x >> _TWO & _PAIRS)
    x = (x + (x >> _FOUR)) & _NIBBLES
    return np.int64(grams.ranks[place >> _SIX]) + np.int64(x * _EACH_BYTE >> _TOP_BYTE)


@inner
def grams_at(token: ByteArray, i: Integer, size: Integer, grams: Grams, rows: SmallArray, found: Integer) -> Integer:
    """Note the n-grams that begin at byte `i` of <token> behind those found, each as -1 - bucket; return how many.

    Those without a row are written too, and overwritten by the next: whether one has a row is hard to foretell, and
    a wrong guess costs more than all the rest.
    """
    j, n, h = i, 0, _FNV_START
    while j < size and n < grams.maxn:
        h = _step(h, token[j])
        j += 1
        while j < size and token[j] & 0xC0 == 0x80:
            h = _step(h, token[j])
            j += 1
        n += 1
        if n >= grams.minn and not (n == 1 and (i == 0 or j == size)):
            place = _remainder(h, grams.division)
            rows[found] = np.int32(-1 - np.int64(place))
            found += _has_row(grams, place)
    return found


@inner
def settle(grams: Grams, n_words: Integer, rows: SmallArray, first: Integer, behind: Integer) -> None:
    """Put rows in the place of n-grams."""
    for k in range(first, behind):
        if rows[k] < 0:
            rows[k] = _row_of(grams, n_words, np.uint64(-1 - np.int64(rows[k])))


@inner
def enclose(data: ByteArray, i: Integer, end: Integer, token: ByteArray) -> tuple[Integer, np.uint32]:
    """Copy the bytes from `i` up to a separator as <token>; return how many bytes that takes, and the token's hash."""
    size, h = 1, _FNV_START
    token[0] = 60
    while i < end and not separates(data[i]):
        token[size] = data[i]
        h = _step(h, data[i])
        size += 1
        i += 1
    token[size] = 62
    return size + 1, h


@inner
def separates(byte: np.uint8) -> bool:
    """Tell whether a byte parts tokens."""
    return bool(byte == 32 or 9 <= byte <= 13 or byte == 0)


@inner
def is_label(token: ByteArray, size: Integer) -> bool:
    """Tell whether <token> begins like a label."""
    if size - 2 < len(_PREFIX):
        return False
    same = 0
    while same < len(_PREFIX) and token[1 + same] == _PREFIX[same]:
        same += 1
    return bool(same == len(_PREFIX))


@inner
def is_end(token: ByteArray, size: Integer) -> bool:
    """Tell whether <token> is the end of a text."""
    return bool(size == 6 and token[1] == 60 and token[2] == 47 and token[3] == 115 and token[4] == 62)


@njit(types.void(BYTES, LONGS, SMALLS), nogil=True, cache=True)
def _fill_slots(data: ByteArray, ends: IntArray, slots: SmallArray) -> None:
    """Enter all words and labels, the last first: of equal ones that counts."""
    for entry in range(len(ends) - 2, -1, -1):
        h = _FNV_START
        for i in range(ends[entry], ends[entry + 1]):
            h = _step(h, data[i])
        slot = _first_slot(h, slots)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = entry


@njit(
    types.int64(WORDS, GRAMS, types.uint8[::1], SMALLS, types.int64[::1]),
    nogil=True,
    cache=True,
)
def _known_rows(words: Words, grams: Grams, token: ByteArray, rows: SmallArray, ends: IntArray) -> Integer:
    """Note the input rows of every word: its own, and those of its n-grams."""
    found = np.int64(0)
    for word in range(words.n_words):
        start, size = words.ends[word], words.ends[word + 1] - words.ends[word] + 2
        token[0], token[size - 1] = 60, 62
        for k in range(size - 2):
            token[1 + k] = words.data[start + k]
        rows[found] = word
        found += 1
        if not is_end(token, size):
            for i in range(size):
                if token[i] & 0xC0 != 0x80:
                    found = grams_at(token, i, size, grams, rows, found)
        ends[word + 1] = found
    settle(grams, words.n_words, rows, 0, found)
    return found
