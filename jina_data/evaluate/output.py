"""Checks output paths before models run, and chooses the labels of models."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from jina_data.errors import MissingExtraError, ResourceError, RunFolderError, UsageError, first_line


def need_matplotlib(feature: str) -> None:
    """Check that plots can be drawn, before models run.

    Raises:
        MissingExtraError: matplotlib is not installed; the message names the feature.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(f"{feature} needs matplotlib; run: pip install 'jina-data[evaluate]'")


def ready_folder(folder: Path) -> None:
    """Check that scores can be written to a folder.

    Raises:
        RunFolderError: it is not writable, or is the run folder of another command.
    """
    if (folder / "manifest.json").is_file() or (folder / ".work").is_dir():
        raise RunFolderError(f"{folder} is the run folder of another command; name a separate folder for scores")
    _ready(folder, f"the output folder {folder}")


def ready_file(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        RunFolderError: it cannot be written.
    """
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder; expected a file name")
    _ready(path.parent, str(path))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate errors while a file is written.

    Raises:
        ResourceError: the disk is full, or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ResourceError(f"{path} cannot be written: {reason}. Free some space, or name another path") from None


def _ready(folder: Path, output: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{output} cannot be written: {folder} is a file. Name another path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(f"{output} cannot be written: {error.strerror}. Name another path") from None


def model_labels(names: Sequence[str]) -> list[str]:
    """Return a label for each model: the last part of its name, or the whole names if the last parts are not unique.

    Raises:
        UsageError: there is no model, or a model occurs twice.
    """
    if not names:
        raise UsageError("no model given. Name one or more: --model static")
    if len(set(names)) < len(names):
        raise UsageError(f"a model occurs twice in {', '.join(names)}. Name each model once")
    short = [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    return short if len(set(short)) == len(short) else list(names)
