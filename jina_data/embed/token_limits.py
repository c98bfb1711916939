"""Finds the maximum number of tokens that a model of sentence-transformers can read, special tokens included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_LIMIT = 2**31 - 1
"""The limit of a model without one; tokenizers report other large numbers, which their own code cannot read."""

_LARGE = 10**9


def max_tokens_of(model: Any) -> int:
    """Return the token limit of a model of sentence-transformers that starts with a transformer; else NO_LIMIT.

    It is the lowest of the limits of the folder, the tokenizer and the table of positions.
    """
    limits = [model.max_seq_length, getattr(model.tokenizer, "model_max_length", None), _position_limit(model)]
    return min((int(limit) for limit in limits if limit and 0 < limit < _LARGE), default=NO_LIMIT)


def _position_limit(model: Any) -> int | None:
    """Return the number of tokens for which a transformer has positions; None if it has no table of positions.

    RoBERTa and similar models count positions from the id of the padding token plus 1, and BART and OPT from 2: a
    table of 514 positions is for 512 tokens, though the config says 514.
    """
    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        return None
    # MPT adds a bias for positions up to this number, and has no table.
    limits = [
        limit for name in ("max_seq_len", "max_sequence_length") if (limit := getattr(transformer.config, name, 0))
    ]
    for module in transformer.modules():
        table: Any = getattr(module, "position_embeddings", None)
        if hasattr(table, "weight"):
            padding = getattr(module, "padding_idx", None)
            limits.append(len(table.weight) - (padding + 1 if isinstance(padding, int) else 0))
        elif isinstance(getattr(module, "offset", None), int) and hasattr(module, "num_embeddings"):
            limits.append(module.num_embeddings - module.offset)
    return min(limits, default=None)


def max_tokens_of_files(config: Mapping[str, Any], tokenizer: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """Return the token limit of a model from its files, without loading it; else NO_LIMIT.

    Args:
        config: config.json of the transformer.
        tokenizer: tokenizer_config.json.
        settings: sentence_bert_config.json; its limit replaces that of the tokenizer, as in sentence-transformers.
    """
    positions = config.get("max_position_embeddings")
    # Without config.json's entry, these models have 1 as the id of the padding token; MPNet always has it.
    padding = 1 if config.get("model_type") == "mpnet" else config.get("pad_token_id", 1)
    if isinstance(positions, int) and config.get("model_type") in _POSITIONS_AFTER_PADDING and isinstance(padding, int):
        positions -= padding + 1
    own = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    limits = [own, positions, *(config.get(name) for name in ("max_seq_len", "max_sequence_length"))]
    return min(
        (int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _LARGE), default=NO_LIMIT
    )


_POSITIONS_AFTER_PADDING = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "ibert", "longformer", "xmod"),
    *("data2vec-text", "roberta-prelayernorm", "esm", "luke", "mluke", "layoutlmv3", "markuplm"),
)
"""Models whose positions begin after the id of the padding token."""
