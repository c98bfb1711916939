"""Decides which characters between words are signs: characters that carry meaning, unlike ordinary punctuation.

Symbols and the other characters of kind Y in `unicode_words.tsv` are signs: operators, currency signs, arrows, emoji,
and # % & * / @ \\ ^ _. Some depend on the characters around them: a hyphen or dash is a minus before a number ("-5",
"12-5") or between operands ("x - y"), but not within or between words; `*` and `#` are no signs where they mark up a
text; `!`, `.`, `:` and `;` are signs in "!=", "!x", "5! =", ".5", ":=" and ":)". Bullets at the start of a line, and
four or more equal ASCII characters in a row, are layout.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from jina_data.kernels.text_marks import BLANK as BLANK_MARK
from jina_data.kernels.text_marks import BULLET, last_char, mark_table
from jina_data.kernels.words import (
    LETTER,
    NUMBER,
    UNSPACED,
    ByteArray,
    Integer,
    decode,
    inner,
    unicode_ranges,
    word_table,
)

_EDGE, _BLANK, _OTHER, _CLOSE, _OPEN, _SIGN, _LETTER, _DIGIT = range(8)
_SORT_BITS = 7
_DEPENDS, _UNSPACED = 8, 16
"""Flags: may be a sign, which depends on the neighbors; a letter of a script written without spaces."""

_MINUS, _STAR, _BANG, _POINT, _UNDERSCORE = b"-*!._"
_DASHES = (0x2010, 0x2011, 0x2013, 0x2212, 0xFE63, 0xFF0D)


@cache
def sign_table() -> ByteArray:
    """Return the sort of every code point as a neighbor of a sign, and whether it may be a sign itself, (2**21,)."""
    kinds, marks = word_table(), mark_table()
    table = np.full(len(kinds), _OTHER, np.uint8)
    for first, last, _, letters in unicode_ranges():
        if "Y" in letters:
            table[first : last + 1] = _SIGN
    table[marks & BLANK_MARK != 0] = _BLANK
    table[kinds & NUMBER != 0] = _DIGIT
    table[kinds & LETTER != 0] = _LETTER
    table[(table == _LETTER) & (kinds & UNSPACED != 0)] |= _UNSPACED
    for sort, chars in ((_OPEN, "([{"), (_CLOSE, ")]}"), (_EDGE, "\r\n")):
        table[[ord(char) for char in chars]] = sort
    table[(table == _SIGN) & (marks & BULLET != 0)] |= _DEPENDS
    table[[*b"-#*!.:;_", *(code for code in _DASHES if code != 0x2212)]] |= _DEPENDS
    table.flags.writeable = False
    return table


@inner
def is_counted(sort: Integer) -> bool:
    """Return whether a character is a letter or a number, given its entry in `sign_table`."""
    return bool(sort & _SORT_BITS >= _LETTER)


@inner
def may_be_sign(sort: Integer) -> bool:
    """Return whether a character may be a sign, given its entry in `sign_table`."""
    return bool(sort == _SIGN or sort & _DEPENDS)


@inner
def plain_sign(code: Integer) -> Integer:
    """Return a sign without its width: "＋" as "+", and every dash and minus as "-"."""
    if code in _DASHES:
        return _MINUS
    return code - 0xFEE0 if 0xFF01 <= code <= 0xFF5E else code


class Neighbors(NamedTuple):
    """The sorts of the two characters before and the two after a run of equal characters that are no blanks.

    `after_blank` and `before_blank` tell whether blanks are in between, `after_minus` whether the run follows a hyphen,
    `is_single` whether it is one character. `byte` is the first byte after it and the blanks (0: none).
    """

    beyond: Integer
    before: Integer
    after: Integer
    following: Integer
    after_blank: Any
    before_blank: Any
    after_minus: Any
    is_single: Any
    byte: Integer


@inner
def _neighbors(data: ByteArray, start: Integer, i: Integer, stop: Integer, end: Integer, sorts: ByteArray) -> Neighbors:
    """Return the neighbors of bytes `i` to `stop`, with the equal ASCII bytes around them, in a text."""
    code = data[i]
    while code < 128 and i > start and data[i - 1] == code:
        i -= 1
    while code < 128 and stop < end and data[stop] == code:
        stop += 1
    left, right = i, stop
    while left > start and (data[left - 1] == 32 or data[left - 1] == 9):
        left -= 1
    while right < end and (data[right] == 32 or data[right] == 9):
        right += 1
    after_blank, before_blank, is_single = left < i, right > stop, stop - i == 1
    after_minus = i > start and data[i - 1] == _MINUS
    beyond = before = after = following = byte = np.int64(_EDGE)
    if left > start:
        left = last_char(data, start, left)
        before = np.int64(sorts[decode(data, left, end)[0]])
    if left > start:
        beyond = np.int64(sorts[decode(data, last_char(data, start, left), end)[0]] & _SORT_BITS)
    if right < end:
        byte = np.int64(data[right])
        char, right = decode(data, right, end)
        after = np.int64(sorts[char] & _SORT_BITS)
    if right < end:
        following = np.int64(sorts[decode(data, right, end)[0]] & _SORT_BITS)
    return Neighbors(beyond, before, after, following, after_blank, before_blank, after_minus, is_single, byte)


@inner
def sign_end(data: ByteArray, start: Integer, i: Integer, stop: Integer, end: Integer, sorts: ByteArray) -> Integer:
    """Return the end of the sign that begins in bytes `i` to `stop`, or 0; the text is bytes `start` to `end`.

    An emoticon like ":)" ends after `stop`.
    """
    code = decode(data, i, end)[0]
    if not sorts[code] & _DEPENDS:
        return stop
    if code in (58, 59):
        return np.int64(_emoticon_end(data, stop, end))
    near = _neighbors(data, start, i, stop, end, sorts)
    is_sign = _is_minus(near) if plain_sign(code) == _MINUS else _is_mark(near, code)
    return stop if is_sign else 0


@inner
def _is_operand(sort: Integer, beyond: Integer, bracket: Integer) -> bool:
    """Return whether a neighbor is a number, a bracket, or a word of one letter."""
    return bool(sort in (_DIGIT, bracket) or (sort & _SORT_BITS == _LETTER and beyond < _LETTER))


@inner
def _is_minus(near: Neighbors) -> Any:
    """Return whether a hyphen or dash is a sign, and not punctuation or a part of a word."""
    before, after = near.before & _SORT_BITS, near.after
    is_operand_before = _is_operand(before, near.beyond, _CLOSE)
    if (before == _SIGN and not near.after_blank) or (after == _SIGN and not near.before_blank):
        return True
    starts = not near.before_blank and (after == _OPEN or after >= _LETTER)
    is_point = near.byte == _POINT and near.following == _DIGIT
    if not near.before_blank and (after == _DIGIT or is_point):
        return near.after_blank or near.before != _LETTER
    if near.after_blank:
        is_between = near.before_blank and is_operand_before
        is_between = is_between and (after == _SIGN or _is_operand(after, near.following, _OPEN))
        return before != _EDGE and (starts or is_between)
    if starts:
        return before == _OPEN or (after == _OPEN and before != _LETTER and is_operand_before)
    return is_operand_before


@inner
def _is_mark(near: Neighbors, code: Integer) -> Any:
    """Return whether an asterisk, exclamation mark, point, underscore, number sign or bullet is a sign."""
    before, after = near.before & _SORT_BITS, near.after
    is_operand_before = _is_operand(before, near.beyond, _CLOSE)
    starts = not near.before_blank and (after == _OPEN or after >= _LETTER)
    begins = near.after_blank or before in (_EDGE, _OPEN, _SIGN)
    if code == _STAR and (near.after_blank or before == _EDGE):
        return not starts and before != _EDGE
    if code == _STAR:
        return before >= _LETTER and (starts or (is_operand_before and before == _LETTER))
    if code == _BANG:
        is_within = is_operand_before and (after == _SIGN or 97 <= near.byte <= 122)
        return (near.byte == 61 and not near.before_blank) or (starts if begins else is_within)
    if code == _POINT:
        is_prefix = (begins or near.after_minus) and near.is_single
        return is_prefix and starts and after != _OPEN and near.byte < 128
    if code == _UNDERSCORE:
        return not (near.after_blank and near.before_blank and near.is_single)
    return before != _EDGE or (after != _EDGE and not near.before_blank)


@inner
def _emoticon_end(data: ByteArray, i: Integer, end: Integer) -> Integer:
    """Return the end of ":=", or of an emoticon like ":)" or ";-(", whose colon ends at byte `i`, or 0."""
    if i < end and data[i] == 61:
        return i
    if i < end and (data[i] == _MINUS or data[i] == 39 or data[i] == 94):
        i += 1
    if i == end or (data[i] & 0xFE != 40 and data[i] != 91 and data[i] != 93):
        return 0
    # A bracket before a word, a quotation mark or a bracket is one.
    is_last = i + 1 == end or data[i + 1] <= 33 or data[i + 1] in (44, 46, 63) or data[i + 1] == data[i]
    return i + 1 if is_last else 0
