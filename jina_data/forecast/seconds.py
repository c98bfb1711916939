"""Time of a run, from what trials on a sample took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.clean.ledger import LEDGER_ROWS
from jina_data.clean.plan import Plan
from jina_data.clean.shards import SHARD_BYTES
from jina_data.engines.local import MemoryBudget
from jina_data.forecast.costs import Ranking, Rate, counted_share_of_pool, rates_of
from jina_data.forecast.estimates import Interval
from jina_data.forecast.row_flow import Flow
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import KEPT, UNREADABLE, Step, Trial
from jina_data.stages.consistency import Consistency

CROWD = 1.15
"""How much longer a step takes on each of several workers than on one alone, which has the caches for itself."""
QUICK, SLOW = 0.7, 1.5
"""How much a time may differ from what a sample tells (docs/planning.md has what was measured)."""
START_SECONDS = 1.5
"""What it takes to start worker processes, which import everything anew."""


@dataclass(frozen=True)
class TimeEstimate:
    """What a run will take: seconds of the stages and of the other steps (of all workers together), and on the clock;
    `consistency` has the fields of a `ConsistencyCost` for each such stage."""

    stages: Sequence[Interval]
    steps: Mapping[str, float]
    seconds: Interval
    consistency: Sequence[dict[str, Any]]


def spent_on(
    plan: Plan,
    drawn: InputSample,
    small: Trial | None,
    large: Trial,
    flow: Flow,
    ranking: Mapping[int, Ranking],
    budget: MemoryBudget,
    prepared: float,
    touched: Mapping[Step, float],
) -> TimeEstimate:
    """Return what a run takes.

    Args:
        ranking: how fast ranks are counted, for every stage that does.
        prepared: seconds that models and kernels took to load.
        touched: seconds that the first batch of a process takes longer, by step.
    """
    return _Spending(plan, drawn, small, large, flow, ranking, budget, prepared, touched).go()


@dataclass
class _Spending:
    plan: Plan
    drawn: InputSample
    small: Trial | None
    large: Trial
    flow: Flow
    ranking: Mapping[int, Ranking]
    budget: MemoryBudget
    prepared: float
    touched: Mapping[Step, float]

    def go(self) -> TimeEstimate:
        rows = self._step_rows(self.large)
        self.before = self._step_rows(self.small) if self.small else {}
        self.rates = self._rates(rows)
        self.whole = self._whole_rows()
        seconds = {step: self._seconds(step) for step in self.rates}
        counted = {index: self._count_seconds(index) for index in self.ranking}
        stages = [self._of_stage(seconds, counted, index) for index in range(len(self.plan.stages))]
        steps = self._other_steps(seconds)
        return TimeEstimate(
            stages=stages,
            steps=steps,
            seconds=_about(self._wall(seconds, counted, steps), self.flow.rows),
            consistency=[self._consistency(index, seconds, counted[index]) for index in self.ranking],
        )

    # ------------------------------------------------------------------------------------------------ seconds

    def _step_rows(self, trial: Trial) -> dict[Step, float]:
        """Return the rows that every step had in a trial."""
        stage = trial.fates.stage
        reach = [
            float(((stage != UNREADABLE) & ((stage < 0) | (stage >= index))).sum())
            for index in range(len(self.plan.stages) + 1)
        ]
        return self._spread(trial.n_rows, reach, float((stage == KEPT).sum()), float((stage >= 0).sum()))

    def _whole_rows(self) -> dict[Step, float]:
        reach = [interval.expected for interval in self.flow.rows_in] + [self.flow.kept.expected]
        rows = self.flow.rows.expected
        return self._spread(rows, reach, reach[-1], rows - self.flow.unreadable.expected - reach[-1])

    def _spread(self, rows: float, reach: Sequence[float], kept: float, dropped: float) -> dict[Step, float]:
        found: dict[Step, float] = {("read", 0): rows, ("ledger", 0): rows, ("data", 0): kept, ("dropped", 0): dropped}
        for index in range(len(self.plan.stages)):
            found |= {(kind, index): reach[index] for kind in ("stage", "keys", "decide")}
            found[("outside", index)] = 0.0
        for current in self.plan.passes:
            first = current.stages[0] if current.stages else (current.keys_for or 0)
            found[("load", current.number)] = reach[min(first, len(reach) - 1)]
        return found

    def _rates(self, rows: Mapping[Step, float]) -> dict[Step, Rate]:
        large = self._without_ranking(self.large)
        if self.small is None:
            return {
                step: Rate(taken / large.units[step], 0.0) if not rows[step] else Rate(0.0, taken / rows[step])
                for step, taken in large.seconds.items()
            }
        reached = {step: (self.before[step], rows[step]) for step in rows}
        return rates_of(self._without_ranking(self.small), large, reached)

    def _without_ranking(self, trial: Trial) -> Trial:
        """Take out of a trial the time in which ranks were counted, which does not grow with the rows alone."""
        seconds = dict(trial.seconds)
        for index, rate in self.ranking.items():
            seen, ranks = trial.looks[index], trial.ranks.get(index)
            if not seen or ranks is None or ("stage", index) not in seconds:
                continue
            reaching = ranks[ranks > 0]
            share = counted_share_of_pool(reaching, self._stage(index).rank_cap, seen["pool"], seen["pool"])
            operations = 2.0 * len(reaching) * seen["pool"] * seen["dim"] * share / len(seen["parts"] or "*")
            seconds[("stage", index)] = max(0.0, seconds[("stage", index)] - operations / rate.total)
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
                self.drawn.parsed_bytes * self.whole[step] / max(1.0, self.flow.rows.expected) / SHARD_BYTES
            )
        return 1 if step[0] == "decide" else self.large.units[step] if step[0] == "outside" else self.drawn.n_ranges

    def _seconds(self, step: Step) -> float:
        return self.rates[step].over(self._units(step), self.whole[step])

    def _of_stage(self, seconds: Mapping[Step, float], counted: Mapping[int, float], index: int) -> Interval:
        """Return the seconds that the report of the run will show for a stage."""
        own = sum(seconds.get((kind, index), 0.0) for kind in ("stage", "keys", "decide"))
        shared = own + self.budget.workers * counted.get(index, 0.0)
        first = sum(self.touched.get((kind, index), 0.0) for kind in ("stage", "keys"))
        return _about(shared * self._crowd() + first * self._workers, self.flow.rows_in[index])

    @property
    def _workers(self) -> int:
        """The workers that have something to do."""
        return max(1, min(self.budget.workers, self.drawn.n_ranges))

    def _crowd(self) -> float:
        """Return how much longer work takes where several do it side by side."""
        return CROWD if self._workers > 1 else 1.0

    def _other_steps(self, seconds: Mapping[Step, float]) -> dict[str, float]:
        def of(*kinds: str) -> float:
            return sum(value for (kind, _), value in seconds.items() if kind in kinds)

        return {
            "prepare": self.prepared,
            "first batch": sum(self.touched.values()),
            "read": self.drawn.parse_seconds + of("read"),
            "outside": of("outside"),
            "load": of("load"),
            "ledger": of("ledger"),
            "data and dropped": of("data", "dropped"),
            "report": self.large.describe_seconds,
        }

    def _wall(self, seconds: Mapping[Step, float], counted: Mapping[int, float], steps: Mapping[str, float]) -> float:
        """Return what passes on the clock: ranges are shared out, decisions are not."""
        workers = self._workers / self._crowd()
        shared = sum(value for (kind, _), value in seconds.items() if kind in ("stage", "keys", "load"))
        alone = sum(value for (kind, _), value in seconds.items() if kind in ("decide", "outside"))
        reading = max(steps["read"] / workers, self.drawn.longest_seconds)
        writing = steps["data and dropped"] / min(workers, 2)
        writing += steps["ledger"] / min(workers, self._units(("ledger", 0)))
        starting = steps["prepare"] + steps["first batch"]
        starting += START_SECONDS + steps["prepare"] if self._workers > 1 else 0.0
        working = reading + shared / workers + alone + sum(counted.values())
        return starting + working + writing + steps["report"]

    # ------------------------------------------------------------------------------------------------ consistency

    def _operations(self, index: int) -> float:
        dim = int(self.large.looks[index].get("dim", 0))
        return sum(2.0 * anchors * pool * dim for anchors, pool in self.flow.pools.get(index, {}).values())

    def _count_seconds(self, index: int) -> float:
        seen, ranks = self.large.looks[index], self.large.ranks.get(index)
        if ranks is None:
            return 0.0
        pools = self.flow.pools.get(index, {})
        full = sum(pool for _, pool in pools.values())
        share = counted_share_of_pool(ranks[ranks > 0], self._stage(index).rank_cap, seen.get("pool", 1), full)
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
            "dim": self.large.looks[index].get("dim", 0),
            "operations": self._operations(index),
            "operations_per_second": self.ranking[index].total,
            "texts": texts,
            "texts_per_second": texts / embedding if embedding else 0.0,
            "embed_seconds": embedding,
            "count_seconds": counted,
        }


def _about(seconds: float, rows: Interval) -> Interval:
    """Return the interval of a time that grows with some rows."""
    expected = max(rows.expected, 1e-9)
    low, high = min(1.0, rows.low / expected), max(1.0, rows.high / expected)
    return Interval(QUICK * seconds * low, seconds, SLOW * seconds * min(high, 10.0))
