"""The adapter of embedders to mteb: its protocol, its vectors and prompts, and a task that mteb runs with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jina_data.embed.base import BoolArray, HalfArray
from jina_data.embed.load import load_embedder
from jina_data.embed.prompts import ModelPrompts, without_prompts
from jina_data.errors import MissingExtraError, UsageError
from jina_data.evaluate import mteb_tasks
from jina_data.evaluate.mteb_model import MtebEmbedder
from jina_data.evaluate.task_prompts import TaskPrompts
from tests.support.files import write_parquet

mteb = pytest.importorskip("mteb")
pytest.importorskip("torch")

from tokenizers import Tokenizer

from jina_data.embed.jina_encoder import EncoderEmbedder
from jina_data.encoder import train_wordpiece
from tests.support.encoders import WORDS, jina_bert

TEXTS = [" ".join(WORDS.split()[:n]) for n in range(1, 13)]
CALL: dict[str, Any] = {"task_metadata": None, "hf_split": "test", "hf_subset": "default", "batch_size": 2}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


class Prompted:
    """The static embedder with prompts; it records the texts that it embeds."""

    name = "static"
    max_tokens: int | None = None

    prompts = ModelPrompts({"query": "query: ", "document": "passage: "})

    def __init__(self) -> None:
        self._static = load_embedder("static")
        self.model_id, self.dim = self._static.model_id, self._static.dim
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        self.texts += texts
        return self._static.encode(texts, cut=cut)


def test_prompts_of_a_model_go_in_front() -> None:
    embedder = Prompted()
    model = MtebEmbedder(embedder, "x")
    for kind in ("query", "document", None):
        model.encode([{"text": ["a"]}], prompt_type=kind, **CALL)
    assert embedder.texts == ["query: a", "passage: a", "a"]


def task(name: str, **metadata: Any) -> Any:
    """Return the metadata of a task in the form of mteb."""
    defaults = {
        "name": name,
        "description": "A local task.",
        "dataset": {"path": "local/x", "revision": "1"},
        "type": "Retrieval",
        "category": "t2t",
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "main_score": "ndcg_at_10",
    }
    return mteb.TaskMetadata(**{**defaults, **metadata})


PROMPTS = {
    "query": "q: ",
    "document": "d: ",
    "STS": "sts: ",
    "Reranking-query": "rq: ",
    "SciFact": "scifact: ",
    "SciFact-document": "sd: ",
}


@pytest.mark.parametrize(
    ("metadata", "kind", "expected"),
    [
        (task("Other"), "query", "q: "),
        (task("Other"), "document", "d: "),
        (task("Other"), None, ""),
        (task("Other", type="STS"), None, "sts: "),
        (task("Other", type="Reranking"), "query", "rq: "),
        (task("Other", type="Reranking"), "document", "d: "),
        (task("SciFact"), "query", "scifact: "),
        (task("SciFact"), "document", "sd: "),
    ],
)
def test_the_prompt_of_a_task_is_that_of_mteb(metadata: Any, kind: str | None, expected: str) -> None:
    from mteb.models.abs_encoder import get_prompt
    from mteb.types import PromptType

    class Model(Prompted):
        prompts = ModelPrompts(PROMPTS)

    ours = TaskPrompts(Model()).prompt(metadata, kind)
    assert ours == expected == (get_prompt(PROMPTS, metadata, PromptType(kind) if kind else None) or "")


INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages\nQuery: "


@pytest.mark.parametrize(
    ("query", "instruction", "kind", "metadata", "expected"),
    [
        (INSTRUCT, None, "query", task("A", prompt={"query": "Find it"}), "Instruct: Find it\nQuery: "),
        (INSTRUCT, None, "document", task("B", prompt={"query": "Find it"}), ""),
        (INSTRUCT, None, None, task("C", type="STS", prompt="Find the same"), "Instruct: Find the same\nQuery: "),
        (INSTRUCT, None, "query", task("D"), INSTRUCT),  # the task has no instruction
        (INSTRUCT, "none", "query", task("E", prompt={"query": "Find it"}), INSTRUCT),
        ("q: ", None, "query", task("F", prompt={"query": "Find it"}), "q: "),
        ("q: ", "do {instruction}: ", "query", task("G", prompt={"query": "Find it"}), "do Find it: "),
    ],
)
def test_a_model_that_takes_instructions_gets_those_of_the_task(
    query: str, instruction: str | None, kind: str | None, metadata: Any, expected: str
) -> None:
    class Model(Prompted):
        prompts = ModelPrompts({"query": query})

    prompts = TaskPrompts(Model(), instruction)
    assert prompts.prompt(metadata, kind) == expected
    without = without_prompts(Model())
    assert TaskPrompts(without, "none").prompt(metadata, kind) == ""
    assert TaskPrompts(without, "none").line() == TaskPrompts(without, "none").key == ""


def test_a_model_that_mteb_knows_gets_its_template() -> None:
    class Model(Prompted):
        name = "intfloat/multilingual-e5-large-instruct"
        prompts = ModelPrompts()

    known = TaskPrompts(Model())
    asked = task("A", prompt={"query": "Find it"})
    assert known.prompt(asked, "query") == "Instruct: Find it\nQuery: "
    assert known.prompt(asked, "document") == ""
    assert "the instruction of each task, as" in known.line()


def test_a_template_needs_a_place_for_the_instruction() -> None:
    with pytest.raises(UsageError, match=r"--instruction .* has no \{instruction\}"):
        TaskPrompts(Prompted(), "Instruct: ")


def test_mteb_tasks_get_their_instructions_from_the_command_line(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from jina_data.cli import cli

    prompts = {"query": INSTRUCT}
    jina_bert(tokenizer, prompts=prompts).save_pretrained(tmp_path / "model")
    docs = [{"doc_id": str(n), "title": "", "text": text} for n, text in enumerate(TEXTS)]
    queries = [{"query_id": str(n), "text": text[::-1]} for n, text in enumerate(TEXTS)]
    qrels = [{"query_id": str(n), "doc_id": str(n), "score": 1} for n in range(len(TEXTS))]
    for name, rows in (("corpus", docs), ("queries", queries), ("qrels", qrels)):
        write_parquet(tmp_path / f"egg.{name}.parquet", rows)
    call = [
        "evaluate",
        "mteb",
        f"retrieval:{tmp_path / 'egg'}",
        "-m",
        str(tmp_path / "model"),
        "-o",
        str(tmp_path / "o"),
    ]
    result = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert 'the instruction of each task, as "Instruct: {instruction}' in result.output
    assert "uses the prompts of the model (query)" in result.output
    revisions = {path.name for path in (tmp_path / "o" / "results").glob("*/*")}
    off = CliRunner().invoke(cli, [*call, "--no-prompts"], catch_exceptions=False)
    assert "prompts" not in off.output
    assert len({path.name for path in (tmp_path / "o" / "results").glob("*/*")} - revisions) == 1


def test_a_saved_encoder_follows_the_protocol_of_mteb(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from mteb.models.models_protocols import EncoderProtocol

    jina_bert(tokenizer).save_pretrained(tmp_path / "model")
    embedder = load_embedder(str(tmp_path / "model"))
    model = MtebEmbedder(embedder, str(tmp_path / "model"))
    assert isinstance(model, EncoderProtocol)
    assert model.mteb_model_meta.name == f"local/{str(tmp_path / 'model').strip('/').replace('/', '_')}"
    assert model.mteb_model_meta.revision == embedder.model_id


def test_an_encoder_in_memory(tokenizer: Tokenizer) -> None:
    encoder = jina_bert(tokenizer)
    encoder.prompts = {"query": "how do i "}
    model = MtebEmbedder(EncoderEmbedder(encoder, "me/mine", "first"), "me/mine")
    assert model.mteb_model_meta.name == "me/mine"
    loader = [{"text": TEXTS[:3]}, {"text": TEXTS[3:5]}]
    for kind, encode in ((None, encoder.encode), ("query", encoder.encode_query), ("document", encoder.encode)):
        expected = encode(TEXTS[:5], normalize_embeddings=True)
        np.testing.assert_allclose(model.encode(loader, prompt_type=kind, **CALL), expected, atol=1e-3)
    vectors = encoder.encode(TEXTS[:2])
    np.testing.assert_allclose(model.similarity(vectors, vectors), encoder.similarity(vectors, vectors), atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(vectors, vectors), [1, 1], atol=1e-6)


def test_mteb_runs_a_task(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    scores = [float(number % 5) for number in range(10)]
    columns = {"sentence1": TEXTS[:10], "sentence2": TEXTS[1:11], "score": scores}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    tasks = mteb_tasks.tasks_named([str(write_parquet(tmp_path / "local.parquet", rows))])
    embedder = EncoderEmbedder(jina_bert(tokenizer), "me/mine", "first")
    results = mteb.evaluate(MtebEmbedder(embedder, "me/mine"), tasks, cache=None, show_progress_bar=False)
    table = pq.read_table(tmp_path / "local.parquet")
    first, second = (
        embedder.encode(table.column(name).to_pylist()).astype(np.float32) for name in ("sentence1", "sentence2")
    )
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert results.task_results[0].scores["test"][0]["main_score"] == pytest.approx(
        spearmanr(cosines, scores).statistic, abs=1e-6
    )


def test_without_mteb_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mteb_tasks, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"MtebEmbedder needs mteb.*jina-data\[torch,evaluate\]"):
        MtebEmbedder(load_embedder("static"), "x")
