"""Finds the answer in the text of a model: without its thoughts, and the JSON objects in it, however they are wrapped.

A library that repairs JSON is not used. It completes strings that were cut off, keeps the last of two different
objects, and leaves stray quotes in a text with an apostrophe. Such texts would become training data.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TAGS = r"think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think"
_OPEN = rf"(?:<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<unused94>|<\|channel>thought)"
_CLOSE = rf"(?:</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<unused95>|<channel\|>)"
_THOUGHTS = re.compile(rf"{_OPEN}.*?{_CLOSE}", re.DOTALL | re.IGNORECASE)
_THOUGHTS_BEFORE = re.compile(rf"\A.*{_CLOSE}", re.DOTALL | re.IGNORECASE)
"""Some chat templates put the opening tag into the prompt, so the answer has the closing tag only."""
_THOUGHTS_AFTER = re.compile(rf"{_OPEN}.*\Z", re.DOTALL | re.IGNORECASE)

_FINAL = re.compile(r"<\|channel\|>\s*final\b.{0,80}?<\|message\|>", re.DOTALL | re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)\b.*?(?:<\|(?:end|return|call)\|>|\Z)", re.DOTALL)
_BARE_CHANNELS = re.compile(r"\A\s*analysis.*assistantfinal", re.DOTALL)
"""The channels of gpt-oss after a server removed the special tokens: `analysisWe need ...assistantfinalThe answer`."""

_TOKENS = re.compile(
    r"<\|/?[a-z]\w*\|>|</?(?:s|bos|eos|start_of_turn|end_of_turn|end_of_utterance)>|\[/?INST\]", re.IGNORECASE
)
_WRAPPED = re.compile(r"<(answer|output|final|final_answer|response|result|json)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.I)


def without_thoughts(content: str) -> str:
    """Return an answer without the thoughts of the model and without the special tokens of chat templates."""
    text = content
    if final := list(_FINAL.finditer(text)):
        text = text[final[-1].end() :]
    text = _BARE_CHANNELS.sub("", _CHANNEL.sub("", text))
    text = _THOUGHTS.sub("", text)
    text = _THOUGHTS_BEFORE.sub("", text)
    text = _THOUGHTS_AFTER.sub("", text)
    text = _TOKENS.sub("", text)
    if len(blocks := _WRAPPED.findall(text)) == 1:
        text = blocks[0][1]
    return text.strip("\ufeff\u200b\u2060 \t\r\n")


# ------------------------------------------------------------------------------------------------------------- objects

MAX_DEPTH = 6
_OPENING = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder(strict=False)  # raw line breaks inside strings are accepted


def objects_of(text: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects in a text that have the first of the given keys, in order, with lower-case keys.

    The objects may be inside other text, code fences, lists, strings, or other objects. They may be Python literals,
    have a trailing comma, or use other quotes. An object whose text was cut off is left out.

    Args:
        text: the answer of a model without its thoughts.
        keys: the keys of the schema, in lower case.
    """
    if re.search(r'[{,]\s*\\"\w+\\"\s*:', text) and not re.search(r'[{,]\s*"', text):
        text = text.replace('\\"', '"')  # an escaped object without the quotes around it
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, (dict, list)):
        return list(_with_key(whole, keys[0]))
    values, rest = _scan(text)
    found = [item for value in values for item in _with_key(value, keys[0])]
    return found + [item for item in _by_fields(rest, keys) if keys[0] in item]


def values_of(text: str) -> list[Any]:
    """Return the objects and lists in a text, from JSON or Python literals, also from JSON inside a JSON string."""
    for _ in range(2):
        if not text[:1] == text[-1:] == '"':
            break
        try:
            text = str(json.loads(text, strict=False)).strip()
        except ValueError:
            break
    return _scan(text)[0]


def _scan(text: str) -> tuple[list[Any], str]:
    """Return the objects and lists in a text, and the text without them."""
    values: list[Any] = []
    rest: list[str] = []
    position = 0
    while (match := _OPENING.search(text, position)) is not None:
        value, end = _value_at(text, match.start())
        is_value = isinstance(value, (dict, list))
        rest.append(text[position : match.start() if is_value else end])
        if is_value:
            values.append(value)
        position = end
    return values, "".join([*rest, text[position:]])


