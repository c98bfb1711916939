from __future__ import annotations

import datetime
import decimal
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given, settings

from jina_data import CleanConfig, CleanReport, ExactDedup, Length, Pipeline, clean
from jina_data.clean.recipe import Recipe
from jina_data.errors import InputError, RunFolderError, StoppedError, UsageError
from jina_data.read.memory import list_inputs
from tests.support.tables import tables

datasets = pytest.importorskip("datasets")
pandas = pytest.importorskip("pandas")
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = [f"This is sentence number {number}." for number in range(30)]
TABLE = pa.table({"text": TEXTS, "n": range(30)})
ROWS = TABLE.to_pylist()
PIPELINE = Pipeline(Length(min_words=2), ExactDedup())


def frame() -> Any:
    return pandas.DataFrame({"text": TEXTS, "n": range(30)})


def dataset() -> Any:
    return datasets.Dataset.from_dict({"text": TEXTS, "n": list(range(30))})


def generator() -> Iterator[dict[str, Any]]:
    yield from ROWS


class Exporter:
    """A table of some other library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


KINDS: dict[str, Callable[[], Any]] = {
    "table": lambda: TABLE,
    "record batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(max_chunksize=7),
    "Arrow stream": Exporter,
    "dataset of pyarrow": lambda: pyarrow.dataset.dataset(TABLE),
    "pandas": frame,
    "pandas, filtered": lambda: pandas.DataFrame({"text": [*TEXTS, "x"], "n": range(31)}).query("n < 30"),
    "dataset": dataset,
    "dataset, selected": lambda: dataset().select(range(29, -1, -1)).select(range(29, -1, -1)),
    "streamed dataset": lambda: dataset().to_iterable_dataset(num_shards=3),
    "DuckDB": lambda: duckdb.from_arrow(TABLE),
    "rows": lambda: ROWS,
    "generator": generator,
    "iterator": lambda: iter(ROWS),
    "iterable of rows": lambda: map(dict, ROWS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_any_library_is_cleaned(tmp_path: Path, kind: str) -> None:
    report = PIPELINE.run(KINDS[kind](), tmp_path / "out")
    assert report.to_arrow().to_pylist() == ROWS
    assert [part.name for part in report.files] == ["table-0"]
    assert [part.name for part in report.sources] == ["table-0"]


def test_polars(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    rows = polars.DataFrame({"text": TEXTS, "n": range(30)}, schema_overrides={"n": polars.Int64})
    assert PIPELINE.run(rows, tmp_path / "frame").to_arrow().to_pylist() == ROWS
    lazy = rows.lazy().filter(polars.col("n") < 5).with_columns(kind=polars.lit("a").cast(polars.Categorical))
    kept = PIPELINE.run(lazy, tmp_path / "lazy").to_arrow()
    assert kept.to_pylist() == [{**row, "kind": "a"} for row in ROWS[:5]]


def test_shuffled_and_mapped_datasets(tmp_path: Path) -> None:
    mapped = dataset().shuffle(seed=3).map(lambda row: {"m": row["n"] + 1})
    assert PIPELINE.run(mapped, tmp_path / "a").to_arrow().to_pylist() == mapped.to_list()
    streamed = dataset().to_iterable_dataset().map(lambda row: {"m": row["n"] + 1}).filter(lambda row: row["n"] > 3)
    assert PIPELINE.run(streamed, tmp_path / "b").to_arrow().to_pylist() == list(streamed)


def test_several_tables_have_names(tmp_path: Path) -> None:
    other = TABLE.slice(3, 2)
    report = PIPELINE.run([TABLE, other], tmp_path / "list")
    assert [(part.name, part.read, part.kept) for part in report.files] == [("table-0", 30, 30), ("table-1", 2, 0)]
    report = PIPELINE.run({"train": TABLE, "test": frame().head(2)}, tmp_path / "names")
    assert [(part.name, part.read, part.kept) for part in report.sources] == [("train", 30, 30), ("test", 2, 0)]
    query = f"SELECT _file, _row, _partner FROM '{tmp_path}/names/dropped/*.parquet' ORDER BY ALL"
    assert duckdb.execute(query).fetchall() == [("test", 0, "train:0"), ("test", 1, "train:1")]
    report = PIPELINE.run(datasets.DatasetDict({"train": dataset(), "test": dataset()}), tmp_path / "splits")
    assert [part.name for part in report.files] == ["train", "test"]


def test_tables_and_files_together(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"text": "One more sentence.", "n": 31}\n')
    report = PIPELINE.run([TABLE, tmp_path / "more.jsonl", generator()], tmp_path / "out")
    assert [part.name for part in report.files] == ["table-0", str(tmp_path / "more.jsonl"), "table-1"]
    assert report.rows.kept == 31


def test_a_config_takes_tables(tmp_path: Path) -> None:
    config = CleanConfig(recipe=Recipe(stages=(Length(min_words=2),), columns={}, seed=0), inputs=TABLE)
    assert clean(config, tmp_path / "out").rows.kept == 30
    forecast = PIPELINE.plan(TABLE)
    assert forecast.rows.expected == 30


@quick
@given(table=tables())
def test_any_table_comes_back(tmp_path: Path, table: pa.Table) -> None:
    table = table.append_column("keep_me", pa.array(["A text."] * table.num_rows))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        pipeline = Pipeline(columns={"text": "keep_me"})
        kept = pipeline.run([table, table.to_reader()], Path(folder) / "out").to_arrow()
        assert kept.equals(pa.concat_tables([table, table]))


# ------------------------------------------------------------------------------------------------- resuming, leftovers


def everything_in(folder: Path) -> str:
    texts = [path.read_bytes().decode("utf-8", "replace") for path in sorted(folder.rglob("*")) if path.is_file()]
    return "\n".join(texts)


@pytest.mark.parametrize("kind", ["table", "generator", "pandas"])
def test_no_path_of_a_copy_is_in_the_outputs_and_nothing_is_left(tmp_path: Path, kind: str) -> None:
    before = set(Path(tempfile.gettempdir()).iterdir())
    PIPELINE.run(KINDS[kind](), tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]
    assert [entry.name for entry in (tmp_path / "out").iterdir() if entry.name.startswith(".")] == []
    assert ".copies" not in everything_in(tmp_path / "out")
    assert set(Path(tempfile.gettempdir()).iterdir()) - before == set()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (entry,) = manifest["inputs"]
    assert (entry["name"], entry["rows"], len(entry["sha256"])) == ("table-0", 30, 64)


def test_the_same_data_is_finished_and_other_data_is_refused(tmp_path: Path) -> None:
    PIPELINE.run(TABLE, tmp_path / "out")
    written = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    for same in (TABLE, TABLE.to_reader(max_chunksize=4), pa.concat_tables([TABLE.slice(0, 11), TABLE.slice(11)])):
        PIPELINE.run(same, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(RunFolderError, match="holds a finished run with other inputs"):
        PIPELINE.run(TABLE.slice(1), tmp_path / "out")
    with pytest.raises(RunFolderError, match="holds a finished run with other inputs"):
        PIPELINE.run({"train": TABLE}, tmp_path / "out")
    assert PIPELINE.run(TABLE.slice(1), tmp_path / "out", overwrite=True).rows.read == 29
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir() if entry.name.startswith(".")) == []


def test_large_tables_have_the_same_copy_however_they_are_divided(tmp_path: Path) -> None:
    table = pa.table({"text": [f"Text {number} " + "long " * (number % 50) for number in range(20_000)]})
    PIPELINE.run(table, tmp_path / "out")
    report = PIPELINE.run(table.to_reader(max_chunksize=777), tmp_path / "out")
    assert report.rows.read == 20_000
    assert report.to_arrow().num_rows == report.rows.kept


def test_an_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("jina_data.clean.session.CleanSession._write_ledger", stop)
        with pytest.raises(StoppedError):
            PIPELINE.run(generator(), tmp_path / "out")
    assert (tmp_path / "out" / ".work").is_dir()
    assert not (tmp_path / "out" / ".copies").exists()
    messages: list[str] = []

    class Messages:
        def message(self, text: str) -> None:
            messages.append(text)

        def task(self, name: str, total_rows: int | None) -> Any:
            from jina_data.progress import SilentProgress

            return SilentProgress().task(name, total_rows)

    with pytest.raises(RunFolderError, match="unfinished run with other inputs"):
        PIPELINE.run(TABLE.slice(1), tmp_path / "out")
    report = PIPELINE.run(generator(), tmp_path / "out", progress=Messages())
    assert any(message.startswith("resuming the run") for message in messages)
    assert report.rows.kept == 30


def test_copies_of_killed_processes_are_removed(tmp_path: Path) -> None:
    import socket

    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    old = tmp_path / "out" / ".copies" / f"{socket.gethostname()}-{dead.stdout.strip()}-x"
    old.mkdir(parents=True)
    (old / "00000.parquet").write_bytes(b"x")
    PIPELINE.run(TABLE, tmp_path / "out")
    assert not (tmp_path / "out" / ".copies").exists()


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield {"text": "One."}
        raise ValueError("my own error")

    with pytest.raises(ValueError, match="my own error"):
        PIPELINE.run(broken(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(RunFolderError, match="not empty and not the folder of a run"):
        PIPELINE.run(TABLE, tmp_path / "full")


def test_several_workers(tmp_path: Path) -> None:
    code = f"""
