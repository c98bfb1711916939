"""Loads embedders by name, hashes their files, and estimates their memory."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from jina_data.embed.base import ONNX, STATIC, Embedder, runs_on_cpu
from jina_data.embed.model_files import file_sha256, model_files, model_folder, require_torch
from jina_data.embed.prompts import prompts_of, with_prompt


def load_embedder(name: str, device: str = "cpu") -> Embedder:
    """Load an embedder, once per process: "static", or a model by its folder or its name on the Hub.

    A JinaBERT, or any model that jina-data saved, runs in its own encoder; other models in sentence-transformers; and
    "onnx:" before the folder or name runs the ONNX file of the model in ONNX Runtime, on the CPU. As in
    sentence-transformers, texts get the default prompt of the model if it has one; `with_prompt` sets another.

    Raises:
        ModelError: there is no such model, or its files are broken.
        MissingExtraError: it needs sentence-transformers or onnxruntime, which is not installed.
    """
    with _LOADING:
        return _load(name, "cpu" if runs_on_cpu(name) else device)


def model_hashes(name: str) -> dict[str, str]:
    """Return the sha256 of every file that the vectors of an embedder depend on, by name; the model is not loaded.

    Raises:
        ModelError: there is no such model.
        MissingExtraError: it needs sentence-transformers or onnxruntime, which is not installed.
    """
    return {f"{path.parent.name}/{path.name}": file_sha256(path) for path in _files(name)}


def process_bytes(name: str) -> int:
    """Return the approximate memory of an embedder in a process, in bytes (measured as the growth of a worker)."""
    if name == STATIC:
        return 150 * 2**20
    if name.startswith(ONNX):
        from jina_data.embed.onnx_files import onnx_files

        # 320 MiB for the runtime and the activations of one batch, plus the weights.
        return 320 * 2**20 + sum(path.stat().st_size for path in onnx_files(name).weights())
    # 640 MiB for torch, transformers and the activations of one batch, plus the weights in full precision.
    weights = sum(path.stat().st_size for path in _files(name) if path.suffix in (".safetensors", ".bin"))
    return 640 * 2**20 + weights


_LOADING = threading.Lock()


@lru_cache(maxsize=2)
def _load(name: str, device: str) -> Embedder:
    if name == STATIC:
        from jina_data.embed.static import StaticEmbedder

        return StaticEmbedder.load()
    embedder = _load_onnx(name) if name.startswith(ONNX) else _load_torch(name, device)
    return with_prompt(embedder, prompts_of(embedder).default)


def _load_onnx(name: str) -> Embedder:
    from jina_data.embed.onnx import OnnxEmbedder

    return OnnxEmbedder.load(name)


def _load_torch(name: str, device: str) -> Embedder:
    require_torch(name, "embedder")
    from jina_data.embed.jina_encoder import EncoderEmbedder, is_encoder_folder
    from jina_data.embed.model_files import model_folder
    from jina_data.embed.sentence_transformers import TransformerEmbedder

    kind = EncoderEmbedder if is_encoder_folder(model_folder(name, "embedder")) else TransformerEmbedder
    return kind.load(name, device)


def _files(name: str) -> list[Path]:
    if name == STATIC:
        from jina_data.embed.static import static_files

        return list(static_files())
    if name.startswith(ONNX):
        from jina_data.embed.onnx_files import onnx_files

        return onnx_files(name).all()
    require_torch(name, "embedder")
    return model_files(model_folder(name, "embedder"))
