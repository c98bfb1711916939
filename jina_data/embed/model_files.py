"""What finding, loading and feeding transformers has in common."""

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
_NO_LIMIT = 10**9  # transformers names a number far beyond where a tokenizer has none


def need_torch(name: str, kind: str) -> None:
    """Make sure that sentence-transformers is there; nothing is loaded.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("sentence_transformers") is None or find_spec("torch") is None:
        light = "; the light install has the embedder 'static'" if kind == "embedder" else ""
        raise MissingExtraError(
            f"{kind} {name!r} needs sentence-transformers; run: pip install 'jina-data[torch]'{light}"
        )


def model_folder(name: str, kind: str) -> Path:
    """Return the folder of a model: the one named, else where the Hub's client keeps it; it may have to fetch it.

    Args:
        name: a folder, or the name of a model on the Hub.
        kind: what messages call it.

    Raises:
        ModelError: there is no such folder, and the Hub gives none.
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
            f"{kind} {name!r} is neither a folder nor a model that the Hugging Face Hub gives "
            f"({first_line(error)}). Name the folder of a saved sentence-transformers model, or {other}"
        ) from error


@lru_cache(maxsize=8)
def _snapshot(name: str) -> Path:
    """Return where the Hub's client keeps a model; without a network where it has it all."""
    from huggingface_hub import snapshot_download

    skipped = [f"{other}/*" for other in _OTHER_BACKENDS] + [f"*{ending}" for ending in _NOT_READ if ending != ".md"]
    try:
        folder = Path(snapshot_download(name, local_files_only=True, ignore_patterns=skipped))
        if any(True for pattern in _WEIGHTS for _ in folder.rglob(pattern)):
            return folder
    except Exception:  # it is not on this machine yet
        pass
    return Path(snapshot_download(name, ignore_patterns=skipped))


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model's folder that its results may depend on, sorted: weights, settings, tokenizer."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts[0] not in _OTHER_BACKENDS and not path.name.endswith(_NOT_READ):
            found.append(path)
    return found


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars of its own."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def known_limit(max_length: int) -> int | None:
    """Return the most tokens that a model takes; None for those that have no limit, or tell none."""
    return max_length if 0 < max_length < _NO_LIMIT else None


def were_cut(tokens: Any) -> npt.NDArray[np.bool_]:
    """Tell which of N tokenized texts, or pairs of texts, were cut at the limit given to the tokenizer, (N,)."""
    return np.array([bool(one.overflowing) for one in tokens.encodings], np.bool_)


def padded(
    tokenizer: Any,
    tokens: Mapping[str, Sequence[Sequence[int]]],
    positions: npt.NDArray[np.int64],
    *,
    length: int,
    n_rows: int,
    device: str,
) -> dict[str, Any]:
    """Return the features of some of N tokenized texts, padded to (n_rows, length): the last fills the batch up."""
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
    """Return the sha256 of a file; another file under the same name is hashed anew."""
    status = path.stat()
    return _sha256((path, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=256)
def _sha256(identity: tuple[Path, int, int]) -> str:
    with identity[0].open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
