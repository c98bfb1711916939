"""Models of sentence-transformers as embedders: a transformer with pooling, in batches of fixed shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import BoolArray, HalfArray, unit_half
from jina_data.embed.batches import fixed_batches
from jina_data.embed.model_files import (
    combined_sha256,
    model_files,
    model_folder,
    no_progress_bars,
    padded,
    token_limit,
    truncated_mask,
)
from jina_data.errors import ModelError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CPU_TOKENS, CUDA_TOKENS = 2**11, 2**16
"""Tokens in a batch."""

_GROUP_TEXTS = 64


class TransformerEmbedder:
    """Embeds texts with a sentence-transformers model: full precision on a CPU, half on a GPU.

    Texts are padded to one of a few lengths, and each length has batches of one size, filled up with repeats. So the
    vector of a text does not depend on the other texts.
    """

    def __init__(self, model: SentenceTransformer, name: str, *, device: str, sha256: str) -> None:
        self.name = name
        self.device = device
        precision = "fp16" if device == "cuda" else "fp32"
        self.model_id = f"sentence-transformers-{device}-{precision}-{sha256[:32]}"
        self.dim = int(model.get_embedding_dimension() or 0)
        self.max_length = _max_length(model)
        self.max_tokens = token_limit(self.max_length)
        self._model = model

    @classmethod
    def load(cls, name: str, device: str) -> Self:
        """Load a model from a folder, or by its name on the Hugging Face Hub.

        Raises:
            ModelError: the model cannot be found or loaded.
        """
        from sentence_transformers import SentenceTransformer

        folder = model_folder(name, "embedder")
        try:
            with no_progress_bars():
                model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except Exception as error:
            raise ModelError(f"embedder {name!r} cannot be loaded from {folder}: {first_line(error)}") from error
        model.eval()
        return cls(model, name, device=device, sha256=combined_sha256(model_files(folder)))

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long for the model."""
        import torch

        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self.device == "cuda"):
            vectors = self._encode_batches(texts, cut) if self.max_length else self._encode_groups(texts)
        return unit_half(vectors)

    def _encode_batches(self, texts: Sequence[str], cut: BoolArray | None) -> npt.NDArray[np.float32]:
        out = np.empty((len(texts), self.dim), np.float32)
        if not len(texts):
            return out
        tokens = self._model.tokenizer(list(texts), truncation=True, max_length=self.max_length)
        if cut is not None:
            cut[:] = truncated_mask(tokens)
        tokens = {key: tokens[key] for key in tokens}
        lengths = [len(ids) for ids in tokens["input_ids"]]
        budget = CUDA_TOKENS if self.device == "cuda" else CPU_TOKENS
        for positions, length, n_rows in fixed_batches(lengths, max_length=self.max_length, token_budget=budget):
            features = padded(
                self._model.tokenizer, tokens, positions, length=length, n_rows=n_rows, device=self.device
            )
            outputs = self._model(features)
            out[positions] = outputs["sentence_embedding"].float().cpu().numpy()[: len(positions)]
        return out

    def _encode_groups(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed in groups of one size, with a model that does not start with a tokenizer and a transformer."""
        out = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _GROUP_TEXTS):
            group = list(texts[start : start + _GROUP_TEXTS])
            filled = [*group, *[group[-1]] * (_GROUP_TEXTS - len(group))]
            vectors = self._model.encode(filled, batch_size=_GROUP_TEXTS, show_progress_bar=False)
            out[start : start + len(group)] = np.asarray(vectors, np.float32)[: len(group)]
        return out


def _max_length(model: SentenceTransformer) -> int:
    """Return the token limit of a model; 0 if it does not start with a transformer and a fast tokenizer."""
    if not hasattr(model[0], "auto_model") or not getattr(model.tokenizer, "is_fast", False):
        return 0
    limits = [model.max_seq_length, model.tokenizer.model_max_length]
    return min(int(limit) for limit in limits if limit)
