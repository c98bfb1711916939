"""Ranks pairs among the texts of a pool by three signals: similarity of vectors, of words and of character n-grams.

Each signal is a cosine less the hubness of the positive: half of its mean similarity to the anchors that are most
similar to it, except the first, since a text that is similar to many anchors is no evidence (after the cross-domain
similarity local scaling of Conneau et al. 2018, "Word translation without parallel data", section 2.3). The similarity
of a pair is a weighted sum of the signals.

Vectors have 8-bit coordinates, so their products are exact in single precision; the other sums run in a fixed order. So
a rank has the same value in every batch, block and worker.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or compiles them.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit, types

from jina_data.kernels.grams import Features, Postings, all_products, invert, products
from jina_data.kernels.words import LONGS, IntArray

SIGNALS = ("vectors", "words", "chars")

FloatArray = npt.NDArray[np.float32]
CountArray = npt.NDArray[np.int32]

_ROWS = 512
_SINGLES = types.Array(types.float32, 1, "C", readonly=True)
_TABLE = types.Array(types.float32, 2, "C", readonly=True)
_INTS = types.Array(types.int32, 1, "C", readonly=True)


@dataclass(frozen=True)
class Signals:
    """What N texts are compared by.

    `vectors` (N, D) are whole numbers from -127 to 127, `scale` (N,) makes their length 1; `words` and `chars` are
    weights of features, of length 1.
    """

    vectors: npt.NDArray[np.int8]
    scale: FloatArray
    words: Features
    chars: Features

    def __len__(self) -> int:
        return len(self.scale)

    def take(self, rows: npt.NDArray[np.int64]) -> Signals:
        """Return the signals of some texts."""
        return Signals(self.vectors[rows], self.scale[rows], self.words.take(rows), self.chars.take(rows))


def quantize(vectors: npt.NDArray[np.float16]) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Round vectors (N, D) to 8 bits; return them, and the factor (N,) that makes their length 1, 0 for zeros."""
    wide = vectors.astype(np.float32)
    largest = np.abs(wide).max(1, initial=0)[:, None]
    whole = np.rint(np.divide(127 * wide, largest, out=np.zeros_like(wide), where=largest > 0)).astype(np.int8)
    squares = np.einsum("nd,nd->n", whole.astype(np.int64), whole.astype(np.int64))
    lengths = np.sqrt(squares.astype(np.float64))
    return whole, np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0).astype(np.float32)


@dataclass(frozen=True)
class Block:
    """A block of M texts of a pool, ready to be compared with others; `hubness` is (3, M)."""

    vectors: npt.NDArray[np.int8]
    scale: FloatArray
    words: Postings
    chars: Postings
    hubness: FloatArray

    @classmethod
    def of(cls, signals: Signals, hubness: FloatArray | None = None) -> Block:
        """Invert the features of a block of texts; their hubness is 0 if it is not known."""
        zeros = np.zeros((len(SIGNALS), len(signals)), np.float32)
        words, chars = invert(signals.words), invert(signals.chars)
        return cls(signals.vectors, signals.scale, words, chars, zeros if hubness is None else hubness)

    def __len__(self) -> int:
        return len(self.scale)

    def head(self, size: int) -> Block:
        """Return the first texts of the block."""
        words, chars = self.words.head(size), self.chars.head(size)
        return Block(self.vectors[:size], self.scale[:size], words, chars, np.ascontiguousarray(self.hubness[:, :size]))


def own_signals(anchors: Signals, positives: Signals, hubness: FloatArray) -> FloatArray:
    """Return the signals of N pairs, (3, N); `hubness` (3, N) is that of the positives."""
    dots = np.einsum("nd,nd->n", anchors.vectors.astype(np.int32), positives.vectors.astype(np.int32))
    out = np.empty((len(SIGNALS), len(anchors)), np.float32)
    out[0] = dots.astype(np.float32) * (anchors.scale * positives.scale)
    out[1], out[2] = products(anchors.words, positives.words), products(anchors.chars, positives.chars)
    out -= hubness
    return out


def all_signals(anchors: Signals, block: Block) -> FloatArray:
    """Return the signals of N texts with each of the M texts of a block, (3, N, M)."""
    dots = anchors.vectors.astype(np.float32) @ block.vectors.astype(np.float32).T
    out = np.empty((len(SIGNALS), *dots.shape), np.float32)
    out[0] = dots * (anchors.scale[:, None] * block.scale[None, :])
    out[1], out[2] = all_products(anchors.words, block.words), all_products(anchors.chars, block.chars)
    out -= block.hubness[:, None, :]
    return out


