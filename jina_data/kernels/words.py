"""Finds the words of texts in the UTF-8 of an Arrow array.

A word is a segment of Unicode's default word segmentation (UAX #29) that has at least one letter or number. In scripts
written without spaces, each letter is a segment, together with the marks that follow it.

So "don't" and "3.14" are one word each, "well-known" is two, 北京 is two, 2024年 is two, and "!?" is none. Letters and
numbers are the general categories L and N; a mark is a character of Word_Break Extend, Format or ZWJ, and is never
counted by itself. `tests.support.make_unicode_words`, which writes the table of properties, lists the scripts written
without spaces; for them the definition is UAX #29 with Word_Break = Other for their letters, so a run of Katakana is
split too. Their digits are no letters: a run of digits is one word in every script. The stages for length,
near-duplicates and rules share this definition.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from string import ascii_letters, digits
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit, types
from numba.core.options import DefaultOptions

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
Integer = int | np.int64
Truth = bool | np.bool_

# Types of kernel arguments. Arrays that Arrow owns are read-only; numba accepts writable arrays for these types too.
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
LONGS = types.Array(types.int64, 1, "C", readonly=True)

# Counting the references to array arguments takes longer than the work on a word. It is needed only by functions that
# create or return arrays.
UNCOUNTED = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
# Decorates functions that only kernels call: they get no Python wrapper, and are compiled into the calling kernel.
inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **UNCOUNTED)

# The class of a code point: its Word_Break in the lower five bits, and three flags.
_BREAK_NAMES = """
    Other Pict ALetter PictLetter Hebrew_Letter Numeric ExtendNumLet Katakana Regional_Indicator Single_Quote
    Double_Quote MidNumLet MidLetter MidNum CR LF Newline WSegSpace Extend Format ZWJ
