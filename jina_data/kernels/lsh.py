"""Decide in order which sets are near-duplicates of an earlier one that stays: compared only with members of buckets.

A node is a set for each role. Nodes are numbered in row order; those below `n_outside` stay whatever they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.words import LONGS, IntArray, Integer, inner

HashArray = npt.NDArray[np.uint64]
NumberArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]

NODES_AT_A_TIME = 1 << 6
"""Few: each set that is looked at brings the pages around it into memory (on Linux 64 KiB)."""
WORDS = 4
"""The words of 64 bits in a signature."""

_BIT, _BIT_MASK, _WORD_SHIFT, _WORD_MASK = np.uint64(1), np.uint64(63), np.uint64(6), np.uint64(WORDS - 1)
_ODD, _PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_EACH_BYTE, _TWO, _FOUR, _TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(2), np.uint64(4), np.uint64(56)


@dataclass(frozen=True)
class Nodes:
    """The sets of C nodes in R roles: that of node c in role r is `values[starts[c, r]:][:sizes[c, r]]`, ascending,
    and its signature `signatures[c, r]` (4,)."""

    values: HashArray
    starts: IntArray
    sizes: IntArray
    signatures: HashArray
    maps: tuple[mmap.mmap, ...] = ()
    """The files that arrays are mapped from."""


@dataclass(frozen=True)
class Buckets:
    """The buckets of C nodes: `of` (C, B) is the bucket in each band, or -1; `room` (K + 1,) where the members of each
    of K buckets may be noted in one array."""

    of: NumberArray
    room: IntArray
    maps: tuple[mmap.mmap, ...] = ()
    """The files that arrays are mapped from."""


@dataclass
class Decisions:
    """For each of C nodes the earliest kept one that is near enough, or -1, and how near; how many pairs it took."""

    partner: NumberArray
    score: FloatArray
    compared: int = field(default=0)


def decide_in_order(nodes: Nodes, buckets: Buckets, *, n_outside: int, threshold: float) -> Decisions:
    """Drop every node that is at least `threshold` near, in every role, to an earlier kept one in a bucket of its own.

    The earliest such node is the partner; the score is the smallest Jaccard similarity of the roles.
    """
    n_nodes = len(nodes.starts)
    out = Decisions(np.full(n_nodes, -1, np.int32), np.full(n_nodes, np.nan))
    kept, filled = np.empty(buckets.room[-1], np.int32), buckets.room[:-1].copy()
    # The kernel cannot be interrupted; between its calls, Ctrl-C can, and the sets that it saw leave memory.
    for first, behind in _spans(n_nodes):
        out.compared += _decide(
            nodes.values,
            nodes.starts,
            nodes.sizes,
            nodes.signatures,
            buckets.of,
            buckets.room,
            np.array([first, behind, n_outside], np.int64),
            threshold,
            kept,
            filled,
            out.partner,
            out.score,
        )
        let_go(nodes.maps + buckets.maps)
    return out


def let_go(maps: Sequence[mmap.mmap]) -> None:
    """Give back the memory of mapped files; what is looked at again comes from the file again."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        for one in maps:
            one.madvise(mmap.MADV_DONTNEED)


def sign_sets(values: HashArray, offsets: IntArray) -> HashArray:
    """Return the signatures of N sets, (N, 4): of how many elements with the same lower 8 bits there are, the parity.

    An element that only one of two sets has changes one of the 256 bits, so the sets differ by at least as many
    elements as the signatures by bits.
    """
    out = np.zeros((len(offsets) - 1, WORDS), np.uint64)
    _sign(values, offsets, out)
    return out


def _spans(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, NODES_AT_A_TIME):
        yield start, min(n, start + NODES_AT_A_TIME)


@njit(types.void(types.Array(types.uint64, 1, "C", readonly=True), LONGS, types.uint64[:, ::1]), nogil=True, cache=True)
def _sign(values: HashArray, offsets: IntArray, out: HashArray) -> None:
    for row in range(len(offsets) - 1):
        for i in range(offsets[row], offsets[row + 1]):
            out[row, np.int64(values[i] >> _WORD_SHIFT & _WORD_MASK)] ^= _BIT << (values[i] & _BIT_MASK)


