"""Finds nested values by path: `translation.en`, `answers[]` (all items), `answers[0].text` (one item)."""

from __future__ import annotations

import re
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from jina_data.arrow.types import is_list

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d*)\]")


def parse_path(path: str, columns: Collection[str]) -> tuple[str, list[str | int | None]] | None:
    """Split a path into a column and steps: a field name, an item number, or None for all items; None if it is none.

    The column is the longest column name with which the path begins, so that names may contain dots.
    """
    for column in sorted(columns, key=len, reverse=True):
        rest = path.removeprefix(column)
        if rest == path or not rest:
            continue
        steps: list[str | int | None] = []
        position = 0
        while match := _STEP.match(rest, position):
            name, number = match.groups()
            steps.append(name if name is not None else int(number) if number else None)
            position = match.end()
        if position == len(rest):
            return column, steps
    return None


def is_path(path: str, columns: Collection[str]) -> bool:
    """Return whether a name is no column, but a path into one."""
    return path not in columns and parse_path(path, columns) is not None


def type_at(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Return the type of the values at a path; None if the column has no such field."""
    parsed = parse_path(path, schema.names)
    if parsed is None:
        return None
    kind = schema.field(parsed[0]).type
    is_many = False
    for step in parsed[1]:
        if isinstance(step, str):
            if not pt.is_struct(kind) or kind.get_field_index(step) < 0:
                return None
            kind = kind.field(step).type
        elif not is_list(kind):
            return None
        else:
            is_many = is_many or step is None
            kind = kind.value_type
    return pa.list_(kind) if is_many else kind


def values_at(rows: pa.Table, path: str) -> pa.ChunkedArray:
    """Return the N values at a path; lists of all values behind `[]`. Missing fields and items are null.

    A column in which the path does not exist in these rows gives null.
    """
    parsed = parse_path(path, rows.column_names)
    assert parsed is not None
    column, steps = parsed
    if type_at(rows.schema, path) is None:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    return pa.chunked_array([_descend(rows.column(column).combine_chunks(), steps)])


def _descend(values: pa.Array, steps: list[str | int | None]) -> pa.Array:
    for position, step in enumerate(steps):
        if isinstance(step, str):
            values = pc.struct_field(values, step)
        elif step is None:
            return _descend_items(values, steps[position + 1 :])
        else:
            values = _item(values, step)
    return values


def _item(values: pa.Array, number: int) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    has_item = pc.greater(lengths, number)
    slices = pc.if_else(has_item, values, pa.scalar(None, values.type))
    firsts = pc.list_slice(slices, number, number + 1, return_fixed_size_list=False)
    flat = pc.list_flatten(firsts)
    numbers = pc.cumulative_sum(pc.cast(has_item, pa.int64()))
    return flat.take(pc.if_else(has_item, pc.subtract(numbers, 1), pa.scalar(None, pa.int64())))


def _descend_items(values: pa.Array, steps: list[str | int | None]) -> pa.Array:
    """Apply steps to all items of lists; lists of lists become one list."""
    lists = values.cast(pa.large_list(values.type.value_type))
    items = _descend(pc.list_flatten(lists), steps)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    if None in steps and is_list(items.type):
        inner = items.cast(pa.large_list(items.type.value_type))
        n_inner = pc.fill_null(pc.list_value_length(inner), 0).to_numpy()
        ends = n_inner.cumsum()
        outer_ends = lengths.to_numpy().cumsum()
        totals = [int(ends[end - 1]) if end else 0 for end in outer_ends]
        return _lists([0, *totals], pc.list_flatten(inner), values.is_null())
    return _lists([0, *lengths.to_numpy().cumsum().tolist()], items, values.is_null())


def _lists(offsets: list[int], items: pa.Array, is_null: pa.Array) -> pa.Array:
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    return pc.if_else(is_null, pa.scalar(None, lists.type), lists)
