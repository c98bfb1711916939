"""Keep a seeded sample."""

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

NOBODY = [0, -1]
"""A threshold that no row is below."""


class Sample(Barrier):
    """Keep a seeded sample of the rows that get here: by `count`, by `fraction`, or by `weights` of the sources.

    A row is chosen by hash(seed, its texts), ties by row id, so the choice does not depend on order or workers.
    `count` is exact. `fraction` is a chance for each content: about that share stays, and a row's fate does not change
    when rows are added. `weights` are the proportions in which the sources shall stand: with `count` they share it
    out, alone they give the largest sample in these proportions. Every source needs a weight, its own or that of "*".
    """

    name: ClassVar[str] = "sample"
    reasons: ClassVar[tuple[str, ...]] = ("not_sampled",)

    count: int | None = Field(default=None, ge=0)
    fraction: float | None = Field(default=None, ge=0, le=1)
    weights: dict[str, float] = {}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
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
        sizes = dict(
            remaining.con.sql(
                f"SELECT source, count(*) FROM {remaining.name} GROUP BY source ORDER BY source"
            ).fetchall()
        )
        if not self.weights:
            assert self.count is not None
            return {"below": {"*": self._threshold(remaining, None, self.count)}}
        wanted = self._shares(sizes)
        return {"below": {source: self._threshold(remaining, source, wanted[source]) for source in sizes}}

    @override
    def apply(self, rows: Rows, seen: FitResult, context: Context) -> Outcome:
        hashes = self._hashes(rows, context.seed)
        row_ids = rows.row_ids.to_numpy()
        chosen = np.zeros(len(rows), np.bool_)
        sources = np.asarray(rows.sources.to_pylist(), dtype=object)
        for source, threshold in seen.facts["below"].items():
            mine = np.ones(len(rows), np.bool_) if source == "*" else sources == source
            chosen |= mine & _below(hashes, row_ids, threshold)
        outcome = Outcome.keep_all(len(rows))
        outcome.drop(~chosen, 0, hashes.astype(np.float64) / 2.0**64)
        return outcome

    def _hashes(self, rows: Rows, seed: int) -> KeyArray:
        columns = [rows.batch.column(name) for name in rows.view.text_columns]
        keys: KeyArray = content_keys(columns, case=False, whitespace=False, seed=seed)[:, 0]
        return keys

    def _shares(self, sizes: dict[str, int]) -> dict[str, int]:
        """Return how many rows each source gives: in the proportions of the weights, none more than it has."""
        weights = {source: self._weight(source) for source in sizes}
        positive = {source: weight for source, weight in weights.items() if weight > 0}
        if not positive:
            return dict.fromkeys(sizes, 0)
        unit = min(sizes[source] / weight for source, weight in positive.items())
        if self.count is not None:
            unit = min(unit, self.count / sum(positive.values()))
        shares = {source: math.floor(weight * unit + 1e-9) for source, weight in weights.items()}
        if self.count is not None and unit == self.count / sum(positive.values()):
            _share_rest(shares, positive, sizes, unit, self.count)
        return shares

    def _weight(self, source: str) -> float:
        weight = self.weights.get(source, self.weights.get("*"))
        if weight is None:
            raise RecipeError(
                f'stage sample: source {source!r} has no weight; name it in weights, or add "*" for the rest'
            )
        return weight

    def _threshold(self, remaining: RemainingRows, source: str | None, count: int) -> list[int]:
        """Return the (hash, row id) of the last row among the `count` smallest of a source."""
        if count == 0:
            return NOBODY
        where, values = ("", []) if source is None else ("WHERE source = ?", [source])
        last = remaining.con.execute(
            f"SELECT hash, row_id FROM {remaining.name} {where} ORDER BY hash, row_id LIMIT 1 OFFSET ?",
            [*values, count - 1],
        ).fetchone()
        return [2**64, -1] if last is None else [int(last[0]), int(last[1])]


def _share_rest(
    shares: dict[str, int], weights: dict[str, float], sizes: dict[str, int], unit: float, count: int
) -> None:
    """Hand out what rounding down left over, largest remainder first."""
    by_remainder = sorted(weights, key=lambda source: (-(weights[source] * unit - shares[source]), source))
    for source in by_remainder:
        if sum(shares.values()) < count and shares[source] < sizes[source]:
            shares[source] += 1


def _below(hashes: KeyArray, row_ids: KeyArray, threshold: list[int]) -> BoolArray:
    """Tell which (hash, row id) are at or below a threshold; hash 2**64 means all."""
    top, row_id = threshold
    if top >= 2**64:
        return np.ones(len(hashes), np.bool_)
    tied = (hashes == np.uint64(top)) & (row_ids <= np.uint64(max(row_id, 0))) & (row_id >= 0)
    below: BoolArray = (hashes < np.uint64(top)) | tied
    return below
