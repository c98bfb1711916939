from __future__ import annotations

import gzip
import http.server
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pyarrow import feather

from jina_data.errors import InputError, MissingExtraError
from jina_data.read import InputFile, input_notes, resolve_inputs, sample_schema, split, stream_ranges
from jina_data.read.memory import copy_inputs, list_inputs
from tests.support.tables import (
    assert_same_ranges,
    ranges_of,
    resolve_file,
    rows_of,
    small_ranges,
    table_of,
    write_input,
)

LINE = b'{"a": 1}\n'


def names(*inputs: str, below: Path) -> list[str]:
    return [str(Path(file.name).relative_to(below)) for file in resolve_inputs(inputs)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.jsonl",
        "a.jsonl",
        "sub/c.jsonl.gz",
        "sub/deep/d.NDJSON",
        "10.csv",
        "9.csv",
        "u.parquet",
        "odd[1].json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = {".csv": b"a,b\n", ".parquet": b"PAR1\0"}
        (tmp_path / name).write_bytes(content.get(Path(name).suffix, LINE))
    for name in (
        ".hidden.jsonl",
        "_SUCCESS",
        "_tmp/x.jsonl",
        ".git/x.jsonl",
        "README.md",
        "x.log",
        "notes.txt",
        "empty/README.txt",
        "empty/.notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"A line of text.\n")
    return tmp_path


def test_folders_are_read_whole_and_sorted(tree: Path) -> None:
    found = ["10.csv", "9.csv", "a.jsonl", "b.jsonl", "odd[1].json", "sub/c.jsonl.gz", "sub/deep/d.NDJSON", "u.parquet"]
    assert names(str(tree), below=tree) == found
    assert names(str(tree / "sub") + "/", below=tree) == ["sub/c.jsonl.gz", "sub/deep/d.NDJSON"]
    assert [file.index for file in resolve_inputs([str(tree)])] == list(range(8))


GLOBS: list[tuple[str, list[str]]] = [
    ("*.jsonl", ["a.jsonl", "b.jsonl"]),
    ("?.jsonl", ["a.jsonl", "b.jsonl"]),
    ("[b-z].jsonl", ["b.jsonl"]),
    ("**/*.gz", ["sub/c.jsonl.gz"]),
    ("sub/**", ["sub/c.jsonl.gz", "sub/deep/d.NDJSON"]),
    ("s*", ["sub/c.jsonl.gz", "sub/deep/d.NDJSON"]),
    ("odd[1].json", ["odd[1].json"]),
    ("*.json", ["odd[1].json"]),
]


@pytest.mark.parametrize(("pattern", "found"), GLOBS)
def test_patterns(tree: Path, pattern: str, found: list[str]) -> None:
    assert names(str(tree / pattern), below=tree) == found


def test_inputs_keep_the_order_in_which_they_are_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(str(tree / "b.jsonl"), str(tree / "9.csv"), str(tree / "sub"), below=tree) == [
        "b.jsonl",
        "9.csv",
        "sub/c.jsonl.gz",
        "sub/deep/d.NDJSON",
    ]
    monkeypatch.chdir(tree)
    assert [file.name for file in resolve_inputs(["a.jsonl", "sub"])][:2] == ["a.jsonl", "sub/c.jsonl.gz"]
    monkeypatch.setenv("HOME", str(tree))
    assert [file.name for file in resolve_inputs(["~/a.jsonl"])] == [str(tree / "a.jsonl")]
    assert resolve_inputs([f"file://{tree}/a.jsonl"]) == resolve_inputs([str(tree / "a.jsonl")])


REFUSED: list[tuple[list[str], str]] = [
    ([], "no input was named"),
    (["nope.jsonl"], r"nope.jsonl: no such file or folder \(the current folder is .*\). Check the path"),
    (["nope/*.jsonl"], r"nope/\*.jsonl: no file found. Check the path or pattern"),
    (["*.text"], r"\*.text: no file found"),
    (["empty"], "empty: none of its 1 files has a known format"),
    (["_tmp/*.nothing"], "no file found"),
    (["R*"], r"none of its 1 files has a known format \(for example .*README.md\). Expected .parquet, .jsonl"),
    (["README.md"], "unknown file format. Expected .parquet.*--input-format"),
    (["x.log"], "unknown file format"),
    (["a.jsonl", "*.jsonl"], r"a.jsonl is named twice: by '.*a.jsonl' and by '.*\*.jsonl'"),
    (["a.jsonl", "./a.jsonl"], "named twice"),
    (["a.jsonl", "link.jsonl"], "link.jsonl is named twice"),
]


@pytest.mark.parametrize(("inputs", "message"), REFUSED)
def test_what_cannot_be_resolved_is_reported(
    tree: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], message: str
) -> None:
    monkeypatch.chdir(tree)
    (tree / "link.jsonl").symlink_to(tree / "a.jsonl")
    with pytest.raises(InputError, match=message):
        resolve_inputs(inputs)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(LINE)
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.jsonl").write_bytes(LINE)
    (tmp_path / "in" / "other").symlink_to(tmp_path / "other")
    assert names(str(tmp_path / "in"), below=tmp_path) == ["in/a.jsonl", "in/other/b.jsonl"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    (tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(InputError, match="no permission"):
        resolve_file(tmp_path / "a.jsonl")


MAGIC: list[tuple[str, bytes, str | None]] = [
    ("a.jsonl", LINE, None),
    ("a.jsonl.gz", gzip.compress(LINE, mtime=0), "gzip"),
    ("a.jsonl.zst", zstandard.compress(LINE), "zstd"),
    ("a.jsonl.zstd", zstandard.compress(LINE), "zstd"),
    ("a.jsonl.gz", LINE, None),
    ("a.jsonl", gzip.compress(LINE, mtime=0), "gzip"),
    ("a.jsonl.gz", zstandard.compress(LINE), "zstd"),
]


@pytest.mark.parametrize(("name", "data", "compression"), MAGIC)
def test_compression_is_detected_by_content(tmp_path: Path, name: str, data: bytes, compression: str | None) -> None:
    (tmp_path / name).write_bytes(data)
    file = resolve_file(tmp_path / name)
    assert file.compression == compression
    assert file.size == len(data)
    assert rows_of(file) == [{"a": 1}]
    assert (split(file, sample_schema(file)) is None) == (compression is not None)


def parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1000)
    return bytes(sink.getvalue().to_pybytes())


CONTENT: dict[str, bytes] = {
    "a.jsonl": b"".join(b'{"n": %d, "t": "x"}\n' % number for number in range(3000)),
    "b.jsonl.gz": gzip.compress(b"".join(b'{"n": %d, "t": "x"}\n' % number for number in range(3000))),
    "c.csv": b"n,t\n" + b"".join(b"%d,x\n" % number for number in range(3000)),
    "d.json": b"[" + b",".join(b'{"n": %d, "t": "x"}' % number for number in range(3000)) + b"]",
    "e.parquet": parquet_bytes(pa.table({"n": range(3000), "t": ["x"] * 3000})),
}


@pytest.fixture
def memory() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    for name, data in {**CONTENT, "_hidden.jsonl": LINE, "notes.txt": b"x"}.items():
        with system.open(f"/corpus/{name}", "wb") as sink:
            sink.write(data)
    yield "memory://corpus"
    system.rm("/corpus", recursive=True)


def test_urls_name_files_folders_and_patterns(memory: str) -> None:
    assert [file.name for file in resolve_inputs([memory])] == [f"memory:///corpus/{name}" for name in CONTENT]
    assert [file.name for file in resolve_inputs([f"{memory}/*.json*"])] == [
        f"memory:///corpus/{name}" for name in ("a.jsonl", "b.jsonl.gz", "d.json")
    ]
    (file,) = resolve_inputs([f"{memory}/a.jsonl"])
    assert (file.name, file.size, file.format) == ("memory://corpus/a.jsonl", len(CONTENT["a.jsonl"]), "jsonl")
    assert file.etag
    assert InputFile.from_json(file.to_json()) == file


@pytest.mark.parametrize("name", CONTENT)
def test_files_behind_urls_are_read_like_local_ones(memory: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENT[name])
    with small_ranges(10_000, 500):
        remote = ranges_of(resolve_file(f"{memory}/{name}"))
        assert_same_ranges(remote, ranges_of(resolve_file(tmp_path / name)))
    assert table_of(remote).column("n").to_pylist() == list(range(3000))


MISSING: list[tuple[str, type[Exception], str]] = [
    ("memory://nope/a.jsonl", InputError, "no such file. Check the URL"),
    ("memory://nope/*.jsonl", InputError, "no file found"),
    ("memory://nope", InputError, "no such file. Check the URL"),
    ("nope://bucket/a.jsonl", InputError, "could not be reached: Protocol not known: nope"),
    (
        "s3://bucket/a.jsonl",
        MissingExtraError,
        "reading s3:// requires a package that is not installed: pip install",
    ),
    ("gs://bucket/a.jsonl", MissingExtraError, "pip install 'gcsfs'"),
    ("http://127.0.0.1:9/a.jsonl", InputError, "http://127.0.0.1:9/a.jsonl"),
]


@pytest.mark.parametrize(("name", "kind", "message"), MISSING)
def test_addresses_that_cannot_be_read_are_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Exception], message: str
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(kind, match=message):
        resolve_inputs([name])


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves CONTENT, with range requests for paths that begin with /ranges; /cut announces more than it sends."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def send_head(self) -> io.BytesIO | None:
        folder, name = self.path.partition("?")[0].strip("/").split("/")
        if name not in CONTENT:
            self.send_error(404)
            return None
        data, asked = CONTENT[name], self.headers.get("Range", "")
        if folder == "ranges" and asked.startswith("bytes="):
            first, last = asked.removeprefix("bytes=").split("-")
            part = data[int(first) : int(last or len(data)) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        else:
            part = data
            self.send_response(200)
        if folder == "ranges":
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{len(data)}"')
        self.send_header("Content-Length", str(len(part) + 100 * (folder == "cut")))
        if folder == "cut":
            self.send_header("Connection", "close")
        self.end_headers()
        return io.BytesIO(part)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("folder", ["ranges", "whole"])
def test_files_of_a_web_server_are_read(server: str, tmp_path: Path, folder: str, name: str) -> None:
    """With a server that supports range requests, and with one that does not."""
    (tmp_path / name).write_bytes(CONTENT[name])
    (file,) = resolve_inputs([f"{server}/{folder}/{name}?download=true"])
    with small_ranges(10_000, 500):
        assert_same_ranges(ranges_of(file), ranges_of(resolve_file(tmp_path / name)))
    assert file.etag == f'"{len(CONTENT[name])}"'


def test_a_missing_file_of_a_web_server_is_reported(server: str) -> None:
    with pytest.raises(InputError, match=r"nope.jsonl: no such file. Check the URL"):
        resolve_inputs([f"{server}/ranges/nope.jsonl"])


def test_a_transfer_that_breaks_off_is_reported(server: str) -> None:
    with pytest.raises(InputError, match=r"cut/b.jsonl.gz"):
        list(
            stream_ranges(resolve_file(f"{server}/cut/b.jsonl.gz"), pa.schema([("n", pa.int64()), ("t", pa.string())]))
        )


def test_reading_imports_nothing_heavy() -> None:
    code = "import sys, jina_data.read; print(*(set(sys.modules) & {'datasets', 'torch', 'aiohttp', 'pandas'}))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == ""


def test_a_path_with_odd_characters_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data [v1] 😀 #1?"
    folder.mkdir()
    assert rows_of(write_input(folder, "a b*.jsonl", LINE)) == [{"a": 1}]
    assert len(resolve_inputs([str(folder)])) == 1


RECORDS = "records data[] (others: --records PATH)"
NEW_NAMES = ["column '' is named column_1", "column '_row' is named _row_2"]
RENAMED: list[tuple[str, bytes, list[str]]] = [
    ("t.csv", b",_row,text\n1,2,Hello\n", NEW_NAMES),
    ("t.jsonl", b'{"text": "Hello"}\n{"": 1, "_row": 2, "text": "Bye"}\n', NEW_NAMES),
    ("t.jsonl", b'{"text": "Hello", "text": "Bye"}\n', ["column 'text' is named text_2"]),
    ("t.jsonl", b'{"text": "Hello"}\n', []),
    ("t.json", b'[{"": 1, "_row": 2, "text": "Hello"}]', NEW_NAMES),
    ("t.json", b'{"v": 1, "data": [{"": 1, "_row": 2, "text": "Hello"}]}', [RECORDS, *NEW_NAMES]),
    ("t.json", b'{"": [1, 2], "_row": [1, 2], "text": ["a", "b"]}', ["JSON by columns", *NEW_NAMES]),
    ("t.json", b'{"columns": ["", "_row"], "data": [["a", "b"]]}', ["JSON by columns", *NEW_NAMES]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "notes"), RENAMED)
def test_new_names_of_columns_are_printed(tmp_path: Path, name: str, data: bytes, notes: list[str]) -> None:
    (tmp_path / name).write_bytes(data)
    printed = input_notes(resolve_inputs([str(tmp_path / name)]))
    assert [note.partition(": ")[2] for note in printed] == notes


def test_new_names_of_columns_of_arrow_data_are_printed(tmp_path: Path) -> None:
    table = pa.table([[1], [2], ["Hello"]], names=["", "_row", "text"])
    pq.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        printed = input_notes(resolve_inputs([str(tmp_path / name)]))
        assert [note.partition(": ")[2] for note in printed] == NEW_NAMES
    (copied,) = copy_inputs(list_inputs(table), tmp_path)
    assert isinstance(copied, InputFile)
    assert input_notes(resolve_inputs([copied])) == [f"table-0: {note}" for note in NEW_NAMES]
