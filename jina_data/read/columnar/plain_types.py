"""Replaces Arrow types that are encodings of others, or that Parquet cannot write, by the types of their values.

Dictionaries and run-end encoded values become their values, views become texts, bytes and lists, extension types their
storage, and unions and calendar intervals text.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from jina_data.arrow.types import is_list
from jina_data.read.as_text import json_text


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.bool_() if kind.extension_name == "arrow.bool8" else plain_type(kind.storage_type)
    for applies, make in _PLAIN:
        if applies(kind):
            return make(kind)
    return kind


def _plain_struct(kind: pa.DataType) -> pa.DataType:
    return _if_changed(kind, pa.struct([child.with_type(plain_type(child.type)) for child in kind]))


def _plain_list(kind: pa.DataType) -> pa.DataType:
    item = kind.value_field.with_type(plain_type(kind.value_type))
    if pt.is_fixed_size_list(kind):
        return _if_changed(kind, pa.list_(item, kind.list_size))
    if pt.is_large_list(kind) or pt.is_large_list_view(kind):
        return _if_changed(kind, pa.large_list(item))
    return _if_changed(kind, pa.list_(item))


def _if_changed(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    return old if old.equals(new) else new


def _plain_map(kind: pa.DataType) -> pa.DataType:
    return _if_changed(kind, pa.map_(plain_type(kind.key_type), plain_type(kind.item_type), kind.keys_sorted))


_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], pa.DataType]], ...] = (
    (pt.is_dictionary, lambda kind: plain_type(kind.value_type)),
    (pt.is_run_end_encoded, lambda kind: plain_type(kind.value_type)),
    (pt.is_string_view, lambda _: pa.string()),
    (pt.is_binary_view, lambda _: pa.binary()),
    (pt.is_union, lambda _: pa.string()),
    (pt.is_interval, lambda _: pa.string()),
    (pt.is_struct, _plain_struct),
    (pt.is_map, _plain_map),
    (is_list, _plain_list),
)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns with plain types, without metadata."""
    return pa.schema([(column.name, plain_type(column.type)) for column in schema])


def plain_rows(rows: pa.Table) -> pa.Table:
    """Return rows with plain types, without metadata; columns may have the same name."""
    schema = plain_schema(rows.schema)
    if schema.equals(rows.schema) and not rows.schema.metadata:
        return rows
    columns = [_plain_values(column, schema.field(number).type) for number, column in enumerate(rows.columns)]
    return pa.Table.from_arrays(columns, schema=schema)


def _plain_values(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if values.type.equals(kind):
        return values
    return pa.chunked_array([_plain_array(chunk, kind) for chunk in values.chunks], kind)


def _plain_array(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return an array with the plain type of its type; nested ones are taken apart, as Arrow casts few of them."""
    old = values.type
    if old.equals(kind):
        return values
    if isinstance(old, pa.BaseExtensionType):
        return _plain_array(values.storage, kind)
    for applies, make in _PLAIN_ARRAYS:
        if applies(old):
            return make(values, kind)
    return values.cast(kind)


def _decoded(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return _plain_array(values.dictionary, kind).take(values.indices)


def _texts(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.array([_text(value) for value in values.to_pylist()], kind)


def _text(value: object) -> str | None:
    if value is None:
        return None
    return " ".join(map(str, value)) if isinstance(value, pa.MonthDayNano) else json_text(value)


def _plain_struct_array(values: pa.StructArray, kind: pa.DataType) -> pa.Array:
    children = [_plain_array(values.field(number), kind.field(number).type) for number in range(kind.num_fields)]
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=values.is_null())


def _plain_map_array(values: pa.MapArray, kind: pa.DataType) -> pa.Array:
    first, last = values.offsets[0].as_py(), values.offsets[-1].as_py()
    keys = _plain_array(values.keys.slice(first, last - first), kind.key_type)
    items = _plain_array(values.items.slice(first, last - first), kind.item_type)
    offsets = pc.subtract(values.offsets, first).cast(pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, items, kind, mask=values.is_null())


def _plain_list_array(values: pa.Array, kind: pa.DataType) -> pa.Array:
    mask = values.is_null()
    if pt.is_fixed_size_list(kind):
        start, length = values.offset * kind.list_size, len(values) * kind.list_size
        items = _plain_array(values.values.slice(start, length), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=mask)
    ends = np.cumsum(pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False))
    items = _plain_array(values.flatten(), kind.value_type)
    is_large = pt.is_large_list(kind)
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64() if is_large else pa.int32())
    return (pa.LargeListArray if is_large else pa.ListArray).from_arrays(offsets, items, type=kind, mask=mask)


_PLAIN_ARRAYS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, pa.DataType], pa.Array]], ...] = (
    (pt.is_run_end_encoded, lambda values, kind: _plain_array(pc.run_end_decode(values), kind)),
    (pt.is_dictionary, _decoded),
    (pt.is_union, _texts),
    (pt.is_interval, _texts),
    (pt.is_struct, _plain_struct_array),
    (pt.is_map, _plain_map_array),
    (is_list, _plain_list_array),
)
