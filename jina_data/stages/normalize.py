"""Normalize: one spelling for the same text. Changes texts, drops no row."""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from html.entities import html5
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy import TextFixerConfig, fix_text
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
from typing_extensions import override

from jina_data.roles import is_text
from jina_data.stages.base import Outcome, RowLocal
from jina_data.stages.rows import Rows, View

Form = Literal["NFC", "NFKC"]

MOST_ROUNDS = 8
"""One repair may lay bare another; real text settles at once."""


class Normalize(RowLocal):
    """Give texts one spelling, in this order:

    - `markup`: tags of HTML elements go, blocks become lines, scripts, styles and comments go with their content,
      entities are decoded once. Text such as `<int>` or `a < b` stays.
    - `mojibake`: text decoded in the wrong encoding is repaired, line by line, by ftfy; quotes, ligatures and widths
      stay as they are.
    - `control_chars`: controls that are no white space, terminal escapes, and invisible format characters go (soft
      hyphen, byte order mark, word joiner, direction marks). The joiners U+200C and U+200D stay: they spell words in
      Persian and Indic scripts, and emoji. U+200B stays where it divides Thai, Lao, Burmese, Tibetan or Khmer words.
    - `unicode`: NFC, NFKC or none.
    - `whitespace`: every line break becomes a newline, three newlines or more become two; any other run of white space
      becomes one space; none is left at the ends of a text or a line. Turn it off where indentation has a meaning.

    A second run changes nothing, unless `markup` is on: `&lt;b&gt;` is the text `<b>`, which then reads as a tag.
    Changed texts are written to data/; with `write_original` they only serve the later stages.
    """

    name: ClassVar[str] = "normalize"

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
        """Return a column of texts or lists of texts in normal spelling, in its own type; None if it is so already."""
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
        """Return texts in normal spelling, None if they are so already.

        One regular expression over the whole buffer finds the few texts that may change; only those are rewritten.
        """
        pattern = _suspects(self.unicode, self.whitespace, self.control_chars, self.mojibake, self.markup)
        if pattern is None:
            return None
        suspect = pc.fill_null(pc.match_substring_regex(values, pattern), False)
        old = values.filter(suspect)
        new = self.rewrite(old)
        return None if new.equals(old) else pc.replace_with_mask(values, suspect, new)

    def rewrite(self, values: pa.LargeStringArray) -> pa.LargeStringArray:
        """Return texts in normal spelling, with no look first whether any may change."""
        if self.markup:
            values = _each(values, "[<&]", _plain)
        if not self.mojibake:
            return self._spelled(values)
        values = self._spelled(_each(values, _mojibake(), _repaired))
        for _ in range(MOST_ROUNDS):
            repaired = _each(values, _mojibake(), _repaired)
            if repaired.equals(values):
                break
            values = self._spelled(repaired)
        return values

    def _spelled(self, values: pa.LargeStringArray) -> pa.LargeStringArray:
        if self.control_chars:
            values = _visible(values)
        if self.unicode is not None:
            values = _each(values, _unstable(self.unicode), partial(unicodedata.normalize, self.unicode))
        return _spaced(values) if self.whitespace else values


def _each(values: pa.LargeStringArray, pattern: str, rewrite: Callable[[str], str]) -> pa.LargeStringArray:
    """Rewrite, one by one in Python, the texts in which an RE2 pattern is found."""
    found = pc.match_substring_regex(values, pattern)
    old = values.filter(found).to_pylist()
    new = [rewrite(text) for text in old]
    return values if new == old else pc.replace_with_mask(values, found, pa.array(new, pa.large_string()))


ENCODING_ONLY = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=True,  # without it, ftfy repairs encodings by its defaults, whatever is set here
)


def _repaired(text: str) -> str:
    return fix_text(text, ENCODING_ONLY) if is_bad(text) else text


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
"""Controls that are no white space, and format characters that spell nothing."""


def _class(characters: Iterable[str]) -> str:
    """Return an RE2 character class, with runs of code points as ranges."""
    points = np.unique(np.fromiter(map(ord, characters), np.int64))
    runs = np.split(points, np.flatnonzero(np.diff(points) > 1) + 1)
    return "[" + "".join(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs) + "]"


_GONE = rf"\x1b\[[0-9;?]*[A-Za-z]|{_class(INVISIBLE)}"
_SPACELESS = "\u0e00-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Burmese, Khmer: written without spaces between words."""
_ZERO_SPACES = re.compile("\u200b+")
_ZERO_SPACE_ELSEWHERE = re.compile(f"(?<![{_SPACELESS}])\u200b|\u200b(?![{_SPACELESS}])")


def _visible(values: pa.LargeStringArray) -> pa.LargeStringArray:
    return _each(pc.replace_substring_regex(values, _GONE, ""), "\u200b", _zero_spaced)


def _zero_spaced(text: str) -> str:
    return _ZERO_SPACE_ELSEWHERE.sub("", _ZERO_SPACES.sub("\u200b", text))


_ODD_BLANK = _class(set(BLANKS) - {" "})
_BLANK_RUN = f" {_class(BLANKS)}+|{_ODD_BLANK}{_class(BLANKS)}*"
_ODD_BREAK = "\r\n|" + _class(set(LINE_BREAKS) - {"\n"})


