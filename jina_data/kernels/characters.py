"""Counts the characters of texts by kind, in one pass over the UTF-8.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.text_marks import BLANK, COUNTED, ELLIPSIS, MARK, mark_table
from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    NUMBER,
    UNSPACED,
    ByteArray,
    IntArray,
    decode,
    string_buffers,
    word_table,
)

Counts = dict[str, IntArray]

CHARACTERS = (
    *("chars", "blanks", "letters", "numbers", "symbols", "char_run", "longest_token", "hashes", "ellipses"),
    *("curly_brackets", "line_breaks"),
)


def count_characters(values: pa.LargeStringArray) -> Counts:
    """Count the characters of N texts by kind; each count is (N,)."""
    data, offsets = string_buffers(values)
    out = np.zeros((len(values), len(CHARACTERS)), np.int64)
    _characters(data, offsets, word_table(), mark_table(), out)
    return dict(zip(CHARACTERS, out.T, strict=True))


# Text `row` is bytes `offsets[row]` to `offsets[row + 1]`; its counts go to `out[row]`, in the order of CHARACTERS, and
# all state is reset for each text. So a row depends neither on its batch nor on the thread. `decode` never reads beyond
# `end`, and each code point that it returns is an index of both tables (2**21,). At the top of the loop, the counts
# cover the bytes before `i`; `run` and `token` are the lengths of the current run of equal characters (blanks have
# none) and of the current token; `dots` is the number of full stops directly before `i`, 0 again after they made an
# ellipsis.
@njit(types.void(BYTES, LONGS, BYTES, BYTES, types.int64[:, ::1]), nogil=True, cache=True)
def _characters(
    data: ByteArray, offsets: IntArray, table: ByteArray, marks: ByteArray, out: npt.NDArray[np.int64]
) -> None:
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        chars = blanks = letters = numbers = mark_chars = hashes = ellipses = curly_brackets = line_breaks = 0
        run = longest_run = token = longest_token = dots = 0
        previous = np.int64(-1)
        while i < end:
            code, i = decode(data, i, end)
            kind, mark = table[code], marks[code]
            chars += 1
            run = run + 1 if code == previous else 1
            token += 1
            dots = dots + 1 if code == 46 else 0
            if kind & COUNTED:
                letters += (kind & LETTER) != 0
                numbers += (kind & NUMBER) != 0
                if kind & UNSPACED:
                    token = 0
            elif mark & BLANK:
                blanks += 1
                run = token = 0
                line_breaks += code == 13 or (code == 10 and previous != 13)
            elif mark & MARK:
                mark_chars += 1
            else:
                hashes += code in (35, 0xFF03)
                curly_brackets += code == 123
                if dots == 3 or (code == ELLIPSIS and previous != ELLIPSIS):
                    ellipses += 1
                    dots = 0
            longest_run = max(longest_run, run)
            longest_token = max(longest_token, token)
            previous = np.int64(code)
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = chars, blanks, letters, numbers
        out[row, 4] = chars - blanks - letters - numbers - mark_chars
        out[row, 5], out[row, 6], out[row, 7] = longest_run, longest_token, hashes
        out[row, 8], out[row, 9], out[row, 10] = ellipses, curly_brackets, line_breaks
