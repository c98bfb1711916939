"""Training on a GPU: packed tokens under FlexAttention, in both precisions, with GradCache."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from jina_data.train import TrainConfig, Trainer
from jina_data.train.losses import pairs_loss
from jina_data.train.models import load_trainable
from jina_data.train.steps import micro_batches, step_with_cache, step_with_graphs
from tests.support.train_inputs import questions, write_model, write_pairs, write_triplets

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    folder = tmp_path_factory.mktemp("train")
    write_pairs(folder / "pairs.parquet", questions(200))
    write_triplets(folder / "triplets.parquet", questions(200))
    write_model(folder / "model", dropout=0.1, n_heads=2)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("phase", "options"),
    [("pairs", {}), ("triplets", {"loss": "v1"}), ("mlm", {"columns": ("text=positive",), "learning_rate": 1e-2})],
)
def test_the_loss_falls(phase: Any, precision: Any, options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    data = folder / ("triplets.parquet" if phase == "triplets" else "pairs.parquet")
    defaults = {"learning_rate": 3e-3, "batch_size": 16, "max_length": 64, "steps": 40, "device": "cuda"}
    values: dict[str, Any] = {**defaults, "precision": precision, **options}
    config = TrainConfig(phase=phase, inputs=(str(data),), model=str(folder / "model"), **values)
    report = Trainer(config, tmp_path / "out").run()
    assert report.last_loss < 0.95 * report.first_loss


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_grad_cache_gives_the_same_gradients_with_dropout(precision: str, folder: Path) -> None:
    trainee = load_trainable(str(folder / "model"), tokenizer=None, device="cuda", seed=0)
    trainee.module.train()
    texts = [text for side in zip(*questions(32), strict=True) for text in side]
    ids = trainee.tokenize(texts, 64)

    def cast() -> Any:
        return torch.autocast("cuda", torch.bfloat16) if precision == "bf16" else nullcontext()

    def loss_of(vectors: Tensor) -> Tensor:
        return pairs_loss(vectors[:32], vectors[32:], temperature=0.05)

    gradients = []
    for step in (step_with_graphs, step_with_cache):
        trainee.module.zero_grad()
        torch.manual_seed(3)
        step(trainee, ids, micro_batches(ids, 500), loss_of, cast)
        gradients.append(
            torch.cat([weight.grad.flatten() for weight in trainee.module.parameters() if weight.grad is not None])
        )
    limit = 1e-4 if precision == "fp32" else 2e-2  # sums on a GPU have no fixed order
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < limit


def test_gradients_are_those_of_a_cpu(folder: Path) -> None:
    texts = [text for side in zip(*questions(16), strict=True) for text in side]
    gradients = []
    for device in ("cpu", "cuda"):
        trainee = load_trainable(str(folder / "model"), tokenizer=None, device=device, seed=0)
        trainee.module.eval()  # without dropout, whose units differ
        ids = trainee.tokenize(texts, 64)
        step_with_graphs(
            trainee, ids, micro_batches(ids, 800), lambda v: pairs_loss(v[:16], v[16:], temperature=0.05), nullcontext
        )
        flat = [weight.grad.flatten().cpu() for weight in trainee.module.parameters() if weight.grad is not None]
        gradients.append(torch.cat(flat))
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 1e-2
