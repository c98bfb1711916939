"""A trained model as something to publish: the folder that sentence-transformers saves and loads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jina_data.errors import RunFolderError
from jina_data.publish.facts import WORK_NAME, file_sha256

MODULES = "modules.json"

LEFT_OUT = ("README.md", "events.jsonl", "manifest.json")
"""Files of the folder that stay: the card is made anew, and the records of a run name folders of this machine."""


class TrainedModel:
    """A folder with `modules.json`, as `SentenceTransformer(FOLDER)` loads it."""

    kind = "model"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._check()

    @staticmethod
    def fits(folder: Path) -> bool:
        """Tell whether a folder holds such a model."""
        return (folder / MODULES).is_file()

    def _check(self) -> None:
        """Make sure that all modules are there.

        Raises:
            RunFolderError: one is missing, or modules.json is damaged.
        """
        for module in self.modules():
            home = self.folder / module["path"]
            if not home.is_dir():
                raise RunFolderError(f"{self.folder / MODULES} names {module['path']}, which is missing; save it again")

    def modules(self) -> list[dict[str, Any]]:
        """Return what modules.json lists.

        Raises:
            RunFolderError: it cannot be read.
        """
        try:
            found = json.loads((self.folder / MODULES).read_text(encoding="utf-8"))
            return [{"path": str(module["path"]), "type": str(module["type"])} for module in found]
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{self.folder / MODULES} cannot be read: {error}. Save the model again") from None

    @property
    def fingerprint(self) -> str:
        """A hash of the names and contents of all files, the card too."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        named = [
            (path.relative_to(self.folder).as_posix(), file_sha256(path))
            for path in found
            if WORK_NAME not in path.parts
        ]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    def files(self) -> Sequence[Path]:
        """Return the files of the model, without hidden ones and the card."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path for path in found if self._goes_up(path.relative_to(self.folder)))

    @staticmethod
    def _goes_up(path: Path) -> bool:
        return not any(part.startswith(".") for part in path.parts) and path.as_posix() not in LEFT_OUT
