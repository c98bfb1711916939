"""The card and the recipe of a published run: languages, many sources, stages of the user, and repeating the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from jina_data import Language, Length, Pipeline
from jina_data.errors import LicenseError, UsageError
from jina_data.publish.card import check_languages, short_recipe
from jina_data.publish.flow import write_repository
from jina_data.publish.preview import warning_lines
from jina_data.publish.repository import Repository
from tests.support.cli import jina_data
from tests.support.files import write_jsonl
from tests.support.publish_runs import LICENSED

pytest.importorskip("datasets")

GERMAN = "Der Hund läuft langsam über die große Straße und bleibt dann stehen, Nummer"
ENGLISH = "The dog walks slowly across the wide street and then it stops again, number"


def write(run: Path, target: Path, **options: Any) -> Repository:
    return write_repository(replace(LICENSED, folder=run, **options), "me/texts", target)


def metadata(repository: Repository) -> dict[str, Any]:
    card: dict[str, Any] = yaml.safe_load((repository.folder / "README.md").read_text().split("---\n")[1])
    return card


def texts_run(folder: Path, rows: list[dict[str, Any]], *stages: Any, **columns: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_jsonl(folder / "rows.jsonl", rows)
    Pipeline(*stages, columns={"text": "text", **columns}).run(path, folder / "run")
    return folder / "run"


def test_the_published_recipe_repeats_the_run(tmp_path: Path) -> None:
    rows = [{"q": f"question number {i % 40}", "a": f"the answer is {i % 40}", "site": "ab"[i % 2]} for i in range(60)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = "stages:\n  - length: {min_words: 2}\n  - exact_dedup\n  - sample: {fraction: 0.5}\n"
    (tmp_path / "mine.yaml").write_text(recipe)
    roles = ("-c", "anchor=q", "-c", "positive=a", "-c", "source=site", "--seed", "7", "--limit", "50")
    assert jina_data("clean", "rows.jsonl", "-o", "run", "-p", "mine.yaml", *roles, cwd=tmp_path).returncode == 0
    write(tmp_path / "run", tmp_path / "repo")
    text = (tmp_path / "repo" / "recipe.yaml").read_text()
    assert text.startswith("# jina-data clean INPUT... -o DIR -p recipe.yaml --limit 50\n")
    published = yaml.safe_load(text)
    assert published["columns"] == {"anchor": ["q"], "positive": ["a"], "source": ["site"]}
    assert published["seed"] == 7
    again = ("clean", "rows.jsonl", "-o", "again", "-p", "repo/recipe.yaml", "--limit", "50")
    assert jina_data(*again, cwd=tmp_path).returncode == 0
    data = [(tmp_path / name / "data" / "part-00000.parquet").read_bytes() for name in ("run", "again")]
    assert hashlib.sha256(data[0]).digest() == hashlib.sha256(data[1]).digest()


def test_languages_come_from_the_recipe_else_from_the_labels(tmp_path: Path) -> None:
    rows = [{"text": f"{(GERMAN if i % 4 == 0 else ENGLISH)} {i}"} for i in range(40)]
    stated = texts_run(tmp_path / "stated", rows, Language(languages=("en",)))
    assert metadata(write(stated, tmp_path / "a"))["language"] == ["en"]
    found = texts_run(tmp_path / "found", rows, Language(languages="any"))
    assert metadata(write(found, tmp_path / "b"))["language"] == ["de", "en"]
    assert metadata(write(found, tmp_path / "c", languages=("fr",)))["language"] == ["fr"]
    assert "language" not in metadata(write(texts_run(tmp_path / "none", rows, Length()), tmp_path / "d"))


def test_codes_of_languages() -> None:
    assert check_languages(["de", "zh", "pt-BR", "de"]) == ("de", "zh", "pt-BR")
    with pytest.raises(UsageError, match="--language English: expected a code"):
        check_languages(["English"])


def test_many_sources_stay_short(tmp_path: Path) -> None:
    rows = [{"text": f"a text number {i}", "site": f"site-{i}"} for i in range(3000)]
    run = texts_run(tmp_path / "many", rows, Length(min_words=1), source="site")
    repository = write(run, tmp_path / "repo")
    card = (repository.folder / "README.md").read_text()
    assert len(card.splitlines()) < 250
    assert "| and 2,960 more sources | | | |" in card
    assert len(list(warning_lines(repository))) <= 12
    assert any("2,990 more sources have such a problem" in line for line in warning_lines(repository))
    with pytest.raises(LicenseError) as raised:
        write(run, tmp_path / "x", license=None)
    assert len(str(raised.value).splitlines()) <= 15
    assert "and 2,990 more sources" in str(raised.value)
    other = write(run, tmp_path / "other", license="other")
    assert "and 2,960 more sources; all licenses: unknown" in (other.folder / "LICENSE.md").read_text()
    assert len((run / "report.html").read_text()) < 10**5


def test_a_stage_of_the_user_is_shown_with_all_options(tmp_path: Path) -> None:
    run = texts_run(tmp_path / "own", [{"text": f"a text number {i}"} for i in range(5)], Length(min_words=1))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["recipe"]["stages"].append({"my_stage": {"level": 3}})
    (run / "manifest.json").write_text(json.dumps(manifest))
    card = (write(run, tmp_path / "repo").folder / "README.md").read_text()
    assert "- my_stage:\n    level: 3\n" in card
    assert yaml.safe_load(short_recipe("stages:\n- my_stage: null\n"))["stages"] == ["my_stage"]
