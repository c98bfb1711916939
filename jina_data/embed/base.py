"""What an embedder promises, and how one is loaded by its name."""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from jina_data.embed.model_files import model_files, model_folder, need_torch
from jina_data.errors import ResourceError

HalfArray = npt.NDArray[np.float16]
BoolArray = npt.NDArray[np.bool_]

STATIC = "static"
"""The name of the embedder that the light install brings."""


class Embedder(Protocol):
    """Turns texts into vectors of unit length in half precision.

    The vector of a text depends on that text alone, bit for bit: not on the texts beside it, their number or order.
    So a run gives the same bytes whatever its batches and workers, and vectors may be kept by content.
    """

    name: str
    """The name it was loaded by."""
    model_id: str
    """Names the model and all that its vectors depend on (weights, tokenizer, limits, device); fit for a file name."""
    dim: int
    """The number of dimensions D."""
    max_tokens: int | None
    """The most tokens of a text that are read; None: all."""

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D): scaled to length 1, then rounded. A text without tokens gets zeros.

        `cut` (N,), where given, is set true for texts of more than `max_tokens`.
        """
        ...


def load_embedder(name: str, device: str = "cpu") -> Embedder:
    """Load an embedder, once a process: "static", or a model by its folder or its name on the Hub.

    A JinaBERT, and whatever jina-data saved, goes to our own encoder, and the rest to sentence-transformers.

    Raises:
        ModelError: there is no such model, or its files are broken.
        MissingExtraError: it needs sentence-transformers, which is not installed.
    """
    with _LOADING:
        return _load(name, device if name != STATIC else "cpu")


def settle_device(device: str) -> str:
    """Return "cuda" or "cpu": what was asked for, or with "auto" what is there.

    Raises:
        ResourceError: cuda was asked for, and there is none.
    """
    if device == "cpu":
        return "cpu"
    has_cuda = find_spec("torch") is not None and _has_driver() and _has_cuda()
    if device == "cuda" and not has_cuda:
        raise ResourceError("--device cuda: no CUDA device, or a torch without CUDA. Use --device cpu, or auto")
    return "cuda" if has_cuda else "cpu"


def _has_driver() -> bool:
    """Tell whether there is a driver for a GPU at all, NVIDIA's or AMD's: without one, torch need not be loaded."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


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


def unit_half(vectors: npt.NDArray[np.float32]) -> HalfArray:
    """Scale vectors (N, D) to length 1 and round them; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.add.reduce(wide * wide, axis=1))[:, None]
    halves: HalfArray = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0).astype(np.float16)
    return halves


def combined_sha256(paths: Sequence[Path]) -> str:
    """Return one sha256 for several files, in order."""
    return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file; another file under the same name is hashed anew."""
    status = path.stat()
    return _sha256((path, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=256)
def _sha256(identity: tuple[Path, int, int]) -> str:
    with identity[0].open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


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
