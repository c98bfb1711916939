"""Packed texts in a transformer of sentence-transformers: same vectors and gradients as padded texts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch import Tensor

from jina_data.encoder import train_wordpiece
from jina_data.train import models, packing
from jina_data.train.models import TrainableTransformer, load_trainable
from jina_data.train.steps import micro_batches, step_with_cache, step_with_graphs
from tests.support.train_inputs import questions

BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS = {
    "bert": BERT,
    "camembert": BERT,
    "electra": {**BERT, "embedding_size": 16},
    "roberta": BERT,
    "xlm-roberta": BERT,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "mpnet": BERT,
}
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    words = train_wordpiece([text for pair in questions() for text in pair], vocab_size=500)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **names)


def write_model(folder: Path, kind: str, tokenizer: Any, *, dropout: float = 0.0, pooling: str = "mean") -> Path:
    """Save a small model with random weights, far from zero, so that a wrong position changes the result."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    sizes = {"vocab_size": len(tokenizer), "pad_token_id": 0, "max_position_embeddings": 80, "initializer_range": 0.3}
    config = transformers.AutoConfig.for_model(kind, **sizes, **CONFIGS[kind])
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    torch.manual_seed(1)
    transformers.AutoModel.from_config(config).save_pretrained(folder / "inner")
    tokenizer.save_pretrained(folder / "inner")
    parts = [Transformer(str(folder / "inner")), Pooling(32, pooling_mode=pooling)]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "model"))
    return folder / "model"


def load(folder: Path) -> TrainableTransformer:
    trainee = load_trainable(str(folder), tokenizer=None, device="cpu", seed=0)
    assert isinstance(trainee, TrainableTransformer)
    trainee.module.train()
    return trainee


def texts() -> list[str]:
    return [text for pair in questions(12) for text in pair] + ["", "one", "two", "red blue"]


def loss_of(vectors_ND: Tensor) -> Tensor:
    weights_ND = torch.linspace(-1, 1, vectors_ND.numel()).view_as(vectors_ND)
    loss: Tensor = (weights_ND * vectors_ND).mean() + vectors_ND.std()
    return loss


def run_step(
    trainee: TrainableTransformer, step: Any = step_with_graphs, token_budget: int = 200
) -> tuple[Tensor, Tensor]:
    """Return the vectors of texts and the gradients of a loss."""
    ids = trainee.tokenize(texts(), 48)
    trainee.module.zero_grad()
    torch.manual_seed(5)
    outputs: list[Tensor] = []

    def loss(vectors_ND: Tensor) -> Tensor:
        outputs.append(vectors_ND.detach())
        return loss_of(vectors_ND)

    step(trainee, ids, micro_batches(ids, token_budget), loss, contextlib.nullcontext)
    weights = [weight.grad.flatten() for weight in trainee.module.parameters() if weight.grad is not None]
    return outputs[0], torch.cat(weights)


def padded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Return the same from a model without packing."""
    monkeypatch.setattr(models, "can_pack", lambda _: False)
    trainee = load(folder)
    assert attention_of(trainee.model) == "sdpa"
    return run_step(trainee)


def attention_of(model: Any) -> str:
    return str(model[0].auto_model.config._attn_implementation)


def is_packed(trainee: TrainableTransformer) -> bool:
    """Return whether texts are packed."""
    rows: list[int] = []
    model: Any = trainee.model
    handle = model[0].auto_model.embeddings.register_forward_hook(lambda *inputs: rows.append(len(inputs[-1])))
    run_step(trainee)
    handle.remove()
    assert rows
    return set(rows) == {1}


@pytest.mark.parametrize("kind", sorted(packing.MODEL_TYPES))
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_and_gradients_are_those_of_padded_texts(
    kind: str, pooling: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path, kind, tokenizer, pooling=pooling)
    trainee = load(folder)
    assert is_packed(trainee)
    vectors, gradients = run_step(trainee)
    expected_vectors, expected_gradients = padded(folder, monkeypatch)
    assert expected_vectors.std() > 0.1
    torch.testing.assert_close(vectors, expected_vectors, atol=1e-5, rtol=1e-5)
    assert (gradients - expected_gradients).norm() <= 1e-5 * expected_gradients.norm()


def test_the_cut_and_the_cache_change_nothing_with_dropout(tokenizer: Any, tmp_path: Path) -> None:
    trainee = load(write_model(tmp_path, "bert", tokenizer, dropout=0.2))
    _, expected = run_step(trainee)
    _, cached = run_step(trainee, step_with_cache)
    assert (cached - expected).norm() <= 1e-5 * expected.norm()
    trainee.checkpoint_activations()
    assert is_packed(trainee)
    _, again = run_step(trainee)
    assert (again - expected).norm() <= 1e-5 * expected.norm()
    trainee.module.eval()
    vectors, _ = run_step(trainee)
    other_vectors, _ = run_step(trainee, token_budget=10**6)
    torch.testing.assert_close(other_vectors, vectors, atol=1e-5, rtol=1e-5)


def test_bfloat16_goes_end_to_end(tokenizer: Any, tmp_path: Path) -> None:
    trainee = load(write_model(tmp_path, "bert", tokenizer))
    expected, _ = run_step(trainee)
    with torch.autocast("cpu", torch.bfloat16):
        assert is_packed(trainee)
        vectors, _ = run_step(trainee)
    assert 0 < (vectors - expected).norm() < 0.05 * expected.norm()


def test_other_models_are_padded(tokenizer: Any, tmp_path: Path) -> None:
    trainee = load(write_model(tmp_path, "mpnet", tokenizer))
    assert not is_packed(trainee)


def test_a_compiled_model_is_padded(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainee = load(write_model(tmp_path, "bert", tokenizer))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    trainee.compile()
    assert not is_packed(trainee)


def test_encode_and_save_know_nothing_of_it(tokenizer: Any, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_model(tmp_path, "bert", tokenizer)
    trainee = load(folder)
    trainee.module.eval()
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts())
    np.testing.assert_allclose(trainee.model.encode(texts()), expected, atol=1e-6)
    trainee.save(tmp_path / "saved")
    assert packing.ATTENTION not in "".join(path.read_text() for path in (tmp_path / "saved").rglob("*.json"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert attention_of(again) == "sdpa"
    np.testing.assert_allclose(again.encode(texts()), expected, atol=1e-6)
