"""The stage `sample`: keep a seeded sample of the rows."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.stages.base import Barrier, Context, FitResult, Outcome, RemainingRows
from jina_data.stages.rows import BoolArray, Rows

NO_ROWS, ALL_ROWS = [0, -1], [2**64, -1]
"""Thresholds (hash, row id) that select no row, and every row."""


class Sample(Barrier):
    """Keep a seeded sample of the remaining rows: by `count`, by `fraction`, or by `weights` of the sources.

    Rows are chosen by hash(seed, texts), ties by row id, so the choice does not depend on order or workers. `count` is
    exact. `fraction` is a probability for each content: about that share is kept, and adding rows does not change the
    choice of other rows. `weights` are the proportions of the sources in the sample: with `count` they divide it, alone
    they give the largest sample in these proportions. Every source needs a weight, or "*" has one.
    """

    name: ClassVar[str] = "sample"
    reasons: ClassVar[tuple[str, ...]] = ("not_sampled",)

    count: int | None = Field(default=None, ge=0)
    fraction: float | None = Field(default=None, ge=0, le=1)
    weights: dict[str, float] = {}

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        if (self.count is None) == (self.fraction is None) and not (self.count is None and self.weights):
            raise ValueError("give one of count, fraction, weights, or count and weights")
        if self.fraction is not None and self.weights:
            raise ValueError("fraction and weights exclude each other; give count and weights, or weights alone")
        if any(weight < 0 or not math.isfinite(weight) for weight in self.weights.values()):
            raise ValueError("weights must be finite and not negative")
        return self

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        return {"hash": pa.array(self._hashes(rows, context.seed))}

    @override
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        if self.fraction is not None:
            return {"below": {"*": [math.ceil(self.fraction * 2**64), -1]}}
        query = f"SELECT source, count(*) FROM {remaining.name} GROUP BY source ORDER BY source"
        sizes = dict(remaining.con.sql(query).fetchall())
        if not self.weights:
            assert self.count is not None
            return {"below": {"*": self._threshold(remaining, None, self.count)}}
        counts = self._counts(sizes)
        return {"below": {source: self._threshold(remaining, source, counts[source]) for source in sizes}}

    @override
    def apply(self, rows: Rows, fit_result: FitResult, context: Context) -> Outcome:
        hashes = self._hashes(rows, context.seed)
        row_ids = rows.row_ids.to_numpy()
        chosen = np.zeros(len(rows), np.bool_)
        sources = np.asarray(rows.sources.to_pylist(), dtype=object)
        for source, threshold in fit_result.facts["below"].items():
            of_source = np.ones(len(rows), np.bool_) if source == "*" else sources == source
            chosen |= of_source & _at_or_below(hashes, row_ids, threshold)
        outcome = Outcome.keep_all(len(rows))
        outcome.drop(~chosen, 0, hashes.astype(np.float64) / 2.0**64)
        return outcome

    def _hashes(self, rows: Rows, seed: int) -> KeyArray:
        columns = [rows.batch.column(name) for name in rows.view.text_columns]
        keys: KeyArray = content_keys(columns, case=False, whitespace=False, seed=seed)[:, 0]
        return keys

    def _counts(self, sizes: dict[str, int]) -> dict[str, int]:
        """Return how many rows to keep of each source: in the proportions of the weights, at most its size."""
        weights = {source: self._weight(source) for source in sizes}
        positive = {source: weight for source, weight in weights.items() if weight > 0}
        if not positive:
            return dict.fromkeys(sizes, 0)
        # The largest factor for which no source gives more rows than it has, nor all together more than `count`.
        factor = min(sizes[source] / weight for source, weight in positive.items())
        if self.count is not None:
            factor = min(factor, self.count / sum(positive.values()))
        counts = {source: math.floor(weight * factor + 1e-9) for source, weight in weights.items()}
        if self.count is not None and factor == self.count / sum(positive.values()):
            # Rounding down left rows over: they go to the sources with the largest remainders.
            for source in sorted(positive, key=lambda source: (-(positive[source] * factor - counts[source]), source)):
                if sum(counts.values()) < self.count and counts[source] < sizes[source]:
                    counts[source] += 1
        return counts

    def _weight(self, source: str) -> float:
        weight = self.weights.get(source, self.weights.get("*"))
        if weight is None:
            raise RecipeError(
                f'stage sample: source {source!r} has no weight; add it to weights, or add "*" for all other sources'
            )
        return weight

    def _threshold(self, remaining: RemainingRows, source: str | None, count: int) -> list[int]:
        """Return the (hash, row id) of the last of the `count` rows of a source with the smallest hashes."""
        if count == 0:
            return NO_ROWS
        where, values = ("", []) if source is None else ("WHERE source = ?", [source])
        last = remaining.con.execute(
            f"SELECT hash, row_id FROM {remaining.name} {where} ORDER BY hash, row_id LIMIT 1 OFFSET ?",
            [*values, count - 1],
        ).fetchone()
        return ALL_ROWS if last is None else [int(last[0]), int(last[1])]


def _at_or_below(hashes: KeyArray, row_ids: KeyArray, threshold: list[int]) -> BoolArray:
    """Return which (hash, row id) are at or below a threshold; the hash 2**64 selects all."""
    last_hash, row_id = threshold
    if last_hash >= 2**64:
        return np.ones(len(hashes), np.bool_)
    tied = (hashes == np.uint64(last_hash)) & (row_ids <= np.uint64(max(row_id, 0))) & (row_id >= 0)
    below: BoolArray = (hashes < np.uint64(last_hash)) | tied
    return below
