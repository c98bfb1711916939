"""JinaBERT: a BERT for 8192 tokens, with bidirectional ALiBi, a gated FFN, and layer norm after each part.

The model of jina-embeddings-v2 (Günther et al., arXiv 2310.19923). It differs from BERT in two ways: attention uses
distances instead of position embeddings, and the FFN has a gate. One layer, for a head with slope m and tokens at
distance |i - j|:

    x = LayerNorm(x + dense(softmax(q k / sqrt(E) - m |i - j|) v))    Attention, with ALiBi in both directions
    x = LayerNorm(x + wo(gelu(gate) * values))                        GatedMlp: gate, values = halves of gated_layers(x)

The file defines the configuration, the parts of a layer, the layer, the model and the head of pre-training, in this
order. Modules have the names of the published weight files, so that state dicts are interchangeable. Attention and the
handling of padding are in attention.py; the modules here do not depend on them.

Shapes: B sequences, S tokens of the longest, D hidden size, H heads, E = D / H, F inner size of the FFN, V words of the
vocabulary. N stands for the tokens in the layout of the batch: B x S padded, or all tokens packed (see attention.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import AttentionPath, TokenLayout, choose_layout
from .checks import check_choice, check_number, check_whole

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    "small": {"num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048},
    "base": {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {
        **{"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
        "feed_forward_type": "reglu",
    },
}
"""The sizes of the paper, and tiny, which trains on a CPU in minutes."""


@dataclass(frozen=True, kw_only=True)
class JinaBertConfig:
    """The configuration of a JinaBERT, with the keys of the published config.json."""

    vocab_size: int = 30_528
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    feed_forward_type: Literal["geglu", "reglu"] = "geglu"
    type_vocab_size: int = 2
    max_position_embeddings: int = 8192
    hidden_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        """Check that a model can be built from the values."""
        for name in _COUNTS:
            check_whole(name, getattr(self, name))
        check_whole("pad_token_id", self.pad_token_id, minimum=0, maximum=self.vocab_size - 1)
        check_number("hidden_dropout_prob", self.hidden_dropout_prob, maximum=1.0)
        check_number("layer_norm_eps", self.layer_norm_eps)
        check_number("initializer_range", self.initializer_range)
        check_choice("feed_forward_type", self.feed_forward_type, list(_GATES))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} cannot be divided among {self.num_attention_heads} heads; "
                "expected num_attention_heads to divide hidden_size"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return the configuration of a preset (tiny, small, base or large) with changes.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r} of JinaBERT; expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create a configuration from a config.json; keys that do not change the results are ignored.

        Raises:
            ValueError: the values are of another model.
        """
        for key, expected in _FIXED.items():
            if (value := values.get(key, expected)) != expected:
                raise ValueError(f"{key} is {value!r}; JinaBERT has {expected!r}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Return the values for `from_dict`."""
        return {**asdict(self), **_FIXED}


_COUNTS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("type_vocab_size", "max_position_embeddings"),
)
_GATES: dict[str, Callable[[Tensor], Tensor]] = {"geglu": F.gelu, "reglu": F.relu}
_FIXED = {
    "position_embedding_type": "alibi",
    "emb_pooler": "mean",
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.0,
}


class Embeddings(nn.Module):
    """Token vectors plus segment vectors, normalized; there are no position embeddings."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids_N: Tensor, token_type_ids_N: Tensor) -> Tensor:
        """Return the vectors of tokens, (N, D)."""
        x_ND = self.word_embeddings(input_ids_N) + self.token_type_embeddings(token_type_ids_N)
        out: Tensor = self.dropout(self.LayerNorm(x_ND))
        return out


class SelfAttention(nn.Module):
    """Self-attention: queries, keys and values, attended in the layout of the batch."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_ND: Tensor, layout: TokenLayout) -> Tensor:
        """Return the attention output of each token, (N, D), with the heads concatenated."""
        projections = (self.query(x_ND), self.key(x_ND), self.value(x_ND))
        q_NHE, k_NHE, v_NHE = (y_ND.view(*x_ND.shape[:-1], self.n_heads, -1) for y_ND in projections)
        return layout.attend(q_NHE, k_NHE, v_NHE).flatten(-2)


class AttentionOutput(nn.Module):
    """Projection, dropout, residual, then layer norm."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, attended_ND: Tensor, x_ND: Tensor) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.LayerNorm(self.dropout(self.dense(attended_ND)) + x_ND)
        return out


class Attention(nn.Module):
    """Self-attention and its output projection; the published weights name the first part `self`."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AttentionOutput(config)

    def forward(self, x_ND: Tensor, layout: TokenLayout) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.output(self.self(x_ND, layout), x_ND)
        return out


