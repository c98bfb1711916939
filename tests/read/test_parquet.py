from __future__ import annotations

import datetime
import decimal
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import (
    ROW,
    InputFile,
    parse_range,
    resolve_inputs,
    sample_schema,
    settled_schema,
    split,
    stream_ranges,
)
from jina_data.read.columnar import parquet as parquet_module
from tests.support.tables import (
    assert_same_ranges,
    ranges_of,
    resolve_file,
    rows_of,
    small_ranges,
    table_of,
    tables,
    write_input,
)

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stored(folder: Path, table: pa.Table, name: str = "t.parquet", **settings: Any) -> InputFile:
    path = folder / name
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **settings)
    return write_input(folder, path.name, sink.getvalue().to_pybytes())


@quick
@given(
    table=tables(),
    group=st.integers(1, 5),
    n_rows=st.integers(1, 6),
    pack=st.sampled_from(["", "", ".gz", ".zst"]),
)
def test_any_table_comes_back(tmp_path: Path, table: pa.Table, group: int, n_rows: int, pack: str) -> None:
    file = stored(tmp_path, table, "t.parquet" + pack, row_group_size=group)
    with small_ranges(2**20, n_rows):
        ranges = ranges_of(file)
    assert [parsed.row_count for parsed in ranges[:-1]] == [n_rows] * (len(ranges) - 1)
    assert table_of(ranges).equals(table)
    assert [parsed.end for parsed in ranges][-1] == {"row": table.num_rows}


def test_every_type_passes_untouched(tmp_path: Path) -> None:
    parts = pa.struct([("a", pa.list_(pa.int32())), ("b", pa.string())])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "i8": pa.array([1, None], pa.int8()),
            "u64": pa.array([2**64 - 1, None], pa.uint64()),
            "f16": pa.array([1.5, None], pa.float32()),
            "time": pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")),
            "date": pa.array([datetime.date(2020, 1, 1), None], pa.date32()),
            "money": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(10, 2)),
            "bytes": pa.array([b"\xff\x00", None], pa.binary()),
            "fixed": pa.array([b"abcd", None], pa.binary(4)),
            "large": pa.array(["x", None], pa.large_string()),
            "nested": pa.array([[{"a": [1], "b": "x"}], None], pa.list_(parts)),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
            "none": pa.nulls(2),
            "struct": pa.array([{"bytes": b"\x89PNG", "path": None}, None], image),
        }
    )  # fmt: skip
    assert table_of(ranges_of(stored(tmp_path, table))).equals(table)


def test_metadata_is_dropped_and_the_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    meta = {b"pandas": json.dumps({"index_columns": ["__index_level_0__"], "columns": []}).encode()}
    table = pa.table({"a": [1], "__index_level_0__": ["x"]}).replace_schema_metadata(meta)
    file = stored(tmp_path, table)
    assert sample_schema(file).metadata is None
    assert rows_of(file) == [{"a": 1, "__index_level_0__": "x"}]
    (parsed,) = stream_ranges(file, sample_schema(file))
    assert parsed.rows.schema.metadata is None


def test_dictionaries_become_their_values(tmp_path: Path) -> None:
    file = stored(tmp_path, pa.table({"a": pa.array(["x", None, "x"]).dictionary_encode()}))
    assert sample_schema(file) == pa.schema([("a", pa.string())])
    assert rows_of(file) == [{"a": "x"}, {"a": None}, {"a": "x"}]


def test_required_columns_unite_with_others(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    file = stored(tmp_path, pa.table({"a": [1]}, schema=schema))
    assert sample_schema(file) == pa.schema([("a", pa.int64())])
    assert rows_of(file, pa.schema([("b", pa.string()), ("a", pa.float64())])) == [{"b": None, "a": 1.0}]


def bad_texts(values: list[bytes | None]) -> pa.Array:
    return pa.array(values, pa.binary()).view(pa.string())


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    good, bad = b"\xc3\xa9", b"caf\xe9"
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 1, 3, 4]), bad_texts([good, good, bad, good]))
    table = pa.table(
        {"n": [1, 2, 3, 4], "t": bad_texts([good, bad, good, None]), "l": lists, "b": pa.array([b"\xff"] * 4)}
    )
    file = stored(tmp_path, table)
    (parsed,) = ranges_of(file)
    assert parsed.rows.column("n").to_pylist() == [1, 4]
    assert parsed.rows.column(ROW).to_pylist() == [0, 3]
    assert [(broken.row, broken.line, broken.byte_offset, broken.error) for broken in parsed.unreadable] == [
        (1, None, None, "column 't': not UTF-8"),
        (2, None, None, "column 'l': not UTF-8"),
    ]
    raw = json.loads(parsed.unreadable[0].raw)
    assert raw["t"].encode("utf-8", "surrogateescape") == bad
    assert json.loads(parsed.unreadable[1].raw)["l"][1].encode("utf-8", "surrogateescape") == bad
    with small_ranges(2**20, 1):
        assert [len(parsed.unreadable) for parsed in ranges_of(file)] == [0, 1, 1, 0]