@inner
def _bits_apart(left: HashArray, right: HashArray) -> Integer:
    """Count the bits in which two signatures differ."""
    apart = np.int64(0)
    for word in range(WORDS):
        x = left[word] ^ right[word]
        x -= x >> _BIT & _ODD
        x = (x & _PAIRS) + (x >> _TWO & _PAIRS)
        x = (x + (x >> _FOUR)) & _NIBBLES
        apart += np.int64(x * _EACH_BYTE >> _TOP_BYTE)
    return apart


@inner
def _similarity(
    values: HashArray,
    starts: IntArray,
    sizes: IntArray,
    signatures: HashArray,
    left: Integer,
    right: Integer,
    threshold: float,
) -> float:
    """Return the smallest Jaccard similarity of the roles of two nodes; -1 as soon as one cannot reach the threshold.

    Two empty sets are equal.
    """
    smallest = 1.0
    for role in range(starts.shape[1]):
        n, m = sizes[left, role], sizes[right, role]
        if n == 0 and m == 0:
            continue
        # |A & B| >= t |A | B| is |A & B| >= t / (1 + t) (|A| + |B|); rounding is left to the quotient below.
        needed = threshold / (1.0 + threshold) * (n + m) * (1.0 - 1e-12)
        if min(n, m) < needed:
            return -1.0
        if _bits_apart(signatures[left, role], signatures[right, role]) > n + m - 2.0 * needed:
            return -1.0
        spare, other_spare = n - needed, m - needed
        i, j = starts[left, role], starts[right, role]
        end, other_end = i + n, j + m
        common = 0
        while i < end and j < other_end:
            a, b = values[i], values[j]
            if a == b:
                common += 1
                i += 1
                j += 1
            elif a < b:
                i += 1
                spare -= 1.0
                if spare < 0:
                    return -1.0
            else:
                j += 1
                other_spare -= 1.0
                if other_spare < 0:
                    return -1.0
        score = common / (n + m - common)
        if score < threshold:
            return -1.0
        smallest = min(smallest, score)
    return smallest


@njit(
    types.int64(
        types.Array(types.uint64, 1, "C", readonly=True),
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.Array(types.uint64, 3, "C", readonly=True),
        types.Array(types.int32, 2, "C", readonly=True),
        LONGS,
        LONGS,
        types.float64,
        types.int32[::1],
        types.int64[::1],
        types.int32[::1],
        types.float64[::1],
    ),
    nogil=True,
    cache=True,
)
def _decide(
    values: HashArray,
    starts: IntArray,
    sizes: IntArray,
    signatures: HashArray,
    bucket_of: NumberArray,
    room: IntArray,
    span: IntArray,
    threshold: float,
    kept: NumberArray,
    filled: IntArray,
    partner: NumberArray,
    scores: FloatArray,
) -> Integer:
    """Decide about the nodes of a span, those before it being decided; return the number of pairs compared.

    `kept` holds the kept members of every bucket from its room to `filled`, ascending.
    """
    n_nodes, n_bands = bucket_of.shape
    heads, ends = np.empty(n_bands, np.int64), np.empty(n_bands, np.int64)
    compared = np.int64(0)
    for node in range(span[0], span[1]):
        n_lists = 0
        for band in range(n_bands):
            bucket = bucket_of[node, band]
            if bucket >= 0 and filled[bucket] > room[bucket]:
                heads[n_lists], ends[n_lists] = room[bucket], filled[bucket]
                n_lists += 1
        while node >= span[2]:
            other = n_nodes
            for k in range(n_lists):
                if heads[k] < ends[k]:
                    other = min(other, np.int64(kept[heads[k]]))
            if other == n_nodes:
                break
            for k in range(n_lists):
                heads[k] += heads[k] < ends[k] and kept[heads[k]] == other
            compared += 1
            score = _similarity(values, starts, sizes, signatures, other, node, threshold)
            if score >= 0.0:
                partner[node], scores[node] = other, score
                break
        if partner[node] < 0:
            for band in range(n_bands):
                bucket = bucket_of[node, band]
                if bucket >= 0:
                    kept[filled[bucket]] = node
                    filled[bucket] += 1
    return compared