import pyarrow as pa
from jina_data import ExactDedup, Length, Pipeline

if __name__ == "__main__":
    table = pa.table({{"text": [f"Text {{n}} {{n % 97}} " + "long " * (n % 50) for n in range(60_000)]}})
    report = Pipeline(Length(min_words=2), ExactDedup()).run(table, {str(tmp_path / "out")!r}, workers=2)
    assert report.rows.kept == 60_000, report.rows
"""
    (tmp_path / "script.py").write_text(code)
    subprocess.run([sys.executable, str(tmp_path / "script.py")], check=True, env={**os.environ}, timeout=120)


# ----------------------------------------------------------------------------------------------------- values and types


def kept_rows(inputs: Any, folder: Path, column: str = "text") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Pipeline(columns={"text": column}).run(inputs, folder / "out").to_arrow().to_pylist()
    return rows


def test_values_of_rows(tmp_path: Path) -> None:
    rows = [
        {
            "text": "One.",
            "when": datetime.date(2020, 1, 2),
            "price": decimal.Decimal("1.50"),
            "x": float("nan"),
            "n": np.int64(5),
        },
        {"text": "Two.", "tags": ("a", "b"), "raw": "é".encode(), "vector": np.array([1.5, 2.0]), "new": True},
        {"text": "Half \ud83d of it.", 5: "key"},
    ]
    kept = kept_rows(rows, tmp_path)
    assert kept[0]["when"] == "2020-01-02"
    assert kept[0]["price"] == "1.50"
    assert kept[0]["x"] is None
    assert kept[0]["n"] == 5
    assert kept[1]["tags"] == ["a", "b"]
    assert kept[1]["raw"] == "é"
    assert kept[1]["vector"] == [1.5, 2.0]


def test_an_index_of_pandas_counts_if_it_has_a_name(tmp_path: Path) -> None:
    indexed = frame().set_index(pandas.Index([f"k{number}" for number in range(30)]))
    assert list(kept_rows(indexed, tmp_path / "a")[0]) == ["text", "n"]
    assert list(kept_rows(indexed.rename_axis("key"), tmp_path / "b")[0]) == ["key", "text", "n"]
    assert kept_rows(frame().set_index("n"), tmp_path / "c")[3] == {"n": 3, "text": TEXTS[3]}


def test_infinity_in_rows_is_a_number(tmp_path: Path) -> None:
    rows = [{"text": "One.", "x": float("inf")}, {"text": "Two.", "x": 1}, {"text": "Three.", "x": float("nan")}]
    assert [row["x"] for row in kept_rows(rows, tmp_path)] == [float("inf"), 1.0, None]


def test_odd_columns_of_pandas(tmp_path: Path) -> None:
    odd = pandas.DataFrame(
        {
            "text": TEXTS[:2],
            "sparse": pandas.arrays.SparseArray([0, 3]),
            "month": pandas.array([pandas.Period("2020-01", "M"), None], dtype="period[M]"),
            None: [1, 2],
        }
    )
    assert kept_rows(odd, tmp_path / "a") == [
        {"text": TEXTS[0], "sparse": 0, "month": "2020-01", "column_4": 1},
        {"text": TEXTS[1], "sparse": 3, "month": None, "column_4": 2},
    ]
    with pytest.raises(UsageError, match="column 'x': a value of type complex"):
        kept_rows(pandas.DataFrame({"text": TEXTS[:1], "x": [1j]}), tmp_path / "b")


def test_unions_of_a_table_are_texts(tmp_path: Path) -> None:
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])])
    assert [row["u"] for row in kept_rows(pa.table({"text": TEXTS[:2], "u": union}), tmp_path)] == ["1", "y"]


def test_data_without_rows_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"table-0: the data has no rows\."):
        kept_rows(iter([]), tmp_path)


def test_columns_of_pandas_with_mixed_values(tmp_path: Path) -> None:
    mixed = pandas.DataFrame(
        {
            "text": TEXTS[:4],
            "mixed": [1, "x", None, [1, 2]],
            "missing": ["a", None, float("nan"), pandas.NA],
            "when": pandas.to_datetime(["2020-01-02", None, "2020-01-03", "2020-01-04"]),
            "kind": pandas.Categorical(["a", "b", "a", None]),
            5: [1, 2, 3, 4],
        }
    )
    rows = kept_rows(mixed, tmp_path)
    assert [row["mixed"] for row in rows] == ["1", "x", None, "[1, 2]"]
    assert [row["missing"] for row in rows] == ["a", None, None, None]
    assert rows[0]["when"] == datetime.datetime(2020, 1, 2)
    assert [row["kind"] for row in rows] == ["a", "b", "a", None]
    assert [row["5"] for row in rows] == [1, 2, 3, 4]


def test_batches_of_several_types_unite(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(3000):
            yield {
                "text": f"Text {number}.",
                "id": number if number < 1500 else f"id-{number}",
                "late": None if number < 2000 else 1.5,
            }

    streamed = datasets.IterableDataset.from_generator(rows)
    kept = kept_rows(streamed, tmp_path / "a")
    assert [kept[0]["id"], kept[-1]["id"], kept[-1]["late"]] == ["0", "id-2999", 1.5]
    kept = kept_rows(rows(), tmp_path / "b")
    assert [kept[0]["id"], kept[-1]["id"], kept[-1]["late"]] == ["0", "id-2999", 1.5]
    large = [pa.table({"text": ["A."], "n": pa.array([2**53 + 1])}), pa.table({"text": ["B."], "n": [1.5]})]
    kept = kept_rows(large, tmp_path / "c")
    assert [row["n"] for row in kept] == ["9007199254740993", "1.5"]


def test_types_of_arrow_stay(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["One.", "Two."],
            "view": pa.array(["a", None], pa.string_view()),
            "dictionary": pa.array(["a", None]).dictionary_encode(),
            "time": pa.array([1, None], pa.timestamp("us", "UTC")),
            "struct": [{"a": [1]}, None],
            "fieldless": pa.array([{}, {}], pa.struct([])),
        }
    )
    rows = kept_rows(table, tmp_path)
    assert rows[0]["view"] == rows[0]["dictionary"] == "a"
    assert rows[0]["struct"] == {"a": [1]}
    assert rows[0]["time"] == datetime.datetime(1970, 1, 1, 0, 0, 0, 1, datetime.UTC)


def test_no_rows(tmp_path: Path) -> None:
    report = PIPELINE.run(TABLE.slice(0, 0), tmp_path / "out")
    assert report.rows.read == 0
    assert report.to_arrow().num_rows == 0


# -------------------------------------------------------------------------------------------------------------- errors

WRONG: list[tuple[str, Callable[[], Any], str]] = [
    ("columns", lambda: {"text": ["a", "b"]}, "'text' holds the values of a column, so the mapping is one table. Make"),
    ("columns of arrays", lambda: {"text": np.array(["a"])}, "'text' holds the values of a column"),
    (
        "a file with a name",
        lambda: {"train": "a.jsonl"},
        "'train' names the file 'a.jsonl'; a mapping gives names to data",
    ),
    ("number as name", lambda: {5: TABLE}, "the name of a table must be a text in one line, got 5"),
    ("no name", lambda: {"": TABLE}, "the name of a table must be a text in one line"),
    ("number", lambda: 5, "got a int; expected a file, folder, pattern, URL or datasets:ID, or a pyarrow table"),
    ("bytes", lambda: b"a.jsonl", "got a bytes; expected a file"),
    ("array", lambda: np.zeros(3), "a numpy.ndarray is one column or an array, not a table"),
    ("series", lambda: frame()["text"], "a pandas.Series is one column or an array, not a table"),
    ("chunked array", lambda: TABLE.column("text"), "a pyarrow.ChunkedArray is one column"),
    (
        "texts",
        lambda: (text for text in TEXTS),
        r"table-0, row 0: expected a dict of columns, got a text. Give each text",
    ),
    ("tuples", lambda: iter([("a", 1)]), "table-0, row 0: expected a dict of columns, such as .*, got tuple"),
    ("late", lambda: iter([{"text": "A."}, 5]), "table-0, row 1: expected a dict of columns, .* got int"),
    (
        "object",
        lambda: [{"text": "A.", "x": object()}],
        "table-0, row 0, 'x': a value of type object has no form in JSON",
    ),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_no_data_is_refused(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PIPELINE.run(make(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"a torch.Tensor is one column or an array, not a table"):
        PIPELINE.run(torch.zeros(3), tmp_path / "out")


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two inputs have the name 'train'"):
        PIPELINE.run([{"train": TABLE}, {"train": TABLE}], tmp_path / "out")


def test_texts_in_a_list_are_names_of_files() -> None:
    names: list[str | Path] = ["a.jsonl", Path("b.csv")]
    assert list_inputs(names) == ["a.jsonl", "b.csv"]
    assert list_inputs("a.jsonl") == ["a.jsonl"]


# ------------------------------------------------------------------------------------------------------------- reports


@pytest.mark.parametrize("out_format", ["parquet", "jsonl"])
def test_kept_rows_in_memory(tmp_path: Path, out_format: str) -> None:
    report = PIPELINE.run([*ROWS, ROWS[0]], tmp_path / "out", out_format=out_format)
    assert report.to_arrow().equals(TABLE)
    assert report.to_pandas().equals(frame())
    assert report.to_dataset().to_list() == ROWS
    assert CleanReport.load(tmp_path / "out").to_arrow().equals(TABLE)


def test_a_report_prints_as_the_funnel(tmp_path: Path) -> None:
    report = PIPELINE.run([*ROWS, ROWS[0]], tmp_path / "out")
    lines = str(report).splitlines()
    assert lines[1].split() == ["stage", "rows", "in", "dropped", "rows", "out", "of", "all", "reasons"]
    assert any(line.split() == ["exact_dedup", "31", "1", "30", "96.8", "%", "exact_duplicate", "1"] for line in lines)
    assert f"kept rows:            {tmp_path}/out/data" in lines
    assert "30 of 31 rows kept, 1 dropped, 0 unreadable" in str(report)
    page = report._repr_html_()
    assert "<td>exact_duplicate 1</td>" in page
    assert page.startswith("<table>")


def test_a_report_prints_what_the_command_prints(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = [sys.executable, "-m", "jina_data", "clean", "in.jsonl", "-o", "out", "-p", "sentences"]
    environment = {**os.environ, "COLUMNS": "120"}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    code = "from jina_data import CleanReport; print(CleanReport.load('out'))"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert [line.rstrip() for line in printed.splitlines()] == [line.rstrip() for line in shown.splitlines()]
