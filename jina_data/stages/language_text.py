"""Prepares texts for language identification: capitals in lower case, without addresses and code."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.stages.rows import BoolArray

_ADDRESS = r"(?:https?|ftp)://\S+|\bwww\.\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_DOMAIN = (
    r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|edu|gov|io|info|co|de|fr|ru|uk|jp|cn|eu|us|html?|php)\b(?:/\S*)?"
)
_FENCED = r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`|\{\{.*?\}\}|\$\$.*?\$\$"
_TAG = r"</?[A-Za-z][^<>]*>"
_OUTSIDE = re.compile(f"{_FENCED}|{_ADDRESS}|{_DOMAIN}|{_TAG}", re.S | re.I)
_CODE_LINE = re.compile(
    r"^(?:\s*(?:[$#>]|>>>|\.\.\.)\s.*|.*[;{}]\s*|.*(?:=>|->|::|&&|\|\||==|!=|\+=|:=).*|.*\w\(.*\)\s*:?\s*|"
    r"\s*(?:def|class|import|from|return|function|const|let|var|public|private|#include|package|fn|if|for|while)\b"
    r".*[(){}=;:\[\]].*)$",
    re.M,
)
_IDENTIFIER = re.compile(
    r"\S*(?:[A-Za-z0-9]_[A-Za-z0-9]|[a-z]\(|\w\.\w+\(|::|[<>=]{2}|\\\w|/\w+/)\S*|(?<!\S)(?:--?\w[\w=-]*|[~.]?/\S+|[$%]\w+)"
)

_REMOVES = r"://|www\.|@|[`{}<>;|=$\\_(]|\w\.[a-z]{2}|(?:^|\s)[-~.]?[-/]\w|/\w+/"
"""An RE2 pattern of the texts that may hold an address or code."""
_POINTS = "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c7\u0640\u064b-\u0652\u0670]"
"""Vowel points of Hebrew and Arabic, which models have hardly seen, and the Arabic stretching sign."""
_CAPITALS = r"\p{Lu}[^\p{Ll}]*\p{Lu}"
"""An RE2 pattern of two capital letters without a small one between them."""


def prose(values: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return N texts without addresses, code and vowel points; most are the same."""
    values = pc.replace_substring_regex(values, _POINTS, "")
    return _rewrite(values, pc.match_substring_regex(values, _REMOVES), _without_code)


def in_lower_case(values: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return N texts, those mostly in capitals in lower case."""
    return _rewrite(values, pc.match_substring_regex(values, _CAPITALS), _lower)


def has_letters(values: pa.LargeStringArray) -> BoolArray:
    """Return which of N texts (N,) have a letter."""
    found: BoolArray = pc.match_substring_regex(values, r"\pL").to_numpy(zero_copy_only=False)
    return found


def _rewrite(
    values: pa.LargeStringArray, is_match: pa.BooleanArray, rewrite: Callable[[str], str]
) -> pa.LargeStringArray:
    old = values.filter(is_match).to_pylist()
    new = [rewrite(text) for text in old]
    return values if new == old else pc.replace_with_mask(values, is_match, pa.array(new, pa.large_string()))


def _without_code(text: str) -> str:
    """Return a text without addresses, quoted code, and lines and words that look like code."""
    prose = _OUTSIDE.sub(" ", text)
    if _CODE_LINE.search(prose):
        prose = _CODE_LINE.sub(" ", prose)
    prose = _IDENTIFIER.sub(" ", prose)
    return text if prose == text else " ".join(prose.split())


_TURKISH = frozenset("İĞ")


def _lower(text: str) -> str:
    """Return a text in lower case if most of its cased letters are capitals, else the text."""
    n_upper = sum(map(str.isupper, text))
    if n_upper <= sum(map(str.islower, text)):
        return text
    if not _TURKISH.isdisjoint(text):
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower()
