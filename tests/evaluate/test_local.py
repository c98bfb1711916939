"""Local tasks of all seven kinds: scores compared with independent ones, the table of scores, bad files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.embed.base import BoolArray, HalfArray
from jina_data.embed.load import load_embedder
from jina_data.errors import (
    InputError,
    JinaDataError,
    ModelError,
    ResourceError,
    RunFolderError,
    StoppedError,
    UsageError,
)
from jina_data.evaluate.local import read_local
from jina_data.evaluate.mteb_tasks import tasks_named
from jina_data.evaluate.tasks import TYPES, TaskScore, evaluate_tasks
from tests.support.files import write_jsonl, write_parquet

pytest.importorskip("mteb")
pytest.importorskip("torch")

Row = dict[str, Any]

PAIRS: list[Row] = [
    {"sentence1": "A cat sits on the mat.", "sentence2": "The cat is on a mat.", "label": 1},
    {"sentence1": "A cat sits on the mat.", "sentence2": "A cat sits on the roof of the house.", "label": 0},
    {"sentence1": "Stocks fell sharply.", "sentence2": "Shares dropped a lot.", "label": 1},
    {"sentence1": "Stocks fell sharply.", "sentence2": "Stocks rose sharply.", "label": 0},
    {"sentence1": "How do I boil an egg?", "sentence2": "What is the way to cook eggs?", "label": 1},
    {"sentence1": "How do I boil an egg?", "sentence2": "We missed our bus.", "label": 0},
]
RERANKING: list[Row] = [
    {
        "query": "how to boil an egg",
        "positive": ["Put it in boiling water.", "Five minutes in a pot will do."],
        "negative": ["Egg salad needs an egg or two.", "The train was late.", "How to fry an egg in a pan"],
    },
    {"query": "falling stocks", "positive": ["Shares dropped."], "negative": ["Stocks are rising.", "Cats fall."]},
]
SUMMARIES: list[Row] = [
    {
        "text": "The council met on Monday. It chose to close the old bridge, which is not safe, until May.",
        "human_summaries": ["The old bridge is closed until May.", "The council closes an unsafe bridge."],
        "machine_summaries": ["The bridge is closed.", "A council met.", "Cats like fish.", "Monday is in May."],
        "relevance": [5, 3, 1, 2.5],
    },
    {
        "text": "Shares of the company fell by a tenth after it told of a loss.",
        "human_summaries": ["Its shares fell after a loss."],
        "machine_summaries": ["The company lost money and its shares fell.", "Shares rose.", "It is sunny today."],
        "relevance": [4, 2, 2],
    },
]
STS: list[Row] = [
    {"sentence1": row["sentence1"], "sentence2": row["sentence2"], "score": score}
    for row, score in zip(PAIRS, [4.0, 3.0, 3.5, 1.0, 4.5, 0.0], strict=True)
]


def vectors(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    encoded = load_embedder("static").encode(texts).astype(np.float64)
    unit: np.ndarray[Any, Any] = encoded / np.linalg.norm(encoded, axis=1, keepdims=True)
    return unit


def score_of(path: Path) -> TaskScore:
    (task,) = tasks_named([str(path)])
    return evaluate_tasks([task], [load_embedder("static")]).models[0].tasks[path.stem]


# ------------------------------------------------------------------------------------------------------- scores


def average_precision(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Return the mean, over the positive labels, of the precision at their ranks."""
    ranked = [label for _, label in sorted(zip(scores, labels, strict=True), reverse=True)]
    return float(np.mean([np.mean(ranked[:rank]) for rank, label in enumerate(ranked, 1) if label]))


def test_pair_classification_is_average_precision(tmp_path: Path) -> None:
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    score = score_of(write_parquet(tmp_path / "same.parquet", PAIRS))
    left, right = (vectors([row[name] for row in PAIRS]) for name in ("sentence1", "sentence2"))
    labels = [row["label"] for row in PAIRS]
    cosines = (left * right).sum(1)
    by_hand = average_precision(cosines.tolist(), labels)
    assert by_hand == pytest.approx(average_precision_score(labels, cosines))
    assert score.scores["cosine_ap"] == pytest.approx(by_hand, abs=1e-6)
    # The main score of mteb is the best that a cosine or a distance gives.
    distances = [-np.abs(left - right).sum(1), -np.linalg.norm(left - right, axis=1)]
    best = max(by_hand, *(average_precision(scores.tolist(), labels) for scores in distances))
    assert (score.type, score.measure) == ("PairClassification", "max_ap")
    assert score.value == pytest.approx(best, abs=1e-6)
    assert 0.5 < score.value < 1


