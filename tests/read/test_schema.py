from __future__ import annotations

import itertools
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_data.read import ROW, conform, is_exact, unite_schemas, unite_types, writable
from jina_data.read.as_text import to_text, to_texts
from jina_data.read.schema import conform_or_text

UNITES: list[tuple[pa.DataType, pa.DataType, pa.DataType]] = [
    (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int16(), pa.int64()),
    (pa.uint64(), pa.int64(), pa.uint64()),
    (pa.uint64(), pa.uint8(), pa.uint64()),
    (pa.int64(), pa.float32(), pa.float64()),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.string(), pa.large_string(), pa.string()),
    (pa.large_string(), pa.string_view(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string()), pa.string()),
    (pa.list_(pa.null()), pa.large_list(pa.string()), pa.list_(pa.string())),
    (pa.list_(pa.int32(), 2), pa.list_(pa.float64()), pa.list_(pa.float64())),
    (pa.struct([("a", pa.int8())]), pa.struct([("b", pa.string()), ("a", pa.int64())]),
     pa.struct([("a", pa.int64()), ("b", pa.string())])),
    (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.string()),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.bool_(), pa.int64(), pa.string()),
    (pa.string(), pa.int64(), pa.string()),
    (pa.string(), pa.binary(), pa.binary()),
    (pa.string(), pa.timestamp("s"), pa.string()),
    (pa.list_(pa.string()), pa.string(), pa.string()),
    (pa.list_(pa.string()), pa.list_(pa.int64()), pa.list_(pa.string())),
    (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())]), pa.struct([("a", pa.string())])),
    (pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.string()),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "united"), UNITES)
def test_types_unite(first: pa.DataType, second: pa.DataType, united: pa.DataType) -> None:
    assert unite_types(first, second) == united
    assert unite_types(first, first) == first
    back = unite_types(second, first)
    if not pa.types.is_struct(first):
        assert back == united
    assert unite_types(united, first) == united
    for kind in (first, second):
        assert conform(pa.table({"a": pa.nulls(2, kind)}), pa.schema([("a", united)])).schema.field(0).type == united


def test_columns_come_in_order_of_first_appearance() -> None:
    schemas = [
        pa.schema([("b", pa.int32()), ("a", pa.null())]),
        pa.schema([("c", pa.int8()), ("a", pa.string()), (ROW, pa.int32())]),
    ]
    assert unite_schemas(schemas) == pa.schema([("b", pa.int32()), ("a", pa.string()), ("c", pa.int8())])
    assert unite_schemas([]) == pa.schema([])


def test_a_column_of_texts_is_text_or_lists_of_texts() -> None:
    schemas = [pa.schema([("a", kind)]) for kind in (pa.null(), pa.int64(), pa.list_(pa.null()))]
    assert unite_schemas(schemas[:2], ["a"]).field("a").type == pa.string()
    assert unite_schemas(schemas, ["a"]).field("a").type == pa.list_(pa.string())


EXACT = [
    (pa.int64(), pa.string(), True),
    (pa.int32(), pa.float64(), True),
    (pa.int64(), pa.float64(), False),
    (pa.int64(), pa.uint64(), False),
    (pa.null(), pa.struct([("a", pa.string())]), False),  # a null may stand for {}
    (pa.null(), pa.int64(), True),
    (pa.float64(), pa.string(), False),  # 1e2 in the file prints as 100.0
    (pa.list_(pa.string()), pa.string(), False),
    (pa.list_(pa.int64()), pa.list_(pa.string()), True),
    (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.float64()), ("b", pa.null())]), False),
]


@pytest.mark.parametrize(("first", "second", "exact"), EXACT)
def test_which_casts_keep_every_value(first: pa.DataType, second: pa.DataType, exact: bool) -> None:
    assert is_exact(first, second) is exact


