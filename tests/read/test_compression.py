from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import InputFile, resolve_inputs, sample_schema, stream_ranges
from jina_data.read.files.compression import compression_of
from tests.support.tables import assert_same_ranges, ranges_of, resolve_file, rows_of, small_ranges

LINE = b'{"a": 1}\n'
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def zipped(data: bytes, name: str = "a.jsonl", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr(name, data)
    return sink.getvalue()


def streamed_zip(data: bytes, name: str = "a.jsonl") -> bytes:
    """Zip as a pipe does: the sizes follow the data, and each member is written as if larger than 4 GiB."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, part: bytes) -> int:  # type: ignore[override]
            self.parts.append(bytes(part))
            return len(part)

    sink = Pipe()
    with (
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        member.write(data)
    return b"".join(sink.parts)


def lz4(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="lz4", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lz4,
    "zip": zipped,
}


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip", "a.jsonl.xz", "a.json"])
def test_the_first_bytes_tell_the_compression(tmp_path: Path, compression: str, name: str) -> None:
    (tmp_path / name).write_bytes(PACKERS[compression](LINE * 3))
    file = resolve_file(tmp_path / name)
    assert (file.compression, file.format) == (compression, "jsonl")
    assert rows_of(file) == [{"a": 1}] * 3


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl", "t.txt", "t.tsv"])
def test_ranges_are_those_of_the_plain_file(tmp_path: Path, compression: str, name: str) -> None:
    n_rows = 400
    data = {
        "t.csv": "n,t\n" + "".join(f"{number},text {number}\n" for number in range(n_rows)),
        "t.tsv": "n\tt\n" + "".join(f"{number}\ttext {number}\n" for number in range(n_rows)),
        "t.json": "[" + ",\n".join(f'{{"n": {number}, "t": "x"}}' for number in range(n_rows)) + "]",
        "t.jsonl": "".join(f'{{"n": {number}, "t": "x"}}\n' for number in range(n_rows)),
        "t.txt": "".join(f"Line {number} of the text.\n" for number in range(n_rows)),
    }[name].encode()
    (tmp_path / name).write_bytes(data)
    packed = tmp_path / "packed"
    packed.mkdir()
    content = zipped(data, name) if compression == "zip" else PACKERS[compression](data)
    (packed / name).write_bytes(content)
    with small_ranges(700, 40):
        plain = ranges_of(resolve_file(tmp_path / name))
        assert len(plain) > 5
        assert_same_ranges(ranges_of(resolve_file(packed / name)), plain)


@quick
@given(data=st.binary(max_size=2000), layers=st.lists(st.sampled_from(sorted(PACKERS)), max_size=3))
def test_any_bytes_come_back_from_any_layers(tmp_path: Path, data: bytes, layers: list[str]) -> None:
    from jina_data.read.streams import ByteSource

    packed = data
    for layer in reversed(layers):
        packed = PACKERS[layer](packed)
    (tmp_path / "t.jsonl").write_bytes(packed)
    file = InputFile(0, str(tmp_path / "t.jsonl"), "jsonl", size=len(packed))
    stat = (tmp_path / "t.jsonl").stat()
    file = InputFile(0, file.name, "jsonl", "+".join(layers) or None, stat.st_size, stat.st_mtime_ns)
    with ByteSource(file) as source:
        parts = []
        while part := source.read(300):
            parts.append(part)
        assert b"".join(parts) == data
    for offset in (0, len(data) // 2, len(data)):
        with ByteSource(file) as source:
            source.move_to(offset)
            assert source.read(2**20) == data[offset:]


NAMED: list[tuple[str, str, bytes, str]] = [
    ("archive.zip", "folder/a.csv", b"a,b\n1,2\n", "csv"),
    ("archive.csv.zip", "a.csv", b"a,b\n1,2\n", "csv"),
    ("table.csv", "export.csv", b"a,b\n1,2\n", "csv"),
    ("table.csv.zip", "data", b"a,b\n1,2\n", "csv"),
    ("archive.zip", "a.tsv", b"a\tb\n1\t2\n", "tsv"),
    ("archive.zip", "a.jsonl", LINE, "jsonl"),
    ("archive.zip", "a.jsonl.gz", gzip.compress(LINE, mtime=0), "jsonl"),
    ("archive.zip", "data", LINE, "json"),
    ("archive", "a.txt", b"One line.\n", "text"),
    ("jsonl.zip", "a.csv", b"a,b\n1,2\n", "csv"),
]


@pytest.mark.parametrize(("name", "member", "data", "expected"), NAMED)
def test_the_member_of_an_archive_tells_the_format(
    tmp_path: Path, name: str, member: str, data: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(zipped(data, member))
    file = resolve_file(tmp_path / name)
    assert file.format == expected
    assert len(rows_of(file)) == 1


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_archives(tmp_path: Path, method: int) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(LINE, method=method))
    assert rows_of(resolve_file(tmp_path / "a.zip")) == [{"a": 1}]


def test_archives_written_to_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(streamed_zip(LINE * 1000))
    assert len(rows_of(resolve_file(tmp_path / "a.zip"))) == 1000


def test_what_systems_add_to_archives_is_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("data")
        archive.mkdir("__MACOSX")
        archive.writestr("data/questions.jsonl", LINE)
        for name in ("__MACOSX/data/._questions.jsonl", "data/.DS_Store", "Thumbs.db", "desktop.ini"):
            archive.writestr(name, b"\0\5")
    assert rows_of(resolve_file(tmp_path / "a.zip")) == [{"a": 1}]


def archive_of(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def encrypted() -> bytes:
    raw = bytearray(zipped(LINE, method=zipfile.ZIP_STORED))
    raw[6] |= 1  # the flag in the header of the member, and in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


REFUSED: list[tuple[str, bytes, str]] = [
    (
        "two",
        archive_of(**{"train.jsonl": LINE, "test.jsonl": LINE}),
        r"a.zip: the zip archive holds 2 files \(train.jsonl, test.jsonl\); expected one. Unpack it, and name the",
    ),
    ("many", archive_of(**{f"{n}.csv": LINE for n in range(9)}), r"holds 9 files \(0.csv, .*4.csv and 4 others\)"),
    ("none", archive_of(), "the zip archive holds no files"),
    ("encrypted", encrypted(), "the zip archive is encrypted. Unpack it with its password"),
    (
        "excel",
        archive_of(**{"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}),
        "this is an Excel workbook. Save",
    ),
    ("word", archive_of(**{"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "an Office document"),
    ("ods", archive_of(mimetype=b"application/vnd.oasis.opendocument.spreadsheet", x=b""), "opendocument.spreadsheet"),
    ("arrays", archive_of(**{"x.npy": b"\x93NUMPY"}), r"NumPy arrays \(.npz\)"),
    ("torch", archive_of(**{"archive/data.pkl": b"\x80\x02"}), "PyTorch"),
]


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("name", ["a.zip", "a.csv"])
def test_archives_that_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message.replace("a.zip", name)):
        resolve_inputs([str(tmp_path / name)])


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("share", [0.9999, 0.5])
@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet", "t.txt", "t.arrow"])
def test_truncated_streams_are_reported(tmp_path: Path, compression: str, share: float, name: str) -> None:
    noise = random.Random(3)
    texts = [noise.randbytes(20).hex() for _ in range(8_000)]
    if name == "t.parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"t": texts}), sink)
        data = sink.getvalue()
    elif name == "t.arrow":
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, pa.schema([("t", pa.string())])) as writer:
            writer.write_table(pa.table({"t": texts}))
        data = sink.getvalue()
    elif name == "t.jsonl":
        data = "".join(f'{{"t": "{text}"}}\n' for text in texts).encode()
    else:
        data = ("t\n" + "\n".join(texts) + "\n").encode()
    packed = zipped(data, name) if compression == "zip" else PACKERS[compression](data)
    (tmp_path / name).write_bytes(packed[: min(int(len(packed) * share), len(packed) - 2)])
    with pytest.raises(InputError, match=r"(?s)t\..*compressed stream is truncated or damaged.* again"):
        read_whole(tmp_path / name)


@pytest.mark.parametrize("compression", ["gzip", "xz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_truncated_stream_is_read_up_to_its_end(tmp_path: Path, compression: str, encoding: str) -> None:
    noise = random.Random(3)
    data = "".join(f'{{"t": "{noise.randbytes(20).hex()}"}}\n' for _ in range(500)).encode(encoding)
    packed = PACKERS[compression](data)
    (tmp_path / "t.jsonl").write_bytes(packed[:-2000])
    with pytest.raises(InputError, match=r"truncated or damaged after ([\d,]+) decompressed bytes") as raised:
        read_whole(tmp_path / "t.jsonl")
    n_bytes = int(str(raised.value).partition("after ")[2].partition(" ")[0].replace(",", ""))
    assert n_bytes > len(data) / 2 / (2 if encoding == "utf-16" else 1)


def read_whole(path: Path) -> None:
    file = resolve_file(path)
    list(stream_ranges(file, sample_schema(file)))


@pytest.mark.parametrize("compression", [name for name in PACKERS if name not in ("zstd", "lzma", "lz4")])
def test_damaged_streams_are_reported(tmp_path: Path, compression: str) -> None:
    noise = random.Random(3)
    data = "".join(f'{{"t": "{noise.randbytes(20).hex()}"}}\n' for _ in range(3_000)).encode()
    packed = bytearray(PACKERS[compression](data))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "t.jsonl").write_bytes(bytes(packed))
    with pytest.raises(InputError, match=r"truncated or damaged"):
        read_whole(tmp_path / "t.jsonl")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz", "bzip2", "lz4"])
def test_several_streams_are_one(tmp_path: Path, compression: str) -> None:
    pack = PACKERS[compression]
    parts = [b'{"a": 1, "b": "', b"x" * 300_000, b'"}\n', b'{"a": 2}\n']
    (tmp_path / "t.jsonl").write_bytes(b"".join(map(pack, parts)))
    assert [row["a"] for row in rows_of(resolve_file(tmp_path / "t.jsonl"))] == [1, 2]


def test_padding_after_a_stream_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(lzma.compress(LINE) + bytes(8) + lzma.compress(LINE) + bytes(4))
    assert len(rows_of(resolve_file(tmp_path / "t.jsonl"))) == 2


@pytest.mark.parametrize("compression", PACKERS)
def test_remote_files_are_read_alike(compression: str) -> None:
    system = fsspec.filesystem("memory")
    with system.open("/packed/a.jsonl", "wb") as sink:
        sink.write(PACKERS[compression](LINE * 50))
    try:
        file = resolve_file("memory://packed/a.jsonl")
        assert file.compression == compression
        assert len(rows_of(file)) == 50
    finally:
        system.rm("/packed", recursive=True)


TEXTS = [
    b"BZh9 is the beginning of a bzip2 file",
    b"PK is a short name",
    b"]",
    b"] brackets first, then a longer text",
    b'{"a": 1}',
    b"PAR1,PAR2\n1,2\n",
    b"",
    "\ufefftext".encode("utf-16"),
]


@pytest.mark.parametrize("head", TEXTS)
def test_texts_are_not_compressed(head: bytes) -> None:
    assert compression_of(head) is None
