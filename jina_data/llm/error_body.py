"""Reads the error in the body of a response. Servers use different keys for it, and some send it with status 200."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MESSAGE_KEYS = ("message", "msg", "detail", "error", "status_msg", "error_description", "title", "errors")
_CODE_KEYS = ("code", "type", "error_type", "status", "status_code", "reason")

_STATUS_OF_WORDS = (
    (401, r"invalid.{0,10}api.?key|incorrect api key|authenticat|unauthorized|invalid token|not logged in"),
    (402, r"insufficient.{0,10}(?:balance|credit|quota)|out of credits|payment required"),
    (404, r"model.{0,80}(?:not found|not exist)|no such model|unknown model|model_not_found"),
    (429, r"rate.?limit|too many requests|throttl|resource.?exhausted"),
    (503, r"overloaded|capacity|unavailable|try again|loading|internal.{0,10}error|server.?error|timed? ?out"),
    (400, r"invalid.?(?:request|argument|param|value|input)|bad.?request|validation|unsupported|not supported|unknown|"
     r"unrecogni[sz]ed|not permitted|does(?: not|n't) support|too (?:long|large)"),
)  # fmt: skip
"""The status that fits an error without one, by its words; the first match counts, and 500 if none matches."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The error of a server. `codes` are its code and type in lower case; `parameter` is the one that it names."""

    message: str
    codes: frozenset[str] = frozenset()
    parameter: str | None = None
    status: int | None = None

    @property
    def likely_status(self) -> int:
        """The HTTP status that the error would have had, if it came with status 200."""
        if self.status is not None:
            return self.status
        text = " ".join([*sorted(self.codes), self.message])
        return next((code for code, words in _STATUS_OF_WORDS if re.search(words, text, re.IGNORECASE)), 500)


def has_error(body: Mapping[str, Any]) -> bool:
    """Return whether a body without choices states an error."""
    if body.get("error") or body.get("errors") or body.get("object") == "error" or body.get("success") is False:
        return True
    base = body.get("base_resp")
    if isinstance(base, Mapping):
        return bool(base.get("status_code"))
    return "choices" not in body and any(body.get(key) for key in ("detail", "message", "msg"))


def read_error(body: object) -> ErrorBody:
    """Return the error of a body: an object, a list with an object, or text."""
    if isinstance(body, list):
        body = next((item for item in body if isinstance(item, Mapping)), body)
    if not isinstance(body, Mapping):
        return ErrorBody(_text(body))
    levels = list(_levels(body))
    codes = [str(level[key]) for level in levels for key in _CODE_KEYS if isinstance(level.get(key), (str, int))]
    numbers = [int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)]
    parameter = next((level["param"] for level in levels if isinstance(level.get("param"), str)), None)
    message = next((text for level in reversed(levels) if (text := _message(level))), "") or _text(body)
    raw = next((level["metadata"].get("raw") for level in levels if isinstance(level.get("metadata"), Mapping)), None)
    return ErrorBody(
        f"{message}: {_text(raw)}" if raw else message,
        frozenset(code.lower() for code in codes),
        parameter,
        next(iter(numbers), None),
    )


def _levels(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a body and the objects inside it that describe its error, from the outer to the inner one."""
    yield body
    for key in ("error", "base_resp", "message", "detail"):
        inner = body.get(key)
        if isinstance(inner, list) and key == "error":
            inner = next((item for item in inner if isinstance(item, Mapping)), None)
        if isinstance(inner, Mapping):
            yield from _levels(inner)
            return


def _message(level: Mapping[str, Any]) -> str:
    for key in _MESSAGE_KEYS:
        value = level.get(key)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, list) and value:
            return "; ".join(_problem(item) for item in value[:3])
    return ""


def _problem(item: object) -> str:
    """Return one validation error of FastAPI as `body.store: Extra inputs are not permitted`."""
    if isinstance(item, Mapping) and isinstance(item.get("loc"), (list, tuple)):
        return f"{'.'.join(map(str, item['loc']))}: {item.get('msg')}"
    return _message(item) or _text(item) if isinstance(item, Mapping) else _text(item)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def page_title(text: str) -> str | None:
    """Return a short description of an HTML page; None if the text is no HTML."""
    if not re.match(r"\s*(?:<!doctype html|<html|<head|<body|<!--)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    return f'an HTML page with the title "{" ".join(title[1].split())[:80]}"' if title else "an HTML page"
