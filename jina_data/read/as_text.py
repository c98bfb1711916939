"""Writes values of any Arrow type as text: as JSON writes them, with dates and times as in ISO 8601."""

from __future__ import annotations

import base64
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from jina_data.arrow.types import is_binary, is_list, is_string


def to_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return N values as N texts: texts as they are, other values as JSON writes them; null stays null."""
    kind = values.type
    if is_string(kind) or pt.is_null(kind) or pt.is_integer(kind) or pt.is_boolean(kind) or pt.is_decimal(kind):
        return values.cast(pa.string())
    if pt.is_dictionary(kind):
        return to_text(values.cast(kind.value_type))
    if pt.is_timestamp(kind):
        return _iso_timestamps(values.cast(pa.string()))
    if pt.is_date(kind) or pt.is_time(kind):
        return values.cast(pa.string())
    texts = [_text(value) for chunk in values.chunks for value in _plain_values(chunk)]
    return pa.chunked_array([pa.array(texts, pa.string())])


def to_texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return N values as N lists of texts: a list with its items as texts, any other value as a list of one."""
    rows: list[list[str | None] | None] = []
    for chunk in values.chunks:
        for value in _plain_values(chunk):
            items = value if isinstance(value, list) else [value]
            rows.append(None if value is None else [None if item is None else _text(item) for item in items])
    return pa.chunked_array([pa.array(rows, pa.list_(pa.string()))])


def json_text(value: Any) -> str:
    """Return a JSON value as text: a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return None if value is None else json_text(value)


def _iso_timestamps(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn `2020-01-01 12:00:00+0100` into `2020-01-01T12:00:00+01:00`."""
    texts = pc.replace_substring_regex(texts, r"^(\S+) ", r"\1T")
    return pc.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2")


def _plain_values(values: pa.Array) -> list[Any]:
    """Return values as JSON values: dates, times, decimals and bytes are texts."""
    if _is_plain(values.type):
        plain: list[Any] = values.to_pylist()
        return plain
    return [_plain(value) for value in values]


def _is_plain(kind: pa.DataType) -> bool:
    if is_list(kind):
        return _is_plain(kind.value_type)
    if pt.is_struct(kind):
        names = [child.name for child in kind]
        return len(set(names)) == len(names) and all(_is_plain(child.type) for child in kind)
    return bool(is_string(kind) or pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind))


def _plain(value: pa.Scalar) -> Any:
    kind = value.type
    if not value.is_valid:
        return None
    rules = (
        (is_list, lambda: [_plain(item) for item in value.values]),
        (pt.is_struct, lambda: {name: _plain(part) for name, part in value.items()}),
        (pt.is_map, lambda: {json_text(_plain(key)): _plain(item) for key, item in _map_items(value)}),
        (is_binary, lambda: bytes_text(value.as_py())),
        (_is_plain, value.as_py),
        (pt.is_duration, lambda: value.cast(pa.int64()).as_py()),
    )
    plain = next((plain for applies, plain in rules if applies(kind)), None)
    return plain() if plain else to_text(pa.chunked_array([pa.repeat(value, 1)]))[0].as_py()


def _map_items(value: pa.Scalar) -> list[tuple[pa.Scalar, pa.Scalar]]:
    entries = value.values
    return [(entries.field(0)[position], entries.field(1)[position]) for position in range(len(entries))]


def bytes_text(value: bytes) -> str:
    """Return bytes as the text that they encode in UTF-8, else in base64."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")
