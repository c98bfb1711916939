from __future__ import annotations

import gzip
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data.errors import InputError
from jina_data.read import InputOptions, resolve_inputs, sample_schema
from jina_data.read.checks import check_parseable, empty_files
from tests.support.tables import resolve_file, rows_of


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue()


def arrow_bytes(*, stream: bool) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"a": [1]})
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def sqlite_bytes(folder: Path) -> bytes:
    path = folder / "x.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a INT)")
    connection.commit()
    connection.close()
    return path.read_bytes()


CERTAIN: list[tuple[str, bytes, str]] = [
    ("data", parquet_bytes(), "parquet"),
    ("data.dat", parquet_bytes(), "parquet"),
    ("part-00000", gzip.compress(parquet_bytes(), mtime=0), "parquet"),
    ("data.csv", parquet_bytes(), "parquet"),
    ("data.jsonl", arrow_bytes(stream=False), "arrow"),
    ("data", arrow_bytes(stream=True), "arrow"),
    ("data", b'{"a": 1}\n{"a": 1}\n', "jsonl"),
    ("part-00000.gz", gzip.compress(b'{"a": 1}\n', mtime=0), "json"),
    ("data", b'\xef\xbb\xbf{"a": 1}\n', "json"),
    ("data.log", b'[\n  {"a": 1}\n]', "json"),
    ("data.txt", b'{"a": 1}\n{"a": 1}\n', "jsonl"),
    ("data.csv", b'{"a": 1}\n{"a": 1}\n', "jsonl"),
    ("data.csv", b'{"a": 1},b\n{"a": 1},c\n', "csv"),
]


