"""An embedder that reads less of a text than it could."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from jina_data.embed.base import BoolArray, Embedder, HalfArray
from jina_data.errors import UsageError


def limited(embedder: Embedder, max_tokens: int) -> Embedder:
    """Return an embedder like another that reads at most so many tokens of a text, special ones counted.

    Raises:
        UsageError: this embedder has no tokenizer to count with, or takes fewer tokens than that.
    """
    from jina_data.embed.static import StaticEmbedder

    if embedder.max_tokens is not None and max_tokens > embedder.max_tokens:
        raise UsageError(f"{embedder.name!r} reads {embedder.max_tokens} tokens at most; {max_tokens} are too many")
    if isinstance(embedder, StaticEmbedder):
        return _CutTexts(embedder, max_tokens)
    limited: Any = copy.copy(embedder)
    if hasattr(limited, "encoder"):
        limited.encoder = copy.copy(limited.encoder)
        limited.encoder.max_length = max_tokens
    elif getattr(limited, "max_length", 0):
        limited.max_length = max_tokens
    else:
        raise UsageError(f"{embedder.name!r} has no tokenizer that counts tokens, so its texts cannot be cut")
    limited.max_tokens = max_tokens
    limited.model_id = f"{embedder.model_id}-{max_tokens}"
    found: Embedder = limited
    return found


class _CutTexts:
    """The static embedder on the beginnings of texts."""

    def __init__(self, embedder: Any, max_tokens: int) -> None:
        self.name, self.dim = embedder.name, embedder.dim
        self.model_id = f"{embedder.model_id}-{max_tokens}"
        self.max_tokens: int | None = max_tokens
        self._embedder = embedder

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); tell in `cut` (N,) which were too long."""
        begun = self._embedder.beginnings(texts, self.max_tokens)
        if cut is not None:
            cut[:] = np.array([len(short) < len(text.lower()) for short, text in zip(begun, texts, strict=True)], bool)
        found: HalfArray = self._embedder.encode(begun)
        return found
