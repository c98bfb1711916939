"""Turns tables of typed formats into ranges: texts are checked, and columns of bytes that hold texts become text."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from jina_data.arrow.types import is_list, is_string
from jina_data.read.model import ROW, InputFile, ParsedRange, Unreadable
from jina_data.read.schema import conform_or_text

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Characters that are in no text, apart from form feeds and escapes of terminals."""


def binary_columns(schema: pa.Schema) -> list[str]:
    """Return the columns of bytes of any length, which may hold texts."""
    return [column.name for column in schema if pt.is_binary(column.type) or pt.is_large_binary(column.type)]


def with_text_columns(schema: pa.Schema, sample: pa.Table) -> pa.Schema:
    """Return a schema in which columns of bytes are text if all values of the first rows are texts in UTF-8."""
    for name in binary_columns(schema):
        if _holds_texts(sample.column(name)):
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
    return schema


def _holds_texts(values: pa.ChunkedArray) -> bool:
    try:
        texts = [text for text in values.cast(pa.large_string()).to_pylist() if text is not None]
    except pa.ArrowInvalid:
        return False
    return any(texts) and not any(map(_CONTROL.search, texts))


def parse_rows(
    file: InputFile, rows: pa.Table, own_schema: pa.Schema, schema: pa.Schema, *, number: int, end: int
) -> ParsedRange:
    """Make a range of the rows of a file with a schema; a row with a text that is not UTF-8 is unreadable.

    A column of bytes that is text in `own_schema` stays bytes in a range in which a value is not UTF-8, unless the
    column has a role.
    """
    for position, name in enumerate(rows.column_names):
        rows = rows.set_column(position, name, _text_values(file, name, rows.column(name), own_schema))
    invalid = _invalid_texts(rows)
    unreadable = [
        Unreadable(row, None, None, error, _as_json(rows.slice(row, 1))) for row, error in sorted(invalid.items())
    ]
    positions = [row for row in range(rows.num_rows) if row not in invalid]
    kept = rows.take(pa.array(positions, pa.int32())) if invalid else rows
    kept = conform_or_text(kept, schema)
    kept = kept.append_column(ROW, pa.array(positions, pa.int32()))
    return ParsedRange(number, kept, unreadable, rows.num_rows, 0, {"row": end})


def _text_values(file: InputFile, name: str, values: pa.ChunkedArray, schema: pa.Schema) -> pa.ChunkedArray:
    if not pt.is_string(schema.field(name).type) or is_string(values.type):
        return values
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return values.cast(pa.string(), safe=False) if name in file.text_columns else values


def _invalid_texts(rows: pa.Table) -> dict[int, str]:
    """Return the error of each row with text that is not UTF-8."""
    invalid: dict[int, str] = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            for row in range(len(column)):
                try:
                    column[row].as_py()
                except UnicodeDecodeError:
                    invalid.setdefault(row, f"column {name!r}: not UTF-8")
    return invalid


def _as_json(row: pa.Table) -> str:
    """Return a row as JSON; bytes of its texts that are not UTF-8 are surrogate escapes."""
    values = {name: _python_value(column) for name, column in zip(row.column_names, row.columns, strict=True)}
    return json.dumps(values, default=str)


def _python_value(column: pa.ChunkedArray) -> Any:
    try:
        value = column[0].as_py()
    except UnicodeDecodeError:
        value = column.cast(_as_binary(column.type), safe=False)[0].as_py()
    return _decode(value)


def _as_binary(kind: pa.DataType) -> pa.DataType:
    if is_string(kind):
        return pa.binary()
    if is_list(kind):
        return pa.list_(_as_binary(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([(child.name, _as_binary(child.type)) for child in kind])
    return kind


def _decode(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [_decode(part) for part in value]
    if isinstance(value, dict):
        return {name: _decode(part) for name, part in value.items()}
    return value
