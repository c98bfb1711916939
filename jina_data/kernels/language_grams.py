"""Splits texts into tokens and their character n-grams, as fastText (0.9.2) does.

- Space, tab, LF, VT, FF, CR and NUL separate tokens, and nothing else does: U+00A0 and U+3000 do not.
- The n-grams of a token are the character n-grams of <token>, except < and > alone. Each is hashed by FNV-1a over
  signed bytes, modulo the number of buckets. N-grams that pruning removed do not count.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
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


class GramWords(NamedTuple):
    """The W words and L labels of a model: entry i is `data[ends[i]:ends[i + 1]]`, with `ends` (W + L + 1,).

    `slots` is a hash table with open addressing of entries, -1 where a slot is free. `end` is the entry of `</s>`, or
    -1.
    """

    data: ByteArray
    ends: IntArray
    slots: SmallArray
    n_words: int
    end: int


class Grams(NamedTuple):
    """The n-grams that have a vector: of `minn` to `maxn` characters, by their hash modulo the number of buckets.

    `division` (3,) holds that number d, 2^shift / d and the shift. In a pruned model, a bucket has a row if its bit in
    `bits` (d / 64,) is set; rows are in the order of buckets, and `ranks` (d / 64,) is the row of the first set bit of
    each word: the number of words plus the set bits before. In other models both are empty, and the row of a bucket is
    the number of words plus the bucket.
    """

    minn: int
    maxn: int
    division: HashArray
    bits: HashArray
    ranks: SmallArray


SMALLS = types.int32[::1]
WORDS = types.NamedTuple((types.uint8[::1], types.int64[::1], SMALLS, types.int64, types.int64), GramWords)
GRAMS = types.NamedTuple((types.int64, types.int64, types.uint64[::1], types.uint64[::1], types.int32[::1]), Grams)
"""Types of kernel arguments."""


def index_words(entries: list[bytes], n_words: int) -> GramWords:
    """Index the entries of a dictionary: words, then labels."""
    data = np.frombuffer(b"".join(entries), np.uint8).copy()
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(entry) for entry in entries])]).astype(np.int64)
    slots = np.full(1 << (2 * len(entries)).bit_length(), -1, np.int32)
    _fill_slots(data, ends, slots)
    end = max((number for number, entry in enumerate(entries) if entry == _END), default=-1)
    return GramWords(data, ends, slots, n_words, end if end < n_words else -1)


def rows_of_words(words: GramWords, grams: Grams) -> tuple[SmallArray, IntArray]:
    """Return the input rows of each word w and its n-grams: `rows[ends[w]:ends[w + 1]]`."""
    sizes = np.diff(words.ends)[: words.n_words] + 2
    # `grams_at` may write one entry after the last that counts.
    max_rows = int((1 + sizes * max(0, grams.maxn - grams.minn + 1)).sum()) + 1
    rows, ends = np.empty(max_rows, np.int32), np.zeros(words.n_words + 1, np.int64)
    n_rows = _rows_of_words(words, grams, np.empty(int(sizes.max(initial=2)), np.uint8), rows, ends)
    return rows[:n_rows].copy(), ends


def index_grams(model: Model) -> tuple[Grams, IntArray | None]:
    """Index the n-grams; for a pruned model, also return the row of each set bit, counted after the words' rows."""
    _, _, _, bucket, minn, maxn = model.settings
    bucket = max(bucket, 1)
    shift = 31 + bucket.bit_length()
    division = np.array([bucket, (1 << shift) // bucket, shift], np.uint64)
    if model.pruned is None:
        return Grams(minn, maxn, division, np.zeros(0, np.uint64), np.zeros(0, np.int32)), None
    row_of = dict(model.pruned.tolist())
    hashes = sorted(bucket_hash for bucket_hash in row_of if 0 <= bucket_hash < bucket)
    flags = np.zeros(-(-bucket // 64) * 64, np.bool_)
    flags[np.array(hashes, np.int64)] = True
    counts = flags.reshape(-1, 64).sum(1)
    bits = np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)
    ranks = (len(model.words) + np.cumsum(counts) - counts).astype(np.int32)
    return Grams(minn, maxn, division, bits, ranks), np.array([row_of[bucket_hash] for bucket_hash in hashes], np.int64)


@inner
def _hash_byte(h: np.uint32, byte: np.uint8) -> np.uint32:
    """Add a byte to a hash, sign-extended as in fastText."""
    wide = np.uint32(byte) | _SIGN if byte >= 128 else np.uint32(byte)
    return np.uint32((h ^ wide) * _FNV_PRIME)


@inner
def _first_slot(h: np.uint32, slots: SmallArray) -> Integer:
    return np.int64(h ^ h >> np.uint32(15)) & (len(slots) - 1)


# The table has more slots than entries, so the probe meets a free slot. Of entry `entry`, bytes `start` to
# `start + size - 2` are compared, after its length was checked: no index leaves `data` or the token.
@inner
def find_word(words: GramWords, h: np.uint32, token: ByteArray, size: Integer) -> Integer:
    """Return the entry that equals the token in <token>, or -1."""
    slot = _first_slot(h, words.slots)
    while words.slots[slot] >= 0:
        entry = np.int64(words.slots[slot])
        start = words.ends[entry]
        if words.ends[entry + 1] - start == size - 2:
            n_equal = 0
            while n_equal < size - 2 and words.data[start + n_equal] == token[1 + n_equal]:
                n_equal += 1
            if n_equal == size - 2:
                return entry
        slot = (slot + 1) & (len(words.slots) - 1)
    return np.int64(-1)


@inner
def _remainder(h: np.uint32, division: HashArray) -> np.uint64:
    """Return a hash modulo the number of buckets d, without a slow division.

    (h * floor(2^shift / d)) >> shift is the quotient or one less, so one subtraction corrects it. The product stays
    below 2^64, because h < 2^32 and 2^shift / d <= 2^32.
    """
    wide = np.uint64(h)
    remainder: np.uint64 = wide - (wide * division[1] >> division[2]) * division[0]
    return remainder - division[0] if remainder >= division[0] else remainder


@inner
def _has_row(grams: Grams, bucket: np.uint64) -> Integer:
    return np.int64(grams.bits[bucket >> _SIX] >> (bucket & _LOW) & _BIT if len(grams.bits) else _BIT)


@inner
def _row_of(grams: Grams, n_words: Integer, bucket: np.uint64) -> Integer:
    """Return the input row of an n-gram that has one."""
    if not len(grams.bits):
        return n_words + np.int64(bucket)
    # The rank of the first bucket of the 64, plus the number of bits set before this bucket (counted in parallel).
    counts = grams.bits[bucket >> _SIX] & ((_BIT << (bucket & _LOW)) - _BIT)
    counts -= counts >> _BIT & _ODD
    counts = (counts & _PAIRS) + (counts >> _TWO & _PAIRS)
    counts = (counts + (counts >> _FOUR)) & _NIBBLES
    return np.int64(grams.ranks[bucket >> _SIX]) + np.int64(counts * _EACH_BYTE >> _TOP_BYTE)


@inner
def grams_at(token: ByteArray, i: Integer, size: Integer, grams: Grams, rows: SmallArray, n_rows: Integer) -> Integer:
    """Append the n-grams that begin at byte `i` of <token> to `rows`, each as -1 - bucket; return the new length.

    N-grams without a row are written too, and the next one overwrites them: a branch would often be mispredicted, which
    costs more. So `rows` needs room for `n_rows` plus `maxn` entries.
    """
    j, n, h = i, 0, _FNV_START
    while j < size and n < grams.maxn:
        h = _hash_byte(h, token[j])
        j += 1
        while j < size and token[j] & 0xC0 == 0x80:
            h = _hash_byte(h, token[j])
            j += 1
        n += 1
        if n >= grams.minn and not (n == 1 and (i == 0 or j == size)):
            bucket = _remainder(h, grams.division)
            rows[n_rows] = np.int32(-1 - np.int64(bucket))
            n_rows += _has_row(grams, bucket)
    return n_rows


@inner
def resolve_rows(grams: Grams, n_words: Integer, rows: SmallArray, start: Integer, stop: Integer) -> None:
    """Replace the n-grams in `rows[start:stop]`, which are negative, by their input rows."""
    for k in range(start, stop):
        if rows[k] < 0:
            rows[k] = _row_of(grams, n_words, np.uint64(-1 - np.int64(rows[k])))


@inner
def enclose(data: ByteArray, i: Integer, end: Integer, token: ByteArray) -> tuple[Integer, np.uint32]:
    """Copy the bytes from `i` up to a separator as <token>; return the length of <token>, and the token's hash."""
    size, h = 1, _FNV_START
    token[0] = 60
    while i < end and not separates(data[i]):
        token[size] = data[i]
        h = _hash_byte(h, data[i])
        size += 1
        i += 1
    token[size] = 62
    return size + 1, h


@inner
def separates(byte: np.uint8) -> bool:
    """Return whether a byte separates tokens."""
    return bool(byte == 32 or 9 <= byte <= 13 or byte == 0)


@inner
def is_label(token: ByteArray, size: Integer) -> bool:
    """Return whether the token begins like a label."""
    if size - 2 < len(_PREFIX):
        return False
    n_equal = 0
    while n_equal < len(_PREFIX) and token[1 + n_equal] == _PREFIX[n_equal]:
        n_equal += 1
    return bool(n_equal == len(_PREFIX))


@inner
def is_end(token: ByteArray, size: Integer) -> bool:
    """Return whether the token is `</s>`, the end of a text."""
    return bool(size == 6 and token[1] == 60 and token[2] == 47 and token[3] == 115 and token[4] == 62)


@njit(types.void(BYTES, LONGS, SMALLS), nogil=True, cache=True)
def _fill_slots(data: ByteArray, ends: IntArray, slots: SmallArray) -> None:
    """Insert all words and labels, the last first: of equal entries, `find_word` returns the last.

    There are more slots than entries, so every probe meets a free slot.
    """
    for entry in range(len(ends) - 2, -1, -1):
        h = _FNV_START
        for i in range(ends[entry], ends[entry + 1]):
            h = _hash_byte(h, data[i])
        slot = _first_slot(h, slots)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = entry


# `token` has room for the longest word and two brackets, `rows` for every word and all its n-grams and one entry more.
# After word w, `rows[:n_rows]` are the rows of words 0 to w, and `ends[w + 1]` is `n_rows`.
@njit(
    types.int64(WORDS, GRAMS, types.uint8[::1], SMALLS, types.int64[::1]),
    nogil=True,
    cache=True,
)
def _rows_of_words(words: GramWords, grams: Grams, token: ByteArray, rows: SmallArray, ends: IntArray) -> Integer:
    """Write the input rows of every word and of its n-grams; return how many there are."""
    n_rows = np.int64(0)
    for word in range(words.n_words):
        start, size = words.ends[word], words.ends[word + 1] - words.ends[word] + 2
        token[0], token[size - 1] = 60, 62
        for k in range(size - 2):
            token[1 + k] = words.data[start + k]
        rows[n_rows] = word
        n_rows += 1
        if not is_end(token, size):
            for i in range(size):
                if token[i] & 0xC0 != 0x80:
                    n_rows = grams_at(token, i, size, grams, rows, n_rows)
        ends[word + 1] = n_rows
    resolve_rows(grams, words.n_words, rows, 0, n_rows)
    return n_rows
