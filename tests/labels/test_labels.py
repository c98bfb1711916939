"""Labels of rows: strata and samples, estimates on simulated stages, storage, files, and sessions at the keyboard."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from typing_extensions import override

from jina_data.cli import cli, label
from jina_data.errors import InputError, StoppedError, UsageError
from jina_data.labels.estimates import Counts, estimate_bad, precision, recall
from jina_data.labels.labelling import Labelling
from jina_data.labels.store import Label, LabelFile
from jina_data.pipeline import Pipeline
from jina_data.stages import ExactDedup, Language, Length, NearDedup, Rules, Select, Stage
from jina_data.stages.base import Outcome, RowLocal, Threshold
from jina_data.stages.rows import Rows, View
from tests.support.cli import JINA_DATA, jina_data
from tests.support.files import write_jsonl

N_ROWS, LIMIT, CAP = 1000, 10, 20


class Heights(RowLocal):
    """Drop rows that are too high, except those that are spared, and some rows for another reason."""

    name: ClassVar[str] = "heights"
    reasons: ClassVar[tuple[str, ...]] = ("too_high", "odd")

    @override
    def thresholds(self, view: View) -> Mapping[str, Sequence[Threshold]]:
        return {"height": [Threshold(float(LIMIT), "below", "too_high")]}

    @override
    def apply(self, rows: Rows) -> Outcome:
        numbers = rows.row_ids.to_numpy().astype(np.int64)
        heights = np.minimum(numbers % 40, CAP)
        outcome = Outcome.keep_all(len(rows))
        outcome.drop(numbers % 100 == 7, 1)
        outcome.drop((heights > LIMIT) & (numbers % 100 != 15), 0, heights.astype(np.float64))
        outcome.scores["height"] = pa.array(heights)
        return outcome


def is_bad(draw: int) -> bool:
    """Return the truth about a row: most high rows are bad, and few low ones."""
    return draw % 5 < 3 if min(draw % 40, CAP) > LIMIT else draw % 11 == 0


def run(folder: Path, rows: Sequence[Mapping[str, Any]], *stages: Stage, **options: Any) -> Path:
    path = write_jsonl(folder / "rows.jsonl", rows)
    Pipeline(*stages).run(path, folder / "run", **options)
    return folder / "run"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"text": f"the text of row {number}"} for number in range(N_ROWS)]
    return run(tmp_path_factory.mktemp("labels"), rows, Heights(), workers=1)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A run without labels."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def labelling(folder: Path) -> Labelling:
    return Labelling.open(folder, "heights")


# ----------------------------------------------------------------------------------------------------- strata


def test_strata_contain_each_row_once(labelling: Labelling) -> None:
    strata = [(part.kept, part.title, part.rows) for part in labelling.stage.strata]
    assert strata == [
        (False, "height 11 to 15", 120),
        (False, "height 16 to 19", 100),
        (False, "height 20", 490),
        (False, "odd", 10),
        (True, "height 8 to 10", 75),
        (True, "height 5 to 7", 70),
        (True, "height 0 to 4", 125),
        (True, "height 15 to 20 (beyond the limit)", 10),
    ]
    assert sum(part.rows for part in labelling.stage.strata) == N_ROWS
    of_rows = labelling.stage.stratum_of(range(N_ROWS + 5))
    assert sorted(of_rows) == list(range(N_ROWS))
    assert Counter(stratum.title for stratum in of_rows.values()) == {title: rows for _, title, rows in strata}


def test_a_sample_is_seeded_and_grows(labelling: Labelling, finished: Path) -> None:
    draws = labelling.sample(100, seed=3)
    assert draws == labelling.sample(100, seed=3) == Labelling.open(finished, "heights").sample(100, seed=3)
    assert {draw.row_id for draw in draws} < {draw.row_id for draw in labelling.sample(200, seed=3)}
    assert {draw.row_id for draw in draws} != {draw.row_id for draw in labelling.sample(100, seed=4)}
    assert all((Path(draw.file).name, draw.row, draw.sample) == ("rows.jsonl", draw.row_id, "random") for draw in draws)


def test_a_sample_has_equal_shares_of_each_stratum_from_the_start(labelling: Labelling) -> None:
    draws = labelling.sample(80)
    of_rows = labelling.stage.stratum_of([draw.row_id for draw in draws])
    counts = Counter(of_rows[draw.row_id].title for draw in draws)
    assert set(counts.values()) == {10}
    assert len({of_rows[draw.row_id].title for draw in draws[:24]}) == 8
    assert sum(of_rows[draw.row_id].kept for draw in draws[:40]) in range(15, 26)


def test_a_sample_contains_all_rows_if_it_is_large(labelling: Labelling) -> None:
    assert len({draw.row_id for draw in labelling.sample(5000)}) == N_ROWS
    # 280 rows were kept, so the others are dropped rows.
    kept = [draw for draw in labelling.sample(900) if labelling.stage.stratum_of([draw.row_id])[draw.row_id].kept]
    assert len(kept) == 280


def test_rows_near_the_threshold(labelling: Labelling) -> None:
    draws = labelling.sample(60, near=True)
    heights = Counter(draw.row_id % 40 for draw in draws)
    assert set(heights) <= {9, 10, 11, 12}
    assert sum(count for height, count in heights.items() if height > LIMIT) == 30
    assert {draw.sample for draw in draws} == {"near"}
    assert draws == labelling.sample(60, near=True)


# -------------------------------------------------------------------------------------------------- estimates

SIMULATED = {
    "bands": ([61, 797], [493, 464, 969, 208], [0.5, 0.8], [0.1, 0.03, 0.01, 0.2]),
    "large": ([10_000, 10_000, 20_000], [100_000, 100_000, 200_000], [0.6, 0.8, 0.95], [0.05, 0.02, 0.005]),
    "poor": ([3000, 3000, 6000], [10_000, 10_000, 20_000], [0.1, 0.2, 0.3], [0.1, 0.08, 0.05]),
    "one": ([500], [5000], [0.7], [0.05]),
}


@pytest.mark.parametrize("n_labels", [40, 100, 400])
@pytest.mark.parametrize("name", SIMULATED)
def test_intervals_contain_the_truth(name: str, n_labels: int) -> None:
    """Of 200 samples of a known population, at least 89 % have intervals that contain precision and recall."""
    dropped, kept, bad_dropped, bad_kept = SIMULATED[name]
    rng = np.random.default_rng(5)
    n_bad = [
        [round(rows * share) for rows, share in zip(*side, strict=True)]
        for side in ((dropped, bad_dropped), (kept, bad_kept))
    ]
    true_precision, true_recall = sum(n_bad[0]) / sum(dropped), sum(n_bad[0]) / (sum(n_bad[0]) + sum(n_bad[1]))

    def draw(sizes: Sequence[int], bad: Sequence[int]) -> list[Counts]:
        part = n_labels // 2 // len(sizes)
        labelled = [min(part, rows) for rows in sizes]
        return [
            Counts(rows, n, int(rng.hypergeometric(b, rows - b, n)))
            for rows, b, n in zip(sizes, bad, labelled, strict=True)
        ]

    hits, values = np.zeros(2), []
    for _ in range(200):
        of_dropped, of_kept = draw(dropped, n_bad[0]), draw(kept, n_bad[1])
        found = precision(of_dropped), recall(of_dropped, of_kept)
        assert found[0] is not None
        values.append(found[0].value)
        for position, (estimate, truth) in enumerate(zip(found, (true_precision, true_recall), strict=True)):
            hits[position] += estimate is None or estimate.low <= truth <= estimate.high
    assert hits.min() >= 178
    assert np.mean(values) == pytest.approx(true_precision, abs=0.03)


def test_estimates_weight_strata_by_their_rows() -> None:
    estimate = precision([Counts(900, 10, 10), Counts(100, 10, 0)])
    assert estimate is not None
    assert estimate.value == 0.9
    share = recall([Counts(900, 10, 10), Counts(100, 10, 0)], [Counts(1000, 10, 1)])
    assert share is not None
    assert share.value == 0.9
    assert 0 < share.low < 0.9 < share.high < 1


def test_estimates_are_exact_if_all_rows_are_labelled() -> None:
    dropped, kept = [Counts(30, 30, 20), Counts(10, 10, 10)], [Counts(50, 50, 10)]
    for estimate, value in ((precision(dropped), 0.75), (recall(dropped, kept), 0.75)):
        assert estimate is not None
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((value, value, value))


@pytest.mark.parametrize(
    ("dropped", "kept", "expected"),
    [
        ([Counts(100, 20, 0)], [Counts(100, 20, 0)], None),
        ([Counts(100, 20, 3), Counts(5, 0, 0)], [Counts(100, 20, 0)], None),
        ([Counts(100, 20, 3)], [Counts(100, 0, 0)], None),
        ([], [Counts(100, 20, 3)], (0, 0, 0)),
        ([Counts(100, 20, 3)], [], (1, 1, 1)),
        ([Counts(100, 20, 0)], [Counts(100, 20, 3)], (0, 0, 0.54)),
        ([Counts(100, 20, 3)], [Counts(100, 20, 0)], (1, 0.46, 1)),
    ],
)
def test_recall_at_its_ends(dropped: list[Counts], kept: list[Counts], expected: tuple[float, ...] | None) -> None:
    found = recall(dropped, kept)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.low <= found.value <= found.high
        assert (found.value, found.low, found.high) == pytest.approx(expected, abs=0.01)


def test_no_dropped_rows_have_no_precision() -> None:
    assert precision([]) is None
    assert estimate_bad([Counts(10, 0, 0)]) is None


def test_a_report_estimates_what_is_true_of_all_rows(labelling: Labelling) -> None:
    dropped = [row for row, part in labelling.stage.stratum_of(range(N_ROWS)).items() if not part.kept]
    n_right, n_bad = sum(map(is_bad, dropped)), sum(map(is_bad, range(N_ROWS)))
    for n_rows in (200, N_ROWS):
        for draw in labelling.unlabelled(labelling.sample(n_rows)):
            labelling.add(draw, keep=not is_bad(draw.row_id))
        report = labelling.report()
        assert report.precision
        assert report.recall
        assert report.precision.low <= n_right / len(dropped) + 1e-9
        assert report.precision.high >= n_right / len(dropped) - 1e-9
        assert report.recall.low <= n_right / n_bad + 1e-9
        assert report.recall.high >= n_right / n_bad - 1e-9
    report = labelling.report()
    assert report.precision
    assert report.recall
    assert report.precision.value == pytest.approx(n_right / len(dropped))
    assert report.recall.value == pytest.approx(n_right / n_bad)


def test_labels_near_the_threshold_do_not_count_for_estimates(labelling: Labelling) -> None:
    for draw in labelling.sample(20, near=True):
        labelling.add(draw, keep=True)
    report = labelling.report()
    assert report.precision is None
    assert sum(part.labelled for part in report.strata) == 0
    text = "\n".join(report.lines())
    assert "0 of 10 dropped rows were rightly dropped, 10 of 10 kept rows were rightly kept" in text
    assert "precision is not known: no labels yet" in text
    # Once such a row is drawn at random and its turn comes, its label counts.
    draws = labelling.sample(N_ROWS)
    assert len(labelling.unlabelled(draws)) == N_ROWS
    labels = labelling.file.load()
    assert sum(labelling.reuse(draw, labels) for draw in draws) == 20
    assert sum(part.labelled for part in labelling.report().strata) == 20
    assert len(labelling.unlabelled(draws)) == N_ROWS - 20


# ---------------------------------------------------------------------------------------------- other stages


def test_reasons_are_strata_without_a_single_score(tmp_path: Path) -> None:
    texts = ["n/a", "...", "a good text here", "another good text", "- - -", "TBD"] * 3
    labelling = Labelling.open(run(tmp_path, [{"text": text} for text in texts], Rules()), "rules")
    assert labelling.stage.limit is None
    assert [(part.kept, part.title, part.rows) for part in labelling.stage.strata] == [
        *[(False, "only_punctuation", 6), (False, "placeholder", 6), (True, "all", 6)],
    ]
    assert len(labelling.sample(12)) == 12
    with pytest.raises(UsageError, match="has no single score with a threshold"):
        labelling.sample(10, near=True)


def test_language_is_divided_by_probability_and_hidden(tmp_path: Path) -> None:
    texts = [f"this is an English sentence about {word}" for word in ("cats", "dogs", "birds", "trees", "the sea")]
    texts += [f"das ist ein deutscher Satz über {word}" for word in ("Katzen", "Hunde", "Vögel", "Bäume")]
    rows = [{"anchor": text, "positive": text} for text in texts]
    labelling = Labelling.open(run(tmp_path, rows, Language(languages=("en",))), "language")
    assert labelling.stage.limit
    assert labelling.stage.limit.name == "probability"
    assert sum(part.rows for part in labelling.stage.strata if not part.kept) == 4
    assert sum(part.rows for part in labelling.stage.strata) == 9
    shown = labelling.shown(labelling.sample(1)[0])
    assert set(shown.texts) == {"anchor", "positive"}
    assert not shown.languages
    assert shown.score is not None
    assert "anchor.language" in shown.score


@pytest.mark.parametrize("stage", [ExactDedup(), NearDedup(threshold=0.6)])
def test_rows_dropped_for_another_row_are_shown_with_it(tmp_path: Path, stage: Stage) -> None:
    texts = [f"row {number} has many words about the number {number} and more" for number in range(20)]
    folder = run(tmp_path, [{"text": text} for text in [*texts, *texts[:3]]], stage)
    labelling = Labelling.open(folder, stage.name)
    draws = labelling.sample(50)
    dropped = {row for row, part in labelling.stage.stratum_of(range(23)).items() if not part.kept}
    assert {draw.row_id for draw in draws} == dropped
    shown = labelling.shown(draws[0])
    assert shown.partner
    assert set(shown.partner_texts) == {"text"}
    for draw in draws:
        labelling.add(draw, keep=False)
    report = labelling.report()
    assert report.precision
    assert report.precision.low == report.precision.value == 1
    assert report.recall is None
    assert "recall is not estimated" in "\n".join(report.lines())


def test_stages_of_the_same_name_need_an_index(tmp_path: Path) -> None:
    rows = [{"text": "a" * n} for n in range(1, 30)]
    folder = run(tmp_path, rows, Length(min_chars=5), Length(max_chars=20))
    with pytest.raises(UsageError, match="several stages 'length'; name one of 00-length, 01-length"):
        Labelling.open(folder, "length")
    second = Labelling.open(folder, "01-length")
    assert second.file.path.name == "01-length.jsonl"
    assert sum(part.rows for part in second.stage.strata) == 25  # the rows that the first stage kept


@pytest.mark.parametrize("out_format", ["parquet", "jsonl"])
def test_texts_of_kept_rows_are_named_by_role(tmp_path: Path, out_format: str) -> None:
    rows = [{"question": f"q {n}", "answer": "a" * n} for n in range(1, 8)]
    select_stage = Select(rename={"question": "query"})
    folder = run(tmp_path, rows, Length(min_chars=3, roles=("positive",)), select_stage, out_format=out_format)
    labelling = Labelling.open(folder, "length")
    texts = {draw.row: labelling.shown(draw).texts for draw in labelling.sample(10)}
    assert texts[0] == {"anchor": "q 1", "positive": "a"}
    assert texts[5] == {"anchor": "q 6", "positive": "aaaaaa"}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("length", "dropped nothing and has no score with a threshold"),
        ("heigts", "this run has no stage 'heigts'; did you mean 'heights'?"),
    ],
)
def test_stages_that_cannot_be_labelled(tmp_path: Path, stage: str, message: str) -> None:
    folder = run(tmp_path, [{"text": f"text {n}"} for n in range(20)], Length(), Heights(), workers=1)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        Labelling.open(folder, stage)


# ---------------------------------------------------------------------------------------------------- storage


def label_of(row: int, *, keep: bool = True) -> Label:
    return Label.now("rows.jsonl", row, row, stage="heights", keep=keep, sample="random")


def test_labels_are_stored_and_removed(tmp_path: Path) -> None:
    file = LabelFile(tmp_path / "labels" / "heights.jsonl")
    assert file.load() == {}
    for row in (1, 2, 3):
        file.append(label_of(row))
    file.append(label_of(2, keep=False))
    assert {row: found.keep for row, found in file.load().items()} == {1: True, 2: False, 3: True}
    file.remove(2)
    assert list(file.load()) == [1, 3]
    line = json.loads(file.path.read_text(encoding="utf-8").splitlines()[0])
    assert list(line) == ["file", "row", "row_id", "stage", "keep", "sample", "time"]


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_cut_by_a_kill_is_lost_alone(tmp_path: Path, cut: int) -> None:
    file = LabelFile(tmp_path / "heights.jsonl")
    file.append(label_of(1))
    file.append(label_of(2))
    data = file.path.read_bytes()
    file.path.write_bytes(data[:-cut])
    rows = [1, 2] if cut == 1 else [1]
    assert list(file.load()) == rows
    file.append(label_of(3))
    assert list(file.load()) == [*rows, 3]


def test_a_broken_line_in_the_run_is_an_error(tmp_path: Path) -> None:
    file = LabelFile(tmp_path / "heights.jsonl")
    file.path.write_text('{"file": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"heights.jsonl, line 1: .* is not a label; remove the line"):
        file.load()


def test_overwrite_removes_labels(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}"} for n in range(N_ROWS)]
    folder = run(tmp_path, rows, Heights(), workers=1)
    labelling = Labelling.open(folder, "heights")
    labelling.add(labelling.sample(1)[0], keep=True)
    run(tmp_path, rows[:500], Heights(), workers=1, overwrite=True)
    assert not (folder / "labels").exists()


# ------------------------------------------------------------------------------------------------ label files


def test_a_sample_is_written_labelled_and_read(folder: Path, tmp_path: Path) -> None:
    sample = tmp_path / "sample.jsonl"
    command = ("inspect", folder, "--label", "heights")
    call = jina_data(*command, "-n", "40", "--write-sample", sample)
    assert call.stdout.startswith(f"40 rows to label are in {sample}.")
    lines = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]
    assert list(lines[0]) == ["file", "row", "row_id", "stage", "sample", "source", "texts", "keep"]
    assert all(line["texts"] == {"text": f"the text of row {line['row']}"} for line in lines)
    assert {line["keep"] for line in lines} == {None}
    for line in lines[:-1]:
        line["keep"] = not is_bad(line["row"])
    done = write_jsonl(tmp_path / "done.jsonl", lines)
    output = jina_data(*command, "--labels", done).stdout
    assert output.startswith(f"{done}: 39 labels, 39 of them new; 1 rows without a label\n")
    assert "95 % interval" in output
    assert jina_data(*command, "--labels", done).stdout.startswith(f"{done}: 39 labels, 0 of them new")
    assert "39 rows labelled" in jina_data(*command, "-n", "0").stdout
    assert "name another file" in jina_data(*command, "--write-sample", sample).stderr
    more = tmp_path / "more.jsonl"
    assert jina_data(*command, "-n", "40", "--write-sample", more).stdout.startswith("1 rows to label")


def test_labels_may_name_rows_by_id_or_place(labelling: Labelling, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"row_id": 3, "keep": True},
        {"file": "rows.jsonl", "row": 4, "keep": False},
        {"row_id": 5, "keep": ""},
    ]
    read = labelling.read(write_jsonl(tmp_path / "mine.jsonl", rows))
    assert (read.labels, read.new, read.empty) == (2, 2, 1)
    assert "2 labels do not tell how their rows were chosen" in "\n".join(labelling.report().lines())
    labelling.read(write_jsonl(tmp_path / "mine.jsonl", [{"row_id": 3, "keep": False}]))
    assert not labelling.file.load()[3].keep


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no valid JSON"),
        ("3", "no JSON object"),
        ('{"row_id": 1}', 'no key "keep"'),
        ('{"row_id": 1, "keep": "y"}', '"keep" is neither true, false nor null'),
        ('{"row": 1, "keep": true}', 'neither "file" and "row" nor "row_id"'),
        ('{"file": "rows.jsonl", "row": "1", "keep": true}', '"row" or "row_id" is not a whole number'),
        ('{"row_id": true, "keep": true}', '"row" or "row_id" is not a whole number'),
        ('{"row_id": 1, "keep": true, "stage": "rules"}', "the stage is not heights"),
        ('{"row_id": 1, "keep": true, "sample": "some"}', '"sample" is not random, near or given'),
        ('{"row_id": 5000, "keep": true}', "this run has no row with row_id 5000"),
        ('{"row_id": 1, "file": "rows.jsonl", "row": 2, "keep": true}', "are these the labels of another run?"),
        ('{"file": "other.jsonl", "row": 2, "keep": true}', "'other.jsonl' is not a file of this run"),
        ('{"row_id": 0, "keep": false}', "an earlier line has another label of "),
    ],
)
def test_bad_labels(labelling: Labelling, tmp_path: Path, line: str, message: str) -> None:
    lines: list[str] = ['{"row_id": 0, "keep": true}', "", line]
    path = write_jsonl(tmp_path / "bad.jsonl", lines)
    with pytest.raises(InputError) as raised:
        labelling.read(path)
    assert str(raised.value).startswith(f"{path}, line 3: ")
    assert message in str(raised.value)
    assert labelling.file.load() == {}


def test_a_missing_label_file(labelling: Labelling, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        labelling.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "5"], "-n needs --label STAGE"),
        (["--labels", "x.jsonl"], "--labels needs --label STAGE"),
        (["--label", "heights", "--reason", "odd"], "so --reason has no effect"),
        (["--label", "heights", "--width", "50"], "so --width has no effect"),
        (["--label", "heights", "--labels", "x", "-n", "5"], "so -n has no effect"),
        (["--label", "heights", "--labels", "x", "--write-sample", "y"], "so --write-sample has no effect"),
        (["--label", "heights"], "there is no keyboard (stdin is not a terminal)"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "has_keyboard", lambda: False)
    call = jina_data("inspect", folder, *arguments)
    assert call.returncode == 2
    assert message in " ".join(call.stderr.split())


# ------------------------------------------------------------------------------------------------- keyboard


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "has_keyboard", lambda: True)


def press(folder: Path, keys: str, *options: str) -> Result:
    arguments = ["inspect", str(folder), "--label", "heights", "-n", "6", *options]
    return CliRunner().invoke(cli, arguments, input=keys)


def stored(folder: Path) -> list[tuple[int, bool]]:
    return [(row, found.keep) for row, found in LabelFile(folder / "labels" / "heights.jsonl").load().items()]


@pytest.mark.usefixtures("keyboard")
def test_a_session_is_resumed(folder: Path, labelling: Labelling) -> None:
    rows = [draw.row_id for draw in labelling.sample(6)]
    first = press(folder, "ynq")
    assert first.exit_code == 0
    assert "[1 of 6]" in first.output
    assert "[3 of 6]" in first.output
    assert stored(folder) == [(rows[0], True), (rows[1], False)]
    assert "2 rows labelled" in first.output
    second = press(folder, "nsyY")  # the fourth row is skipped
    assert "[1 of 6]" not in second.output
    assert stored(folder)[2:] == [(rows[2], False), (rows[4], True), (rows[5], True)]
    third = press(folder, "n")
    assert third.output.count("Should this row be kept?") == 1
    assert "[4 of 6]" in third.output
    assert stored(folder)[5:] == [(rows[3], False)]
    assert "Should this row" not in press(folder, "").output


@pytest.mark.usefixtures("keyboard")
def test_answers_are_undone(folder: Path, labelling: Labelling) -> None:
    rows = [draw.row_id for draw in labelling.sample(6)]
    output = press(folder, "uxyyuunsuyq").output
    assert "(there is no answer to undo)" in output
    # y y, undo both; n, skip, undo the skip, y, quit.
    assert stored(folder) == [(rows[0], False), (rows[1], True)]


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_keeps_the_labels(folder: Path) -> None:
    stopped = press(folder, "yn")  # the input ends, like Ctrl-D
    assert isinstance(stopped.exception, StoppedError)
    assert "Run the same command again" in str(stopped.exception)
    assert len(stored(folder)) == 2


@pytest.mark.usefixtures("keyboard")
def test_rows_are_shown_without_the_decision(folder: Path) -> None:
    output = press(folder, "yyyyyq").output.split("heights (stage 0)")[0]
    assert "text: the text of row" in output
    assert not [
        word for word in ("dropped", "kept", "too_high", "score", "height ") if word in output.replace("be kept", "")
    ]
    assert "score: height" in press(folder, "q", "--show-score").output


def test_long_and_odd_texts_fit_the_terminal() -> None:
    lines = label._wrapped("text", "word \x1b[31m\n\twide 中文字 " * 500, 60)
    assert len(lines) == label.MAX_LINES + 1
    assert lines[-1] == "    ... (10,500 characters)" or lines[-1].startswith("    ... (")
    assert all(len(line) <= 60 and line.isprintable() for line in lines)
    assert label._wrapped("text", "", 60) == ["text:"]


@pytest.mark.parametrize(("characters", "key"), [("y", "y"), ("Xn", "n"), ("yn", "y"), ("\x1bOS", ""), ("\r", "")])
def test_keys(characters: str, key: str) -> None:
    assert label._pressed(characters) == key


def test_a_terminal(folder: Path) -> None:
    """A real session in a pseudo-terminal: y, n, then Ctrl-C."""
    output = "".join(terminal([*JINA_DATA, "inspect", str(folder), "--label", "heights"], ["y", "n", "\x03"]))
    assert output.count("Should this row be kept?") == 3
    assert "Error: stopped; the labels so far are in" in output
    assert [keep for _, keep in stored(folder)] == [True, False]


def terminal(command: Sequence[str], keys: Sequence[str]) -> Iterator[str]:
    """Run a command in a terminal, press a key at each question, and yield the output."""
    main, child = pty.openpty()
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, start_new_session=True) as process:
        os.close(child)
        waiting, seen, stop = list(keys), "", time.monotonic() + 120
        while time.monotonic() < stop and select.select([main], [], [], 60)[0]:
            try:
                text = os.read(main, 65536).decode("utf-8", "replace")
            except OSError:  # Linux reports the end in this way
                break
            if not text:
                break
            seen += text
            yield text
            if waiting and seen.endswith("[q]uit: "):
                time.sleep(0.3)  # until the command waits for a key
                os.write(main, waiting.pop(0).encode())
                seen = ""
        process.wait(30)
    os.close(main)
