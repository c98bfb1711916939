"""Roles in train: lists of texts, columns without texts, and prompts of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from jina_data.embed.prompts import ModelPrompts, read_prompts
from jina_data.encoder import Encoder, train_wordpiece
from jina_data.errors import InputError, UsageError
from jina_data.train import TrainConfig, Trainer
from jina_data.train.batches import Batch
from jina_data.train.contrastive import ContrastivePhase
from jina_data.train.models import load_trainable
from jina_data.train.processes import Processes
from jina_data.train.prompts import settle_prompts
from jina_data.train.setup import _Texts
from jina_data.train.sources import TrainSource, find_sources
from jina_data.train.stream import Example, Stream
from tests.support.train_inputs import questions, write_model, write_pairs, write_triplets

ANCHORS, POSITIVES = ["q1", "q2", "q3", "q4"], ["p1", "p2", "p3", "p4"]
NESTED = [["x", "y"], [], None, ["", None, " ", "z"]]
LISTS = [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.large_string())]


def source_of(tmp_path: Path, phase: Any = "pairs", *more: pa.Table, **columns: Any) -> TrainSource:
    """Write files with these columns and return their source; the roles are the columns with their names."""
    folder = tmp_path / "x"
    folder.mkdir()
    tables = [pa.table(columns), *more]
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=3)
    roles = [f"{role}={role}" for role in ("anchor", "positive", "text") if role in columns]
    negatives = [name for name in columns if name.startswith("negative")]
    roles += [f"negative={','.join(negatives)}"] if negatives else []
    config = TrainConfig(phase=phase, inputs=(str(folder),), model="tiny", columns=tuple(roles))
    return find_sources(config, tmp_path / "spool")[0][0]


def taken(source: TrainSource, n_rows: int = 200) -> set[tuple[str, ...]]:
    stream = Stream(source, seed=1, window_rows=100)
    return {(one.anchor, one.positive, *one.negatives) for one in (stream.take() for _ in range(n_rows))}


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_one_of_several_positives_is_drawn(kind: pa.DataType, tmp_path: Path) -> None:
    source = source_of(tmp_path, anchor=ANCHORS, positive=pa.array(NESTED, kind))
    assert taken(source) == {("q1", "x"), ("q1", "y"), ("q4", "z")}
    stream = Stream(source, seed=1, window_rows=100)
    first = [stream.take() for _ in range(7)]
    state = stream.state()
    assert state["n_unusable"] == 2
    again = Stream(source, seed=1, window_rows=100)
    assert [again.take() for _ in range(7)] == first
    again.restore(state)
    assert [again.take() for _ in range(20)] == [stream.take() for _ in range(20)]
    assert set(_Texts([source])) == {*ANCHORS, "x", "y", " ", "z"}


def test_lists_in_other_roles(tmp_path: Path) -> None:
    names = ("anchors", "negatives", "both", "documents")
    one, two, three, four = (tmp_path / name for name in names)
    for folder in (one, two, three, four):
        folder.mkdir()
    assert taken(source_of(one, anchor=pa.array(NESTED), positive=POSITIVES)) == {
        ("x", "p1"),
        ("y", "p1"),
        ("z", "p4"),
    }
    negatives = pa.array([["n1", "p1", "", "n2"], [], None, [" ", None, "n3"]])
    assert taken(source_of(two, "triplets", anchor=ANCHORS, positive=POSITIVES, negative=negatives)) == {
        ("q1", "p1", "n1", "n2"),
        ("q4", "p4", "n3"),
    }
    columns = {"negative_1": negatives, "negative_2": ["m", "m", None, ""]}
    assert taken(source_of(three, "triplets", anchor=ANCHORS, positive=POSITIVES, **columns)) == {
        ("q1", "p1", "n1", "n2", "m"),
        ("q2", "p2", "m"),
        ("q4", "p4", "n3"),
    }
    assert taken(source_of(four, "mlm", text=pa.array(NESTED))) == {("x", ""), ("y", ""), ("z", "")}


def test_files_with_texts_lists_and_nulls_go_together(tmp_path: Path) -> None:
    others = [
        pa.table({"anchor": ["q5"], "positive": ["p5"]}),
        pa.table({"anchor": ["q6"], "positive": pa.nulls(1)}),
        pa.table({"anchor": ["q7"], "positive": pa.array([[]], pa.list_(pa.null()))}),
    ]
    source = source_of(tmp_path, "pairs", *others, anchor=ANCHORS, positive=pa.array(NESTED))
    assert taken(source) == {("q1", "x"), ("q1", "y"), ("q4", "z"), ("q5", "p5")}


OBJECTS = r"^x: column 'positive' \(positive\) holds objects, not texts. Name one of their fields by its path: "


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.nulls(4), r"x: the column positive \(positive\) holds only nulls; expected texts, or lists of texts"),
        (pa.array([[], None, [None], []], pa.list_(pa.null())), "holds only empty lists or nulls"),
        (pa.array([{"a": "b"}] * 4), rf"{OBJECTS}positive\.a$"),
        (pa.array([[["a"]]] * 4), "has the type list<element: list<element: string>>; expected texts"),
        (pa.array([[{"a": "b"}]] * 4), rf"{OBJECTS}positive\[\]\.a$"),
    ],
    ids=str,
)
def test_columns_without_texts_are_named(column: pa.Array, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        source_of(tmp_path, anchor=ANCHORS, positive=column)


def test_an_empty_column_that_would_be_the_negative_is_named(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"anchor": ANCHORS, "positive": POSITIVES, "negative": pa.nulls(4)}), tmp_path / "x.parquet"
    )
    config = TrainConfig(phase="triplets", inputs=(str(tmp_path / "x.parquet"),), model="tiny")
    with pytest.raises(UsageError, match=r"the column negative \(negative\) holds only nulls"):
        find_sources(config, tmp_path / "spool")


def test_a_value_that_is_no_text_is_named_with_its_row(tmp_path: Path) -> None:
    source = source_of(tmp_path, anchor=ANCHORS, positive=pa.array([b"a", b"b", b"c", b"\xff\xfe"]))
    with pytest.raises(InputError, match=r"x/0.parquet, row 3 \(counted from 0\): the column 'positive' holds a value"):
        taken(source)


# ------------------------------------------------------------------------------------------------------ prompts


PROMPTS = {"query": "question: ", "passage": "answer: "}


def config(model: Path, inputs: Path, **options: Any) -> TrainConfig:
    defaults: dict[str, Any] = {"phase": "pairs", "steps": 2, "batch_size": 8, "max_length": 32}
    return TrainConfig(inputs=(str(inputs),), model=str(model), **{**defaults, **options})


@pytest.mark.parametrize(
    ("options", "used", "saved"),
    [
        ({}, ("question: ", "answer: "), PROMPTS),
        ({"query_prompt": "ask: "}, ("ask: ", "answer: "), {**PROMPTS, "query": "ask: "}),
        ({"corpus_prompt": "none"}, ("question: ", ""), {"query": "question: "}),
        ({"query_prompt": "", "corpus_prompt": "d: "}, ("", "d: "), {"document": "d: "}),
    ],
    ids=str,
)
def test_texts_get_the_prompts_of_the_model_which_are_saved(
    options: dict[str, Any], used: tuple[str, str], saved: dict[str, str], tmp_path: Path
) -> None:
    encoder = Encoder.from_pretrained(write_model(tmp_path / "model"), device="cpu")
    encoder.prompts, encoder.default_prompt_name = dict(PROMPTS), "query" if not options else None
    encoder.save_pretrained(tmp_path / "model")
    asked = config(tmp_path / "model", tmp_path / "x.parquet", phase="triplets", **options)
    model = load_trainable(str(tmp_path / "model"), tokenizer=None, device="cpu", seed=0)
    phase = ContrastivePhase(
        model, asked, Processes(), token_budget=1000, cast=lambda: torch.autocast("cpu", enabled=False)
    )
    phase.prompts, line = settle_prompts(model.prompted, asked)
    prepared = phase.prepare(Batch(0, "x", True, (Example("boil", "egg", ("wait",)),)), None)
    texts = [f"{used[0]}boil", f"{used[1]}egg", f"{used[1]}wait"]
    assert [ids.tolist() for ids in prepared.ids] == [ids.tolist() for ids in model.tokenize(texts, 32)]
    assert bool(line) == (len(options) < 2)
    write_triplets(tmp_path / "x.parquet", questions(20))
    report = Trainer(asked, tmp_path / "out").run()
    assert read_prompts(report.model) == ModelPrompts(saved, encoder.default_prompt_name)


def test_mlm_and_sentence_transformers_keep_the_prompts(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from tests.support.encoders import write_transformer

    pairs = write_pairs(tmp_path / "x.parquet", questions(20))
    encoder = Encoder.from_pretrained(write_model(tmp_path / "model"), device="cpu")
    encoder.prompts, encoder.default_prompt_name = dict(PROMPTS), "query"
    encoder.save_pretrained(tmp_path / "model")
    words = Trainer(config(tmp_path / "model", pairs, phase="mlm"), tmp_path / "mlm").run()
    assert read_prompts(words.model) == ModelPrompts(PROMPTS, "query")
    tokenizer = train_wordpiece([text for pair in questions(20) for text in pair], vocab_size=250)
    folder = write_transformer(tmp_path / "bert", tokenizer, prompts=PROMPTS, default_prompt_name="query")
    trained = Trainer(config(folder, pairs), tmp_path / "trained").run()
    assert read_prompts(trained.model) == ModelPrompts(PROMPTS, "query")


# ------------------------------------------------------------------------------------------------- learning rate


def test_a_static_model_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "x.parquet", questions(60))
    report = Trainer(config(Path("static"), pairs, steps=3), tmp_path / "static").run()
    assert report.settings["learning_rate"] == 0.01
    again = Trainer(config(report.model, pairs, steps=1), tmp_path / "again").run()
    assert again.settings["learning_rate"] == 0.01  # a folder with a static model, too
    write_model(tmp_path / "model")
    assert (
        Trainer(config(tmp_path / "model", pairs, steps=1), tmp_path / "bert").run().settings["learning_rate"] == 2e-5
    )
    slow = Trainer(config(Path("static"), pairs, steps=1, learning_rate=2e-5), tmp_path / "slow").run()
    assert any("a static model hardly learns at a learning rate of 2e-05" in line for line in slow.warnings)


def test_the_tokenizer_of_a_corpus_is_always_the_same(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import hashlib; from jina_data.encoder import train_wordpiece\n"
        "from tests.support.train_inputs import questions\n"
        "texts = [text for pair in questions(200) for text in pair] + [chr(19968 + n) * (n % 3) for n in range(3000)]\n"
        "print(hashlib.sha256(train_wordpiece(iter(texts), vocab_size=1500).to_str().encode()).hexdigest())"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(outputs) == 1
    assert np.unique([len(output) for output in outputs]).tolist() == [65]