def test_reranking_is_mean_average_precision(tmp_path: Path) -> None:
    score = score_of(write_parquet(tmp_path / "answers.parquet", RERANKING))
    precisions = []
    for row in RERANKING:
        texts = [*row["positive"], *row["negative"]]
        scores = vectors(texts) @ vectors([row["query"]])[0]
        precisions.append(average_precision(scores.tolist(), [1] * len(row["positive"]) + [0] * len(row["negative"])))
    assert (score.type, score.measure) == ("Reranking", "map_at_1000")
    assert score.value == pytest.approx(np.mean(precisions), abs=1e-5)  # mteb rounds to five digits
    assert 0 < score.value < 1


def test_summarization_is_the_mean_of_rank_correlations(tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    score = score_of(write_parquet(tmp_path / "news.parquet", SUMMARIES))
    correlations = []
    for row in SUMMARIES:
        nearest = (vectors(row["machine_summaries"]) @ vectors(row["human_summaries"]).T).max(axis=1)
        correlations.append(spearmanr(nearest, row["relevance"]).statistic)
    assert (score.type, score.measure) == ("Summarization", "cosine_spearman")
    assert score.value == pytest.approx(np.mean(correlations), abs=1e-6)
    assert 0 < score.value < 1


def test_a_text_whose_summaries_are_all_as_good_is_left_out(tmp_path: Path) -> None:
    alone = score_of(write_parquet(tmp_path / "one.parquet", SUMMARIES[:1]))
    even = {**SUMMARIES[1], "relevance": [3, 3, 3]}
    assert score_of(write_parquet(tmp_path / "two.parquet", [SUMMARIES[0], even])).value == alone.value


def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    class Same:
        """Finds all texts alike."""

        name, model_id, dim = "same", "same", 2
        max_tokens: int | None = None

        def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
            return np.tile(np.array([0.6, 0.8], np.float16), (len(texts), 1))

    (task,) = tasks_named([str(write_parquet(tmp_path / "news.parquet", SUMMARIES))])
    with pytest.raises(ModelError, match="'same' on task 'news': cosine_spearman is undefined"):
        evaluate_tasks([task], [Same()])


# ------------------------------------------------------------------------------------------------- all seven kinds


def write_all(folder: Path) -> Path:
    """Write eight tasks, two of them STS."""
    labelled = [{"text": row["sentence1"], "label": row["sentence1"][:1]} for row in PAIRS] * 2
    tables = {
        "pairs": PAIRS,
        "answers": RERANKING,
        "news": SUMMARIES,
        "alike": STS,
        "alike2": STS[:4],
        "topics": labelled,
        "intents.train": labelled,
        "intents.test": labelled[:3],
        "cats.corpus": [{"doc_id": f"d{i}", "text": row["sentence2"]} for i, row in enumerate(PAIRS)],
        "cats.queries": [{"query_id": 7, "text": "Stocks fell"}],
        "cats.qrels": [{"query_id": 7, "doc_id": "d2", "score": 1}],
    }
    for name, rows in tables.items():
        write_parquet(folder / f"{name}.parquet", rows)
    return folder


def test_the_table_of_the_poster(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    call = ["evaluate", "mteb", str(write_all(tmp_path)), "-m", "static", "-o", str(out)]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(cli, call, catch_exceptions=False)
    assert done.exit_code == 0
    assert capfd.readouterr().err == ""  # no bars of mteb
    (model,) = json.loads((out / "report.json").read_text())["models"]
    values = {name: score["value"] for name, score in model["tasks"].items()}
    assert len(values) == 8
    types = {
        **{"CF": values["intents"], "CL": values["topics"], "PC": values["pairs"], "RR": values["answers"]},
        **{"RT": values["cats"], "STS": (values["alike"] + values["alike2"]) / 2, "SM": values["news"]},
    }
    assert list(types) == list(TYPES) == ["CF", "CL", "PC", "RR", "RT", "STS", "SM"]
    assert model["types"] == pytest.approx(types)
    # The mean over tasks (STS counts twice), not over kinds.
    assert model["average"] == pytest.approx(np.mean(list(values.values())))
    assert model["average"] != pytest.approx(np.mean(list(types.values())), abs=1e-3)
    cells = [f"{100 * value:.2f}" for value in (*types.values(), model["average"])]
    assert next(line for line in done.stdout.splitlines()[::-1] if "static" in line).split()[1:] == cells


def test_results_of_all_kinds_are_those_of_mteb_and_kept(tmp_path: Path) -> None:
    from mteb.results import TaskResult

    class Counting:
        """The static embedder, counting the texts that it embeds."""

        name, n_texts = "static", 0
        max_tokens: int | None = None

        def __init__(self) -> None:
            self._static = load_embedder("static")
            self.model_id, self.dim = self._static.model_id, self._static.dim

        def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
            self.n_texts += len(texts)
            return self._static.encode(texts, cut=cut)

    model, folder = Counting(), str(write_all(tmp_path))
    first = evaluate_tasks(tasks_named([folder]), [model], folder=tmp_path / "out").models[0]
    for name, score in first.tasks.items():
        (kept,) = (tmp_path / "out").glob(f"results/*/*/{name}.json")
        result = TaskResult.from_disk(kept)
        assert result.task_name == name
        assert result.get_score() == pytest.approx(score.value, abs=1e-6)
    n_encoded = model.n_texts
    again = evaluate_tasks(tasks_named([folder]), [model], folder=tmp_path / "out").models[0]
    assert model.n_texts == n_encoded
    assert again.tasks == first.tasks


def test_the_kind_may_be_given(tmp_path: Path) -> None:
    """A file with the columns of two kinds is of the first; its name says the other."""
    path = write_parquet(tmp_path / "both.parquet", [{**STS[i], **PAIRS[i]} for i in range(6)])
    (task,) = tasks_named([str(path)])
    (other,) = tasks_named([f"pair_classification:{path}"])
    assert (task.metadata.type, other.metadata.type) == ("STS", "PairClassification")


# ----------------------------------------------------------------------------------------------------- bad files


def without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


BAD: list[tuple[str, list[Row], str]] = [
    ("pair_classification", [{**PAIRS[0], "label": 2}], r"row 0 \(counted from 0\): label is 2; expected 0 or 1"),
    ("pair_classification", [PAIRS[0], {**PAIRS[1], "label": None}], "row 1 .*: label is None; expected 0 or 1"),
    ("pair_classification", [{**PAIRS[0], "label": "1"}], "row 0 .*: label is '1'; expected 0 or 1"),
    ("pair_classification", PAIRS[:1] * 3, "all of 3 labels are 1; expected both 0 and 1"),
    ("pair_classification", [without(PAIRS[0], "label")], "lacks label; its columns are sentence1, sentence2"),
    ("pair_classification", [{**PAIRS[0], "sentence2": None}], "row 0 .*: sentence2 is None; expected a string"),
    ("reranking", [{**RERANKING[0], "positive": []}], r"row 0 .*: positive is \[\]; expected a list of one string or"),
    ("reranking", [{**RERANKING[0], "negative": ["a", None]}], r"row 0 .*: negative is \['a', None\]; expected a list"),
    ("reranking", [{**RERANKING[0], "negative": "a text"}], "row 0 .*: negative is 'a text'; expected a list"),
    ("reranking", [RERANKING[0], {**RERANKING[1], "query": None}], "row 1 .*: query is None; expected a string"),
    ("summarization", [{**SUMMARIES[1], "relevance": [1, 2]}], "relevance has 2 numbers for 3 machine_summaries"),
    ("summarization", [{**SUMMARIES[1], "relevance": [2, 2, 2]}], "all values of relevance are equal"),
    ("summarization", [{**SUMMARIES[1], "relevance": [2, 2, None]}], r"relevance is \[2, 2, None\]; expected a list"),
    ("summarization", [{**SUMMARIES[1], "human_summaries": None}], "human_summaries is None; expected a list of one"),
    ("sts", [{**STS[0], "score": True}, {**STS[1], "score": False}], "score is True; expected a number"),
]


@pytest.mark.parametrize(("kind", "rows", "message"), BAD)
def test_bad_files_are_named(tmp_path: Path, kind: str, rows: list[Row], message: str) -> None:
    path = write_parquet(tmp_path / "x.parquet", rows)
    with pytest.raises(InputError, match=f"^{path}.*{message}"):
        read_local(f"{kind}:{path}")


@pytest.mark.parametrize("score", [0.5, float("nan"), None])
def test_judgements_are_whole_numbers(tmp_path: Path, score: float | None) -> None:
    write_all(tmp_path)
    rows = [{"query_id": "7", "doc_id": "d2", "score": 1.0}, {"query_id": "7", "doc_id": "d1", "score": score}]
    write_parquet(tmp_path / "cats.qrels.parquet", rows)
    with pytest.raises(InputError, match=f"qrels.parquet, row 1 .*: score is {score}; expected a whole number"):
        read_local(str(tmp_path / "cats"))


def test_what_is_no_task_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder without tasks"):
        read_local(str(tmp_path))
    write_all(tmp_path)
    assert len(read_local(str(tmp_path))) == 8
    write_parquet(tmp_path / "other.parquet", [{"a": 1}])
    with pytest.raises(UsageError, match=r"other.parquet matches no known task: its columns are a\. Expected sent"):
        read_local(str(tmp_path))


# ------------------------------------------------------------------------------------------- what a newcomer does

NEGATIONS = [{"anchor": "a man sits", "entailment": "he sits", "negative": "no man sits"}]


def write_inputs(folder: Path) -> None:
    """Write a task, triplets, what is no folder, a run of another command, and an empty file."""
    write_parquet(folder / "sts.parquet", STS)
    write_jsonl(folder / "neg.jsonl", NEGATIONS)
    write_parquet(folder / "other.parquet", [{"foo": "x", "bar": 1}])
    for name in ("corpus", "queries", "qrels"):
        write_parquet(folder / f"cats.{name}.parquet", [{"x": 1}])
    (folder / "file").write_text("x")
    (folder / "empty.jsonl").write_text("")
    (folder / "run").mkdir()
    (folder / "run" / "manifest.json").write_text("{}")


MISTAKES: list[tuple[list[str], type[JinaDataError], str]] = [
    (
        ["mteb", "sts.parquet", "-o", "file/x"],
        RunFolderError,
        "output folder file/x cannot be written: Not a directory",
    ),
    (["mteb", "sts.parquet", "-o", "run"], RunFolderError, "run is the run folder of another command"),
    (["length", "cats", "-o", "file/x"], InputError, "cats.corpus.parquet lacks doc_id and text; its columns are x"),
    (["mteb", "sts.parquet", "-m", "=static"], UsageError, "--model =static: expected M, or LABEL=M"),
    (["mteb", "sts.parquet", "-m", "a="], UsageError, "--model a=: expected M, or LABEL=M"),
    (["mteb", "sts.parquet", "-m", "static"], UsageError, "a model occurs twice"),
    (["retrieval", "cats.queries.parquet"], InputError, "is only one file of a task. Give the prefix .*: cats$"),
    (
        ["negation", "neg.jsonl", "--json", "file/x.json"],
        RunFolderError,
        "file/x.json cannot be written: file is a file",
    ),
    (["negation", "neg.jsonl", "--plot", "file/x.png"], RunFolderError, "file/x.png cannot be written: file is a file"),
    (["negation", "empty.jsonl"], InputError, "^empty.jsonl is empty; expected rows with anchor"),
    (["negation", "other.parquet"], UsageError, "^other.parquet: no column for anchor and positive and negative among"),
    (["negation", "neg.jsonl", "-c", "anchor=zz"], UsageError, "^neg.jsonl: the input has no column 'zz'"),
    (["negation", "file"], JinaDataError, "file"),
]


@pytest.mark.parametrize(("command", "error", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_mistakes_are_reported_before_a_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], error: type[JinaDataError], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    monkeypatch.setattr("jina_data.embed.static.StaticEmbedder.encode", lambda *_, **__: pytest.fail("it ran"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        CliRunner().invoke(cli, ["evaluate", *command, "-m", "static"], catch_exceptions=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    for option in ("--json", "--plot"):
        call = ["evaluate", "negation", str(tmp_path / "neg.jsonl"), "-m", "static", option, str(tmp_path)]
        done = CliRunner().invoke(cli, call)
        assert (done.exit_code, "is a directory" in done.stderr) == (2, True)


def test_a_model_in_a_folder_with_an_equals_sign_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rate=3").mkdir()
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"'rate=3' is a folder without modules.json"):
        CliRunner().invoke(cli, ["evaluate", "mteb", "sts.parquet", "-m", "rate=3"], catch_exceptions=False)


@pytest.mark.parametrize("half", ["", '{"dataset_revision": "ab'])
def test_a_truncated_result_is_computed_again(tmp_path: Path, half: str) -> None:
    tasks = [str(write_parquet(tmp_path / "sts.parquet", STS))]
    first = evaluate_tasks(tasks_named(tasks), [load_embedder("static")], folder=tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("results/*/*/sts.json")
    kept.write_text(half)
    assert evaluate_tasks(tasks_named(tasks), [load_embedder("static")], folder=tmp_path / "out") == first
    assert json.loads(kept.read_text())["task_name"] == "sts"


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (
            KeyboardInterrupt(),
            StoppedError,
            "stopped. Results of finished tasks are in .*out; run the same command again to resume",
        ),
        (OSError(28, "No space left on device"), ResourceError, "out cannot be written: No space left on device. Free"),
    ],
)
def test_errors_while_a_task_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, error: type[JinaDataError], message: str
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise raised

    task = tasks_named([str(write_parquet(tmp_path / "sts.parquet", STS))])
    monkeypatch.setattr("mteb.evaluate", stop)
    with pytest.raises(error, match=message):
        evaluate_tasks(task, [load_embedder("static")], folder=tmp_path / "out")