"""
_BREAK_BITS = 31
LETTER, NUMBER, UNSPACED = 32, 64, 128
"""Flags: a letter, a number, a letter or number of a script written without spaces."""
_COUNTS = LETTER | NUMBER
_FLAGS = LETTER | NUMBER | UNSPACED

_PICT, _ALETTER, _PICT_LETTER, _HEBREW, _NUMERIC, _EXTEND_NUM_LET, _KATAKANA = range(1, 8)
_REGIONAL, _SINGLE_QUOTE, _DOUBLE_QUOTE, _MID_NUM_LET, _MID_LETTER, _MID_NUM = range(8, 14)
_CR, _LF, _NEWLINE, _SPACE, _EXTEND, _FORMAT, _ZWJ = range(14, 21)


def _bits(*breaks: int) -> int:
    return sum(1 << word_break for word_break in breaks)


_LETTERS = _bits(_ALETTER, _PICT_LETTER, _HEBREW)  # AHLetter
_RUN = _LETTERS | _bits(_NUMERIC, _EXTEND_NUM_LET)  # any two of these join: WB5, 8, 9, 10, 13a, 13b
_IN_LETTERS = _bits(_MID_LETTER, _MID_NUM_LET, _SINGLE_QUOTE)  # WB6, WB7
_IN_NUMBERS = _bits(_MID_NUM, _MID_NUM_LET, _SINGLE_QUOTE)  # WB11, WB12
_MIDS = _IN_LETTERS | _IN_NUMBERS | _bits(_DOUBLE_QUOTE)
_KANA_RUN = _bits(_KATAKANA, _EXTEND_NUM_LET)
_PICTS = _bits(_PICT, _PICT_LETTER)


def _apart_bytes() -> npt.NDArray[np.bool_]:
    """Return, for each byte, whether it is an ASCII character that no word contains except between two others."""
    apart = np.arange(256) < 128
    apart[list(f"{ascii_letters}{digits}_".encode())] = False
    return apart


# These 256 bytes stay in the L1 cache, unlike the table of all code points.
_APART = _apart_bytes()


class CodepointRange(NamedTuple):
    """Code points `first` to `last` of the same class: the name of their Word_Break, and their kinds, a letter each."""

    first: int
    last: int
    word_break: str
    kinds: str


@cache
def unicode_ranges() -> tuple[CodepointRange, ...]:
    """Read the table of Unicode properties; its header explains the kinds."""
    lines = Path(__file__).with_name("unicode_words.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return tuple(
        CodepointRange(int(first, 16), int(last, 16), name, kinds.strip("-")) for first, last, name, kinds in rows
    )


@cache
def word_table(tailored: bool = True) -> ByteArray:
    """Return the class of every code point, (2**21,); without `tailored`, scripts without spaces are as in UAX #29.

    The table is flat: a two-level table needs one more load per character, and pages that no text needs cost nothing.
    It covers every value that four bytes of UTF-8 can encode, so invalid UTF-8 cannot index outside of it.
    """
    table, names = np.zeros(1 << 21, np.uint8), _BREAK_NAMES.split()
    for first, last, name, kinds in unicode_ranges():
        word_break = names.index(name)
        if "P" in kinds:
            word_break = {"Other": _PICT, "ALetter": _PICT_LETTER}[name]
        if tailored and "U" in kinds:
            word_break = 0
        flags = LETTER * ("L" in kinds) | NUMBER * ("N" in kinds) | UNSPACED * ("U" in kinds)
        table[first : last + 1] = word_break | flags
    table.flags.writeable = False
    return table


@dataclass(frozen=True)
class WordSpans:
    """The W words of N texts: those of text i are words `row_offsets[i]` to `row_offsets[i + 1]` (N + 1,).

    `starts` and `ends` (W,) are byte offsets from the start of the text.
    """

    row_offsets: IntArray
    starts: IntArray
    ends: IntArray


def string_buffers(values: pa.LargeStringArray) -> tuple[ByteArray, IntArray]:
    """Return the bytes of N texts and the offsets (N + 1,) at which each starts and ends; a null is an empty text.

    Nothing is copied, unless there are nulls: the first offset need not be zero.
    """
    if values.null_count:
        values = pc.fill_null(values, "")
    _, offsets, data = values.buffers()
    if not len(values) or offsets is None:
        return np.empty(0, np.uint8), np.zeros(len(values) + 1, np.int64)
    text_offsets = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), text_offsets


def count_chars(values: pa.LargeStringArray) -> IntArray:
    """Count the code points of each text, (N,); a null has none."""
    counted: IntArray = pc.fill_null(pc.utf8_length(values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return counted


def count_words(values: pa.LargeStringArray) -> IntArray:
    """Count the words of each text, (N,); a null has none."""
    data, offsets = string_buffers(values)
    counts = np.empty(len(values), np.int64)
    _count_words(data, offsets, word_table(), counts)
    return counts


def word_spans(values: pa.LargeStringArray) -> WordSpans:
    """Find the words of each text."""
    data, offsets = string_buffers(values)
    # Counting first costs a second pass, but saves arrays with room for a word per byte.
    row_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(count_words(values))])
    starts, ends = np.empty(row_offsets[-1], np.int64), np.empty(row_offsets[-1], np.int64)
    _find_words(data, offsets, word_table(), starts, ends)
    return WordSpans(row_offsets, starts, ends)


def segments(text: str, *, tailored: bool = False) -> list[str]:
    """Split a text into the segments of UAX #29; the words are the segments with a letter or a number.

    With `tailored`, each letter of a script without spaces is a segment.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    data = np.frombuffer(encoded, np.uint8)
    stops = np.empty(len(data), np.int64)
    stops = stops[: _find_segments(data, word_table(tailored), stops)]
    bounds = [0, *stops.tolist()]
    cut = (encoded[start:stop] for start, stop in pairwise(bounds))
    return [piece.decode("utf-8", "surrogatepass") for piece in cut]


@njit(nogil=True, cache=True, **UNCOUNTED)
def decode(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, Integer]:
    """Return the code point at byte `i` < `end` and the index after it; a character cut off at `end` becomes U+FFFD.

    Nothing is read at `end` or beyond. The result is below 2^21 for any bytes, valid UTF-8 or not.
    """
    lead = np.int64(data[i])
    if lead < 0x80:
        return lead, i + 1
    width = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if i + width > end:
        return 0xFFFD, end
    code = np.int64(data[i + 1] & 63)
    for k in range(2, width):
        code = code << 6 | np.int64(data[i + k] & 63)
    return (lead & 0x7F >> width) << 6 * (width - 1) | code, i + width


@njit(nogil=True, cache=True, forceinline=True, **UNCOUNTED)
def next_word(data: ByteArray, i: Integer, end: Integer, table: ByteArray) -> tuple[Integer, Integer, Integer]:
    """Find the first word in bytes `i` to `end`: its start, its end, and the flags of its characters together.

    `i` must be the start of a text or the end of a word. If there is no further word, the flags are 0, and start and
    end are `end`. A word ends after `i`, so a caller that continues at its end reaches `end`.
    """
    while i < end:
        # Only marks join to such a character, and marks are not ASCII.
        if _APART[data[i]] and (i + 1 == end or data[i + 1] < 128):
            i += 1
            continue
        stop, kinds = next_segment(data, i, end, table)
        if kinds & _COUNTS:
            return i, stop, kinds & _FLAGS
        i = stop
    return end, end, 0