def large(folder: Path, **settings: Any) -> tuple[InputFile, pa.Table]:
    table = pa.table({"n": range(20_000), "t": [f"text {number} " * 10 for number in range(20_000)]})
    return stored(folder, table, **settings), table


def test_ranges_are_chosen_by_bytes_and_rows(tmp_path: Path) -> None:
    file, _ = large(tmp_path)
    with small_ranges(2**18):
        specs = split(file, sample_schema(file))
        assert specs is not None
        assert 8 < len(specs) < 20
        assert len({spec.stop - spec.start for spec in specs[:-1]}) == 1
    repeated = stored(tmp_path, pa.table({"t": ["the same long text " * 100] * 5_000}), "r.parquet")
    with small_ranges(2**18):
        assert len(split(repeated, sample_schema(repeated)) or []) > 30  # though stored in a few bytes a row
    assert split(stored(tmp_path, pa.table({"a": pa.array([], pa.string())})), pa.schema([])) == []


@pytest.mark.parametrize("group", [20_000, 7_000, 100])
def test_ranges_can_be_read_in_any_order_and_by_any_thread(tmp_path: Path, group: int) -> None:
    file, table = large(tmp_path, row_group_size=group)
    schema = sample_schema(file)
    with small_ranges(2**18):
        specs = split(file, schema) or []
        ranges = list(stream_ranges(file, schema))
        for order in (specs[::2] + specs[1::2], specs[::-1], specs[5:6] * 3 + specs):
            assert_same_ranges(
                [parse_range(file, spec, schema) for spec in order], [ranges[spec.number] for spec in order]
            )
        tables_by_number: dict[int, pa.Table] = {}

        def work(thread_number: int) -> None:
            for spec in specs[thread_number::3]:
                tables_by_number[spec.number] = parse_range(file, spec, schema).rows

        threads = [threading.Thread(target=work, args=(thread_number,)) for thread_number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (
            pa.concat_tables([tables_by_number[number] for number in range(len(specs))])
            .drop_columns([ROW])
            .equals(table)
        )
        parquet_module._close_reader()


def test_a_reader_continues_at_its_position(tmp_path: Path) -> None:
    file, _ = large(tmp_path)
    schema = sample_schema(file)
    with small_ranges(2**18):
        specs = split(file, schema) or []
        parse_range(file, specs[0], schema)
        first = parquet_module._thread_reader()
        parse_range(file, specs[1], schema)
        assert parquet_module._thread_reader() is first
        parse_range(file, specs[-1], schema)
        assert parquet_module._thread_reader() is None


def test_corrupt_files_are_reported(tmp_path: Path) -> None:
    file, _ = large(tmp_path, write_page_checksum=True)
    raw = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(InputError, match=r"empty.parquet: the file is empty \(0 bytes\). Fetch or write it again"):
        sample_schema(write_input(tmp_path, "empty.parquet", b""))
    cases = {"cut": raw[: len(raw) // 2], "text": b"hello, this is no parquet file", "short": raw[:5]}
    for name, data in cases.items():
        with pytest.raises(InputError, match=rf"{name}.parquet: could not be read.*again"):
            sample_schema(write_input(tmp_path, f"{name}.parquet", data))
    damaged = bytearray(raw)
    damaged[len(raw) // 2 : len(raw) // 2 + 100] = bytes(100)
    file = write_input(tmp_path, "damaged.parquet", bytes(damaged))
    with pytest.raises(InputError, match=r"damaged.parquet: could not be read"):
        ranges_of(file)
    assert parquet_module._thread_reader() is None


def test_names_that_cannot_be_used_are_replaced(tmp_path: Path) -> None:
    table = pa.table([[1], [2], [3], [4], [5]], names=["a", "a", "_row", "__row_number", ""])
    file = stored(tmp_path, table)
    assert rows_of(file) == [{"a": 1, "a_2": 2, "_row_2": 3, "row_number": 4, "column_5": 5}]


def test_bytes_that_hold_texts_are_texts(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["é".encode(), None, b"", b"a\tb\nc"]),
            "large": pa.array([b"x"] * 4, pa.large_binary()),
            "view": pa.array([b"x"] * 4, pa.binary_view()),
            "latin": pa.array([b"caf\xe9", b"x", b"x", b"x"]),
            "control": pa.array([b"a\0b", b"x", b"x", b"x"]),
            "null": pa.array([None] * 4, pa.binary()),
            "empty": pa.array([b""] * 4),
            "fixed": pa.array([b"abcd"] * 4, pa.binary(4)),
        }
    )
    file = stored(tmp_path, table)
    kinds = {field.name: field.type for field in sample_schema(file)}
    assert {name for name, kind in kinds.items() if kind == pa.string()} == {"text", "large", "view"}
    assert [row["text"] for row in rows_of(file)] == ["é", None, "", "a\tb\nc"]
    assert table_of(ranges_of(file)).column("latin").to_pylist()[0] == b"caf\xe9"


def late_bytes(folder: Path) -> InputFile:
    values = [b"text %d" % number for number in range(3000)]
    values[2500] = b"caf\xe9"
    return stored(folder, pa.table({"n": range(3000), "b": values}), row_group_size=500)


def test_late_bytes_that_are_no_text_cost_no_row(tmp_path: Path) -> None:
    file = late_bytes(tmp_path)
    with small_ranges(2**20, 1000):
        ranges = ranges_of(file)
    assert [parsed.rows.schema.field("b").type for parsed in ranges] == [pa.string(), pa.string(), pa.binary()]
    table = table_of(ranges)
    assert table.schema.field("b").type == pa.binary()
    assert table.column("b")[2500].as_py() == b"caf\xe9"
    assert table.column("b")[0].as_py() == b"text 0"
    assert settled_schema([file]).field("b").type == pa.binary()


def test_late_bytes_that_are_no_text_cost_their_row_in_a_role(tmp_path: Path) -> None:
    file = replace(late_bytes(tmp_path), text_columns=("b",))
    ranges = list(stream_ranges(file, sample_schema(file)))
    failures = [failure for parsed in ranges for failure in parsed.unreadable]
    assert [(failure.row, failure.error) for failure in failures] == [(2500, "column 'b': not UTF-8")]
    assert sum(parsed.rows.num_rows for parsed in ranges) == 2999
    assert {parsed.rows.schema.field("b").type for parsed in ranges} == {pa.string()}


BERLIN = pa.timestamp("ns", "Europe/Berlin")
ODD: list[tuple[str, pa.Array, list[Any]]] = [
    ("uint64", pa.array([2**63, None], pa.uint64()), ["9223372036854775808", None]),
    ("uint8", pa.array([200, None], pa.uint8()), ["200", None]),
    ("half", pa.array([1.5, None], pa.float16()), ["1.5", None]),
    ("double", pa.array([0.1, 1e300]), ["0.1", "1e+300"]),
    ("bool", pa.array([True, None]), ["true", None]),
    ("decimal", pa.array([decimal.Decimal("1.5000"), None], pa.decimal128(20, 4)), ["1.5000", None]),
    ("decimal 256", pa.array([decimal.Decimal("-0.5000"), None], pa.decimal256(50, 4)), ["-0.5000", None]),
    ("date", pa.array([datetime.date(2020, 1, 2), None]), ["2020-01-02", None]),
    ("timestamp", pa.array([1, None], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001", None]),
    ("late timestamp", pa.array([253402300799000000, None], pa.timestamp("us")), ["9999-12-31T23:59:59.000000", None]),
    ("zone", pa.array([7, None], BERLIN), ["1970-01-01T01:00:00.000000007+01:00", None]),
    ("time", pa.array([1_000_000_001, None], pa.time64("ns")), ["00:00:01.000000001", None]),
    ("duration", pa.array([1_000_000_001, None], pa.duration("ns")), ["1000000001", None]),
    ("map", pa.array([[("a", 0)], None], pa.map_(pa.string(), pa.int32())), ['{"a": 0}', None]),
    ("struct", pa.array([{"a": 1, "b": {"c": [1.5]}}, None]), ['{"a": 1, "b": {"c": [1.5]}}', None]),
    ("vector", pa.array([[0.5, 1.0], None], pa.list_(pa.float32(), 2)), [["0.5", "1.0"], None]),
    ("list", pa.array([[1], None], pa.large_list(pa.int16())), [["1"], None]),
    ("large text", pa.array(["x", None], pa.large_string()), ["x", None]),
    ("text view", pa.array(["x", None], pa.string_view()), ["x", None]),
    ("dictionary", pa.array(["x", None]).dictionary_encode(), ["x", None]),
    ("bytes", pa.array([b"text", b"\xff\x00"]), ["text", "/wA="]),
    ("null", pa.nulls(2), [None, None]),
]


@pytest.mark.parametrize(("values", "texts"), [case[1:] for case in ODD], ids=[case[0] for case in ODD])
def test_a_role_on_any_type_gives_texts(tmp_path: Path, values: pa.Array, texts: list[object]) -> None:
    file = stored(tmp_path, pa.table({"n": [1, 2], "x": values}))
    passed = table_of(ranges_of(file)).column("x")
    assert passed.to_pylist() == pa.chunked_array([values]).to_pylist()
    file = replace(file, text_columns=("x",))
    (parsed,) = stream_ranges(file, sample_schema(file))
    assert parsed.rows.column("x").type in (pa.string(), pa.large_string(), pa.list_(pa.string()))
    assert parsed.rows.column("x").to_pylist() == texts
    assert parsed.unreadable == []


TWO_TYPES: list[tuple[str, list[object], list[object], pa.DataType, list[object]]] = [
    ("int, text", [1], ["x"], pa.string(), ["1", "x"]),
    ("text, list", ["x"], [["a"]], pa.string(), ["x", '["a"]']),
    ("int, double", [1], [1.5], pa.float64(), [1.0, 1.5]),
    ("large int, double", [2**53 + 1], [1.5], pa.string(), ["9007199254740993", "1.5"]),
    ("bool, int", [True], [1], pa.string(), ["true", "1"]),
    (
        "date, timestamp",
        [datetime.date(2020, 1, 2)],
        [datetime.datetime(2020, 1, 2, 3)],
        pa.string(),
        ["2020-01-02", "2020-01-02T03:00:00.000000"],
    ),
    ("date, text", [datetime.date(2020, 1, 2)], ["x"], pa.string(), ["2020-01-02", "x"]),
    ("struct, text", [{"a": 1}], ["x"], pa.string(), ['{"a": 1}', "x"]),
    (
        "structs",
        [{"a": 1}],
        [{"b": "x"}],
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        [{"a": 1, "b": None}, {"a": None, "b": "x"}],
    ),
    ("text, bytes", ["x"], [b"\xff"], pa.binary(), [b"x", b"\xff"]),
    ("null, text", [None], ["x"], pa.string(), [None, "x"]),
]


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"), [case[1:] for case in TWO_TYPES], ids=[case[0] for case in TWO_TYPES]
)
@pytest.mark.parametrize("swap", [False, True])
def test_types_of_files_unite(
    tmp_path: Path, first: list[object], second: list[object], kind: pa.DataType, values: list[object], swap: bool
) -> None:
    pq.write_table(pa.table({"x": first}), tmp_path / ("b.parquet" if swap else "a.parquet"))
    pq.write_table(pa.table({"x": second}), tmp_path / ("a.parquet" if swap else "b.parquet"))
    files = resolve_inputs([str(tmp_path)])
    schema = settled_schema(files)
    if not pa.types.is_struct(kind):
        assert schema.field("x").type == kind
    ranges = [parsed for file in files for parsed in stream_ranges(file, schema)]
    assert table_of(ranges).column("x").to_pylist() == (values[::-1] if swap else values)


@pytest.mark.corpora
@pytest.mark.skipif("JINA_DATA_CORPORA" not in os.environ, reason="the corpora are not on this machine")
def test_real_files() -> None:
    folder = Path(os.environ["JINA_DATA_CORPORA"]) / "train"
    for path in sorted(folder.glob("nli_*.parquet")):
        assert table_of(ranges_of(resolve_file(path))).equals(pq.read_table(path).replace_schema_metadata(None))
    assert len(resolve_inputs([str(folder)])) > 10
