"""Estimates the time of a run, from the times of trials on a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.clean.ledger import LEDGER_ROWS
from jina_data.clean.plan import Plan
from jina_data.clean.shards import SHARD_BYTES
from jina_data.engines.local import MemoryBudget
from jina_data.forecast.costs import LinearCost, RankingSpeed, estimate_scanned_share, fit_costs
from jina_data.forecast.estimates import Interval
from jina_data.forecast.row_flow import RowFlow
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import KEPT, UNREADABLE, Step, Trial
from jina_data.stages.consistency import Consistency

PARALLEL_SLOWDOWN = 1.15
"""How many times longer a step takes on each of several workers, which share the caches, than on one."""
LOW_FACTOR, HIGH_FACTOR = 0.7, 1.5
"""The bounds of a time, relative to the estimate (docs/planning.md has measurements)."""
START_SECONDS = 1.5
"""Seconds to start worker processes, which import the package again."""


@dataclass(frozen=True)
class TimeEstimate:
    """The time of a run: seconds of the stages and of the other steps (summed over workers), and on the clock.

    `consistency` has the fields of a `ConsistencyCost` for each stage of that kind.
    """

    stages: Sequence[Interval]
    steps: Mapping[str, float]
    seconds: Interval
    consistency: Sequence[dict[str, Any]]


def estimate_time(
    plan: Plan,
    sample: InputSample,
    small: Trial | None,
    large: Trial,
    flow: RowFlow,
    ranking: Mapping[int, RankingSpeed],
    budget: MemoryBudget,
    prepare_seconds: float,
    first_batch_seconds: Mapping[Step, float],
) -> TimeEstimate:
    """Estimate the time of a run.

    Args:
        ranking: the speed of counting ranks, for each stage that ranks.
        prepare_seconds: the time to load models and kernels.
        first_batch_seconds: the additional seconds of the first batch of a process, by step.
    """
    return _TimeEstimator(plan, sample, small, large, flow, ranking, budget, prepare_seconds, first_batch_seconds).run()


@dataclass
class _TimeEstimator:
    plan: Plan
    sample: InputSample
    small: Trial | None
    large: Trial
    flow: RowFlow
    ranking: Mapping[int, RankingSpeed]
    budget: MemoryBudget
    prepare_seconds: float
    first_batch_seconds: Mapping[Step, float]

    def run(self) -> TimeEstimate:
        rows = self._step_rows(self.large)
        self.small_rows = self._step_rows(self.small) if self.small else {}
        self.costs = self._costs(rows)
        self.run_rows = self._run_rows()
        seconds = {step: self._seconds(step) for step in self.costs}
        counted = {index: self._count_seconds(index) for index in self.ranking}
        stages = [self._stage_seconds(seconds, counted, index) for index in range(len(self.plan.stages))]
        steps = self._other_steps(seconds)
        return TimeEstimate(
            stages=stages,
            steps=steps,
            seconds=_about(self._wall(seconds, counted, steps), self.flow.rows),
            consistency=[self._consistency(index, seconds, counted[index]) for index in self.ranking],
        )

    # ------------------------------------------------------------------------------------------------ seconds

    def _step_rows(self, trial: Trial) -> dict[Step, float]:
        """Return the rows of each step in a trial."""
        stage = trial.outcomes.stage
        reach = [
            float(((stage != UNREADABLE) & ((stage < 0) | (stage >= index))).sum())
            for index in range(len(self.plan.stages) + 1)
        ]
        return self._by_step(trial.n_rows, reach, float((stage == KEPT).sum()), float((stage >= 0).sum()))

    def _run_rows(self) -> dict[Step, float]:
        reach = [interval.expected for interval in self.flow.rows_in] + [self.flow.kept.expected]
        rows = self.flow.rows.expected
        return self._by_step(rows, reach, reach[-1], rows - self.flow.unreadable.expected - reach[-1])

    def _by_step(self, rows: float, reach: Sequence[float], kept: float, dropped: float) -> dict[Step, float]:
        """Return the rows of each step, given those that reach each stage and those of the input and the outputs."""
        step_rows: dict[Step, float] = {
            ("read", 0): rows,
            ("ledger", 0): rows,
            ("data", 0): kept,
            ("dropped", 0): dropped,
        }
        for index in range(len(self.plan.stages)):
            step_rows |= {(kind, index): reach[index] for kind in ("stage", "keys", "decide")}
            step_rows[("outside", index)] = 0.0
        for current in self.plan.passes:
            first = current.stages[0] if current.stages else (current.keys_for or 0)
            step_rows[("load", current.number)] = reach[min(first, len(reach) - 1)]
        return step_rows

    def _costs(self, rows: Mapping[Step, float]) -> dict[Step, LinearCost]:
        large = self._without_ranking(self.large)
        if self.small is None:
            return {
                step: LinearCost(0.0, seconds / rows[step])
                if rows[step]
                else LinearCost(seconds / large.units[step], 0.0)
                for step, seconds in large.seconds.items()
            }
        reached = {step: (self.small_rows[step], rows[step]) for step in rows}
        return fit_costs(self._without_ranking(self.small), large, reached)

    def _without_ranking(self, trial: Trial) -> Trial:
        """Return a trial without the time for counting ranks, which does not depend on the rows alone."""
        seconds = dict(trial.seconds)
        for index, speed in self.ranking.items():
            fit_result, ranks = trial.fit_results[index], trial.ranks.get(index)
            if not fit_result or ranks is None or ("stage", index) not in seconds:
                continue
            reaching = ranks[ranks > 0]
            pool = fit_result["pool"]
            share = estimate_scanned_share(reaching, self._stage(index).rank_cap, pool, pool)
            # An anchor is compared with one part of the pool.
            operations = 2.0 * len(reaching) * pool * fit_result["dim"] * share / len(fit_result["parts"] or "*")
            seconds[("stage", index)] = max(0.0, seconds[("stage", index)] - operations / speed.total)
        return Trial(**{**vars(trial), "seconds": seconds})

    def _stage(self, index: int) -> Consistency:
        stage = self.plan.stages[index]
        assert isinstance(stage, Consistency)
        return stage

    def _units(self, step: Step) -> int:
        if step[0] == "ledger":
            return math.ceil(self.flow.rows.expected / LEDGER_ROWS) or 1
        if step[0] in ("data", "dropped"):
            return math.ceil(
                self.sample.parsed_bytes * self.run_rows[step] / max(1.0, self.flow.rows.expected) / SHARD_BYTES
            )
        return 1 if step[0] == "decide" else self.large.units[step] if step[0] == "outside" else self.sample.n_ranges

    def _seconds(self, step: Step) -> float:
        return self.costs[step].total(self._units(step), self.run_rows[step])

    def _stage_seconds(self, seconds: Mapping[Step, float], counted: Mapping[int, float], index: int) -> Interval:
        """Return the seconds of a stage as the report of the run will show them."""
        stage_seconds = sum(seconds.get((kind, index), 0.0) for kind in ("stage", "keys", "decide"))
        shared = stage_seconds + self.budget.workers * counted.get(index, 0.0)
        first = sum(self.first_batch_seconds.get((kind, index), 0.0) for kind in ("stage", "keys"))
        return _about(shared * self._slowdown() + first * self._workers, self.flow.rows_in[index])

    @property
    def _workers(self) -> int:
        """The number of workers that get a range."""
        return max(1, min(self.budget.workers, self.sample.n_ranges))

    def _slowdown(self) -> float:
        """Return how many times longer the work takes on several workers."""
        return PARALLEL_SLOWDOWN if self._workers > 1 else 1.0

    def _other_steps(self, seconds: Mapping[Step, float]) -> dict[str, float]:
        def of(*kinds: str) -> float:
            return sum(value for (kind, _), value in seconds.items() if kind in kinds)

        return {
            "prepare": self.prepare_seconds,
            "first batch": sum(self.first_batch_seconds.values()),
            "read": self.sample.parse_seconds + of("read"),
            "outside": of("outside"),
            "load": of("load"),
            "ledger": of("ledger"),
            "data and dropped": of("data", "dropped"),
            "report": self.large.describe_seconds,
        }

    def _wall(self, seconds: Mapping[Step, float], counted: Mapping[int, float], steps: Mapping[str, float]) -> float:
        """Return the seconds on the clock: ranges run in parallel, decisions do not."""
        workers = self._workers / self._slowdown()
        shared = sum(value for (kind, _), value in seconds.items() if kind in ("stage", "keys", "load"))
        serial = sum(value for (kind, _), value in seconds.items() if kind in ("decide", "outside"))
        reading = max(steps["read"] / workers, self.sample.longest_seconds)
        writing = steps["data and dropped"] / min(workers, 2)
        writing += steps["ledger"] / min(workers, self._units(("ledger", 0)))
        starting = steps["prepare"] + steps["first batch"]
        starting += START_SECONDS + steps["prepare"] if self._workers > 1 else 0.0
        working = reading + shared / workers + serial + sum(counted.values())
        return starting + working + writing + steps["report"]

    # ------------------------------------------------------------------------------------------------ consistency

    def _operations(self, index: int) -> float:
        dim = int(self.large.fit_results[index].get("dim", 0))
        return sum(2.0 * anchors * pool * dim for anchors, pool in self.flow.pools.get(index, {}).values())

    def _count_seconds(self, index: int) -> float:
        fit_result, ranks = self.large.fit_results[index], self.large.ranks.get(index)
        if ranks is None:
            return 0.0
        pools = self.flow.pools.get(index, {})
        full_pool = sum(pool for _, pool in pools.values())
        cap, pool = self._stage(index).rank_cap, fit_result.get("pool", 1)
        share = estimate_scanned_share(ranks[ranks > 0], cap, pool, full_pool)
        return self.ranking[index].seconds(self._operations(index) * share, self.budget.workers)

    def _consistency(self, index: int, seconds: Mapping[Step, float], counted: float) -> dict[str, Any]:
        pools = self.flow.pools.get(index, {})
        reached = max(1.0, float((self.large.ranks[index] > 0).sum())) if index in self.large.ranks else 1.0
        texts = self.large.scored.get(index, 0) / reached * self.flow.rows_in[index].expected
        embedding = seconds.get(("keys", index), 0.0)
        return {
            "index": index,
            "anchors": sum(anchors for anchors, _ in pools.values()),
            "pool": sum(pool for _, pool in pools.values()),
            "dim": self.large.fit_results[index].get("dim", 0),
            "operations": self._operations(index),
            "operations_per_second": self.ranking[index].total,
            "texts": texts,
            "texts_per_second": texts / embedding if embedding else 0.0,
            "embed_seconds": embedding,
            "count_seconds": counted,
        }


def _about(seconds: float, rows: Interval) -> Interval:
    """Return the interval of a time that is proportional to `rows`."""
    expected = max(rows.expected, 1e-9)
    low, high = min(1.0, rows.low / expected), max(1.0, rows.high / expected)
    return Interval(LOW_FACTOR * seconds * low, seconds, HIGH_FACTOR * seconds * min(high, 10.0))
