"""Sources and their rates, rows in seeded order, and batches without false negatives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from jina_data.errors import InputError, UsageError
from jina_data.pipeline import Pipeline
from jina_data.stages import Length
from jina_data.train.alike import fold
from jina_data.train.batches import PUT_OFF_BATCHES, Batches
from jina_data.train.config import TrainConfig
from jina_data.train.sources import TrainSource, Unit, find_sources, source_rates
from jina_data.train.stream import Example, Stream
from tests.support.files import write_jsonl, write_parquet
from tests.support.train_inputs import DEMO, commands, questions, write_model, write_pairs, write_triplets


def config(*inputs: Path | str, phase: Any = "pairs", **options: Any) -> TrainConfig:
    return TrainConfig(phase=phase, inputs=tuple(map(str, inputs)), model="tiny", **options)


def sources_of(settings: TrainConfig, tmp_path: Path) -> list[TrainSource]:
    return find_sources(settings, tmp_path / "spool")[0]


def rows_of(source: TrainSource) -> list[Example]:
    stream = Stream(source, seed=0, window_rows=10**6)
    return [stream.take() for _ in range(source.n_rows)]


def sizes(sources: list[TrainSource]) -> dict[str, int]:
    return {source.name: source.n_rows for source in sources}


# ----------------------------------------------------------------------------------------------------- sources


def test_each_input_is_a_source(tmp_path: Path) -> None:
    first = write_pairs(tmp_path / "questions.parquet", questions(250))
    (tmp_path / "shards").mkdir()
    for number in range(2):
        write_pairs(tmp_path / "shards" / f"{number}.parquet", commands(60))
    sources = sources_of(config(first, tmp_path / "shards"), tmp_path)
    assert sizes(sources) == {"questions": 250, "shards": 120}
    assert sorted(rows_of(sources[0])) == sorted(Example(q, a) for q, a in questions(250))


def test_a_clean_run_has_the_sources_of_its_ledger(tmp_path: Path) -> None:
    run = tmp_path / "clean"
    inputs = [str(DEMO / "questions.jsonl.gz"), str(DEMO / "commands.csv")]
    Pipeline(Length(min_words=2), columns={"anchor": "question", "positive": "answer"}).run(inputs, run)
    report = json.loads((run / "report.json").read_text())
    found = sources_of(config(run), tmp_path)
    assert sizes(found) == {Path(one["name"]).name.split(".")[0]: one["kept"] for one in report["sources"]}
    table = pq.read_table(run / "data")
    n_first = found[0].n_rows
    expected = set(table["question"].to_pylist()[:n_first]) - {None}
    assert {example.anchor for example in rows_of(found[0])} <= expected


def test_a_negation_run_gives_its_training_split_by_source(tmp_path: Path) -> None:
    full = tmp_path / "negation" / "data" / "full"
    bare = tmp_path / "negation" / "data" / "triplet"
    full.mkdir(parents=True)
    bare.mkdir()
    (tmp_path / "negation" / "manifest.json").write_text('{"kind": "negate"}')
    rows = [
        {"anchor": f"a{n}", "entailment": f"e{n}", "negative": f"n{n}", "source": ("snli", "coco")[n % 3 == 0]}
        for n in range(30)
    ]
    write_parquet(full / "train-00000.parquet", rows)
    write_parquet(full / "test-00000.parquet", [{key: f"test {value}" for key, value in rows[0].items()}])
    write_parquet(bare / "train-00000.parquet", [{key: row[key] for key in list(row)[:3]} for row in rows])
    sources = sources_of(config(tmp_path / "negation", phase="triplets"), tmp_path)
    assert sizes(sources) == {"coco": 10, "snli": 20}
    assert sorted(rows_of(sources[0])) == sorted(Example(f"a{n}", f"e{n}", (f"n{n}",)) for n in range(0, 30, 3))


def test_a_mining_run_has_a_source_for_each_row_that_it_wrote(tmp_path: Path) -> None:
    run = tmp_path / "mined"
    for name in ("data", "ledger"):
        (run / name).mkdir(parents=True)
    (run / "manifest.json").write_text('{"kind": "mine"}')
    (run / "report.json").write_text('{"sources": [{"name": "a.csv"}, {"name": "b.csv"}]}')
    ledger = [("a.csv", True, 2), ("b.csv", False, 0), ("b.csv", True, 1), ("a.csv", True, 3)]
    rows = [{"source": source, "kept": kept, "written": n} for source, kept, n in ledger]
    write_parquet(run / "ledger" / "part-00000.parquet", rows)
    data = [{"anchor": f"q{n}", "positive": f"p{n}", "negative": f"n{n}"} for n in range(6)]
    write_parquet(run / "data" / "part-00000.parquet", data)
    found = sources_of(config(run, phase="triplets"), tmp_path)
    assert {one.name: sorted(row.anchor for row in rows_of(one)) for one in found} == {
        "a": ["q0", "q1", "q3", "q4", "q5"],
        "b": ["q2"],
    }
    write_parquet(run / "data" / "part-00001.parquet", data)
    with pytest.raises(InputError, match="the ledger has 6 kept rows, but data/ has 12 rows"):
        sources_of(config(run, phase="triplets"), tmp_path)


def test_a_column_names_the_source(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "positive": f"p{n}", "from": "ab"[n % 2] if n else None} for n in range(9)]
    path = write_parquet(tmp_path / "x.parquet", rows)
    sources = sources_of(config(path, columns=("anchor=query", "positive=positive", "source=from")), tmp_path)
    assert sizes(sources) == {"(none)": 1, "b": 4, "a": 4}


def test_other_formats_are_read_as_clean_reads_them(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", [{"question": q, "answer": a} for q, a in questions(40)])
    (source,) = sources_of(config(path), tmp_path)
    assert sorted(rows_of(source)) == sorted(Example(q, a) for q, a in questions(40))


def test_rows_that_cannot_be_read_raise_errors(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [{"anchor": "a", "positive": "b"}, '{"anchor": '])
    with pytest.raises(InputError, match=r"1 rows cannot be read.*Run jina-data clean first"):
        sources_of(config(path), tmp_path)


@pytest.mark.parametrize("limit", [1, 99, 100, 130, 10**6])
def test_limit_takes_the_first_rows(limit: int, tmp_path: Path) -> None:
    paths = [write_pairs(tmp_path / f"{name}.parquet", questions(120)) for name in "ab"]
    sources = sources_of(config(*paths, limit=limit), tmp_path)
    assert sum(source.n_rows for source in sources) == min(limit, 240)
    assert {one.anchor for one in rows_of(sources[0])} == {q for q, _ in questions(min(limit, 120))}


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("negative", [["n"], [None], [""]], [("n",)]),
        ("negative_1,negative_2", [["x", "y"], [None, "z"], [None, None]], [("x", "y"), ("z",)]),
        ("negatives", [[["x", "y", "x"]], [[]], [["p", "a"]]], [("x", "y")]),
    ],
)
def test_negatives_in_one_column_in_several_or_as_lists(
    columns: str, rows: list[list[Any]], expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    names = columns.split(",")
    path = write_parquet(
        tmp_path / "x.parquet",
        [{"anchor": "a", "positive": "p", **dict(zip(names, row, strict=True))} for row in rows],
    )
    (source,) = sources_of(config(path, phase="triplets"), tmp_path)
    stream = Stream(source, seed=0, window_rows=100)
    taken = [stream.take() for _ in range(3 * len(expected))]
    assert Counter(example.negatives for example in taken) == Counter(expected * 3)
    assert stream.n_unusable == len(rows) - len(expected)


@pytest.mark.parametrize(
    ("phase", "columns", "message"),
    [
        ("triplets", (), "needs the role negative"),
        ("pairs", ("anchor=missing", "positive=positive"), "no column 'missing'"),
        ("pairs", ("anchor=anchor",), "needs the role positive"),
    ],
)
def test_roles_that_do_not_fit_raise_errors(phase: Any, columns: tuple[str, ...], message: str, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "x.parquet", questions(3))
    with pytest.raises(UsageError, match=message):
        sources_of(config(path, phase=phase, columns=columns), tmp_path)


def test_missing_and_broken_files_raise_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        sources_of(config(tmp_path / "none.parquet"), tmp_path)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(write_pairs(tmp_path / "x.parquet", questions(50)).read_bytes()[:-50])
    with pytest.raises(InputError, match=r"broken.parquet cannot be read as Parquet"):
        sources_of(config(broken), tmp_path)


def test_a_source_without_usable_rows_raises_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [{"anchor": "", "positive": "p"}, {"anchor": "a", "positive": None}])
    (source,) = sources_of(config(path), tmp_path)
    with pytest.raises(InputError, match="has no row with texts"):
        Stream(source, seed=0, window_rows=10).take()


# ------------------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.8, 0.2]),
        ({"source_rates": "temperature:2"}, [2 / 3, 1 / 3]),
        ({"weights": {"b": 3, "a": 1}}, [0.25, 0.75]),
        ({"weights": {"b": 1}}, [0, 1]),
    ],
)
def test_rates(options: dict[str, Any], expected: list[float], tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", questions(160))
    write_pairs(tmp_path / "b.parquet", questions(40))
    asked = config(tmp_path / "a.parquet", tmp_path / "b.parquet", **options)
    assert source_rates(sources_of(asked, tmp_path), asked) == pytest.approx(expected)


def test_a_weight_of_an_input_is_shared_out_by_size(tmp_path: Path) -> None:
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "kind": "xy"[n % 4 == 0]} for n in range(40)]
    write_parquet(tmp_path / "a.parquet", rows)
    write_parquet(tmp_path / "b.parquet", rows)
    roles = ("anchor=anchor", "positive=positive", "source=kind")
    asked = config(
        tmp_path / "a.parquet", tmp_path / "b.parquet", columns=roles, weights={"a": 1, "b/x": 1}, no_in_batch=("b",)
    )
    sources = sources_of(asked, tmp_path)
    rates = {one.name: rate for one, rate in zip(sources, source_rates(sources, asked), strict=True)}
    assert rates == pytest.approx({"a/y": 0.125, "a/x": 0.375, "b/y": 0, "b/x": 0.5})
    assert {one.name for one in sources if not one.in_batch} == {"b/x", "b/y"}


def test_a_source_that_is_not_there_raises_an_error(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "questions.parquet", questions(3))
    with pytest.raises(UsageError, match=r"no source 'question'.*Did you mean 'questions'"):
        sources_of(config(path, weights={"question": 1}), tmp_path)


# ------------------------------------------------------------------------------------------------------ streams


def numbered(tmp_path: Path, n_rows: int, group_rows: int) -> TrainSource:
    path = write_pairs(tmp_path / "n.parquet", [(f"q{n}", f"p{n}") for n in range(n_rows)], group_rows=group_rows)
    units = [
        Unit(path, group, min(group_rows, n_rows - start)) for group, start in enumerate(range(0, n_rows, group_rows))
    ]
    return TrainSource("n", {"anchor": ("anchor",), "positive": ("positive",)}, units=units)


@pytest.mark.parametrize(("group_rows", "window_rows"), [(7, 1), (7, 30), (200, 50), (50, 10**6)])
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(group_rows: int, window_rows: int, tmp_path: Path) -> None:
    stream = Stream(numbered(tmp_path, 100, group_rows), seed=3, window_rows=window_rows)
    epochs = [[stream.take().anchor for _ in range(100)] for _ in range(3)]
    assert all(sorted(one) == sorted(f"q{n}" for n in range(100)) for one in epochs)
    assert len({tuple(one) for one in epochs}) == 3
    assert epochs[0] != [f"q{n}" for n in range(100)]
    again = Stream(numbered(tmp_path, 100, group_rows), seed=3, window_rows=window_rows)
    assert [again.take().anchor for _ in range(100)] == epochs[0]
    other = Stream(numbered(tmp_path, 100, group_rows), seed=4, window_rows=window_rows)
    assert [other.take().anchor for _ in range(100)] != epochs[0]


@pytest.mark.parametrize("n_taken", [0, 1, 29, 30, 99, 100, 101, 345])
def test_a_position_finds_the_next_row(n_taken: int, tmp_path: Path) -> None:
    source = numbered(tmp_path, 100, 15)
    stream = Stream(source, seed=1, window_rows=30)
    for _ in range(n_taken):
        stream.take()
    gone_on = Stream(source, seed=1, window_rows=30)
    gone_on.restore(json.loads(json.dumps(stream.state())))
    assert [gone_on.take() for _ in range(150)] == [stream.take() for _ in range(150)]


# ------------------------------------------------------------------------------------------------------ batches


def batches_of(rows: list[tuple[str, str]], tmp_path: Path, **options: Any) -> Batches:
    asked = config(write_pairs(tmp_path / "x.parquet", rows), **options)
    sources = sources_of(asked, tmp_path)
    return Batches(sources, source_rates(sources, asked), asked)


def check_apart(examples: tuple[Example, ...]) -> None:
    """No text of a row occurs in another row, and no negative is another row's anchor or positive."""
    texts = [{fold(example.anchor), fold(example.positive)} for example in examples]
    assert sum(map(len, texts)) == len(set[str]().union(*texts))
    for number, example in enumerate(examples):
        others = set[str]().union(*texts[:number], *texts[number + 1 :])
        assert not others & {fold(text) for text in example.negatives}


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdeABC"), st.sampled_from("vwxyzab")), min_size=1, max_size=30),
    batch_size=st.integers(1, 6),
)
def test_no_row_is_the_negative_of_an_equal_row_and_no_row_is_lost(
    rows: list[tuple[str, str]], batch_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = batches_of(rows, tmp_path_factory.mktemp("x"), batch_size=batch_size)
    used: list[Example] = []
    for step in range(12):
        batch = made.make(step)
        check_apart(batch.examples[: len(batch.examples) - batch.n_alike])
        assert len(batch.examples) == min(batch_size, len(rows))
        used += batch.examples
    state = made.state()["x"]
    waiting = [Example(anchor, positive, tuple(texts)) for anchor, positive, texts in state["waiting"]]
    assert len(waiting) <= PUT_OFF_BATCHES * min(batch_size, len(rows))
    # The rows read are the used and the deferred ones: complete epochs, and part of the current one.
    counts = Counter(used) + Counter(waiting)
    n_read = state["stream"]["epoch"] * len(rows)
    assert n_read <= counts.total() <= n_read + len(rows)
    for example, times in Counter(Example(q, a) for q, a in rows).items():
        assert state["stream"]["epoch"] * times <= counts[example] <= (state["stream"]["epoch"] + 1) * times


def test_equal_texts_wait_for_a_later_batch(tmp_path: Path) -> None:
    rows = [("same", f"p{n}") for n in range(10)] + [(f"q{n}", f"p{n + 10}") for n in range(90)]
    made = batches_of(rows, tmp_path, batch_size=10)
    batches = [made.make(step).examples for step in range(30)]
    n_same = [sum(one.anchor == "same" for one in batch) for batch in batches]
    assert set(n_same) <= {0, 1}
    assert 24 <= sum(n_same) <= 30  # three epochs, without the rows that are still deferred
    counts = made.state()["x"]["counts"]
    assert (counts["used"], counts["short_batches"]) == (300, 0)
    assert counts["put_off"] > 10


def test_negatives_stay_away_from_the_positives_of_others(tmp_path: Path) -> None:
    path = write_triplets(tmp_path / "x.parquet", questions(60), n_negatives=3)
    asked = config(path, phase="triplets", batch_size=8)
    sources = sources_of(asked, tmp_path)
    made = Batches(sources, source_rates(sources, asked), asked)
    for step in range(20):
        check_apart(made.make(step).examples)


def test_sources_without_in_batch_negatives_keep_equal_texts_together(tmp_path: Path) -> None:
    rows = [{"anchor": f"a{n}", "positive": "yes", "negative": "no"} for n in range(20)]
    asked = config(write_parquet(tmp_path / "x.parquet", rows), phase="triplets", batch_size=10, no_in_batch=("x",))
    sources = sources_of(asked, tmp_path)
    batch = Batches(sources, source_rates(sources, asked), asked).make(0)
    assert not batch.in_batch
    assert len(batch.examples) == 10


def test_each_batch_is_of_one_source_drawn_at_its_rate(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", questions(150))
    write_pairs(tmp_path / "b.parquet", commands(50))
    asked = config(tmp_path / "a.parquet", tmp_path / "b.parquet", batch_size=5)
    sources = sources_of(asked, tmp_path)
    made = Batches(sources, source_rates(sources, asked), asked)
    anchors = {"a": {q for q, _ in questions(150)}, "b": {q for q, _ in commands(50)}}
    drawn = Counter[str]()
    for step in range(400):
        batch = made.make(step)
        drawn[batch.source] += 1
        assert {one.anchor for one in batch.examples} <= anchors[batch.source]
    assert abs(drawn["a"] / 400 - 0.75) < 0.08  # 3.7 standard deviations


@pytest.mark.parametrize("n_steps", [0, 1, 7])
def test_batches_go_on_from_a_state(n_steps: int, tmp_path: Path) -> None:
    rows = [(f"q{n % 20}", f"p{n}") for n in range(90)]
    made = batches_of(rows, tmp_path, batch_size=8, shuffle_rows=40)
    for step in range(n_steps):
        made.make(step)
    gone_on = batches_of(rows, tmp_path, batch_size=8, shuffle_rows=40)
    gone_on.restore(json.loads(json.dumps(made.state())))
    for step in range(n_steps, n_steps + 20):
        assert gone_on.make(step) == made.make(step)


def test_a_small_source_gives_small_batches(tmp_path: Path) -> None:
    made = batches_of([("a", "b"), ("c", "d"), ("e", "f")], tmp_path, batch_size=64)
    for step in range(5):
        assert len(made.make(step).examples) == 3


def test_documents_need_no_partner(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [{"text": f"t{n % 2}"} for n in range(6)])
    asked = config(path, phase="mlm", batch_size=6)
    sources = sources_of(asked, tmp_path)
    batch = Batches(sources, source_rates(sources, asked), asked).make(0)
    assert Counter(one.anchor for one in batch.examples) == {"t0": 3, "t1": 3}


def test_several_text_columns_are_several_documents(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "x.parquet", [("a", "b"), ("c", "d")])
    (source,) = sources_of(config(path, phase="mlm"), tmp_path)
    stream = Stream(source, seed=0, window_rows=10)
    assert {stream.take().anchor for _ in range(4)} == {"a", "b", "c", "d"}


# --------------------------------------------------------------------------------------------------- the machine


def test_training_needs_neither_the_cleaning_half_nor_an_installed_package(tmp_path: Path) -> None:
    absent = ["duckdb", "pydantic", "ftfy", "wordllama", "fasttext", "numba", "zstandard", "yaml"]
    write_model(tmp_path / "model")
    path = write_pairs(tmp_path / "pairs.parquet", questions(20))
    call = ["train", "pairs", path, "-o", tmp_path / "out", "--model", tmp_path / "model", "--steps", 1, "-q"]
    code = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "from importlib import metadata\n"
        "def version(name):\n"
        "    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
        f"sys.argv = ['jina-data', *{[str(one) for one in call]!r}]\n"
        "from jina_data.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").exists()


def test_lists_of_strings_of_any_width_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "anchor": pa.array(["a", "b"], pa.string_view()),
            "positive": pa.array(["c", "d"], pa.large_string()),
            "negative": pa.array([["x"], ["y", "z"]], pa.list_(pa.string())),
        }
    )
    path = write_parquet(tmp_path / "x.parquet", table)
    (source,) = sources_of(config(path, phase="triplets"), tmp_path)
    assert sorted(rows_of(source)) == [Example("a", "c", ("x",)), Example("b", "d", ("y", "z"))]


