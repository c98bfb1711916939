"""Finds and hashes the files of models, and prepares batches for transformers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.errors import MissingExtraError, ModelError, first_line

_OTHER_BACKENDS = ("onnx", "openvino", "coreml", "flax", "tf")
_NOT_READ = (".md", ".onnx", ".h5", ".msgpack", ".ot", ".tflite", ".png", ".gitattributes")
_WEIGHTS = ("*.safetensors", "*.bin")
_NO_LIMIT = 10**9  # transformers reports a much larger number for a tokenizer without a limit


def require_torch(name: str, kind: str) -> None:
    """Check that sentence-transformers is installed, without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("sentence_transformers") is None or find_spec("torch") is None:
        light = "; the light install has the embedder 'static'" if kind == "embedder" else ""
        raise MissingExtraError(
            f"{kind} {name!r} needs sentence-transformers; run: pip install 'jina-data[torch]'{light}"
        )


def model_folder(name: str, kind: str) -> Path:
    """Return the folder of a model: the named folder, or the cache of the Hub client; downloads if needed.

    Args:
        name: a folder, or the name of a model on the Hub.
        kind: how messages name the model.

    Raises:
        ModelError: there is no such folder, and no such model on the Hub.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
            raise ModelError(
                f"{kind} {name!r} is a folder without modules.json or config.json; "
                "expected the folder of a saved sentence-transformers model"
            )
        return folder.resolve()
    try:
        return _snapshot(name)
    except Exception as error:
        other = "the embedder 'static'" if kind == "embedder" else "a model there"
        raise ModelError(
            f"{kind} {name!r} is neither a folder nor a model on the Hugging Face Hub "
            f"({first_line(error)}). Name the folder of a saved sentence-transformers model, or {other}"
        ) from error


@lru_cache(maxsize=8)
def _snapshot(name: str) -> Path:
    """Return the folder of a model in the cache of the Hub client; a complete model needs no network."""
    from huggingface_hub import snapshot_download

    skipped = [f"{other}/*" for other in _OTHER_BACKENDS] + [f"*{ending}" for ending in _NOT_READ if ending != ".md"]
    try:
        folder = Path(snapshot_download(name, local_files_only=True, ignore_patterns=skipped))
        if any(True for pattern in _WEIGHTS for _ in folder.rglob(pattern)):
            return folder
    except Exception:  # the model is not in the cache yet
        pass
    return Path(snapshot_download(name, ignore_patterns=skipped))


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that its results may depend on, sorted: weights, settings, tokenizer."""
    files = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts[0] not in _OTHER_BACKENDS and not path.name.endswith(_NOT_READ):
            files.append(path)
    return files


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Turn off the progress bars of transformers."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def token_limit(max_length: int) -> int | None:
    """Return the token limit of a model; None if it has no limit or does not report one."""
    return max_length if 0 < max_length < _NO_LIMIT else None


def truncated_mask(tokens: Any) -> npt.NDArray[np.bool_]:
    """Return which of N tokenized texts, or pairs of texts, the tokenizer truncated, (N,)."""
    return np.array([bool(encoding.overflowing) for encoding in tokens.encodings], np.bool_)


def padded(
    tokenizer: Any,
    tokens: Mapping[str, Sequence[Sequence[int]]],
    positions: npt.NDArray[np.int64],
    *,
    length: int,
    n_rows: int,
    device: str,
) -> dict[str, Any]:
    """Return the features of the texts at `positions`, padded to (n_rows, length); the last text fills up the batch."""
    rows = [*positions.tolist(), *[int(positions[-1])] * (n_rows - len(positions))]
    features = tokenizer.pad(
        {name: [values[row] for row in rows] for name, values in tokens.items()},
        padding="max_length",
        max_length=length,
        return_tensors="pt",
    )
    return {name: values.to(device) for name, values in features.items()}


def combined_sha256(paths: Sequence[Path]) -> str:
    """Return one sha256 for several files, in order."""
    return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file. It is cached until the size or modification time of the file changes."""
    status = path.stat()
    return _sha256((path, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=256)
def _sha256(identity: tuple[Path, int, int]) -> str:
    with identity[0].open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
