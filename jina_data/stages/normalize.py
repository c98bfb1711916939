"""The stage `normalize`: give equal texts the same spelling. It changes texts and drops no row."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from jina_data.roles import is_text
from jina_data.stages.base import Outcome, RowLocal
from jina_data.stages.markup import strip_markup
from jina_data.stages.mojibake import broken_pattern, re2_class, repair
from jina_data.stages.rows import Rows, View

Form = Literal["NFC", "NFKC"]

MAX_ROUNDS = 8
"""Maximum rounds of repair, since a repair may expose another one. Real text needs one round."""


class Normalize(RowLocal):
    """Give texts one spelling, in this order:

    - `markup`: remove tags of HTML elements, and scripts, styles and comments with their content; turn blocks into
      paragraphs and lines; decode entities once. Text such as `List<String>`, `a < b` or `the <p> tag` is kept.
    - `mojibake`: repair text that was decoded in the wrong encoding, line by line, with ftfy. A text that is not
      clearly broken does not change, and quotes, ligatures and widths never do.
    - `control_chars`: remove control characters except white space, terminal escapes, and invisible format characters
      (soft hyphen, byte order mark, word joiner, direction marks). The joiners U+200C and U+200D are kept: Persian,
      Indic scripts and emoji need them. U+200B is kept between Thai, Lao, Burmese, Tibetan or Khmer characters.
    - `unicode`: NFC, NFKC or none.
    - `whitespace`: every line break becomes a newline, and three newlines or more become two. Any other run of white
      space becomes one space. White space at the ends of texts and lines is removed. Turn it off if indentation
      matters.

    A second run changes nothing, unless `markup` is on: `&lt;b&gt;` becomes the text `<b>`, which the second run
    removes as a tag. Changed texts are written to data/; with `write_original`, only later stages use them.
    """

    name: ClassVar[str] = "normalize"
    version: ClassVar[int] = 2

    unicode: Form | None = "NFC"
    whitespace: bool = True
    control_chars: bool = True
    mojibake: bool = True
    markup: bool = False
    write_original: bool = False
    roles: tuple[str, ...] | None = None

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        return view

    @override
    def apply(self, rows: Rows) -> Outcome:
        outcome = Outcome.keep_all(len(rows))
        roles = rows.view.chosen(self.roles, self.name)
        for column in dict.fromkeys(column for role in roles for column in rows.view.roles[role]):
            changed = self._column(rows.batch.column(column))
            if changed is not None:
                outcome.changed[column] = changed
        return outcome

    def _column(self, column: pa.Array) -> pa.Array | None:
        """Return a column of texts or lists of texts in normal spelling, of the same type; None if nothing changes."""
        if is_text(column.type):
            values = self._values(column.cast(pa.large_string()))
            return None if values is None else values.cast(column.type)
        values = self._values(pc.list_flatten(column).cast(pa.large_string()))
        if values is None:
            return None
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, values, mask=column.is_null()).cast(column.type)

    def _values(self, values: pa.LargeStringArray) -> pa.LargeStringArray | None:
        """Return texts in normal spelling, or None if nothing changes.

        One regular expression over the whole buffer selects the few texts that may change; only these are rewritten.
        """
        pattern = _suspects(self.unicode, self.whitespace, self.control_chars, self.mojibake, self.markup)
        if pattern is None:
            return None
        suspect = pc.fill_null(pc.match_substring_regex(values, pattern), False)
        old = values.filter(suspect)
        new = self.rewrite(old)
        return None if new.equals(old) else pc.replace_with_mask(values, suspect, new)

    def rewrite(self, values: pa.LargeStringArray) -> pa.LargeStringArray:
        """Return texts in normal spelling, without the check whether any may change."""
        if self.markup:
            values = _rewrite_matches(values, "[<&]", strip_markup)
        if not self.mojibake:
            return self._clean(values)
        values = self._clean(_rewrite_matches(values, broken_pattern(), repair))
        for _ in range(MAX_ROUNDS):
            repaired = _rewrite_matches(values, broken_pattern(), repair)
            if repaired.equals(values):
                break
            values = self._clean(repaired)
        return values

    def _clean(self, values: pa.LargeStringArray) -> pa.LargeStringArray:
        if self.control_chars:
            values = _remove_controls(values)
        if self.unicode is not None:
            values = _rewrite_matches(values, _unstable(self.unicode), partial(unicodedata.normalize, self.unicode))
        return _collapse_whitespace(values) if self.whitespace else values


def _rewrite_matches(values: pa.LargeStringArray, pattern: str, rewrite: Callable[[str], str]) -> pa.LargeStringArray:
    """Rewrite in Python, one by one, the texts that match an RE2 pattern."""
    is_match = pc.match_substring_regex(values, pattern)
    old = values.filter(is_match).to_pylist()
    new = [rewrite(text) for text in old]
    return values if new == old else pc.replace_with_mask(values, is_match, pa.array(new, pa.large_string()))


LINE_BREAKS = "\n\v\f\r\x85\u2028\u2029"
BLANKS = " \t\x1c\x1d\x1e\x1f\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
INVISIBLE = "".join(
    chr(point)
    for first, last in (
        *((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x200E, 0x200F)),
        *((0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB)),
    )
    for point in range(first, last + 1)
)
"""Control characters that are not white space, and format characters without a meaning for the text."""


_REMOVED = rf"\x1b\[[0-9;?]*[A-Za-z]|{re2_class(INVISIBLE)}"
_SPACELESS = "\u0e00-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Burmese, Khmer: scripts without spaces between words."""
_ZERO_SPACES = re.compile("\u200b+")
_ZERO_SPACE_ELSEWHERE = re.compile(f"(?<![{_SPACELESS}])\u200b|\u200b(?![{_SPACELESS}])")