class GatedMlp(nn.Module):
    """The gated FFN: the activation of one half of the inner layer is multiplied with the other half.

    GEGLU or ReGLU (Shazeer, arXiv 2002.05202), depending on the activation.
    """

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.gate = _GATES[config.feed_forward_type]

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return (N, D)."""
        inner_NF = self.dropout(gated_product(self.gated_layers(x_ND), self.gate))
        out: Tensor = self.layernorm(self.wo(inner_NF) + x_ND)
        return out


def gated_product(halves_N2F: Tensor, gate: Callable[[Tensor], Tensor]) -> Tensor:
    """Return gate(first half) * second half, (N, F); on a GPU in one fused kernel."""
    if halves_N2F.is_cuda and not torch.compiler.is_compiling() and _has_triton():
        return _fused_product()(halves_N2F, gate)
    return _product(halves_N2F, gate)


def _product(halves_N2F: Tensor, gate: Callable[[Tensor], Tensor]) -> Tensor:
    gate_NF, values_NF = halves_N2F.chunk(2, dim=-1)  # the gate is the first half
    return gate(gate_NF) * values_NF


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def _fused_product() -> Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]:
    return torch.compile(_product, dynamic=True)


class Layer(nn.Module):
    """Attention, then the gated FFN."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMlp(config)

    def forward(self, x_ND: Tensor, layout: TokenLayout) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.mlp(self.attention(x_ND, layout))
        return out


class Layers(nn.Module):
    """The stack of layers; with `checkpoints`, training recomputes their activations to save memory."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.checkpoints = False

    def forward(self, x_ND: Tensor, layout: TokenLayout) -> Tensor:
        """Return (N, D)."""
        for layer in self.layer:
            if self.checkpoints and self.training:
                x_ND = checkpoint(layer, x_ND, layout, use_reentrant=False)
            else:
                x_ND = layer(x_ND, layout)
        return x_ND


class Pooler(nn.Module):
    """The pooler of BERT. It is part of the published weights, but mean pooling does not use it."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        """Return the transformed vector of the first token, (B, D)."""
        return torch.tanh(self.dense(hidden_BSD[:, 0]))


class JinaBert(nn.Module):
    """JinaBERT without a head: from tokens to their vectors."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config)
        self.pooler = Pooler(config)
        self.apply(lambda module: init_weights(module, config.initializer_range))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        path: AttentionPath = "auto",
    ) -> Tensor:
        """Return the vector of each token, (B, S, D); vectors of padding are undefined.

        Args:
            input_ids: tokens, (B, S); the ids of padding do not matter.
            attention_mask: 1 for tokens, 0 for padding, (B, S); by default no padding. It may be on the CPU.
            token_type_ids: segments, (B, S); by default all tokens are in the first segment.
            path: the attention path, see attention.py.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, device="cpu")
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        n_heads = self.config.num_attention_heads
        layout = choose_layout(
            attention_mask,
            n_heads=n_heads,
            device=input_ids.device,
            path=path,
            head_dim=self.config.hidden_size // n_heads,
        )

        x_ND = self.embeddings(layout.pack(input_ids), layout.pack(token_type_ids))
        x_ND = self.encoder(x_ND, layout)
        return layout.unpack(x_ND)


class MlmTransform(nn.Module):
    """The transformation in the MLM head before the vocabulary projection."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.LayerNorm(F.gelu(self.dense(x_ND)))
        return out


class MlmPredictions(nn.Module):
    """Logits for each word of the vocabulary; the projection is tied to the word embeddings."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.transform = MlmTransform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x_ND: Tensor, words_VD: Tensor) -> Tensor:
        """Return logits, (N, V)."""
        return F.linear(self.transform(x_ND), words_VD, self.bias)


class MlmHead(nn.Module):
    """The MLM head, with the names of the published weights."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.predictions = MlmPredictions(config)


class JinaBertForMaskedLM(nn.Module):
    """JinaBERT with the MLM head, as in pre-training."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = JinaBert(config)
        self.cls = MlmHead(config)
        self.cls.apply(lambda module: init_weights(module, config.initializer_range))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor:
        """Return the logits of each token, (B, S, V); `options` are those of JinaBert."""
        return self.predict(self.bert(input_ids, attention_mask, **options))

    def predict(self, x_ND: Tensor) -> Tensor:
        """Return the logits for token vectors, (N, V). Training calls it for masked tokens only, to save work."""
        logits: Tensor = self.cls.predictions(x_ND, self.bert.embeddings.word_embeddings.weight)
        return logits


def init_weights(module: nn.Module, standard_deviation: float) -> None:
    """Initialize a module as BERT does: normal weights, zero biases, and a zero vector for padding."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=standard_deviation)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
