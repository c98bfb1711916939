"""Infers the types of CSV columns from their texts, and converts texts to these types."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from jina_data.read.json_values import BOOL, DOUBLE, INT, INT64_MAX, INT64_MIN, NULL, STRING, Kind, kind_of
from jina_data.read.model import ROW
from jina_data.read.schema import conform_or_text

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DOUBLE = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = frozenset({"nan", "NaN", "inf", "-inf", "Infinity", "-Infinity"})
_BOOL = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})


def infer(values: Sequence[str]) -> pa.DataType:
    """Return the type of a column from its first texts: int64, double, bool or string; null if all are empty."""
    texts = [value for value in values if value]
    if not texts:
        return pa.null()
    if all(value in _BOOL for value in texts):
        return pa.bool_()
    if all(_is_int(value) for value in texts):
        return pa.int64()
    n_finite = sum(_is_double(value) and value not in _NOT_FINITE for value in texts)
    if n_finite and all(_is_double(value) for value in texts):
        return pa.float64()
    return pa.string()


def _is_int(text: str) -> bool:
    return bool(_INT.fullmatch(text)) and len(text) <= 20 and INT64_MIN <= int(text) <= INT64_MAX


def _is_double(text: str) -> bool:
    """Return whether a text is a number in the range of double, and of int64 if it is an integer."""
    if _INT.fullmatch(text):
        return _is_int(text)
    if text in _NOT_FINITE:
        return True
    return bool(_DOUBLE.fullmatch(text)) and abs(float(text)) != float("inf")


def typed_rows(
    rows: list[list[str]], positions: list[int], names: list[str], schema: pa.Schema
) -> tuple[pa.Table, dict[int, str]]:
    """Return a table of the rows that fit the schema, and the error of every other row, by position.

    `positions` are the positions of the rows in their range. An int64 column becomes double if a row that fits
    otherwise requires it.
    """
    kinds = [kind_of(schema.field(name).type) if name in schema.names else STRING for name in names]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    misfits: dict[int, str] = {}
    for name, kind, values in zip(names, kinds, columns, strict=True):
        for row in _misfits(values, kind):
            misfits.setdefault(row, f"column {name!r}: expected {kind.name}, found {_shorten(values[row])}")
    if misfits:
        columns = [tuple(text for row, text in enumerate(values) if row not in misfits) for values in columns]
    table = pa.table([_array(values, kind) for kind, values in zip(kinds, columns, strict=True)] or [], names=names)
    kept_positions = [position for row, position in enumerate(positions) if row not in misfits]
    table = conform_or_text(table, schema)
    table = table.append_column(ROW, pa.array(kept_positions, pa.int32()))
    return table, {positions[row]: error for row, error in misfits.items()}


def _misfits(values: Sequence[str], kind: Kind) -> list[int]:
    if kind is STRING or kind is NULL:
        return []
    if kind is INT:
        fits, integer = _is_double, _INT.fullmatch
        return [
            row for row, text in enumerate(values) if text and not (integer(text) and len(text) < 19) and not fits(text)
        ]
    if kind is DOUBLE:
        return [row for row, text in enumerate(values) if text and not _is_double(text)]
    if kind is BOOL:
        return [row for row, text in enumerate(values) if text and text not in _BOOL]
    return [row for row, text in enumerate(values) if text]


def _array(values: Sequence[str], kind: Kind) -> pa.Array:
    """Make an array of texts that fit; "" is null unless the kind is string."""
    if kind is STRING:
        return pa.array(values, pa.string())
    if not any(values):
        return pa.nulls(len(values), kind.type)
    if kind is NULL:
        return pa.array([text or None for text in values], pa.string())
    if kind is BOOL:
        return pa.array([text.lower() == "true" if text else None for text in values], pa.bool_())
    if kind is INT:
        try:
            return pa.array([int(text) if text else None for text in values], pa.int64())
        except ValueError:
            pass
    return pa.array([float(text) if text else None for text in values], pa.float64())


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
