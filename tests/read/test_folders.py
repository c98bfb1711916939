from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data.errors import InputError
from jina_data.read import InputFile, resolve_inputs, settled_schema, stream_ranges
from jina_data.read.files.folders import format_of, partition_of
from tests.support.tables import resolve_file, rows_of


def put(folder: Path, name: str, table: pa.Table) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name)


def put_text(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def all_rows(*inputs: str) -> list[dict[str, object]]:
    files = resolve_inputs(inputs)
    schema = settled_schema(files)
    return [
        row
        for file in files
        for parsed in stream_ranges(file, schema)
        for row in parsed.rows.drop_columns(["__row"]).to_pylist()
    ]


SUFFIXES: list[tuple[str, str | None]] = [
    ("a.snappy.parquet", "parquet"),
    ("a.PQ", "parquet"),
    ("a.feather", "arrow"),
    ("a.arrow.zst", "arrow"),
    ("a.ipc", "arrow"),
    ("a.jsonl.bz2", "jsonl"),
    ("a.csv.zip", "csv"),
    ("a.csv.gz.zip", "csv"),
    ("a.tsv.xz", "tsv"),
    ("a.tab", "tsv"),
    ("a.jl", "jsonl"),
    ("a.txt.gz", "text"),
    ("a.zip", None),
    ("a.md", None),
    ("a", None),
    ("https://host/x/a.csv.gz?download=true", "csv"),
]


@pytest.mark.parametrize(("name", "expected"), SUFFIXES)
def test_suffixes(name: str, expected: str | None) -> None:
    assert format_of(name) == expected


# ------------------------------------------------------------------------------------------- columns from folder names


@pytest.fixture
def hive(tmp_path: Path) -> Path:
    put(tmp_path, "set/lang=en/part-0.parquet", pa.table({"text": ["one", "two"]}))
    put(tmp_path, "set/lang=de/part-0.parquet", pa.table({"text": ["eins"]}))
    put_text(tmp_path, "set/README.md", "# A dataset\n")
    put_text(tmp_path, "set/_SUCCESS", "")
    put_text(tmp_path, "set/._part-0.parquet", "x")
    return tmp_path / "set"


ROWS = [{"text": "eins", "lang": "de"}, {"text": "one", "lang": "en"}, {"text": "two", "lang": "en"}]


def test_folder_names_give_columns(hive: Path) -> None:
    assert all_rows(str(hive)) == ROWS
    assert all_rows(str(hive / "*/*.parquet")) == ROWS
    assert all_rows(str(hive / "lang=*")) == ROWS
    assert all_rows(str(hive / "**" / "*.parquet")) == ROWS
    assert all_rows(str(hive / "lang=en/part-0.parquet")) == ROWS[1:]
    assert all_rows(f"file://{hive}") == ROWS
    (file, _) = resolve_inputs([str(hive)])
    assert InputFile.from_json(json.loads(json.dumps(file.to_json()))) == file


def test_folder_names_of_urls_give_columns(hive: Path) -> None:
    system = fsspec.filesystem("memory")
    for path in hive.rglob("*.parquet"):
        system.pipe(f"/set/{path.relative_to(hive)}", path.read_bytes())
    try:
        assert all_rows("memory://set") == ROWS
        assert all_rows("memory://set/*/*.parquet") == ROWS
    finally:
        system.rm("/set", recursive=True)


PARTITIONS: list[tuple[str, dict[str, str | None]]] = [
    ("a/lang=en/year=2024/x.csv", {"lang": "en", "year": "2024"}),
    ("a/lang=en%20GB%2F1/x.csv", {"lang": "en GB/1"}),
    ("a/lang=/x.csv", {"lang": ""}),
    ("a/lang=__HIVE_DEFAULT_PARTITION__/x.csv", {"lang": None}),
    ("a/expr=a=b/x.csv", {"expr": "a=b"}),
    ("a/=x/x.csv", {}),
    ("a/x=1.csv", {}),
    ("x/a=1/b/a=2/x.csv", {"a": "2"}),
    ("s3://bucket/lang=%C3%A9/x.csv", {"lang": "é"}),
    ("https://host/lang=en/x.csv?a=b/c", {"lang": "en"}),
    ("a/язык=ru/x.csv", {"язык": "ru"}),
]


@pytest.mark.parametrize(("name", "expected"), PARTITIONS)
def test_partitions(name: str, expected: dict[str, str | None]) -> None:
    assert dict(partition_of(name)) == expected


TYPES: list[tuple[list[str], pa.DataType, list[object]]] = [
    (["2023", "2024"], pa.int64(), [2023, 2024]),
    (["-1", "0"], pa.int64(), [-1, 0]),
    (["01", "02"], pa.string(), ["01", "02"]),
    (["1", "x"], pa.string(), ["1", "x"]),
    (["1", "1.0"], pa.string(), ["1", "1.0"]),
    (["+1", "2"], pa.string(), ["+1", "2"]),
    (["1", "99999999999999999999"], pa.string(), ["1", "99999999999999999999"]),
    (["1", "__HIVE_DEFAULT_PARTITION__"], pa.int64(), [1, None]),
    (["x", "__HIVE_DEFAULT_PARTITION__"], pa.string(), ["x", None]),
]


@pytest.mark.parametrize(("values", "kind", "expected"), TYPES)
@pytest.mark.parametrize("format_name", ["parquet", "jsonl", "csv"])
def test_values_of_folder_names_are_integers_if_all_are(
    tmp_path: Path, values: list[str], kind: pa.DataType, expected: list[object], format_name: str
) -> None:
    names = []
    for value in values:
        name = f"key={value}/x.{format_name}"
        names.append(str(tmp_path / name))
        if format_name == "parquet":
            put(tmp_path, name, pa.table({"text": ["a"]}))
        else:
            put_text(tmp_path, name, '{"text": "a"}\n' if format_name == "jsonl" else "text\na\n")
    files = resolve_inputs(names)
    assert settled_schema(files).field("key").type == kind
    assert [row["key"] for row in all_rows(*names)] == expected


@pytest.mark.parametrize("format_name", ["parquet", "jsonl", "csv"])
def test_a_column_of_the_file_wins(tmp_path: Path, format_name: str) -> None:
    if format_name == "parquet":
        put(tmp_path, "lang=en/x.parquet", pa.table({"lang": ["eng", None], "text": ["a", "b"]}))
    elif format_name == "jsonl":
        put_text(tmp_path, "lang=en/x.jsonl", '{"lang": "eng", "text": "a"}\n{"lang": null, "text": "b"}\n')
    else:
        put_text(tmp_path, "lang=en/x.csv", "lang,text\neng,a\n,b\n")
    file = resolve_file(tmp_path / f"lang=en/x.{format_name}")
    assert [row["lang"] or None for row in rows_of(file)] == ["eng", None]
    assert file.partition == ()
    assert "column lang is in the file; the name of the folder is not used" in file.notes


def test_files_without_the_folder_have_null(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", pa.table({"text": ["a"]}))
    put(tmp_path, "lang=en/b.parquet", pa.table({"text": ["b"]}))
    assert all_rows(str(tmp_path)) == [{"text": "a", "lang": None}, {"text": "b", "lang": "en"}]


# ------------------------------------------------------------------------------------------------------ saved datasets

datasets = pytest.importorskip("datasets")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = datasets.Dataset.from_dict({"n": list(range(40)), "text": [f"text {number}" for number in range(40)]})
    rows.shuffle(seed=1).save_to_disk(tmp_path / "saved", num_shards=12)
    (tmp_path / "saved" / "cache-1c80317fa3b1799d.arrow").write_bytes(b"no data")
    return tmp_path / "saved"


def expected_numbers(saved: Path) -> list[int]:
    return list(datasets.load_from_disk(saved)["n"])


def test_saved_datasets_are_read(saved: Path) -> None:
    numbers = expected_numbers(saved)
    assert numbers != sorted(numbers)
    assert [row["n"] for row in all_rows(str(saved))] == numbers
    assert [row["n"] for row in all_rows(str(saved / "*.arrow"))] == numbers
    assert [row["n"] for row in all_rows(str(saved.parent))] == numbers
    assert [file.format for file in resolve_inputs([str(saved)])] == ["arrow"] * 12


def test_shards_come_in_the_order_of_the_state(saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"].reverse()
    (saved / "state.json").write_text(json.dumps(state))
    assert [row["n"] for row in all_rows(str(saved))] == expected_numbers(saved)


def test_saved_datasets_behind_urls(saved: Path) -> None:
    system = fsspec.filesystem("memory")
    for path in saved.iterdir():
        system.pipe(f"/saved/{path.name}", path.read_bytes())
    try:
        assert [row["n"] for row in all_rows("memory://saved")] == expected_numbers(saved)
    finally:
        system.rm("/saved", recursive=True)


def test_a_missing_shard_is_reported(saved: Path) -> None:
    (saved / "data-00003-of-00012.arrow").unlink()
    with pytest.raises(InputError, match=r"state.json lists .*data-00003-of-00012.arrow, which is missing"):
        resolve_inputs([str(saved)])


def test_splits_of_saved_datasets(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict({"n": [1, 2]})
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "two")
    with pytest.raises(
        InputError, match=r"two: this is a saved dataset with several splits: train, test. Name one, .*two/train"
    ):
        resolve_inputs([str(tmp_path / "two")])
    assert all_rows(str(tmp_path / "two" / "train")) == [{"n": 1}, {"n": 2}]
    assert len(all_rows(str(tmp_path / "two" / "train"), str(tmp_path / "two" / "test"))) == 4
    datasets.DatasetDict({"train": part}).save_to_disk(tmp_path / "one")
    assert all_rows(str(tmp_path / "one")) == [{"n": 1}, {"n": 2}]


def test_types_of_saved_datasets(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "vector": datasets.Array2D((2, 2), "float32"),
            "answers": datasets.List(datasets.Value("large_string")),
        }
    )
    row = {"text": "x", "label": 1, "vector": [[1.0, 2.0], [3.0, 4.0]], "answers": ["a", "b"]}
    datasets.Dataset.from_list([row, row], features=features).save_to_disk(tmp_path / "saved")
    assert all_rows(str(tmp_path / "saved")) == [row, row]


# --------------------------------------------------------------------------------------------------- files in a folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    for name in ("README.txt", "LICENSE.txt", "requirements.txt", "notes.txt", "sha256sums.txt"):
        put_text(tmp_path, name, "One line.\n")
    return tmp_path


def names_of(*inputs: str) -> list[str]:
    return [Path(file.name).name for file in resolve_inputs(inputs)]


def test_text_files_count_only_without_others(mixed: Path) -> None:
    assert names_of(str(mixed)) == ["notes.txt"]
    put_text(mixed, "a.jsonl", '{"a": 1}\n')
    assert names_of(str(mixed)) == ["a.jsonl"]
    assert names_of(str(mixed / "*.txt")) == ["notes.txt"]
    assert names_of(str(mixed / "README.txt")) == ["README.txt"]
