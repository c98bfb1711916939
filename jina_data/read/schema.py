"""Unites the schemas of ranges and files by fixed rules, and casts rows to the united schema without loss.

Types always unite: the type of the values of both if there is one, else text, in which every value is as JSON writes
it. So a column never makes a row or a file unreadable.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from jina_data.arrow.types import is_binary, is_list, is_nested, is_number, is_string
from jina_data.read.as_text import to_text, to_texts
from jina_data.read.model import ROW

_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
TEXTS = pa.list_(pa.string())

MAX_FIELDS = 1_000
"""Maximum number of fields of a struct. Objects whose keys are data would make a field of every key; they are text."""


def unite_schemas(schemas: Sequence[pa.Schema], text_columns: Collection[str] = ()) -> pa.Schema:
    """Return the schema with the columns of all schemas, without `__row`, in order of first appearance.

    A column in `text_columns` is text, or a list of texts if it is a list in one of the schemas.
    """
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for column in schema:
            if column.name == ROW:
                continue
            current = fields.get(column.name, pa.null())
            unite = unite_texts if column.name in text_columns else unite_types
            fields[column.name] = unite(current, column.type)
    return pa.schema(list(fields.items()))


def unite_texts(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type of a column of texts: one text per row, or a list of texts if one of the types is a list."""
    return TEXTS if is_list(first) or is_list(second) else pa.string()


def unite_types(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the narrowest type for the values of both; text if there is none.

    The cast to it may lose digits of integers beyond 2**53 (double) or fail for negative ones (uint64): see `is_exact`.
    """
    if first.equals(second) or pt.is_null(second):
        return first
    if pt.is_null(first):
        return second
    rules = ((is_number, _unite_numbers), (is_list, _unite_lists), (pt.is_struct, _unite_structs))
    for applies, unite in rules:
        if applies(first) and applies(second):
            return unite(first, second)
    return _unite_alike(first, second) or pa.string()


def _unite_lists(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    return pa.list_(unite_types(first.value_type, second.value_type))


def _unite_numbers(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if pt.is_floating(first) and pt.is_floating(second):
        return pa.float64() if 64 in (first.bit_width, second.bit_width) else pa.float32()
    if pt.is_floating(first) or pt.is_floating(second):
        return pa.float64()
    width = max(first.bit_width, second.bit_width)
    if pt.is_signed_integer(first) == pt.is_signed_integer(second):
        return (_SIGNED if pt.is_signed_integer(first) else _UNSIGNED)[width]
    unsigned = first if pt.is_unsigned_integer(first) else second
    return _SIGNED.get(max(width, 2 * unsigned.bit_width), pa.uint64())


def _unite_structs(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    fields = {child.name: child.type for child in first}
    if len(fields) < first.num_fields or len({child.name for child in second}) < second.num_fields:
        return pa.string()
    for child in second:
        fields[child.name] = unite_types(fields.get(child.name, pa.null()), child.type)
    if len(fields) > max(MAX_FIELDS, first.num_fields, second.num_fields):
        return pa.string()
    return pa.struct(list(fields.items()))


def _unite_alike(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Let Arrow unite units of times, digits of decimals and widths of bytes; texts and bytes are bytes."""
    if (is_string(first) and is_binary(second)) or (is_binary(first) and is_string(second)):
        return pa.binary()
    families = (pt.is_timestamp, pt.is_date, pt.is_time, pt.is_duration, pt.is_decimal, is_binary)
    if not any(is_family(first) and is_family(second) for is_family in families):
        return None
    try:
        united = pa.unify_schemas([pa.schema([("", first)]), pa.schema([("", second)])], promote_options="permissive")
    except pa.ArrowException:
        return None
    return united.field(0).type


def is_exact(first: pa.DataType, second: pa.DataType) -> bool:
    """Return whether a cast between two types, the second of which unites both, keeps every value whatever it is.

    If not, rows of the first type have to be read again, as the second.
    """
    if first.equals(second):
        return True
    if pt.is_null(first) or pt.is_floating(first):
        # A null may stand for {}, which has no type; a number of JSON may be spelled in another way than it prints.
        return not (is_string(second) or is_nested(second))
    if is_list(first) and is_list(second):
        return is_exact(first.value_type, second.value_type)
    if pt.is_struct(first) and pt.is_struct(second):
        return all(is_exact(child.type, second.field(child.name).type) for child in first)
    if pt.is_integer(first) and is_number(second):
        return first.bit_width < 64 and not (pt.is_signed_integer(first) and pt.is_unsigned_integer(second))
    return not is_nested(first)


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast rows to a schema that includes theirs: its columns in its order, then `__row` if the rows have it.

    A value becomes text as JSON writes it. A value that does not fit otherwise raises an error of Arrow.
    """
    fields = [*schema, *([pa.field(ROW, pa.int32())] if ROW in rows.column_names else [])]
    columns = []
    for column in fields:
        if column.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, column.type))
        else:
            columns.append(cast(rows.column(column.name), column.type))
    return pa.table(columns, schema=pa.schema(fields))


def conform_or_text(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast rows to a schema, columns that are not in it after its own; a column that would lose values becomes text."""
    united = unite_schemas([schema, rows.schema])
    names = [*united.names, *([ROW] if ROW in rows.column_names else [])]
    return pa.table({name: _cast_or_text(rows, name, united) for name in names})


def _cast_or_text(rows: pa.Table, name: str, schema: pa.Schema) -> pa.ChunkedArray | pa.Array:
    if name == ROW:
        return rows.column(name)
    kind = schema.field(name).type
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, kind)
    values = rows.column(name)
    try:
        return cast(values, kind)
    except pa.ArrowInvalid:
        return to_text(values)


def cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Cast values to a type that unites theirs with another.

    Raises:
        pa.ArrowInvalid: a value does not fit, such as an integer beyond 2**53 in double.
    """
    if values.type.equals(kind):
        return values
    if is_string(kind):
        return to_text(values).cast(kind)
    if kind.equals(TEXTS) and not pt.is_null(values.type) and not _is_list_of_texts(values.type):
        return to_texts(values)
    if _has_fieldless(values.type):
        return pa.chunked_array([pa.array([_without_fieldless(value, kind) for value in values.to_pylist()], kind)])
    return values.cast(kind)


def _is_list_of_texts(kind: pa.DataType) -> bool:
    return is_list(kind) and (is_string(kind.value_type) or pt.is_null(kind.value_type))


def _without_fieldless(value: Any, kind: pa.DataType) -> Any:
    if value is None or pt.is_null(kind):
        return None
    if is_list(kind):
        return [_without_fieldless(child, kind.value_type) for child in value]
    if pt.is_struct(kind):
        return {name: _without_fieldless(child, kind.field(name).type) for name, child in value.items()}
    return value


def writable(schema: pa.Schema) -> pa.Schema:
    """Return the schema with null in place of structs without fields, which Parquet cannot write."""
    return pa.schema([(column.name, _writable(column.type)) for column in schema])


def _writable(kind: pa.DataType) -> pa.DataType:
    if not _has_fieldless(kind):
        return kind
    if pt.is_struct(kind):
        fields = [(child.name, _writable(child.type)) for child in kind]
        return pa.struct(fields) if fields else pa.null()
    return pa.list_(_writable(kind.value_type))


def _has_fieldless(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return kind.num_fields == 0 or any(_has_fieldless(child.type) for child in kind)
    return is_list(kind) and _has_fieldless(kind.value_type)
