"""The protocol of embedders, and unit vectors in half precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

HalfArray = npt.NDArray[np.float16]
BoolArray = npt.NDArray[np.bool_]

STATIC, HYBRID = "static", "hybrid"
"""The name of the embedder that the light install includes, and of the scorer that adds words and n-grams to it."""

ONNX = "onnx:"
"""The start of the names of embedders that run in ONNX Runtime."""


class Embedder(Protocol):
    """Turns texts into vectors of unit length in half precision.

    The vector of a text depends on that text alone, bit for bit, not on the other texts, their number or their order.
    So a run gives the same bytes with any batches and any number of workers, and vectors can be cached by content.
    """

    name: str
    """The name that the embedder was loaded by."""
    model_id: str
    """An id of all that the vectors depend on: weights, tokenizer, limits, device. A valid file name."""
    dim: int
    """The number of dimensions D."""
    max_tokens: int | None
    """Maximum number of tokens read from a text; None: no limit."""

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D): scaled to length 1, then rounded. A text without tokens gets zeros.

        If `cut` (N,) is given, it is set to true for the texts with more than `max_tokens` tokens.
        """
        ...


def runs_on_cpu(name: str) -> bool:
    """Return whether an embedder always runs on the CPU, by its name."""
    return name == STATIC or name.startswith(ONNX)


def unit_half(vectors: npt.NDArray[np.float32]) -> HalfArray:
    """Scale vectors (N, D) to length 1 and round them to half precision; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.add.reduce(wide * wide, axis=1))[:, None]
    halves: HalfArray = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0).astype(np.float16)
    return halves
