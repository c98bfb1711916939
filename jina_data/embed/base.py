"""What an embedder promises, and how one is loaded by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

HalfArray = npt.NDArray[np.float16]
BoolArray = npt.NDArray[np.bool_]

STATIC = "static"
"""The name of the embedder that the light install brings."""


class Embedder(Protocol):
    """Turns texts into vectors of unit length in half precision.

    The vector of a text depends on that text alone, bit for bit: not on the texts beside it, their number or order.
    So a run gives the same bytes whatever its batches and workers, and vectors may be kept by content.
    """

    name: str
    """The name it was loaded by."""
    model_id: str
    """Names the model and all that its vectors depend on (weights, tokenizer, limits, device); fit for a file name."""
    dim: int
    """The number of dimensions D."""
    max_tokens: int | None
    """The most tokens of a text that are read; None: all."""

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D): scaled to length 1, then rounded. A text without tokens gets zeros.

        `cut` (N,), where given, is set true for texts of more than `max_tokens`.
        """
        ...


def unit_half(vectors: npt.NDArray[np.float32]) -> HalfArray:
    """Scale vectors (N, D) to length 1 and round them; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.add.reduce(wide * wide, axis=1))[:, None]
    halves: HalfArray = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0).astype(np.float16)
    return halves
