from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data.errors import InputError, MissingExtraError
from jina_data.read import InputFile, digest, resolve_inputs, sample_schema, split
from tests.support.hub_server import running
from tests.support.tables import ranges_of, resolve_file, rows_of, small_ranges, table_of

datasets = pytest.importorskip("datasets")

TABLE = pa.table({"n": range(2000), "t": [f"text {number}" for number in range(2000)], "l": [["a", "b"]] * 2000})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "corpus"
    data.mkdir()
    pq.write_table(TABLE.slice(0, 1500), data / "train-00000-of-00002.parquet", row_group_size=400)
    pq.write_table(TABLE.slice(1500), data / "train-00001-of-00002.parquet")
    pq.write_table(TABLE.slice(0, 3), data / "test.parquet")
    return data


def test_a_split_is_read_in_order(folder: Path) -> None:
    file = resolve_file(f"datasets:{folder}?split=train")
    assert (file.format, file.option("split"), file.option("id")) == ("datasets", "train", str(folder))
    assert InputFile.from_json(json.loads(json.dumps(file.to_json()))) == file
    assert file.etag
    schema = sample_schema(file)
    assert split(file, schema) is None
    assert digest(file) is None
    for n_bytes, n_rows, n_ranges in ((2**23, 65_536, 1), (2**23, 300, 4), (20_000, 65_536, 3)):
        with small_ranges(n_bytes, n_rows):
            ranges = ranges_of(file)
        assert len(ranges) == n_ranges
        assert table_of(ranges).equals(TABLE)
    assert ranges[-1].end == {"row": 2000}


def test_options_choose_files(folder: Path) -> None:
    assert len(rows_of(resolve_file(f"datasets:{folder}?split=test"))) == 3
    assert len(rows_of(resolve_file(f"datasets:{folder}?split=train&data_files=test.parquet"))) == 3
    assert len(rows_of(resolve_file(f"datasets:{folder}?data_files=test.parquet"))) == 3


def test_lines_of_a_dataset_are_read(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.jsonl").write_text('{"a": 1, "b": null}\n{"a": 2, "b": "x"}\n')
    assert rows_of(resolve_file(f"datasets:{tmp_path}/x")) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_images_pass_as_they_are_stored(tmp_path: Path) -> None:
    image = {"bytes": b"\x89PNG", "path": None}
    table = pa.table({"image": pa.array([image], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    (tmp_path / "x").mkdir()
    pq.write_table(table, tmp_path / "x" / "train.parquet")
    assert rows_of(resolve_file(f"datasets:{tmp_path}/x")) == [{"image": image}]


REFUSED: list[tuple[str, str]] = [
    ("", r"the dataset has several splits: train, test. Name one, for example datasets:.*corpus\?split=train"),
    ("?split=nope", "there is no split 'nope'. Expected one of train, test"),
    ("?split=train&config=nope", "the dataset could not be opened: BuilderConfig 'nope' not found"),
    ("?spilt=train", "unknown option 'spilt'. Expected one of config, split"),
    ("/nope?split=train", "the dataset could not be opened"),
]


@pytest.mark.parametrize(("query", "message"), REFUSED)
def test_what_cannot_be_opened_is_reported(folder: Path, query: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_inputs([f"datasets:{folder}{query}"])


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-data\[hub\]'"):
        resolve_inputs(["datasets:user/name?split=train"])


def test_a_dataset_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        resolve_inputs([f"datasets:{folder}?split=train"] * 2)


HUB_CODE = """
from jina_data.read import resolve_inputs, sample_schema, stream_ranges
(file,) = resolve_inputs(["datasets:me/texts"])
rows = [row["text"] for part in stream_ranges(file, sample_schema(file)) for row in part.rows.to_pylist()]
print(file.etag, rows)
"""


def test_datasets_of_the_hub_are_read_from_the_cache_without_a_network(tmp_path: Path) -> None:
    def read(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), **settings}
        return subprocess.run(
            [sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True
        )

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"]}), sink)
    with running() as hub:
        online = hub.environment()
        created = "from huggingface_hub import HfApi; HfApi().create_repo('me/texts', repo_type='dataset')"
        assert read(created, **online).returncode == 0
        hub.add_commit("me/texts", {"data/train-00000-of-00001.parquet": sink.getvalue()})
        assert read("import datasets; datasets.load_dataset('me/texts')", **online).returncode == 0
        first = read(HUB_CODE, **online)
    assert first.stdout.endswith("['one', 'two']\n"), first.stderr
    again = read(HUB_CODE, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    # Without the dataset that was prepared, from the files that were downloaded.
    shutil.rmtree(tmp_path / "home" / "datasets")
    again = read(HUB_CODE, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    shutil.rmtree(tmp_path / "home")
    missing = read(HUB_CODE, HF_HUB_OFFLINE="1").stderr
    assert "datasets:me/texts: the Hub is off, because HF_HUB_OFFLINE is set" in missing
    assert "Retrying" not in missing
