"""Writes rows that are dicts as JSON lines."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from jina_data.errors import UsageError
from jina_data.read.as_text import bytes_text


def write_rows(rows: Iterable[Any], name: str, path: Path) -> None:
    """Write rows as JSON lines; what JSON lacks is written as text, and not-a-number as null.

    Raises:
        UsageError: a row is not a dict, or a value has no form in JSON.
    """
    with path.open("wb") as sink:
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise UsageError(_no_row(name, number, row))
            sink.write(_line(row, f"{name}, row {number}") + b"\n")


def _no_row(name: str, number: int, row: object) -> str:
    kind = type(row).__qualname__
    if isinstance(row, str):
        return (
            f"{name}, row {number}: expected a dict of columns, got a text. Give each text a column: "
            '({"text": text} for text in texts)'
        )
    return f'{name}, row {number}: expected a dict of columns, such as {{"text": "..."}}, got {kind}'


def _line(row: Mapping[Any, Any], where: str) -> bytes:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_json_value)
    except (ValueError, TypeError):
        text = json.dumps(plain_value(row, where), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(json.loads(text)).encode()


def plain_value(value: Any, where: str = "") -> Any:
    """Return a value with null in place of not-a-number, texts as keys, and JSON values throughout."""
    if isinstance(value, Mapping):
        return {str(key): plain_value(part, f"{where}, {str(key)!r}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(part, where) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | bool | int):
        return value
    try:
        return plain_value(_json_value(value), where)
    except TypeError:
        raise UsageError(
            f"{where}: a value of type {type(value).__qualname__} has no form in JSON. "
            "Make it a text, a number, a list or a dict"
        ) from None


def _json_value(value: Any) -> Any:
    """Return a value of a type that JSON lacks as a JSON value.

    Raises:
        TypeError: there is no form for it.
    """
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    for kinds, make in _JSON_VALUES:
        if isinstance(value, kinds):
            return make(value)
    for method in ("tolist", "as_py"):  # arrays and scalars of numpy, tensors, and scalars of Arrow
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError


_JSON_VALUES: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    ((datetime.timedelta,), lambda value: value.total_seconds()),
    ((decimal.Decimal, uuid.UUID, PurePath), str),
    ((bytes, bytearray, memoryview), lambda value: bytes_text(bytes(value))),
    ((enum.Enum,), lambda value: value.value),
    ((Mapping,), dict),
    ((set, frozenset), lambda value: sorted(value, key=str)),
)