def _value_at(text: str, start: int) -> tuple[Any, int]:
    """Return the value that starts at a bracket and its end; None and the next position if there is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = _closing_bracket(text, start)
    if end is not None:
        span = text[start:end]
        for parse in (_without_trailing_commas, ast.literal_eval):
            try:
                return parse(span), end
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                continue
    return None, start + 1


def _without_trailing_commas(span: str) -> Any:
    strings_or_commas = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
    return json.loads(strings_or_commas.sub(lambda match: "" if match[0] == "," else match[0], span), strict=False)


def _closing_bracket(text: str, start: int) -> int | None:
    """Return the position after the bracket that closes the one at `start`; brackets inside strings do not count."""
    depth = 0
    for match in re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[{}\[\]]", re.DOTALL).finditer(text, start):
        if match[0] in "{[":
            depth += 1
        elif match[0] in "}]":
            depth -= 1
            if depth == 0:
                return match.end()
    return None


def _with_key(value: Any, key: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the objects inside a value that have a key, with lower-case keys."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        lowered = {str(name).strip().lower(): inner for name, inner in value.items()}
        if key in lowered:
            yield lowered
            return
        value = list(value.values())
    if isinstance(value, str) and depth and value.lstrip()[:1] in ("{", "["):
        value = values_of(value.strip())
    if isinstance(value, list):
        for inner in value:
            yield from _with_key(inner, key, depth + 1)


# -------------------------------------------------------------------------------------------------------------- fields

_QUOTES: Mapping[str, str] = {'"': '"”“', "'": "'’", "“": '”“"', "”": "”", "„": '“”"', "«": "»", "‘": "’'", "`": "`'"}
_ANY_QUOTE = "\"'“”„«»‘’`"
_SOME_KEY = rf"[{_ANY_QUOTE}][\w -]{{1,40}}[{_ANY_QUOTE}]\s*:"


def _by_fields(text: str, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield objects that are not valid JSON, from their fields: a known key, a colon and a value that ends clearly.

    A quoted value ends at a closing quote before a bracket, before a comma and a known key, or at the end of the text.
    """
    key = rf"[{_ANY_QUOTE}]*\b({'|'.join(map(re.escape, keys))})\b[{_ANY_QUOTE}]*\s*[:=]>?\s*"
    for chunk in re.split(r"(?=\{)", text):
        if not chunk.startswith("{"):
            continue
        item: dict[str, Any] = {}
        for match in re.finditer(key, chunk, re.IGNORECASE):
            name, is_known, value = match[1].lower(), *_field_value(chunk[match.end() :], key)
            if is_known and name not in item:
                item[name] = value
        yield item


def _field_value(rest: str, key: str) -> tuple[bool, Any]:
    """Return whether the value at the beginning of a text ends clearly, and the value."""
    if (plain := re.match(r"(-?\d{1,9}|true|false|null|none)\b\s*(?=[,}\]\n]|\Z)", rest, re.IGNORECASE)) is not None:
        word = plain[1].lower()
        return True, {"true": True, "false": False, "null": None, "none": None}.get(word, plain[1])
    closing = _QUOTES.get(rest[:1])
    if closing is None or rest[:3] == 3 * rest[:1]:
        return False, None
    ends = rf"[{closing}]\s*(?:,\s*)?(?:(?://|#)[^\n]*\s*)?(?P<next>[}}\]]|{key}|{_SOME_KEY}|\Z|```)"
    match = re.compile(ends, re.IGNORECASE).search(rest, 1)
    if match is None:
        return False, None
    inner = rest[1 : match.start()]
    if match["next"] in ("", "```") and re.search(rf"(?<!\\)[{closing}]", inner):
        return False, None  # the text may have been cut off after a quotation
    return _unescaped(inner)


def _unescaped(inner: str) -> tuple[bool, str | None]:
    quoted = re.sub(r'(?<!\\)"', lambda _: '\\"', inner.replace("\\'", "'"))
    try:
        return True, json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return False, None
