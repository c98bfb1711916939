"""How close positives and negatives are, and which negatives may be none."""

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


class Audit:
    """Sees every pair with its negatives; keeps all scores (8 bytes each), and a few samples."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile
        self._positives, self._negatives, self._own = array("d"), array("d"), array("d")
        self._worst: list[tuple[bool, float, int, dict[str, Any]]] = []

    def add(self, texts: tuple[str, str], place: str, own: float, negatives: Sequence[tuple[str, str, float]]) -> None:
        """See a pair: anchor and positive, where it came from, their score; text, place and score of its negatives."""
        self._positives.append(own)
        for _, _, score in negatives:
            self._negatives.append(score)
            self._own.append(own)
        if not negatives:
            return
        text, partner, score = max(negatives, key=lambda one: one[2])
        # First those that are as close as the positive; among them, and among the rest, the closest to the anchor.
        entry = (score >= own, score, -len(self._positives))
        if len(self._worst) == N_SAMPLES and entry <= self._worst[0][:3]:
            return
        if any((one["anchor"], one["negative"]) == (texts[0], text) for *_, one in self._worst):
            return
        row: dict[str, Any] = {
            "anchor": texts[0],
            "positive": texts[1],
            "negative": text,
            "place": place,
            "partner": partner,
        }
        row |= {"positive_score": own, "score": score}
        push = heapq.heappush if len(self._worst) < N_SAMPLES else heapq.heappushpop
        push(self._worst, (*entry, row))

    def scores(self) -> dict[str, dict[str, float]]:
        """Return quantiles of the scores of positives and negatives, and of what lies between them."""
        negatives, own = np.array(self._negatives), np.array(self._own)
        named = {"positives": np.array(self._positives), "negatives": negatives, "positive - negative": own - negatives}
        return {
            name: {label: float(np.quantile(values, share)) for label, share in QUANTILES.items()}
            for name, values in named.items()
            if len(values)
        }

    def facts(self) -> dict[str, Any]:
        """Count the negatives that are as close as positives, and show the worst."""
        negatives, own = np.array(self._negatives), np.array(self._own)
        limit = float(np.quantile(self._positives, self.quantile)) if self._positives else None
        return {
            "negatives": len(negatives),
            "above_positive": int((negatives >= own).sum()),
            "quantile": self.quantile,
            "limit": limit,
            "above_quantile": 0 if limit is None else int((negatives >= limit).sum()),
            "samples": [row for *_, row in sorted(self._worst, key=lambda entry: entry[:3], reverse=True)],
        }
