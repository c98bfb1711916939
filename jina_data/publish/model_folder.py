"""Provides a trained model for publishing: a folder that sentence-transformers saves and loads."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jina_data.embed.prompts import read_prompts
from jina_data.errors import LicenseError, RunFolderError
from jina_data.publish.facts import WORK_NAME
from jina_data.publish.licenses import check_license
from jina_data.publish.repository import CARD, Repository, list_files
from jina_data.run.files import sha256_of

MODULES = "modules.json"

EXCLUDED_FILES = ("README.md", "events.jsonl", "manifest.json")
"""Files that are not copied: the card is written again, and the records of a run contain local paths."""


class TrainedModel:
    """A folder with `modules.json`, as `SentenceTransformer(FOLDER)` loads it."""

    kind = "model"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._check()

    @staticmethod
    def is_model(folder: Path) -> bool:
        """Return whether a folder holds a model."""
        return (folder / MODULES).is_file()

    def _check(self) -> None:
        """Make sure that the folders of all modules exist.

        Raises:
            RunFolderError: a folder is missing, or modules.json is invalid.
        """
        for module in self.modules():
            if not (self.folder / module["path"]).is_dir():
                raise RunFolderError(
                    f"{self.folder / MODULES} lists {module['path']}, which does not exist; save the model again"
                )

    def modules(self) -> list[dict[str, Any]]:
        """Return the path and type of each module in modules.json.

        Raises:
            RunFolderError: modules.json cannot be read.
        """
        try:
            modules = json.loads((self.folder / MODULES).read_text(encoding="utf-8"))
            return [{"path": str(module["path"]), "type": str(module["type"])} for module in modules]
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{self.folder / MODULES} cannot be read: {error}. Save the model again") from None

    @property
    def fingerprint(self) -> str:
        """A hash of the names and contents of all files, with the card."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        hashes = [
            (path.relative_to(self.folder).as_posix(), sha256_of(path)) for path in paths if WORK_NAME not in path.parts
        ]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def files(self) -> Sequence[Path]:
        """Return the files to copy: without hidden files, the card and the records of a run."""
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path for path in paths if self._is_published(path.relative_to(self.folder)))

    @staticmethod
    def _is_published(path: Path) -> bool:
        return not any(part.startswith(".") for part in path.parts) and path.as_posix() not in EXCLUDED_FILES


PROMPTS = """
## Prompts

The model has prompts, which `encode_query`, `encode_document` and `encode(..., prompt_name=NAME)` add before each text:

| name | prompt |
| --- | --- |
{rows}

{default}
"""

TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "jina-data")

BODY = """# {title}

A text embedding model. It loads with sentence-transformers:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{repo_id}")
print(model.encode(["a text"]).shape)
```
"""


def build_model(model: TrainedModel, repo_id: str, target: Path, *, license_id: str | None) -> Repository:
    """Copy the files of a model, and write its card: its README.md, if it has one, with the metadata for the Hub.

    Raises:
        LicenseError: neither the card nor the user states a license.
    """
    card, license_id = _card(model, repo_id, license_id)
    for path in model.files():
        copy = target / path.relative_to(model.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (target / CARD).write_text(card, encoding="utf-8")
    return Repository(
        folder=target, repo_type="model", repo_id=repo_id, files=list_files(target), licenses=[license_id]
    )


def _card(model: TrainedModel, repo_id: str, license_id: str | None) -> tuple[str, str]:
    from huggingface_hub import ModelCard

    path = model.folder / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    # ModelCard requires metadata; a page without metadata gets an empty block.
    text = text if text.startswith("---") else f"---\n{{}}\n---\n{text}"
    card = ModelCard(text, ignore_metadata_errors=True)
    license_id = license_id or card.data.get("license")
    if not isinstance(license_id, str):
        raise LicenseError(f"the card of {model.folder} states no license; state one with --license")
    license_id = check_license(license_id, "--license")
    tags: list[Any] = list(card.data.get("tags") or ())
    card.data["license"] = license_id
    card.data["library_name"] = "sentence-transformers"
    card.data["pipeline_tag"] = "sentence-similarity"
    card.data["tags"] = [*tags, *(tag for tag in TAGS if tag not in tags)]
    if not card.text.strip():
        card.text = "\n" + BODY.format(title=repo_id.rsplit("/", 1)[-1], repo_id=repo_id) + _prompts(model.folder)
    return str(card), license_id


def _prompts(folder: Path) -> str:
    """Return the section of the card about the prompts of a model, "" if it has none."""
    prompts = read_prompts(folder)
    if not prompts.texts:
        return ""
    rows = "\n".join(
        f"| {name} | {json.dumps(text, ensure_ascii=False).replace('|', chr(92) + '|')} |"
        for name, text in prompts.texts.items()
    )
    default = f"`encode` uses `{prompts.default_name}`." if prompts.default else "`encode` uses none by default."
    return PROMPTS.format(rows=rows, default=default)
