"""Any embedder as mteb wants its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import Embedder

if TYPE_CHECKING:
    from torch import Tensor

PROMPTS = {"query": ("query",), "document": ("document", "passage")}
"""What the prompts of queries and documents are called in a model's settings."""


class MtebEmbedder:
    """An `EncoderProtocol` of mteb 2 around an embedder.

    Results are filed under the label, and under what names the model with all that its vectors depend on.
    """

    def __init__(self, embedder: Embedder, label: str) -> None:
        from mteb.models import ModelMeta

        self.embedder, self.label = embedder, label
        said = {
            "name": label if label.count("/") == 1 and not label.startswith(("/", ".")) else f"local/{_plain(label)}",
            "revision": embedder.model_id,
            "max_tokens": embedder.max_tokens,
            "embed_dim": embedder.dim,
        }
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=said)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **options: Any,
    ) -> npt.NDArray[np.float32]:
        """Return the vectors of all texts of a loader of batches, (N, D), each with the model's prompt in front."""
        prompt = _prompt(self.embedder, prompt_type)
        texts = [prompt + text for batch in inputs for text in batch["text"]]
        return self.embedder.encode(texts).astype(np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine of each with each, (N, M); a single vector, (D,), counts as one row."""
        return _unit(embeddings1) @ _unit(embeddings2).mT

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine of each with its counterpart, (N,)."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)


def _plain(label: str) -> str:
    return label.strip("./").replace("/", "_") or "model"


def _unit(vectors: Any) -> Tensor:
    import torch

    rows = torch.as_tensor(vectors, dtype=torch.float32)
    return torch.nn.functional.normalize(rows if rows.ndim > 1 else rows[None], dim=-1)


def _prompt(embedder: Embedder, prompt_type: Any) -> str:
    """Return what a model wants in front of queries or documents: "" for most."""
    model = getattr(embedder, "encoder", None) or getattr(embedder, "_model", None)
    prompts: Mapping[str, str] = getattr(model, "prompts", None) or {}
    kind = str(getattr(prompt_type, "value", prompt_type))
    return next((prompts[name] for name in PROMPTS.get(kind, ()) if prompts.get(name)), "")
