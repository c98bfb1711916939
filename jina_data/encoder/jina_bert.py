"""JinaBERT: a BERT that reads 8192 tokens. Bidirectional ALiBi for positions, a gated FFN, layer norm behind each part.

The model of jina-embeddings-v2 (Günther et al., arXiv 2310.19923). It is a BERT with two changes: attention knows
distances in place of positions, and the FFN has a gate. One layer, where a head has the slope m, and two tokens the
distance |i - j|:

    x = LayerNorm(x + dense(softmax(q k / sqrt(E) - m |i - j|) v))    Attention, with ALiBi in both directions
    x = LayerNorm(x + wo(gelu(gate) * values))                        GatedMlp: gate, values = halves of gated_layers(x)

The file goes from small to large: the configuration, the parts of a layer, the layer, the model, the head of
pre-training. Modules carry the names of the published weight files, so that a state dict of one is a state dict of the
other. How attention is computed, and what becomes of padding, is in attention.py; no module here has to know.

Shapes: B sequences, S tokens of the longest, D hidden size, H heads, E = D / H, F inner size of the FFN, V words of the
vocabulary. N stands for the tokens in the layout of the batch: B x S padded, or all of them packed (see attention.py).
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

from .attention import Layout, Path, lay_out
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
"""The sizes of the paper; and tiny, which trains on a CPU in minutes."""


@dataclass(frozen=True, kw_only=True)
class JinaBertConfig:
    """What a JinaBERT is built from, under the names of the published config.json."""

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
        """Refuse what no model can be built from."""
        for name in _COUNTS:
            check_whole(name, getattr(self, name))
        check_whole("pad_token_id", self.pad_token_id, least=0, most=self.vocab_size - 1)
        check_number("hidden_dropout_prob", self.hidden_dropout_prob, most=1.0)
        check_number("layer_norm_eps", self.layer_norm_eps)
        check_number("initializer_range", self.initializer_range)
        check_choice("feed_forward_type", self.feed_forward_type, list(_GATES))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} cannot be shared out to {self.num_attention_heads} heads; "
                "expected num_attention_heads to divide hidden_size"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return the configuration of a size, tiny or one of the paper: small, base or large, with changes.

        Raises:
            ValueError: there is no such size.
        """
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r} of JinaBERT; expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take over a config.json; keys that do not change the numbers are passed over.

        Raises:
            ValueError: it is the configuration of another model.
        """
        for key, expected in _FIXED.items():
            if (value := values.get(key, expected)) != expected:
                raise ValueError(f"{key} is {value!r}; JinaBERT has {expected!r}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes."""
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
    """Token vectors plus segment vectors, normalised; nothing about positions."""

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
    """Queries, keys and values; what each token takes from the others of its sequence."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return what each token takes from those of its sequence, (N, D): the heads side by side."""
        projections = (self.query(x_ND), self.key(x_ND), self.value(x_ND))
        q_NHE, k_NHE, v_NHE = (one.view(*x_ND.shape[:-1], self.n_heads, -1) for one in projections)
        return layout.attend(q_NHE, k_NHE, v_NHE).flatten(-2)


class AttentionOutput(nn.Module):
    """A projection, dropout, the residual, then the layer norm."""

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
    """Self-attention with its output; the published weights call the first part `self`."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AttentionOutput(config)

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.output(self.self(x_ND, layout), x_ND)
        return out


class GatedMlp(nn.Module):
    """The FFN with a gate: one half of the inner layer goes through the activation and multiplies the other.

    GEGLU or ReGLU of Shazeer, arXiv 2002.05202, after the activation's name.
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
        inner_NF = self.dropout(gated(self.gated_layers(x_ND), self.gate))
        out: Tensor = self.layernorm(self.wo(inner_NF) + x_ND)
        return out


def gated(halves_N2F: Tensor, gate: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the first half through the gate, times the second, (N, F); on a GPU in one kernel."""
    if halves_N2F.is_cuda and not torch.compiler.is_compiling() and _has_triton():
        return _gated_in_one()(halves_N2F, gate)
    return _gated(halves_N2F, gate)


def _gated(halves_N2F: Tensor, gate: Callable[[Tensor], Tensor]) -> Tensor:
    gate_NF, values_NF = halves_N2F.chunk(2, dim=-1)  # the gate is the first half
    return gate(gate_NF) * values_NF


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def _gated_in_one() -> Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]:
    return torch.compile(_gated, dynamic=True)


class Layer(nn.Module):
    """Attention, then the gated FFN."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMlp(config)

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.mlp(self.attention(x_ND, layout))
        return out


class Layers(nn.Module):
    """The layers, one on the other; with `checkpoints`, training recomputes what is inside them to save memory."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.checkpoints = False

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return (N, D)."""
        for layer in self.layer:
            if self.checkpoints and self.training:
                x_ND = checkpoint(layer, x_ND, layout, use_reentrant=False)
            else:
                x_ND = layer(x_ND, layout)
        return x_ND


class Pooler(nn.Module):
    """The pooler of BERT. The published weights hold it; mean pooling does not use it."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        """Return the first token's vector, transformed, (B, D)."""
        return torch.tanh(self.dense(hidden_BSD[:, 0]))


class JinaBert(nn.Module):
    """JinaBERT without a head: tokens in, their vectors out."""

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
        path: Path = "auto",
    ) -> Tensor:
        """Return the vector of each token, (B, S, D); those of padding mean nothing.

        Args:
            input_ids: tokens, (B, S); texts shorter than S are filled up with anything.
            attention_mask: 1 for tokens, 0 for padding, (B, S); by default there is none. It may lie on the CPU.
            token_type_ids: segments, (B, S); by default all tokens are in the first.
            path: how attention is computed, see attention.py.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, device="cpu")
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        n_heads = self.config.num_attention_heads
        layout = lay_out(
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
    """The step of the MLM head in front of the vocabulary."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return (N, D)."""
        out: Tensor = self.LayerNorm(F.gelu(self.dense(x_ND)))
        return out


class MlmPredictions(nn.Module):
    """Scores for each word of the vocabulary; its matrix is that of the word embeddings."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.transform = MlmTransform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x_ND: Tensor, words_VD: Tensor) -> Tensor:
        """Return logits, (N, V)."""
        return F.linear(self.transform(x_ND), words_VD, self.bias)


class MlmHead(nn.Module):
    """The MLM head, under the name that it has in the published weights."""

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__()
        self.predictions = MlmPredictions(config)


class JinaBertForMaskedLM(nn.Module):
    """JinaBERT with the head for masked words, as in pre-training."""

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
        """Return the logits for some tokens' vectors, (N, V): of the masked ones alone, training saves most of it."""
        logits: Tensor = self.cls.predictions(x_ND, self.bert.embeddings.word_embeddings.weight)
        return logits


def init_weights(module: nn.Module, standard_deviation: float) -> None:
    """Draw the weights of a module as BERT does: normal, biases zero, and the vector of padding zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=standard_deviation)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
