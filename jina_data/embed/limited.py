"""Embedders with a lower token limit than the model has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from jina_data.embed.base import BoolArray, Embedder, HalfArray
from jina_data.embed.prompts import PromptedEmbedder
from jina_data.errors import UsageError


def limited(embedder: Embedder, max_tokens: int) -> Embedder:
    """Return a copy of an embedder that reads at most `max_tokens` tokens of a text, special tokens included.

    Raises:
        UsageError: the embedder has no tokenizer to count with, or its own limit is lower.
    """
    from jina_data.embed.static import StaticEmbedder

    if embedder.max_tokens is not None and max_tokens > embedder.max_tokens:
        raise UsageError(f"{embedder.name!r} reads at most {embedder.max_tokens} tokens; got {max_tokens}")
    if isinstance(embedder, PromptedEmbedder):
        return PromptedEmbedder(limited(embedder.embedder, max_tokens), embedder.prompt, prompts=embedder.prompts)
    if isinstance(embedder, StaticEmbedder):
        return _TruncatedStaticEmbedder(embedder, max_tokens)
    shorter: Any = copy.copy(embedder)
    if hasattr(shorter, "encoder"):
        shorter.encoder = copy.copy(shorter.encoder)
        shorter.encoder.max_length = max_tokens
    elif getattr(shorter, "max_length", 0):
        shorter.max_length = max_tokens
    else:
        raise UsageError(f"{embedder.name!r} has no tokenizer to count tokens with, so its texts cannot be truncated")
    shorter.max_tokens = max_tokens
    shorter.model_id = f"{embedder.model_id}-{max_tokens}"
    return cast("Embedder", shorter)


class _TruncatedStaticEmbedder:
    """The static embedder on the first tokens of each text."""

    def __init__(self, embedder: Any, max_tokens: int) -> None:
        self.name, self.dim = embedder.name, embedder.dim
        self.model_id = f"{embedder.model_id}-{max_tokens}"
        self.max_tokens: int | None = max_tokens
        self._embedder = embedder

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long."""
        heads = self._embedder.heads(texts, self.max_tokens)
        if cut is not None:
            cut[:] = np.array([len(head) < len(text.lower()) for head, text in zip(heads, texts, strict=True)], bool)
        vectors: HalfArray = self._embedder.encode(heads)
        return vectors
