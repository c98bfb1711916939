"""Packs texts for a transformer of sentence-transformers, to train on a CPU without padding.

Except for attention, a BERT processes each token separately, so the texts of a micro-batch can be one row of tokens.
Attention processes the texts of one length together, without a mask. sentence-transformers does the same on a GPU with
FlashAttention.

Shapes: T tokens of all texts, B texts, S tokens of the longest, G texts of one length, H heads, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from jina_data.encoder.batches import Ids

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ATTENTION = "jina_data_packed"
"""The name under which the attention function is registered in transformers."""
MODEL_TYPES = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Transformers in which only full attention combines tokens, and that accept position ids."""
_KEY = "packed"


@dataclass(frozen=True)
class PackedBatch:
    """The lengths of the texts in a row of tokens."""

    lengths: tuple[int, ...]
    """The length of each text, (B,)."""

    @cached_property  # used in every layer
    def groups(self) -> list[tuple[int, int]]:
        """The runs of consecutive texts of one length: number of texts, and their length."""
        return [(len(list(texts)), length) for length, texts in groupby(self.lengths)]


def can_pack(model: SentenceTransformer) -> bool:
    """Return whether a model supports packed texts."""
    first: Any = model[0]
    transformer = first.auto_model
    config = transformer.config
    return (
        config.model_type in MODEL_TYPES
        and getattr(transformer, "_supports_attention_backend", False)
        and config._attn_implementation == "sdpa"
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and not getattr(config, "is_decoder", False)
        and hasattr(first, "model_forward_params")
        and len(model) > 1
        and type(model[1]).__name__ == "Pooling"
    )


def enable_packing(model: SentenceTransformer) -> None:
    """Set the attention function of a model to `packed_attention`; for padded texts it still uses SDPA."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    first: Any = model[0]
    first.auto_model.set_attn_implementation(ATTENTION)
    if first.model_forward_params is not None:
        first.model_forward_params = first.model_forward_params | {_KEY, "position_ids"}


def embed_packed(model: SentenceTransformer, ids: Ids) -> Tensor:
    """Return the vectors of texts, (B, D). It is fastest if texts of one length are consecutive."""
    lengths = tuple(len(tokens) for tokens in ids)
    flat = np.concatenate(ids).astype(np.int64)
    positions = np.concatenate([np.arange(length) for length in lengths]) + _first_position(model[0])
    features: dict[str, Any] = {
        "input_ids": torch.from_numpy(flat)[None],
        "position_ids": torch.from_numpy(positions)[None],
        _KEY: PackedBatch(lengths),
    }
    transformer, *others = model
    hidden_TD = transformer(features)["token_embeddings"][0]
    features = {
        "token_embeddings": pad_sequence(hidden_TD.split(lengths), batch_first=True),
        "attention_mask": torch.arange(max(lengths)) < torch.tensor(lengths)[:, None],
    }
    for module in others:
        features = module(features)
    vectors_BD: Tensor = features["sentence_embedding"]
    return vectors_BD


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed: PackedBatch | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within each text of a packed batch; an attention function of transformers.

    Args:
        module: the attention layer.
        query: (1, H, T, D), or (B, H, S, D) without `packed`.
        key: the same shape.
        value: the same shape.
        attention_mask: the mask of padding, without `packed`.
        packed: the lengths of the texts.
        options: dropout and scaling.

    Returns:
        The attention output, (1, T, H, D), and no weights.
    """
    if packed is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        padded: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return padded
    groups = packed.groups
    sizes = [n_texts * length for n_texts, length in groups]
    # One split for all groups: each slice would create a gradient of the size of all tokens.
    parts = zip(groups, *(torch.split(x_1HTD[0], sizes, dim=1) for x_1HTD in (query, key, value)), strict=True)
    out_THD = [
        _attend(q_HTD, k_HTD, v_HTD, n_texts, dropout=options["dropout"], scaling=options.get("scaling"))
        for (n_texts, _), q_HTD, k_HTD, v_HTD in parts
    ]
    return torch.cat(out_THD)[None], None


def _attend(
    q_HTD: Tensor, k_HTD: Tensor, v_HTD: Tensor, n_texts: int, *, dropout: float, scaling: float | None
) -> Tensor:
    """Attend within texts of one length; returns (T, H, D)."""
    q_GHSD, k_GHSD, v_GHSD = (
        torch.unflatten(x_HTD, 1, (n_texts, -1)).transpose(0, 1) for x_HTD in (q_HTD, k_HTD, v_HTD)
    )
    out_GHSD = scaled_dot_product_attention(q_GHSD, k_GHSD, v_GHSD, dropout_p=dropout, scale=scaling)
    return out_GHSD.transpose(1, 2).flatten(0, 1)


def _first_position(transformer: Any) -> int:
    """Return the position id of the first token: in RoBERTa and similar models the padding id plus 1, else 0."""
    for module in transformer.auto_model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            return 0 if table.padding_idx is None else table.padding_idx + 1
    return 0
