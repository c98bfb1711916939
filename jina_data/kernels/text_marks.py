"""Classifies characters for the lines, sentences and widths of a text.

- A sentence ends at a sentence terminal: Unicode's Sentence_Terminal, and the Tibetan shad.
- The width of a character is 2 where Unicode's East_Asian_Width is W or F, else 1: a Korean syllable or a Chinese
  character carries as much information as two Latin letters or more.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from jina_data.kernels.words import LETTER, NUMBER, ByteArray, Integer, decode, inner, unicode_ranges

BLANK, TERMINAL, WIDE, QUOTE, BULLET, DASH, MARK = 1, 2, 4, 8, 16, 32, 64
_QUOTES = "\"'”’»›」』"
_BULLETS = "•‣⁃◦▪▫●○■□◆◇►▶・∙"
_DASHES = "-*·–—+"  # bullets where a blank follows
_SHAD = "།༎"  # ends sentences and lines of Tibetan, but is no Sentence_Terminal

ELLIPSIS = 0x2026
COUNTED = LETTER | NUMBER
"""The flags of `words.word_table` for the characters that words consist of."""


@cache
def mark_table() -> ByteArray:
    """Return the flags above for every code point, (2**21,)."""
    table = np.zeros(1 << 21, np.uint8)
    for first, last, name, kinds in unicode_ranges():
        flags = BLANK * ("S" in kinds) | TERMINAL * ("T" in kinds) | WIDE * ("W" in kinds)
        table[first : last + 1] = flags | MARK * (name in {"Extend", "Format", "ZWJ"})
    for flag, chars in ((TERMINAL, _SHAD), (QUOTE, _QUOTES), (BULLET, _BULLETS), (DASH, _DASHES)):
        table[[ord(char) for char in chars]] |= flag
    table.flags.writeable = False
    return table


@inner
def last_char(data: ByteArray, start: Integer, stop: Integer) -> Integer:
    """Return the byte at which the last character before `stop` starts; never less than `start`."""
    last = stop - 1
    while last > start and data[last] & 0xC0 == 0x80:
        last -= 1
    return last


@inner
def marks_at(data: ByteArray, i: Integer, end: Integer, marks: ByteArray) -> Integer:
    """Return the flags of the character at byte `i`, 0 at the end."""
    return np.int64(marks[decode(data, i, end)[0]]) if i < end else 0
