"""Which texts are the same but for case and white space.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
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


def equal_folded(left: pa.LargeStringArray, right: pa.LargeStringArray) -> npt.NDArray[np.bool_]:
    """Tell which of N texts (N,) equal each other when white space is collapsed and case is folded."""
    verdicts = np.empty(len(left), np.int8)
    _compare(*string_buffers(left), *string_buffers(right), verdicts)
    for row in np.flatnonzero(verdicts == _UNDECIDED):
        verdicts[row] = fold_text(left[row].as_py() or "") == fold_text(right[row].as_py() or "")
    same: npt.NDArray[np.bool_] = verdicts == 1
    return same


@inner
def _next_folded(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, Integer]:
    """Return the next byte with ASCII folded, a run of white space being one blank and none at the end of a text."""
    begin = i
    while i < end and (data[i] == 32 or 9 <= data[i] <= 13 or 28 <= data[i] <= 31):
        i += 1
    if i == end:
        return _OVER, i
    byte = np.int64(data[i])
    if byte >= 128:
        return _NOT_ASCII, i
    if i > begin:
        return 32, i
    return byte | 32 if 65 <= byte <= 90 else byte, i + 1


@njit(types.void(BYTES, LONGS, BYTES, LONGS, types.int8[::1]), nogil=True, cache=True)
def _compare(
    left: ByteArray,
    left_offsets: IntArray,
    right: ByteArray,
    right_offsets: IntArray,
    verdicts: npt.NDArray[np.int8],
) -> None:
    """Compare texts until they differ, 0, or end, 1, or one goes beyond ASCII, `_UNDECIDED`."""
    for row in range(len(verdicts)):
        i, left_end = left_offsets[row], left_offsets[row + 1]
        j, right_end = right_offsets[row], right_offsets[row + 1]
        one, i = _next_folded(left, i, left_end)
        two, j = _next_folded(right, j, right_end)
        # White space in front of a text is not there.
        if one == 32:
            one, i = _next_folded(left, i, left_end)
        if two == 32:
            two, j = _next_folded(right, j, right_end)
        while one == two and one not in (_OVER, _NOT_ASCII):
            one, i = _next_folded(left, i, left_end)
            two, j = _next_folded(right, j, right_end)
        undecided = _NOT_ASCII in (one, two)
        verdicts[row] = _UNDECIDED if undecided else one == two
