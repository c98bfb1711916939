"""Collects the scores of positives and negatives, and counts and samples possible false negatives."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES: dict[str, float] = {
    "min": 0.0,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "max": 1.0,
}
N_SAMPLES = 20


class NegativeAudit:
    """Collects every pair with its negatives: all scores (8 bytes each), and the most suspicious samples."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile
        # The positives of all pairs; the negatives, and for each negative the score of the positive of its pair.
        self._positives, self._negatives, self._paired_positives = array("d"), array("d"), array("d")
        # A heap of (scores as high as the positive, score, minus the number of the pair, row): the first is the least
        # suspicious. Numbers are unique, so rows are never compared.
        self._samples: list[tuple[bool, float, int, dict[str, Any]]] = []

    def add(
        self, texts: tuple[str, str], row_name: str, positive_score: float, negatives: Sequence[tuple[str, str, float]]
    ) -> None:
        """Add a pair.

        Args:
            texts: anchor and positive.
            row_name: where the pair is from, as "file:row".
            positive_score: similarity of anchor and positive.
            negatives: text, row name and score of each negative.
        """
        self._positives.append(positive_score)
        for _, _, score in negatives:
            self._negatives.append(score)
            self._paired_positives.append(positive_score)
        if not negatives:
            return
        text, partner, score = max(negatives, key=lambda negative: negative[2])
        # Negatives with at least the score of the positive come first, and higher scores before lower ones.
        rank = (score >= positive_score, score, -len(self._positives))
        if len(self._samples) == N_SAMPLES and rank <= self._samples[0][:3]:
            return
        if any((sample["anchor"], sample["negative"]) == (texts[0], text) for *_, sample in self._samples):
            return
        row: dict[str, Any] = {
            "anchor": texts[0],
            "positive": texts[1],
            "negative": text,
            "place": row_name,
            "partner": partner,
            "positive_score": positive_score,
            "score": score,
        }
        push = heapq.heappush if len(self._samples) < N_SAMPLES else heapq.heappushpop
        push(self._samples, (*rank, row))

    def scores(self) -> dict[str, dict[str, float]]:
        """Return quantiles of the scores of positives and negatives, and of their differences."""
        negatives, paired_positives = np.array(self._negatives), np.array(self._paired_positives)
        series = {
            "positives": np.array(self._positives),
            "negatives": negatives,
            "positive - negative": paired_positives - negatives,
        }
        return {
            name: {label: float(np.quantile(values, share)) for label, share in QUANTILES.items()}
            for name, values in series.items()
            if len(values)
        }

    def facts(self) -> dict[str, Any]:
        """Return the numbers of possible false negatives, and the samples, most suspicious first."""
        negatives, paired_positives = np.array(self._negatives), np.array(self._paired_positives)
        limit = float(np.quantile(self._positives, self.quantile)) if self._positives else None
        return {
            "negatives": len(negatives),
            "above_positive": int((negatives >= paired_positives).sum()),
            "quantile": self.quantile,
            "limit": limit,
            "above_quantile": 0 if limit is None else int((negatives >= limit).sum()),
            "samples": [row for *_, row in sorted(self._samples, key=lambda sample: sample[:3], reverse=True)],
        }
