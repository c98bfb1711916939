"""Compares pairs of texts, ignoring case and white space.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
compiles them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.keys import fold_text
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner, string_buffers

_UNDECIDED, _NOT_ASCII, _OVER = 2, 256, -1


def equal_folded(texts: pa.LargeStringArray, others: pa.LargeStringArray) -> npt.NDArray[np.bool_]:
    """Return which of N pairs of texts are equal when white space is collapsed and case is folded, (N,)."""
    verdicts = np.empty(len(texts), np.int8)
    _compare(*string_buffers(texts), *string_buffers(others), verdicts)
    for row in np.flatnonzero(verdicts == _UNDECIDED):
        verdicts[row] = fold_text(texts[row].as_py() or "") == fold_text(others[row].as_py() or "")
    equal: npt.NDArray[np.bool_] = verdicts == 1
    return equal


@inner
def _next_folded(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, Integer]:
    """Return the next byte, ASCII folded, and where to read on; a run of white space is one blank, none at the end.

    _OVER stands for the end of the text, _NOT_ASCII for a byte that is no ASCII: `i` stays there, and Python decides.
    """
    start = i
    while i < end and (data[i] == 32 or 9 <= data[i] <= 13 or 28 <= data[i] <= 31):
        i += 1
    if i == end:
        return _OVER, i
    byte = np.int64(data[i])
    if byte >= 128:
        return _NOT_ASCII, i
    if i > start:
        return 32, i
    return byte | 32 if 65 <= byte <= 90 else byte, i + 1


# Pair `row` is bytes `offsets[row]` to `offsets[row + 1]` of `texts` and the same of `others`; only `verdicts[row]` is
# written. At the top of the inner loop, both texts are equal up to the two bytes at hand. It ends: each step that does
# not return _OVER or _NOT_ASCII moves on by a byte at least. `_next_folded` reads below `end` alone.
@njit(types.void(BYTES, LONGS, BYTES, LONGS, types.int8[::1]), nogil=True, cache=True)
def _compare(
    texts: ByteArray,
    offsets: IntArray,
    others: ByteArray,
    other_offsets: IntArray,
    verdicts: npt.NDArray[np.int8],
) -> None:
    """Set each verdict: 0 for different texts, 1 for equal ones, `_UNDECIDED` where a byte beyond ASCII comes first."""
    for row in range(len(verdicts)):
        i, end = offsets[row], offsets[row + 1]
        j, other_end = other_offsets[row], other_offsets[row + 1]
        byte, i = _next_folded(texts, i, end)
        other_byte, j = _next_folded(others, j, other_end)
        # White space at the start of a text does not count.
        if byte == 32:
            byte, i = _next_folded(texts, i, end)
        if other_byte == 32:
            other_byte, j = _next_folded(others, j, other_end)
        while byte == other_byte and byte not in (_OVER, _NOT_ASCII):
            byte, i = _next_folded(texts, i, end)
            other_byte, j = _next_folded(others, j, other_end)
        undecided = _NOT_ASCII in (byte, other_byte)
        verdicts[row] = _UNDECIDED if undecided else byte == other_byte
