"""Adapts embedders to the model interface of mteb: `mteb.evaluate(MtebEmbedder(embedder, "me/my-model"), tasks)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import Embedder
from jina_data.embed.prompts import with_prompt
from jina_data.evaluate.mteb_tasks import need_mteb
from jina_data.evaluate.task_prompts import TaskPrompts

if TYPE_CHECKING:
    from torch import Tensor


class MtebEmbedder:
    """An `EncoderProtocol` of mteb 2 for any embedder.

    mteb stores results under `label` (the model name) and `model_id` (the revision), which changes with everything
    that the vectors depend on. A label that is not of the form `owner/name` becomes `local/label`.
    """

    def __init__(self, embedder: Embedder, label: str, *, instruction: str | None = None) -> None:
        """Wrap an embedder; `instruction` is a template for the instructions of tasks, see `TaskPrompts`.

        Raises:
            MissingExtraError: mteb is not installed.
            UsageError: the template is not valid.
        """
        need_mteb("MtebEmbedder")
        from mteb.models import ModelMeta

        self.embedder, self.label = embedder, label
        self.prompts = TaskPrompts(embedder, instruction)
        is_hub_name = label.count("/") == 1 and not label.startswith(("/", "."))
        overwrites = {
            "name": label if is_hub_name else f"local/{label.strip('./').replace('/', '_') or 'model'}",
            "revision": f"{embedder.model_id}{self.prompts.key and f'-{self.prompts.key}'}",
            "max_tokens": embedder.max_tokens,
            "embed_dim": embedder.dim,
        }
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=overwrites)

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
        """Return the vectors of all texts of a loader of batches, (N, D), with the prompt of the model for the task."""
        prompt = self.prompts.prompt(task_metadata, prompt_type)
        texts = [text for batch in inputs for text in batch["text"]]
        return with_prompt(self.embedder, prompt).encode(texts).astype(np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine similarity of each pair of N and M vectors, (N, M); one vector, (D,), is one row."""
        return _unit(embeddings1) @ _unit(embeddings2).mT

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine similarity of each vector with its counterpart, (N,)."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)


def _unit(vectors: Any) -> Tensor:
    import torch

    rows = torch.as_tensor(vectors, dtype=torch.float32)
    return torch.nn.functional.normalize(rows if rows.ndim > 1 else rows[None], dim=-1)
