"""jina-data encode: rows and vectors in order, resumed runs, and errors that name the row."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.embed import table as module
from jina_data.embed.load import load_embedder
from jina_data.embed.table import EncodeConfig, EncodeReport
from jina_data.embed.table import encode as encode_config
from jina_data.embed.vectors import VectorConfig, choose_device
from jina_data.errors import (
    InputError,
    JinaDataError,
    ModelError,
    ResourceError,
    RunFolderError,
    StoppedError,
    UsageError,
)
from tests.support.files import write_csv, write_jsonl, write_parquet

STATIC = VectorConfig(model="static")
ROWS = [{"id": number, "text": f"text number {number} " + "more " * (number * 7 % 11)} for number in range(57)]


def encode(
    inputs: Sequence[Path], output: Path, vectors: VectorConfig = STATIC, *, overwrite: bool = False, **table: Any
) -> EncodeReport:
    config = EncodeConfig(inputs=[str(path) for path in inputs], **vars(vectors), **table)
    return encode_config(config, output, overwrite=overwrite)


def vectors_of(path: Path, name: str = "vector") -> npt.NDArray[np.float32]:
    column = pq.read_table(path)[name].combine_chunks()
    assert pa.types.is_fixed_size_list(column.type)
    vectors: npt.NDArray[np.float32] = np.asarray(column.flatten()).reshape(len(column), -1)
    return vectors


def expected_vectors(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return load_embedder("static").encode(texts).astype(np.float32)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of 10 rows, encoded 4 at a time."""
    monkeypatch.setattr(module, "SLICE_ROWS", 4)
    monkeypatch.setattr("jina_data.read.columnar.parquet.RANGE_ROWS", 10)
    monkeypatch.setattr("jina_data.read.csv_format.delimited.RANGE_BYTES", 300)


class Model:
    """A model of two dimensions that records its texts, and may stop or return NaN."""

    dim = 2
    n_cut = 0

    def __init__(self, stop_at: str = "nowhere", nan_at: str = "nowhere") -> None:
        self.stop_at, self.nan_at = stop_at, nan_at
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if any(text.startswith(self.stop_at) for text in texts):
            raise KeyboardInterrupt
        self.seen += texts
        self.n_cut += sum("more more" in text for text in texts)
        vectors = [[len(text), np.nan if text.startswith(self.nan_at) else 1.0] for text in texts]
        return np.array(vectors, np.float32)


def use(monkeypatch: pytest.MonkeyPatch, model: Model) -> Model:
    monkeypatch.setattr(module, "load_vector_model", lambda _: model)
    return model


def inputs_of(folder: Path) -> dict[str, list[Path]]:
    packed = folder / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(write_jsonl(folder / "plain.jsonl", ROWS).read_bytes()))
    halves = [write_parquet(folder / "a.parquet", ROWS[:30]), write_csv(folder / "b.csv", ROWS[30:])]
    return {
        "parquet": [write_parquet(folder / "rows.parquet", ROWS)],
        "jsonl.gz": [packed],
        "csv": [write_csv(folder / "rows.csv", ROWS)],
        "two files": halves,
    }


@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz", "csv", "two files"])
def test_rows_keep_their_columns_and_order(kind: str, tmp_path: Path, small_slices: None) -> None:
    output = tmp_path / "out" / "vectors.parquet"
    report = encode(inputs_of(tmp_path)[kind], output)
    assert (report.n_rows, report.dim) == (57, 256)
    table = pq.read_table(output)
    assert table.column_names == ["id", "text", "vector"]
    assert [int(value) for value in table["id"].to_pylist()] == list(range(57))
    assert table["text"].to_pylist() == [row["text"] for row in ROWS]
    assert (vectors_of(output) == expected_vectors([str(row["text"]) for row in ROWS])).all()
    assert sorted(path.name for path in output.parent.iterdir()) == ["vectors.parquet"]


