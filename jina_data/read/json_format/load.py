"""Loads JSON values strictly, and writes them as JSON text in which keys and numbers are as they were in the file."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring
from typing import Any

from jina_data.read.encoding import BOM, NOT_UTF8
from jina_data.read.names import field_names


class NotARowError(ValueError):
    """A record cannot become a row."""


class Spelled(float):
    """A float that Python would write in another way than the file does, such as 1.10 or 1e400."""

    text: str


class Digits:
    """An integer of thousands of digits."""

    def __init__(self, text: str) -> None:
        self.text = text


class Mended(dict[str, Any]):
    """An object some of whose keys were mended; `pairs` are its keys and values as they were."""

    pairs: list[tuple[str, Any]]


def _float(text: str) -> float:
    value = float(text)
    if repr(value) == text:
        return value
    spelled = Spelled(value)
    spelled.text = text
    return spelled


def _integer(text: str) -> int | Digits:
    return int(text) if len(text) < 4000 else Digits(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) == len(pairs) and "" not in row and not any("\0" in name for name in row):
        return row
    mended = Mended(zip(field_names([name for name, _ in pairs]), (value for _, value in pairs), strict=True))
    mended.pairs = pairs
    return mended


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)
_LONG_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer)


def load_value(record: bytes) -> Any:
    """Read one JSON value, strictly.

    Keys that cannot be fields (empty, repeated, with a NUL character) are mended.

    Raises:
        NotARowError: it is not valid JSON.
    """
    text = _text(record)
    try:
        value = _decode(text)
    except RecursionError:
        raise NotARowError("nested too deeply: hundreds of levels") from None
    except json.JSONDecodeError as error:
        raise NotARowError(f"not JSON: {error.msg} at character {error.pos + 1} of the record") from None
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _LONG_DECODER.decode(text)


def _text(record: bytes) -> str:
    try:
        return record.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = record[error.start]
        raise NotARowError(f"{NOT_UTF8}: byte 0x{byte:02x} at byte {error.start} of the record") from None


def stored_keys(value: dict[str, Any]) -> list[str]:
    """Return the keys of an object as they are in the file, repeated ones too."""
    return [name for name, _ in value.pairs] if isinstance(value, Mended) else list(value)


def try_load(record: bytes) -> Any:
    """Read one JSON value; return the error if it is not valid."""
    try:
        return load_value(record)
    except NotARowError as error:
        return error


def json_name(value: Any) -> str:
    """Return what a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a number")


def _refuse_lone_surrogates(value: Any) -> None:
    fields = value.items() if isinstance(value, dict) else [("", value)]
    for name, part in fields:
        try:
            as_json({name: part}).encode()
        except UnicodeEncodeError:
            shown = name.encode("utf-8", "backslashreplace").decode()
            where = f"column '{shown}': " if name else ""
            raise NotARowError(f"{where}half of a surrogate pair, which is no character") from None


def as_json(value: Any) -> str:
    """Return a value as JSON text: keys in their order, numbers as they were spelled, characters as they are."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Mended) else value.items()
        return "{" + ", ".join(f"{encode_basestring(name)}: {as_json(part)}" for name, part in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    if isinstance(value, Spelled | Digits):
        return value.text
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else json.dumps(value)
    return json.dumps(value)
