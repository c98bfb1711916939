"""The expected rows of a run at each stage: the outcomes of a sample, scaled to the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jina_data.clean.plan import Plan
from jina_data.forecast.estimates import (
    DRAWS,
    Interval,
    SampledRows,
    Share,
    estimate_counted_share,
    estimate_rank_share,
    estimate_repeated_share,
    estimate_share,
)
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import UNREADABLE, Trial, block_of_rows, file_of_rows
from jina_data.stages.base import Collective
from jina_data.stages.consistency import Consistency
from jina_data.stages.rows import FloatArray
from jina_data.stages.sample import Sample


@dataclass(frozen=True)
class RowFlow:
    """The rows of a run: read, before and after each stage, and the expected drops of each stage by reason.

    `pools` has the (anchors, texts) of each part of the pool of each `consistency` stage ("*": all sources).
    """

    rows: Interval
    unreadable: Interval
    rows_in: Sequence[Interval]
    rows_out: Sequence[Interval]
    reasons: Sequence[dict[str, float]]
    pools: dict[int, dict[str, tuple[float, float]]]

    @property
    def kept(self) -> Interval:
        """The rows after the last stage."""
        if self.rows_out:
            return self.rows_out[-1]
        rows, unreadable = self.rows, self.unreadable
        return Interval(rows.low - unreadable.high, rows.expected - unreadable.expected, rows.high - unreadable.low)

    @property
    def dropped(self) -> Interval:
        """The rows that the stages drop."""
        expected = self.rows.expected - self.unreadable.expected - self.kept.expected
        half_width = (self.kept.high - self.kept.low) / 2
        return Interval(max(0.0, expected - half_width), expected, expected + half_width)


def estimate_flow(plan: Plan, sample: InputSample, trial: Trial, rng: np.random.Generator) -> RowFlow:
    """Scale the outcomes of a sample to the size of the input."""
    return _FlowEstimator(plan, sample, trial, rng).run()


class _FlowEstimator:
    """Follows the number of remaining rows through the stages: the expected number, and that of every draw."""

    def __init__(self, plan: Plan, sample: InputSample, trial: Trial, rng: np.random.Generator) -> None:
        self.plan, self.sample, self.trial, self.rng = plan, sample, trial, rng
        low, self.expected, high = sample.n_rows
        deviation = (high - low) / (2 * 1.96)
        self.draws = np.clip(rng.normal(self.expected, deviation, DRAWS), low - deviation, None)
        if not deviation:
            self.draws = np.full(DRAWS, self.expected)
        blocks = block_of_rows(sample.parts)
        weights = np.ones(len(blocks))
        if sample.weights:
            weights = np.array([sample.weights[file] for file in file_of_rows(trial.outcomes).tolist()])
        fraction = 1.0 if sample.way == "all" else min(1.0, len(blocks) / max(1.0, self.expected))
        self.sampled = SampledRows(trial.outcomes, blocks, weights, fraction)
        self.pools: dict[int, dict[str, tuple[float, float]]] = {}

    def run(self) -> RowFlow:
        rows = self._rows_now()
        share = self._unreadable()
        unreadable = Interval.of(self.expected * share.expected, self.draws * share.draws)
        self._pass(share)
        rows_in, rows_out, reasons = [], [], []
        for index in range(len(self.plan.stages)):
            before = self.expected
            rows_in.append(self._rows_now())
            self._pass(self._dropped(index))
            rows_out.append(self._rows_now())
            reasons.append(self._reasons(index, before - self.expected))
        return RowFlow(rows, unreadable, rows_in, rows_out, reasons, self.pools)

    def _unreadable(self) -> Share:
        if self.sample.n_unreadable is not None:
            share = self.sample.n_unreadable / max(1.0, self.expected)
            return Share(share, np.full(DRAWS, share))
        return self._share(self.sampled.outcomes.stage == UNREADABLE, np.ones(len(self.sampled.blocks), np.bool_))

    def _rows_now(self) -> Interval:
        return Interval.of(self.expected, self.draws)

    def _pass(self, dropped: Share) -> None:
        self.expected *= 1 - dropped.expected
        self.draws = self.draws * (1 - dropped.draws)

    def _share(self, hit: np.ndarray, among: np.ndarray) -> Share:
        sampled = self.sampled
        return estimate_share(
            hit[among], sampled.weights[among], sampled.blocks[among], fraction=sampled.fraction, rng=self.rng
        )

    def _dropped(self, index: int) -> Share:
        """Return the share of the rows before a stage that it drops."""
        stage = self.plan.stages[index]
        reach, is_dropped = self.sampled.reaching(index), self.sampled.outcomes.stage == index
        if not stage.reasons:
            return Share(0.0, np.zeros(DRAWS))
        if isinstance(stage, Sample) and not stage.weights:
            return self._sampled_out(stage)
        if isinstance(stage, Consistency):
            return self._rank_share(stage, index, self._share(is_dropped, reach))
        if not isinstance(stage, Collective):
            return self._share(is_dropped, reach)
        # Rows without a partner in the sample were dropped for a reference row.
        by_reference = self._share(is_dropped & (self.sampled.outcomes.partner < 0), reach)
        if index not in self.sample.occurrences:
            return by_reference.plus(estimate_repeated_share(self.sampled, index, self.rng))
        keys = self._keys(index)
        repeated, kept = estimate_counted_share(self.sampled, index, keys, self.sample.occurrences[index], self.rng)
        self._reweight(index, kept)
        return by_reference.plus(repeated)

    def _keys(self, index: int) -> np.ndarray:
        """Return the number of the content of every sampled record; that of unreadable records is arbitrary."""
        contents = self.sample.occurrences[index][0]
        keys = np.full(self.trial.n_rows, contents[0] if len(contents) else 0, np.uint64)
        readable = self.sampled.outcomes.stage != UNREADABLE
        keys[readable] = np.concatenate([np.empty(0, np.uint64), *(part.keys[index] for part in self.sample.parts)])
        return keys

    def _reweight(self, index: int, kept: FloatArray) -> None:
        """Multiply the weights by the kept part of each row, and add those of repeats to the row that they repeat."""
        outcomes, weights = self.sampled.outcomes, self.sampled.weights * kept
        is_repeat = (outcomes.stage == index) & (outcomes.partner >= 0)
        np.add.at(weights, outcomes.partner[is_repeat], weights[is_repeat])
        self.sampled = SampledRows(outcomes, self.sampled.blocks, weights, self.sampled.fraction)

    def _sampled_out(self, stage: Sample) -> Share:
        if stage.fraction is not None:
            dropped = 1 - stage.fraction
            n_rows = max(1.0, self.expected)
            draws = self.rng.beta(dropped * n_rows + 0.5, (1 - dropped) * n_rows + 0.5, DRAWS)
            return Share(dropped, draws)
        assert stage.count is not None
        kept = stage.count / np.maximum(self.draws, 1.0)
        return Share(max(0.0, 1 - stage.count / max(1.0, self.expected)), np.maximum(0.0, 1 - kept))

    def _rank_share(self, stage: Consistency, index: int, share: Share) -> Share:
        fit_result = self.trial.fit_results.get(index, {})
        reach = self.sampled.reaching(index)
        if not fit_result.get("pool") or not reach.any():
            return share
        sizes = {name: stop - start for name, (start, stop) in fit_result["parts"].items()}
        # The share of pairs whose positive is a distinct text.
        distinct = min(1.0, fit_result["pool"] / int(reach.sum()))
        parts: dict[str, tuple[float, float]] = {}
        for name, size in sizes.items():
            anchors = self.expected * size / fit_result["pool"]
            pool = stage.pool_size if size >= stage.pool_size else min(stage.pool_size, anchors * distinct)
            parts[name] = (anchors, max(float(size), pool))
        self.pools[index] = parts
        full_pool = sum(pool for _, pool in parts.values())
        if self.sampled.fraction >= 1:
            return share
        if stage.min_precision is not None:  # limits grow with the pool; a larger sample may judge more sources
            most = max((group["share"] for group in fit_result["groups"] if group["limit"] is None), default=0.0)
            return Share(share.expected, np.minimum(share.draws + self.rng.uniform(0, most, DRAWS), 1.0))
        ranks = self.trial.ranks[index][reach]
        return estimate_rank_share(
            *(ranks, share), top_k=stage.top_k, pool=fit_result["pool"], full_pool=full_pool, rng=self.rng
        )

    def _reasons(self, index: int, dropped: float) -> dict[str, float]:
        """Divide the drops of a stage by reason, in the proportions of the sample."""
        outcomes = self.sampled.outcomes
        counts = Counter(outcomes.reason[row] for row in np.flatnonzero(outcomes.stage == index).tolist())
        if not counts and dropped >= 0.5:
            counts = Counter(dict.fromkeys(self.plan.stages[index].reasons[:1], 1))
        total = max(1, sum(counts.values()))
        return {str(reason): dropped * count / total for reason, count in counts.most_common()}
