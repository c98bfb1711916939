"""Texts end to end: a transformer of sentence-transformers trained on a CPU without a single token of padding.

All of a BERT but attention works token by token, so the texts of a micro-batch can be one row of tokens. Attention sees
those of one length together, without a mask. sentence-transformers does the same on a GPU with FlashAttention.

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
"""The name of our attention among those of transformers."""
MODEL_TYPES = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Transformers in which nothing but attention to all tokens joins them, and that take the places of tokens."""
_KEY = "packed"


@dataclass(frozen=True)
class Packed:
    """Where texts end in a row of tokens."""

    lengths: tuple[int, ...]
    """Of the texts, (B,)."""

    @cached_property  # every layer asks
    def groups(self) -> list[tuple[int, int]]:
        """Neighbours of one length: how many, and their length."""
        return [(len(list(texts)), length) for length, texts in groupby(self.lengths)]


def can_pack(model: SentenceTransformer) -> bool:
    """Whether a model can take texts end to end."""
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


def let_pack(model: SentenceTransformer) -> None:
    """Give a model our attention; without texts end to end it is that of PyTorch, as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    first: Any = model[0]
    first.auto_model.set_attn_implementation(ATTENTION)
    if first.model_forward_params is not None:
        first.model_forward_params = first.model_forward_params | {_KEY, "position_ids"}


def embed_packed(model: SentenceTransformer, ids: Ids) -> Tensor:
    """Return what the last module gives of some texts, (B, D): those of one length had better be neighbours."""
    lengths = tuple(len(one) for one in ids)
    flat = np.concatenate(ids).astype(np.int64)
    places = np.concatenate([np.arange(length) for length in lengths]) + _first_place(model[0])
    features: dict[str, Any] = {
        "input_ids": torch.from_numpy(flat)[None],
        "position_ids": torch.from_numpy(places)[None],
        _KEY: Packed(lengths),
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
    packed: Packed | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend text by text, where texts lie end to end; an attention function of transformers.

    Args:
        module: the layer that asks.
        query: (1, H, T, D), or (B, H, S, D) where `packed` is not given.
        key: the same.
        value: the same.
        attention_mask: for padding.
        packed: where the texts end.
        options: dropout and scaling.

    Returns:
        (1, T, H, D), and no weights.
    """
    if packed is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return found
    groups = packed.groups
    sizes = [n_texts * length for n_texts, length in groups]
    # One split for all groups: slices would each make a gradient as long as all tokens.
    parts = zip(groups, *(torch.split(one[0], sizes, dim=1) for one in (query, key, value)), strict=True)
    found_THD = [
        _attend(q_HTD, k_HTD, v_HTD, n_texts, dropout=options["dropout"], scaling=options.get("scaling"))
        for (n_texts, _), q_HTD, k_HTD, v_HTD in parts
    ]
    return torch.cat(found_THD)[None], None


def _attend(
    q_HTD: Tensor, k_HTD: Tensor, v_HTD: Tensor, n_texts: int, *, dropout: float, scaling: float | None
) -> Tensor:
    """Attend within texts of one length; returns (T, H, D)."""
    q_GHSD, k_GHSD, v_GHSD = (torch.unflatten(one, 1, (n_texts, -1)).transpose(0, 1) for one in (q_HTD, k_HTD, v_HTD))
    found_GHSD = scaled_dot_product_attention(q_GHSD, k_GHSD, v_GHSD, dropout_p=dropout, scale=scaling)
    return found_GHSD.transpose(1, 2).flatten(0, 1)


def _first_place(transformer: Any) -> int:
    """Return the place of the first token: RoBERTa and its like count from behind that of padding."""
    for module in transformer.auto_model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            return 0 if table.padding_idx is None else table.padding_idx + 1
    return 0
