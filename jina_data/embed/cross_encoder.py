"""Cross-encoders of sentence-transformers: models that read a query and a passage together and score the pair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import BoolArray
from jina_data.embed.batches import fixed_batches
from jina_data.embed.model_files import (
    combined_sha256,
    model_files,
    model_folder,
    no_progress_bars,
    padded,
    require_torch,
    token_limit,
    truncated_mask,
)
from jina_data.embed.token_limits import max_tokens_of
from jina_data.errors import ModelError, first_line

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

KIND = "cross-encoder"
"""How messages name such a model."""

CPU_TOKENS, CUDA_TOKENS = 2**12, 2**16
"""Tokens in a batch."""


class PairScorer:
    """Scores (query, passage) pairs with one cross-encoder; the same pair always gets the same bytes."""

    def __init__(self, model: CrossEncoder, name: str, *, device: str, sha256: str) -> None:
        self.model = model
        self.name = name
        self.device = device
        self.max_length = max_tokens_of(model)
        self.max_tokens = token_limit(self.max_length)
        self.sha256 = sha256
        self.prompt = str(model.prompts.get(model.default_prompt_name or "") or "")
        """The default prompt of the model, before each query."""

    @property
    def model_id(self) -> str:
        """The key of the scores in the cache; it changes with the model, the device and the limit."""
        return f"cross-encoder-{self.device}-{self.sha256[:24]}{'-prompt' if self.prompt else ''}"

    def score(
        self, queries: Sequence[str], passages: Sequence[str], *, cut: BoolArray | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logit of each of N pairs, (N,) float32. Pairs too long for the model are truncated.

        If `cut` (N,) is given, it is set to true for the truncated pairs.
        """
        return self.logits(queries, passages, cut=cut).reshape(len(queries))

    def logits(
        self, queries: Sequence[str], passages: Sequence[str], *, cut: BoolArray | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logits of each of N pairs for each of L labels, (N, L) float32; truncated as in `score`."""
        import torch

        tokens = self.model.tokenizer(
            [self.prompt + query for query in queries],
            list(passages),
            truncation=True,
            max_length=self.max_length,
            padding=False,
        )
        if cut is not None:
            cut[:] = truncated_mask(tokens)
        lengths = [len(ids) for ids in tokens["input_ids"]]
        n_labels = int(self.model.num_labels)
        out = np.empty((len(lengths), n_labels), np.float32)
        budget = CUDA_TOKENS if self.device == "cuda" else CPU_TOKENS
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self.device == "cuda"):
            for positions, length, n_rows in fixed_batches(lengths, max_length=self.max_length, token_budget=budget):
                features = padded(
                    self.model.tokenizer, tokens, positions, length=length, n_rows=n_rows, device=self.device
                )
                scores = self.model(features)["scores"].float().cpu().numpy().reshape(n_rows, n_labels)
                out[positions] = scores[: len(positions)]
        return out


def pair_scorer_sha256(name: str) -> str:
    """Return one sha256 of everything the scores of a cross-encoder depend on: weights, settings, tokenizer, limits.

    It is computed from the files of the model; the model is not loaded.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model.
    """
    require_torch(name, KIND)
    return combined_sha256(model_files(model_folder(name, KIND)))


def load_pair_scorer(name: str, device: str) -> PairScorer:
    """Load a cross-encoder from a folder or by its name on the Hub, once per process unless its files change.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model, or it is not a cross-encoder with one output.
    """
    scorer = load_cross_encoder(name, device)
    if scorer.model.num_labels != 1:
        raise ModelError(
            f"{KIND} {name!r} returns {scorer.model.num_labels} scores per pair; expected a model with one score"
        )
    return scorer


def load_cross_encoder(name: str, device: str) -> PairScorer:
    """Load a cross-encoder with any number of outputs, once per process unless its files change.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model.
    """
    return _load(name, device, pair_scorer_sha256(name))


@lru_cache(maxsize=2)
def _load(name: str, device: str, sha256: str) -> PairScorer:
    from sentence_transformers import CrossEncoder

    folder = model_folder(name, KIND)
    try:
        with no_progress_bars():
            model = CrossEncoder(str(folder), device=device, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"{KIND} {name!r} cannot be loaded from {folder}: {first_line(error)}. "
            "Name a model on the Hugging Face Hub, or the folder of a saved model"
        ) from error
    model.eval()
    return PairScorer(model, name, device=device, sha256=sha256)
