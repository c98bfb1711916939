"""Ranks by several signals against a plain reference that computes all pairs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from jina_data.kernels import signals
from jina_data.kernels.grams import BUCKETS, count_features, weigh
from jina_data.kernels.signals import (
    Block,
    SignalRanks,
    Signals,
    all_signals,
    hubness,
    learn_weights,
    own_signals,
    quantize,
    weighted,
)

FloatArray = npt.NDArray[np.float32]


@cache
def some_idf() -> FloatArray:
    return np.random.default_rng(0).random(BUCKETS, np.float32)


def texts(n: int, seed: int, dim: int = 48) -> Signals:
    """Return the signals of texts of few words, some equal, some empty; some vectors are zeros."""
    rng = np.random.default_rng(seed)
    vocabulary = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "dog",
        "barks",
        "at",
        "night",
        "rain",
        "falls",
        "in",
        "spring",
        "北京",
        "首都",
        "中国",
    ]
    some = [" ".join(rng.choice(vocabulary, rng.integers(0, 7))) for _ in range(n)]
    words, chars = count_features(pa.array(some, pa.large_string()))
    centers = np.random.default_rng(1).standard_normal((5, dim))
    vectors = centers[rng.integers(0, 5, n)] + 0.4 * rng.standard_normal((n, dim))
    vectors[rng.random(n) < 0.05] = 0
    vectors[rng.random(n) < 0.1] = centers[0]
    out = Signals(*quantize(vectors.astype(np.float16)), weigh(words, some_idf()), weigh(chars, some_idf()))
    copies = np.arange(n)
    copies[rng.random(n) < 0.15] = 0
    return out.take(copies)


def some_hubness(n: int) -> FloatArray:
    return np.random.default_rng(3).random((3, n)).astype(np.float32) / np.float32(5)


def some_weights(n: int) -> FloatArray:
    weights: FloatArray = np.random.default_rng(4).dirichlet([1, 1, 1], n).round(2).astype(np.float32)
    return weights


# --------------------------------------------------------------------------------------------------------- vectors


def test_products_of_quantized_vectors_are_exact() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((200, 1024)).astype(np.float16)
    vectors[0] = 1  # the largest product that there is
    whole, scale = quantize(vectors)
    exact = whole.astype(np.int64) @ whole.astype(np.int64).T
    single = whole.astype(np.float32) @ whole.astype(np.float32).T
    assert exact.max() == 127 * 127 * 1024
    np.testing.assert_array_equal(single.astype(np.int64), exact)
    assert np.abs(whole).max() == 127
    np.testing.assert_allclose(np.diag(exact) * scale.astype(np.float64) ** 2, 1, rtol=1e-6)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(exact * np.outer(scale, scale), unit @ unit.T, atol=0.01)


def test_zeros_stay_zeros() -> None:
    whole, scale = quantize(np.zeros((2, 8), np.float16))
    assert not whole.any()
    assert not scale.any()
    empty = quantize(np.zeros((0, 8), np.float16))
    assert [one.shape for one in empty] == [(0, 8), (0,)]


def test_own_signals_are_those_of_all_pairs() -> None:
    n = 150
    anchors, positives, hubs = texts(n, 5), texts(n, 6), some_hubness(n)
    table = all_signals(anchors, Block.of(positives, hubs))
    own = own_signals(anchors, positives, hubs)
    np.testing.assert_array_equal(own.view(np.uint32), table[:, np.arange(n), np.arange(n)].view(np.uint32))


# ----------------------------------------------------------------------------------------------------------- ranks

N, M = 130, 900


class Case:
    """Pairs whose positives are in the pool, with texts that do not compete."""

    def __init__(self, *, dim: int = 48) -> None:
        rng = np.random.default_rng(7)
        self.anchors, self.pool, self.hubs = texts(N, 8, dim), texts(M, 9, dim), some_hubness(M)
        self.weights = some_weights(N)
        # Texts of the pool with the same features and vectors have the same hubness.
        equal: dict[bytes, int] = {}
        for row in range(M):
            one = self.pool.take(np.array([row]))
            key = b"".join(part.tobytes() for part in (one.vectors, one.words.ids, one.words.weights, one.chars.ids))
            self.hubs[:, row] = self.hubs[:, equal.setdefault(key, row)]
        table = all_signals(self.anchors, Block.of(self.pool, self.hubs))
        # Some positives are the most similar texts of the pool, by all signals or by one; the others are random.
        self.positive = rng.integers(0, M, N)
        near = [np.einsum("ns,snm->nm", self.weights, table), *table]
        for k, of_signal in enumerate(near):
            self.positive[k::8] = of_signal[k::8].argmax(1)
        self.own = own_signals(self.anchors, self.pool.take(self.positive), self.hubs[:, self.positive])
        self.excluded = [np.sort(rng.permutation(M)[: rng.integers(0, 9)]) for _ in range(N)]
        ends = np.cumsum([len(one) for one in self.excluded])
        self.start, self.stop = np.concatenate([[0], ends[:-1]]).astype(np.int64), ends.astype(np.int64)
        self.ordinals = np.concatenate(self.excluded).astype(np.int64)

    def run(self, cap: int, size: int, threads: ThreadPoolExecutor | None = None) -> SignalRanks:
        state = SignalRanks.start(self.own, self.weights, cap, threads)
        for first in range(0, M, size):
            rows = np.arange(first, min(first + size, M))
            block = Block.of(self.pool.take(rows), np.ascontiguousarray(self.hubs[:, rows]))
            state.add(self.anchors, block, self.start, self.stop, self.ordinals, first)
        return state

    def reference(self) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return the counts (4, N) and the best competitors (N,)."""
        table = all_signals(self.anchors, Block.of(self.pool, self.hubs))
        counts, best = np.zeros((4, N), np.int64), np.full(N, -np.inf, np.float32)
        for i in range(N):
            competes = np.ones(M, np.bool_)
            competes[self.excluded[i]] = False
            similarity = weighted(table[:, i], np.tile(self.weights[i], (M, 1)))
            total = weighted(self.own[:, i : i + 1], self.weights[i : i + 1])[0]
            counts[0, i] = (similarity[competes] > total).sum()
            counts[1:, i] = (table[:, i, competes] > self.own[:, i, None]).sum(1)
            best[i] = similarity[competes].max()
        return counts, best


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


