from __future__ import annotations

import datetime
import gzip
import io
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from jina_data.errors import InputError
from jina_data.read import ROW, InputFile, sample_schema, split
from jina_data.read.columnar.plain_types import plain_rows, plain_type
from tests.support.tables import PACK, ranges_of, resolve_file, rows_of, small_ranges, table_of, tables

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ipc_bytes(table: pa.Table, *, stream: bool = False, codec: str | None = None, rows: int = 1000) -> bytes:
    sink = io.BytesIO()
    open_writer = pa.ipc.new_stream if stream else pa.ipc.new_file
    with open_writer(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def stored(folder: Path, data: bytes, name: str = "t.arrow") -> InputFile:
    (folder / name).write_bytes(data)
    return resolve_file(folder / name)


@quick
@given(
    table=tables(),
    stream=st.booleans(),
    codec=st.sampled_from([None, "lz4", "zstd"]),
    batch=st.integers(1, 5),
    n_rows=st.integers(1, 6),
    n_bytes=st.sampled_from([50, 2**20]),
    pack=st.sampled_from(["", ".gz", ".zst"]),
)
def test_any_table_comes_back(
    tmp_path: Path, table: pa.Table, stream: bool, codec: str | None, batch: int, n_rows: int, n_bytes: int, pack: str
) -> None:
    data = PACK[pack](ipc_bytes(table, stream=stream, codec=codec, rows=batch))
    file = stored(tmp_path, data, f"t.arrow{pack}")
    with small_ranges(n_bytes, n_rows):
        ranges = ranges_of(file)
    assert all(parsed.row_count <= n_rows for parsed in ranges)
    assert table_of(ranges).equals(table)
    assert ranges[-1].end == {"row": table.num_rows}


@pytest.mark.parametrize("name", ["t.feather", "t.ipc", "t.arrows", "t", "t.csv"])
@pytest.mark.parametrize("codec", ["lz4", "zstd", "uncompressed"])
def test_feather_files_under_any_name(tmp_path: Path, name: str, codec: str) -> None:
    feather.write_feather(pa.table({"a": [1, 2]}), str(tmp_path / name), compression=codec)
    file = resolve_file(tmp_path / name)
    assert file.format == "arrow"
    assert rows_of(file) == [{"a": 1}, {"a": 2}]
    assert split(file, sample_schema(file)) is None


def test_remote_files_are_read(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for name, data in {
        "a.arrow": ipc_bytes(pa.table({"a": [1]})),
        "b.arrow": ipc_bytes(pa.table({"a": [1]}), stream=True),
        "c.arrow.gz": gzip.compress(ipc_bytes(pa.table({"a": [1]}))),
    }.items():
        system.pipe(f"/arrow/{name}", data)
    try:
        for name in ("a.arrow", "b.arrow", "c.arrow.gz"):
            assert rows_of(resolve_file(f"memory://arrow/{name}")) == [{"a": 1}]
    finally:
        system.rm("/arrow", recursive=True)


DICTIONARY = pa.array(["x", None, "y", "x"]).dictionary_encode()
LISTS = [["a"], None, ["b", None], []]
ODD: dict[str, tuple[pa.Array, pa.DataType, list[Any]]] = {
    "dictionary": (DICTIONARY, pa.string(), ["x", None, "y", "x"]),
    "dictionary of integers": (pa.array([5, None, 5, 7]).dictionary_encode(), pa.int64(), [5, None, 5, 7]),
    "dictionary in a list": (
        pa.ListArray.from_arrays(pa.array([0, 1, None, 2, 4]), DICTIONARY),
        pa.list_(pa.string()),
        [["x"], [None], None, ["y", "x"]],
    ),
    "dictionary in a struct": (
        pa.StructArray.from_arrays([DICTIONARY], names=["d"], mask=pa.array([False, False, True, False])),
        pa.struct([("d", pa.string())]),
        [{"d": "x"}, {"d": None}, None, {"d": "x"}],
    ),
    "text view": (pa.array(["x", None, "longer than twelve bytes", ""], pa.string_view()), pa.string(), []),
    "binary view": (pa.array([b"\xff", None, b"y", b""], pa.binary_view()), pa.binary(), []),
    "list view": (pa.array(LISTS, pa.list_view(pa.string())), pa.list_(pa.string()), LISTS),
    "large list view": (pa.array(LISTS, pa.large_list_view(pa.string_view())), pa.large_list(pa.string()), LISTS),
    "list of views": (pa.array(LISTS, pa.list_(pa.string_view())), pa.list_(pa.string()), LISTS),
    "map of views": (
        pa.array([[("k", "v")], None, [], [("a", None)]], pa.map_(pa.string(), pa.string_view())),
        pa.map_(pa.string(), pa.string()),
        [],
    ),
    "runs": (pc.run_end_encode(pa.array(["a", "a", None, "b"])), pa.string(), ["a", "a", None, "b"]),
    "uuid": (
        pa.array([uuid.UUID(int=7), None, uuid.UUID(int=8), None], pa.uuid()),
        pa.binary(16),
        [uuid.UUID(int=7).bytes, None, uuid.UUID(int=8).bytes, None],
    ),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a":1}', None, "2", "[]"])),
        pa.string(),
        ['{"a":1}', None, "2", "[]"],
    ),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1, 2]] * 4, pa.list_(pa.float32(), 2))
        ),
        pa.list_(pa.float32(), 2),
        [[1, 2]] * 4,
    ),
    "bool8": (pa.array([1, None, 0, 1], pa.bool8()), pa.bool_(), [True, None, False, True]),
    "union": (
        pa.UnionArray.from_dense(
            pa.array([0, 1, 1, 0], pa.int8()),
            pa.array([0, 0, 1, 1], pa.int32()),
            [pa.array([5, 6]), pa.array(["x", None])],
        ),
        pa.string(),
        ["5", "x", None, "6"],
    ),
    "interval": (
        pa.array([pa.MonthDayNano([1, 2, 3]), None] * 2, pa.month_day_nano_interval()),
        pa.string(),
        ["1 2 3", None] * 2,
    ),
    "large text": (pa.array(["x", None, "y", ""], pa.large_string()), pa.large_string(), []),
    "duration": (pa.array([1, None, 2, 3], pa.duration("ns")), pa.duration("ns"), []),
    "half": (pa.array([1.5, None, 2, 3], pa.float16()), pa.float16(), []),
    "time": (pa.array([datetime.time(1, 2), None] * 2, pa.time64("ns")), pa.time64("ns"), []),
}


