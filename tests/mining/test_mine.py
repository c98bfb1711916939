"""jina-data mine: comparison with sentence-transformers, excluded texts, the run folder, kills, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.embed.load import load_embedder
from jina_data.errors import InputError, JinaDataError, RunFolderError, UsageError
from jina_data.kernels.keys import fold_text
from jina_data.mining import pairs as mining_pairs
from jina_data.mining.config import MineConfig
from jina_data.mining.report import MineReport, print_report
from jina_data.mining.run import mine
from tests.support.files import write_jsonl, write_parquet, write_tiny_cross_encoder

Row = dict[str, Any]

WORDS = [
    *("heart", "liver", "lung", "kidney", "brain", "pain", "fever", "cough", "rash", "treatment", "causes"),
    *("symptoms", "rare", "adult", "child", "acute"),
]


def sentence(rng: np.random.Generator, n_words: int) -> str:
    return " ".join(rng.choice(WORDS, n_words))


def pair_rows(n: int, seed: int = 0) -> list[Row]:
    """Return pairs; some share an anchor, some a positive."""
    rng = np.random.default_rng(seed)
    anchors = [f"{sentence(rng, 4)} {number}?" for number in range(n * 3 // 4)]
    positives = [f"{sentence(rng, 9)} {number}." for number in range(n * 7 // 8)]
    return [{"anchor": anchors[row % len(anchors)], "positive": positives[row % len(positives)]} for row in range(n)]


def run(folder: Path, rows: Sequence[Row], corpus: Sequence[str] = (), **options: Any) -> MineReport:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_parquet(folder / "pairs.parquet", rows)
    more = [str(write_parquet(folder / "corpus.parquet", [{"text": text} for text in corpus]))] if corpus else []
    return mine(MineConfig(inputs=[str(path)], corpus=more, **options), folder / "out")


def rows_of(report: MineReport, name: str = "data") -> list[Row]:
    assert report.path is not None
    table_rows: list[Row] = pq.read_table(report.path / name).to_pylist()
    return table_rows


def triplets(report: MineReport) -> set[tuple[str, ...]]:
    return {tuple(row.values()) for row in rows_of(report)}


# --------------------------------------------------------------------------------- equal to sentence-transformers


class StaticModel:
    """The model interface that `mine_hard_negatives` uses, with the vectors of jina-data."""

    device = "cpu"

    def encode_query(self, texts: Sequence[str], **_: Any) -> npt.NDArray[np.float32]:
        return load_embedder("static").encode(texts).astype(np.float32)

    encode_document = encode_query

    def similarity(self, anchors: Any, texts: Any) -> Any:
        import torch

        return torch.as_tensor(anchors) @ torch.as_tensor(texts).T

    def similarity_pairwise(self, anchors: Any, texts: Any) -> Any:
        import torch

        return (torch.as_tensor(anchors) * torch.as_tensor(texts)).sum(1)


def theirs(rows: Sequence[Row], corpus: Sequence[str] = (), **options: Any) -> set[tuple[str, ...]]:
    """Return what sentence-transformers mines from the same vectors."""
    datasets = pytest.importorskip("datasets")
    mining = pytest.importorskip("sentence_transformers.util")
    mined = mining.mine_hard_negatives(
        datasets.Dataset.from_list(list(rows)), StaticModel(), corpus=list(corpus) or None, verbose=False, **options
    )
    return {tuple(row.values()) for row in mined}


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 1},
        {"num_negatives": 4},
        {"range_min": 3, "num_negatives": 2},
        {"range_min": 2, "range_max": 8, "num_negatives": 6},
        {"max_score": 0.7, "num_negatives": 3},
        {"max_score": 0.75, "min_score": 0.6, "num_negatives": 5, "range_max": 90},
        {"absolute_margin": 0.0, "num_negatives": 2},
        {"absolute_margin": 0.1, "range_max": 90},
        {"relative_margin": 0.05, "num_negatives": 2, "range_max": 90},
        {"relative_margin": 0.1, "max_score": 0.6, "range_min": 1, "num_negatives": 2, "range_max": 90},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["triplet", "n-tuple"])
@pytest.mark.parametrize("with_corpus", [False, True])
def test_the_negatives_are_those_of_sentence_transformers(
    tmp_path: Path, options: Mapping[str, Any], form: str, with_corpus: bool
) -> None:
    rows = pair_rows(56)
    rng = np.random.default_rng(5)
    corpus = [f"{sentence(rng, 8)} c{number}" for number in range(30)] if with_corpus else []
    ours = triplets(run(tmp_path, rows, corpus, **options, output_format=form))
    # Without `range_max`, sentence-transformers looks at a few candidates only; with 200, at all of them.
    expected = theirs(rows, corpus, **{"range_max": 200, **options}, output_format=form)
    assert ours
    assert ours == expected


def test_sentence_transformers_mines_the_positive_written_otherwise(tmp_path: Path) -> None:
    rows = [*pair_rows(24), {"anchor": "acute heart pain", "positive": "Acute heart pains."}]
    triplet = ("acute heart pain", "Acute heart pains.", "ACUTE heart  pains.")
    assert triplet in theirs(rows, [triplet[2]], num_negatives=1)
    assert triplet not in triplets(run(tmp_path, rows, [triplet[2]]))


def test_sentence_transformers_mines_the_anchor_itself(tmp_path: Path) -> None:
    rows = [*pair_rows(24), {"anchor": "acute heart pain", "positive": "Treatment of the heart."}]
    itself = ("acute heart pain", "Treatment of the heart.", "acute heart pain")
    assert itself in theirs(rows, ["acute heart pain"], num_negatives=1)
    assert itself not in triplets(run(tmp_path, rows, ["acute heart pain"]))


def test_sentence_transformers_stops_at_the_end_of_its_window(tmp_path: Path) -> None:
    """It looks at 10 candidates per negative (here two more), no matter how many of them are too close."""
    rng = np.random.default_rng(3)
    rows = [{"anchor": "heart pain", "positive": "liver rash"}, *pair_rows(12)]
    corpus = [f"heart pain {number}" for number in range(20)] + [sentence(rng, 6) for _ in range(20)]
    options: dict[str, Any] = {"max_score": 0.3, "num_negatives": 1}
    assert not any(row[0] == "heart pain" for row in theirs(rows, corpus, **options))
    (negative_row,) = [row for row in rows_of(run(tmp_path, rows, corpus, **options)) if row["anchor"] == "heart pain"]
    vectors = load_embedder("static").encode(["heart pain", negative_row["negative"]]).astype(np.float64)
    assert vectors[0] @ vectors[1] <= 0.3


def test_sentence_transformers_looks_further_when_another_anchor_has_more_positives(tmp_path: Path) -> None:
    """`range_max` 2 is 3 for an anchor with one positive if another has two: the filters then accept the third."""
    many = [{"anchor": "adult child", "positive": f"adult child {number}"} for number in range(8)]
    rows = [{"anchor": "heart pain", "positive": "rare rash"}, *many]
    corpus = ["heart pain 1", "heart pain 2", "heart fever"]
    options: dict[str, Any] = {"range_max": 2, "num_negatives": 1, "max_score": 0.85}
    vectors = load_embedder("static").encode(["heart pain", *corpus]).astype(np.float64)
    near = vectors[1:] @ vectors[0]
    assert (near > 0.85).tolist() == [True, True, False]  # the two closest are too close
    assert any(row[0] == "heart pain" for row in theirs(rows, corpus, **options))
    assert not any(row[0] == "heart pain" for row in triplets(run(tmp_path, rows, corpus, **options)))


# ------------------------------------------------------------------------------------------ what is a negative


def test_no_negative_is_a_positive_of_its_anchor_or_the_anchor(tmp_path: Path) -> None:
    rows = pair_rows(80)
    rows += [{"anchor": row["anchor"].upper(), "positive": f"  {row['positive'].title()} "} for row in rows[:20]]
    corpus = [*[row["positive"].replace(" ", "  ") for row in rows], *[row["anchor"].upper() for row in rows]]
    report = run(tmp_path, rows, corpus, num_negatives=5)
    excluded: dict[str, set[str]] = {}
    for row in rows:
        anchor = fold_text(row["anchor"])
        excluded.setdefault(anchor, {anchor}).add(fold_text(row["positive"]))
    data = rows_of(report)
    assert len(data) == 5 * len(rows)
    assert not any(fold_text(row["negative"]) in excluded[fold_text(row["anchor"])] for row in data)


def test_random_negatives_depend_on_seed_and_content_alone(tmp_path: Path) -> None:
    rows = pair_rows(60)
    options: dict[str, Any] = {"sampling_strategy": "random", "range_max": 30, "num_negatives": 3}
    first = triplets(run(tmp_path / "a", rows, **options))
    assert triplets(run(tmp_path / "b", list(reversed(rows)), **options)) == first
    other = triplets(run(tmp_path / "c", rows, seed=1, **options))
    top = triplets(run(tmp_path / "d", rows, num_negatives=3))
    assert len({len(first), len(other), len(top)}) == 1
    assert len(first & other) < len(first) / 2 > len(first & top)
    # All are among the 30 closest.
    closest = triplets(run(tmp_path / "e", rows, num_negatives=30))
    assert first <= closest


def test_units_do_not_change_the_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pair_rows(90)
    whole = rows_of(run(tmp_path / "a", rows, relative_margin=0.02))
    for module in ("pairs", "store", "run", "outputs"):
        monkeypatch.setattr(f"jina_data.mining.{module}.UNIT_ROWS", 7)
    monkeypatch.setattr("jina_data.mining.outputs.SHARD_UNITS", 3)
    cut = run(tmp_path / "b", rows, relative_margin=0.02)
    assert len(list((tmp_path / "b" / "out" / "data").iterdir())) == 5
    assert rows_of(cut) == whole


def test_a_cross_encoder_refuses_candidates_near_the_positive(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from jina_data.embed.cross_encoder import load_pair_scorer

    (tmp_path / "model").mkdir()
    model = str(write_tiny_cross_encoder(tmp_path / "model", WORDS))
    rows = pair_rows(40)
    report = run(tmp_path, rows, num_negatives=2, cross_encoder=model, cross_margin=0.1)
    scorer = load_pair_scorer(model, "cpu")

    def scored(pairs: Sequence[Row], role: str) -> list[float]:
        logits = scorer.score([row["anchor"] for row in pairs], [row[role] for row in pairs])
        scores: list[float] = (1 / (1 + np.exp(-logits.astype(np.float64)))).tolist()
        return scores

    lowest: dict[str, float] = {}
    for row, score in zip(rows, scored(rows, "positive"), strict=True):
        lowest[row["anchor"]] = min(score, lowest.get(row["anchor"], 1.0))
    data = rows_of(report)
    assert data
    assert report.cross_refused
    # The negatives are the first candidates that pass, in the order of similarity.
    plain = rows_of(run(tmp_path / "plain", rows, num_negatives=20))
    passing: dict[tuple[str, str], list[str]] = {}
    for row, score in zip(plain, scored(plain, "negative"), strict=True):
        if score <= lowest[row["anchor"]] - 0.1:
            passing.setdefault((row["anchor"], row["positive"]), []).append(row["negative"])
    mined: dict[tuple[str, str], list[str]] = {}
    for row in data:
        mined.setdefault((row["anchor"], row["positive"]), []).append(row["negative"])
    assert mined == {pair: negatives[:2] for pair, negatives in passing.items()}
    ledger = rows_of(report, "ledger")
    assert sum(len(row["cross_scores"]) for row in ledger) == len(data)


# ------------------------------------------------------------------------------------------------ the run folder


@pytest.mark.parametrize("form", ["triplet", "n-tuple"])
def test_every_pair_is_accounted_for(tmp_path: Path, form: str) -> None:
    rows = [{**row, "source": "ab"[number % 2]} for number, row in enumerate(pair_rows(60))]
    options: dict[str, Any] = {"num_negatives": 4, "min_score": 0.7 if form == "triplet" else 0.6}
    report = run(tmp_path, rows, **options, output_format=form, roles={"source": ("source",)})
    ledger, dropped, data = (rows_of(report, name) for name in ("ledger", "dropped", "data"))
    assert [(row["row"], row["source"]) for row in ledger] == [(n, row["source"]) for n, row in enumerate(rows)]
    enough = [len(row["scores"]) >= (4 if form == "n-tuple" else 1) for row in ledger]
    assert [row["kept"] for row in ledger] == enough
    assert 0 < sum(enough) < len(rows)
    assert [row["_row"] for row in dropped] == [n for n, kept in enumerate(enough) if not kept]
    assert {row["_reason"] for row in dropped} == {"too_few_negatives"} == set(report.dropped)
    assert report.rows == {"read": 60, "kept": sum(enough), "dropped": 60 - sum(enough)}
    assert len(data) == report.written == sum(row["written"] for row in ledger)
    names = ["negative"] if form == "triplet" else [f"negative_{n}" for n in range(1, 5)]
    assert list(data[0]) == ["anchor", "positive", *names]
    assert sum(int(n) * count for n, count in report.negatives.items()) == sum(len(row["scores"]) for row in ledger)
    assert [source["name"] for source in report.sources] == ["a", "b"]
    # Scores and partners are those of the texts.
    row = next(row for row in ledger if row["kept"])
    number = int(row["partners"][0].rpartition(":")[2])
    texts = [rows[row["row"]]["anchor"], rows[row["row"]]["positive"], rows[number]["positive"]]
    anchor, positive, negative = load_embedder("static").encode(texts).astype(np.float64)
    assert row["positive_score"] == pytest.approx(anchor @ positive, abs=1e-12)
    assert row["scores"][0] == pytest.approx(anchor @ negative, abs=1e-12)
    assert MineReport.load(tmp_path / "out") == report


def test_a_pair_without_a_source_is_of_its_file(tmp_path: Path) -> None:
    rows = [{**row, "source": None if number else "a"} for number, row in enumerate(pair_rows(8))]
    report = run(tmp_path, rows, num_negatives=1, roles={"source": ("source",)})
    assert {source["name"]: source["read"] for source in report.sources} == {"a": 1, str(tmp_path / "pairs.parquet"): 7}


def test_the_audit_counts_possible_false_negatives(tmp_path: Path) -> None:
    rows = [*pair_rows(30), {"anchor": "acute heart pain", "positive": "something else entirely"}]
    report = run(tmp_path, rows, ["Acute heart pain in adults"], num_negatives=2, audit_quantile=0.9)
    kept = [row for row in rows_of(report, "ledger") if row["kept"]]
    above = sum(score >= row["positive_score"] for row in kept for score in row["scores"])
    limit = np.quantile([row["positive_score"] for row in kept], 0.9)
    assert report.audit["above_positive"] == above > 0
    assert report.audit["above_quantile"] == sum(score >= limit for row in kept for score in row["scores"])
    worst = report.audit["samples"][0]
    assert (worst["anchor"], worst["negative"]) == ("acute heart pain", "Acute heart pain in adults")
    assert worst["place"].endswith("pairs.parquet:30")
    assert worst["partner"].endswith("corpus.parquet:0")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "something else entirely" in page.replace("<mark>", "").replace("</mark>", "")


@pytest.mark.parametrize("form", ["triplet", "n-tuple"])
def test_a_run_can_be_published(tmp_path: Path, form: str) -> None:
    pytest.importorskip("datasets")
    from jina_data.publish.flow import PublishConfig, write_repository

    report = run(tmp_path, pair_rows(60), num_negatives=2, min_score=0.65, output_format=form)
    assert report.rows["dropped"]
    repository = write_repository(
        PublishConfig(license="cc0-1.0", folder=tmp_path / "out"), "me/mined", tmp_path / "repository"
    )
    names = ["negative"] if form == "triplet" else ["negative_1", "negative_2"]
    first, full = (pq.read_table(repository.folder / config.name).to_pylist() for config in repository.configs)
    assert [list(row.values()) for row in first] == [list(row.values()) for row in rows_of(report)]
    assert list(first[0]) == ["anchor", "positive", *names]
    rows = pair_rows(60)
    assert all(rows[row["_row"]]["anchor"] == row["anchor"] for row in full)
    anchors, *others = (
        load_embedder("static").encode([row[name] for row in full]).astype(np.float64)
        for name in ("anchor", "positive", *names)
    )
    expected = np.stack([np.einsum("nd,nd->n", anchors, vectors) for vectors in others], axis=1)
    scores = [[row["_positive_score"], *row["_scores"]] for row in full]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert {row["_source"] for row in full} == {"pairs.parquet"}
    assert "similar to the anchor" in (repository.folder / "README.md").read_text(encoding="utf-8")


def test_a_second_call_does_nothing_and_other_options_are_refused(tmp_path: Path) -> None:
    rows = pair_rows(12)
    path = write_parquet(tmp_path / "pairs.parquet", rows)
    arguments = ["mine", str(path), "-o", str(tmp_path / "out"), "--num-negatives", "1"]
    first = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert first.exit_code == 0
    assert "12 rows for 12 of 12 pairs" in first.stdout
    before = (tmp_path / "out" / "events.jsonl").read_bytes()
    again = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "is finished: same inputs, same settings; nothing to do" in again.stderr
    assert (tmp_path / "out" / "events.jsonl").read_bytes() == before
    with pytest.raises(RunFolderError, match="finished run with another --range-min"):
        CliRunner().invoke(cli, [*arguments, "--range-min", "1"], catch_exceptions=False)
    other = CliRunner().invoke(cli, [*arguments, "--range-min", "1", "--overwrite", "-q"], catch_exceptions=False)
    assert (other.exit_code, other.stdout) == (0, "")
    assert MineReport.load(tmp_path / "out").settings["range_min"] == 1
    with pytest.raises(RunFolderError, match="is not the folder of a finished run of `jina-data mine`"):
        MineReport.load(tmp_path)


def test_inspect_shows_dropped_pairs_and_the_negatives_of_a_pair(tmp_path: Path) -> None:
    run(tmp_path, pair_rows(8), num_negatives=1, min_score=0.95)
    output = inspected(tmp_path)
    ledger = pq.read_table(tmp_path / "out" / "ledger").to_pylist()
    dropped = [row for row in ledger if not row["kept"]]
    assert dropped, "the case needs dropped pairs"
    assert f"mine too_few_negatives: {len(dropped)} rows\n- " in output
    assert output.count("(negatives found: 0)") == min(5, len(dropped))
    assert inspected(tmp_path, "--row", f"pairs.parquet:{dropped[0]['row']}").splitlines()[1] == (
        "dropped by mine: too_few_negatives"
    )
    run(tmp_path / "all", pair_rows(8), num_negatives=2)
    (first, *_) = pq.read_table(tmp_path / "all" / "out" / "data").to_pylist()[2:]
    lines = inspected(tmp_path / "all", "--row", "pairs.parquet:1").splitlines()
    assert lines[1:3] == ["kept", f'    anchor: "{first["anchor"]}"']
    assert first["negative"] in lines[4]
    assert sum(line.startswith("  negative ") for line in lines) == 2
    assert inspected(tmp_path / "all") == "no rows were dropped\n"
    wrong = CliRunner().invoke(cli, ["inspect", str(tmp_path / "all" / "out"), "--stage", "mien"])
    assert "no stage 'mien'; did you mean 'mine'?" in str(wrong.exception)


def inspected(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(cli, ["inspect", str(folder / "out"), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_clean_run_is_an_input(tmp_path: Path) -> None:
    from jina_data import Length, Pipeline

    path = write_parquet(tmp_path / "pairs.parquet", pair_rows(20))
    Pipeline(Length(min_words=1)).run(str(path), tmp_path / "clean")
    report = mine(MineConfig(inputs=[str(tmp_path / "clean")], num_negatives=1), tmp_path / "mined")
    assert report.rows["read"] == 20


def test_the_sources_of_a_clean_run_stay(tmp_path: Path) -> None:
    from jina_data import Length, Pipeline
    from jina_data.train import TrainConfig
    from jina_data.train.sources import find_sources

    paths = []
    for name, n_rows in (("first", 30), ("second", 20)):
        rows = [{"anchor": f"{name} question {i}", "positive": f"{name} answer {i}"} for i in range(n_rows)]
        paths.append(str(write_jsonl(tmp_path / f"{name}.jsonl", rows)))
    Pipeline(Length(min_words=2)).run(paths, tmp_path / "clean")
    report = mine(MineConfig(inputs=[str(tmp_path / "clean")], num_negatives=1), tmp_path / "mined")
    assert [(source["name"], source["kept"]) for source in report.sources] == [("first", 30), ("second", 20)]
    config = TrainConfig(phase="triplets", inputs=(str(tmp_path / "mined"),), model="static")
    sources, _ = find_sources(config, tmp_path / "spool")
    assert [(source.name, source.n_rows) for source in sources] == [("first", 30), ("second", 20)]


@pytest.mark.parametrize("n_units", [4, 17], ids=["while it embeds", "while it mines"])
def test_a_killed_run_resumes_and_gives_the_same_bytes(tmp_path: Path, n_units: int) -> None:
    path = write_parquet(tmp_path / "pairs.parquet", pair_rows(400))
    code = (
        "import sys, time, jina_data.mining.run as run\n"
        "for name in ('pairs', 'store', 'run', 'outputs'):\n"
        "    sys.modules['jina_data.mining.' + name].UNIT_ROWS = 50\n"
        "from jina_data.embed.static import StaticEmbedder\n"
        "encode = StaticEmbedder.encode\n"
        "def slowly(self, texts, *, cut=None):\n"
        "    time.sleep(float(sys.argv[3]))\n"
        "    return encode(self, texts, cut=cut)\n"
        "StaticEmbedder.encode = slowly\n"
        "import jina_data.mining.choose as choose\n"
        "find_top = choose.find_top\n"
        "def searching(*arguments, **options):\n"
        "    time.sleep(float(sys.argv[3]))\n"
        "    return find_top(*arguments, **options)\n"
        "choose.find_top = searching\n"
        "run.mine(run.MineConfig(inputs=[sys.argv[1]]), sys.argv[2])\n"
    )

    def start(folder: str, pause: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(path), str(tmp_path / folder), str(pause)])

    assert start("whole", 0).wait(timeout=120) == 0
    process = start("killed", 0.3)
    events = tmp_path / "killed" / "events.jsonl"
    waited = time.monotonic() + 90
    while time.monotonic() < waited and not (events.exists() and events.read_text().count('"finish"') >= n_units):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = [json.loads(line) for line in events.read_text().splitlines() if '"finish"' in line]
    assert len(done) >= n_units
    assert not (tmp_path / "killed" / "manifest.json").exists()
    assert start("killed", 0).wait(timeout=120) == 0
    all_done = [json.loads(line)["unit"] for line in events.read_text().splitlines() if '"finish"' in line]
    assert len(all_done) == len(set(all_done))  # no finished unit was repeated
    for name in ("data", "dropped", "ledger"):
        for part in sorted((tmp_path / "whole" / name).iterdir()):
            assert (tmp_path / "killed" / name / part.name).read_bytes() == part.read_bytes()
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "killed")]
    for report in reports:
        del report["seconds"], report["peak_memory_bytes"]
    assert reports[0] == reports[1]
    assert not (tmp_path / "killed" / ".work").exists()


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([{"anchor": "a b", "positive": None}], {}, InputError, "row 1 .*: positive is missing; expected a text"),
        ([{"anchor": " ", "positive": "c"}], {}, InputError, "row 1 .*: anchor is ' '; expected a text"),
        ([], {"num_negatives": 0}, UsageError, "--num-negatives is 0"),
        ([], {"range_min": 5, "range_max": 6}, UsageError, "leaves 1 candidates for 3 negatives"),
        ([], {"min_score": 0.5, "max_score": 0.4}, UsageError, "no score is between"),
        ([], {"relative_margin": float("nan")}, UsageError, "--relative-margin is nan; expected a finite number"),
        ([], {"max_score": float("inf")}, UsageError, "--max-score is inf; expected a finite number"),
        ([], {"roles": {"anchor": ("nope",)}}, UsageError, "has no column 'nope'"),
        ([], {"roles": {"anchor": ("anchor",)}}, UsageError, "no columns for anchor and positive"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, rows: list[Row], options: dict[str, Any], error: type[JinaDataError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path, [{"anchor": "x y", "positive": "z"}, *rows], **options)
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("empty.jsonl", "", InputError, r"empty\.jsonl is empty; expected rows with an anchor and a positive"),
        (
            "other.jsonl",
            '{"foo": "x", "bar": 1}\n',
            UsageError,
            r"other\.jsonl: cannot guess the text columns among",
        ),
    ],
)
def test_files_without_pairs_are_named(
    tmp_path: Path, name: str, text: str, error: type[JinaDataError], message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        mine(MineConfig(inputs=[str(tmp_path / name)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_limits_that_exclude_all_texts_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(tmp_path, pair_rows(6), max_score=-3)
    print_report(report)
    assert "no pair got enough negatives" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No pair got enough negatives" in page
    assert "No pair has a negative." in page


def test_marks_are_for_texts_that_are_nearly_alike(tmp_path: Path) -> None:
    rows = [{"anchor": "acute heart pain", "positive": "The heart hurts in adults at night."}, *pair_rows(8)]
    run(tmp_path, rows, ["The heart hurts in adults at noon.", "Something else about a rash."], num_negatives=3)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The heart hurts in adults at <mark>noon" in page
    assert "omething else about a <mark>" not in page


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", [{"anchor": "a b", "positive": "c"}, "{broken"])
    with pytest.raises(InputError, match=r"pairs.jsonl, row 1 \(counted from 0\) cannot be read"):
        mine(MineConfig(inputs=[str(path)]), tmp_path / "out")


def test_a_corpus_without_a_text_column_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "pairs.parquet", pair_rows(4))
    corpus = write_parquet(tmp_path / "corpus.parquet", [{"a": "x", "b": "y"}])
    with pytest.raises(UsageError, match=r"Name it with -c text=COLUMN; the file has: a, b"):
        mine(MineConfig(inputs=[str(path)], corpus=[str(corpus)]), tmp_path / "out")
    roles = {"text": ("b",)}
    assert mine(MineConfig(inputs=[str(path)], corpus=[str(corpus)], roles=roles), tmp_path / "out").rows["read"] == 4


def test_few_texts_give_few_negatives(tmp_path: Path) -> None:
    report = run(tmp_path, [{"anchor": "a b", "positive": "c d"}, {"anchor": "e f", "positive": "g h"}])
    assert triplets(report) == {("a b", "c d", "g h"), ("e f", "g h", "c d")}
    assert report.negatives == {"1": 2}


def test_numbers_count_first_occurrences() -> None:
    keys = np.array([[5, 1], [2, 2], [5, 1], [2, 1], [2, 2]], np.uint64)
    numbers = mining_pairs.TextNumbers.of(keys)
    assert numbers.number_of.tolist() == [0, 1, 0, 2, 1]
    assert numbers.first.tolist() == [0, 1, 3]
    assert numbers.find(np.array([[2, 1], [9, 9]], np.uint64)).tolist() == [2, -1]


def test_texts_of_any_kind_come_back(tmp_path: Path) -> None:
    rows = [{"anchor": f"ü {n} \u2028 \n x", "positive": f"日本 {n} 😀\t"} for n in range(5)]
    data = rows_of(run(tmp_path, rows, num_negatives=1))
    assert {row["negative"] for row in data} <= {row["positive"] for row in rows}
    assert [row["anchor"] for row in data] == [row["anchor"] for row in rows]
    assert pq.read_schema(tmp_path / "out" / "data" / "part-00000.parquet").types == [pa.large_string()] * 3
