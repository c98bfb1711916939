"""Batches of fixed shapes, so that the vector of a text does not depend on the other texts of its batch.

A matrix product adds up in another order for another shape, and in half precision that changes the bytes. So the shape
of a batch depends only on the length of its texts: they are padded to one of a few lengths, and each length always has
the same number of rows, filled up with dummies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths, in tokens, that texts are padded to; longer texts are padded to multiples of the last."""


def padded_length(n_tokens: int, max_length: int) -> int:
    """Return the length that a text of `n_tokens` tokens is padded to, at most `max_length`."""
    fitting = (length for length in LENGTHS if length >= n_tokens)
    return min(next(fitting, -(-n_tokens // LENGTHS[-1]) * LENGTHS[-1]), max_length)


def fixed_batches(
    n_tokens: Sequence[int], *, max_length: int, token_budget: int
) -> Iterator[tuple[npt.NDArray[np.int64], int, int]]:
    """Cut N texts into batches of fixed shapes.

    Args:
        n_tokens: number of tokens of each text.
        max_length: maximum number of tokens of a text, where the model truncates it.
        token_budget: approximate number of tokens of a batch, padding included.

    Yields:
        The positions of the texts, the length to pad them to, and the number of rows to fill the batch up to.
    """
    padded = np.array([padded_length(n, max_length) for n in n_tokens], np.int64)
    for length in np.unique(padded).tolist():
        positions = np.flatnonzero(padded == length)
        n_rows = max(1, token_budget // length)
        for start in range(0, len(positions), n_rows):
            yield positions[start : start + n_rows], length, n_rows
