"""From the closest texts of an anchor to its negatives: what the settings allow, in their order, checked.

The filters and their order are those of sentence-transformers: first everything that is too close or too far falls,
then the first `range_min` of the rest are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jina_data.kernels.keys import content_keys
from jina_data.kernels.rank import FloatArray, dots
from jina_data.kernels.top import TopResult, find_top
from jina_data.mining.config import MineConfig
from jina_data.mining.pairs import Pairs
from jina_data.mining.store import LongArray, Texts, Vectors

if TYPE_CHECKING:
    from jina_data.embed.cross_encoder import PairScorer

FOUND = pa.schema(
    [
        ("positives", pa.list_(pa.int64())),
        ("positive_scores", pa.list_(pa.float64())),
        ("negatives", pa.list_(pa.int64())),
        ("scores", pa.list_(pa.float64())),
        ("cross_positive", pa.float64()),
        ("cross_scores", pa.list_(pa.float64())),
        ("cross_refused", pa.int64()),
    ]
)
"""What became of each anchor: its positives and negatives by their numbers in the corpus, and how close they are."""


@dataclass(frozen=True)
class Stock:
    """What negatives are chosen from."""

    pairs: Pairs
    anchors: Texts
    corpus: Texts
    anchor_vectors: Vectors
    corpus_vectors: Vectors


class Chooser:
    """Chooses the negatives of anchors."""

    def __init__(self, stock: Stock, settings: MineConfig, scorer: PairScorer | None) -> None:
        self.stock, self.settings, self.scorer = stock, settings, scorer

    def choose(self, first: int, stop: int) -> pa.Table:
        """Return the negatives of some anchors, with the columns of `FOUND`."""
        stock, settings = self.stock, self.settings
        vectors = stock.anchor_vectors.read(first, stop)
        positives, ends = stock.pairs.positives(first, stop)
        owner = np.repeat(np.arange(stop - first), np.diff(ends))
        own = dots(np.ascontiguousarray(vectors[owner]), stock.corpus_vectors.take(positives))
        lowest = np.minimum.reduceat(own, ends[:-1])  # of several positives the farthest is the measure
        upper = highest(settings, lowest)
        found = find_top(
            vectors,
            stock.corpus_vectors.read,
            len(stock.corpus),
            stock.pairs.excluded(first, stop),
            k=settings.n_candidates,
            # With `range_max` the closest are counted before any falls.
            upper=upper if settings.range_max is None else np.full(stop - first, np.inf),
            torch_device="cuda" if settings.device == "cuda" else None,
        )
        candidates = [self._candidates(first + i, i, found, upper[i]) for i in range(stop - first)]
        checked = self._checked(first, candidates, positives, ends)
        columns = {
            "positives": [positives[ends[i] : ends[i + 1]] for i in range(stop - first)],
            "positive_scores": [own[ends[i] : ends[i + 1]] for i in range(stop - first)],
            "negatives": [numbers for numbers, _ in checked.chosen],
            "scores": [scores for _, scores in checked.chosen],
            "cross_positive": checked.own,
            "cross_scores": checked.scores,
            "cross_refused": checked.refused,
        }
        return pa.table(columns, schema=FOUND)

    def _candidates(self, anchor: int, row: int, found: TopResult, upper: float) -> tuple[LongArray, FloatArray]:
        """Return what may be a negative of an anchor, in the order in which it is tried."""
        settings = self.settings
        numbers, scores = found.ordinals[row], found.products[row]
        allowed = (numbers >= 0) & (scores <= upper)
        if settings.min_score is not None:
            allowed &= scores >= settings.min_score
        numbers, scores = numbers[allowed][settings.range_min :], scores[allowed][settings.range_min :]
        if settings.sampling_strategy == "random":
            order = self._shuffled(anchor, numbers)
            numbers, scores = numbers[order], scores[order]
        return numbers, scores

    def _shuffled(self, anchor: int, numbers: LongArray) -> LongArray:
        """Return an order of texts that depends on the seed, the anchor and the texts alone."""
        texts = self.stock.corpus.take(numbers.tolist())
        columns = [
            pa.array([self.stock.anchors[anchor]] * len(texts), pa.large_string()),
            pa.array(texts, pa.large_string()),
        ]
        keys = content_keys(columns, case=True, whitespace=True, seed=self.settings.seed)
        return np.lexsort((keys[:, 1], keys[:, 0]))

    # ----------------------------------------------------------------------------------------------- cross-encoder

    def _checked(
        self, first: int, candidates: Sequence[tuple[LongArray, FloatArray]], positives: LongArray, ends: LongArray
    ) -> _Checked:
        """Take the first that the cross-encoder does not find near the positive; without one, the first."""
        n_wanted = self.settings.num_negatives
        if self.scorer is None:
            nothing: list[list[float] | None] = [None] * len(candidates)
            chosen = [_by_score(numbers[:n_wanted], scores[:n_wanted]) for numbers, scores in candidates]
            return _Checked(chosen, [None] * len(candidates), nothing, [0] * len(candidates))
        owner = np.repeat(np.arange(len(candidates)), np.diff(ends))
        own = np.minimum.reduceat(self._cross(first, owner, positives), ends[:-1])
        taken: list[list[int]] = [[] for _ in candidates]
        cross: list[list[float]] = [[] for _ in candidates]
        refused, at = [0] * len(candidates), 0
        # A round asks for each anchor as many as it still lacks at most, so few are scored in vain.
        while rows := [
            (i, place)
            for i, (numbers, _) in enumerate(candidates)
            if len(taken[i]) < n_wanted
            for place in range(at, min(at + n_wanted, len(numbers)))
        ]:
            numbers = np.array([candidates[i][0][place] for i, place in rows], np.int64)
            found = self._cross(first, np.array([i for i, _ in rows], np.int64), numbers)
            for (i, place), score in zip(rows, found.tolist(), strict=True):
                if score > own[i] - self.settings.cross_margin:
                    refused[i] += 1
                elif len(taken[i]) < n_wanted:
                    taken[i].append(place)
                    cross[i].append(score)
            at += n_wanted
        chosen, scores = [], []
        for i, (numbers_i, scores_i) in enumerate(candidates):
            places = np.array(taken[i], np.int64)
            order = _closest_first(numbers_i[places], scores_i[places])
            chosen.append((numbers_i[places][order], scores_i[places][order]))
            scores.append([cross[i][place] for place in order.tolist()])
        return _Checked(chosen, own.tolist(), scores, refused)

    def _cross(self, first: int, rows: LongArray, numbers: LongArray) -> FloatArray:
        """Return what the cross-encoder says of some anchors and texts, from 0 to 1, (n,)."""
        assert self.scorer is not None
        queries = [self.stock.anchors[first + row] for row in rows.tolist()]
        logits = self.scorer.score(queries, self.stock.corpus.take(numbers.tolist())).astype(np.float64)
        return 1 / (1 + np.exp(-logits))


@dataclass(frozen=True)
class _Checked:
    """The negatives of anchors with their scores, and what the cross-encoder said."""

    chosen: Sequence[tuple[LongArray, FloatArray]]
    own: Sequence[float | None]
    scores: Sequence[list[float] | None]
    refused: Sequence[int]


def highest(settings: MineConfig, positives: FloatArray) -> FloatArray:
    """Return how close to each of N anchors a negative may be, (N,); infinite without a limit."""
    upper = np.full(len(positives), np.inf)
    if settings.absolute_margin is not None:
        upper = np.minimum(upper, positives - settings.absolute_margin)
    if settings.relative_margin is not None:
        # Of the magnitude, so that the limit of a negative product is lower, too.
        upper = np.minimum(upper, positives - np.abs(positives) * settings.relative_margin)
    if settings.max_score is not None:
        upper = np.minimum(upper, settings.max_score)
    return upper


def _closest_first(numbers: LongArray, scores: FloatArray) -> npt.NDArray[np.int64]:
    return np.lexsort((numbers, -scores))


def _by_score(numbers: LongArray, scores: FloatArray) -> tuple[LongArray, FloatArray]:
    order = _closest_first(numbers, scores)
    return numbers[order], scores[order]
