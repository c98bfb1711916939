"""Counts the words and the character n-grams of texts as hashed features, and compares texts by them.

Two kinds of features, each hashed to `BUCKETS` buckets:

- words: runs of letters, numbers and marks; in scripts without spaces, each letter and each pair of neighbors.
- characters: the 3- and 4-grams of each token between white space, with a blank before and after it; in scripts without
  spaces also the pairs of neighbors.

The features of a text are listed in the order in which they first occur. Sums over the features of an anchor run in
this order, in single precision, so a product of two texts has the same bits in every kernel, batch and block.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    NUMBER,
    UNSPACED,
    ByteArray,
    IntArray,
    Integer,
    Truth,
    decode,
    inner,
    string_buffers,
    word_table,
)

BITS = 20
BUCKETS = 1 << BITS
WORDS, CHARS = 0, 1
"""The kinds of features."""
N_KINDS = 2

FloatArray = npt.NDArray[np.float32]
FeatureArray = npt.NDArray[np.int32]
HashArray = npt.NDArray[np.uint64]

_BREAK_BITS, _EXTEND, _ZWJ = 31, 18, 20
_START, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_SHIFT, _DOWN = np.uint64(64 - BITS), np.uint64(32)
_SPACE = np.int64(32)
_SINGLES = types.Array(types.float32, 1, "C", readonly=True)
_INTS = types.Array(types.int32, 1, "C", readonly=True)


@dataclass(frozen=True)
class Features:
    """The features of N texts, of one kind: those of text i are entries `ends[i]` to `ends[i + 1]` (N + 1,).

    `ids` are buckets, `weights` the numbers of occurrences, or what is made of them.
    """

    ids: FeatureArray
    weights: FloatArray
    ends: IntArray

    def __len__(self) -> int:
        return len(self.ends) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Return the features of some texts."""
        sizes = np.diff(self.ends)[rows]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        entries = np.repeat(self.ends[rows] - ends[:-1], sizes) + np.arange(ends[-1])
        return Features(self.ids[entries], self.weights[entries], ends)


def concatenate(parts: list[Features]) -> Features:
    """Return the features of all texts of several lists of texts."""
    sizes = [np.diff(part.ends) for part in parts]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *sizes]))])
    return Features(
        np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.weights for part in parts)]),
        ends,
    )


_CHUNK_TEXTS = 256


def count_features(values: pa.LargeStringArray) -> tuple[Features, Features]:
    """Count the words and the character n-grams of each text, in lower case already; a null has none."""
    data, offsets = string_buffers(values)
    parts: tuple[list[Features], list[Features]] = ([], [])
    scratch = np.zeros((N_KINDS, BUCKETS), np.int32)
    for start in range(0, len(values), _CHUNK_TEXTS):
        chunk = np.ascontiguousarray(offsets[start : start + _CHUNK_TEXTS + 1])
        # A code point begins at most one word, two n-grams and two pairs; each token has two blanks.
        room = 4 * int(chunk[-1] - chunk[0]) + 8 * len(chunk)
        ids, weights = np.empty((N_KINDS, room), np.int32), np.empty((N_KINDS, room), np.float32)
        ends = np.zeros((N_KINDS, len(chunk)), np.int64)
        _count(data, chunk, word_table(), scratch, ids, weights, ends)
        for kind in range(N_KINDS):
            stop = ends[kind, -1]
            parts[kind].append(Features(ids[kind, :stop].copy(), weights[kind, :stop].copy(), ends[kind].copy()))
    return concatenate(parts[WORDS]), concatenate(parts[CHARS])


@inner
def _add(
    kind: Integer, h: np.uint64, scratch: npt.NDArray[np.int32], ids: npt.NDArray[np.int32], at: Integer
) -> Integer:
    """Count one occurrence; return the end of the list of features, which grows when it is the first."""
    bucket = np.int64((h ^ (h >> _DOWN)) * _PRIME >> _SHIFT)
    if scratch[kind, bucket] == 0:
        ids[kind, at] = bucket
        at += 1
    scratch[kind, bucket] += 1
    return at


@inner
def _mix(h: np.uint64, code: Integer) -> np.uint64:
    return np.uint64((h ^ np.uint64(code + 1)) * _PRIME)


