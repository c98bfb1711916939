"""Decides in row order which sets are near-duplicates of an earlier, kept set. Only members of a bucket are compared.

A node has a set for each role. Nodes are numbered in row order; those below `n_outside` are always kept.
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
"""Few, because each set that is read brings the pages around it into memory (64 KiB on Linux)."""
WORDS = 4
"""64-bit words of a signature."""

_BIT, _BIT_MASK, _WORD_SHIFT, _WORD_MASK = np.uint64(1), np.uint64(63), np.uint64(6), np.uint64(WORDS - 1)
_ODD, _PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_EACH_BYTE, _TWO, _FOUR, _TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(2), np.uint64(4), np.uint64(56)


@dataclass(frozen=True)
class Nodes:
    """The sets of C nodes in R roles: the set of node c in role r is `values[starts[c, r]:][:sizes[c, r]]`, ascending,
    and its signature is `signatures[c, r]` (4,)."""

    values: HashArray
    starts: IntArray
    sizes: IntArray
    signatures: HashArray
    maps: tuple[mmap.mmap, ...] = ()
    """The mapped files that the arrays view."""


@dataclass(frozen=True)
class Buckets:
    """The K buckets of C nodes: `bucket_of` (C, B) is the bucket of a node in each band, or -1.

    In one array of all members, bucket k has room for its members from `member_starts[k]` to `member_starts[k + 1]`
    (K + 1,).
    """

    bucket_of: NumberArray
    member_starts: IntArray
    maps: tuple[mmap.mmap, ...] = ()
    """The mapped files that the arrays view."""


@dataclass
class Decisions:
    """For each of C nodes: its partner, the earliest kept node that is similar enough, or -1, and their similarity.

    `compared` counts the compared pairs.
    """

    partner: NumberArray
    score: FloatArray
    compared: int = field(default=0)


def decide_in_order(nodes: Nodes, buckets: Buckets, *, n_outside: int, threshold: float) -> Decisions:
    """Drop every node that is similar to an earlier kept node of the same bucket: at least `threshold`, in each role.

    The earliest such node is the partner; the score is the smallest Jaccard similarity of the roles.
    """
    n_nodes = len(nodes.starts)
    out = Decisions(np.full(n_nodes, -1, np.int32), np.full(n_nodes, np.nan))
    kept, kept_ends = np.empty(buckets.member_starts[-1], np.int32), buckets.member_starts[:-1].copy()
    # The kernel cannot be interrupted. Between its calls, Ctrl-C takes effect and the sets that it read leave memory.
    for first, stop in _spans(n_nodes):
        out.compared += _decide(
            nodes.values,
            nodes.starts,
            nodes.sizes,
            nodes.signatures,
            buckets.bucket_of,
            buckets.member_starts,
            np.array([first, stop, n_outside], np.int64),
            threshold,
            kept,
            kept_ends,
            out.partner,
            out.score,
        )
        release_pages(nodes.maps + buckets.maps)
    return out


def release_pages(maps: Sequence[mmap.mmap]) -> None:
    """Release the memory of mapped files; a later read loads the pages from the file again."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        for mapped in maps:
            mapped.madvise(mmap.MADV_DONTNEED)


def sign_sets(values: HashArray, offsets: IntArray) -> HashArray:
    """Return the signatures of N sets, (N, 4): bit b is the parity of the number of elements whose lower 8 bits are b.

    An element that only one of two sets has flips one of the 256 bits. So the sets differ in at least as many elements
    as the signatures in bits.
    """
    out = np.zeros((len(offsets) - 1, WORDS), np.uint64)
    _sign(values, offsets, out)
    return out


def _spans(n_nodes: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_nodes, NODES_AT_A_TIME):
        yield start, min(n_nodes, start + NODES_AT_A_TIME)


@njit(types.void(types.Array(types.uint64, 1, "C", readonly=True), LONGS, types.uint64[:, ::1]), nogil=True, cache=True)
def _sign(values: HashArray, offsets: IntArray, out: HashArray) -> None:
    for row in range(len(offsets) - 1):
        for i in range(offsets[row], offsets[row + 1]):
            out[row, np.int64(values[i] >> _WORD_SHIFT & _WORD_MASK)] ^= _BIT << (values[i] & _BIT_MASK)


@inner
def _count_differing_bits(first: HashArray, second: HashArray) -> Integer:
    """Count the bits in which two signatures differ."""
    n_differing = np.int64(0)
    for word in range(WORDS):
        counts = first[word] ^ second[word]
        counts -= counts >> _BIT & _ODD
        counts = (counts & _PAIRS) + (counts >> _TWO & _PAIRS)
        counts = (counts + (counts >> _FOUR)) & _NIBBLES
        n_differing += np.int64(counts * _EACH_BYTE >> _TOP_BYTE)
    return n_differing


@inner
def _similarity(
    values: HashArray,
    starts: IntArray,
    sizes: IntArray,
    signatures: HashArray,
    node: Integer,
    other_node: Integer,
    threshold: float,
) -> float:
    """Return the smallest Jaccard similarity of the roles of two nodes; -1 as soon as one cannot reach the threshold.

    Two empty sets are equal. The merge of two ascending sets keeps `i` and `j` below their ends: all elements before
    them are counted. `spare` and `other_spare` are how many more elements each set may have alone.
    """
    smallest = 1.0
    for role in range(starts.shape[1]):
        size, other_size = sizes[node, role], sizes[other_node, role]
        if size == 0 and other_size == 0:
            continue
        # |A & B| >= t |A | B| means |A & B| >= t / (1 + t) (|A| + |B|). The factor 1 - 1e-12 leaves rounding to the
        # exact quotient below.
        needed = threshold / (1.0 + threshold) * (size + other_size) * (1.0 - 1e-12)
        if min(size, other_size) < needed:
            return -1.0
        if (
            _count_differing_bits(signatures[node, role], signatures[other_node, role])
            > size + other_size - 2.0 * needed
        ):
            return -1.0
        spare, other_spare = size - needed, other_size - needed
        i, j = starts[node, role], starts[other_node, role]
        end, other_end = i + size, j + other_size
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
        score = common / (size + other_size - common)
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
    member_starts: IntArray,
    span: IntArray,
    threshold: float,
    kept: NumberArray,
    kept_ends: IntArray,
    partner: NumberArray,
    scores: FloatArray,
) -> Integer:
    """Decide about the nodes of a span after those before it; return the number of compared pairs.

    `span` is the first node, the end, and `n_outside`, the number of nodes that are always kept.
    The kept members of bucket b are `kept[member_starts[b]:kept_ends[b]]`, ascending. A node joins each of its buckets
    at most once, so `kept_ends[b]` never exceeds `member_starts[b + 1]`. For a node, `heads` and `ends` (B,) are the
    unread parts of these lists: each round takes the smallest head from all lists that have it, so candidates come in
    ascending order, each once, and the first that is similar enough is the earliest. A decision reads earlier decisions
    only: where spans end changes nothing.
    """
    n_nodes, n_bands = bucket_of.shape
    heads, ends = np.empty(n_bands, np.int64), np.empty(n_bands, np.int64)
    compared = np.int64(0)
    for node in range(span[0], span[1]):
        n_lists = 0
        for band in range(n_bands):
            bucket = bucket_of[node, band]
            if bucket >= 0 and kept_ends[bucket] > member_starts[bucket]:
                heads[n_lists], ends[n_lists] = member_starts[bucket], kept_ends[bucket]
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
                    kept[kept_ends[bucket]] = node
                    kept_ends[bucket] += 1
    return compared
