"""Where scores may be written: checked before a model runs, since a run may take hours."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jina_data.errors import ResourceError, RunFolderError, UsageError


def ready_folder(folder: Path) -> None:
    """Make sure that scores can be kept in a folder.

    Raises:
        RunFolderError: it cannot be written, or another command has its run there.
    """
    if (folder / "manifest.json").is_file() or (folder / ".work").is_dir():
        raise RunFolderError(f"{folder} is the folder of a run of another command; name a folder for scores alone")
    _ready(folder, f"the output folder {folder}")


def ready_file(path: Path) -> None:
    """Make sure that a file can be written.

    Raises:
        RunFolderError: it cannot.
    """
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder; expected the name of a file")
    _ready(path.parent, str(path))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is written into one clear error.

    Raises:
        ResourceError: the disk is full, or the file cannot be written any more.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror}. Make room, or name another place") from None


def _ready(folder: Path, what: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{what} cannot be written: {folder} is a file. Name another place")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(f"{what} cannot be written: {error.strerror}. Name another place") from None


def model_labels(names: Sequence[str]) -> list[str]:
    """Return a short label for each model: the last part of its name, the whole where two would be alike.

    Raises:
        UsageError: no model, or the same twice.
    """
    if not names:
        raise UsageError("no model is named. Name one or more: --model static")
    if len(set(names)) < len(names):
        raise UsageError(f"a model is named twice among {', '.join(names)}. Name each once")
    short = [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    return short if len(set(short)) == len(short) else list(names)
