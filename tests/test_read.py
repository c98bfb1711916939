from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jina_data.errors import InputError
from jina_data.read import (
    ROW,
    InputFile,
    ParsedRange,
    conform,
    digest,
    parse_range,
    resolve_inputs,
    sample_schema,
    split,
    stream_ranges,
    unite_or_none,
)

PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


@contextlib.contextmanager
def small_ranges(n_bytes: int, n_rows: int = 65_536) -> Iterator[None]:
    """Make ranges small enough that a small file has many."""
    with contextlib.ExitStack() as stack:
        for module in ("jsonl", "json_text", "delimited", "parquet", "hub"):
            stack.enter_context(mock.patch(f"jina_data.read.{module}.RANGE_BYTES", n_bytes))
            if module != "jsonl":
                stack.enter_context(mock.patch(f"jina_data.read.{module}.RANGE_ROWS", n_rows))
        yield


def one(path: Path | str) -> InputFile:
    (file,) = resolve_inputs([str(path)])
    return file


def written(folder: Path, name: str, data: bytes | str) -> InputFile:
    """Write a file, packed as its name says, and resolve it."""
    raw = data.encode() if isinstance(data, str) else data
    path = folder / name
    path.write_bytes(PACK.get(path.suffix, PACK[""])(raw))
    return one(path)


def ranges_of(file: InputFile, schema: pa.Schema | None = None) -> list[ParsedRange]:
    """Read a file in sequence and check the laws of ranges on the way."""
    schema = sample_schema(file) if schema is None else schema
    ranges = list(stream_ranges(file, schema))
    for number, parsed in enumerate(ranges):
        assert parsed.number == number
        positions = [*parsed.rows.column(ROW).to_pylist(), *(broken.row for broken in parsed.unreadable)]
        assert sorted(positions) == list(range(parsed.row_count))
        assert parsed.rows.column(ROW).to_pylist() == sorted(parsed.rows.column(ROW).to_pylist())
        assert parsed.rows.schema.field(ROW).type == pa.int32()
        assert [broken.row for broken in parsed.unreadable] == sorted(broken.row for broken in parsed.unreadable)
        assert parsed.rows.column_names[: len(schema)] == schema.names
        if len(ranges) - number <= 12:
            same(list(stream_ranges(file, schema, parsed.end, number + 1)), ranges[number + 1 :])
    specs = split(file, schema)
    if specs is not None:
        assert [spec.number for spec in specs] == list(range(len(specs)))
        same([parse_range(file, spec, schema) for spec in specs], ranges)
        same([parse_range(file, spec, schema) for spec in reversed(specs)], ranges[::-1])
    return ranges


