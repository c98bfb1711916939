"""Estimates the memory and disk space of a run, from those of a trial on a sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jina_data.clean.plan import Plan
from jina_data.engines.local import PROCESS_BYTES, MemoryBudget
from jina_data.forecast.estimates import Interval
from jina_data.forecast.row_flow import RowFlow
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import KEPT, UNREADABLE, Trial
from jina_data.stages.base import Collective

MANIFEST = ".work/complete.json"
"""The file that is renamed to the manifest."""
KEY_BYTES = 100
"""About the memory for the keys of a row while a stage decides."""
COMPRESSION_TOLERANCE = 0.15
"""Relative difference between the compression of the rows of a run and that of the sample."""
FEW_ROWS = 1_000
"""With fewer dropped rows than this, the size of their file is mostly overhead."""
DROPPED_BYTES = 16
"""Additional compressed bytes of a dropped row: its position and the reason."""
EXCLUDED_BYTES = 24
"""Bytes that `consistency` writes about the positive of a row."""


@dataclass(frozen=True)
class MemoryEstimate:
    """The bytes of a run: peak memory, the folder at its largest (`work`) and at the end, data/ and dropped/."""

    memory: Interval
    work: Interval
    folder: Interval
    data: Interval
    dropped: Interval


def estimate_memory(
    plan: Plan, sample: InputSample, trial: Trial, flow: RowFlow, budget: MemoryBudget, sample_bytes: int
) -> MemoryEstimate:
    """Estimate the bytes of a run; `sample_bytes` is the memory of the sample during the trial."""
    estimator = _SizeEstimator(plan, sample, trial, flow)
    sizes = {name: estimator.size(name, n_bytes) for name, n_bytes in trial.sizes.items()}
    remaining = [size for name, size in sizes.items() if not name.startswith(".work") or name == MANIFEST]
    memory = _memory(plan, sample, flow, budget, max(PROCESS_BYTES, trial.peak_memory_bytes - sample_bytes))
    return MemoryEstimate(memory, _total(sizes.values()), _total(remaining), sizes["data"], sizes["dropped"])


def _memory(plan: Plan, sample: InputSample, flow: RowFlow, budget: MemoryBudget, process_bytes: float) -> Interval:
    """Return the peak memory: that of one process for each worker, that of their parent, and that of keys."""
    deciding = [
        rows.expected for stage, rows in zip(plan.stages, flow.rows_in, strict=True) if isinstance(stage, Collective)
    ]
    keys = min(float(budget.duckdb), KEY_BYTES * max(deciding, default=0.0))
    workers = max(1, min(budget.workers, sample.n_ranges))
    expected = process_bytes + keys if workers == 1 else PROCESS_BYTES + workers * process_bytes + keys
    return Interval(0.7 * expected, expected, min(1.35 * expected, max(expected, budget.total)))


@dataclass(frozen=True)
class _SizeEstimator:
    """Scales the size of a folder of the trial to that of the run."""

    plan: Plan
    sample: InputSample
    trial: Trial
    flow: RowFlow

    def size(self, name: str, n_bytes: int) -> Interval:
        """Return the bytes of a folder of the run, in proportion to its rows."""
        kind, _, subfolder = name.removeprefix(".work/").partition("/")
        if self.sample.way == "all":
            return Interval.exactly(n_bytes)
        if kind.startswith("look-") and int(kind[5:7]) in self.flow.pools:
            return self._pool(int(kind[5:7]))
        rows_and_trial_rows = self._rows_of(kind, subfolder)
        if rows_and_trial_rows is None or not rows_and_trial_rows[1]:
            return Interval.exactly(n_bytes)
        rows, trial_rows = rows_and_trial_rows
        if kind == "dropped" and trial_rows < FEW_ROWS:
            kept = self.trial.sizes.get("data", 0) / max(1, self._trial_rows(None)) * self.sample.compression_factor
            return _widen(rows.times(kept + DROPPED_BYTES), 0.6)
        compression_factor = self.sample.compression_factor if kind in ("spool", "data") else 1.0
        return _widen(rows.times(compression_factor * n_bytes / trial_rows), COMPRESSION_TOLERANCE)

    def _pool(self, index: int) -> Interval:
        pool = sum(pool for _, pool in self.flow.pools[index].values())
        vectors = Interval.exactly(2.0 * pool * self.trial.fit_results[index]["dim"])
        return self.flow.rows_in[index].times(EXCLUDED_BYTES).plus(vectors)

    def _rows_of(self, kind: str, subfolder: str) -> tuple[Interval, int] | None:
        """Return the rows in a folder, of the run and of the trial; None if its size does not depend on rows."""
        if kind in ("spool", "ledger"):
            return self.flow.rows, self.trial.n_rows
        if kind == "data":
            return self.flow.kept, self._trial_rows(None)
        if kind == "dropped":
            return self.flow.dropped, int((self.trial.outcomes.stage >= 0).sum())
        index = self._stage_of(kind, subfolder)
        if index is None:
            return None
        rows = self.flow.rows_in[index] if index < len(self.flow.rows_in) else self.flow.kept
        return rows, self._trial_rows(index)

    def _stage_of(self, kind: str, subfolder: str) -> int | None:
        """Return the stage whose rows a folder holds."""
        if kind == "scores":
            return int(subfolder[:2])
        if kind.startswith("pass-"):
            current = self.plan.passes[int(kind[-2:])]
            return current.stages[0] if current.stages else current.keys_for or 0
        if kind.startswith("look-") and not kind.endswith(".json"):
            return int(kind[-2:])
        models = [index for index, stage in enumerate(self.plan.stages) if stage.process_bytes()]
        return models[0] if models and kind in ("cache", "index", "old-index") else None

    def _trial_rows(self, index: int | None) -> int:
        """Return the number of rows of the trial that reached a stage; None: that were kept."""
        stage = self.trial.outcomes.stage
        reached = stage == KEPT if index is None else (stage != UNREADABLE) & ((stage < 0) | (stage >= index))
        return int(reached.sum())


def _widen(n_bytes: Interval, share: float) -> Interval:
    return Interval((1 - share) * n_bytes.low, n_bytes.expected, (1 + share) * n_bytes.high)


def _total(intervals: Iterable[Interval]) -> Interval:
    total = Interval.exactly(0.0)
    for interval in intervals:
        total = total.plus(interval)
    return total
