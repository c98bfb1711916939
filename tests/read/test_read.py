from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jina_data.errors import InputError
from jina_data.read import (
    InputFile,
    digest,
    parse_range,
    sample_schema,
    split,
    stream_ranges,
)
from tests.support.tables import PACK, assert_same_ranges, ranges_of, resolve_file, rows_of, small_ranges, write_input


def test_a_file_survives_json_and_pickle(tmp_path: Path) -> None:
    for name, data in (("a.csv", "a;b\n1;2\n"), ("b.json.gz", '[{"a": 1}]'), ("c.jsonl", '{"a": 1}')):
        file = write_input(tmp_path, name, data)
        assert InputFile.from_json(json.loads(json.dumps(file.to_json()))) == file
        assert pickle.loads(pickle.dumps(file)) == file
    specs = split(file, sample_schema(file))
    assert specs is not None
    assert pickle.loads(pickle.dumps(specs)) == specs
    parsed = parse_range(file, specs[0], sample_schema(file))
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_digest_is_of_the_stored_bytes(tmp_path: Path) -> None:
    file = write_input(tmp_path, "a.jsonl.gz", '{"a": 1}')
    assert digest(file) == hashlib.sha256((tmp_path / "a.jsonl.gz").read_bytes()).hexdigest()
    assert digest(InputFile(0, "memory://x.jsonl", "jsonl")) is None


def test_packed_and_plain_files_have_the_same_ranges(tmp_path: Path) -> None:
    rows = [(number, "x" * (number % 40)) for number in range(500)]
    lines = "".join(json.dumps({"n": number, "t": text}) + "\n" for number, text in rows)
    table = "n,t\n" + "".join(f"{number},{text}\n" for number, text in rows)
    files = {"a.jsonl": lines, "a.json": f"[{','.join(lines.splitlines())}]", "a.csv": table}
    for name, data in {**files, "a.tsv": table.replace(",", "\t")}.items():
        with small_ranges(700, 12):
            plain = ranges_of(write_input(tmp_path, name, data))
            assert len(plain) > 10
            for pack in (".gz", ".zst"):
                assert_same_ranges(ranges_of(write_input(tmp_path, name + pack, data)), plain)


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
    assert [row["a"] for row in rows_of(resolve_file(tmp_path / f"t.jsonl{pack}"))] == [1, 2]


def test_long_zstd_windows_are_read(tmp_path: Path) -> None:
    settings = zstandard.ZstdCompressionParameters(window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    (tmp_path / "t.jsonl.zst").write_bytes(packer.compress(b'{"a": 1}\n') + packer.flush())
    assert rows_of(resolve_file(tmp_path / "t.jsonl.zst")) == [{"a": 1}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.json", "t.parquet"])
@pytest.mark.parametrize("pack", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.999999, 0.6, 0.00005])
def test_truncated_streams_are_reported(tmp_path: Path, name: str, pack: str, share: float) -> None:
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
    path.write_bytes(raw[: min(int(len(raw) * share), len(raw) - 2)])
    with pytest.raises(
        InputError, match=r"(?s)t\..*compressed stream is truncated or damaged after [0-9,]+ dec.*again"
    ):
        list(stream_ranges(resolve_file(path), sample_schema(resolve_file(path))))


def test_damaged_streams_are_reported(tmp_path: Path) -> None:
    checked = zstandard.ZstdCompressor(write_checksum=True).compress
    for pack, compress in ((".gz", gzip.compress), (".zst", checked)):
        raw = bytearray(compress(json.dumps({"a": list(range(2000))}).encode()))
        raw[len(raw) // 2] ^= 0xFF
        raw[len(raw) // 2 + 1] ^= 0xFF
        (tmp_path / f"t.jsonl{pack}").write_bytes(bytes(raw))
        with pytest.raises(InputError, match=r"truncated or damaged"):
            sample_schema(resolve_file(tmp_path / f"t.jsonl{pack}"))


def test_a_file_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    for name in ("t.jsonl", "t.csv"):
        file = write_input(tmp_path, name, '{"a": 1}\n')
        schema = sample_schema(file)
        (tmp_path / name).write_text('{"a": 1}\n{"a": 2}\n')
        with pytest.raises(InputError, match=r"changed since the run began \(it had 9 bytes, now 18\)"):
            list(stream_ranges(file, schema))
        (tmp_path / name).unlink()
        with pytest.raises(InputError, match=r"no such file"):
            list(stream_ranges(file, schema))
