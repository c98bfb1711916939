"""Writes rows as JSON lines: every Arrow type that JSON lacks has an exact text form."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from jina_data.arrow.types import is_binary, is_list, is_string
from jina_data.errors import InputError

BATCH_ROWS = 1024

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""The digits of a second in a unit of time."""


def write_json_lines(path: Path, tables: Iterator[pa.Table]) -> int:
    """Write tables to a file, one row per line; return the number of rows."""
    n_rows = 0
    with path.open("w", encoding="utf-8") as sink:
        for table in tables:
            for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                columns = [json_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True) if columns else ((),) * batch.num_rows:
                    row = dict(zip(batch.schema.names, values, strict=True))
                    sink.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            n_rows += table.num_rows
    return n_rows


def check_json_types(schema: pa.Schema) -> None:
    """Check that every column can be written as JSON.

    Raises:
        InputError: a column has a type without a form in JSON.
    """
    for field in schema:
        if not _is_known(field.type):
            raise InputError(
                f"column {field.name!r} is {field.type}, which --format jsonl cannot write. Use --format parquet, or "
                f"drop the column: - select: {{drop: [{field.name}]}}"
            )


def json_values(values: pa.Array) -> list[Any]:
    """Return N values as Python values that `json` writes.

    Dates, times, timestamps and durations become ISO 8601 texts with all their digits, decimals texts of their digits,
    binary values base64 (RFC 4648), maps with texts as keys objects.
    """
    convert = next((function for applies, function in (*_NESTED, *_CONVERTERS) if applies(values.type)), None)
    if convert is not None:
        return convert(values)
    plain: list[Any] = values.to_pylist()
    return plain


def _is_known(kind: pa.DataType) -> bool:
    if _is_extension(kind):
        return _is_uuid(kind) or _is_known(kind.storage_type)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind) or is_list(kind):
        return _is_known(kind.value_type)
    if pt.is_struct(kind):
        return all(_is_known(child.type) for child in kind)
    if pt.is_map(kind):
        return _is_known(kind.key_type) and _is_known(kind.item_type)
    is_plain = pt.is_null(kind) or pt.is_boolean(kind) or pt.is_integer(kind) or is_string(kind)
    return bool(is_plain) or any(applies(kind) for applies, _ in _CONVERTERS)


def _is_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


# ------------------------------------------------------------------------------------------------------------- nested


def _extensions(values: pa.Array) -> list[Any]:
    if _is_uuid(values.type):
        return [None if value is None else str(value) for value in values.to_pylist()]
    return json_values(values.storage)


def _objects(values: pa.Array) -> list[Any]:
    names = [child.name for child in values.type]
    children = [json_values(child) for child in values.flatten()]
    rows = zip(*children, strict=True) if children else [()] * len(values)
    return [
        dict(zip(names, row, strict=True)) if is_valid else None
        for is_valid, row in zip(values.is_valid().to_pylist(), rows, strict=True)
    ]


def _lists(values: pa.Array) -> list[Any]:
    return [None if not scalar.is_valid else json_values(scalar.values) for scalar in values]


def _maps(values: pa.Array) -> list[Any]:
    out: list[Any] = []
    for scalar in values:
        if not scalar.is_valid:
            out.append(None)
            continue
        keys, items = scalar.values.field(0), scalar.values.field(1)
        out.append(_map_value(list(zip(json_values(keys), json_values(items), strict=True))))
    return out


def _map_value(pairs: list[tuple[Any, Any]]) -> Any:
    """Return an object, or pairs if JSON has no such object: for keys that are no texts or occur twice."""
    as_object = dict(pairs)
    is_object = len(as_object) == len(pairs) and all(isinstance(key, str) for key in as_object)
    return as_object if is_object else [list(pair) for pair in pairs]


# ------------------------------------------------------------------------------------------------------------ scalars


def _ticks(values: pa.Array) -> list[int | None]:
    """Return times as whole numbers of their unit."""
    ticks: list[int | None] = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64()).to_pylist()
    return ticks


