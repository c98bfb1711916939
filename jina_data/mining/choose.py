"""Chooses the negatives of anchors among their closest texts: limits, rank range, sampling, cross-encoder.

The filters and their order are those of sentence-transformers: first, candidates that are too close or too far are
rejected; then the first `range_min` of the remaining ones are skipped.
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
from jina_data.mining.store import LongArray, TextStore, Vectors

if TYPE_CHECKING:
    from jina_data.embed.cross_encoder import PairScorer

NEGATIVES = pa.schema(
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
"""A row for each anchor: its positives and negatives by their numbers in the corpus, with their scores."""


@dataclass(frozen=True)
class MiningData:
    """The pairs, with the distinct anchors and corpus texts and their vectors."""

    pairs: Pairs
    anchors: TextStore
    corpus: TextStore
    anchor_vectors: Vectors
    corpus_vectors: Vectors


class Chooser:
    """Chooses the negatives of ranges of anchors."""

    def __init__(self, data: MiningData, config: MineConfig, scorer: PairScorer | None) -> None:
        self.data, self.config, self.scorer = data, config, scorer

    def choose(self, start: int, stop: int) -> pa.Table:
        """Return the negatives of the anchors from `start` up to `stop`, exclusive, with the columns of `NEGATIVES`."""
        data, config = self.data, self.config
        vectors = data.anchor_vectors.read(start, stop)
        # The positives of anchor i of the range are positives[ends[i] : ends[i + 1]]; every anchor has at least one, so
        # no segment of reduceat is empty.
        positives, ends = data.pairs.positives(start, stop)
        anchor_rows = np.repeat(np.arange(stop - start), np.diff(ends))
        positive_scores = dots(np.ascontiguousarray(vectors[anchor_rows]), data.corpus_vectors.take(positives))
        # With several positives, the limits are relative to the least similar one.
        lowest = np.minimum.reduceat(positive_scores, ends[:-1])
        upper = score_limits(config, lowest)
        closest = find_top(
            vectors,
            data.corpus_vectors.read,
            len(data.corpus),
            data.pairs.excluded(start, stop),
            k=config.n_candidates,
            # `range_max` counts the closest texts before any is rejected.
            upper=upper if config.range_max is None else np.full(stop - start, np.inf),
            torch_device="cuda" if config.device == "cuda" else None,
        )
        candidates = [self._candidates(start + i, i, closest, upper[i]) for i in range(stop - start)]
        choice = self._choose(start, candidates, positives, ends)
        columns = {
            "positives": [positives[ends[i] : ends[i + 1]] for i in range(stop - start)],
            "positive_scores": [positive_scores[ends[i] : ends[i + 1]] for i in range(stop - start)],
            "negatives": [numbers for numbers, _ in choice.negatives],
            "scores": [scores for _, scores in choice.negatives],
            "cross_positive": choice.cross_positive,
            "cross_scores": choice.cross_scores,
            "cross_refused": choice.refused,
        }
        return pa.table(columns, schema=NEGATIVES)

    def _candidates(self, anchor: int, row: int, closest: TopResult, upper: float) -> tuple[LongArray, FloatArray]:
        """Return the numbers and scores of the candidates of an anchor, in the order in which they are tried."""
        config = self.config
        numbers, scores = closest.ordinals[row], closest.products[row]
        allowed = (numbers >= 0) & (scores <= upper)
        if config.min_score is not None:
            allowed &= scores >= config.min_score
        numbers, scores = numbers[allowed][config.range_min :], scores[allowed][config.range_min :]
        if config.sampling_strategy == "random":
            order = self._shuffled(anchor, numbers)
            numbers, scores = numbers[order], scores[order]
        return numbers, scores

    def _shuffled(self, anchor: int, numbers: LongArray) -> LongArray:
        """Return a random order of texts that depends only on the seed, the anchor and the texts."""
        texts = self.data.corpus.take(numbers.tolist())
        columns = [
            pa.array([self.data.anchors[anchor]] * len(texts), pa.large_string()),
            pa.array(texts, pa.large_string()),
        ]
        keys = content_keys(columns, case=True, whitespace=True, seed=self.config.seed)
        return np.lexsort((keys[:, 1], keys[:, 0]))

    # ----------------------------------------------------------------------------------------------- cross-encoder

    def _choose(
        self, start: int, candidates: Sequence[tuple[LongArray, FloatArray]], positives: LongArray, ends: LongArray
    ) -> _Choice:
        """Choose the first candidates of each anchor, without those that the cross-encoder refuses."""
        n_negatives = self.config.num_negatives
        if self.scorer is None:
            unscored: list[list[float] | None] = [None] * len(candidates)
            closest = [_by_score(numbers[:n_negatives], scores[:n_negatives]) for numbers, scores in candidates]
            return _Choice(closest, [None] * len(candidates), unscored, [0] * len(candidates))
        anchor_rows = np.repeat(np.arange(len(candidates)), np.diff(ends))
        cross_positive = np.minimum.reduceat(self._cross_scores(start, anchor_rows, positives), ends[:-1])
        accepted: list[list[int]] = [[] for _ in candidates]
        accepted_scores: list[list[float]] = [[] for _ in candidates]
        refused, n_tried = [0] * len(candidates), 0
        # Each round scores the next `num_negatives` candidates of every anchor that still lacks negatives, so an anchor
        # whose first candidates pass costs no more than that many calls.
        while tries := [
            (i, rank)
            for i, (numbers, _) in enumerate(candidates)
            if len(accepted[i]) < n_negatives
            for rank in range(n_tried, min(n_tried + n_negatives, len(numbers)))
        ]:
            numbers = np.array([candidates[i][0][rank] for i, rank in tries], np.int64)
            cross_scores = self._cross_scores(start, np.array([i for i, _ in tries], np.int64), numbers)
            for (i, rank), score in zip(tries, cross_scores.tolist(), strict=True):
                if score > cross_positive[i] - self.config.cross_margin:
                    refused[i] += 1
                elif len(accepted[i]) < n_negatives:
                    accepted[i].append(rank)
                    accepted_scores[i].append(score)
            n_tried += n_negatives
        negatives, scores = [], []
        for i, (numbers_i, scores_i) in enumerate(candidates):
            ranks = np.array(accepted[i], np.int64)
            order = _closest_first(numbers_i[ranks], scores_i[ranks])
            negatives.append((numbers_i[ranks][order], scores_i[ranks][order]))
            scores.append([accepted_scores[i][position] for position in order.tolist()])
        return _Choice(negatives, cross_positive.tolist(), scores, refused)

    def _cross_scores(self, start: int, rows: LongArray, numbers: LongArray) -> FloatArray:
        """Return the scores of the cross-encoder for N pairs of an anchor and a text, from 0 to 1, (N,)."""
        assert self.scorer is not None
        queries = [self.data.anchors[start + row] for row in rows.tolist()]
        logits = self.scorer.score(queries, self.data.corpus.take(numbers.tolist())).astype(np.float64)
        return 1 / (1 + np.exp(-logits))


@dataclass(frozen=True)
class _Choice:
    """The negatives of a range of anchors, and the scores of the cross-encoder (None without one)."""

    negatives: Sequence[tuple[LongArray, FloatArray]]
    """Numbers and scores, closest first."""
    cross_positive: Sequence[float | None]
    """The lowest score of a positive."""
    cross_scores: Sequence[list[float] | None]
    refused: Sequence[int]
    """How many candidates were refused."""


def score_limits(config: MineConfig, positives: FloatArray) -> FloatArray:
    """Return the highest allowed score of a negative for each of N positive scores, (N,); infinite without a limit."""
    upper = np.full(len(positives), np.inf)
    if config.absolute_margin is not None:
        upper = np.minimum(upper, positives - config.absolute_margin)
    if config.relative_margin is not None:
        # Relative to the magnitude, so that the limit is also below a negative score.
        upper = np.minimum(upper, positives - np.abs(positives) * config.relative_margin)
    if config.max_score is not None:
        upper = np.minimum(upper, config.max_score)
    return upper


def _closest_first(numbers: LongArray, scores: FloatArray) -> npt.NDArray[np.int64]:
    return np.lexsort((numbers, -scores))


def _by_score(numbers: LongArray, scores: FloatArray) -> tuple[LongArray, FloatArray]:
    order = _closest_first(numbers, scores)
    return numbers[order], scores[order]
