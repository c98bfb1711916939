"""Parses the answers of the writing model: the negative of each pair, from JSON or from plain lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.llm.answer_text import objects_of, values_of, without_thoughts
from jina_data.llm.dialect import Form

KEYS = ("negative", "id")
_BLANK = "\ufeff\u200b\u2060 \t\r\n"


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The answer for one pair: a negative, or an error in the form."""

    negative: str | None
    schema_error: str | None = None
    is_closed: bool = False
    """Whether the negative is complete even if the answer was cut off after it: a closed string of JSON."""


Numbered = Sequence[tuple[int, ParsedAnswer]]


def read_answer(content: str | None, n_pairs: int, form: Form) -> list[ParsedAnswer]:
    """Parse an answer, with one result for each pair. JSON is accepted in every form, plain lines only in `text`."""
    if not content or not content.strip():
        return [ParsedAnswer(None, "the answer is empty")] * n_pairs
    text = without_thoughts(content)
    if not text:
        return [ParsedAnswer(None, "the answer has thoughts only")] * n_pairs
    objects = objects_of(text, KEYS)
    if n_pairs == 1:
        texts = _texts(objects) or _listed(values_of(text))
        return [_one_line(text) if form == "text" and not (texts or objects) else _only(texts, objects, text)]
    numbered = list(_numbered_values(values_of(text))) or list(_numbered_objects(objects))
    if not numbered and form == "text":
        numbered = list(_numbered_lines(text))
        return _assigned(numbered, n_pairs)
    if not numbered and not objects:
        return [ParsedAnswer(None, _no_object(text, "negatives"))] * n_pairs
    return _assigned(numbered, n_pairs, sum("id" not in item for item in objects))


# ------------------------------------------------------------------------------------------------------- one negative


def _only(texts: Sequence[str], objects: Sequence[Mapping[str, Any]], text: str) -> ParsedAnswer:
    """Return the only negative of an answer about one pair."""
    if len(texts) > 1:
        return ParsedAnswer(None, f"{len(texts)} different negatives for one pair")
    if texts:
        return ParsedAnswer(texts[0], is_closed=True)
    return _parsed(objects[0]["negative"]) if objects else ParsedAnswer(None, _no_object(text, "negative"))


def _texts(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the different negatives of objects; objects with further keys, as in an echo, only if no other has one."""
    plain = [item for item in objects if item.keys() <= set(KEYS)]
    for items in (plain, objects):
        if texts := [text for item in items if (text := _parsed(item["negative"]).negative)]:
            return list(dict.fromkeys(texts))
    return []


def _listed(values: Sequence[Any]) -> list[str]:
    """Return the texts of a list without keys: `["..."]` or `{"negatives": ["..."]}`."""
    value = values[0] if len(values) == 1 else None
    if isinstance(value, dict):
        value = next((inner for name, inner in value.items() if str(name).lower() == "negatives"), None)
    texts = [_parsed(item).negative for item in value] if isinstance(value, list) else []
    return list(dict.fromkeys(text for text in texts if text))


def _parsed(value: Any) -> ParsedAnswer:
    """Parse the value of a negative: without Markdown, and without line breaks inside its sentence."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        names = {"int": "a number", "float": "a number", "bool": "true or false", "list": "a list", "dict": "an object"}
        return ParsedAnswer(None, f"negative is {names.get(type(value).__name__, 'null')}, not a string")
    text = _plain(value)
    if re.fullmatch(r"[.…\s]*", text):
        return ParsedAnswer(None, "negative is a placeholder" if text else "negative is empty")
    return ParsedAnswer(text, is_closed=True)


def _plain(text: str) -> str:
    """Return a text without Markdown emphasis, and without single line breaks that only wrap its sentence."""
    text = re.sub(r"(?<![\w*_])(\*{1,3}|__)(?=\S)([^*\n]+?)(?<=\S)\1(?![\w*_])", r"\2", text.strip(_BLANK))
    return re.sub(r"[^\S\n]*\n[^\S\n]*(?=[^\s\-*•#>\d])", " ", text.replace("\r\n", "\n")).strip(_BLANK)


def _no_object(text: str, key: str) -> str:
    value = next((value for value in values_of(text) if isinstance(value, dict) and value), None)
    if value is None:
        return "not a JSON object"
    names = ", ".join(sorted(map(str, value))[:5])[:80]
    return f"no key {key}; it has {names}" if key == "negative" else f"no list {key}; it has {names}"


# --------------------------------------------------------------------------------------------------- many negatives


def _numbered_objects(objects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, ParsedAnswer]]:
    """Yield the negatives of objects with a number. Only the number assigns an item to a pair, never its order."""
    for item in objects:
        # True and null are no numbers, and neither is their text.
        if match := re.fullmatch(r"\s*(\d{1,4})(?:\.0)?\s*", str(item.get("id"))):
            yield int(match[1]), _parsed(item["negative"])


