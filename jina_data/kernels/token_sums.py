"""Sums the token vectors of texts."""

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
    """Sum the token vectors of each text, token by token, so that a sum does not depend on other texts of the batch.

    Args:
        words: the words of all texts, text after text.
        ends: (N,) the end of each text in `words`.
        tokens: the tokens of all words, word after word.
        token_ends: (W + 1,) the tokens of word w are tokens[token_ends[w]:token_ends[w + 1]].
        vectors: (V, D) the vector of each token.
        sums: (N, D) the result; overwritten.
    """
    first = 0
    for row in range(len(ends)):
        sums[row] = 0
        for entry in range(first, ends[row]):
            word = words[entry]
            for k_token in range(token_ends[word], token_ends[word + 1]):
                token = tokens[k_token]
                for k in range(sums.shape[1]):
                    sums[row, k] += vectors[token, k]
        first = ends[row]