def _remove_controls(values: pa.LargeStringArray) -> pa.LargeStringArray:
    return _rewrite_matches(pc.replace_substring_regex(values, _REMOVED, ""), "\u200b", _remove_zero_spaces)


def _remove_zero_spaces(text: str) -> str:
    return _ZERO_SPACE_ELSEWHERE.sub("", _ZERO_SPACES.sub("\u200b", text))


_ODD_BLANK = re2_class(set(BLANKS) - {" "})
_BLANK_RUN = f" {re2_class(BLANKS)}+|{_ODD_BLANK}{re2_class(BLANKS)}*"
_ODD_BREAK = "\r\n|" + re2_class(set(LINE_BREAKS) - {"\n"})


def _collapse_whitespace(values: pa.LargeStringArray) -> pa.LargeStringArray:
    for pattern, replacement in ((_ODD_BREAK, "\n"), (_BLANK_RUN, " "), (" \n ?|\n ", "\n"), ("\n{3,}", "\n\n")):
        values = pc.replace_substring_regex(values, pattern, replacement)
    return pc.utf8_trim(values, " \n")


@lru_cache(maxsize=16)
def _suspects(form: Form | None, whitespace: bool, control_chars: bool, mojibake: bool, markup: bool) -> str | None:
    """Return an RE2 pattern that matches every text that these settings may change, and few others; None if no text."""
    patterns = [
        rf"\A[ \n]|[ \n]\z| [ \n]|\n |\n\n\n|{_ODD_BLANK}|{_ODD_BREAK}" if whitespace else None,
        re2_class({*INVISIBLE, "\u200b"}) if control_chars else None,
        _unstable(form) if form else None,
        broken_pattern() if mojibake else None,
        "[<&]" if markup else None,
    ]
    return "|".join(filter(None, patterns)) or None


@lru_cache(maxsize=2)
def _unstable(form: Form) -> str:
    """Return an RE2 pattern that matches every text that is not in a normal form (UAX #15, quick check).

    Such a text has a character that the form replaces or may join to the previous one, or two adjacent marks.
    """
    every = [chr(point) for point in range(0x80, sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    unstable = {c for c in every if not unicodedata.is_normalized(form, c)}
    unstable.update(map(chr, range(0x1161, 0x11C3)))  # Hangul vowels and finals, which join by rule
    pairs = (parts.split() for parts in map(unicodedata.decomposition, every) if parts and parts[0] != "<")
    unstable.update(chr(int(parts[1], 16)) for parts in pairs if len(parts) == 2)
    return f"{re2_class(unstable)}|{re2_class(c for c in every if unicodedata.combining(c))}{{2}}"