def _spaced(values: pa.LargeStringArray) -> pa.LargeStringArray:
    for pattern, with_what in ((_ODD_BREAK, "\n"), (_BLANK_RUN, " "), (" \n ?|\n ", "\n"), ("\n{3,}", "\n\n")):
        values = pc.replace_substring_regex(values, pattern, with_what)
    return pc.utf8_trim(values, " \n")


_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<!doctype\b[^>]*>|<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.I | re.S)
_BLOCK = (
    "address|article|aside|blockquote|body|br|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|"
    "form|h[1-6]|head|header|hr|html|li|main|nav|ol|option|p|pre|section|select|summary|table|tbody|tfoot|thead|"
    "title|tr|ul"
)
_INLINE = (
    "a|abbr|acronym|audio|b|base|bdi|bdo|big|button|canvas|cite|code|col|colgroup|data|del|dfn|em|embed|font|i|iframe|"
    "img|input|ins|kbd|label|legend|link|map|mark|meta|nobr|noscript|object|output|param|picture|q|rp|rt|ruby|s|samp|"
    "script|small|source|span|strike|strong|style|sub|sup|svg|template|textarea|time|tt|u|var|video|wbr"
)
_ATTRIBUTES = r"""(?:\s(?:[^<>"']|"[^"]*"|'[^']*')*+)?/?>"""
_CELL_TAG = re.compile(f"</?t[dh]{_ATTRIBUTES}", re.I)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK}){_ATTRIBUTES}(?:\s*+</?(?:{_BLOCK}){_ATTRIBUTES})*+", re.I)
_INLINE_TAG = re.compile(f"</?(?:{_INLINE}){_ATTRIBUTES}", re.I)
_ENTITY = re.compile("&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[0-9A-Za-z]{2,32});")


def _plain(text: str) -> str:
    """Return the text of an HTML fragment; what is no element or entity of HTML stays as it stands."""
    if "<" in text:
        for pattern, with_what in ((_HIDDEN, ""), (_CELL_TAG, " "), (_BLOCK_TAG, "\n"), (_INLINE_TAG, "")):
            text = pattern.sub(with_what, text)
    return _ENTITY.sub(_decoded, text) if "&" in text else text


def _decoded(entity: re.Match[str]) -> str:
    written = entity[0]
    return html.unescape(written) if written[1] == "#" else html5.get(written[1:], written)


@lru_cache(maxsize=16)
def _suspects(form: Form | None, whitespace: bool, control_chars: bool, mojibake: bool, markup: bool) -> str | None:
    """Return an RE2 pattern that is found in every text these settings may change, and in few others; None if none."""
    patterns = [
        rf"\A[ \n]|[ \n]\z| [ \n]|\n |\n\n\n|{_ODD_BLANK}|{_ODD_BREAK}" if whitespace else None,
        _class({*INVISIBLE, "\u200b"}) if control_chars else None,
        _unstable(form) if form else None,
        _mojibake() if mojibake else None,
        "[<&]" if markup else None,
    ]
    return "|".join(filter(None, patterns)) or None


@lru_cache(maxsize=1)
def _mojibake() -> str:
    """Return an RE2 pattern that is found in every text that ftfy calls bad.

    Each alternative of ftfy's expression, which is too slow for every text, asks for one of the first two below, or for
    two of its own characters side by side of which one is more than a letter of everyday text.
    """
    known = _known_to_ftfy(*MOJIBAKE_CATEGORIES) | {c for c in BADNESS_RE.pattern if not c.isascii()}
    everyday = {"common", "lower_accented", "lower_common", "upper_common", "kaomoji"}
    telling = _known_to_ftfy(*(MOJIBAKE_CATEGORIES.keys() - everyday)) | {"°", "Ù", "Ђ"}
    one, other = _class(known), _class(telling)
    return rf"[\x{{80}}-\x{{9f}}Œœ]|[ÃÂ] |{one}{other}|{other}{one}"


def _known_to_ftfy(*categories: str) -> set[str]:
    member = re.compile(f"[{''.join(MOJIBAKE_CATEGORIES[category] for category in categories)}]")
    return {c for c in map(chr, range(0x80, 0x10000)) if member.match(c)}


@lru_cache(maxsize=2)
def _unstable(form: Form) -> str:
    """Return an RE2 pattern that is found in every text that is not in a normal form (UAX #15, quick check).

    Such a text holds a character that the form replaces or may join to the one before, or two marks side by side.
    """
    every = [chr(point) for point in range(0x80, sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    unstable = {c for c in every if not unicodedata.is_normalized(form, c)}
    unstable.update(map(chr, range(0x1161, 0x11C3)))  # Hangul vowels and finals join by rule
    pairs = (parts.split() for parts in map(unicodedata.decomposition, every) if parts and parts[0] != "<")
    unstable.update(chr(int(parts[1], 16)) for parts in pairs if len(parts) == 2)
    return f"{_class(unstable)}|{_class(c for c in every if unicodedata.combining(c))}{{2}}"
