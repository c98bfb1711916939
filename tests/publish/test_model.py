"""Tests that a trained model is published with a card that states its license, and loads with sentence-transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.hub_server import Hub
from tests.support.publish_runs import LICENSED, loopback, send, tiny_model

pytest.importorskip("datasets")
pytest.importorskip("sentence_transformers")

from jina_data.errors import LicenseError, RunFolderError, UsageError
from jina_data.publish.flow import PublishConfig, write_repository

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with loopback(monkeypatch, tmp_path / "home") as hub:
        yield hub


def head(repository: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = yaml.safe_load((repository / "README.md").read_text().split("---\n")[1])
    return metadata


def test_a_model_is_published_and_loads(model: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer

    done = send(model, "me/tiny", replace(LICENSED, license="apache-2.0", verify=True))
    assert done.url == f"{hub.url}/me/tiny"
    assert len(hub.commits("me/tiny", "models")) == 1
    again = SentenceTransformer("me/tiny", cache_folder=str(tmp_path / "cache"), revision=done.commit)
    texts = ["a dog", "a cat runs"]
    assert (again.encode(texts) == SentenceTransformer(str(model)).encode(texts)).all()
    assert not send(model, "me/tiny", replace(LICENSED, license="apache-2.0")).is_new


def test_the_card_of_the_model_is_kept(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlicense: mit\ntags: [mine]\nlanguage: en\n---\n\n# My model\n")
    (model / ".publish").mkdir(exist_ok=True)
    (model / ".publish" / "lock").write_text("")
    repository = write_repository(PublishConfig(folder=model), "me/tiny", tmp_path / "repo")
    assert head(repository.folder)["license"] == "mit"
    assert head(repository.folder)["tags"][:2] == ["mine", "sentence-transformers"]
    assert "# My model" in (repository.folder / "README.md").read_text()
    assert not (repository.folder / ".publish").exists()
    assert repository.repo_type == "model"


def test_a_missing_card_is_written(model: Path, tmp_path: Path) -> None:
    (model / "README.md").unlink(missing_ok=True)
    options = replace(LICENSED, license="apache-2.0")
    repository = write_repository(replace(options, folder=model), "me/tiny", tmp_path / "repo")
    assert 'SentenceTransformer("me/tiny")' in (repository.folder / "README.md").read_text()
    assert head(repository.folder)["library_name"] == "sentence-transformers"


def test_the_card_lists_the_prompts(model: Path, tmp_path: Path) -> None:
    (model / "README.md").unlink(missing_ok=True)
    path = model / "config_sentence_transformers.json"
    values = json.loads(path.read_text())
    values |= {"prompts": {"query": "find | it: ", "document": ""}, "default_prompt_name": "query"}
    path.write_text(json.dumps(values))
    config = replace(LICENSED, license="apache-2.0", folder=model)
    card = (write_repository(config, "me/tiny", tmp_path / "repo").folder / "README.md").read_text()
    assert '| query | "find \\| it: " |' in card
    assert "`encode` uses `query`." in card
    assert json.loads((tmp_path / "repo" / path.name).read_text())["prompts"]["query"] == "find | it: "


def test_no_license_is_assumed(model: Path, tmp_path: Path) -> None:
    with pytest.raises(LicenseError, match=r"states no license; state one with --license"):
        write_repository(PublishConfig(folder=model), "me/tiny", tmp_path / "repo")
    with pytest.raises(UsageError, match="is not a license id"):
        write_repository(PublishConfig(license="mine", folder=model), "me/tiny", tmp_path / "repo")


@pytest.mark.parametrize("text", ["{", "[1]", '[{"path": "x"}]'])
def test_a_damaged_model_is_refused(model: Path, tmp_path: Path, text: str) -> None:
    (model / "modules.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"modules\.json cannot be read: .*Save the model again"):
        write_repository(replace(LICENSED, folder=model), "me/tiny", tmp_path / "repo")


def test_a_missing_module_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "modules.json").write_text('[{"path": "9_Gone", "type": "x"}]')
    with pytest.raises(RunFolderError, match="lists 9_Gone, which does not exist"):
        write_repository(replace(LICENSED, folder=model), "me/tiny", tmp_path / "repo")
