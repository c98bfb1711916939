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
from jina_data.embed.prompts import ModelPrompts, read_prompts
from jina_data.embed.token_limits import max_tokens_of
from jina_data.errors import ModelError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CPU_TOKENS, CUDA_TOKENS = 2**11, 2**16
"""Tokens in a batch."""

_GROUP_TEXTS = 64


class TransformerEmbedder:
    """Embeds texts with a sentence-transformers model: full precision on a CPU, half on a GPU.

    Texts are padded to one of a few lengths, and each length has batches of one size, filled up with repeats. So the
    vector of a text does not depend on the other texts. `encode` uses none of the prompts of the model.
    """

    def __init__(
        self, model: SentenceTransformer, name: str, *, device: str, sha256: str, prompts: ModelPrompts | None = None
    ) -> None:
        self.name = name
        self.device = device
        self.prompts = prompts or ModelPrompts()
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
        sha256 = combined_sha256(model_files(folder))
        return cls(model, name, device=device, sha256=sha256, prompts=read_prompts(folder))

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long for the model."""
        return self.encode_prompted(texts, "", cut=cut)

    def encode_prompted(self, texts: Sequence[str], prompt: str, *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts with a prompt before each, (N, D).

        If the pooling of the model has include_prompt=False, the tokens of the prompt are left out of the mean.
        """
        import torch

        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self.device == "cuda"):
            if self.max_length:
                vectors = self._encode_batches([prompt + text for text in texts], cut, self._prompt_length(prompt))
            else:
                vectors = self._encode_groups(texts, prompt)
        return unit_half(vectors)

    def _prompt_length(self, prompt: str) -> int | None:
        """Return the tokens at the start that the pooling leaves out, as sentence-transformers counts them."""
        if not prompt or all(getattr(module, "include_prompt", True) for module in self._model):
            return None
        ids = self._model.tokenizer([prompt], truncation=True, max_length=self.max_length)["input_ids"][0]
        return len(ids) - (bool(ids) and ids[-1] in self._model.tokenizer.all_special_ids)

    def _encode_batches(
        self, texts: Sequence[str], cut: BoolArray | None, prompt_length: int | None
    ) -> npt.NDArray[np.float32]:
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
            if prompt_length is not None:
                features["prompt_length"] = prompt_length
            outputs = self._model(features)
            out[positions] = outputs["sentence_embedding"].float().cpu().numpy()[: len(positions)]
        return out

    def _encode_groups(self, texts: Sequence[str], prompt: str) -> npt.NDArray[np.float32]:
        """Embed in groups of one size, with a model that does not start with a tokenizer and a transformer."""
        out = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _GROUP_TEXTS):
            group = list(texts[start : start + _GROUP_TEXTS])
            filled = [*group, *[group[-1]] * (_GROUP_TEXTS - len(group))]
            # An empty prompt keeps sentence-transformers from using the default prompt of the model.
            vectors = self._model.encode(filled, batch_size=_GROUP_TEXTS, show_progress_bar=False, prompt=prompt)
            out[start : start + len(group)] = np.asarray(vectors, np.float32)[: len(group)]
        return out


def _max_length(model: SentenceTransformer) -> int:
    """Return the token limit of a model; 0 if it does not start with a transformer and a fast tokenizer."""
    if not hasattr(model[0], "auto_model") or not getattr(model.tokenizer, "is_fast", False):
        return 0
    return max_tokens_of(model)