def test_options_of_the_table(tmp_path: Path) -> None:
    rows = [{"question": f"q {n}", "answer": f"a {n}", "vector": [n]} for n in range(5)]
    path = write_parquet(tmp_path / "rows.parquet", rows)
    encode([path], tmp_path / "one.parquet", column="answer", vector_column="v", limit=3)
    table = pq.read_table(tmp_path / "one.parquet")
    assert (table.column_names, table.num_rows) == (["question", "answer", "vector", "v"], 3)
    assert (vectors_of(tmp_path / "one.parquet", "v") == expected_vectors(["a 0", "a 1", "a 2"])).all()
    encode([path], tmp_path / "two.parquet", column="question", vectors_only=True)
    assert pq.read_schema(tmp_path / "two.parquet").names == ["vector"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"column": "answer"}, "already has a column 'vector'"),
        ({"vector_column": "v"}, r"the text column is ambiguous.*question \(string\)"),
        ({"column": "x", "vector_column": "v"}, "--column x: there is no such column"),
        ({"column": "vector", "vector_column": "v"}, "--column vector has the type list<.*>; expected texts"),
    ]
    for options, message in cases:
        with pytest.raises(UsageError, match=message):
            encode([path], tmp_path / "three.parquet", **options)


@pytest.mark.parametrize("kind", ["parquet", "csv", "two files"])
def test_a_stopped_run_goes_on(kind: str, tmp_path: Path, small_slices: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(tmp_path)[kind]
    whole = use(monkeypatch, Model())
    report = encode(inputs, tmp_path / "whole.parquet")
    stopped = use(monkeypatch, Model(stop_at="text number 36"))
    with pytest.raises(StoppedError, match="Run the same command again"):
        encode(inputs, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()
    with pytest.raises(RunFolderError, match="unfinished run with another --limit"):
        encode(inputs, tmp_path / "vectors.parquet", limit=20)
    again = use(monkeypatch, Model())
    resumed = encode(inputs, tmp_path / "vectors.parquet")
    assert (tmp_path / "vectors.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert resumed.n_cut == report.n_cut > 0
    assert 0 < len(again.seen) < len(whole.seen) == 57
    assert len(stopped.seen) + len(again.seen) <= 57 + 4  # at most the slice that was in flight is repeated
    assert not list(tmp_path.glob(".*.work"))


def test_a_finished_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    output = tmp_path / "vectors.parquet"
    model = use(monkeypatch, Model())
    first = encode([path], output)
    assert encode([path], output) == first
    assert len(model.seen) == 57
    with pytest.raises(RunFolderError, match="holds a finished run with another --limit"):
        encode([path], output, limit=5)
    assert encode([path], output, limit=5, overwrite=True).n_rows == 5
    write_parquet(output, ROWS)
    with pytest.raises(RunFolderError, match="was not written by jina-data encode"):
        encode([path], output)
    with pytest.raises(RunFolderError, match="is a folder"):
        encode([path], tmp_path)


def test_overwriting_begins_anew(tmp_path: Path, small_slices: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    use(monkeypatch, Model(stop_at="text number 36"))
    with pytest.raises(StoppedError):
        encode([path], tmp_path / "vectors.parquet", limit=50)
    model = use(monkeypatch, Model())
    encode([path], tmp_path / "vectors.parquet", overwrite=True)
    assert len(model.seen) == 57


def test_a_vector_that_is_not_finite_names_the_row(
    tmp_path: Path, small_slices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Model(nan_at="text number 36"))
    files = inputs_of(tmp_path)["two files"]
    with pytest.raises(ModelError, match=r"b.csv, row 6 \(counted from 0\): the vector is not finite"):
        encode(files, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"text": "a"}, {"text": None}], r"row 1 \(counted from 0\): column 'text' holds null; expected a string"),
        ([{"text": "a"}, {"other": "b"}, {"text": "c"}], r"row 1 \(counted from 0\): column 'text' holds null"),
        ([{"text": "a"}, '{"text": "b"', {"text": "c"}], r"row 1 \(counted from 0\) cannot be read"),
        ([{"text": [5]}, {"text": [6]}], r"--column text has the type list<.*>; expected texts"),
    ],
)
def test_errors_name_the_row_without_a_text(lines: list[Any], message: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", lines)
    with pytest.raises(JinaDataError, match=message):
        encode([path], tmp_path / "vectors.parquet", column="text")


def test_no_rows(tmp_path: Path) -> None:
    empty = write_parquet(tmp_path / "rows.parquet", pa.table({"text": pa.array([], pa.string())}))
    assert encode([empty], tmp_path / "vectors.parquet").n_rows == 0
    assert pq.read_schema(tmp_path / "vectors.parquet").field("vector").type.list_size == 256
    with pytest.raises(InputError, match="no such file"):
        encode([tmp_path / "nowhere.csv"], tmp_path / "other.parquet")


def test_models_take_the_options_that_they_know(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    cases: dict[str, dict[str, Any]] = {
        "--max-length": {"max_length": 5},
        "--truncate-dim": {"truncate_dim": 8},
        "--max-length, --no-normalize": {"max_length": 5, "normalize": False},
    }
    for named, options in cases.items():
        with pytest.raises(UsageError, match=f"the static model does not support {named}"):
            encode([path], tmp_path / "vectors.parquet", VectorConfig(model="static", **options))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_an_encoder_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from jina_data.encoder import train_wordpiece
    from tests.support.encoders import WORDS, jina_bert

    encoder = jina_bert(train_wordpiece([WORDS] * 4, vocab_size=200))
    encoder.save_pretrained(tmp_path / "model")
    texts = [" ".join(WORDS.split()[:n]) for n in range(1, 18)] + ["egg " * 80]
    write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    call = [
        "encode",
        str(tmp_path / "rows.jsonl"),
        "-o",
        str(tmp_path / "v.parquet"),
        "--model",
        str(tmp_path / "model"),
    ]
    result = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert "18 vectors of 32 dimensions" in result.output
    assert "1 of 18 texts were longer than the model reads and were truncated" in result.output
    expected = encoder.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(vectors_of(tmp_path / "v.parquet"), expected, atol=1e-5)
    more = ["--truncate-dim", "8", "--no-normalize", "--prompt", "egg ", "--max-length", "9", "--overwrite", "-q"]
    assert CliRunner().invoke(cli, [*call, *more], catch_exceptions=False).output == ""
    expected = encoder.encode(texts, truncate_dim=8, prompt="egg ", max_length=9)
    np.testing.assert_allclose(vectors_of(tmp_path / "v.parquet"), expected, atol=1e-5)
    result = CliRunner().invoke(cli, [*call[:-1], "./nowhere"])
    assert isinstance(result.exception, ModelError)


def test_no_cuda_where_it_is_asked_for() -> None:
    assert choose_device("cpu", "model") == choose_device("auto", "static") == "cpu"
    with pytest.raises(ResourceError, match="--device cuda: no CUDA device"):
        choose_device("cuda", "static")


def test_what_is_kept_of_a_run_is_json(tmp_path: Path) -> None:
    encode([write_parquet(tmp_path / "rows.parquet", ROWS)], tmp_path / "vectors.parquet")
    metadata = json.loads(pq.read_schema(tmp_path / "vectors.parquet").metadata[b"jina_data.encode"])
    assert (metadata["model"], metadata["n_rows"], metadata["dim"], metadata["n_cut"]) == ("static", 57, 256, 0)


# ------------------------------------------------------------------------------------------- in subprocesses

WATCHED = """
import os, signal, sys, time
from jina_data.embed import table as module
from jina_data.cli import main
from jina_data.read.csv_format import delimited
from jina_data.read.columnar import parquet
log, killed_while, pause = sys.argv[1:4]
module.SLICE_ROWS, delimited.RANGE_BYTES, parquet.RANGE_ROWS = 4, 300, 10
real = module.load_vector_model
def load(options):
    model = real(options)
    encode = model.encode
    def logged(texts):
        found = encode(texts)
        with open(log, "a") as sink:
            sink.write("".join(text.split("number ")[1].split()[0] + "\\n" for text in texts))
        time.sleep(float(pause))
        return found
    model.encode = logged
    return model
module.load_vector_model = load
if killed_while == "gathering":
    class Killing(module.pq.ParquetFile):
        def __init__(self, part, **options):
            if str(part).endswith("range-000003-slice-000.parquet"):
                os.kill(os.getpid(), signal.SIGKILL)
            super().__init__(part, **options)
    module.pq.ParquetFile = Killing
sys.argv[1:] = sys.argv[4:]
main()
"""


def encode_and_kill(folder: Path, source: Path, output: Path, *, after: int | None, gathering: bool = False) -> int:
    """Run the command line, kill it after it has encoded `after` more texts, and return its status."""
    log = folder / "encoded.txt"
    log.touch()
    begun = len(log.read_text().split())
    options = [str(log), "gathering" if gathering else "", "0" if after is None else "0.1"]
    command = [sys.executable, "-c", WATCHED, *options, "encode", str(source), "-o", str(output), "-m", "static", "-q"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while process.poll() is None:
        if after is not None and len(log.read_text().split()) >= begun + after:
            process.kill()
        time.sleep(0.005)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.full)])
