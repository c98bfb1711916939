"""Adds to parsed rows what their file does not hold as columns: items of lists, folder names, nested fields, texts.

In this order: `explode` makes a row of each item of a list column; folder names such as `lang=en` give columns; a role
on a path such as `translation.en` gives a column of that name; columns with a role become text.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.arrow.paths import is_path, values_at
from jina_data.arrow.types import is_list, is_string
from jina_data.errors import InputError
from jina_data.read.as_text import to_text, to_texts
from jina_data.read.model import ROW, InputFile, ParsedRange
from jina_data.read.options import TYPES
from jina_data.read.schema import TEXTS, conform_or_text


def source_schema(file: InputFile, schema: pa.Schema) -> pa.Schema:
    """Return the columns that the reader of a format has to find: the schema without what `add_derived` adds."""
    partition = dict(file.partition)
    exploded = file.settings.explode
    fields = []
    for column in schema:
        others = [name for name in schema.names if name != column.name]
        if column.name in partition or (column.name in file.text_columns and is_path(column.name, others)):
            continue
        kind = pa.list_(column.type) if column.name == exploded else column.type
        fields.append((column.name, kind))
    return pa.schema(fields)


def derived_schema(file: InputFile, schema: pa.Schema) -> pa.Schema:
    """Return the schema of the rows after `add_derived`, from the schema that the reader of the format found."""
    empty = ParsedRange(0, schema.empty_table().append_column(ROW, pa.array([], pa.int32())), [], 0, 0)
    rows = add_derived(file, empty, pa.schema([])).rows
    return rows.drop_columns([ROW]).schema


def add_derived(file: InputFile, parsed: ParsedRange, schema: pa.Schema) -> ParsedRange:
    """Add derived columns and rows to a range; its columns are those of `schema`, with new ones after them."""
    settings = file.settings
    if not (settings.explode or settings.types or file.partition or file.text_columns):
        return parsed
    if settings.explode:
        parsed = _explode(file, parsed, settings.explode)
    rows = parsed.rows
    for name, value in file.partition:
        if name not in rows.column_names:
            values = pa.nulls(rows.num_rows) if value is None else pa.repeat(pa.scalar(value), rows.num_rows)
            rows = _with_column(rows, name, values)
    for name, kind in settings.types.items():
        if name in rows.column_names:
            rows = _with_column(rows, name, _set_type(file, name, rows.column(name), TYPES[kind]))
    for name in file.text_columns:
        if name in rows.column_names:
            rows = _with_column(rows, name, as_role(rows.column(name)))
        elif is_path(name, [column for column in rows.column_names if column != ROW]):
            rows = _with_column(rows, name, as_role(values_at(rows, name)))
    return replace(parsed, rows=conform_or_text(rows, schema) if len(schema) else rows)


def as_role(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a column with a role: texts, or lists of texts."""
    if is_list(values.type):
        return values if values.type.equals(TEXTS) else to_texts(values)
    return values if is_string(values.type) else to_text(values)


def _with_column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    position = rows.column_names.index(ROW) if ROW in rows.column_names else rows.num_columns
    return rows.add_column(position, name, values)


def _set_type(file: InputFile, name: str, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if is_string(kind):
        return to_text(values)
    try:
        return values.cast(kind)
    except pa.ArrowException as error:
        raise InputError(
            f"{file.name}: column {name!r}: a value is not {kind}, the type that is set for it: {error}. "
            "Set another type, or leave it out, so that the type is inferred."
        ) from None


def _explode(file: InputFile, parsed: ParsedRange, name: str) -> ParsedRange:
    """Make a row of each item of a list column; a null or an empty list gives one row with null."""
    rows = parsed.rows
    if name not in rows.column_names:
        raise InputError(
            f"{file.name}: there is no column {name!r} to explode. Its columns are "
            f"{', '.join(column for column in rows.column_names if column != ROW) or 'none'}."
        )
    values = rows.column(name).combine_chunks()
    if pa.types.is_null(values.type):
        return parsed
    if not is_list(values.type):
        raise InputError(f"{file.name}: explode: column {name!r} is {values.type}; expected lists.")
    values = values.cast(pa.large_list(values.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    counts = np.maximum(lengths, 1)
    parents = np.repeat(np.arange(rows.num_rows), counts)
    firsts = np.cumsum(lengths) - lengths
    starts = np.cumsum(counts) - counts
    items = np.repeat(firsts, counts) + np.arange(len(parents)) - np.repeat(starts, counts)
    is_empty = np.repeat(lengths == 0, counts)
    taken = pc.list_flatten(values).take(pa.array(items, mask=is_empty))
    # Records before a row: the items of all rows before it, and the unreadable records, each of which counts as one.
    old = rows.column(ROW).to_numpy()
    unreadable_before = old - np.arange(len(old))
    positions = np.arange(len(parents)) + np.repeat(unreadable_before, counts)
    exploded = rows.drop_columns([ROW]).take(pa.array(parents))
    exploded = exploded.set_column(exploded.column_names.index(name), name, taken)
    exploded = exploded.append_column(ROW, pa.array(positions.astype(np.int32)))
    unreadable = [
        replace(record, row=int(record.row + (counts[old < record.row] - 1).sum())) for record in parsed.unreadable
    ]
    count = len(parents) + len(parsed.unreadable)
    return replace(parsed, rows=exploded, unreadable=unreadable, row_count=count)