@inner
def _is_blank(code: Integer) -> Truth:
    if code < 0x1680:
        return code <= 32 or code in (0x85, 0xA0)
    return code in (0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000) or 0x2000 <= code <= 0x200A


# Text `row` is bytes `offsets[row]` to `offsets[row + 1]`. At the top of the loop, `a`, `b`, `c` are the hash states of
# the token's last 3, 2 and 1 characters, and `n` is the number of its characters, with the blank before it; `word` is
# the state of the open word, `last` the last letter of a script without spaces directly before `i`, else -1. `scratch`
# is all zeros between texts, since every bucket that a text touched is in `ids`.
@njit(
    types.void(
        BYTES, LONGS, BYTES, types.int32[:, ::1], types.int32[:, ::1], types.float32[:, ::1], types.int64[:, ::1]
    ),
    nogil=True,
    cache=True,
)
def _count(  # noqa: PLR0912, PLR0915 - one pass over the characters
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    scratch: npt.NDArray[np.int32],
    ids: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    ends: npt.NDArray[np.int64],
) -> None:
    at_word = at_char = np.int64(0)
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        a = b = c = _START
        n = 0
        word, in_word, last = _START, False, np.int64(-1)
        while i <= end:
            code = _SPACE
            if i < end:
                code, i = decode(data, i, end)
            else:
                i += 1
            if _is_blank(code):
                code = _SPACE
            kind = table[code]
            # Words.
            is_mark = (kind & _BREAK_BITS) >= _EXTEND and (kind & _BREAK_BITS) <= _ZWJ
            if kind & UNSPACED:
                if in_word:
                    at_word = _add(WORDS, word, scratch, ids, at_word)
                    in_word, word = False, _START
                at_word = _add(WORDS, _mix(_START, code), scratch, ids, at_word)
                if last >= 0:
                    pair = _mix(_mix(_START, last), code)
                    at_word = _add(WORDS, pair, scratch, ids, at_word)
                    at_char = _add(CHARS, pair, scratch, ids, at_char)
                last = np.int64(code)
            elif kind & (LETTER | NUMBER) or (is_mark and in_word):
                word, in_word = _mix(word, code), True
                last = np.int64(-1)
            else:
                if in_word:
                    at_word = _add(WORDS, word, scratch, ids, at_word)
                in_word, word = False, _START
                if not is_mark:
                    last = np.int64(-1)
            # Character n-grams.
            if code == _SPACE and n == 0:
                continue
            if n == 0:
                a, b, c = _START, _START, _mix(_START, _SPACE)
                n = 1
            three = _mix(b, code)
            if n >= 2:
                at_char = _add(CHARS, three, scratch, ids, at_char)
            if n >= 3:
                at_char = _add(CHARS, _mix(a, code), scratch, ids, at_char)
            a, b, c = three, _mix(c, code), _mix(_START, code)
            n = 0 if code == _SPACE else n + 1
        first = ends[WORDS, row]
        for k in range(first, at_word):
            weights[WORDS, k] = scratch[WORDS, ids[WORDS, k]]
            scratch[WORDS, ids[WORDS, k]] = 0
        ends[WORDS, row + 1] = at_word
        first = ends[CHARS, row]
        for k in range(first, at_char):
            weights[CHARS, k] = scratch[CHARS, ids[CHARS, k]]
            scratch[CHARS, ids[CHARS, k]] = 0
        ends[CHARS, row + 1] = at_char


def weigh(features: Features, idf: FloatArray) -> Features:
    """Return the weights (1 + log occurrences) x idf of the features of each text, scaled to length 1.

    Features with idf 0 are left out.
    """
    weighted = idf[features.ids]
    is_kept = weighted > 0
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_kept)])[features.ends]
    weights = ((1 + np.log(features.weights[is_kept])) * weighted[is_kept]).astype(np.float32)
    _scale(weights, ends)
    return Features(features.ids[is_kept], weights, ends)


@njit(types.void(types.float32[::1], LONGS), nogil=True, cache=True)
def _scale(weights: FloatArray, ends: IntArray) -> None:
    for row in range(len(ends) - 1):
        total = np.float64(0)
        for k in range(ends[row], ends[row + 1]):
            total += np.float64(weights[k]) * np.float64(weights[k])
        if total > 0:
            scale = np.float32(1 / np.sqrt(total))
            for k in range(ends[row], ends[row + 1]):
                weights[k] *= scale