def _dates(values: pa.Array) -> list[Any]:
    per_day = 1 if pt.is_date32(values.type) else 86_400_000
    return [None if tick is None else _date(tick // per_day) for tick in _ticks(values)]


def _date(days: int) -> str:
    year, month, day = str(np.datetime64(days, "D")).rsplit("-", 2)
    number = int(year)
    # ISO 8601 writes a sign before a year that is negative or has more than four digits.
    sign = "-" if number < 0 else "+" if number > 9999 else ""
    return f"{sign}{abs(number):04d}-{month}-{day}"


def _times(values: pa.Array) -> list[Any]:
    digits = _DIGITS[values.type.unit]
    return [None if tick is None else _clock(tick // 10**digits, tick % 10**digits, digits) for tick in _ticks(values)]


def _clock(seconds: int, fraction: int, digits: int) -> str:
    """Return a time of day; the fraction of a second has all digits of its unit, or is left out if it is zero."""
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:0{digits}d}" if fraction else text


def _timestamps(values: pa.Array) -> list[Any]:
    digits = _DIGITS[values.type.unit]
    offsets = _offsets(values, 10**digits) if values.type.tz else [None] * len(values)
    out: list[Any] = []
    for tick, offset in zip(_ticks(values), offsets, strict=True):
        if tick is None:
            out.append(None)
            continue
        seconds, fraction = divmod(tick, 10**digits)
        days, in_day = divmod(seconds + (offset or 0), 86_400)
        out.append(f"{_date(days)}T{_clock(in_day, fraction, digits)}{'' if offset is None else _zone(offset)}")
    return out


def _offsets(values: pa.Array, per_second: int) -> list[Any]:
    """Return the offsets of the local time from UTC, in seconds."""
    local = pc.local_timestamp(values)
    pairs = zip(_ticks(local), _ticks(values), strict=True)
    return [None if tick is None or utc is None else (tick - utc) // per_second for tick, utc in pairs]


def _zone(offset: int) -> str:
    sign, seconds = "-" if offset < 0 else "+", abs(offset)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


def _durations(values: pa.Array) -> list[Any]:
    digits = _DIGITS[values.type.unit]
    return [None if tick is None else _duration(tick, digits) for tick in _ticks(values)]


def _duration(ticks: int, digits: int) -> str:
    sign, (seconds, fraction) = "-" if ticks < 0 else "", divmod(abs(ticks), 10**digits)
    return f"{sign}PT{seconds}{f'.{fraction:0{digits}d}' if fraction else ''}S"


def _intervals(values: pa.Array) -> list[Any]:
    return [
        None if value is None else f"P{value.months}M{value.days}D{_duration_part(value.nanoseconds)}"
        for value in values.to_pylist()
    ]


def _duration_part(nanoseconds: int) -> str:
    text = _duration(abs(nanoseconds), 9).removeprefix("P")
    return text.replace("T", "T-", 1) if nanoseconds < 0 else text


def _decimals(values: pa.Array) -> list[Any]:
    return [None if value is None else format(value, "f") for value in values.to_pylist()]


def _binaries(values: pa.Array) -> list[Any]:
    return [None if value is None else base64.b64encode(value).decode("ascii") for value in values.to_pylist()]


def _floats(values: pa.Array) -> list[Any]:
    """Return finite numbers; JSON has no other, so NaN and infinity become null."""
    return [value if value is not None and math.isfinite(value) else None for value in values.to_pylist()]


_Converters = tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Any]]], ...]

_NESTED: _Converters = (
    (_is_extension, _extensions),
    (pt.is_dictionary, lambda values: json_values(values.dictionary_decode())),
    (pt.is_run_end_encoded, lambda values: json_values(pc.run_end_decode(values))),
    (pt.is_struct, _objects),
    (pt.is_map, _maps),
    (is_list, _lists),
)

_CONVERTERS: _Converters = (
    (pt.is_floating, _floats),
    (pt.is_date, _dates),
    (pt.is_time, _times),
    (pt.is_timestamp, _timestamps),
    (pt.is_duration, _durations),
    (pt.is_interval, _intervals),
    (pt.is_decimal, _decimals),
    (is_binary, _binaries),
)
