"""Forecasts a clean run from a seeded sample: rows by stage, time, memory and disk. Nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from jina_data.forecast.footprint import MemoryEstimate, estimate_memory
from jina_data.forecast.row_flow import RowFlow, estimate_flow
from jina_data.forecast.sample import MODEL_ROWS, InputSample, Part, generator, sample_rows, select_records
from jina_data.forecast.seconds import TimeEstimate, estimate_time
from jina_data.forecast.trial import Step, Trial, merge_parts, run_trial
from jina_data.progress import Progress, SilentProgress
from jina_data.run.memory import held_bytes
from jina_data.run.memory_copies import copied_inputs

SMALL_ROWS = 256
"""Rows of the small trial, from which the cost of a unit of work without its rows follows."""


@dataclass(frozen=True)
class StageForecast:
    """The forecast for one stage. The seconds of stages that run as one query are those of the first."""

    index: int
    name: str
    rows_in: Interval
    rows_out: Interval
    seconds: Interval
    dropped: Mapping[str, float]


@dataclass(frozen=True)
class ConsistencyCost:
    """The cost of a `consistency` stage, which compares every anchor with every text of the pool.

    `operations` are the multiplications and additions if no anchor stops early. `texts` is the number of texts to
    embed, each content once.
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
    """The expected rows, time, memory and disk space of a run, estimated from a sample.

    `way` is how the sample was drawn: "all" (it is the input), "rows" (from all rows of the input) or "blocks" (blocks
    of adjacent rows). Times are for this machine with the given workers; `step_seconds` are the sums over all workers.
    `work_bytes` is the run folder at its largest, `folder_bytes` at the end.
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
    """Forecast a `clean` run with the same arguments; `out` is checked, and nothing is written.

    Raises:
        JinaDataError: the inputs, the recipe or the folder cannot be used, as in `clean`.
    """
    progress = progress or SilentProgress()
    folder = None if out is None else CleanFolder(Path(out))
    with copied_inputs(config.inputs, None) as inputs:
        plan = bind_run(replace(config, inputs=inputs), folder, overwrite=overwrite, progress=progress)
        return _Forecaster(plan, share_budget(plan, config, progress), config, progress).run()


class _Forecaster:
    def __init__(self, plan: Plan, budget: MemoryBudget, config: CleanConfig, progress: Progress) -> None:
        self.plan, self.budget, self.config, self.progress = plan, budget, config, progress
        self.alone = MemoryBudget.share(config.memory_limit_bytes, 1, plan.process_bytes())

    def run(self) -> Forecast:
        before = held_bytes(os.getpid())
        with self.progress.task("reading a sample", None):
            sample = draw(self.plan)
        sample_bytes = max(0, held_bytes(os.getpid()) - before)
        started = time.perf_counter()
        prepare_stages(self.plan, self.progress)
        prepare_seconds = time.perf_counter() - started
        with self.progress.task(f"running the stages on {sample.n_sampled:,} sampled rows", None):
            small, first_batch_seconds, large = self._trials(sample)
        ranking = {
            index: measure_ranking(fit_result["dim"], self.plan.device)
            for index, fit_result in large.fit_results.items()
            if self.plan.stages[index].name == "consistency"
        }
        flow = estimate_flow(self.plan, sample, large, generator(self.plan, 3))
        times = estimate_time(
            self.plan, sample, small, large, flow, ranking, self.budget, prepare_seconds, first_batch_seconds
        )
        sizes = estimate_memory(self.plan, sample, large, flow, self.budget, sample_bytes)
        return self._assemble(sample, flow, times, sizes)

    def _trials(self, sample: InputSample) -> tuple[Trial | None, dict[Step, float], Trial]:
        """Run the trials: a small one twice, first cold, then warm, and then one with all of the sample.

        Returns:
            The small trial (None if the sample is all of the input), the additional seconds of each step in the cold
            trial, and the large trial.
        """
        reuse = self.config.reuse
        if sample.way == "all":
            return None, {}, run_trial(self.plan, sample.parts, self.alone, reuse, merge=False)
        small = [_subsample(merge_parts(sample.parts), SMALL_ROWS * sample_rows(self.plan) // (8 * MODEL_ROWS))]
        cold = run_trial(self.plan, small, self.alone, reuse, merge=True)
        warm = run_trial(self.plan, small, self.alone, reuse, merge=True)
        first_batch_seconds = {step: max(0.0, seconds - warm.seconds[step]) for step, seconds in cold.seconds.items()}
        first_batch_seconds["report", 0] = max(0.0, cold.describe_seconds - warm.describe_seconds)
        return warm, first_batch_seconds, run_trial(self.plan, sample.parts, self.alone, reuse, merge=True)

    def _assemble(self, sample: InputSample, flow: RowFlow, times: TimeEstimate, sizes: MemoryEstimate) -> Forecast:
        stages = [
            StageForecast(
                index,
                stage.name,
                flow.rows_in[index].rounded(),
                flow.rows_out[index].rounded(),
                times.stages[index],
                {reason: round(count) for reason, count in flow.reasons[index].items()},
            )
            for index, stage in enumerate(self.plan.stages)
        ]
        return Forecast(
            way=sample.way,
            sampled_rows=sample.n_sampled,
            rows=flow.rows.rounded(),
            unreadable=flow.unreadable.rounded(),
            kept=flow.kept.rounded(),
            stages=stages,
            consistency=[ConsistencyCost(**cost) for cost in times.consistency],
            seconds=times.seconds,
            step_seconds=times.steps,
            peak_memory_bytes=sizes.memory.rounded(),
            work_bytes=sizes.work.rounded(),
            folder_bytes=sizes.folder.rounded(),
            data_bytes=sizes.data.rounded(),
            dropped_bytes=sizes.dropped.rounded(),
            workers=self.budget.workers,
            memory_limit_bytes=self.budget.total,
            seed=self.plan.recipe.seed,
            notes=tuple(sample.notes),
        )


def _subsample(parts: Sequence[Part], n_rows: int) -> Part:
    """Return about `n_rows` rows of the largest part, at equal distances."""
    part = max(parts, key=lambda part: part.parsed.row_count)
    n_records = part.parsed.row_count
    chosen = np.unique(np.linspace(0, max(0, n_records - 1), min(max(32, n_rows), n_records)).astype(np.int64))
    return select_records(part, chosen)