def products(anchors: Features, positives: Features) -> FloatArray:
    """Return the products of N pairs of texts, (N,)."""
    out = np.zeros(len(anchors), np.float32)
    _products(
        *(anchors.ids, anchors.weights, anchors.ends, positives.ids, positives.weights, positives.ends),
        *(np.zeros(BUCKETS, np.float32), out),
    )
    return out


_FEATURES = (_INTS, _SINGLES, LONGS)


@njit(types.void(*_FEATURES, *_FEATURES, types.float32[::1], types.float32[::1]), nogil=True, cache=True)
def _products(
    anchor_ids: FeatureArray,
    anchor_weights: FloatArray,
    anchor_ends: IntArray,
    ids: FeatureArray,
    weights: FloatArray,
    ends: IntArray,
    scratch: FloatArray,
    out: FloatArray,
) -> None:
    for row in range(len(out)):
        for k in range(ends[row], ends[row + 1]):
            scratch[ids[k]] = weights[k]
        total = np.float32(0)
        for k in range(anchor_ends[row], anchor_ends[row + 1]):
            total += anchor_weights[k] * scratch[anchor_ids[k]]
        out[row] = total
        for k in range(ends[row], ends[row + 1]):
            scratch[ids[k]] = 0


@dataclass(frozen=True)
class Postings:
    """The features of a block of M texts by feature: those of feature f are entries `starts[f]` to `starts[f + 1]`.

    `rows` are texts of the block, ascending for each feature, and `weights` the weights of the feature in them.
    """

    starts: FeatureArray
    rows: npt.NDArray[np.int32]
    weights: FloatArray
    size: int

    def head(self, size: int) -> Postings:
        """Return the postings of the first texts of the block."""
        is_kept = self.rows < size
        ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(is_kept, dtype=np.int32)])
        return Postings(ends[self.starts], self.rows[is_kept], self.weights[is_kept], size)


def invert(features: Features) -> Postings:
    """Return the postings of a block of texts."""
    counts = np.bincount(features.ids, minlength=BUCKETS)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]).astype(np.int32)
    rows, weights = np.empty(len(features.ids), np.int32), np.empty(len(features.ids), np.float32)
    _invert(features.ids, features.weights, features.ends, starts[:-1].copy(), rows, weights)
    return Postings(starts, rows, weights, len(features))


@njit(
    types.void(_INTS, _SINGLES, LONGS, types.int32[::1], types.int32[::1], types.float32[::1]), nogil=True, cache=True
)
def _invert(
    ids: FeatureArray,
    weights: FloatArray,
    ends: IntArray,
    places: FeatureArray,
    rows: npt.NDArray[np.int32],
    row_weights: FloatArray,
) -> None:
    for row in range(len(ends) - 1):
        for k in range(ends[row], ends[row + 1]):
            at = places[ids[k]]
            rows[at], row_weights[at] = row, weights[k]
            places[ids[k]] = at + 1


def all_products(anchors: Features, postings: Postings) -> FloatArray:
    """Return the products of each of N texts with each of the M texts of a block, (N, M)."""
    out = np.zeros((len(anchors), postings.size), np.float32)
    _all_products(anchors.ids, anchors.weights, anchors.ends, postings.starts, postings.rows, postings.weights, out)
    return out


# A product is the sum over the features of the anchor, in their order, as in `_products`: a feature that a text of the
# block lacks adds nothing here and zero there.
@njit(types.void(*_FEATURES, _INTS, _INTS, _SINGLES, types.float32[:, ::1]), nogil=True, cache=True)
def _all_products(
    ids: FeatureArray,
    weights: FloatArray,
    ends: IntArray,
    starts: FeatureArray,
    rows: npt.NDArray[np.int32],
    row_weights: FloatArray,
    out: npt.NDArray[np.float32],
) -> None:
    for i in range(len(ends) - 1):
        for k in range(ends[i], ends[i + 1]):
            weight = weights[k]
            for j in range(starts[ids[k]], starts[ids[k] + 1]):
                out[i, rows[j]] += weight * row_weights[j]
