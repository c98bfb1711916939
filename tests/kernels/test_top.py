"""Tests the exact search for the closest vectors: it equals a sort of all products, on every path and with ties."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.kernels import top
from jina_data.kernels.rank import Exclusions
from jina_data.kernels.top import TopResult, find_top

Halves = npt.NDArray[np.float16]


def unit(rng: np.random.Generator, n: int, dim: int) -> Halves:
    vectors = rng.standard_normal((n, dim))
    halves: Halves = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return halves


def read(vectors: Halves, first: int, stop: int) -> Halves:
    return vectors[first:stop]


def excluding(rng: np.random.Generator, n: int, n_pool: int) -> Exclusions:
    chosen = [np.sort(rng.choice(n_pool, rng.integers(0, min(n_pool, 4)), replace=False)) for _ in range(n)]
    ends = np.cumsum([len(ordinals) for ordinals in chosen])
    return Exclusions(np.concatenate([[0], ends[:-1]]), ends, np.concatenate(chosen).astype(np.int64))


def sorted_all(
    anchors: Halves, vectors: Halves, excluded: Exclusions, k: int, upper: npt.NDArray[np.float64]
) -> TopResult:
    """Sort all exact products: the largest first, of equal ones the first."""
    ordinals = np.full((len(anchors), min(k, len(vectors))), -1)
    products = np.full(ordinals.shape, -np.inf)
    for i, anchor in enumerate(anchors.astype(np.float64)):
        exact = vectors.astype(np.float64) @ anchor
        out = set(excluded.ordinals[excluded.start[i] : excluded.stop[i]].tolist())
        ranked = sorted((-exact[j], j) for j in range(len(vectors)) if j not in out and exact[j] <= upper[i])
        for place, (product, j) in enumerate(ranked[:k]):
            ordinals[i, place], products[i, place] = j, -product
    return TopResult(ordinals, products)


@pytest.mark.parametrize("device", [None, "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 12), n_pool=st.integers(1, 150), coarse=st.booleans())
def test_the_best_are_those_of_a_sort(device: str | None, seed: int, k: int, n_pool: int, coarse: bool) -> None:
    torch = pytest.importorskip("torch") if device else None
    if torch is not None and device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(seed)
    vectors, anchors = unit(rng, n_pool, 8), unit(rng, 23, 8)
    if coarse:  # many equal products, and limits that products hit exactly
        vectors, anchors = np.sign(vectors) * np.float16(0.25), np.sign(anchors) * np.float16(0.25)
    upper = rng.choice([np.inf, 0.25, 0.1, -0.25], len(anchors))
    excluded = excluding(rng, len(anchors), n_pool)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_CPU_ROWS", 7), ("_CPU_COLUMNS", 16), ("_TORCH_ROWS", 9), ("_TORCH_COLUMNS", 32)):
            patch.setattr(top, name, value)
        result = find_top(anchors, partial(read, vectors), n_pool, excluded, k=k, upper=upper, torch_device=device)
    expected = sorted_all(anchors, vectors, excluded, k, upper)
    np.testing.assert_array_equal(result.ordinals, expected.ordinals)
    np.testing.assert_array_equal(result.products, expected.products)


def test_an_empty_pool_and_no_anchors() -> None:
    nobody = Exclusions(np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(0, np.int64))
    none = np.zeros((0, 4), np.float16)
    result = find_top(np.ones((2, 4), np.float16), partial(read, none), 0, nobody, k=3, upper=np.full(2, np.inf))
    assert result.ordinals.shape == (2, 0)
