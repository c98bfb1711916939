from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import ROW, conform, unite_or_none, unite_schemas, unite_types, writable

UNITES: list[tuple[pa.DataType, pa.DataType, pa.DataType | None]] = [
    (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int16(), pa.int64()),
    (pa.uint64(), pa.int64(), None),
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
    (pa.timestamp("ms", "UTC"), pa.timestamp("us"), None),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.bool_(), pa.int64(), None),
    (pa.string(), pa.int64(), None),
    (pa.string(), pa.binary(), None),
    (pa.string(), pa.timestamp("s"), None),
    (pa.list_(pa.string()), pa.string(), None),
    (pa.list_(pa.string()), pa.list_(pa.int64()), None),
    (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())]), None),
    (pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), None),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "united"), UNITES)
def test_types_unite(first: pa.DataType, second: pa.DataType, united: pa.DataType | None) -> None:
    assert unite_types(first, second) == united
    assert unite_types(first, first) == first
    back = unite_types(second, first)
    if not pa.types.is_struct(first):
        assert back == united
    if united is not None:
        assert unite_types(united, first) == united
        for kind in (first, second):
            assert pa.table({"a": pa.nulls(2, kind)}).num_rows == 2
            assert (
                conform(pa.table({"a": pa.nulls(2, kind)}), pa.schema([("a", united)])).schema.field(0).type == united
            )


def test_columns_come_in_order_of_first_appearance() -> None:
    named = [
        ("x", pa.schema([("b", pa.int32()), ("a", pa.null())])),
        ("y", pa.schema([("c", pa.int8()), ("a", pa.string())])),
    ]
    assert unite_schemas(named) == pa.schema([("b", pa.int32()), ("a", pa.string()), ("c", pa.int8())])
    assert unite_or_none(named[0][1], named[1][1]) == unite_schemas(named)
    assert unite_schemas([]) == pa.schema([])


def test_a_conflict_names_column_files_and_types() -> None:
    schemas = [pa.schema([("a", pa.null())]), pa.schema([("a", pa.int64())]), pa.schema([("a", pa.string())])]
    with pytest.raises(InputError, match=r"column 'a' is int64 in two but string in three. A column must have one"):
        unite_schemas(list(zip(["one", "two", "three"], schemas, strict=True)))
    assert unite_or_none(schemas[1], schemas[2]) is None


@given(st.permutations([pa.null(), pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.uint8()]))
def test_order_does_not_matter_to_numbers(kinds: list[pa.DataType]) -> None:
    united = kinds[0]
    for kind in kinds[1:]:
        united = unite_types(united, kind)
    assert united == pa.float64()


def test_conform_adds_casts_and_orders_columns() -> None:
    rows = pa.table({"b": [{"x": 1}, None], "a": [2**53 + 1, 2], ROW: pa.array([0, 3], pa.int32())})
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
