"""."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from jina_data.embed.base import STATIC, Embedder
from jina_data.embed.model_files import file_sha256, model_files, model_folder, need_torch


def load_embedder(name: str, device: str = "cpu") -> Embedder:
    """Load an embedder, once a process: "static", or a model by its folder or its name on the Hub.

    A JinaBERT, and whatever jina-data saved, goes to our own encoder, and the rest to sentence-transformers.

    Raises:
        ModelError: there is no such model, or its files are broken.
        MissingExtraError: it needs sentence-transformers, which is not installed.
    """
    with _LOADING:
        return _load(name, device if name != STATIC else "cpu")


def model_hashes(name: str) -> dict[str, str]:
    """Return the sha256 of every file that the vectors of an embedder depend on, by name; loads nothing.

    Raises:
        ModelError: there is no such model.
        MissingExtraError: it needs sentence-transformers, which is not installed.
    """
    return {f"{path.parent.name}/{path.name}": file_sha256(path) for path in _files(name)}


def process_bytes(name: str) -> int:
    """Return about what a process needs for an embedder, in bytes (measured: what it adds to a worker)."""
    if name == STATIC:
        return 150 * 2**20
    # torch, transformers and their code, then weights in full precision and the activations of one batch.
    weights = sum(path.stat().st_size for path in _files(name) if path.suffix in (".safetensors", ".bin"))
    return 640 * 2**20 + weights


_LOADING = threading.Lock()


@lru_cache(maxsize=2)
def _load(name: str, device: str) -> Embedder:
    if name == STATIC:
        from jina_data.embed.static import StaticEmbedder

        return StaticEmbedder.load()
    need_torch(name, "embedder")
    from jina_data.embed.jina_encoder import EncoderEmbedder, is_ours
    from jina_data.embed.model_files import model_folder
    from jina_data.embed.sentence_transformers import TransformerEmbedder

    kind = EncoderEmbedder if is_ours(model_folder(name, "embedder")) else TransformerEmbedder
    return kind.load(name, device)


def _files(name: str) -> list[Path]:
    if name == STATIC:
        from jina_data.embed.static import static_files

        return list(static_files())
    need_torch(name, "embedder")
    return model_files(model_folder(name, "embedder"))