def same(left: list[ParsedRange], right: list[ParsedRange]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert (a.number, a.row_count, a.line_count, a.unreadable) == (
            b.number,
            b.row_count,
            b.line_count,
            b.unreadable,
        )
        assert a.rows.schema == b.rows.schema
        assert str(a.rows.to_pylist()) == str(b.rows.to_pylist())


def table_of(ranges: list[ParsedRange]) -> pa.Table:
    """Unite the rows of all ranges, as the engine does."""
    schema = pa.schema([])
    for parsed in ranges:
        united = unite_or_none(schema, parsed.rows.schema)
        assert united is not None
        schema = united
    tables = [conform(parsed.rows.drop_columns([ROW]), schema) for parsed in ranges]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def rows_of(file: InputFile, schema: pa.Schema | None = None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = table_of(ranges_of(file, schema)).to_pylist()
    return rows


def errors_of(file: InputFile, schema: pa.Schema | None = None) -> list[str]:
    """Return why records are unreadable; check that each stands in the file where it is said to."""
    ranges = ranges_of(file, schema)
    path = Path(file.name)
    data = path.read_bytes()
    if file.compression:
        data = gzip.decompress(data) if file.compression == "gzip" else zstandard.decompress(data)
    first_line = 0
    for parsed in ranges:
        for broken in parsed.unreadable:
            if broken.byte_offset is not None and broken.line is not None:
                raw = broken.raw.encode("utf-8", "surrogateescape")
                assert data[broken.byte_offset :].startswith(raw)
                assert data.count(b"\n", 0, broken.byte_offset) == first_line + broken.line - 1
        first_line += parsed.line_count
    return [broken.error for parsed in ranges for broken in parsed.unreadable]


def test_a_file_survives_json_and_pickle(tmp_path: Path) -> None:
    for name, data in (("a.csv", "a;b\n1;2\n"), ("b.json.gz", '[{"a": 1}]'), ("c.jsonl", '{"a": 1}')):
        file = written(tmp_path, name, data)
        assert InputFile.from_json(json.loads(json.dumps(file.to_json()))) == file
        assert pickle.loads(pickle.dumps(file)) == file
    specs = split(file, sample_schema(file))
    assert specs is not None
    assert pickle.loads(pickle.dumps(specs)) == specs
    parsed = parse_range(file, specs[0], sample_schema(file))
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_digest_is_of_the_stored_bytes(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl.gz", '{"a": 1}')
    assert digest(file) == hashlib.sha256((tmp_path / "a.jsonl.gz").read_bytes()).hexdigest()
    assert digest(InputFile(0, "memory://x.jsonl", "jsonl")) is None


def test_packed_and_plain_files_have_the_same_ranges(tmp_path: Path) -> None:
    rows = [(number, "x" * (number % 40)) for number in range(500)]
    lines = "".join(json.dumps({"n": number, "t": text}) + "\n" for number, text in rows)
    table = "n,t\n" + "".join(f"{number},{text}\n" for number, text in rows)
    files = {"a.jsonl": lines, "a.json": f"[{','.join(lines.splitlines())}]", "a.csv": table}
    for name, data in {**files, "a.tsv": table.replace(",", "\t")}.items():
        with small_ranges(700, 12):
            plain = ranges_of(written(tmp_path, name, data))
            assert len(plain) > 10
            for pack in (".gz", ".zst"):
                same(ranges_of(written(tmp_path, name + pack, data)), plain)


MEMBERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".zst", zstandard.compress),
    (".zst", lambda data: b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstandard.compress(data)),
    (".gz", lambda data: gzip.compress(data) + b"\0" * 600),
]


@pytest.mark.parametrize(("pack", "compress"), MEMBERS)
def test_several_members_are_one_stream(tmp_path: Path, pack: str, compress: Callable[[bytes], bytes]) -> None:
    parts = [b'{"a": 1, "b": "', b"x" * 300_000, b'"}\n', b"", b'{"a": 2}\n']
    (tmp_path / f"t.jsonl{pack}").write_bytes(b"".join(map(compress, parts)))
    assert [row["a"] for row in rows_of(one(tmp_path / f"t.jsonl{pack}"))] == [1, 2]


def test_long_zstd_windows_are_read(tmp_path: Path) -> None:
    settings = zstandard.ZstdCompressionParameters(window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    (tmp_path / "t.jsonl.zst").write_bytes(packer.compress(b'{"a": 1}\n') + packer.flush())
    assert rows_of(one(tmp_path / "t.jsonl.zst")) == [{"a": 1}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.json", "t.parquet"])
@pytest.mark.parametrize("pack", [".gz", ".zst"])
@pytest.mark.parametrize("kept", [0.999999, 0.6, 0.00005])
def test_truncated_streams_are_told(tmp_path: Path, name: str, pack: str, kept: float) -> None:
    noise = random.Random(5)
    rows = [{"a": number, "t": noise.randbytes(20).hex()} for number in range(60_000)]
    if name == "t.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        data = (tmp_path / name).read_bytes()
    elif name == "t.csv":
        data = b"a,t\n" + b"".join(f"{row['a']},{row['t']}\n".encode() for row in rows)
    else:
        data = json.dumps(rows).encode() if name == "t.json" else "\n".join(map(json.dumps, rows)).encode()
    raw = PACK[pack](data)
    path = tmp_path / (name + pack)
    path.write_bytes(raw[: min(int(len(raw) * kept), len(raw) - 2)])
    with pytest.raises(
        InputError, match=r"(?s)t\..*compressed stream is truncated or damaged after [0-9,]+ dec.*again"
    ):
        list(stream_ranges(one(path), sample_schema(one(path))))


def test_damaged_streams_are_told(tmp_path: Path) -> None:
    checked = zstandard.ZstdCompressor(write_checksum=True).compress
    for pack, compress in ((".gz", gzip.compress), (".zst", checked)):
        raw = bytearray(compress(json.dumps({"a": list(range(2000))}).encode()))
        raw[len(raw) // 2] ^= 0xFF
        raw[len(raw) // 2 + 1] ^= 0xFF
        (tmp_path / f"t.jsonl{pack}").write_bytes(bytes(raw))
        with pytest.raises(InputError, match=r"truncated or damaged"):
            sample_schema(one(tmp_path / f"t.jsonl{pack}"))


def test_a_file_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    for name in ("t.jsonl", "t.csv"):
        file = written(tmp_path, name, '{"a": 1}\n')
        schema = sample_schema(file)
        (tmp_path / name).write_text('{"a": 1}\n{"a": 2}\n')
        with pytest.raises(InputError, match=r"changed since the run began \(it had 9 bytes, now 18\)"):
            list(stream_ranges(file, schema))
        (tmp_path / name).unlink()
        with pytest.raises(InputError, match=r"no such file"):
            list(stream_ranges(file, schema))
