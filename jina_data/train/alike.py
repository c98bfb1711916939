"""Finds the texts of a batch that must not count as negatives of each other, because they are equal.

Shapes: B rows of a batch, M hard negatives of all rows together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jina_data.train.stream import Example

BoolArray = npt.NDArray[np.bool_]


def fold(text: str) -> str:
    """Return the form of a text that is compared for equality: case-folded, with single blanks."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Alike:
    """The texts of a batch that are not negatives, although they are in the batch."""

    rows_BB: BoolArray  # noqa: N815
    """Whether the texts of another row are no negatives of a row: an anchor or a positive of both is equal."""
    negatives_BM: BoolArray  # noqa: N815
    """Whether a hard negative is none for a row: it is its anchor, or a positive of its anchor."""


def find_alike(examples: Sequence[Example]) -> Alike:
    """Return which texts of B rows are not negatives of which rows."""
    numbers: dict[str, int] = {}

    def numbered(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([numbers.setdefault(fold(text), len(numbers)) for text in texts], np.int64)

    anchors_B = numbered([example.anchor for example in examples])
    positives_B = numbered([example.positive for example in examples])
    negatives_M = numbered([text for example in examples for text in example.negatives])
    rows_BB = np.zeros((len(examples), len(examples)), np.bool_)
    for left_B in (anchors_B, positives_B):
        for right_B in (anchors_B, positives_B):
            rows_BB |= left_B[:, None] == right_B
    np.fill_diagonal(rows_BB, False)
    positives_of = defaultdict[int, set[int]](set)
    for anchor, positive in zip(anchors_B.tolist(), positives_B.tolist(), strict=True):
        positives_of[anchor] |= {anchor, positive}
    banned = (
        sorted({*positives_of[anchor], own})
        for anchor, own in zip(anchors_B.tolist(), positives_B.tolist(), strict=True)
    )
    negatives_BM = np.array([np.isin(negatives_M, texts) for texts in banned]).reshape(len(examples), -1)
    return Alike(rows_BB, negatives_BM)
