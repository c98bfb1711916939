"""The encoder of jina-data as an embedder: the models that it trains and saves, and the published JinaBERTs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import BoolArray, HalfArray, unit_half
from jina_data.embed.batches import fixed_batches
from jina_data.embed.model_files import combined_sha256, model_files, model_folder
from jina_data.embed.prompts import ModelPrompts

if TYPE_CHECKING:
    from jina_data.encoder.encoder import Encoder

CPU_TOKENS, CUDA_TOKENS = 2**11, 2**15
"""Tokens in a batch."""

PADDED_TOKENS = 512
"""Longer texts are encoded one by one, each at its own length."""


class EncoderEmbedder:
    """Embeds texts with the encoder of jina-data: full precision on a CPU, bfloat16 on a GPU.

    Short texts are padded to one of a few lengths, each with batches of one size, and long texts are encoded alone. So
    the vector of a text does not depend on the other texts.
    """

    def __init__(self, encoder: Encoder, name: str, sha256: str) -> None:
        self.name = name
        self.encoder = encoder
        precision = str(encoder.dtype).removeprefix("torch.")
        self.model_id = f"encoder-{encoder.device.type}-{precision}-{sha256[:32]}"
        self.dim = encoder.dim
        self.max_tokens: int | None = encoder.max_length

    @property
    def prompts(self) -> ModelPrompts:
        """The prompts of the model; `encode` uses none of them."""
        return ModelPrompts(self.encoder.prompts, self.encoder.default_prompt_name)

    @classmethod
    def load(cls, name: str, device: str) -> Self:
        """Load a model from a folder or from the Hub.

        Raises:
            ModelError: the model cannot be loaded.
        """
        from jina_data.encoder.encoder import Encoder

        folder = model_folder(name, "embedder")
        return cls(Encoder.from_pretrained(folder, device=device), name, combined_sha256(model_files(folder)))

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long for the model."""
        import torch

        from jina_data.encoder.batches import tokenize

        encoder = self.encoder
        tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
        if cut is not None:
            cut[:] = tokens.was_cut
        out = np.empty((len(texts), self.dim), np.float32)
        is_short = tokens.lengths <= min(PADDED_TOKENS, encoder.max_length)
        budget = CPU_TOKENS if encoder.device.type == "cpu" else CUDA_TOKENS
        shorts = np.flatnonzero(is_short)
        with torch.inference_mode():
            for batch, length, n_rows in fixed_batches(
                tokens.lengths[shorts].tolist(), max_length=PADDED_TOKENS, token_budget=budget
            ):
                positions = shorts[batch]
                rows = [*positions, *[positions[-1]] * (n_rows - len(positions))]
                out[positions] = self._vectors([tokens.ids[row] for row in rows], length)[: len(positions)]
            for position in np.flatnonzero(~is_short).tolist():
                out[position] = self._vectors([tokens.ids[position]], None)[0]
        return unit_half(out)

    def _vectors(self, ids: Sequence[npt.NDArray[np.int32]], length: int | None) -> npt.NDArray[np.float32]:
        """Return the vectors of texts, (N, D), padded to `length`; None: all have the same length already."""
        from jina_data.encoder.batches import padded
        from jina_data.encoder.jina_bert import JinaBert
        from jina_data.encoder.pooling import mean_pool

        encoder = self.encoder
        input_ids, mask = padded(ids, encoder.pad_id, length)
        # The shape of packed tokens depends on the other texts of the batch; the shape of a padded batch does not.
        options: dict[str, Any] = {"path": "dense"} if length and isinstance(encoder.model, JinaBert) else {}
        hidden = encoder.model(input_ids.to(encoder.device), mask, **options)
        vectors: npt.NDArray[np.float32] = mean_pool(hidden, mask).cpu().numpy()
        return vectors


def is_encoder_folder(folder: Path) -> bool:
    """Return whether a folder holds a model for this encoder: a JinaBERT, or any model that jina-data saved."""
    config, saved = _json(folder / "config.json"), _json(folder / "config_sentence_transformers.json")
    return config.get("position_embedding_type") == "alibi" or "jina-data" in saved.get("__version__", {})


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
