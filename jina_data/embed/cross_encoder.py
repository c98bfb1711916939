"""Cross-encoders of sentence-transformers: how well a passage answers a query, read together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.batches import fixed_batches
from jina_data.embed.loading import no_progress_bars, padded
from jina_data.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

CPU_TOKENS, CUDA_TOKENS = 2**12, 2**16
"""Tokens in a batch."""


class PairScorer:
    """Scores (query, passage) pairs with one cross-encoder; the same pair always gets the same bytes."""

    def __init__(self, model: CrossEncoder, name: str, device: str) -> None:
        self.model = model
        self.name = name
        self.device = device
        limits = (model.max_seq_length, model.tokenizer.model_max_length)
        self.max_length = min(int(limit) for limit in limits if limit)
        self.sha256 = _hash_of(model)

    @property
    def model_id(self) -> str:
        """The name of the scores in the cache: another model, device or limit has another."""
        return f"cross-encoder-{self.device}-{self.sha256[:24]}"

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the logit of each of N pairs, (N,) float32; pairs too long for the model are cut at its limit."""
        return self.logits(queries, passages).reshape(len(queries))

    def logits(self, queries: Sequence[str], passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the logits of each of N pairs for each of L labels, (N, L) float32; cut as in `score`."""
        import torch

        tokens = self.model.tokenizer(
            list(queries), list(passages), truncation=True, max_length=self.max_length, padding=False
        )
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


def _hash_of(model: CrossEncoder) -> str:
    """Hash all that the scores depend on: weights, configuration, tokenizer and limit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    assert model.config is not None
    config = json.loads(model.config.to_json_string())
    for changing in ("_name_or_path", "transformers_version"):
        config.pop(changing, None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    digest.update(model.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(str((model.max_seq_length, model.tokenizer.model_max_length)).encode())
    return digest.hexdigest()


@cache
def load_pair_scorer(name: str, device: str) -> PairScorer:
    """Load a cross-encoder by the name it has on the Hub, or from a folder; once in a process.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model, or it is no cross-encoder with one output.
    """
    model = load_cross_encoder(name, device)
    if model.num_labels != 1:
        raise ModelError(f"{name!r} gives {model.num_labels} scores a pair; expected a cross-encoder that gives one")
    return PairScorer(model, name, device)


def load_cross_encoder(name: str, device: str) -> Any:
    """Load a cross-encoder with any number of outputs.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model.
    """
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        raise MissingExtraError(
            f"the cross-encoder {name!r} needs sentence-transformers: pip install 'jina-data[torch]'"
        ) from None
    try:
        with no_progress_bars():
            model: Any = CrossEncoder(name, device=device)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the cross-encoder {name!r} cannot be loaded: {reason}. "
            "Name a model on the Hugging Face Hub, or the folder of a saved one"
        ) from None
    model.eval()
    return model