@pytest.mark.parametrize(("values", "kind", "expected"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("stream", [True, False])
def test_types_become_those_of_their_values(
    tmp_path: Path, values: pa.Array, kind: pa.DataType, expected: list[Any], stream: bool
) -> None:
    file = stored(tmp_path, ipc_bytes(pa.table({"x": values}), stream=stream, rows=3))
    assert sample_schema(file) == pa.schema([("x", kind)])
    with small_ranges(2**20, 2):
        rows = table_of(ranges_of(file)).column("x")
    assert rows.type == kind
    assert rows.to_pylist() == (expected or values.to_pylist())


@pytest.mark.parametrize(("values", "kind", "expected"), ODD.values(), ids=ODD)
def test_slices_have_plain_types(values: pa.Array, kind: pa.DataType, expected: list[Any]) -> None:
    expected = expected or values.to_pylist()
    assert plain_type(kind) == kind
    for start, length in ((0, 4), (1, 2), (3, 1), (2, 0)):
        plain = plain_rows(pa.table({"x": values.slice(start, length)})).column("x")
        plain.validate(full=True)
        assert plain.to_pylist() == expected[start : start + length]


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9", None], pa.binary()).view(pa.string())
    (parsed,) = ranges_of(stored(tmp_path, ipc_bytes(pa.table({"n": [1, 2, 3], "t": texts}))))
    assert parsed.rows.column("n").to_pylist() == [1, 3]
    assert parsed.rows.column(ROW).to_pylist() == [0, 2]
    assert [(failure.row, failure.error) for failure in parsed.unreadable] == [(1, "column 't': not UTF-8")]


def test_bytes_that_hold_texts_are_texts(tmp_path: Path) -> None:
    table = pa.table(
        {"t": pa.array(["é".encode(), None]), "b": pa.array([b"\xff", b"a"]), "z": pa.array([b"\0", b"a"])}
    )
    file = stored(tmp_path, ipc_bytes(table))
    assert sample_schema(file).types == [pa.string(), pa.binary(), pa.binary()]
    assert rows_of(file) == [{"t": "é", "b": b"\xff", "z": b"\0"}, {"t": None, "b": b"a", "z": b"a"}]


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("stream", [True, False])
def test_truncated_files_are_reported(tmp_path: Path, share: float, stream: bool) -> None:
    data = ipc_bytes(pa.table({"t": [f"text {number}" for number in range(5000)]}), stream=stream, rows=10_000)
    with pytest.raises(InputError, match=r"t.arrow: could not be read.*again"):
        ranges_of(stored(tmp_path, data[: int(len(data) * share)]))


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    data = bytearray(ipc_bytes(pa.table({"t": ["abc", "def", "ghi"]})))
    position = bytes(data).index((3).to_bytes(4, "little") + (6).to_bytes(4, "little"))
    data[position : position + 4] = (2**30).to_bytes(4, "little")
    with pytest.raises(InputError, match=r"t.arrow: the file is damaged: .*Fetch or write the file again"):
        ranges_of(stored(tmp_path, bytes(data)))
    for text in (b"hello, this is no Arrow file", b"ARROW1\0\0"):
        with pytest.raises(InputError, match=r"t.arrow: could not be read"):
            sample_schema(stored(tmp_path, text))


def test_files_without_rows(tmp_path: Path) -> None:
    file = stored(tmp_path, ipc_bytes(pa.table({"a": pa.array([], pa.string())})))
    assert sample_schema(file) == pa.schema([("a", pa.string())])
    assert ranges_of(file) == []


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.arrow")
    Path(path).write_bytes(ipc_bytes(pa.table({"a": [1]})))
    assert rows_of(resolve_file(path)) == [{"a": 1}]
