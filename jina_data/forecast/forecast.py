"""Forecast a clean run from a seeded sample: rows kept by stage, time, memory, disk; nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import Plan
from jina_data.clean.run import CleanConfig, bind_run, share_budget
from jina_data.clean.session import prepare_stages
from jina_data.engines.local import MemoryBudget
from jina_data.forecast.costs import measure_ranking
from jina_data.forecast.draw import draw
from jina_data.forecast.estimates import Interval
from jina_data.forecast.footprint import MemoryEstimate, footprint_of
from jina_data.forecast.row_flow import Flow, flow_of
from jina_data.forecast.sample import MODEL_ROWS, InputSample, Part, generator, pick, sample_rows
from jina_data.forecast.seconds import TimeEstimate, spent_on
from jina_data.forecast.trial import Step, Trial, merged, run_trial
from jina_data.progress import Progress, Quiet
from jina_data.run.memory import held_bytes

SMALL_ROWS = 256
"""Rows of the small trial, which tells what a unit of work costs beside its rows."""


@dataclass(frozen=True)
class StageForecast:
    """What one stage will do. Stages that run as one query share their seconds, which the first of them shows."""

    index: int
    name: str
    rows_in: Interval
    rows_out: Interval
    seconds: Interval
    dropped: Mapping[str, float]


@dataclass(frozen=True)
class ConsistencyCost:
    """What a `consistency` stage will cost: every anchor meets every text of the pool.

    `operations` are multiplications and additions without those that anchors save which leave early; `texts` are those
    to embed, each content once.
    """

    index: int
    anchors: float
    pool: float
    dim: int
    operations: float
    operations_per_second: float
    texts: float
    texts_per_second: float
    embed_seconds: float
    count_seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run will keep and take, as far as a sample tells.

    `way` says how the sample was drawn: "all" (it is the input), "rows" (all was read, rows were drawn), "blocks"
    (blocks of rows that lie together). Times are those of the whole run on this machine with these workers; `seconds`
    by step are of all workers together. `work_bytes` is the run folder at its largest, `folder_bytes` what stays.
    """

    way: str
    sampled_rows: int
    rows: Interval
    unreadable: Interval
    kept: Interval
    stages: Sequence[StageForecast]
    consistency: Sequence[ConsistencyCost]
    seconds: Interval
    step_seconds: Mapping[str, float]
    peak_memory_bytes: Interval
    work_bytes: Interval
    folder_bytes: Interval
    data_bytes: Interval
    dropped_bytes: Interval
    workers: int
    memory_limit_bytes: int
    seed: int
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the forecast as plain data."""
        return asdict(self)


def forecast(
    config: CleanConfig,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Forecast:
    """Forecast what `clean` would do with the same arguments; `out` is checked, never written to.

    Raises:
        JinaDataError: the inputs, the recipe or the folder cannot be used, as in `clean`.
    """
    progress = progress or Quiet()
    folder = None if out is None else CleanFolder(Path(out))
    plan = bind_run(config, folder, overwrite=overwrite, progress=progress)
    return _Forecasting(plan, share_budget(plan, config, progress), config, progress).run()


class _Forecasting:
    def __init__(self, plan: Plan, budget: MemoryBudget, config: CleanConfig, progress: Progress) -> None:
        self.plan, self.budget, self.config, self.progress = plan, budget, config, progress
        self.alone = MemoryBudget.share(config.memory_limit_bytes, 1, plan.process_bytes())

    def run(self) -> Forecast:
        before = held_bytes(os.getpid())
        with self.progress.task("reading a sample", None):
            drawn = draw(self.plan)
        sample_bytes = max(0, held_bytes(os.getpid()) - before)
        started = time.perf_counter()
        prepare_stages(self.plan, self.progress)
        prepared = time.perf_counter() - started
        with self.progress.task(f"trying the stages on {drawn.n_sampled:,} rows", None):
            small, touched, large = self._trials(drawn)
        ranking = {index: measure_ranking(seen["dim"], self.plan.device) for index, seen in _ranked(self.plan, large)}
        flow = flow_of(self.plan, drawn, large, generator(self.plan, 3))
        spent = spent_on(self.plan, drawn, small, large, flow, ranking, self.budget, prepared, touched)
        footprint = footprint_of(self.plan, drawn, large, flow, self.budget, sample_bytes)
        return self._told(drawn, flow, spent, footprint)

    def _trials(self, drawn: InputSample) -> tuple[Trial | None, dict[Step, float], Trial]:
        """Run the trials: one with few rows twice, first cold, then warm, then the sample.

        Returns:
            The small trial where there is need of it, the seconds that every step of the first one took longer, and
            the large one.
        """
        reuse = self.config.reuse
        if drawn.way == "all":
            return None, {}, run_trial(self.plan, drawn.parts, self.alone, reuse, merge=False)
        few = [_few(merged(drawn.parts), SMALL_ROWS * sample_rows(self.plan) // (8 * MODEL_ROWS))]
        cold = run_trial(self.plan, few, self.alone, reuse, merge=True)
        warm = run_trial(self.plan, few, self.alone, reuse, merge=True)
        touched = {step: max(0.0, taken - warm.seconds[step]) for step, taken in cold.seconds.items()}
        touched["report", 0] = max(0.0, cold.describe_seconds - warm.describe_seconds)
        return warm, touched, run_trial(self.plan, drawn.parts, self.alone, reuse, merge=True)

    def _told(self, drawn: InputSample, flow: Flow, spent: TimeEstimate, footprint: MemoryEstimate) -> Forecast:
        stages = [
            StageForecast(
                index,
                stage.name,
                flow.rows_in[index].rounded(),
                flow.rows_out[index].rounded(),
                spent.stages[index],
                {reason: round(count) for reason, count in flow.reasons[index].items()},
            )
            for index, stage in enumerate(self.plan.stages)
        ]
        return Forecast(
            way=drawn.way,
            sampled_rows=drawn.n_sampled,
            rows=flow.rows.rounded(),
            unreadable=flow.unreadable.rounded(),
            kept=flow.kept.rounded(),
            stages=stages,
            consistency=[ConsistencyCost(**cost) for cost in spent.consistency],
            seconds=spent.seconds,
            step_seconds=spent.steps,
            peak_memory_bytes=footprint.memory.rounded(),
            work_bytes=footprint.work.rounded(),
            folder_bytes=footprint.folder.rounded(),
            data_bytes=footprint.data.rounded(),
            dropped_bytes=footprint.dropped.rounded(),
            workers=self.budget.workers,
            memory_limit_bytes=self.budget.total,
            seed=self.plan.recipe.seed,
            notes=tuple(drawn.notes),
        )


def _ranked(plan: Plan, trial: Trial) -> list[tuple[int, dict[str, Any]]]:
    """Return the stages that rank, with what they saw."""
    return [(index, seen) for index, seen in trial.looks.items() if plan.stages[index].name == "consistency"]


def _few(parts: Sequence[Part], n_rows: int) -> Part:
    """Return some rows of the largest part."""
    part = max(parts, key=lambda one: one.parsed.row_count)
    n_records = part.parsed.row_count
    chosen = np.unique(np.linspace(0, max(0, n_records - 1), min(max(32, n_rows), n_records)).astype(np.int64))
    return pick(part, chosen)
