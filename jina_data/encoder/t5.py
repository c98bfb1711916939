"""The T5 encoder: relative position buckets, RMS norm before each part, a plain or a gated FFN.

The model of jina-embeddings-v1 (Günther et al., arXiv 2307.11224), from Raffel et al., arXiv 1910.10683. Its modules
have the names of the published t5-* and flan-t5-* weight files.

Shapes: B sequences, S tokens of the longest, D hidden size, H heads, E dimensions of a head, F inner size of the FFN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jina_data.encoder.checks import check_choice, check_number, check_whole

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_layers": 6, "d_model": 512, "num_heads": 8, "d_ff": 2048},
    "base": {"num_layers": 12, "d_model": 768, "num_heads": 12, "d_ff": 3072},
    "large": {"num_layers": 24, "d_model": 1024, "num_heads": 16, "d_ff": 4096},
}
"""The sizes of jina-embeddings-v1: those of t5-small, t5-base and t5-large."""


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The configuration of a T5 encoder, with the keys of the published config.json."""

    vocab_size: int = 32_128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    feed_forward_proj: Literal["relu", "gated-gelu"] = "relu"
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    pad_token_id: int = 0
    eos_token_id: int = 1

    def __post_init__(self) -> None:
        """Check that a model can be built from the values."""
        for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"):
            check_whole(name, getattr(self, name))
        check_whole("relative_attention_num_buckets", self.relative_attention_num_buckets, minimum=4)
        n_exact = self.relative_attention_num_buckets // 4
        check_whole("relative_attention_max_distance", self.relative_attention_max_distance, minimum=n_exact + 1)
        for name in ("pad_token_id", "eos_token_id"):
            check_whole(name, getattr(self, name), minimum=0, maximum=self.vocab_size - 1)
        check_number("dropout_rate", self.dropout_rate, maximum=1.0)
        check_number("layer_norm_epsilon", self.layer_norm_epsilon)
        check_number("initializer_factor", self.initializer_factor)
        check_choice("feed_forward_proj", self.feed_forward_proj, list(_ACTIVATIONS))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return the configuration of a preset (small, base or large) with changes.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r} of T5; expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create a configuration from a config.json; keys that do not change the results of the encoder are ignored."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Return the values for `from_dict`."""
        return asdict(self)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gated-gelu": partial(F.gelu, approximate="tanh"),
}


class RmsNorm(nn.Module):
    """RMS norm: scale vectors by their root mean square, without centering and without bias."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Return (B, S, D); the mean square is computed in full precision."""
        mean_square_BS1 = x_BSD.float().pow(2).mean(-1, keepdim=True)
        return self.weight * (x_BSD * torch.rsqrt(mean_square_BS1 + self.epsilon)).to(self.weight.dtype)


class PlainFfn(nn.Module):
    """The FFN of T5 1.0: up projection, activation, down projection."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.activation = _ACTIVATIONS[config.feed_forward_proj]

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Return (B, S, D)."""
        out: Tensor = self.wo(self.dropout(self.activation(self.wi(x_BSD))))
        return out


class GatedFfn(nn.Module):
    """The gated FFN of T5 1.1 and flan-t5: the activation of one projection is multiplied with the other."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.activation = _ACTIVATIONS[config.feed_forward_proj]

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Return (B, S, D)."""
        out: Tensor = self.wo(self.dropout(self.activation(self.wi_0(x_BSD)) * self.wi_1(x_BSD)))
        return out


class FfnPart(nn.Module):
    """Norm, FFN, dropout, residual."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        is_gated = config.feed_forward_proj.startswith("gated-")
        self.DenseReluDense = GatedFfn(config) if is_gated else PlainFfn(config)
        self.layer_norm = RmsNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Return (B, S, D)."""
        out: Tensor = x_BSD + self.dropout(self.DenseReluDense(self.layer_norm(x_BSD)))
        return out