def weighted(signals: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted sums of signals (3, N) with weights (N, 3), in single precision, (N,)."""
    total: FloatArray = weights[:, 0] * signals[0] + weights[:, 1] * signals[1] + weights[:, 2] * signals[2]
    return total


def hubness(texts: Signals, anchors: Block, nearest: int) -> FloatArray:
    """Return half of the mean of the second to (`nearest` + 1)-th largest value of each signal among anchors, (3, N).

    The largest is left out, because it may be that of the anchor to which a text belongs.
    """
    out = np.zeros((len(SIGNALS), len(texts)), np.float32)
    nearest = min(nearest, len(anchors) - 1)
    if nearest < 1:
        return out
    for start in range(0, len(texts), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(texts)))
        signals = all_signals(texts.take(rows), anchors)
        largest = -np.partition(-signals, nearest, axis=2)[:, :, : nearest + 1]
        # Sorted, so that the sum has one order.
        out[:, rows] = np.sort(largest, axis=2)[:, :, :-1].astype(np.float64).mean(2) / 2
    return out


@dataclass
class SignalRanks:
    """Counts of N pairs among the blocks read so far.

    `counts` (4, N): texts whose similarity is above that of the positive, and texts for which each signal is. `best`
    (N,): the largest similarity of a competitor. `cap`: the largest count that is exact; pairs whose counts have all
    reached it are finished.
    """

    own: FloatArray
    total: FloatArray
    weights: FloatArray
    cap: int
    counts: CountArray
    best: FloatArray
    threads: Executor | None = None

    @classmethod
    def start(cls, own: FloatArray, weights: FloatArray, cap: int, threads: Executor | None = None) -> SignalRanks:
        """Begin to count: `own` (3, N) are the signals of the pairs, `weights` is (N, 3).

        With `threads`, tiles of pairs are counted side by side, with the same result.
        """
        n = own.shape[1]
        counts = np.zeros((1 + len(SIGNALS), n), np.int32)
        best = np.full(n, -np.inf, np.float32)
        return cls(own, weighted(own, weights), weights, cap, counts, best, threads)

    def add(
        self, anchors: Signals, block: Block, start: IntArray, stop: IntArray, ordinals: IntArray, first: int
    ) -> None:
        """Count the texts of a block, whose first has the ordinal `first`.

        For pair i, the texts with ordinals[start[i]:stop[i]], ascending, do not compete.
        """
        open_rows = np.flatnonzero((self.counts < self.cap).any(0))
        block_vectors = block.vectors.astype(np.float32)

        def count(at: int) -> None:
            rows = open_rows[at : at + _ROWS]
            tile = anchors.take(rows)
            dots = tile.vectors.astype(np.float32) @ block_vectors.T
            counts, best = np.ascontiguousarray(self.counts[:, rows]), self.best[rows]
            _count_above(
                *(dots, tile.scale, block.scale),
                *(tile.words.ids, tile.words.weights, tile.words.ends),
                *(block.words.starts, block.words.rows, block.words.weights),
                *(tile.chars.ids, tile.chars.weights, tile.chars.ends),
                *(block.chars.starts, block.chars.rows, block.chars.weights),
                *(block.hubness, np.ascontiguousarray(self.own[:, rows]), self.total[rows]),
                *(np.ascontiguousarray(self.weights[rows]), start[rows], stop[rows], ordinals, first, counts, best),
            )
            self.counts[:, rows], self.best[rows] = counts, best

        tiles = range(0, len(open_rows), _ROWS)
        for _ in map(count, tiles) if self.threads is None else self.threads.map(count, tiles):
            pass

    def ranks(self) -> CountArray:
        """Return the ranks (4, N): by similarity, and by each signal; cap + 1 is any rank above the cap."""
        ranks: CountArray = 1 + np.minimum(self.counts, self.cap)
        return ranks


_FEATURES = (_INTS, _SINGLES, LONGS)
_POSTINGS = (_INTS, _INTS, _SINGLES)


# The expressions are those of `own_signals` and `weighted`, operation by operation, so that a text of the block that
# equals the positive gets exactly its similarity.
@njit(
    types.void(
        *(_TABLE, _SINGLES, _SINGLES, *_FEATURES, *_POSTINGS, *_FEATURES, *_POSTINGS, _TABLE, _TABLE, _SINGLES, _TABLE),
        *(LONGS, LONGS, LONGS, types.int64, types.int32[:, ::1], types.float32[::1]),
    ),
    nogil=True,
    cache=True,
)
def _count_above(
    dots: FloatArray,
    anchor_scale: FloatArray,
    scale: FloatArray,
    word_ids: CountArray,
    word_weights: FloatArray,
    word_ends: IntArray,
    word_starts: CountArray,
    word_rows: CountArray,
    word_row_weights: FloatArray,
    char_ids: CountArray,
    char_weights: FloatArray,
    char_ends: IntArray,
    char_starts: CountArray,
    char_rows: CountArray,
    char_row_weights: FloatArray,
    hubness: FloatArray,
    own: FloatArray,
    own_total: FloatArray,
    weights: FloatArray,
    start: IntArray,
    stop: IntArray,
    ordinals: IntArray,
    first: int,
    counts: CountArray,
    best: FloatArray,
) -> None:
    size = dots.shape[1]
    words, chars = np.zeros(size, np.float32), np.zeros(size, np.float32)
    competes = np.ones(size, np.bool_)
    for i in range(dots.shape[0]):
        words[:] = 0
        chars[:] = 0
        for k in range(word_ends[i], word_ends[i + 1]):
            weight = word_weights[k]
            for j in range(word_starts[word_ids[k]], word_starts[word_ids[k] + 1]):
                words[word_rows[j]] += weight * word_row_weights[j]
        for k in range(char_ends[i], char_ends[i + 1]):
            weight = char_weights[k]
            for j in range(char_starts[char_ids[k]], char_starts[char_ids[k] + 1]):
                chars[char_rows[j]] += weight * char_row_weights[j]
        for k in range(start[i], stop[i]):
            place = ordinals[k] - first
            if 0 <= place < size:
                competes[place] = False
        own_vectors, own_words, own_chars, total = own[0, i], own[1, i], own[2, i], own_total[i]
        by_vectors, by_words, by_chars = weights[i, 0], weights[i, 1], weights[i, 2]
        n_total = n_vectors = n_words = n_chars = 0
        top = best[i]
        for m in range(size):
            if competes[m]:
                a = dots[i, m] * (anchor_scale[i] * scale[m]) - hubness[0, m]
                b = words[m] - hubness[1, m]
                c = chars[m] - hubness[2, m]
                similarity = by_vectors * a + by_words * b + by_chars * c
                n_total += similarity > total
                n_vectors += a > own_vectors
                n_words += b > own_words
                n_chars += c > own_chars
                top = max(top, similarity)
        for k in range(start[i], stop[i]):
            place = ordinals[k] - first
            if 0 <= place < size:
                competes[place] = True
        counts[0, i] += n_total
        counts[1, i] += n_vectors
        counts[2, i] += n_words
        counts[3, i] += n_chars
        best[i] = top


_STEPS, _RATE = 60, 0.3
_MOST = 64.0


def learn_weights(signals: FloatArray, competes: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the weights with which the positives of N pairs stand out among the positives of the others, (3,).

    A conditional logit with a share of mismatched pairs: a positive is chosen with the probability softmax(weights x
    signals), or at random (weights >= 0, sum 1, two decimals).

    Args:
        signals: (3, N, N), of each anchor with each positive.
        competes: (N, N), whether a positive competes; those of the diagonal need not.
    """
    n = len(competes)
    if n < 2:
        return np.full(len(SIGNALS), np.float32(1 / len(SIGNALS)))
    wide = signals.astype(np.float64)
    is_used = competes | np.eye(n, dtype=np.bool_)
    own = wide[:, np.arange(n), np.arange(n)]
    log_weights, log_odds = np.full(len(SIGNALS), np.log(8.0)), -2.0
    moments, squares = np.zeros(4), np.zeros(4)
    for step in range(1, _STEPS + 1):
        weights, noise = np.exp(log_weights), 1 / (1 + np.exp(-log_odds))
        scores = np.where(is_used, np.tensordot(weights, wide, 1), -np.inf)
        chosen = np.exp(scores - scores.max(1, keepdims=True))
        chosen /= chosen.sum(1, keepdims=True)
        p = chosen[np.arange(n), np.arange(n)]
        likelihood = (1 - noise) * p + noise / n
        expected = np.einsum("nm,snm->sn", chosen, wide)
        gradient = np.empty(4)
        gradient[:3] = (((1 - noise) * p / likelihood) * (own - expected)).mean(1) * weights
        gradient[3] = ((1 / n - p) / likelihood).mean() * noise * (1 - noise)
        moments = 0.9 * moments + 0.1 * gradient
        squares = 0.99 * squares + 0.01 * gradient**2
        move = _RATE * (moments / (1 - 0.9**step)) / (np.sqrt(squares / (1 - 0.99**step)) + 1e-8)
        log_weights, log_odds = np.minimum(log_weights + move[:3], np.log(_MOST)), float(log_odds + move[3])
    shares = np.exp(log_weights) / np.exp(log_weights).sum()
    rounded: FloatArray = np.maximum(np.round(shares, 2), 0.01).astype(np.float32)
    return rounded
