"""Prepares texts for language identification: capitals in lower case, without addresses and code."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.languages.scripts import add_up, code_points

BoolArray = npt.NDArray[np.bool_]


BEGINNING = 500
"""Characters at the beginning of a text that show whether it is in capitals, and its scripts."""

_POINTS = "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c7\u0640\u064b-\u0652\u0670]"
"""Vowel points of Hebrew and Arabic, which models have hardly seen, and the Arabic stretching sign."""

_CODE = (
    # code and formulas in Markdown, placeholders of templates, tags
    r"(?s)```.*?(?:```|\z)|~~~.*?(?:~~~|\z)|`[^`\n]+`|\{\{.*?\}\}|\$\$.*?\$\$|</?[A-Za-z][^<>]*>",
    # addresses
    r"(?i)(?:https?|ftp)://\S+|\bwww\.\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|"
    r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|edu|gov|io|info|de|fr|ru|uk|jp|cn|eu|html?|php)\b(?:/\S*)?",
    # lines of code
    r"(?m)^(?:\s*(?:[$#>]|>>>|\.\.\.)\s.*|.*[;{}]\s*|.*(?:=>|->|::|&&|\|\||==|!=|\+=|:=).*|.*\w\(\)\s*:?\s*|"
    r"\s*(?:def|class|import|from|return|function|const|let|var|public|private|#include|package|fn|if|for|while)\s"
    r".*[(){}=\[\]].*[(){}=;:\[\]])$",
    # words of code, options and paths
    r"\S*(?:[A-Za-z0-9]_[A-Za-z0-9]|\w\(\)|\w\.\w+\(|::|[<>=]{2}|\\\w|/\w+/)\S*|"
    r"(?:^|\s)(?:--?[A-Za-z][\w=-]*|[~.]?/\S+|[$%][A-Za-z]\w*)",
)
"""RE2 patterns of addresses and code, removed in this order."""


def prose(values: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return N texts without addresses, code and vowel points; most are the same."""
    values = pc.replace_substring_regex(values, _POINTS, "")
    for pattern in _CODE:
        found = pc.match_substring_regex(values, pattern)
        if pc.any(found).as_py():
            rest = pc.replace_substring_regex(values.filter(found), pattern, " ")
            rest = pc.utf8_trim_whitespace(pc.replace_substring_regex(rest, r"\s+", " "))
            values = pc.replace_with_mask(values, found, rest)
    return values


def in_lower_case(values: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return N texts, those with more capitals than small letters in lower case."""
    # Such a text has two capitals without a small letter between them.
    suspect = pc.match_substring_regex(values, r"\p{Lu}[^\p{Ll}]*\p{Lu}")
    beginnings = pc.utf8_slice_codeunits(values.filter(suspect), 0, BEGINNING).to_pylist()
    cases = _cases()[code_points(beginnings)]
    capitals = np.zeros(len(values), np.bool_)
    capitals[suspect.to_numpy(zero_copy_only=False)] = add_up(np.where(cases == 2, 1, -cases), beginnings) > 0
    lowered = [_lower(text) for text in values.filter(pa.array(capitals)).to_pylist()]
    return pc.replace_with_mask(values, pa.array(capitals), pa.array(lowered, pa.large_string()))


def has_letters(values: pa.LargeStringArray) -> BoolArray:
    """Return which of N texts (N,) have a letter."""
    found: BoolArray = pc.match_substring_regex(values, r"\pL").to_numpy(zero_copy_only=False)
    return found


def _lower(text: str) -> str:
    if not {"İ", "Ğ"}.isdisjoint(text):  # Turkish
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower()


@lru_cache(maxsize=1)
def _cases() -> npt.NDArray[np.int8]:
    """Return 2 for every code point that is a capital, 1 for a small letter, else 0."""
    cases = np.zeros(0x110000, np.int8)
    for first, last in ((0x41, 0x588), (0x10A0, 0x2184), (0x2C00, 0x2D2D), (0xA640, 0xABBF), (0xFF21, 0xFF5A)):
        for point in range(first, last + 1):
            cases[point] = {"Lu": 2, "Ll": 1}.get(unicodedata.category(chr(point)), 0)
    return cases
