"""The stage `triplet_margin`: drop negatives that a cross-encoder does not score clearly below the positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from jina_data.kernels.keys import content_keys
from jina_data.roles import is_text
from jina_data.stages.base import Context, Outcome, Scored, Threshold
from jina_data.stages.rows import BoolArray, FloatArray, Rows, View
from jina_data.stages.score_cache import Computed, ScoreReader

if TYPE_CHECKING:
    from jina_data.embed.cross_encoder import PairScorer

MODEL = "cross-encoder/ms-marco-MiniLM-L-6-v2"
"""The model of Jina Embeddings v1 (arXiv 2307.11224, section 2.2)."""


class TripletMargin(Scored):
    """Keep a negative if r(anchor, positive) - r(anchor, negative) > `margin`, for a cross-encoder r.

    As in Jina Embeddings v1 (arXiv 2307.11224). The weak negatives of a row are removed: a list becomes shorter, a
    column of single texts becomes null. A row without a negative left is dropped; a row that never had one is kept.
    `activation` selects r: the sigmoid of the model's output, or the output itself. The paper does not specify it.
    """

    name: ClassVar[str] = "triplet_margin"
    reasons: ClassVar[tuple[str, ...]] = ("weak_negative",)
    uses_device: ClassVar[bool] = True

    model: str = MODEL
    margin: float = Field(default=0.2, allow_inf_nan=False)
    activation: Literal["sigmoid", "none"] = "sigmoid"

    @override
    def after(self, view: View) -> View:
        view.chosen(("anchor", "positive", "negative"), self.name)
        for role in ("anchor", "positive"):
            view.one_text(role, self.name)
        return view

    @override
    def thresholds(self, view: View) -> dict[str, tuple[Threshold, ...]]:
        return {"margin": (Threshold(self.margin, "above", "weak_negative"),)}

    @override
    def prepare(self) -> None:
        self._scorer("cpu")

    @override
    def process_bytes(self) -> int:
        return 600 * 2**20

    @override
    def model_hashes(self) -> dict[str, str]:
        from jina_data.embed.cross_encoder import pair_scorer_sha256

        return {self.model: pair_scorer_sha256(self.model)}

    @override
    def apply(self, rows: Rows, context: Context) -> Outcome:
        anchors, positives = ([text or "" for text in self._column(rows, role)] for role in ("anchor", "positive"))
        negatives = rows.texts("negative")
        owner = negatives.owner
        texts = negatives.values.to_pylist()
        of_positive = self._scores(anchors, positives, context)
        of_negative = self._scores([anchors[row] for row in owner.tolist()], texts, context)
        margins = of_positive[owner] - of_negative
        # Negated, so that NaN counts as weak.
        weak = ~(margins > self.margin)
        best = np.full(len(rows), -np.inf)
        np.maximum.at(best, owner, margins)
        outcome = Outcome.keep_all(len(rows))
        dropped = np.isfinite(best) & ~(best > self.margin)
        outcome.drop(dropped, 0, best)
        outcome.scores["positive"] = pa.array(of_positive)
        outcome.scores["margin"] = _margins(rows, owner, margins)
        outcome.removed |= _masks(rows, weak & ~dropped[owner])
        return outcome

    def _scorer(self, device: str) -> PairScorer:
        from jina_data.embed.cross_encoder import load_pair_scorer

        return load_pair_scorer(self.model, device)

    def _scores(self, queries: Sequence[str], passages: Sequence[str], context: Context) -> FloatArray:
        """Return r of each of N pairs, (N,) float64."""
        scorer = self._scorer(context.device)
        pairs = [pa.array(queries, pa.large_string()), pa.array(passages, pa.large_string())]

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            indices, cut = positions.tolist(), np.zeros(len(positions), np.bool_)
            logits = scorer.score([queries[i] for i in indices], [passages[i] for i in indices], cut=cut)
            return logits.view(np.uint8).reshape(-1, 4), cut

        keys = content_keys(pairs, case=False, whitespace=False)
        model = ScoreReader(scorer.model_id, scorer.name, "pairs", scorer.max_tokens)
        logits = context.cache.scores(model, keys, 4, compute).view(np.float32).reshape(-1)
        values = logits.astype(np.float64)
        return values if self.activation == "none" else 1.0 / (1.0 + np.exp(-values))

    @staticmethod
    def _column(rows: Rows, role: str) -> list[str | None]:
        texts: list[str | None] = rows.batch.column(rows.view.roles[role][0]).to_pylist()
        return texts


def _margins(rows: Rows, owner: npt.NDArray[np.int64], margins: FloatArray) -> pa.Array:
    """Return the margin of the single negative of each row, or a list of the margins of all, in the order of texts."""
    columns = rows.view.roles["negative"]
    if len(columns) == 1 and is_text(rows.batch.column(columns[0]).type):
        out = np.full(len(rows), np.nan)
        out[owner] = margins
        return pa.array(out, from_pandas=True)
    offsets = np.searchsorted(owner, np.arange(len(rows) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(margins))


def _masks(rows: Rows, weak: BoolArray) -> dict[str, pa.Array]:
    """Return the flags of all negative texts as one mask for each column of negatives, in the shape of the column."""
    columns = [rows.batch.column(name) for name in rows.view.roles["negative"]]
    flags = iter(weak.tolist())
    masks: dict[str, list[list[bool] | bool | None]] = {name: [] for name in rows.view.roles["negative"]}
    for values in zip(*(column.to_pylist() for column in columns), strict=True):
        for name, value in zip(masks, values, strict=True):
            if isinstance(value, list):
                masks[name].append([text is not None and next(flags) for text in value])
            else:
                masks[name].append(None if value is None else next(flags))
    kinds = {
        name: pa.bool_() if is_text(column.type) else pa.list_(pa.bool_())
        for name, column in zip(masks, columns, strict=True)
    }
    return {name: pa.array(values, kinds[name]) for name, values in masks.items()} if weak.any() else {}
