"""Finds where JSON values end in a buffer of bytes: strictly by the grammar, or by brackets alone."""

from __future__ import annotations

import re

from jina_data.read.encoding import BOM
from jina_data.read.json_format.load import NotARowError, load_value

SPACE = rb"[ \t\r\n]*+"
STRING = rb'"[^"\\\x00-\x1f]*+(?:\\["\\/bfnrtu][^"\\\x00-\x1f]*+)*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
SCALAR = rb"(?:" + STRING + rb"|" + _NUMBER + rb"|true|false|null|NaN|-?Infinity)"


def _list(item: bytes) -> bytes:
    return rb"\[" + SPACE + rb"(?:" + item + SPACE + rb"(?:," + SPACE + rb"(?!\])|(?=\])))*+\]"


def _object(value: bytes) -> bytes:
    member = STRING + SPACE + rb":" + SPACE + value + SPACE
    return rb"\{" + SPACE + rb"(?:" + member + rb"(?:," + SPACE + rb"(?!\})|(?=\})))*+\}"


def _nested(depth: int) -> bytes:
    if depth == 0:
        return SCALAR
    inner = _nested(depth - 1)
    return rb"(?:" + SCALAR + rb"|" + _list(inner) + rb"|" + _object(inner) + rb")"


SHALLOW = re.compile(rb"(?:" + _list(_nested(2)) + rb"|" + _object(_nested(2)) + rb"|" + STRING + rb")")
"""A whole value with at most two levels of brackets inside. Most values match, in one step."""

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_WORD = re.compile(rb"[^\s,\[\]{}:\"]++")
BETWEEN = re.compile(rb"(?:[\s,\x1e]|" + BOM + rb")*+")
"""What may stand between two values: joined files have byte order marks; RFC 7464 separates by 0x1e."""
BLANKS = re.compile(rb"\s*+")

START = {
    "objects": re.compile(rb"\{" + SPACE + rb"(?:" + STRING + SPACE + rb":|\})"),
    "lists": re.compile(rb"\["),
    "texts": re.compile(rb'"'),
}
"""How a record of a shape begins. Inside a string, a { is not followed by a string and a colon."""


def closing_end(buffer: bytes, start: int) -> int | None:
    """Return where the brackets or the string that open at `start` close; None if that is behind the buffer."""
    depth = 0
    for token in _TOKEN.finditer(buffer, start):
        text = token.group()
        if text == b'"':
            return None
        depth += (text in (b"{", b"[")) - (text in (b"}", b"]"))
        if depth <= 0:
            return token.end()
    return None


def value_end(buffer: bytes, start: int) -> tuple[int, bool] | None:
    """Return where the value at `start` ends and whether it is strictly valid; None if that is behind the buffer."""
    shallow = SHALLOW.match(buffer, start)
    if shallow:
        return shallow.end(), True
    if buffer[start : start + 1] in (b"{", b"[", b'"'):
        end = closing_end(buffer, start)
        return None if end is None else (end, is_valid(buffer[start:end]))
    word = _WORD.match(buffer, start)
    if word is None:
        return start + 1, False
    return None if word.end() == len(buffer) else (word.end(), is_valid(word.group()))


def is_valid(raw: bytes) -> bool:
    """Return whether bytes are one JSON value."""
    try:
        load_value(raw)
    except NotARowError as error:
        return "surrogate" in str(error)
    return True
