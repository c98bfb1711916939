"""Ranks of pairs in a pool, as `consistency` gets them from vectors or from several signals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jina_data.kernels.keys import KeyArray
from jina_data.stages.rows import FloatArray


class PairRanks(NamedTuple):
    """The similarity of N pairs, less that of the best competitor (NaN: not known), and their ranks; each is (N,).

    `by_signal` are the ranks by each signal alone.
    """

    similarity: FloatArray
    margin: FloatArray
    rank: npt.NDArray[np.int32]
    by_signal: dict[str, npt.NDArray[np.int32]]


class SampleRanks(NamedTuple):
    """The ranks of N pairs, and of their control pairs (0: there is none), each (N,)."""

    ranks: npt.NDArray[np.int32]
    control: npt.NDArray[np.int32]


def control_pairs(groups: npt.NDArray[np.int64], anchors: KeyArray, positives: KeyArray) -> npt.NDArray[np.int64]:
    """Return for each of N pairs another of its group, whose positive makes a control pair with its anchor; else -1.

    Their contents must differ: `anchors` and `positives` are their keys, (N, 2). Groups below 0 have none.
    """
    out = np.full(len(groups), -1, np.int64)
    for group in np.unique(groups[groups >= 0]):
        rows = np.flatnonzero(groups == group)
        other = np.roll(rows, -1)
        differs = (anchors[rows] != anchors[other]).any(1) & (positives[rows] != positives[other]).any(1)
        out[rows] = np.where(differs & (rows != other), other, -1)
    return out
