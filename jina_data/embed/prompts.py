"""The prompts of a model's folder, and embedders with a prompt before each text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jina_data.embed.base import ONNX, STATIC, BoolArray, Embedder, HalfArray
from jina_data.errors import ModelError, UsageError

FILE = "config_sentence_transformers.json"
NONE = "none"
"""The value of an option that turns the prompts of a model off."""

QUERY_NAMES, DOCUMENT_NAMES = ("query",), ("document", "passage", "corpus")
"""The names of the prompts that sentence-transformers uses in `encode_query` and `encode_document`."""

_SHOWN_CHARS = 80


@dataclass(frozen=True)
class ModelPrompts:
    """The prompts of a model by name, without empty ones, and the name of the default prompt."""

    texts: Mapping[str, str] = field(default_factory=dict)
    default_name: str | None = None

    @property
    def default(self) -> str:
        """The prompt of `encode`, "" if there is none."""
        return self.texts.get(self.default_name or "", "")

    @property
    def query(self) -> str:
        """The prompt of queries, "" if there is none."""
        return self._first(QUERY_NAMES)

    @property
    def document(self) -> str:
        """The prompt of documents, "" if there is none: the first that is not empty of `DOCUMENT_NAMES`."""
        return self._first(DOCUMENT_NAMES)

    def named(self, name: str) -> str:
        """Return a prompt by its name; "" for `none`.

        Raises:
            UsageError: the model has no prompt with this name.
        """
        if name in self.texts:
            return self.texts[name]
        if name in (NONE, self.default_name, *QUERY_NAMES, DOCUMENT_NAMES[0]):  # a name that stands for no text
            return ""
        names = ", ".join(self.texts) or "no prompts"
        raise UsageError(f"the model has no prompt {name!r}; it has {names}. Name one of them, or {NONE}")

    def _first(self, names: Sequence[str]) -> str:
        return next((self.texts[name] for name in names if self.texts.get(name)), "")


def read_prompts(folder: Path) -> ModelPrompts:
    """Read the prompts of a model folder; the files of another kind of model have none for embeddings.

    Raises:
        ModelError: the file is broken, or the default is not one of the prompts.
    """
    path = folder / FILE
    if not path.is_file():
        return ModelPrompts()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}. Copy it again") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}; expected a JSON object")
    if values.get("model_type", "SentenceTransformer") not in (None, "SentenceTransformer"):
        return ModelPrompts()
    prompts, default = values.get("prompts"), values.get("default_prompt_name")
    if not isinstance(prompts, dict | None) or not all(
        isinstance(text, str | None) for text in (prompts or {}).values()
    ):
        raise ModelError(f"{path}: prompts is {prompts!r}; expected strings by name. Fix the file, or copy it again")
    known = (*(prompts or {}), QUERY_NAMES[0], DOCUMENT_NAMES[0])
    if default is not None and default not in known:
        raise ModelError(
            f"{path}: default_prompt_name is {default!r}; expected one of the prompts: "
            f"{', '.join(prompts or {}) or 'there are none'}. Fix the file, or copy it again"
        )
    return ModelPrompts({name: text for name, text in (prompts or {}).items() if text}, default)


def model_prompts(name: str) -> ModelPrompts:
    """Return the prompts of an embedder by its name; the model is not loaded.

    Raises:
        ModelError: there is no such model, or its file with prompts is broken.
        MissingExtraError: it needs sentence-transformers or onnxruntime, which is not installed.
    """
    from jina_data.embed.model_files import model_folder, require_torch

    if name == STATIC:
        return ModelPrompts()
    if name.startswith(ONNX):
        from jina_data.embed.onnx_files import onnx_folder

        return read_prompts(onnx_folder(name))
    require_torch(name, "embedder")
    return read_prompts(model_folder(name, "embedder"))


def given_prompt(option: str | None, of_model: str) -> str:
    """Return the prompt of an option: that of the model if it is None, no prompt if it is `none`."""
    return of_model if option is None else "" if option == NONE else option


def shown(prompt: str) -> str:
    """Return a prompt for a message: quoted, in one line, shortened."""
    quoted = json.dumps(prompt, ensure_ascii=False)
    return quoted if len(quoted) <= _SHOWN_CHARS else f'{quoted[: _SHOWN_CHARS - 4]}..."'


def role_prompts_line(prompts: ModelPrompts, query: str | None, document: str | None, *, options: str) -> str:
    """Return a line about the prompts that a model's folder sets for anchors and documents, or "".

    Args:
        prompts: the prompts of the model.
        query: the option for anchors; None if it is not given.
        document: the option for positives and other documents; None if it is not given.
        options: how to set or turn them off, for the message.
    """
    if not prompts.texts or (query is not None and document is not None):
        return ""
    parts = {"each anchor": (query, prompts.query), "each positive or document": (document, prompts.document)}
    used = [f"{shown(text)} before {what}" for what, (option, text) in parts.items() if option is None and text]
    if used:
        return f"prompts of the model: {', '.join(used)} (set or turn off with {options})"
    names = ", ".join(prompts.texts)
    return (
        f"the model has the prompts {names}, but none for {' or '.join(_NAMES)}, so no prompt is used "
        f"(set one with {options})"
    )


_NAMES = ("query", "document")


class PromptedEmbedder:
    """An embedder with a prompt before each text; where the model says so, the prompt is not part of the mean."""

    def __init__(self, embedder: Embedder, prompt: str, *, prompts: ModelPrompts | None = None) -> None:
        self.embedder, self.prompt = embedder, prompt
        self.prompts = prompts_of(embedder) if prompts is None else prompts
        self.name, self.dim, self.max_tokens = embedder.name, embedder.dim, embedder.max_tokens
        suffix = f"-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}" if prompt else ""
        self.model_id = f"{embedder.model_id}{suffix}"

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long with the prompt."""
        embedder: Any = self.embedder
        if hasattr(embedder, "encode_prompted"):
            vectors: HalfArray = embedder.encode_prompted(texts, self.prompt, cut=cut)
            return vectors
        return self.embedder.encode([self.prompt + text for text in texts], cut=cut)


def with_prompt(embedder: Embedder, prompt: str) -> Embedder:
    """Return an embedder with another prompt before each text; "": with none."""
    bare = embedder.embedder if isinstance(embedder, PromptedEmbedder) else embedder
    return PromptedEmbedder(bare, prompt) if prompt else bare


def without_prompts(embedder: Embedder) -> Embedder:
    """Return an embedder as if its model had no prompts."""
    return PromptedEmbedder(with_prompt(embedder, ""), "", prompts=ModelPrompts())


def prompts_of(embedder: Embedder) -> ModelPrompts:
    """Return the prompts of a loaded embedder."""
    prompts = getattr(embedder, "prompts", None)
    return prompts if isinstance(prompts, ModelPrompts) else ModelPrompts()
