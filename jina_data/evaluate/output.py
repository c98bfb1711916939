"""Where scores may be written: checked before a model runs, since a run may take hours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jina_data.errors import RunFolderError


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


def _ready(folder: Path, what: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(f"{what} cannot be written: {error.strerror}. Name another place") from None
