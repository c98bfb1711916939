"""Ablations: the variants, the scores, and resuming a stopped run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.files import write_parquet

torch = pytest.importorskip("torch")
pytest.importorskip("mteb")

from jina_data.clean.recipe import Recipe
from jina_data.errors import RunFolderError, StoppedError, UsageError
from jina_data.evaluate.ablation import AblateConfig, ablate, variants_of
from jina_data.evaluate.ablation_report import AblateReport, Estimate, VariantScores

WORDS = ["kettle", "egg", "water", "pan", "lid", "salt", "oven", "bread", "knife", "plate", "bowl", "spoon"]
WORDS += ["rice", "onion", "pepper", "butter"]
RECIPE = """\
columns: {anchor: anchor, positive: positive}
stages:
  - normalize
  - length: {max_words: 100}
  - rules
  - exact_dedup
"""


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs, of which four occur twice and one is the same text twice; and a task."""
    folder = tmp_path_factory.mktemp("kitchen")
    rows = [{"anchor": f"how to use the {a} {b}", "positive": f"take the {b} and the {a}"} for a, b in _pairs(40)]
    rows += [*rows[:4], {"anchor": "the same text", "positive": "the same text"}]
    write_parquet(folder / "pairs.parquet", rows)
    scored = [
        {"sentence1": f"the {a}", "sentence2": f"the {b}", "score": float(number % 5)}
        for number, (a, b) in enumerate(_pairs(30))
    ]
    write_parquet(folder / "task.parquet", scored)
    write_start(folder / "start", [row["anchor"] for row in rows])
    return folder