class T5SelfAttention(nn.Module):
    """Attention without scaling. The first layer also holds the relative position bias that all layers share."""

    def __init__(self, config: T5Config, *, has_bias: bool) -> None:
        super().__init__()
        self.config = config
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def bias(self, mask_BS: Tensor) -> Tensor:
        """Return the bias of all pairs of tokens, including the padding mask, (B, H, S, S)."""
        config = self.config
        position_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
        bucket_SS = relative_buckets(
            position_S[None, :] - position_S[:, None],
            n_buckets=config.relative_attention_num_buckets,
            max_distance=config.relative_attention_max_distance,
        )
        bias_HSS: Tensor = self.relative_attention_bias(bucket_SS).permute(2, 0, 1)
        is_padding_BS = ~mask_BS.bool()
        return bias_HSS[None].masked_fill(is_padding_BS[:, None, None, :], torch.finfo(bias_HSS.dtype).min)

    def forward(self, x_BSD: Tensor, bias_BHSS: Tensor) -> Tensor:
        """Return (B, S, D)."""
        projections = (self.q(x_BSD), self.k(x_BSD), self.v(x_BSD))
        shape = (*x_BSD.shape[:2], self.config.num_heads, self.config.d_kv)
        q_BHSE, k_BHSE, v_BHSE = (y_BSD.view(shape).transpose(1, 2) for y_BSD in projections)
        out_BHSE = F.scaled_dot_product_attention(q_BHSE, k_BHSE, v_BHSE, attn_mask=bias_BHSS, scale=1.0)
        out: Tensor = self.o(out_BHSE.transpose(1, 2).flatten(-2))
        return out


def relative_buckets(distance: Tensor, *, n_buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of each distance from a query to a key (positive: the key is after the query).

    Half of the buckets are for earlier keys, half for later keys. In each half, the first n_exact buckets hold one
    distance each, and the others grow logarithmically up to `max_distance`; all greater distances share the last one.
    """
    per_side = n_buckets // 2
    n_exact = per_side // 2
    size = distance.abs()
    scale = (per_side - n_exact) / math.log(max_distance / n_exact)
    log_bucket = n_exact + (torch.log(size.float().clamp(min=1) / n_exact) * scale).long()
    bucket = torch.where(size < n_exact, size, log_bucket.clamp(max=per_side - 1))
    return bucket + (distance > 0).long() * per_side


class AttentionPart(nn.Module):
    """Norm, attention, dropout, residual."""

    def __init__(self, config: T5Config, *, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = T5SelfAttention(config, has_bias=has_bias)
        self.layer_norm = RmsNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x_BSD: Tensor, bias_BHSS: Tensor) -> Tensor:
        """Return (B, S, D)."""
        out: Tensor = x_BSD + self.dropout(self.SelfAttention(self.layer_norm(x_BSD), bias_BHSS))
        return out


class Block(nn.Module):
    """Attention, then the FFN."""

    def __init__(self, config: T5Config, *, has_bias: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([AttentionPart(config, has_bias=has_bias), FfnPart(config)])

    def forward(self, x_BSD: Tensor, bias_BHSS: Tensor) -> Tensor:
        """Return (B, S, D)."""
        attention, ffn = self.layer
        out: Tensor = ffn(attention(x_BSD, bias_BHSS))
        return out


class Stack(nn.Module):
    """The blocks and a final norm; with `checkpoints`, training recomputes the activations of blocks to save memory."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(config, has_bias=number == 0) for number in range(config.num_layers))
        self.final_layer_norm = RmsNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.checkpoints = False

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Return (B, S, D)."""
        x_BSD = self.dropout(x_BSD)
        first: T5SelfAttention = self.get_submodule("block.0.layer.0.SelfAttention")  # type: ignore[assignment]
        bias_BHSS = first.bias(mask_BS).to(x_BSD.dtype)
        for block in self.block:
            if self.checkpoints and self.training:
                x_BSD = checkpoint(block, x_BSD, bias_BHSS, use_reentrant=False)
            else:
                x_BSD = block(x_BSD, bias_BHSS)
        out: Tensor = self.dropout(self.final_layer_norm(x_BSD))
        return out


class T5Encoder(nn.Module):
    """The encoder of T5: from tokens to their vectors."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config)
        _init_weights(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the vector of each token, (B, S, D); vectors of padding are undefined.

        Args:
            input_ids: tokens, (B, S).
            attention_mask: 1 for tokens, 0 for padding, (B, S); by default no padding. It may be on the CPU.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        out: Tensor = self.encoder(self.shared(input_ids), attention_mask.to(input_ids.device))
        return out


def _init_weights(model: T5Encoder) -> None:
    """Initialize weights as T5 does: the small queries make up for the missing scaling of attention."""
    config, factor = model.config, model.config.initializer_factor
    inner = config.num_heads * config.d_kv
    deviations = {
        "q": (config.d_model * config.d_kv) ** -0.5,
        **dict.fromkeys(("k", "v", "wi", "wi_0", "wi_1", "relative_attention_bias"), config.d_model**-0.5),
        "o": inner**-0.5,
        "wo": config.d_ff**-0.5,
        "shared": 1.0,
    }
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=factor * deviations[name.rpartition(".")[2]])
