"""Tells whether the first record of a table holds column names or values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

from jina_data.read.options import InputOptions

KNOWN = frozenset(
    [
        "id",
        "uid",
        "guid",
        "index",
        "idx",
        "no",
        "num",
        "key",
        "url",
        "link",
        "title",
        "name",
        "text",
        "texts",
        "content",
        "body",
        "document",
        "doc",
        "passage",
        "context",
        "sentence",
        "sentence1",
        "sentence2",
        "sent1",
        "sent2",
        "premise",
        "hypothesis",
        "anchor",
        "positive",
        "negative",
        "query",
        "question",
        "answer",
        "answers",
        "response",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "target",
        "source",
        "src",
        "tgt",
        "label",
        "labels",
        "score",
        "similarity",
        "is_duplicate",
        "relevance",
        "lang",
        "language",
        "category",
        "topic",
        "tag",
        "tags",
        "date",
        "time",
        "year",
        "author",
        "description",
        "abstract",
        "summary",
        "split",
        "type",
        "question1",
        "question2",
        "qid",
        "pid",
        "docid",
        "question_id",
        "answer_id",
        "entailment",
        "translation",
    ]
)
"""Names of columns that are common in text corpora."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)*|\d*[.,]\d+)([eE][+-]?\d+)?%?")
_IDENTIFIER = re.compile(r"[^\W\d][\w.\-/#]*", re.UNICODE)


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first of some records holds column names: it differs from the values below it, or may be one.

    Without evidence, the first record counts as the header.
    """
    if not rows:
        return True
    names, body = [cell.strip() for cell in rows[0]], rows[1:]
    if has_known_name(names):
        return True
    columns = [[row[position].strip() for row in body if position < len(row)] for position in range(len(names))]
    numeric = [_share_of_numbers(column) > 0.8 for column in columns]
    if any(is_number and name and not _NUMBER.fullmatch(name) for name, is_number in zip(names, numeric, strict=True)):
        return True
    if any(_NUMBER.fullmatch(name) and is_number for name, is_number in zip(names, numeric, strict=True)):
        return False
    return not any(_is_value(name, column) for name, column in zip(names, columns, strict=True))


def _share_of_numbers(values: Sequence[str]) -> float:
    filled = [value for value in values if value]
    return sum(bool(_NUMBER.fullmatch(value)) for value in filled) / len(filled) if filled else 0.0


def _is_value(name: str, values: Sequence[str]) -> bool:
    """Return whether a cell of the first record reads like the texts below it rather than like their name."""
    if _is_sentence(name):
        return True
    filled = [value for value in values if value]
    usual = median(map(_size, filled)) if filled else 0
    return _size(name) >= 3 and usual >= 3 and _size(name) >= usual / 2


def _size(text: str) -> int:
    """Return the number of words of a text; without blanks between words, two characters count as a word."""
    wide = sum(character > "\u2e7f" for character in text)
    return len(text.split()) + wide // 2


def _is_sentence(text: str) -> bool:
    return len(text) > 100 or (_size(text) >= 4 and text[-1] in ".!?。！？…।؟")


def has_known_name(cells: Sequence[str]) -> bool:
    """Return whether a cell is a common name of a column."""
    return any(cell.strip(" \"'").lower() in KNOWN for cell in cells)


def looks_like_names(cells: Sequence[str]) -> bool:
    """Return whether all cells may be column names: known ones, or one word each."""
    return all(not cell or cell.strip().lower() in KNOWN or _IDENTIFIER.fullmatch(cell.strip()) for cell in cells)


def describe(header: bool, rows: Sequence[Sequence[str]], settings: InputOptions) -> list[str]:
    """Return a note if the file has no header, or if its first record may be none."""
    if settings.header is not None or settings.column_names or not rows:
        return []
    first = ", ".join(_shorten(cell) for cell in rows[0])
    if not header:
        return [
            f"no header: the first line looks like values ({first}). The columns are column_1, column_2, ...; "
            "if the first line holds names, use --header"
        ]
    names = [cell.strip() for cell in rows[0]]
    if has_known_name(names) or len(rows) < 2:
        return []
    columns = [[row[position] for row in rows[1:] if position < len(row)] for position in range(len(names))]
    if any(_share_of_numbers(column) > 0.8 for column in columns) or any("_" in name for name in names):
        return []
    if looks_like_names(names) and any(median(map(_size, column)) >= 3 for column in columns if column):
        return []
    return [f"the first line is read as column names ({first}); if it is a row, use --no-header"]


def _shorten(cell: str) -> str:
    return cell if len(cell) <= 30 else cell[:27] + "..."