@pytest.mark.parametrize(("name", "data", "expected"), CERTAIN)
def test_content_that_is_certain_tells_the_format(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert resolve_file(tmp_path / name).format == expected


@pytest.mark.parametrize("name", ["data", "data.dat", "data.json", "data.parquet"])
def test_a_format_that_is_set_is_used_for_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,x\n2,y\n")
    (file,) = resolve_inputs([str(tmp_path / name)], InputOptions(format="csv"))
    assert file.format == "csv"
    assert len(rows_of(file)) == 2
    (file,) = resolve_inputs([str(tmp_path / name)], InputOptions(format="text"))
    assert rows_of(file) == [{"text": "a,b"}, {"text": "1,x"}, {"text": "2,y"}]


def test_a_format_that_is_set_holds_for_all_files_of_a_folder_or_pattern(tmp_path: Path) -> None:
    for name in ("a.dat", "b.log", "_SUCCESS", ".hidden"):
        (tmp_path / name).write_bytes(b"One line.\n")
    set_format = InputOptions(format="text")
    assert [Path(file.name).name for file in resolve_inputs([str(tmp_path)], set_format)] == ["a.dat", "b.log"]
    assert [Path(file.name).name for file in resolve_inputs([str(tmp_path / "*.dat")], set_format)] == ["a.dat"]


POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""

HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
NAMES = ["a.parquet", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.arrow", "a", "a.csv.gz"]


@pytest.mark.parametrize("name", NAMES)
def test_lfs_pointers_are_named_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(InputError, match=r"a.*: this is a Git LFS pointer, not the file itself. Run `git lfs pull`"):
        resolve_inputs([str(tmp_path)] if "." in name else [str(tmp_path / name)])


FOREIGN: list[tuple[str, bytes, str]] = [
    ("page", HTML, "this is an HTML page, perhaps the error page of a web server"),
    ("page in capitals", b"\n <HTML lang=en>\n<body>", "this is an HTML page"),
    ("page with a mark", b"\xef\xbb\xbf<!doctype HTML PUBLIC>", "this is an HTML page"),
    ("page with a comment", b"<!-- saved from url -->\n<html>", "this is an HTML page"),
    ("xml", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "this is an XML file"),
    ("answer", b"404: Not Found", "only the answer of a web server, '404: Not Found'. Fetch the file again"),
    ("hub answer", b"Entry not found\n", "only the answer of a web server"),
    ("annex", b"/annex/objects/MD5E-s3--900150983cd24fb0d6963f7d28e17f72.csv\n", "git-annex pointer"),
    (
        "old excel",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "this is an old Excel workbook.*Save its sheet as CSV",
    ),
    ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "this is a PDF document.*Extract its text first"),
    ("pickle", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}.", "this is a Python pickle"),
    ("array", b"\x93NUMPY\x01\x00v\x00{'descr'", "this is a NumPy array"),
    ("hdf", b"\x89HDF\r\n\x1a\n\0\0", "this is an HDF5 file"),
    ("orc", b"ORC\x08\x03\x10\x02\0\0", "this is an ORC file"),
    ("avro", b"Obj\x01\x04\x14", "this is an Avro file"),
    ("tar", b"a.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "this is a tar archive.*Unpack it"),
    (
        "tar.gz",
        gzip.compress(b"a.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), mtime=0),
        "this is a tar archive",
    ),
    ("7z", b"7z\xbc\xaf\x27\x1c\0\4", "this is a 7z archive"),
    ("image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "this is an image"),
    ("feather 1", b"FEA1\0\0\0\0\x01", "a Feather file of version 1"),
    ("sealed parquet", b"PARE\x15\x00\x15", "a Parquet file with an encrypted footer"),
]


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.xlsx"])
def test_files_of_other_kinds_are_named_as_such(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        resolve_inputs([str(tmp_path / name)])


def test_databases_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(sqlite_bytes(tmp_path))
    with pytest.raises(InputError, match=r"this is a SQLite database, which is not read. Export its tables as CSV"):
        resolve_inputs([str(tmp_path / "a.csv")])


LIKE_OTHERS: list[bytes] = [
    b"ORCID,name\n1,x\n",
    b"PARENT,child\n1,x\n",
    b"PARE,FEA1\n1,x\n",
    b"PAR1,x\n1,x\n",
    b"animals,DUCK\n1,x\n",
    b"Objects,name\n1,x\n",
    b"html,text\n<html>,x\n",
    b"not found,x\n1,2\n",
]


@pytest.mark.parametrize("data", LIKE_OTHERS)
def test_tables_that_begin_like_other_kinds_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert len(rows_of(resolve_file(tmp_path / "a.csv"))) == 1


def test_pages_can_be_data_if_the_format_is_set(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"<html>one</html>\t1\n<html>two</html>\t2\n")
    (file,) = resolve_inputs([str(tmp_path / "a.tsv")], InputOptions(format="tsv", header=False))
    assert len(rows_of(file)) == 2


@pytest.mark.parametrize("name", ["text", "csv", "tsv", "json", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize(
    ("found", "data"),
    [("parquet", parquet_bytes()), ("arrow", arrow_bytes(stream=False)), ("arrow", arrow_bytes(stream=True))],
)
def test_a_set_format_that_the_content_refutes_is_named(tmp_path: Path, name: Any, found: str, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    options = InputOptions(format=name)
    if name == found:
        (file,) = resolve_inputs([str(path)], options)
        assert rows_of(file) == [{"a": 1}]
        return
    expected = rf"a: this is an? {found.title()} file, but its format is set to {name}. Leave out --input-format"
    with pytest.raises(InputError, match=expected):
        resolve_inputs([str(path)], options)


@pytest.mark.parametrize("format_name", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("data", "kind", "right"),
    [
        (b"id,text\n1,Hello\n", "text", "csv, tsv or text"),
        (b'{"text": "Hello"}\n', "JSON", "json"),
        (b'[{"text": "Hello"}]\n', "JSON", "json"),
        (b"PAR1 is a text", "text", "csv, tsv or text"),
    ],
)
def test_texts_as_parquet_or_arrow_are_named(
    tmp_path: Path, format_name: Any, data: bytes, kind: str, right: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    expected = rf"a.csv: this is {kind}, but its format is set to {format_name}. .* or set it to {right}\."
    with pytest.raises(InputError, match=expected):
        resolve_inputs([str(path)], InputOptions(format=format_name))
    named = path.rename(tmp_path / f"a.{format_name}")
    expected = rf"this is {kind}, not an? {format_name.title()} file\. Rename it, .*--input-format {right}\)"
    with pytest.raises(InputError, match=expected):
        resolve_inputs([str(named)])


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a"])
def test_empty_files_are_named_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"a.*: the file is empty \(0 bytes\). Fetch or write it again"):
        resolve_inputs([str(tmp_path / name)])


def test_json_of_a_folder_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"features": {}}}))
    (tmp_path / "train.jsonl").write_text('{"a": 1}\n')
    assert [Path(file.name).name for file in resolve_inputs([str(tmp_path)])] == ["train.jsonl"]


def test_files_without_rows_are_named(tmp_path: Path) -> None:
    for name, data in {"a.jsonl": b"", "b.csv": b"text\n", "c.jsonl": b'{"text": "x"}\n'}.items():
        (tmp_path / name).write_bytes(data)
    files = resolve_inputs([str(tmp_path)])
    schemas = [sample_schema(file) for file in files]
    check_parseable(files, schemas)
    notes = [note.removeprefix(f"{tmp_path}/") for note in empty_files(files, schemas)]
    assert notes == ["a.jsonl: the file is empty (0 bytes)", "b.csv: the file has no rows"]


@pytest.mark.parametrize(("name", "data"), [("a.jsonl", b""), ("a.csv", b""), ("a.json", b"[]"), ("a.jsonl", b"\n\n")])
def test_a_run_over_files_without_rows_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    files = resolve_inputs([str(tmp_path / name)])
    expected = r"the file is empty \(0 bytes\)" if not data else "the file has no rows"
    with pytest.raises(InputError, match=rf"{name}: {expected}. Fetch or write it again"):
        check_parseable(files, [sample_schema(file) for file in files])