def _numbered_values(values: Sequence[Any]) -> Iterator[tuple[int, ParsedAnswer]]:
    """Yield the negatives of an object whose keys are numbers, `{"1": "..."}`, alone or as the list of negatives."""
    for value in values:
        inner = list(value.values()) if isinstance(value, dict) else []
        for item in (value, *(inner if len(inner) == 1 else ())):
            if isinstance(item, dict) and item and all(re.fullmatch(r"\d{1,4}", str(name)) for name in item):
                for name, entry in item.items():
                    text = entry.get("negative") if isinstance(entry, dict) else entry
                    yield int(name), _parsed(text)


def _assigned(numbered: Numbered, n_pairs: int, n_unnumbered: int = 0) -> list[ParsedAnswer]:
    by_number: dict[int, ParsedAnswer] = {}
    duplicates = set()
    for number, parsed in numbered:
        if by_number.setdefault(number, parsed) != parsed:
            duplicates.add(number)
    n_items = len(by_number) + len(duplicates) + n_unnumbered
    return [_item_of(by_number, duplicates, number, n_pairs, n_items) for number in range(1, n_pairs + 1)]


def _item_of(
    by_number: Mapping[int, ParsedAnswer], duplicates: set[int], number: int, n_pairs: int, n_items: int
) -> ParsedAnswer:
    if number in duplicates:
        return ParsedAnswer(None, f"two items with id {number}")
    return by_number.get(number) or ParsedAnswer(None, f"no item with id {number}; {n_items} items for {n_pairs} pairs")


# ------------------------------------------------------------------------------------------------------- plain lines

_NUMBER = re.compile(
    r"[\s*_#\-•>(\[]*(?:(?:pair|item|no\.?|number|negative)\s*#?\s*)?(\d{1,4})[*_]*\s*(?:[.):\]](?!\d)|\s[-–—])[*_]*\s*(.*)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^[\s*_>\-•]*(?:negative|negation|answer|output)(?:\s+sentence)?[\s*_]*[:：][\s*_]*", re.IGNORECASE
)
_COMMENT = re.compile(
    r"^[\s*_>(\-•]*(?:explanation|reason(?:ing)?|rationale|note|kind|changes?|why)\b[\s*_]*[:：]", re.I
)


def _lines(text: str) -> list[str]:
    """Return the lines of an answer without blank lines, code fences, an introduction and remarks after the answer."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not re.match(r"\s*(```|~~~)", line)]
    remark = next((place for place, line in enumerate(lines) if place and _COMMENT.match(line)), len(lines))
    lines = lines[:remark]
    while len(lines) > 1 and re.search(r"[:：][\s*_]*$", lines[0]):
        lines = lines[1:]
    return lines


def _one_line(text: str) -> ParsedAnswer:
    lines = _lines(text)
    labelled = [line for line in lines if _LABEL.match(line) and _LABEL.sub("", line)]
    if len(labelled) == 1:
        lines = labelled
    # Other lines are kept: verification rejects an answer of several sentences.
    line = _strip_label(" ".join(lines))
    return ParsedAnswer(line or None, None if line else "the answer is empty")


def _numbered_lines(text: str) -> Iterator[tuple[int, ParsedAnswer]]:
    lines = _lines(text)
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if match := _NUMBER.match(line):
            # A number may stand alone on its line, before the negative.
            negative = _strip_label(match[2] or ("" if _NUMBER.match(following) else following))
            yield int(match[1]), ParsedAnswer(negative or None, None if negative else "negative is empty")


def _strip_label(line: str) -> str:
    """Return a line without a label, a list mark, Markdown, and quotes around the whole line."""
    line = _plain(re.sub(r"^[-*•]\s+", "", _LABEL.sub("", line).strip()))
    quotes = {'"': '"', "“": "”", "'": "'", "„": "“", "«": "»", "`": "`"}
    if len(line) > 1 and quotes.get(line[0]) == line[-1] and line[0] not in line[1:-1]:
        line = line[1:-1].strip()
    return line
