"""A second JinaBERT: eager, slow and plain, written from the description of the model alone.

It shares nothing with jina_data. It takes weights in the layout of the published files (`jinaai/jina-embeddings-v2-*`,
without the prefix `bert.`) and their config.json, and never drops out. It loops over sequences, heads and positions, so
keep to small cases. Gradients pass through it.

Where the formulas come from:
- JinaBERT: Günther et al. 2023, "Jina Embeddings 2", arXiv 2310.19923, section 4
- BERT, its layer (post-norm) and its head for masked words: Devlin et al. 2018, arXiv 1810.04805
- attention: Vaswani et al. 2017, arXiv 1706.03762, section 3.2
- ALiBi: Press et al. 2021, arXiv 2108.12409, section 3
- GEGLU and ReGLU: Shazeer 2020, arXiv 2002.05202, section 2
- GELU: Hendrycks and Gimpel 2016, arXiv 1606.08415
- layer normalisation: Ba et al. 2016, arXiv 1607.06450

What no paper says comes from the published configs and weights: which half of `gated_layers` is the gate, which maps
have a bias, the slopes for 6 or 12 heads. The variants with norms on queries and keys (code, de, es) are refused.

Shapes: B sequences, S positions, D hidden size, H heads, d = D / H, F inner size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Config = Mapping[str, Any]


# ------------------------------------------------------------------------------------------------------- the weights


def weight_shapes(config: Config, *, mlm_head: bool = False) -> dict[str, tuple[int, ...]]:
    """Name every weight of the published layout, with its shape: (out, in) for a linear map.

    `mlm_head` adds the head for masked words, but not `cls.predictions.decoder.*`, which repeats the word embeddings
    and `cls.predictions.bias`.
    """
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocab, hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{layer}.attention.{name}.weight"] = (hidden, hidden)
            shapes[f"{layer}.attention.{name}.bias"] = (hidden,)
        shapes[f"{layer}.attention.output.LayerNorm.weight"] = (hidden,)
        shapes[f"{layer}.attention.output.LayerNorm.bias"] = (hidden,)
        shapes[f"{layer}.mlp.gated_layers.weight"] = (2 * inner, hidden)
        shapes[f"{layer}.mlp.wo.weight"] = (hidden, inner)
        shapes[f"{layer}.mlp.wo.bias"] = (hidden,)
        shapes[f"{layer}.mlp.layernorm.weight"] = (hidden,)
        shapes[f"{layer}.mlp.layernorm.bias"] = (hidden,)
    shapes["pooler.dense.weight"] = (hidden, hidden)
    shapes["pooler.dense.bias"] = (hidden,)
    if mlm_head:
        shapes["cls.predictions.bias"] = (vocab,)
        shapes["cls.predictions.transform.dense.weight"] = (hidden, hidden)
        shapes["cls.predictions.transform.dense.bias"] = (hidden,)
        shapes["cls.predictions.transform.LayerNorm.weight"] = (hidden,)
        shapes["cls.predictions.transform.LayerNorm.bias"] = (hidden,)
    return shapes


def random_weights(config: Config, seed: int, *, mlm_head: bool = False) -> dict[str, Tensor]:
    """Draw float32 weights for the whole layout; the same seed draws the same, with the head or without.

    No norm is the identity, no bias is zero, and scores spread by about one: leaving any weight out, or mixing two up,
    changes the result well above the rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(config, mlm_head=mlm_head).items():
        noise = torch.randn(shape, generator=generator)
        if "layernorm" in name.lower() and name.endswith("weight"):
            weights[name] = 1 + 0.3 * noise
        elif name.endswith("bias"):
            weights[name] = 0.3 * noise
        elif "embeddings" in name:
            weights[name] = noise
        else:
            weights[name] = noise / math.sqrt(shape[1])
    return weights