@pytest.mark.parametrize(
    ("size", "tile", "threads"),
    [(M, 512, None), (256, 17, None), (101, 512, 3), (101, 17, 3), (M, 17, 3), (19, 512, None)],
)
def test_counts_are_as_the_reference_has_them(
    case: Case, monkeypatch: pytest.MonkeyPatch, size: int, tile: int, threads: int | None
) -> None:
    monkeypatch.setattr(signals, "_ROWS", tile)
    counts, best = case.reference()
    assert (counts.min(1) < 3).all()
    assert (counts.max(1) > M // 3).all()
    if threads is None:
        state = case.run(M, size)
    else:
        with ThreadPoolExecutor(threads) as pool:
            state = case.run(M, size, pool)
    np.testing.assert_array_equal(state.counts, counts)
    np.testing.assert_array_equal(state.best.view(np.uint32), best.view(np.uint32))
    np.testing.assert_array_equal(state.ranks(), 1 + counts)


@pytest.mark.parametrize("cap", [1, 3, 60])
@pytest.mark.parametrize("size", [M, 128, 37])
def test_ranks_up_to_the_cap_are_exact(case: Case, cap: int, size: int) -> None:
    counts, best = case.reference()
    state = case.run(cap, size)
    np.testing.assert_array_equal(state.ranks(), 1 + np.minimum(counts, cap))
    known = counts[0] < cap
    assert known.sum() > 10
    np.testing.assert_array_equal(state.best[known], best[known])


def test_a_text_equal_to_the_positive_is_never_above(case: Case) -> None:
    # The pool is the positive of each pair, many times: nothing is more similar to the anchor.
    none = np.zeros(N, np.int64)
    for i in range(0, N, 5):
        rows = np.full(40, case.positive[i])
        block = Block.of(case.pool.take(rows), np.ascontiguousarray(case.hubs[:, rows]))
        one = np.array([i])
        state = SignalRanks.start(np.ascontiguousarray(case.own[:, one]), case.weights[one], 100)
        state.add(case.anchors.take(one), block, none[:1], none[:1], np.empty(0, np.int64), 0)
        assert not state.counts.any()
        assert state.best[0] == state.total[0]


def test_a_pool_without_competitors() -> None:
    case = Case()
    every = np.arange(M)
    state = SignalRanks.start(case.own, case.weights, M)
    stop = np.full(N, M, np.int64)
    state.add(case.anchors, Block.of(case.pool, case.hubs), np.zeros(N, np.int64), stop, every, 0)
    assert not state.counts.any()
    assert np.isneginf(state.best).all()


def test_the_head_of_a_block_is_the_block_of_the_first_texts(case: Case) -> None:
    head, size = Block.of(case.pool, case.hubs).head(77), np.arange(77)
    expected = all_signals(case.anchors, Block.of(case.pool.take(size), np.ascontiguousarray(case.hubs[:, :77])))
    assert len(head) == 77
    np.testing.assert_array_equal(all_signals(case.anchors, head), expected)


# --------------------------------------------------------------------------------------------------------- hubness


@pytest.mark.parametrize("nearest", [1, 3, 60, 1000])
def test_hubness(monkeypatch: pytest.MonkeyPatch, nearest: int) -> None:
    some, anchors = texts(120, 11), texts(60, 12)
    block = Block.of(anchors)
    table = all_signals(some, block).astype(np.float64)
    expected = np.sort(table, axis=2)[:, :, -1 - nearest : -1].mean(2) / 2
    found = hubness(some, block, nearest)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(signals, "_ROWS", 7)
    np.testing.assert_array_equal(hubness(some, block, nearest).view(np.uint32), found.view(np.uint32))
    one = np.array([17])
    np.testing.assert_array_equal(hubness(some.take(one), block, nearest)[:, 0], found[:, 17])


def test_hubness_without_anchors_or_texts() -> None:
    some = texts(5, 11)
    none = some.take(np.empty(0, np.int64))
    assert not hubness(some, Block.of(none), 3).any()
    assert hubness(none, Block.of(some), 3).shape == (3, 0)
    assert len(Block.of(none)) == 0


# --------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("informative", [0, 1, 2])
@pytest.mark.parametrize("n", [100, 400])
def test_nearly_all_weight_for_the_one_informative_signal(informative: int, n: int) -> None:
    rng = np.random.default_rng(informative)
    table = rng.normal(0.2, 0.1, (3, n, n))
    origin = np.arange(n)
    some = rng.permutation(n)[: int(0.3 * n)]
    origin[some] = np.roll(some, 1)  # 30 % of the pairs are shuffled
    table[informative, np.arange(n), np.argsort(origin)] += 0.4
    weights = learn_weights(table.astype(np.float32), ~np.eye(n, dtype=np.bool_))
    assert weights[informative] > 0.8
    assert weights.sum() == pytest.approx(1, abs=0.02)


def test_two_signals_share_the_weight() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0.2, 0.1, (3, 200, 200))
    table[:2, np.arange(200), np.arange(200)] += 0.15
    weights = learn_weights(table.astype(np.float32), ~np.eye(200, dtype=np.bool_))
    assert weights[0] == pytest.approx(weights[1], abs=0.1)
    assert weights[2] < 0.1


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("fill", [0.0, 1.0, None])
@pytest.mark.parametrize("competes", [True, False])
def test_few_pairs(n: int, fill: float | None, competes: bool) -> None:
    table = np.random.default_rng(n).random((3, n, n)) if fill is None else np.full((3, n, n), fill)
    weights = learn_weights(table.astype(np.float32), np.full((n, n), competes))
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=0.02)


def test_pairs_that_do_not_compete_have_no_influence() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(0.2, 0.1, (3, 100, 100)).astype(np.float32)
    table[1, np.arange(100), np.arange(100)] += 0.4
    competes = ~np.eye(100, dtype=np.bool_)
    competes[3, 50:] = False
    other = table.copy()
    other[:, 3, 50:] = 9
    np.testing.assert_array_equal(learn_weights(table, competes), learn_weights(other, competes))
