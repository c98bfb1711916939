"""Loads a model by its name for encoding: the encoder of jina-data with its options, or any other embedder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import ONNX, STATIC, runs_on_cpu
from jina_data.embed.device import settle_device
from jina_data.embed.load import load_embedder, model_hashes
from jina_data.embed.prompts import NONE, given_prompt, model_prompts, shown, with_prompt
from jina_data.errors import UsageError

_FLAGS = {
    "max_length": "--max-length",
    "truncate_dim": "--truncate-dim",
    "normalize": "--no-normalize",
}


@dataclass(frozen=True, kw_only=True)
class VectorConfig:
    """A model and the options of its vectors.

    Only the encoder of jina-data accepts other values than the defaults for max_length, truncate_dim and normalize.
    """

    model: str
    device: str = "cpu"
    max_length: int | None = None
    truncate_dim: int | None = None
    prompt: str | None = None
    """Prompt before each text; by default that of `prompt_name`."""
    prompt_name: str | None = None
    """Name of a prompt of the model, or "none"; by default the default prompt of the model, if it has one."""
    normalize: bool = True

    def model_key(self) -> str:
        """Return one hash of everything the vectors depend on; the model is not loaded.

        Raises:
            ModelError: there is no such model.
            MissingExtraError: the model needs a package that is not installed.
        """
        prompt = {"prompt": self.resolved_prompt(), "prompt_name": None}
        key = {**asdict(self), **prompt, "model": model_hashes(self.model)}
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def resolved_prompt(self) -> str:
        """Return the prompt before each text, "" for none; the model is not loaded.

        Raises:
            UsageError: the model has no prompt with the given name, or both options are given.
            ModelError: there is no such model.
            MissingExtraError: the model needs a package that is not installed.
        """
        if self.prompt is not None and self.prompt_name is not None:
            raise UsageError("--prompt and --prompt-name are both given; give only one of them")
        if self.prompt is not None:
            return given_prompt(self.prompt, "")
        prompts = model_prompts(self.model)
        return prompts.default if self.prompt_name is None else prompts.named(self.prompt_name)

    def prompt_line(self) -> str:
        """Return a line about the prompt that the model's folder sets, or about the prompts it has; "" if none."""
        prompts = model_prompts(self.model)
        if not prompts.texts or self.prompt is not None or self.prompt_name is not None:
            return ""
        if prompts.default:
            return (
                f"prompt before each text: {shown(prompts.default)} ({prompts.default_name}, the default of the model; "
                f"turn it off with --prompt-name {NONE})"
            )
        return (
            f"the model has the prompts {', '.join(prompts.texts)} and no default, so no prompt is used (choose one "
            f"with --prompt-name {next(iter(prompts.texts))})"
        )


def choose_device(device: str, model: str) -> str:
    """Return "cuda" or "cpu": the requested device, or with "auto" the fastest for the model.

    Raises:
        ResourceError: cuda was requested and is not available.
    """
    return "cpu" if runs_on_cpu(model) and device == "auto" else settle_device(device)


class VectorModel(Protocol):
    """Turns texts into vectors in single precision."""

    dim: int

    @property
    def n_cut(self) -> int:
        """The number of texts so far that were too long for the model and were truncated."""
        ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of N texts, (N, D)."""
        ...


def load_vector_model(options: VectorConfig) -> VectorModel:
    """Load a model by its name or folder.

    Raises:
        UsageError: the model does not support an option.
        ModelError: there is no such model, or its files are broken.
        MissingExtraError: the model needs a package that is not installed.
    """
    prompt = options.resolved_prompt()
    bare: Any = with_prompt(load_embedder(options.model, options.device), "")
    if hasattr(bare, "encoder"):
        return _EncoderVectors(bare.encoder, options, prompt)
    return _EmbedderVectors(with_prompt(bare, prompt), options)


class _EncoderVectors:
    """The encoder of jina-data with its options."""

    def __init__(self, encoder: Any, options: VectorConfig, prompt: str) -> None:
        encoder.n_cut = 0
        self._encoder, self._options, self._prompt = encoder, options, prompt
        if options.truncate_dim and options.truncate_dim > encoder.dim:
            raise UsageError(
                f"--truncate-dim is {options.truncate_dim}; expected at most {encoder.dim}, the dimensions of the model"
            )
        self.dim = options.truncate_dim or encoder.dim

    @property
    def n_cut(self) -> int:
        return int(self._encoder.n_cut)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        options = self._options
        with _without_warnings():  # truncated texts are counted and reported once for the whole run
            vectors: npt.NDArray[np.float32] = self._encoder.encode(
                texts,
                max_length=options.max_length,
                normalize_embeddings=options.normalize,
                truncate_dim=options.truncate_dim,
                prompt=self._prompt,
            )
        return vectors.astype(np.float32, copy=False)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    log = logging.getLogger("jina_data.encoder")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class _EmbedderVectors:
    """The static model, or a model of sentence-transformers or in ONNX Runtime."""

    def __init__(self, embedder: Any, options: VectorConfig) -> None:
        defaults = asdict(VectorConfig(model=options.model, device=options.device))
        others = [name for name in _FLAGS if getattr(options, name) != defaults[name]]
        if others:
            is_onnx = options.model.startswith(ONNX)
            kind = "a model in ONNX Runtime" if is_onnx else "a model of sentence-transformers"
            kind = "the static model" if options.model == STATIC else kind
            raise UsageError(
                f"{kind} does not support {', '.join(_FLAGS[name] for name in others)}: its vectors have length 1 and "
                "all dimensions. Leave the option out, or name a JinaBERT"
            )
        self._embedder = embedder
        self.dim = int(embedder.dim)
        self.n_cut = 0

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        cut = np.zeros(len(texts), np.bool_)
        vectors: npt.NDArray[np.float32] = self._embedder.encode(texts, cut=cut).astype(np.float32)
        self.n_cut += int(cut.sum())
        return vectors