def check_weights(weights: Weights, config: Config) -> None:
    """Raise ValueError on a weight that this model does not know, or of another shape."""
    shapes = weight_shapes(config)
    for name, weight in weights.items():
        if name.startswith("cls."):
            continue
        if name not in shapes:
            raise ValueError(f"{name} is no weight of JinaBERT in the layout of jina-embeddings-v2-small-en")
        if tuple(weight.shape) != shapes[name]:
            raise ValueError(f"{name} has shape {tuple(weight.shape)}, expected {shapes[name]}")


# ------------------------------------------------------------------------------------------------------ small pieces


def alibi_slopes(n_heads: int) -> list[float]:
    """Give each head its slope (Press et al., section 3, and the rule of their code for other counts).

    For n a power of two: 2^(-8/n), 2^(-16/n), ..., 2^-8. Else, with a the largest power of two below n: the slopes of a
    heads, then the first, third, fifth ... of 2a heads, until there are n.
    """
    power = 1
    while 2 * power <= n_heads:
        power = 2 * power
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    finer = [2.0 ** (-8 * (i + 1) / (2 * power)) for i in range(2 * power)]
    return slopes + finer[0::2][: n_heads - power]


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute x W^T + b: (..., in) to (..., out)."""
    return x @ weight.T + bias


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise the last axis with the biased variance, eps under the root (Ba et al., section 3)."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * weight + bias


def gelu(x: Tensor) -> Tensor:
    """Compute x times the normal distribution function at x, exactly (Hendrycks and Gimpel, section 2)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def relu(x: Tensor) -> Tensor:
    """Compute the larger of x and zero."""
    return torch.where(x > 0, x, torch.zeros_like(x))


def softmax(scores: Tensor) -> Tensor:
    """Turn the scores of one query, (S,), into weights that sum to one."""
    powers = torch.exp(scores - scores.max())
    return powers / powers.sum()


# --------------------------------------------------------------------------------------------------------- the model


def embed(w: Weights, config: Config, ids: Tensor, types: Tensor) -> Tensor:
    """Look up one sequence, (S,) to (S, D): words plus token types, normalised; no positions (Jina)."""
    words = torch.stack([w["embeddings.word_embeddings.weight"][int(token)] for token in ids])
    kinds = torch.stack([w["embeddings.token_type_embeddings.weight"][int(kind)] for kind in types])
    norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
    return layer_norm(words + kinds, *norm, config["layer_norm_eps"])


def attend(query: Tensor, key: Tensor, value: Tensor, *, real: Tensor, slope: float) -> Tensor:
    """Attend with one head over one sequence: all (S, d), real (S,) of booleans.

    The score of query i for key j is q_i . k_j / sqrt(d) - slope |i - j|: scaled first, the distance mirrored to both
    sides (Jina). Keys that are not real are left out of the softmax altogether.
    """
    keys = [j for j in range(len(real)) if real[j]]
    rows = []
    for i in range(len(query)):
        content = key[keys] @ query[i] / math.sqrt(query.shape[1])
        distance = torch.tensor([abs(i - j) for j in keys], dtype=query.dtype)
        rows.append(softmax(content - slope * distance) @ value[keys])
    return torch.stack(rows)


def attention(w: Weights, config: Config, x: Tensor, *, real: Tensor, layer: str) -> Tensor:
    """Attend with all heads, (S, D) to (S, D): heads are neighbouring columns; dense, then the norm of the sum."""
    n_heads = config["num_attention_heads"]
    size = config["hidden_size"] // n_heads
    query, key, value = (
        linear(x, w[f"{layer}.attention.self.{name}.weight"], w[f"{layer}.attention.self.{name}.bias"])
        for name in ("query", "key", "value")
    )
    heads = []
    for head, slope in enumerate(alibi_slopes(n_heads)):
        columns = slice(head * size, (head + 1) * size)
        heads.append(attend(query[:, columns], key[:, columns], value[:, columns], real=real, slope=slope))
    out = f"{layer}.attention.output"
    mixed = linear(torch.cat(heads, dim=1), w[f"{out}.dense.weight"], w[f"{out}.dense.bias"])
    return layer_norm(mixed + x, w[f"{out}.LayerNorm.weight"], w[f"{out}.LayerNorm.bias"], config["layer_norm_eps"])


