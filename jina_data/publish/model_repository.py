"""Build the repository of a trained model in a folder: its files, and a card with a licence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jina_data.errors import LicenseError
from jina_data.publish.licenses import check_license
from jina_data.publish.model_folder import TrainedModel
from jina_data.publish.repository import CARD, Repository, list_files

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
    """Copy the files of a model, and write its card: its own README.md, if it has one, with what the Hub needs.

    Raises:
        LicenseError: neither the card nor the user names a licence.
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

    own = model.folder / CARD
    text = own.read_text(encoding="utf-8") if own.is_file() else ""
    # The card's class wants metadata; a page without any gets an empty head.
    text = text if text.startswith("---") else f"---\n{{}}\n---\n{text}"
    card = ModelCard(text, ignore_metadata_errors=True)
    license_id = license_id or card.data.get("license")
    if not isinstance(license_id, str):
        raise LicenseError(f"the card of {model.folder} names no licence, and none is assumed; name one with --license")
    license_id = check_license(license_id, "--license")
    tags: list[Any] = list(card.data.get("tags") or ())
    card.data["license"] = license_id
    card.data["library_name"] = "sentence-transformers"
    card.data["pipeline_tag"] = "sentence-similarity"
    card.data["tags"] = [*tags, *(tag for tag in TAGS if tag not in tags)]
    if not card.text.strip():
        card.text = "\n" + BODY.format(title=repo_id.rsplit("/", 1)[-1], repo_id=repo_id)
    return str(card), license_id
