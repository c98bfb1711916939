"""Counts the lines, paragraphs and sentences of texts by kind, in one pass over the UTF-8.

- A line is the text between two line breaks (LF, CR LF, CR), without blanks at its ends; blank lines do not count.
  A paragraph is a run of lines without a blank line between them.
- A sentence ends at a sentence terminal if a letter or number occurs before it in the line. For terminals of ASCII, no
  letter or number may follow directly ("3.14", "e.g").

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.slots import SPREAD, find_slot, mask_for
from jina_data.kernels.text_marks import (
    BLANK,
    BULLET,
    COUNTED,
    DASH,
    ELLIPSIS,
    QUOTE,
    TERMINAL,
    WIDE,
    last_char,
    mark_table,
    marks_at,
)
from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    UNSPACED,
    ByteArray,
    IntArray,
    Integer,
    decode,
    inner,
    next_word,
    string_buffers,
    word_table,
)

Counts = dict[str, IntArray]

LINES = (
    *("lines", "line_chars", "bullets", "ellipsis_ends", "terminal_ends", "short_lines"),
    *("dup_lines", "dup_line_chars", "paragraphs", "dup_paras", "dup_para_chars"),
    *("sentences", "line_letters", "thai_letters", "javascript_lines", "policy_lines"),
)
# C4 removes lines with these phrases: the first marks a line as Javascript, the others as one about policy.
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PHRASES = ("javascript", *_POLICY)
_PHRASE_BYTES = np.frombuffer("".join(_PHRASES).encode(), np.uint8)
_PHRASE_ENDS = np.cumsum([len(phrase) for phrase in _PHRASES])


def _phrases_by_byte(position: int) -> ByteArray:
    """Return, for each byte, the phrases that have it at a position, one bit each."""
    bits = np.zeros(256, np.uint8)
    for number, phrase in enumerate(_PHRASES):
        bits[ord(phrase[position])] |= 1 << number
    return bits


_PHRASE_FIRST, _PHRASE_SECOND = _phrases_by_byte(0), _phrases_by_byte(1)

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def count_lines(
    values: pa.LargeStringArray, *, short_width: int, min_words: int, max_word_length: int | None, c4: bool
) -> Counts:
    """Count the lines of N texts by kind; each count is (N,).

    A line is short up to `short_width`. Sentences are those of the lines that C4 retains: with a sentence terminal or
    a quotation mark at the end, at least `min_words` words, no token over `max_word_length` characters and none of
    the phrases for which C4 removes lines. Sentences and phrases are only counted with `c4`, because that is slow.
    """
    data, offsets = string_buffers(values)
    out = np.zeros((len(values), len(LINES)), np.int64)
    longest = np.iinfo(np.int64).max if max_word_length is None else max_word_length
    limits = np.array([short_width, min_words, longest, c4], np.int64)
    _lines(data, offsets, word_table(), mark_table(), limits, out)
    return dict(zip(LINES, out.T, strict=True))


@inner
def _line_end(data: ByteArray, i: Integer, end: Integer) -> Integer:
    while i < end and data[i] != 10 and data[i] != 13:
        i += 1
    return i


@inner
def _strip(data: ByteArray, start: Integer, stop: Integer, marks: ByteArray) -> tuple[Integer, Integer]:
    """Return a line without the blanks at its ends."""
    while start < stop:
        code, after = decode(data, start, stop)
        if not marks[code] & BLANK:
            break
        start = after
    while start < stop:
        last = last_char(data, start, stop)
        if not marks[decode(data, last, stop)[0]] & BLANK:
            break
        stop = last
    return start, stop


@inner
def _phrases(data: ByteArray, start: Integer, stop: Integer) -> Integer:
    """Return the phrases that a line contains, ignoring case, one bit each."""
    phrase_bits = 0
    for i in range(start, stop - 1):
        # Setting bit 32 makes letters lower case. The phrases also have blanks, and there it only confuses NUL with
        # one.
        candidates = _PHRASE_FIRST[data[i] | 32] & _PHRASE_SECOND[data[i + 1] | 32]
        if candidates:
            for number in range(len(_PHRASE_ENDS)):
                begin = _PHRASE_ENDS[number - 1] if number else 0
                size = _PHRASE_ENDS[number] - begin
                k = 2 if candidates >> number & 1 and i + size <= stop else size + 1
                while k < size and data[i + k] | 32 == _PHRASE_BYTES[begin + k]:
                    k += 1
                phrase_bits |= (k == size) << number
    return phrase_bits


@inner
def _has_words(data: ByteArray, i: Integer, stop: Integer, table: ByteArray, n_words: Integer) -> bool:
    while n_words > 0 and i < stop:
        _, i, kinds = next_word(data, i, stop, table)
        n_words -= kinds != 0
    return bool(n_words <= 0)


@inner
def _n_breaks(data: ByteArray, start: Integer, end: Integer) -> Integer:
    breaks = 0
    for i in range(start, end):
        breaks += (data[i] == 10) | (data[i] == 13)
    return breaks


@inner
def _read_line(
    data: ByteArray, i: Integer, end: Integer, table: ByteArray, marks: ByteArray, facts: IntArray
) -> np.uint64:
    """Return the hash of a line, and its `facts`: characters, width, longest token, sentences, letters, Thai letters.

    Blanks and letters of scripts without spaces separate tokens. Lao letters count as Thai: neither script ends its
    sentences with a mark.
    """
    chars = width = token = longest = sentences = letters = thai = 0
    is_open = False
    key = _FNV_START
    while i < end:
        code, i = decode(data, i, end)
        kind, mark = table[code], marks[code]
        chars += 1
        width += 2 if mark & WIDE else 1
        key = (key ^ np.uint64(code)) * _FNV_PRIME
        token = 0 if mark & BLANK or kind & UNSPACED else token + 1
        longest = max(longest, token)
        if kind & COUNTED:
            is_open = True
            letters += (kind & LETTER) != 0
            thai += (kind & LETTER) != 0 and 0xE00 <= code < 0xF00
        elif mark & TERMINAL and is_open and (code >= 128 or not _counts_at(data, i, end, table)):
            sentences += 1
            is_open = False
    facts[0], facts[1], facts[2], facts[3], facts[4], facts[5] = chars, width, longest, sentences, letters, thai
    return key


@inner
def _counts_at(data: ByteArray, i: Integer, end: Integer, table: ByteArray) -> bool:
    """Return whether the character at byte `i` is a letter or a number."""
    return bool(i < end and table[decode(data, i, end)[0]] & COUNTED)


@inner
def _ends_in_ellipsis(data: ByteArray, start: Integer, end: Integer) -> bool:
    if decode(data, last_char(data, start, end), end)[0] == ELLIPSIS:
        return True
    return bool(end - start >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46)


# `keys` and `stamps` are two hash tables, of the lines and of the paragraphs of the text at hand. A text has at most as
# many of either as line breaks and one more; `mask_for` makes the table twice as large, so `find_slot` meets a free
# slot. Slots with the stamp of an earlier row count as free. So out[row], in the order of LINES, depends on its text
# alone. At the top of the inner loop, `sums` covers the lines before byte `i`, `paragraph` is the hash of the lines of
# the open paragraph and `paragraph_chars` its length, 0 when none is open. The loop also runs at `i == end`, for the
# blank line after a final break. `facts` (6,) belongs to the line at hand.
@njit(types.void(BYTES, LONGS, BYTES, BYTES, LONGS, types.int64[:, ::1]), nogil=True, cache=True)
def _lines(
    data: ByteArray, offsets: IntArray, table: ByteArray, marks: ByteArray, limits: IntArray, out: IntArray
) -> None:
    short_width, min_words, max_word_length, c4 = limits[0], limits[1], limits[2], limits[3]
    size = 0
    for row in range(len(offsets) - 1):
        size = max(size, mask_for(_n_breaks(data, offsets[row], offsets[row + 1]) + 1) + 1)
    keys, stamps = np.empty((2, size), np.uint64), np.zeros((2, size), np.int64)
    facts = np.zeros(6, np.int64)
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        mask = mask_for(_n_breaks(data, i, end) + 1)
        paragraph, paragraph_chars = _FNV_START, 0
        sums = out[row]
        while i <= end:
            break_at = _line_end(data, i, end)
            start, line_end = _strip(data, i, break_at, marks)
            i = break_at + 1
            if i < end and data[break_at] == 13 and data[i] == 10:
                i += 1
            if start < line_end:
                line = _read_line(data, start, line_end, table, marks, facts)
                sums[0] += 1
                sums[1] += facts[0]
                code, after_first = decode(data, start, line_end)
                dash = marks[code] & DASH and marks_at(data, after_first, line_end, marks) & BLANK
                sums[2] += dash != 0 or marks[code] & BULLET != 0
                ellipsis = _ends_in_ellipsis(data, start, line_end)
                terminal = marks_at(data, last_char(data, start, line_end), line_end, marks) & (TERMINAL | QUOTE) != 0
                sums[3] += ellipsis
                sums[4] += terminal or ellipsis
                sums[5] += facts[1] <= short_width
                _, is_repeated = find_slot(keys[0], stamps[0], row + 1, mask, line)
                sums[6] += is_repeated
                sums[7] += facts[0] if is_repeated else 0
                sums[12] += facts[4]
                sums[13] += facts[5]
                if c4:
                    phrase_bits = _phrases(data, start, line_end)
                    sums[14] += phrase_bits & 1
                    sums[15] += phrase_bits > 1
                    retained = terminal and not ellipsis and not phrase_bits and facts[2] <= max_word_length
                    if retained and facts[3] and _has_words(data, start, line_end, table, min_words):
                        sums[11] += facts[3]
                paragraph = (paragraph ^ line) * SPREAD
                paragraph_chars += facts[0]
            if paragraph_chars and (start == line_end or break_at == end):
                _, is_repeated = find_slot(keys[1], stamps[1], row + 1, mask, paragraph)
                sums[8] += 1
                sums[9] += is_repeated
                sums[10] += paragraph_chars if is_repeated else 0
                paragraph, paragraph_chars = _FNV_START, 0