def feed_forward(w: Weights, config: Config, x: Tensor, *, layer: str) -> Tensor:
    """Apply the gated layer, (S, D) to (S, D): act(first half) * second half, wo, then the norm of the sum.

    `gated_layers` makes both halves at once and has no bias (Shazeer; Jina).
    """
    both = x @ w[f"{layer}.mlp.gated_layers.weight"].T
    first, second = both[:, : config["intermediate_size"]], both[:, config["intermediate_size"] :]
    gate = {"geglu": gelu, "reglu": relu}[config["feed_forward_type"]]
    out = linear(gate(first) * second, w[f"{layer}.mlp.wo.weight"], w[f"{layer}.mlp.wo.bias"])
    norm = w[f"{layer}.mlp.layernorm.weight"], w[f"{layer}.mlp.layernorm.bias"]
    return layer_norm(out + x, *norm, config["layer_norm_eps"])


def forward(
    weights: Weights,
    config: Config,
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Compute the last hidden states: ids and mask (B, S) to (B, S, D).

    Padding, where the mask is 0, may stand anywhere; no other position looks at it, and what comes out there means
    nothing: compare real positions only. The token types are 0 unless given. The pooler is not applied.
    """
    if config["position_embedding_type"] != "alibi":
        raise ValueError(f"position_embedding_type is {config['position_embedding_type']!r}, expected 'alibi'")
    check_weights(weights, config)
    w = {name: weight.to(dtype) for name, weight in weights.items()}
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    sequences = []
    for b in range(len(input_ids)):
        real = attention_mask[b] != 0
        if not real.any():
            raise ValueError(f"sequence {b} has no real token; expected at least one 1 in its attention_mask")
        x = embed(w, config, input_ids[b], types[b])
        for n in range(config["num_hidden_layers"]):
            x = attention(w, config, x, real=real, layer=f"encoder.layer.{n}")
            x = feed_forward(w, config, x, layer=f"encoder.layer.{n}")
        sequences.append(x)
    return torch.stack(sequences)


# ------------------------------------------------------------------------------------------------- on top of the model


def pooled(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Average the real positions, (B, S, D) to (B, D), without normalising (`emb_pooler` is mean)."""
    return torch.stack([states[mask != 0].mean(dim=0) for states, mask in zip(hidden, attention_mask, strict=True)])


def mlm_logits(weights: Weights, config: Config, hidden: Tensor) -> Tensor:
    """Score every word at every position, (B, S, D) to (B, S, V), in the dtype of `hidden`.

    As in BERT: dense, GELU, norm, then the word embeddings as the last map, plus a bias. A file may repeat both as
    `cls.predictions.decoder.*`: then they must be equal. ValueError if not, KeyError without a head.
    """
    if config["hidden_act"] != "gelu":
        raise ValueError(f"hidden_act is {config['hidden_act']!r}, expected 'gelu'")
    ties = {"weight": "embeddings.word_embeddings.weight", "bias": "cls.predictions.bias"}
    for end, tied in ties.items():
        repeated = weights.get(f"cls.predictions.decoder.{end}")
        if repeated is not None and not torch.equal(repeated, weights[tied]):
            raise ValueError(f"cls.predictions.decoder.{end} differs from {tied}, expected a copy of it")
    w = {name: weight.to(hidden.dtype) for name, weight in weights.items()}
    head = "cls.predictions.transform"
    x = gelu(linear(hidden, w[f"{head}.dense.weight"], w[f"{head}.dense.bias"]))
    x = layer_norm(x, w[f"{head}.LayerNorm.weight"], w[f"{head}.LayerNorm.bias"], config["layer_norm_eps"])
    return linear(x, w["embeddings.word_embeddings.weight"], w["cls.predictions.bias"])
