"""Texts longer than the limit of a model: the report has their number, also for killed and reusing runs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jina_data import Pipeline
from jina_data.clean import passes
from jina_data.clean.funnel import print_funnel
from jina_data.clean.report import CleanReport
from jina_data.errors import StoppedError
from jina_data.stages import Consistency, Stage, TripletMargin
from jina_data.stages.score_cache import CutCounts
from tests.support.files import write_parquet, write_tiny_cross_encoder

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
LIMIT = 64
"""The maximum tokens of the tiny model, with two special tokens for a text and three for a pair."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with random weights, which serves as embedder and as cross-encoder."""
    pytest.importorskip("sentence_transformers")
    return str(write_tiny_cross_encoder(tmp_path_factory.mktemp("tiny"), WORDS))


def text(n_words: int, first: int = 0) -> str:
    return " ".join(WORDS[(first + index) % len(WORDS)] for index in range(n_words))


FILES: tuple[list[dict[str, Any]], ...] = (
    [
        {"anchor": text(3), "positive": text(62), "negative": text(4)},
        {"anchor": text(4), "positive": text(63), "negative": text(58)},
        {"anchor": text(4), "positive": text(63), "negative": text(58)},
        {"anchor": text(5), "positive": "", "negative": None},
    ],
    [
        {"anchor": text(4), "positive": text(63), "negative": text(57)},
        {"anchor": text(90, 1), "positive": text(63, 2), "negative": text(2)},
    ],
)


def expected(of: str) -> tuple[int, int]:
    """Return the number of different texts, or pairs, that the stage scores, and how many of them are too long."""
    rows = [{name: value or "" for name, value in row.items()} for rows in FILES for row in rows]
    texts = {(row[name],) for row in rows for name in ("anchor", "positive")}
    pairs = {(row["anchor"], row["positive"]) for row in rows}
    pairs |= {(row["anchor"], row["negative"] or "") for rows in FILES for row in rows if row["negative"] is not None}
    scored = texts if of == "texts" else pairs
    lengths = [sum(len(part.split()) for part in item) + len(item) + 1 for item in scored]
    return len(scored), sum(length > LIMIT for length in lengths)


def clean(folder: Path, stage: Stage, out: str, **options: Any) -> CleanReport:
    names = [str(write_parquet(folder / f"{number}.parquet", rows)) for number, rows in enumerate(FILES)]
    return run(stage, names, folder / out, **options)


def run(stage: Stage, names: Sequence[str], out: Path, **options: Any) -> CleanReport:
    return Pipeline(stage).run(names, out, workers=1, device="cpu", **options)


def counted(report: CleanReport, kind: str) -> int:
    assert report.path is not None
    events = [json.loads(line) for line in (report.path / "events.jsonl").read_text().splitlines()]
    scores = [event["scores"] for event in events if event["event"] == "finish" and "scores" in event]
    return sum(counts.get(kind, 0) for unit_scores in scores for counts in unit_scores.values())


def test_the_cases_are_what_they_should_be() -> None:
    assert expected("texts") == (8, 3)
    assert expected("pairs") == (8, 5)


@pytest.mark.parametrize("of", ["texts", "pairs"])
def test_cut_texts_are_reported(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    """The numbers are the same in a fresh run, after a kill, and with all scores reused."""
    stage: Stage = Consistency(embedder=tiny) if of == "texts" else TripletMargin(model=tiny)
    report = clean(tmp_path, stage, "out")
    count, cut = expected(of)
    assert report.cut == [CutCounts(tiny, of, LIMIT, count, cut)]
    assert report.path is not None
    assert CleanReport.load(report.path).cut == report.cut
    assert counted(report, "computed") > count, "a text in both files is scored in both units"
    assert counted(report, "cut") > cut
    line = f"{cut} of {count} {of} were longer than the model's limit of 64 tokens and were cut ({tiny})"
    print_funnel(report, Console(file=(output := io.StringIO()), width=100))
    assert f"\n{line}\n" in output.getvalue()
    assert f"{line}.</p>".replace("'", "&#39;") in (report.path / "report.html").read_text()

    names = sorted(str(path) for path in tmp_path.glob("*.parquet"))
    with monkeypatch.context() as patch:
        patch.setattr(passes, "write_parquet", stop)
        with pytest.raises(StoppedError):
            run(stage, names, tmp_path / "killed")
    killed = run(stage, names, tmp_path / "killed")
    assert killed.cut == report.cut
    assert counted(killed, "reused") > 0, "the scores of the killed unit were cached, but its end event was missing"
    reused = run(stage, names, tmp_path / "reused", reuse=report.path)
    assert reused.cut == report.cut
    assert counted(reused, "computed") == 0


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_nothing_is_printed_if_nothing_is_cut(tiny: str, tmp_path: Path) -> None:
    rows = [{"anchor": text(3), "positive": text(4)}]
    names = [str(write_parquet(tmp_path / "rows.parquet", rows))]
    report = run(Consistency(embedder=tiny), names, tmp_path / "out")
    assert report.cut == [CutCounts(tiny, "texts", LIMIT, 2, 0)]
    print_funnel(report, Console(file=(output := io.StringIO()), width=100))
    assert "tokens" not in output.getvalue()


def test_the_static_model_cuts_nothing(tmp_path: Path) -> None:
    assert clean(tmp_path, Consistency(), "out").cut == []
