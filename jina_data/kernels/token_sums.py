"""Sums of the vectors of a text's tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, types

LongArray = npt.NDArray[np.int64]

_LONGS = types.Array(types.int64, 1, "C", readonly=True)
_VECTORS = types.Array(types.float32, 2, "C", readonly=True)


@njit(types.void(_LONGS, _LONGS, _LONGS, _LONGS, _VECTORS, types.float32[:, ::1]), nogil=True, cache=True)
def sum_tokens(
    words: LongArray,
    ends: LongArray,
    tokens: LongArray,
    token_ends: LongArray,
    vectors: npt.NDArray[np.float32],
    sums: npt.NDArray[np.float32],
) -> None:
    """Add up the token vectors of each text, token by token, so that a sum does not depend on the texts beside it.

    Args:
        words: the words of all texts, one text behind the other.
        ends: (N,) where the words of each text end.
        tokens: the tokens of all words, one word behind the other.
        token_ends: (W + 1,) word w has the tokens from token_ends[w] to before token_ends[w + 1].
        vectors: (V, D) the vector of each token.
        sums: (N, D) is filled.
    """
    first = 0
    for row in range(len(ends)):
        sums[row] = 0
        for place in range(first, ends[row]):
            word = words[place]
            for at in range(token_ends[word], token_ends[word + 1]):
                token = tokens[at]
                for k in range(sums.shape[1]):
                    sums[row, k] += vectors[token, k]
        first = ends[row]
