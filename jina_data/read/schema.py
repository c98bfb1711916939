"""Unites the schemas of files whose types differ a little, and casts rows to the united schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from jina_data.errors import InputError
from jina_data.read.model import ROW

_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}


def unite_schemas(named: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the schema that holds the columns of all files, in order of first appearance.

    Raises:
        InputError: a column has types that do not unite; the message names it, both files and both types.
    """
    fields: dict[str, pa.DataType] = {}
    sources: dict[str, str] = {}
    for name, schema in named:
        for column in schema:
            current = fields.get(column.name)
            united = column.type if current is None else unite_types(current, column.type)
            if united is None:
                raise InputError(
                    f"column {column.name!r} is {current} in {sources[column.name]} but {column.type} in {name}. "
                    "A column must have one type in a run. Convert it in one of the files, or use a run for each."
                )
            if united != current:
                sources[column.name] = name
            fields[column.name] = united
    return pa.schema(list(fields.items()))


def unite_or_none(first: pa.Schema, second: pa.Schema) -> pa.Schema | None:
    """Return the schema with the columns of both, without `__row`; None if the types of a column do not unite.

    A range that gives None with the schema of the ranges before it must be parsed again with that schema.
    """
    fields = {column.name: column.type for column in first if column.name != ROW}
    for column in second:
        if column.name == ROW:
            continue
        united = unite_types(fields[column.name], column.type) if column.name in fields else column.type
        if united is None:
            return None
        fields[column.name] = united
    return pa.schema(list(fields.items()))


def unite_types(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the narrowest type for the values of both, None if there is none."""
    if first.equals(second) or pt.is_null(second):
        return first
    if pt.is_null(first):
        return second
    rules = ((is_string, _unite_strings), (_is_number, _unite_numbers), (is_list, _unite_lists))
    for applies, unite in (*rules, (pt.is_struct, _unite_structs)):
        if applies(first) and applies(second):
            return unite(first, second)
    return _unite_alike(first, second)


def is_string(kind: pa.DataType) -> bool:
    """Return whether a type holds texts, in any encoding."""
    if pt.is_dictionary(kind):
        return is_string(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type holds lists, of any length and offset width."""
    views = pt.is_list_view(kind) or pt.is_large_list_view(kind)
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind) or views)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def _unite_strings(first: pa.DataType, second: pa.DataType) -> pa.DataType:  # noqa: ARG001 (one of four rules)
    return pa.string()


def _unite_lists(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    element = unite_types(first.value_type, second.value_type)
    return None if element is None else pa.list_(element)


def _unite_numbers(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pt.is_floating(first) and pt.is_floating(second):
        return pa.float64() if 64 in (first.bit_width, second.bit_width) else pa.float32()
    if pt.is_floating(first) or pt.is_floating(second):
        return pa.float64()
    width = max(first.bit_width, second.bit_width)
    if pt.is_signed_integer(first) == pt.is_signed_integer(second):
        return (_SIGNED if pt.is_signed_integer(first) else _UNSIGNED)[width]
    unsigned = first if pt.is_unsigned_integer(first) else second
    return _SIGNED.get(max(width, 2 * unsigned.bit_width))


def _unite_structs(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    fields = {child.name: child.type for child in first}
    if len(fields) < first.num_fields:
        return None
    for child in second:
        united = unite_types(fields[child.name], child.type) if child.name in fields else child.type
        if united is None:
            return None
        fields[child.name] = united
    return pa.struct(list(fields.items()))


def _unite_alike(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Let Arrow unite the units of times, the digits of decimals and the widths of binary values."""
    families = (pt.is_timestamp, pt.is_date, pt.is_time, pt.is_duration, pt.is_decimal, _is_binary)
    if not any(is_family(first) and is_family(second) for is_family in families):
        return None
    try:
        united = pa.unify_schemas([pa.schema([("", first)]), pa.schema([("", second)])], promote_options="permissive")
    except pa.ArrowException:
        return None
    return united.field(0).type


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast rows to a schema that includes theirs: its columns in its order, then `__row` if the rows have it.

    An int64 beyond 2**53 becomes the nearest double.
    """
    fields = [*schema, *([pa.field(ROW, pa.int32())] if ROW in rows.column_names else [])]
    columns = []
    for column in fields:
        if column.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, column.type))
        else:
            columns.append(_cast(rows.column(column.name), column.type))
    return pa.table(columns, schema=pa.schema(fields))


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if values.type.equals(kind):
        return values
    if _has_fieldless(values.type):
        return pa.chunked_array([pa.array([_without_fieldless(value, kind) for value in values.to_pylist()], kind)])
    return values.cast(kind, safe=False)


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


RESERVED = frozenset({"_file", "_row", "_stage", "_reason", "_score", "_partner"})
"""The columns that are added to dropped rows."""


def name_problem(name: str) -> str | None:
    """Return what is wrong with the name of a column, None if nothing is."""
    if not name:
        return "the name is empty"
    if "\0" in name:
        return "the name holds a NUL character"
    if name in RESERVED or name.startswith("__row"):
        return "jina-data keeps that name for itself"
    return None


def check_names(file: str, names: Sequence[str]) -> None:
    """Check that column names are unique and can be used.

    Raises:
        InputError: a name occurs twice or cannot be used; the message gives the file and the name.
    """
    earlier: set[str] = set()
    for name in names:
        problem = "it occurs twice" if name in earlier else name_problem(name)
        if problem:
            raise InputError(f"{file}: column {name!r}: {problem}. Rename the column in the source.")
        earlier.add(name)
