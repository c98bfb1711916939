"""`evaluate`: models on tasks by their names, results that are reused, and results that are computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mteb")

import jina_data
from jina_data import EvaluateConfig, evaluate
from jina_data.embed.static import StaticEmbedder
from jina_data.errors import UsageError
from jina_data.evaluate.run import load_models
from tests.support.files import write_parquet

ROWS = [
    {"sentence1": "a cat", "sentence2": "the cat", "score": 5.0},
    {"sentence1": "a dog", "sentence2": "a bird", "score": 2.0},
    {"sentence1": "a car", "sentence2": "a tree", "score": 0.0},
]


def test_results_are_reused_unless_overwrite_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "pairs.parquet", ROWS)
    config = EvaluateConfig(tasks=[f"sts:{path}"], models=["mine=static"])
    first = evaluate(config, tmp_path / "scores")
    assert first.models[0].label == "mine"
    assert first.models[0].tasks["pairs"].value == 1.0
    assert (tmp_path / "scores" / "report.json").exists()

    calls = list[int]()
    encode = StaticEmbedder.encode

    def counted(self: StaticEmbedder, texts: list[str], **options: object) -> object:
        calls.append(len(texts))
        return encode(self, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(StaticEmbedder, "encode", counted)
    assert evaluate(config, tmp_path / "scores").models == first.models
    assert calls == []
    assert evaluate(config, tmp_path / "scores", overwrite=True).models == first.models
    assert sum(calls) == 6


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "pairs.parquet", ROWS)
    monkeypatch.chdir(tmp_path)
    evaluate(EvaluateConfig(tasks=[f"sts:{path}"], models=["static"]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["pairs.parquet"]


def test_the_package_can_be_called_like_the_function() -> None:
    with pytest.raises(UsageError, match="a model occurs twice"):
        jina_data.evaluate(EvaluateConfig(tasks=["STS12"], models=["static", "static"]))


@pytest.mark.parametrize("argument", ["=static", "label="])
def test_an_empty_label_or_model_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="expected M, or LABEL=M"):
        load_models([argument], "cpu")
