"""jina-data evaluate negation: the measures by hand, intervals that hold, files of every form, table, JSON and plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from jina_data.cli import cli
from jina_data.embed.base import BoolArray, HalfArray, unit_half
from jina_data.embed.load import load_embedder
from jina_data.errors import InputError, MissingExtraError, UsageError
from jina_data.evaluate.negation import NegationReport, Score, evaluate_negation, right_of
from jina_data.evaluate.negation_table import plot_negation, print_negation
from jina_data.evaluate.output import model_labels
from jina_data.evaluate.triplets import Triplet, TripletReader
from tests.support.files import write_csv, write_jsonl, write_parquet


class Angles:
    """Embeds a text at the angle, in degrees, at its end, so that cosines are known."""

    dim = 2
    max_tokens: int | None = None

    def __init__(self, name: str = "angles", turn: float = 1.0) -> None:
        self.name = name
        self.model_id = f"{name}-{turn}"
        self.turn = turn
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        self.asked += texts
        angles = np.radians([self.turn * float(text.split()[-1]) for text in texts])
        return unit_half(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))


def triplet(anchor: float, entailment: float, *negatives: float, source: str = "s", kind: str = "verbal") -> Triplet:
    texts = tuple(f"negative {angle}" for angle in negatives)
    return Triplet(f"anchor {anchor}", f"entailment {entailment}", texts, source, kind)


@pytest.mark.parametrize(
    ("example", "easy", "hard"),
    [
        (triplet(0, 10, 80), 1, 1),  # far from both
        (triplet(0, 45, 90), 1, 0),  # as far from the entailment as the anchor is: a tie is an error
        (triplet(0, 45, -45), 0, 1),  # a tie on the other side
        (triplet(0, 40, 30), 0, 0),  # between them
        (triplet(0, 20, 90, 10, 30), 2, 1),  # several negatives: each counts
    ],
)
def test_measures_are_strict(example: Triplet, easy: int, hard: int) -> None:
    assert right_of([example], Angles()).tolist() == [[easy, hard]]


def test_the_same_text_is_no_better_than_itself() -> None:
    assert right_of([Triplet("a 10", "a 10", ("a 10",))], Angles()).tolist() == [[0, 0]]


def test_shares_by_source_and_kind() -> None:
    triplets = [
        triplet(0, 10, 80, source="one"),
        triplet(0, 40, 30, source="one", kind="antonym"),
        triplet(0, 20, 90, 10, source="two"),
    ]
    report = evaluate_negation(triplets, [Angles()], resamples=200)
    groups = {(group.by, group.name): group for group in report.groups}
    assert list(groups) == [
        ("all", "all"),
        ("source", "one"),
        ("source", "two"),
        ("kind", "antonym"),
        ("kind", "verbal"),
    ]
    values = {name: groups[name].scores["angles"]["easy"].value for name in groups}
    assert list(values.values()) == [2 / 4, 1 / 2, 1 / 2, 0, 2 / 3]
    assert report.overall.scores["angles"]["easy"].error == 0.5
    assert (report.overall.triplets, report.overall.negatives) == (3, 4)


def test_intervals_hold_the_true_share() -> None:
    """Of samples drawn from a known share, about 95 % of the intervals must hold it."""
    rng = np.random.default_rng(5)
    held = 0
    for number in range(100):
        right = rng.random(120) < 0.7
        triplets = [triplet(0, 20, 80 if is_right else 10) for is_right in right]
        score = evaluate_negation(triplets, [Angles()], seed=number, resamples=400).overall.scores["angles"]["easy"]
        held += score.low <= 0.7 <= score.high
        assert score.low <= score.value <= score.high
    assert held >= 88


def test_resampling_by_patterns_is_resampling_by_triplets() -> None:
    """The multinomial over patterns gives the spread that drawing triplets one by one gives."""
    rng = np.random.default_rng(1)
    triplets = [triplet(0, 20, *rng.choice([5, 80], int(rng.integers(1, 4)))) for _ in range(80)]
    score = evaluate_negation(triplets, [Angles()], resamples=4000).overall.scores["angles"]["easy"]
    right = right_of(triplets, Angles())[:, 0]
    sizes = np.array([len(example.negatives) for example in triplets])
    drawn = rng.integers(0, 80, (4000, 80))
    shares = right[drawn].sum(1) / sizes[drawn].sum(1)
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])), abs=0.012)


@pytest.mark.parametrize(
    ("n", "low"),
    [(1, 0.2065), (2, 0.3424), (10, 0.7225), (29, 0.8830), (300, 0.9874)],
)
def test_a_model_that_gets_all_right_has_an_interval(n: int, low: float) -> None:
    triplets = [triplet(0, 20, 80.0) for _ in range(n)]
    score = evaluate_negation(triplets, [Angles("a")], resamples=200).overall.scores["a"]["easy"]
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(low, abs=1e-4)  # n / (n + z^2) with z = 1.96


def test_two_models_on_one_triplet_do_not_differ_significantly() -> None:
    report = evaluate_negation([triplet(0, 20, 80.0)], [Angles("a"), Angles("none", 0.0)], resamples=200)
    (difference,) = report.differences
    assert difference.scores["easy"].value == -1
    assert difference.scores["easy"].low == -1 < 0 < difference.scores["easy"].high


def test_models_side_by_side_are_compared_in_pairs() -> None:
    rng = np.random.default_rng(2)
    triplets = [triplet(0, 20, float(rng.choice([10, 80])), source=str(n % 2)) for n in range(300)]
    report = evaluate_negation(triplets, [Angles("a"), Angles("b"), Angles("none", 0.0)], resamples=500)
    same, worse, _ = report.differences
    assert (same.first, same.second, worse.second) == ("a", "b", "none")
    assert same.scores["easy"] == Score(0.0, 0.0, 0.0)  # paired: the same answers differ in no resample
    assert worse.scores["easy"].high < 0
    assert worse.scores["easy"].value == pytest.approx(-report.overall.scores["a"]["easy"].value)


def test_the_same_seed_and_any_batches_give_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    triplets = [triplet(0, float(rng.integers(5, 60)), float(rng.integers(-90, 90))) for _ in range(200)]
    first = evaluate_negation(triplets, [Angles()], seed=4, resamples=300)
    monkeypatch.setattr("jina_data.evaluate.negation.BATCH_TRIPLETS", 7)
    again = evaluate_negation(triplets, [Angles()], seed=4, resamples=300)
    assert first == again
    assert evaluate_negation(triplets, [Angles()], seed=5, resamples=300) != first


def test_each_text_of_a_batch_is_embedded_once() -> None:
    model = Angles()
    evaluate_negation([triplet(0, 10, 20), triplet(0, 10, 30)], [model], resamples=100)
    assert sorted(model.asked) == ["anchor 0", "entailment 10", "negative 20", "negative 30"]


def test_labels() -> None:
    assert model_labels(["static", "a/b/mini"]) == ["static", "mini"]
    assert model_labels(["a/model", "b/model/"]) == ["a/model", "b/model/"]
    with pytest.raises(UsageError, match="occurs twice"):
        model_labels(["static", "static"])
    with pytest.raises(UsageError, match="no model"):
        evaluate_negation([triplet(0, 1, 2)], [])


def test_no_triplets() -> None:
    with pytest.raises(InputError, match="each row needs an anchor"):
        evaluate_negation([], [Angles()])


# ------------------------------------------------------------------------------------------------------- files

ROWS: list[dict[str, Any]] = [
    {"anchor": "A man sits.", "entailment": "A man sits down.", "negative": "A man stands.", "source": "one"},
    {"anchor": "A cat is here.", "entailment": "A cat is there.", "negative": "No cat is there.", "source": "two"},
    {"anchor": "Dogs bark.", "entailment": "Dogs are loud.", "negative": "", "source": "two"},
]


def test_files_of_every_form(tmp_path: Path) -> None:
    expected = [Triplet(row["anchor"], row["entailment"], (row["negative"],), row["source"]) for row in ROWS[:2]]
    for path in (
        write_parquet(tmp_path / "a.parquet", ROWS),
        write_jsonl(tmp_path / "a.jsonl", ROWS),
        write_csv(tmp_path / "a.csv", ROWS),
    ):
        reader = TripletReader.open(str(path))
        assert list(reader) == expected
        assert reader.unusable == 1
        assert list(reader) == expected  # a second reading counts anew
        assert reader.unusable == 1


def test_several_negatives(tmp_path: Path) -> None:
    numbered = [{"anchor": "a", "entailment": "b", "negative_1": "c", "negative_2": "d", "idx": 1}]
    listed = [{"query": "a", "positive": "b", "negatives": ["c", "d"]}]
    for number, rows in enumerate((numbered, listed)):
        path = write_parquet(tmp_path / f"{number}.parquet", rows)
        assert [example.negatives for example in TripletReader.open(str(path))] == [("c", "d")]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"x": "a", "y": "b", "z": "c", "from": "here"}])
    roles = {"anchor": ("x",), "positive": ("y",), "negative": ("z",), "source": ("from",)}
    assert list(TripletReader.open(str(path), roles=roles)) == [Triplet("a", "b", ("c",), "here")]


@pytest.mark.parametrize(
    "row", [{"anchor": "a", "positive": "b"}, {"premise": "a", "hypothesis": "b", "label": 0}, {"text": "a"}]
)
def test_tables_without_negatives(row: dict[str, Any], tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [row])
    with pytest.raises(UsageError, match="Expected anchor, entailment \\(or positive\\) and negative"):
        list(TripletReader.open(str(path)))


def run_folder(folder: Path) -> Path:
    """Write what `negate` leaves: data/triplet and data/full, each in two splits."""
    for config, columns in (("triplet", 3), ("full", 5)):
        (folder / "data" / config).mkdir(parents=True)
        for split, start in (("train", 0), ("test", 1)):
            rows = [{**ROWS[start], "kind": "verbal"}]
            kept = [dict(list(row.items())[:columns]) for row in rows]
            write_parquet(folder / "data" / config / f"{split}-00000-of-00001.parquet", kept)
    return folder


def test_a_run_folder_is_read_by_split(tmp_path: Path) -> None:
    folder = str(run_folder(tmp_path / "run"))
    by_split = {split: list(TripletReader.open(folder, split=split)) for split in (None, "test", "train", "all")}
    assert by_split[None] == by_split["test"] != by_split["train"]
    assert len(by_split["all"]) == 2
    assert {(example.source, example.kind) for example in by_split["all"]} == {("one", "verbal"), ("two", "verbal")}
    with pytest.raises(UsageError, match="is not a run folder of negate"):
        TripletReader.open(str(write_parquet(tmp_path / "a.parquet", ROWS)), split="test")


# ----------------------------------------------------------------------------------------------- what is shown


def a_report() -> NegationReport:
    triplets = [triplet(0, 20, 10 + 70 * (n % 3 > 0), source=f"source {n % 2}") for n in range(60)]
    return evaluate_negation(triplets, [Angles("a"), Angles("b", 0.0)], resamples=300)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_negation(a_report(), Console(width=140))
    output = capsys.readouterr().out
    for text in (
        "EasyNegation",
        "HardNegation",
        "source source 0",
        "66.7 (",
        "33.3",
        "b against a: EasyNegation -66.7",
    ):
        assert text in output


def test_plot_is_a_picture_with_a_mark_for_each_model(tmp_path: Path) -> None:
    plot_negation(a_report(), tmp_path / "plot.png")
    from matplotlib.image import imread

    picture = imread(tmp_path / "plot.png")[:, :, :3]
    for colour in ((0x2F, 0x6F, 0x9F), (0xC8, 0x55, 0x3D)):
        assert (np.abs(picture - np.array(colour) / 255).max(axis=2) < 0.02).sum() > 50


def test_the_command(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    arguments = ["evaluate", "negation", str(path), "-m", "small=static", "--resamples", "200"]
    files = ["--json", str(tmp_path / "out" / "n.json"), "--plot", str(tmp_path / "n.png")]
    result = CliRunner().invoke(cli, [*arguments, *files], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 triplets, 1 rows skipped" in result.stdout
    written = json.loads((tmp_path / "out" / "n.json").read_text())
    assert list(written["models"]) == ["small"]
    assert written["models"]["small"].startswith("static-")
    easy = written["groups"][0]["scores"]["small"]["easy"]
    assert easy["value"] + easy["error"] == 1
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
    # What the command says is what the library measures.
    report = evaluate_negation(TripletReader.open(str(path)), [load_embedder("static")], resamples=200)
    assert report.overall.scores["static"]["easy"].value == easy["value"]
    quiet = CliRunner().invoke(cli, [*arguments, "-q"], catch_exceptions=False)
    assert quiet.stdout == ""


def test_a_plot_without_matplotlib_is_refused_before_models_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jina_data.evaluate.output.find_spec", lambda _: None)
    arguments = ["evaluate", "negation", "nothing.parquet", "-m", "static", "--plot", str(tmp_path / "plot.png")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, MissingExtraError)
    assert str(result.exception) == "--plot needs matplotlib; run: pip install 'jina-data[evaluate]'"