def test_settings_out_of_range_raise_errors() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"temperature": 0.0}, "temperature is 0.0; expected a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"steps": 3, "epochs": 1.0}, "steps and epochs are both given"),
        ({"source_rates": "sizes"}, "expected size, or temperature:T"),
        ({"source_rates": "temperature:0"}, "expected size, or temperature:T"),
        ({"weights": {"a": -1.0}}, "the weight of source 'a' is -1.0"),
        ({"weights": {"a": 0.0}}, "all weights are 0"),
        ({"loss": "v3"}, "loss is 'v3'. Expected one of v1, v2"),
        ({"schedule": "cosin"}, "schedule is 'cosin'. Did you mean 'cosine'?"),
        ({"mask_share": 1.0}, "mask_share is 1.0"),
        ({"inputs": ()}, "there is no input"),
    ]
    for options, message in cases:
        with pytest.raises(UsageError) as raised:
            TrainConfig(**{"phase": "pairs", "inputs": ("x",), "model": "tiny", **options})
        assert message in str(raised.value)


def test_windows_hold_about_what_they_should(tmp_path: Path) -> None:
    stream = Stream(numbered(tmp_path, 100, 7), seed=0, window_rows=30)
    windows = stream._windows(0)
    held = [sum(unit.n_rows for unit in one) for one in windows]
    assert sum(held) == 100
    assert all(30 <= one < 37 for one in held[:-1])
    assert sorted(unit.group for one in windows for unit in one) == list(np.arange(15))


@pytest.mark.parametrize("max_length", [4, 9, 64])
def test_the_start_of_a_text_has_the_tokens_of_the_whole(max_length: int) -> None:
    from jina_data.encoder import train_wordpiece
    from jina_data.encoder.batches import tokenize, tokenize_start

    answers = [answer for _, answer in questions(200)]
    tokenizer = train_wordpiece(answers, vocab_size=600)
    odd = ["", " ", " " * 5000 + "end", "x" * 3000, "\n".join(["a"] * 900), "word" + " " * 4000 + "word", "é " * 700]
    expected = tokenize(tokenizer, [*answers, *odd], max_length).ids
    ids = tokenize_start(tokenizer, [*answers, *odd], max_length)
    assert [one.tolist() for one in ids] == [one.tolist() for one in expected]
