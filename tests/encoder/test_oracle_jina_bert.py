"""The slow JinaBERT by itself: published facts, laws, and cases worked out by hand in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from tests.support import oracle_jina_bert as oracle

Array = npt.NDArray[np.float64]

TINY: dict[str, Any] = {
    "model_type": "bert",
    "position_embedding_type": "alibi",
    "feed_forward_type": "geglu",
    "hidden_act": "gelu",
    "hidden_size": 24,
    "num_attention_heads": 6,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
    "vocab_size": 50,
}
SMALL = {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 4, "intermediate_size": 2048}
BASE = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072}


def config(**settings: Any) -> dict[str, Any]:
    """Return the tiny config with other settings."""
    return {**TINY, **settings}


def some_ids(n_rows: int, length: int, *, seed: int = 1) -> Tensor:
    """Draw token ids."""
    return torch.randint(TINY["vocab_size"], (n_rows, length), generator=torch.Generator().manual_seed(seed))


def close(got: Tensor, expected: Tensor | Array, *, tolerance: float = 1e-12) -> None:
    """Check two results, to nearly all digits."""
    np.testing.assert_allclose(got.detach().numpy(), np.asarray(expected), rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------- published facts


@pytest.mark.parametrize(
    ("n_heads", "powers"),
    [
        (1, [-8]),
        (2, [-4, -8]),
        (3, [-4, -8, -2]),
        (6, [-2, -4, -6, -8, -1, -3]),
        (8, [-1, -2, -3, -4, -5, -6, -7, -8]),
        (12, [-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5]),
        (16, [-0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4, -4.5, -5, -5.5, -6, -6.5, -7, -7.5, -8]),
    ],
)
def test_slopes(n_heads: int, powers: list[float]) -> None:
    assert oracle.alibi_slopes(n_heads) == [2.0**power for power in powers]


@pytest.mark.parametrize(("preset", "n_parameters"), [(SMALL, 32_690_688), (BASE, 137_368_320)])
def test_number_of_parameters(preset: dict[str, int], n_parameters: int) -> None:
    shapes = oracle.weight_shapes(config(**preset, vocab_size=30528))
    weights = [torch.empty(shape, device="meta") for shape in shapes.values()]
    assert sum(weight.numel() for weight in weights) == n_parameters


def test_layout() -> None:
    cfg = config(num_hidden_layers=1)
    expected = [
        "embeddings.word_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "embeddings.LayerNorm.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.0.attention.self.query.bias",
        "encoder.layer.0.attention.self.key.weight",
        "encoder.layer.0.attention.self.key.bias",
        "encoder.layer.0.attention.self.value.weight",
        "encoder.layer.0.attention.self.value.bias",
        "encoder.layer.0.attention.output.dense.weight",
        "encoder.layer.0.attention.output.dense.bias",
        "encoder.layer.0.attention.output.LayerNorm.weight",
        "encoder.layer.0.attention.output.LayerNorm.bias",
        "encoder.layer.0.mlp.gated_layers.weight",
        "encoder.layer.0.mlp.wo.weight",
        "encoder.layer.0.mlp.wo.bias",
        "encoder.layer.0.mlp.layernorm.weight",
        "encoder.layer.0.mlp.layernorm.bias",
        "pooler.dense.weight",
        "pooler.dense.bias",
    ]
    head = [
        "cls.predictions.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
    ]
    assert sorted(oracle.weight_shapes(cfg)) == sorted(expected)
    assert sorted(oracle.weight_shapes(cfg, mlm_head=True)) == sorted(expected + head)


def test_random_weights() -> None:
    weights = oracle.random_weights(TINY, 3, mlm_head=True)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == oracle.weight_shapes(TINY, mlm_head=True)
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    again, other = oracle.random_weights(TINY, 3), oracle.random_weights(TINY, 4)
    for name, weight in again.items():
        assert torch.equal(weight, weights[name])
        assert not torch.equal(weight, other[name])


# -------------------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("n_heads", [1, 4, 6, 12])
@pytest.mark.parametrize("feed_forward_type", ["geglu", "reglu"])
def test_permuting_the_batch_permutes_the_output(n_heads: int, feed_forward_type: str) -> None:
    cfg = config(num_attention_heads=n_heads, feed_forward_type=feed_forward_type)
    weights = oracle.random_weights(cfg, 0)
    ids, mask, types = some_ids(4, 9), torch.ones(4, 9), some_ids(4, 9, seed=2) % 2
    mask[1, 5:] = 0
    order = torch.tensor([2, 0, 3, 1])
    hidden = oracle.forward(weights, cfg, ids, mask, types)
    assert hidden.shape == (4, 9, 24)
    assert hidden.dtype == torch.float64
    permuted = oracle.forward(weights, cfg, ids[order], mask[order], types[order])
    assert torch.equal(permuted, hidden[order])
    assert torch.equal(oracle.pooled(permuted, mask[order]), oracle.pooled(hidden, mask)[order])


@pytest.mark.parametrize(("before", "after"), [(0, 1), (0, 31), (7, 0), (3, 4)])
def test_padding_changes_nothing(before: int, after: int) -> None:
    weights = oracle.random_weights(TINY, 0)
    ids, mask = some_ids(2, 9), torch.ones(2, 9, dtype=torch.long)
    plain = oracle.forward(weights, TINY, ids, mask)
    padded_ids = torch.cat([some_ids(2, before, seed=5), ids, some_ids(2, after, seed=6)], dim=1)
    padded_mask = torch.nn.functional.pad(mask, (before, after))
    padded = oracle.forward(weights, TINY, padded_ids, padded_mask)
    close(padded[:, before : before + 9], plain)
    close(oracle.pooled(padded, padded_mask), plain.mean(dim=1))


def test_reversing_the_text_reverses_the_output() -> None:
    """ALiBi is mirrored here, so no direction is special; but order counts."""
    weights = oracle.random_weights(TINY, 0)
    ids, mask = some_ids(1, 12), torch.ones(1, 12)
    hidden = oracle.forward(weights, TINY, ids, mask)
    close(oracle.forward(weights, TINY, ids.flip(1), mask), hidden.flip(1))
    swapped = [1, 0, *range(2, 12)]
    assert (oracle.forward(weights, TINY, ids[:, swapped], mask) - hidden[:, swapped]).abs().max() > 1e-2


def test_every_weight_matters() -> None:
    """All but the pooler, and the bias of the keys, which a softmax cannot see."""
    weights = {name: weight.requires_grad_() for name, weight in oracle.random_weights(TINY, 0, mlm_head=True).items()}
    ids, types = some_ids(2, 12), some_ids(2, 12, seed=2) % 2
    hidden = oracle.forward(weights, TINY, ids, torch.ones(2, 12), types)
    (oracle.mlm_logits(weights, TINY, hidden) * some_ids(2, 12, seed=3)[:, :, None]).square().sum().backward()  # type: ignore[no-untyped-call]
    slack = {name for name, weight in weights.items() if weight.grad is None or weight.grad.abs().max() < 1e-6}
    keys = {f"encoder.layer.{n}.attention.self.key.bias" for n in (0, 1)}
    assert slack == {"pooler.dense.weight", "pooler.dense.bias", *keys}


def test_dtypes() -> None:
    weights = oracle.random_weights(TINY, 0)
    ids, mask = some_ids(2, 9), torch.ones(2, 9)
    hidden = oracle.forward(weights, TINY, ids, mask)
    single = oracle.forward(weights, TINY, ids, mask, dtype=torch.float32)
    assert single.dtype == torch.float32
    close(single.double(), hidden, tolerance=1e-4)
    half = {name: weight.half() for name, weight in weights.items()}
    upcast = {name: weight.double() for name, weight in half.items()}
    assert torch.equal(oracle.forward(half, TINY, ids, mask), oracle.forward(upcast, TINY, ids, mask))


# ----------------------------------------------------------------------------------------------------------- by hand


def np_gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def np_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return weight * (x - np.mean(x)) / math.sqrt(np.var(x) + eps) + bias


def np_weights(cfg: dict[str, Any], *, mlm_head: bool = False) -> tuple[dict[str, Tensor], dict[str, Array]]:
    """Return weights for the oracle, and the same as float64 arrays."""
    weights = oracle.random_weights(cfg, 7, mlm_head=mlm_head)
    return weights, {name: weight.numpy().astype(np.float64) for name, weight in weights.items()}


@pytest.mark.parametrize(("feed_forward_type", "act"), [("geglu", np_gelu), ("reglu", lambda x: max(x, 0.0))])
def test_one_layer_one_head(feed_forward_type: str, act: Callable[[float], float]) -> None:
    """Two real tokens around one of padding: the slope is 2^-8, the distance 2, and eps large enough to be seen."""
    cfg = config(
        hidden_size=3,
        num_attention_heads=1,
        num_hidden_layers=1,
        intermediate_size=2,
        layer_norm_eps=0.05,
        vocab_size=5,
        feed_forward_type=feed_forward_type,
    )
    weights, w = np_weights(cfg)
    words, kinds = w["embeddings.word_embeddings.weight"], w["embeddings.token_type_embeddings.weight"]
    norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"], 0.05
    x0, x1 = np_norm(words[4] + kinds[0], *norm), np_norm(words[2] + kinds[1], *norm)

    self_ = "encoder.layer.0.attention.self"
    q0, q1 = (w[f"{self_}.query.weight"] @ x + w[f"{self_}.query.bias"] for x in (x0, x1))
    k0, k1 = (w[f"{self_}.key.weight"] @ x + w[f"{self_}.key.bias"] for x in (x0, x1))
    v0, v1 = (w[f"{self_}.value.weight"] @ x + w[f"{self_}.value.bias"] for x in (x0, x1))
    bias = -2 / 256
    e00, e01 = math.exp(np.dot(q0, k0) / math.sqrt(3)), math.exp(np.dot(q0, k1) / math.sqrt(3) + bias)
    e10, e11 = math.exp(np.dot(q1, k0) / math.sqrt(3) + bias), math.exp(np.dot(q1, k1) / math.sqrt(3))
    a0 = (e00 * v0 + e01 * v1) / (e00 + e01)
    a1 = (e10 * v0 + e11 * v1) / (e10 + e11)

    out = "encoder.layer.0.attention.output"
    norm = w[f"{out}.LayerNorm.weight"], w[f"{out}.LayerNorm.bias"], 0.05
    y0 = np_norm(w[f"{out}.dense.weight"] @ a0 + w[f"{out}.dense.bias"] + x0, *norm)
    y1 = np_norm(w[f"{out}.dense.weight"] @ a1 + w[f"{out}.dense.bias"] + x1, *norm)

    mlp = "encoder.layer.0.mlp"
    g0, g1 = (w[f"{mlp}.gated_layers.weight"] @ y for y in (y0, y1))
    h0 = np.array([act(g0[0]) * g0[2], act(g0[1]) * g0[3]])
    h1 = np.array([act(g1[0]) * g1[2], act(g1[1]) * g1[3]])
    norm = w[f"{mlp}.layernorm.weight"], w[f"{mlp}.layernorm.bias"], 0.05
    z0 = np_norm(w[f"{mlp}.wo.weight"] @ h0 + w[f"{mlp}.wo.bias"] + y0, *norm)
    z1 = np_norm(w[f"{mlp}.wo.weight"] @ h1 + w[f"{mlp}.wo.bias"] + y1, *norm)

    ids, mask, types = torch.tensor([[4, 0, 2]]), torch.tensor([[1, 0, 1]]), torch.tensor([[0, 0, 1]])
    hidden = oracle.forward(weights, cfg, ids, mask, types)
    close(hidden[0, [0, 2]], np.stack([z0, z1]))
    close(oracle.pooled(hidden, mask)[0], (z0 + z1) / 2)


@pytest.mark.parametrize("n_heads", [4, 6, 12])
def test_attention_by_distance_alone(n_heads: int) -> None:
    """Without queries, head h weighs key j by exp(-m_h |i - j|); heads are neighbouring columns of the values."""
    cfg = config(num_attention_heads=n_heads)
    weights, w = np_weights(cfg)
    layer = "encoder.layer.1"
    for end in ("weight", "bias"):
        weights[f"{layer}.attention.self.query.{end}"] = torch.zeros_like(
            weights[f"{layer}.attention.self.query.{end}"]
        )
    x = np.random.default_rng(0).normal(size=(5, 24))
    value = x @ w[f"{layer}.attention.self.value.weight"].T + w[f"{layer}.attention.self.value.bias"]
    mixed = np.empty((5, 24))
    for column in range(24):
        slope = oracle.alibi_slopes(n_heads)[column // (24 // n_heads)]
        for i in range(5):
            share = np.array([math.exp(-slope * abs(i - j)) for j in range(5)])
            mixed[i, column] = share @ value[:, column] / share.sum()
    out = f"{layer}.attention.output"
    summed = mixed @ w[f"{out}.dense.weight"].T + w[f"{out}.dense.bias"] + x
    expected = [np_norm(row, w[f"{out}.LayerNorm.weight"], w[f"{out}.LayerNorm.bias"], 1e-12) for row in summed]
    double = {name: weight.double() for name, weight in weights.items()}
    real = torch.ones(5, dtype=torch.bool)
    close(oracle.attention(double, cfg, torch.from_numpy(x), real=real, layer=layer), np.stack(expected))


def test_mlm_logits() -> None:
    weights, w = np_weights(TINY, mlm_head=True)
    hidden = np.random.default_rng(0).normal(size=(2, 3, 24))
    head = "cls.predictions.transform"
    expected = np.empty((2, 3, 50))
    for b, s in np.ndindex(2, 3):
        dense = w[f"{head}.dense.weight"] @ hidden[b, s] + w[f"{head}.dense.bias"]
        act = np.array([np_gelu(x) for x in dense])
        normed = np_norm(act, w[f"{head}.LayerNorm.weight"], w[f"{head}.LayerNorm.bias"], 1e-12)
        expected[b, s] = w["embeddings.word_embeddings.weight"] @ normed + w["cls.predictions.bias"]
    logits = oracle.mlm_logits(weights, TINY, torch.from_numpy(hidden))
    close(logits, expected)
    weights["cls.predictions.decoder.weight"] = weights["embeddings.word_embeddings.weight"].clone()
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    assert torch.equal(oracle.mlm_logits(weights, TINY, torch.from_numpy(hidden)), logits)


def test_pooled() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [50.0, 70.0]], [[9.0, 9.0], [1.0, 0.0], [2.0, 4.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert oracle.pooled(hidden, mask).tolist() == [[2.0, 4.0], [1.5, 2.0]]


# ----------------------------------------------------------------------------------------------------------- refusals


def test_refuses_what_it_does_not_know() -> None:
    weights = oracle.random_weights(TINY, 0, mlm_head=True)
    ids, mask = some_ids(2, 4), torch.ones(2, 4)
    normed = {**weights, "encoder.layer.0.attention.self.layer_norm_q.weight": torch.ones(24)}
    with pytest.raises(ValueError, match="layer_norm_q"):
        oracle.forward(normed, TINY, ids, mask)
    with pytest.raises(ValueError, match=r"gated_layers.* expected \(82, 24\)"):
        oracle.forward(weights, config(intermediate_size=41), ids, mask)
    with pytest.raises(ValueError, match="absolute"):
        oracle.forward(weights, config(position_embedding_type="absolute"), ids, mask)
    with pytest.raises(KeyError, match="original"):
        oracle.forward(weights, config(feed_forward_type="original"), ids, mask)
    with pytest.raises(ValueError, match="sequence 1 has no real token"):
        oracle.forward(weights, TINY, ids, torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]]))
    missing = {name: weight for name, weight in weights.items() if "wo.bias" not in name}
    with pytest.raises(KeyError, match=r"mlp\.wo\.bias"):
        oracle.forward(missing, TINY, ids, mask)
    for end in ("weight", "bias"):
        tied = weights["embeddings.word_embeddings.weight" if end == "weight" else "cls.predictions.bias"]
        with pytest.raises(ValueError, match=f"decoder.{end} differs"):
            oracle.mlm_logits({**weights, f"cls.predictions.decoder.{end}": tied + 1}, TINY, torch.zeros(1, 1, 24))
