"""Batches of fixed shapes, so that what a model says of a text does not depend on the texts beside it.

A product of matrices adds up in another order for another shape, and half precision turns that into other bytes. So
texts go in batches whose shape depends on their own length alone: padded to one of a few lengths, and always as many
rows for that length, filled up with dummies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths, in tokens, to which texts are padded; above the last, to multiples of it."""


def padded_length(n_tokens: int, max_length: int) -> int:
    """Return the length that a text of so many tokens is padded to: never more than the model's most."""
    fitting = (length for length in LENGTHS if length >= n_tokens)
    return min(next(fitting, -(-n_tokens // LENGTHS[-1]) * LENGTHS[-1]), max_length)


def fixed_batches(
    n_tokens: Sequence[int], *, max_length: int, token_budget: int
) -> Iterator[tuple[npt.NDArray[np.int64], int, int]]:
    """Cut N texts into batches of fixed shapes.

    Args:
        n_tokens: tokens of each text.
        max_length: most tokens of a text, as the model cuts it.
        token_budget: tokens that a batch holds, about, with its padding.

    Yields:
        The positions of the texts, the length to pad them to, and the rows to fill the batch up to.
    """
    padded = np.array([padded_length(one, max_length) for one in n_tokens], np.int64)
    for length in np.unique(padded).tolist():
        positions = np.flatnonzero(padded == length)
        n_rows = max(1, token_budget // length)
        for start in range(0, len(positions), n_rows):
            yield positions[start : start + n_rows], length, n_rows
