"""The share of mismatched pairs: the estimate, the sources spared because of it, and the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from jina_data.stages.mismatch import MismatchAudit, audit, wilson
from rich.console import Console

from jina_data import CleanReport, Pipeline
from jina_data.clean.funnel import print_funnel
from jina_data.clean.recipe import Recipe
from jina_data.errors import RecipeError
from jina_data.stages.consistency import Consistency
from tests.support.files import write_parquet

DEMO = Path(__file__).parents[1] / "data" / "demo"
KIND = pa.schema([("anchor", pa.string()), ("positive", pa.string()), ("source", pa.string())])


@pytest.fixture(scope="module")
def commands() -> list[tuple[str, str]]:
    """Return descriptions and commands: good pairs that the static model cannot judge."""
    with (DEMO / "commands.csv").open(encoding="utf-8", newline="") as lines:
        rows = [(row["question"], row["answer"]) for row in csv.DictReader(lines) if row["lang"] == "en"]
    return [(anchor, positive) for anchor, positive in rows if anchor and positive]


@pytest.fixture(scope="module")
def copies() -> list[tuple[str, str]]:
    """Return pairs of nearly equal sentences, which the static model judges well."""
    import pyarrow.parquet as pq

    table = pq.read_table(DEMO / "sentences.parquet", columns=["text"])
    texts = dict.fromkeys(text for text in table["text"].to_pylist() if text and len(text.split()) > 5)
    return [(text, " ".join(text.split()[1:])) for text in texts][:1500]


def run(folder: Path, rows: Sequence[tuple[str, str, str]], stage: Consistency, **options: Any) -> CleanReport:
    path = folder / "pairs.parquet"
    write_parquet(path, [dict(zip(KIND.names, row, strict=True)) for row in rows], KIND)
    columns = {name: name for name in KIND.names}
    return Pipeline(stage, columns=columns).run(path, folder / options.pop("out", "out"), device="cpu", **options)


def general(notice: str, source: str) -> bool:
    """Return whether a notice is the one on a stage that drops many rows of a source; it needs no audit."""
    return notice.startswith("consistency drops ") and f" of {source}, most of them as inconsistent. " in notice


def shuffled(pairs: Sequence[tuple[str, str]], share: float) -> list[tuple[str, str]]:
    """Rotate the positives of a share of the pairs."""
    some = np.sort(np.random.default_rng(0).permutation(len(pairs))[: int(share * len(pairs))])
    origin = np.arange(len(pairs))
    origin[some] = np.roll(some, 1)
    return [(anchor, pairs[at][1]) for (anchor, _), at in zip(pairs, origin.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (1, 1000, 0.00018, 0.00564)],
)
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    found = wilson(hits, n)
    assert list(found) == pytest.approx([low, high], abs=5e-5)


def test_audit_counts_by_source() -> None:
    pairs = [("b", True, True), ("a", False, True), (None, False, False), ("b", False, True), ("b", False, False)]
    assert audit(pairs, None) == [
        {"source": "a", "rows": 1, "far": 0, "over": 1, "spared": False},
        {"source": "b", "rows": 3, "far": 1, "over": 2, "spared": False},
        {"source": None, "rows": 1, "far": 0, "over": 0, "spared": False},
    ]


@pytest.mark.parametrize(
    ("far", "over", "spared"),
    [(0, 200, True), (0, 10, False), (0, 0, False), (150, 340, False), (150, 800, True), (500, 1000, False)],
)
def test_a_source_is_spared_if_too_little_of_what_falls_can_be_wrong(far: int, over: int, spared: bool) -> None:
    pairs = [("here", at < far, at < over) for at in range(1000)]
    (found,) = audit(pairs, 0.75)
    assert found["spared"] is spared


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_the_estimate_finds_what_was_shuffled(tmp_path: Path, copies: list[tuple[str, str]], share: float) -> None:
    rows = [(*pair, "here") for pair in shuffled(copies, share)]
    (found,) = run(tmp_path, rows, Consistency(top_k=10, min_precision=0.75)).mismatch
    n = found.sampled
    assert n == min(1000, len(copies))
    low, high = (2 * one for one in wilson(round(found.share * n / 2), n))
    assert low - 0.02 <= share <= high + 0.02
    assert found.at_most == pytest.approx(min(1.0, high), abs=1e-3)
    assert not found.spared
    assert found.dropped / found.rows == pytest.approx(share, abs=0.03)


def test_pairs_that_the_model_does_not_know_are_left_alone(
    tmp_path: Path, commands: list[tuple[str, str]], copies: list[tuple[str, str]]
) -> None:
    rows = [(*pair, "commands") for pair in commands] + [(*pair, "copies") for pair in shuffled(copies, 0.2)]
    strict = run(tmp_path, rows, Consistency(top_k=2))
    careful = run(tmp_path, rows, Consistency(top_k=2, min_precision=0.75), out="careful")
    fell = {part.name: part.dropped for part in careful.sources}
    fell_strict = {part.name: part.dropped for part in strict.sources}
    assert fell_strict["commands"] > 0.2 * len(commands)
    assert fell == {"commands": 0, "copies": fell_strict["copies"]}
    assert fell["copies"] >= 0.19 * len(copies)
    # Its ranks are recorded all the same, so that a threshold can be chosen.
    assert [score.count for score in careful.scores] == [score.count for score in strict.scores]
    assert [one.source for one in careful.mismatch if one.spared] == ["commands"]
    told = [notice for notice in careful.warnings if not general(notice, "copies")]
    assert len(told) == 1
    assert told[0].startswith("consistency was skipped for commands: it would drop ")
    told = [notice for notice in strict.warnings if notice.startswith("consistency dropped ")]
    assert len(told) == 1
    assert " of the pairs of commands, but only about " in told[0]
    assert any(general(notice, "commands") for notice in strict.warnings)


def test_the_notice_is_printed_and_on_the_page(tmp_path: Path, commands: list[tuple[str, str]]) -> None:
    rows = [(*pair, "<b>here</b>") for pair in commands]
    report = run(tmp_path, rows, Consistency(top_k=2, min_precision=0.75))
    assert report.path is not None
    shown = StringIO()
    print_funnel(report, Console(file=shown, width=400))
    assert "warning: consistency was skipped for <b>here</b>: it would drop " in shown.getvalue()
    page = (report.path / "report.html").read_text(encoding="utf-8")
    assert "consistency was skipped for &lt;b&gt;here&lt;/b&gt;: it would drop" in page
    assert "<b>here" not in page
    assert json.loads((report.path / "report.json").read_text())["mismatch"][0]["spared"] is True
    assert CleanReport.load(report.path).mismatch == report.mismatch


def test_small_sources_are_looked_at_together(
    tmp_path: Path, copies: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jina_data.stages import consistency

    monkeypatch.setattr(consistency, "AUDITED_SOURCES", 2)
    sizes = {"large": 150, "medium": 100, "small": 50, "tiny": 25}
    names = [name for name, size in sizes.items() for _ in range(size)]
    rows = [(*pair, name) for pair, name in zip(copies, names, strict=False)]
    found = run(tmp_path, rows, Consistency(top_k=10, audit_rows=60)).mismatch
    assert [(one.source, one.rows, one.sampled) for one in found] == [
        ("large", 150, 60),
        ("medium", 100, 60),
        (None, 75, 60),
    ]


@pytest.mark.parametrize("pool_by", ["all", "source"])
def test_batches_and_workers_do_not_change_the_estimate(
    tmp_path: Path, commands: list[tuple[str, str]], pool_by: str
) -> None:
    rows = [(*pair, f"part {at % 3}") for at, pair in enumerate(commands[:600])]
    stage = Consistency(top_k=10, audit_rows=100, pool_by=pool_by, min_precision=0.75)  # type: ignore[arg-type]
    first = run(tmp_path, rows, stage)
    second = run(tmp_path, rows, stage, out="again", workers=2, batch_rows=77)
    assert first.mismatch == second.mismatch
    assert [one.source for one in first.mismatch] == ["part 0", "part 1", "part 2"]
    assert first.rows == second.rows


def test_without_an_audit_nothing_is_estimated(tmp_path: Path, commands: list[tuple[str, str]]) -> None:
    report = run(tmp_path, [(*pair, "here") for pair in commands[:200]], Consistency(audit_rows=0))
    assert report.mismatch == []
    (told,) = report.warnings
    assert general(told, "here")
    with pytest.raises(RecipeError, match="min_precision needs audit_rows"):
        Recipe.parse("stages:\n  - consistency: {audit_rows: 0, min_precision: 0.5}\n", "my.yaml")


def test_nothing_gets_there(tmp_path: Path) -> None:
    assert run(tmp_path, [], Consistency()).mismatch == []


def test_the_intervals_of_the_estimate_hold_the_truth() -> None:
    rng = np.random.default_rng(7)
    truth, inside = 0.2, 0
    for _ in range(200):
        far = int(rng.binomial(500, truth / 2))
        inside += truth <= MismatchAudit("one", 500, far, 0).upper_bound
    assert inside >= 190  # the upper end of a 95 % interval: 97.5 % expected, 195 of 200


def test_ranks_to_the_end_are_as_the_reference_has_them(tmp_path: Path, commands: list[tuple[str, str]]) -> None:
    from jina_data.embed.load import load_embedder

    pairs = list(dict.fromkeys(commands))[:300]
    (found,) = run(tmp_path, [(*pair, "here") for pair in pairs], Consistency(top_k=3)).mismatch
    embedder = load_embedder("static")
    anchors, positives = (embedder.encode(list(side)).astype(np.float64) for side in zip(*pairs, strict=True))
    fold = [" ".join(positive.split()).casefold() for _, positive in pairs]
    anchor_of = [" ".join(anchor.split()).casefold() for anchor, _ in pairs]
    pool = {text: at for at, text in reversed(list(enumerate(fold)))}
    own: dict[str, set[str]] = {}
    for anchor, text in zip(anchor_of, fold, strict=True):
        own.setdefault(anchor, set()).add(text)
    far = over = 0
    for at, anchor in enumerate(anchor_of):
        others = [place for text, place in pool.items() if text not in own[anchor]]
        above = int((positives[others] @ anchors[at] > positives[at] @ anchors[at]).sum())
        far += 2 * above > len(others)
        over += above >= 3
    assert (found.sampled, found.share, found.over) == (300, round(2 * far / 300, 4), round(over / 300, 4))
    assert far
    assert over