def test_a_run_that_is_killed_goes_on(kind: str, tmp_path: Path) -> None:
    (source,) = inputs_of(tmp_path)[kind]
    output = tmp_path / "out" / "vectors.parquet"
    assert encode_and_kill(tmp_path, source, tmp_path / "whole.parquet", after=None) == 0
    (tmp_path / "encoded.txt").unlink()
    kills = (1, 15)
    for after in kills:
        assert encode_and_kill(tmp_path, source, output, after=after) == -signal.SIGKILL
        assert not output.exists()
    assert encode_and_kill(tmp_path, source, output, after=None, gathering=True) == -signal.SIGKILL
    n_before = len((tmp_path / "encoded.txt").read_text().split())
    assert encode_and_kill(tmp_path, source, output, after=None) == 0
    seen = Counter((tmp_path / "encoded.txt").read_text().split())
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert set(seen) == {str(number) for number in range(57)}
    assert seen.total() == n_before  # merging encodes nothing again
    assert seen.total() <= 57 + len(kills) * 4  # at most the slice in flight is repeated
    assert [path.name for path in output.parent.iterdir()] == ["vectors.parquet"]


PEAK = """
import resource, sys
from jina_data.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = {}
    for n_rows in (12_000, 48_000):
        texts = pa.array([f"text number {number} of many, with some words" for number in range(n_rows)])
        source = tmp_path / f"{n_rows}.parquet"
        pq.write_table(pa.table({"text": texts}), source, row_group_size=6_000)
        command = ["encode", str(source), "-o", str(tmp_path / f"{n_rows}-out.parquet"), "-m", "static", "-q"]
        done = subprocess.run([sys.executable, "-c", PEAK, *command], check=True, capture_output=True, text=True)
        peaks[n_rows] = int(done.stdout.split()[-1])
    # The vectors of 36,000 rows alone take 37 MB.
    print({n_rows: f"{peak / 10**6:.0f} MB" for n_rows, peak in peaks.items()})
    assert peaks[48_000] - peaks[12_000] < 15 * 10**6, peaks


def test_any_input_of_clean_from_the_command_line(tmp_path: Path) -> None:
    inputs_of(tmp_path)
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "1.jsonl", ROWS[:9])
    write_parquet(tmp_path / "folder" / "2.parquet", ROWS[9:20])
    write_jsonl(tmp_path / "rows.json", [json.dumps(ROWS)])
    cases = {
        "rows.jsonl.gz": 57,
        "plain.jsonl": 57,
        "rows.json": 57,
        "rows.csv": 57,
        "rows.parquet": 57,
        "folder": 20,
        "folder/*": 20,
        "[ab].*": 57,
    }
    for number, (given, n_rows) in enumerate(cases.items()):
        output = tmp_path / f"out-{number}.parquet"
        result = CliRunner().invoke(
            cli, ["encode", str(tmp_path / given), "-o", str(output), "-m", "static"], catch_exceptions=False
        )
        assert (result.exit_code, f"{n_rows} vectors of 256 dimensions" in result.output) == (0, True), (
            given,
            result.output,
        )
        texts = pq.read_table(output)["text"].to_pylist()
        assert texts == [row["text"] for row in ROWS[:n_rows]], given