TEXTS: list[tuple[pa.Array, list[str | None]]] = [
    (pa.array([1.0, 0.1, 1e22, float("nan"), None]), ["1.0", "0.1", "1e+22", "NaN", None]),
    (pa.array([True, False]), ["true", "false"]),
    (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    (pa.array([Decimal("1.10")], pa.decimal128(5, 2)), ["1.10"]),
    (pa.array([["a", None], []]), ['["a", null]', "[]"]),
    (pa.array([{"a": 1, "b": "é"}]), ['{"a": 1, "b": "é"}']),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['{"k": 1}']),
    (pa.array([0], pa.timestamp("s")), ["1970-01-01T00:00:00"]),
    (pa.array([1], pa.timestamp("ns", "UTC")), ["1970-01-01T00:00:00.000000001Z"]),
    (pa.array([1], pa.timestamp("s", "Asia/Tokyo")), ["1970-01-01T09:00:01+09:00"]),
    (pa.array([1], pa.date32()), ["1970-01-02"]),
    (pa.array([{"day": 1}], pa.struct([("day", pa.date32())])), ['{"day": "1970-01-02"}']),
    (pa.array([b"abc", b"\xff"]), ["abc", "/w=="]),
    (pa.array(["x"]).dictionary_encode(), ["x"]),
]


@pytest.mark.parametrize(("values", "texts"), TEXTS, ids=[str(case[0].type) for case in TEXTS])
def test_values_as_texts_are_as_json_writes_them(values: pa.Array, texts: list[str | None]) -> None:
    assert to_text(pa.chunked_array([values])).to_pylist() == texts


def test_values_as_lists_of_texts() -> None:
    values = pa.chunked_array([pa.array([[1, None], None, []])])
    assert to_texts(values).to_pylist() == [["1", None], None, []]
    assert to_texts(pa.chunked_array([pa.array(["a", None])])).to_pylist() == [["a"], None]


def test_a_column_that_would_lose_digits_becomes_text() -> None:
    rows = pa.table({"a": [2**53 + 1, None], "b": [1, 2], "c": [-1, 2]})
    schema = pa.schema([("a", pa.float64()), ("b", pa.float64()), ("c", pa.uint64())])
    assert conform_or_text(rows, schema).to_pydict() == {
        "a": ["9007199254740993", None],
        "b": [1.0, 2.0],
        "c": ["-1", "2"],
    }


@given(st.permutations([pa.null(), pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.uint8()]))
def test_order_does_not_matter_to_numbers(kinds: list[pa.DataType]) -> None:
    united = kinds[0]
    for kind in kinds[1:]:
        united = unite_types(united, kind)
    assert united == pa.float64()


def test_conform_adds_casts_and_orders_columns() -> None:
    rows = pa.table({"b": [{"x": 1}, None], "a": [2**53, 2], ROW: pa.array([0, 3], pa.int32())})
    schema = pa.schema(
        [("n", pa.string()), ("a", pa.float64()), ("b", pa.struct([("x", pa.float64()), ("y", pa.null())]))]
    )
    got = conform(rows, schema)
    assert got.schema == schema.append(pa.field(ROW, pa.int32()))
    assert got.to_pylist()[0] == {"n": None, "a": float(2**53), "b": {"x": 1.0, "y": None}, ROW: 0}


def test_objects_without_fields_become_null() -> None:
    kind = pa.struct([("e", pa.struct([])), ("l", pa.list_(pa.struct([]))), ("n", pa.int64())])
    rows = pa.table(
        {"a": pa.array([{"e": {}, "l": [{}, None], "n": 1}, None], kind), "b": pa.array([{}, None], pa.struct([]))}
    )
    schema = writable(rows.schema)
    inner = pa.struct([("e", pa.null()), ("l", pa.list_(pa.null())), ("n", pa.int64())])
    assert schema == pa.schema([("a", inner), ("b", pa.null())])
    assert conform(rows, schema).to_pylist() == [
        {"a": {"e": None, "l": [None, None], "n": 1}, "b": None},
        {"a": None, "b": None},
    ]


@pytest.mark.parametrize("kinds", list(itertools.permutations([pa.int32(), pa.int64(), pa.float64()], 2)))
def test_the_spool_can_be_brought_into_the_final_types(kinds: tuple[pa.DataType, pa.DataType]) -> None:
    united = unite_types(*kinds)
    for kind in kinds:
        assert conform(pa.table({"a": pa.array([1, None], kind)}), pa.schema([("a", united)])).column(
            "a"
        ).to_pylist() == [1, None]
