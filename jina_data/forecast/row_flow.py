"""The rows of a run, stage by stage: a sample's fates put to the size of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jina_data.clean.plan import Plan
from jina_data.forecast.estimates import (
    DRAWS,
    Interval,
    Sampled,
    Share,
    counted_share,
    rank_share,
    repeated_share,
    share_of,
)
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import UNREADABLE, Trial, blocks_of, files_of
from jina_data.stages.base import Collective
from jina_data.stages.consistency import Consistency
from jina_data.stages.rows import FloatArray
from jina_data.stages.sample import Sample


@dataclass(frozen=True)
class Flow:
    """The rows of a run: read, in front of and behind each stage, and the expected drops of each by reason.

    `pools` are the texts of the pool of each `consistency`, by its parts ("*": of all sources).
    """

    rows: Interval
    unreadable: Interval
    rows_in: Sequence[Interval]
    rows_out: Sequence[Interval]
    reasons: Sequence[dict[str, float]]
    pools: dict[int, dict[str, tuple[float, float]]]

    @property
    def kept(self) -> Interval:
        """The rows behind the last stage."""
        if self.rows_out:
            return self.rows_out[-1]
        rows, lost = self.rows, self.unreadable
        return Interval(rows.low - lost.high, rows.expected - lost.expected, rows.high - lost.low)

    @property
    def dropped(self) -> Interval:
        """The rows that some stage drops."""
        expected = self.rows.expected - self.unreadable.expected - self.kept.expected
        wide = (self.kept.high - self.kept.low) / 2
        return Interval(max(0.0, expected - wide), expected, expected + wide)


def flow_of(plan: Plan, drawn: InputSample, trial: Trial, rng: np.random.Generator) -> Flow:
    """Put what became of a sample to the size of the input."""
    return _Flowing(plan, drawn, trial, rng).go()


class _Flowing:
    """Goes through the stages with the number of rows that is left, expected and in every draw."""

    def __init__(self, plan: Plan, drawn: InputSample, trial: Trial, rng: np.random.Generator) -> None:
        self.plan, self.drawn, self.trial, self.rng = plan, drawn, trial, rng
        low, self.expected, high = drawn.n_rows
        deviation = (high - low) / (2 * 1.96)
        self.draws = np.clip(rng.normal(self.expected, deviation, DRAWS), low - deviation, None)
        if not deviation:
            self.draws = np.full(DRAWS, self.expected)
        blocks = blocks_of(drawn.parts)
        weights = np.ones(len(blocks))
        if drawn.weights:
            weights = np.array([drawn.weights[file] for file in files_of(trial.fates).tolist()])
        fraction = 1.0 if drawn.way == "all" else min(1.0, len(blocks) / max(1.0, self.expected))
        self.sampled = Sampled(trial.fates, blocks, weights, fraction)
        self.pools: dict[int, dict[str, tuple[float, float]]] = {}

    def go(self) -> Flow:
        rows = self._now()
        broken = self._unreadable()
        unreadable = Interval.of(self.expected * broken.expected, self.draws * broken.draws)
        self._pass(broken)
        rows_in, rows_out, reasons = [], [], []
        for index in range(len(self.plan.stages)):
            before = self.expected
            rows_in.append(self._now())
            self._pass(self._dropped(index))
            rows_out.append(self._now())
            reasons.append(self._reasons(index, before - self.expected))
        return Flow(rows, unreadable, rows_in, rows_out, reasons, self.pools)

    def _unreadable(self) -> Share:
        if self.drawn.n_unreadable is not None:
            share = self.drawn.n_unreadable / max(1.0, self.expected)
            return Share(share, np.full(DRAWS, share))
        return self._share(self.sampled.fates.stage == UNREADABLE, np.ones(len(self.sampled.blocks), np.bool_))

    def _now(self) -> Interval:
        return Interval.of(self.expected, self.draws)

    def _pass(self, dropped: Share) -> None:
        self.expected *= 1 - dropped.expected
        self.draws = self.draws * (1 - dropped.draws)

    def _share(self, hit: np.ndarray, among: np.ndarray) -> Share:
        sampled = self.sampled
        return share_of(
            hit[among], sampled.weights[among], sampled.blocks[among], fraction=sampled.fraction, rng=self.rng
        )

    def _dropped(self, index: int) -> Share:
        """Return the share of the rows in front of a stage that it drops."""
        stage = self.plan.stages[index]
        reach, falls = self.sampled.reaching(index), self.sampled.fates.stage == index
        if not stage.reasons:
            return Share(0.0, np.zeros(DRAWS))
        if isinstance(stage, Sample) and not stage.weights:
            return self._left_out(stage)
        if isinstance(stage, Consistency):
            return self._outranked(stage, index, self._share(falls, reach))
        if not isinstance(stage, Collective):
            return self._share(falls, reach)
        outside = self._share(falls & (self.sampled.fates.partner < 0), reach)
        if index not in self.drawn.occurrences:
            return outside.plus(repeated_share(self.sampled, index, self.rng))
        keys = self._keys(index)
        inside, stays = counted_share(self.sampled, index, keys, self.drawn.occurrences[index], self.rng)
        self._weigh(index, stays)
        return outside.plus(inside)

    def _keys(self, index: int) -> np.ndarray:
        """Return the number of the content of every sampled record; unreadable ones get one of any row."""
        known = self.drawn.occurrences[index][0]
        keys = np.full(self.trial.n_rows, known[0] if len(known) else 0, np.uint64)
        readable = self.sampled.fates.stage != UNREADABLE
        keys[readable] = np.concatenate([np.empty(0, np.uint64), *(part.keys[index] for part in self.drawn.parts)])
        return keys

    def _weigh(self, index: int, stays: FloatArray) -> None:
        """Let the rows that stay stand for what they and their repeats in the sample are worth."""
        fates, weights = self.sampled.fates, self.sampled.weights * stays
        falls = (fates.stage == index) & (fates.partner >= 0)
        np.add.at(weights, fates.partner[falls], weights[falls])
        self.sampled = Sampled(fates, self.sampled.blocks, weights, self.sampled.fraction)

    def _left_out(self, stage: Sample) -> Share:
        if stage.fraction is not None:
            left_out = 1 - stage.fraction
            n_rows = max(1.0, self.expected)
            draws = self.rng.beta(left_out * n_rows + 0.5, (1 - left_out) * n_rows + 0.5, DRAWS)
            return Share(left_out, draws)
        assert stage.count is not None
        kept = stage.count / np.maximum(self.draws, 1.0)
        return Share(max(0.0, 1 - stage.count / max(1.0, self.expected)), np.maximum(0.0, 1 - kept))

    def _outranked(self, stage: Consistency, index: int, share: Share) -> Share:
        seen = self.trial.looks.get(index, {})
        reach = self.sampled.reaching(index)
        if not seen.get("pool") or not reach.any():
            return share
        sizes = {name: behind - first for name, (first, behind) in seen["parts"].items()}
        distinct = min(1.0, seen["pool"] / int(reach.sum()))
        parts: dict[str, tuple[float, float]] = {}
        for name, size in sizes.items():
            anchors = self.expected * size / seen["pool"]
            pool = stage.pool_size if size >= stage.pool_size else min(stage.pool_size, anchors * distinct)
            parts[name] = (anchors, max(float(size), pool))
        self.pools[index] = parts
        full_pool = sum(pool for _, pool in parts.values())
        if self.sampled.fraction >= 1:
            return share
        ranks, fell = self.trial.ranks[index][reach], self.sampled.fates.stage[reach] == index
        # What stayed in spite of its rank is of a source that the stage leaves alone, and will in the run.
        ranks = np.where(fell, ranks, np.minimum(ranks, stage.top_k))
        return rank_share(ranks, share, top_k=stage.top_k, pool=seen["pool"], full_pool=full_pool, rng=self.rng)

    def _reasons(self, index: int, dropped: float) -> dict[str, float]:
        """Share the drops of a stage out over its reasons."""
        fates = self.sampled.fates
        found = Counter(fates.reason[row] for row in np.flatnonzero(fates.stage == index).tolist())
        if not found and dropped >= 0.5:
            found = Counter(dict.fromkeys(self.plan.stages[index].reasons[:1], 1))
        total = max(1, sum(found.values()))
        return {str(reason): dropped * count / total for reason, count in found.most_common()}
