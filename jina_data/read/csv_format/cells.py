"""Infers the types of CSV columns from their texts, and converts texts to these types.

A text is a number only if the number prints as the same text: 1.10, 007, 12e4 and +1 are texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from jina_data.read.options import TYPES

INT64_MAX = 2**63 - 1
NULL = r"\N"
"""How databases write null."""

_INT = re.compile(r"0|-?[1-9][0-9]*")
_SHORT_INT = r"^(?:0|-?[1-9][0-9]{0,17})$"
_SHORT_DOUBLE = r"^-?(?:0|[1-9][0-9]{0,7})\.(?:0|[0-9]{0,6}[1-9])$"
"""Numbers of at most 15 digits, so that the double has no other digits."""
_BOOLS = ("true", "false")


def infer(values: Sequence[str | None]) -> pa.DataType:
    """Return the type of a column from its first texts: int64, double or bool, else string; null if all are empty."""
    texts = [value for value in values if value and value != NULL]
    if texts:
        if all(text in _BOOLS for text in texts):
            return pa.bool_()
        if all(map(_is_int, texts)):
            return pa.int64()
        if all(map(_is_double, texts)):
            return pa.float64()
        return pa.string()
    return pa.null()


def _is_int(text: str) -> bool:
    return bool(_INT.fullmatch(text)) and len(text) <= 20 and -INT64_MAX - 1 <= int(text) <= INT64_MAX


def _is_double(text: str) -> bool:
    try:
        return text[-1].isdigit() and repr(float(text)) == text
    except ValueError:
        return False


def typed(rows: pa.Table, schema: pa.Schema, set_types: Mapping[str, str]) -> tuple[pa.Table, dict[int, str]]:
    """Convert columns of texts to the types of a schema.

    A column that is not in the schema, or one of whose texts is no such value, stays text. In a column whose type was
    set, a text that is no such value makes its row unreadable.

    Returns:
        The table, with all its rows, and the error of each unreadable row, by position.
    """
    misfits: dict[int, str] = {}
    columns: dict[str, pa.ChunkedArray] = {}
    for name, texts in zip(rows.column_names, rows.columns, strict=True):
        is_null = pc.equal(texts, NULL)
        values = pc.if_else(is_null, pa.scalar(None, pa.string()), texts) if pc.any(is_null).as_py() else texts
        kind = TYPES[set_types[name]] if name in set_types else _type_in(schema, name)
        fits = _fits(values, kind)
        if name in set_types and fits is not None:
            columns[name], rejected = _set_values(values, kind)
            for row, text in rejected.items():
                expected = f"expected {set_types[name]}, the type set for it"
                misfits.setdefault(row, f"column {name!r}: {expected}, found {_shorten(text)}")
        elif fits is not None and pc.all(fits).as_py():
            columns[name] = _converted(values, kind)
        else:
            columns[name] = values
    return pa.table(columns) if columns else rows, misfits


def _type_in(schema: pa.Schema, name: str) -> pa.DataType:
    kind = schema.field(name).type if name in schema.names else pa.string()
    return kind if pt.is_int64(kind) or pt.is_float64(kind) or pt.is_boolean(kind) else pa.string()


def _fits(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Return for each text whether it is a value of a type or empty; None if any text is."""
    if pt.is_string(kind):
        return None
    is_empty = pc.fill_null(pc.equal(values, ""), True)
    if pt.is_boolean(kind):
        return pc.or_(is_empty, pc.fill_null(pc.is_in(values, pa.array(_BOOLS)), True))
    pattern, check = (_SHORT_INT, _is_int) if pt.is_int64(kind) else (_SHORT_DOUBLE, _is_double)
    fits = pc.or_(is_empty, pc.fill_null(pc.match_substring_regex(values, pattern), True))
    rest = pc.indices_nonzero(pc.invert(fits))
    if not len(rest):
        return fits
    checked = dict(zip(rest.to_pylist(), (check(text) for text in values.take(rest).to_pylist()), strict=True))
    return pa.chunked_array([[checked.get(row, True) for row in range(len(values))]], pa.bool_())


def _in_range(number: int) -> int:
    if -INT64_MAX - 1 <= number <= INT64_MAX:
        return number
    raise ValueError(number)


_READERS: dict[pa.DataType, Callable[[str], Any]] = {
    pa.int64(): lambda text: _in_range(int(text)),
    pa.float64(): float,
    pa.bool_(): {"true": True, "false": False, "1": True, "0": False}.__getitem__,
}


def _set_values(values: pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """Convert texts to a type that was set, in any spelling; return the texts that are no such values, by row."""
    read = _READERS[kind]
    rejected: dict[int, str] = {}
    converted: list[Any] = []
    for row, text in enumerate(values.to_pylist()):
        try:
            converted.append(read(text.lower()) if text else None)
        except (ValueError, KeyError):
            converted.append(None)
            rejected[row] = text
    return pa.chunked_array([pa.array(converted, kind)]), rejected


def _converted(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Convert texts that fit; an empty text is null."""
    filled = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return filled.cast(kind)


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
