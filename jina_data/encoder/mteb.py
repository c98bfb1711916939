"""The encoder as mteb wants its models: `mteb.evaluate(MtebEncoder("folder"), tasks)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from jina_data.encoder.encoder import Encoder
from jina_data.errors import MissingExtraError

_PASSED = ("batch_size", "show_progress_bar", "precision")


class MtebEncoder:
    """An `EncoderProtocol` of mteb 2. Queries and documents get the encoder's prompts of these names, if any."""

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **options: Any
    ) -> None:
        """Load a model; `options` are those of Encoder."""
        self._take(Encoder.from_pretrained(model_name, device=device, **options), model_name, revision)

    @classmethod
    def of(cls, encoder: Encoder, name: str, revision: str | None = None) -> Self:
        """Wrap an encoder that is there already; its results are filed under `name`, such as `me/my-model`."""
        wrapped = cls.__new__(cls)
        wrapped._take(encoder, name, revision)
        return wrapped

    def _take(self, encoder: Encoder, name: str, revision: str | None) -> None:
        try:
            from mteb.models import ModelMeta
        except ImportError:
            raise MissingExtraError("MtebEncoder needs mteb; run: pip install 'jina-data[evaluate]'") from None
        self.encoder = encoder
        known = name if name.count("/") == 1 and not name.startswith(("/", ".")) else f"local/{Path(name).name}"
        said = {"name": known, "revision": revision, "max_tokens": encoder.max_length, "embed_dim": encoder.dim}
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
    ) -> Any:
        """Return the vectors of all texts of a loader of batches, (N, D)."""
        texts = [text for batch in inputs for text in batch["text"]]
        passed = {name: options[name] for name in _PASSED if options.get(name) is not None}
        if prompt_type is None:
            return self.encoder.encode(texts, **passed)
        is_query = str(getattr(prompt_type, "value", prompt_type)) == "query"
        return (self.encoder.encode_query if is_query else self.encoder.encode_document)(texts, **passed)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine of each with each, (N, M)."""
        return self.encoder.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine of each with its counterpart, (N,)."""
        return self.encoder.similarity_pairwise(embeddings1, embeddings2)