@inner
def _bridges(before: Integer, middle: Integer, after: Integer) -> bool:
    """Return whether a character in the middle joins its two neighbors: WB6 and 7, WB11 and 12, WB7b and 7c."""
    if not _MIDS >> middle & 1:
        return False
    if _IN_LETTERS >> middle & 1 and _LETTERS >> before & 1 and _LETTERS >> after & 1:
        return True
    if before == _NUMERIC and after == _NUMERIC:
        return _IN_NUMBERS >> middle & 1 == 1
    return middle == _DOUBLE_QUOTE and before == _HEBREW and after == _HEBREW


@inner
def next_segment(data: ByteArray, i: Integer, end: Integer, table: ByteArray) -> tuple[Integer, Integer]:
    """Find the end of the segment that starts at `i`, and the combined classes of its characters."""
    code, after = decode(data, i, end)
    kind = np.int64(table[code])
    word_break = kind & _BREAK_BITS
    if _CR <= word_break <= _NEWLINE:
        return after + (word_break == _CR and after < end and data[after] == 10), kind
    after, joined_kinds = _join(data, after, end, table, word_break)
    return after, kind | joined_kinds


@inner
def _join(data: ByteArray, i: Integer, end: Integer, table: ByteArray, base: Integer) -> tuple[Integer, Integer]:
    """Find the end of a segment whose last base (a character that is no mark) before `i` is of class `base`.

    At the top of the loop, bytes before `i` belong to the segment, `previous` is the class of the last character and
    `base` that of the last base. `is_odd` is true after the first regional indicator of a pair. Each round either ends
    the loop or moves `i` on by a character.
    """
    kinds = np.int64(0)
    previous = np.int64(base)
    base = previous
    is_odd = base == _REGIONAL
    while i < end:
        code, after = decode(data, i, end)
        kind = np.int64(table[code])
        current = kind & _BREAK_BITS
        if current >= _EXTEND:  # WB4
            pass
        elif (
            (_RUN >> base & 1 and _RUN >> current & 1)
            or (previous == _ZWJ and _PICTS >> current & 1)  # WB3c
            or (previous == _SPACE and current == _SPACE)  # WB3d
            or (base == _KATAKANA and _KANA_RUN >> current & 1)  # WB13, 13a
            or (base == _EXTEND_NUM_LET and current == _KATAKANA)  # WB13b
        ):
            base = current
        elif is_odd and base == _REGIONAL and current == _REGIONAL:  # WB15, 16
            is_odd = False
        elif _MIDS >> current & 1 and _bridges(base, current, _next_base(data, after, end, table)):
            pass  # the next character joins to `base`
        elif current == _SINGLE_QUOTE and base == _HEBREW:  # WB7a
            base = current
        else:
            break
        kinds |= kind
        previous = current
        i = after
    return i, kinds


@inner
def _next_base(data: ByteArray, i: Integer, end: Integer, table: ByteArray) -> Integer:
    """Return the class of the next character that is no mark."""
    while i < end:
        code, i = decode(data, i, end)
        current = np.int64(table[code] & _BREAK_BITS)
        if current < _EXTEND:
            return current
    return 0


# Text `row` is bytes `offsets[row]` to `offsets[row + 1]`. Each row is segmented by itself and writes its own count.
@njit(types.void(BYTES, LONGS, BYTES, types.int64[::1]), nogil=True, cache=True, **UNCOUNTED)
def _count_words(data: ByteArray, offsets: IntArray, table: ByteArray, counts: IntArray) -> None:
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        count = 0
        while stop < end:
            _, stop, kinds = next_word(data, stop, end, table)
            count += kinds != 0
        counts[row] = count


# `starts` and `ends` have room for the words that `_count_words` counted; `word` is the number of words before.
@njit(types.void(BYTES, LONGS, BYTES, types.int64[::1], types.int64[::1]), nogil=True, cache=True, **UNCOUNTED)
def _find_words(data: ByteArray, offsets: IntArray, table: ByteArray, starts: IntArray, ends: IntArray) -> None:
    word = 0
    for row in range(len(offsets) - 1):
        begin, stop, end = offsets[row], offsets[row], offsets[row + 1]
        while stop < end:
            start, stop, kinds = next_word(data, stop, end, table)
            if kinds:
                starts[word], ends[word] = start - begin, stop - begin
                word += 1


# A segment takes a byte at least, so `stops` (a place per byte) has room for all.
@njit(types.int64(BYTES, BYTES, types.int64[::1]), nogil=True, cache=True, **UNCOUNTED)
def _find_segments(data: ByteArray, table: ByteArray, stops: IntArray) -> Integer:
    n_segments, i = np.int64(0), np.int64(0)
    while i < len(data):
        i, _ = next_segment(data, i, len(data), table)
        stops[n_segments] = i
        n_segments += 1
    return n_segments
