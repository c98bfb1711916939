"""The losses, compared with explicit sums in float64 and with sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from jina_data.train.losses import (
    margin_loss,
    own_negatives_loss,
    pairs_loss,
    triplets_v1_loss,
    triplets_v2_loss,
)

Array = npt.NDArray[np.float64]

T = 0.05


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def expected_v2(q: Array, p: Array, n: Array) -> float:
    forth, back = 0.0, 0.0
    for i in range(len(q)):
        own = np.exp(cosine(q[i], p[i]) / T)
        forth -= np.log(
            own / (sum(np.exp(cosine(q[i], x) / T) for x in p) + sum(np.exp(cosine(q[i], x) / T) for x in n))
        )
        back -= np.log(own / sum(np.exp(cosine(p[i], x) / T) for x in q))
    return float(forth + back) / len(q)


def expected_margin(q: Array, p: Array, n: Array, owner: list[int], margin: float) -> float:
    terms = [max(0.0, cosine(q[i], x) - cosine(q[i], p[i]) + margin) for i, x in zip(owner, n, strict=True)]
    return float(np.mean(terms))


def expected_own(q: Array, p: Array, n: Array, owner: list[int]) -> float:
    total = 0.0
    for i in range(len(q)):
        own = np.exp(cosine(q[i], p[i]) / T)
        others = sum(np.exp(cosine(q[i], x) / T) for k, x in zip(owner, n, strict=True) if k == i)
        total -= np.log(own / (own + others))
    return float(total) / len(q)


CASES = [(2, 3, [0, 1]), (5, 8, [0, 0, 1, 2, 4]), (7, 4, [3] * 6), (1, 6, [0]), (16, 5, list(range(16)) * 3)]
"""Rows, dimensions, and the row of each negative."""


@pytest.mark.parametrize(("n_rows", "dim", "owner"), CASES)
def test_losses_are_the_sums_of_the_papers(n_rows: int, dim: int, owner: list[int]) -> None:
    q, p, n = drawn(n_rows, dim), drawn(n_rows, dim, seed=1), 3 * drawn(len(owner), dim, seed=2)
    q_BD, p_BD, n_MD = (torch.from_numpy(vectors).float() for vectors in (q, p, n))
    owner_M = torch.tensor(owner)
    losses = {
        "pairs": pairs_loss(q_BD, p_BD, temperature=T),
        "v2": triplets_v2_loss(q_BD, p_BD, n_MD, temperature=T),
        "v1": triplets_v1_loss(q_BD, p_BD, n_MD, owner_M, temperature=T),
        "v1, wide": triplets_v1_loss(q_BD, p_BD, n_MD, owner_M, temperature=T, margin=0.5),
        "own": own_negatives_loss(q_BD, p_BD, n_MD, owner_M, temperature=T),
    }
    v2 = expected_v2(q, p, n)
    expected = {
        "pairs": expected_v2(q, p, n[:0]),
        "v2": v2,
        "v1": v2 + expected_margin(q, p, n, owner, 0.05),
        "v1, wide": v2 + expected_margin(q, p, n, owner, 0.5),
        "own": expected_own(q, p, n, owner),
    }
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=1e-5, abs=1e-6)


def theirs(columns: list[Tensor], directions: tuple[str, ...]) -> float:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    model: Any = torch.nn.Identity()
    loss = losses.MultipleNegativesRankingLoss(
        model, scale=1 / T, directions=directions, partition_mode="per_direction"
    )
    return float(loss.compute_loss_from_embeddings(columns, None))


@pytest.mark.parametrize("n_negatives", [0, 1, 3])
def test_sentence_transformers_has_half_of_the_sum(n_negatives: int) -> None:
    q, p = torch.from_numpy(drawn(9, 12)).float(), torch.from_numpy(drawn(9, 12, seed=1)).float()
    n = [torch.from_numpy(drawn(9, 12, seed=2 + k)).float() for k in range(n_negatives)]
    if n_negatives:
        ours = float(triplets_v2_loss(q, p, torch.cat(n), temperature=T))
    else:
        ours = float(pairs_loss(q, p, temperature=T))
    assert ours / 2 == pytest.approx(theirs([q, p, *n], ("query_to_doc", "doc_to_query")), rel=1e-5)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "pairs": lambda q, p, _n, _owner: pairs_loss(q, p, temperature=T),
    "v1": lambda q, p, n, owner: triplets_v1_loss(q, p, n, owner, temperature=T),
    "v2": lambda q, p, n, _owner: triplets_v2_loss(q, p, n, temperature=T),
    "own": lambda q, p, n, owner: own_negatives_loss(q, p, n, owner, temperature=T),
}


@pytest.mark.parametrize("name", LOSSES)
def test_neither_order_nor_length_of_vectors_matters(name: str) -> None:
    q, p, n = (torch.from_numpy(drawn(6, 8, seed=seed)).float() for seed in range(3))
    owner, order = torch.tensor([0, 0, 1, 3, 4, 5]), torch.tensor([4, 2, 0, 1, 5, 3])
    place = torch.empty(6, dtype=torch.long)
    place[order] = torch.arange(6)
    loss = LOSSES[name](q, p, n, owner)
    assert torch.isclose(LOSSES[name](q[order], p[order], n, place[owner]), loss, rtol=1e-5)
    assert torch.isclose(LOSSES[name](7 * q, p / 3, 2 * n, owner), loss, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    q, p, n = (torch.from_numpy(drawn(4, 5, seed=seed)) for seed in range(3))
    owner = torch.tensor([0, 1, 2, 3])
    # The losses are computed in float32, so a smaller step would be lost in rounding.
    q.requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](q, p, n, owner), q)
    direction = torch.from_numpy(drawn(4, 5, seed=9))
    step = 1e-3 * direction
    with torch.no_grad():
        difference = (LOSSES[name](q + step, p, n, owner) - LOSSES[name](q - step, p, n, owner)) / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=2e-2, abs=2e-3)


def test_half_precision_vectors_are_counted_in_full() -> None:
    q, p = (torch.from_numpy(drawn(8, 16, seed=seed)).bfloat16() for seed in range(2))
    loss = pairs_loss(q, p, temperature=T)
    assert loss.dtype == torch.float32
    assert torch.isclose(loss, pairs_loss(q.float(), p.float(), temperature=T))


def test_the_margin_vanishes_for_far_negatives() -> None:
    q, n = torch.eye(3), -torch.eye(3)
    assert float(margin_loss(q, q, n, torch.arange(3), margin=0.05)) == 0.0
