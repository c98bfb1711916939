"""Bytes of a run, in memory and on disk, from those of a trial on a sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jina_data.clean.plan import Plan
from jina_data.engines.local import PROCESS_BYTES, MemoryBudget
from jina_data.forecast.estimates import Interval
from jina_data.forecast.row_flow import Flow
from jina_data.forecast.sample import InputSample
from jina_data.forecast.trial import KEPT, UNREADABLE, Trial
from jina_data.stages.base import Collective

MANIFEST = ".work/complete.json"
"""What becomes the manifest."""
KEY_BYTES = 100
"""What a row's keys take in memory while a stage decides, about."""
COMPRESSES = 0.15
"""How much better or worse the rows of a run may compress than those of a sample."""
FEW_ROWS = 1_000
"""Fewer dropped rows than these are mostly the frame of their file."""
DROPPED_BYTES = 16
"""What a dropped row has more than a kept one, compressed: where it was, and why it fell."""
EXCLUDED_BYTES = 24
"""What `consistency` notes about the positive of a row."""


@dataclass(frozen=True)
class MemoryEstimate:
    """The bytes of a run: at the peak in memory; of its folder at the largest and at the end; of data/, dropped/."""

    memory: Interval
    work: Interval
    folder: Interval
    data: Interval
    dropped: Interval


def footprint_of(
    plan: Plan, drawn: InputSample, trial: Trial, flow: Flow, budget: MemoryBudget, sample_bytes: int
) -> MemoryEstimate:
    """Return the bytes of a run; `sample_bytes` is what the sample held in memory during the trial."""
    stepping = _Stepping(plan, drawn, trial, flow)
    sizes = {name: stepping.size(name, n_bytes) for name, n_bytes in trial.sizes.items()}
    stays = [size for name, size in sizes.items() if not name.startswith(".work") or name == MANIFEST]
    memory = _memory(plan, drawn, flow, budget, max(PROCESS_BYTES, trial.peak_memory_bytes - sample_bytes))
    return MemoryEstimate(memory, _sum(sizes.values()), _sum(stays), sizes["data"], sizes["dropped"])


def _memory(plan: Plan, drawn: InputSample, flow: Flow, budget: MemoryBudget, one: float) -> Interval:
    """Return the memory at the peak: what one process held, for every worker, their parent, and keys."""
    deciding = [
        rows.expected for stage, rows in zip(plan.stages, flow.rows_in, strict=True) if isinstance(stage, Collective)
    ]
    keys = min(float(budget.duckdb), KEY_BYTES * max(deciding, default=0.0))
    workers = max(1, min(budget.workers, drawn.n_ranges))
    expected = one + keys if workers == 1 else PROCESS_BYTES + workers * one + keys
    return Interval(0.7 * expected, expected, min(1.35 * expected, max(expected, budget.total)))


@dataclass(frozen=True)
class _Stepping:
    """Steps from the size of a folder of the trial to that of the run."""

    plan: Plan
    drawn: InputSample
    trial: Trial
    flow: Flow

    def size(self, name: str, n_bytes: int) -> Interval:
        """Return the bytes of a folder of the run, by what its rows are."""
        kind, _, rest = name.removeprefix(".work/").partition("/")
        if self.drawn.way == "all":
            return Interval.exactly(n_bytes)
        if kind.startswith("look-") and int(kind[5:7]) in self.flow.pools:
            return self._pool(int(kind[5:7]))
        found = self._rows_of(kind, rest)
        if found is None or not found[1]:
            return Interval.exactly(n_bytes)
        rows, tried = found
        if kind == "dropped" and tried < FEW_ROWS:
            kept = self.trial.sizes.get("data", 0) / max(1, self._tried(None)) * self.drawn.closeness
            return _widely(rows.times(kept + DROPPED_BYTES), 0.6)
        closeness = self.drawn.closeness if kind in ("spool", "data") else 1.0
        return _widely(rows.times(closeness * n_bytes / tried), COMPRESSES)

    def _pool(self, index: int) -> Interval:
        pool = sum(pool for _, pool in self.flow.pools[index].values())
        vectors = Interval.exactly(2.0 * pool * self.trial.looks[index]["dim"])
        return self.flow.rows_in[index].times(EXCLUDED_BYTES).plus(vectors)

    def _rows_of(self, kind: str, rest: str) -> tuple[Interval, int] | None:
        """Return the rows that a folder is about, of the run and of the trial; None where its size is fixed."""
        if kind in ("spool", "ledger"):
            return self.flow.rows, self.trial.n_rows
        if kind == "data":
            return self.flow.kept, self._tried(None)
        if kind == "dropped":
            return self.flow.dropped, int((self.trial.fates.stage >= 0).sum())
        index = self._stage_of(kind, rest)
        if index is None:
            return None
        rows = self.flow.rows_in[index] if index < len(self.flow.rows_in) else self.flow.kept
        return rows, self._tried(index)

    def _stage_of(self, kind: str, rest: str) -> int | None:
        """Return the stage whose rows a folder is about."""
        if kind == "scores":
            return int(rest[:2])
        if kind.startswith("pass-"):
            current = self.plan.passes[int(kind[-2:])]
            return current.stages[0] if current.stages else current.keys_for or 0
        if kind.startswith("look-") and not kind.endswith(".json"):
            return int(kind[-2:])
        models = [index for index, stage in enumerate(self.plan.stages) if stage.process_bytes()]
        return models[0] if models and kind in ("cache", "index", "old-index") else None

    def _tried(self, index: int | None) -> int:
        """Return the rows of the trial that got to a stage; None: that were kept."""
        stage = self.trial.fates.stage
        reached = stage == KEPT if index is None else (stage != UNREADABLE) & ((stage < 0) | (stage >= index))
        return int(reached.sum())


def _widely(n_bytes: Interval, share: float) -> Interval:
    return Interval((1 - share) * n_bytes.low, n_bytes.expected, (1 + share) * n_bytes.high)


def _sum(intervals: Iterable[Interval]) -> Interval:
    total = Interval.exactly(0.0)
    for interval in intervals:
        total = total.plus(interval)
    return total