def write_start(folder: Path, texts: list[str]) -> None:
    """Save a small table of random token vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from jina_data.encoder import train_wordpiece

    torch.manual_seed(0)
    table = StaticEmbedding(train_wordpiece(texts, vocab_size=100), embedding_dim=8)
    SentenceTransformer(modules=[table], device="cpu").save(str(folder))


def _pairs(n: int) -> Iterator[tuple[str, str]]:
    for number in range(n):
        yield WORDS[number % 16], WORDS[(number * 7 + number // 16 + 1) % 16]


def config(folder: Path, **changes: Any) -> AblateConfig:
    values: dict[str, Any] = {"tasks": (str(folder / "task.parquet"),), "steps": 2, "batch_size": 8, "seeds": 2}
    inputs = [str(folder / "pairs.parquet")]
    return AblateConfig(recipe=Recipe.parse(RECIPE), inputs=inputs, **{**values, "learning_rate": 0.01, **changes})


def run(folder: Path, out: Path, *, overwrite: bool = False, progress: Any = None, **changes: Any) -> AblateReport:
    return ablate(config(folder, **changes), out, overwrite=overwrite, progress=progress)


class Recorder:
    """Records all messages; may stop the run at a message with a given beginning."""

    def __init__(self, stop: str | None = None) -> None:
        self.lines: list[str] = []
        self.stop = stop

    def message(self, text: str) -> None:
        self.lines.append(text)
        if self.stop and text.startswith(self.stop):
            raise KeyboardInterrupt

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Any]:
        self.lines.append(name)
        yield None


@pytest.fixture(scope="module")
def report(kitchen: Path) -> AblateReport:
    return run(kitchen, kitchen / "out")


def test_each_variant_keeps_the_rows_of_its_filters(kitchen: Path, report: AblateReport) -> None:
    assert [(variant.name, variant.rows, variant.same_as) for variant in report.variants] == [
        ("start", None, None),
        ("none", 45, None),
        ("length", 45, "none"),
        ("rules", 44, None),
        ("exact_dedup", 41, None),
        ("all", 40, None),
    ]
    for variant in report.variants[1:]:
        kept = pq.read_table(kitchen / "out" / "clean" / variant.name / "data")
        assert len(kept) == variant.rows
    assert sorted(path.name for path in (kitchen / "out").iterdir()) == [
        *("clean", "events.jsonl", "manifest.json", "plot.png", "report.json", "scores")
    ]


def test_the_report_has_the_scores_of_the_runs(kitchen: Path, report: AblateReport) -> None:
    written = json.loads((kitchen / "out" / "report.json").read_text(encoding="utf-8"))
    assert AblateReport.load(kitchen / "out").to_json() == report.to_json() == written
    by_name = {variant["name"]: variant for variant in written["variants"]}
    for name in ("none", "rules", "exact_dedup", "all"):
        files = [kitchen / "out" / "scores" / f"{name}-seed-{seed}.json" for seed in (0, 1)]
        scores = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        assert by_name[name]["seeds"] == scores
        values = [score["task"] for score in scores]
        assert by_name[name]["scores"]["task"]["mean"] == pytest.approx(sum(values) / 2)
    assert by_name["length"]["seeds"] == by_name["none"]["seeds"]
    assert by_name["length"]["against_none"]["task"] == {"mean": 0, "low": 0, "high": 0}
    assert by_name["none"]["seeds"][0] != by_name["all"]["seeds"][0]


def test_a_stopped_ablation_resumes(kitchen: Path, tmp_path: Path, report: AblateReport) -> None:
    out = tmp_path / "out"
    with pytest.raises(StoppedError, match="Run the same command again to resume"):
        run(kitchen, out, progress=Recorder(stop="training 7 of"))
    done = {path.name: path.stat().st_mtime_ns for path in (out / "scores").iterdir()}
    assert sorted(done) == [*("none-seed-0.json", "none-seed-1.json", "rules-seed-0.json", "rules-seed-1.json")]
    again = run(kitchen, out)
    assert {name: (out / "scores" / name).stat().st_mtime_ns for name in done} == done
    assert [variant.seeds for variant in again.variants] == [variant.seeds for variant in report.variants]
    progress = Recorder()
    assert run(kitchen, out, progress=progress).to_json() == again.to_json()
    assert progress.lines == [f"{out} is finished: same inputs, same settings; nothing to do"]
    with pytest.raises(RunFolderError, match=r"finished run with .*Name another folder, or .* --overwrite"):
        run(kitchen, out, steps=3)


def test_estimates() -> None:
    estimate = Estimate.over([0.5, 0.6, 0.7])
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's t with two degrees of freedom
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert Estimate.over([0.5]) == Estimate(0.5)
    none = VariantScores("none", 9, None, [{"a": 0.1, "b": 0.3}, {"a": 0.2, "b": 0.4}])
    best = VariantScores("all", 8, None, [{"a": 0.2, "b": 0.5}, {"a": 0.3, "b": 0.6}])
    report = AblateReport(Path(), [none, best])
    assert report.columns == ["a", "b", "average"]
    assert report.difference("all", "average").to_json() == pytest.approx({"mean": 0.15, "low": 0.15, "high": 0.15})


def test_variants() -> None:
    recipe = Recipe.parse(
        "stages: [normalize, length: {min_words: 1}, rules, length: {max_words: 9}, sample: {count: 5}]"
    )
    stages = {name: [stage.name for stage in variant.stages] for name, variant in variants_of(recipe).items()}
    assert stages == {
        "none": ["normalize", "sample"],
        "length": ["normalize", "length", "sample"],
        "rules": ["normalize", "rules", "sample"],
        "length#2": ["normalize", "length", "sample"],
        "all": ["normalize", "length", "rules", "length", "sample"],
    }
    assert list(variants_of(Recipe.parse("stages: [rules]"))) == ["none", "rules"]
    with pytest.raises(UsageError, match="no filter to compare; its stages are normalize"):
        variants_of(Recipe.parse("stages: [normalize]"))


def test_a_preset_without_a_tokenizer_is_refused(kitchen: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small is a preset, which needs --tokenizer"):
        run(kitchen, tmp_path / "out", model="small")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"tasks": ()}, "no task given"), ({"seeds": 1}, "seeds is 1; expected 2 or more")],
)
def test_invalid_options(kitchen: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(kitchen, **changes)
