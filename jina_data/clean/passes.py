"""Runs the stages of a pass over one fixed range of the input; every engine calls this."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jina_data.clean.markup_count import count_markup, keeps_markup
from jina_data.clean.plan import InputRange, Pass, Plan
from jina_data.clean.rows import SURVIVES, changed_columns, load, view_after, without
from jina_data.clean.spool import write_parquet
from jina_data.clean.worker import WorkerContext
from jina_data.read import ROW
from jina_data.stages.base import KEEP, Barrier, Collective, FitResult, Outcome, RowLocal, Scored, Sql
from jina_data.stages.fuse import apply_sql
from jina_data.stages.rows import Rows
from jina_data.stages.select import Select


@dataclass
class _RangeState:
    """The result of a pass for N rows: the stage that dropped each row (or SURVIVES), its reason and its score.

    `columns` has the other columns of the state file: scores, keys, changed texts, removed texts and partners.
    """

    stage: npt.NDArray[np.int16]
    reason: npt.NDArray[np.int16]
    score: npt.NDArray[np.float64]
    columns: dict[str, pa.Array] = field(default_factory=dict)

    @classmethod
    def start(cls, n_rows: int) -> _RangeState:
        return cls(np.full(n_rows, SURVIVES, np.int16), np.full(n_rows, KEEP, np.int16), np.full(n_rows, np.nan))

    def add(self, index: int, outcome: Outcome, positions: npt.NDArray[np.int64]) -> None:
        """Add the outcome of stage `index` for the rows at `positions`."""
        dropped = outcome.reason != KEEP
        self.stage[positions[dropped]] = index
        self.reason[positions[dropped]] = outcome.reason[dropped]
        self.score[positions[dropped]] = outcome.score[dropped]
        for name, values in outcome.scores.items():
            self.columns[f"score:{index}:{name}"] = scatter(values, positions, len(self.stage))
        for name, values in outcome.removed.items():
            self.columns[f"removed:{index}:{name}"] = scatter(values, positions, len(self.stage))
        if outcome.partner is not None:
            self.columns[f"partner:{index}"] = scatter(outcome.partner, positions, len(self.stage))

    def table(self, rows: pa.Array) -> pa.Table:
        decisions = {
            ROW: rows,
            "stage": pa.array(self.stage),
            "reason": pa.array(self.reason),
            "score": pa.array(self.score, from_pandas=True),
        }
        return pa.table(decisions | self.columns)


def run_pass(worker: WorkerContext, current: Pass, piece: InputRange) -> dict[str, Any]:
    """Run a pass over one range, and write its result as one file.

    Returns:
        Metrics for the event log: "rows", and "stages", the seconds of each stage (a fused query counts for its first
        stage). The first pass counts "markup", the texts with HTML.
    """
    seconds: dict[int, float] = {}
    tables = []
    markup: dict[str, int] = {}
    kept_roles = keeps_markup(worker.plan) if current.number == 0 else ()
    for rows, positions in load(worker, current, piece):
        if kept_roles:
            counts = count_markup(rows, kept_roles)
            markup = {name: markup.get(name, 0) + count for name, count in counts.items()}
        tables.append(_run_batch(worker, current, rows, positions, seconds))
    worker.context.cache.flush(f"pass-{current.number:02d}-range-{piece.ordinal:06d}")
    write_parquet(worker.folder.state(current.number, piece.ordinal), _unite(tables), compression="lz4")
    metrics: dict[str, Any] = {
        "rows": sum(table.num_rows for table in tables),
        "stages": {str(index): round(value, 6) for index, value in seconds.items()},
    }
    if markup:
        metrics["markup"] = markup
    cached = worker.context.cache.take_counts()
    return metrics | {"scores": cached} if cached else metrics


def _run_batch(
    worker: WorkerContext,
    current: Pass,
    rows: Rows,
    positions: pa.Array,
    seconds: dict[int, float],
) -> pa.Table:
    state = _RangeState.start(len(rows))
    # Invariant: `rows` are the rows that remain, and `alive` are their positions in the batch. `changed` has the
    # current texts of the columns that this pass changed, for all rows of the batch (null for rows dropped earlier).
    alive = np.arange(len(rows), dtype=np.int64)
    changed: dict[str, pa.Array] = {}
    # Consecutive SQL stages share the key -1 and run as one fused query.
    for _, group in groupby(
        current.stages, lambda index: index if not isinstance(worker.plan.stages[index], Sql) else -1
    ):
        indices = list(group)
        started = time.perf_counter()
        outcomes, rows = _apply(worker, indices, rows)
        keep = np.ones(len(rows), np.bool_)
        for index, outcome in zip(indices, outcomes, strict=True):
            state.add(index, outcome, alive)
            keep &= outcome.reason == KEEP
            for name, values in outcome.changed.items():
                changed[name] = scatter(values, alive, len(state.stage))
            for name in outcome.removed.keys() & changed.keys():
                changed[name] = without(changed[name], scatter(outcome.removed[name], alive, len(state.stage)))
        changed = _rename(worker.plan, indices, changed)
        rows, alive = rows.take(keep), alive[keep]
        seconds[indices[0]] = seconds.get(indices[0], 0.0) + time.perf_counter() - started
    if current.keys_for is not None:
        started = time.perf_counter()
        _add_keys(worker, current.keys_for, state, rows, alive)
        seconds[current.keys_for] = seconds.get(current.keys_for, 0.0) + time.perf_counter() - started
    for name in changed_columns(worker.plan, current):
        kind = worker.plan.views[view_after(current)].schema.field(name).type
        state.columns[f"text:{name}"] = changed.get(name, pa.nulls(len(state.stage), kind))
    return state.table(positions)


def _apply(worker: WorkerContext, indices: Sequence[int], rows: Rows) -> tuple[list[Outcome], Rows]:
    """Apply one stage, or several SQL stages as one query; return their outcomes, and all rows with changed texts."""
    stage = worker.plan.stages[indices[0]]
    if isinstance(stage, Sql):
        fused = [stage for stage in (worker.plan.stages[index] for index in indices) if isinstance(stage, Sql)]
        return apply_sql(worker.con, fused, worker.plan.views[indices[0] : indices[-1] + 2], rows)
    if isinstance(stage, Barrier):
        fit_result = FitResult(
            worker.folder.read_json(worker.folder.barrier_result(indices[0])), worker.folder.barrier_files(indices[0])
        )
        outcome = stage.apply(rows, fit_result, worker.context)
    elif isinstance(stage, Scored):
        outcome = stage.apply(rows, worker.context)
    else:
        assert isinstance(stage, RowLocal)
        outcome = stage.apply(rows)
    changed = {**outcome.changed}
    for name, mask in outcome.removed.items():
        changed[name] = without(changed.get(name, rows.batch.column(name)), mask)
    return [outcome], replace(rows.with_columns(changed), keys=None)


def _rename(plan: Plan, indices: Sequence[int], changed: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Rename the changed columns as the `select` stages of a group do."""
    for index in indices:
        stage = plan.stages[index]
        if isinstance(stage, Select):
            changed = {stage.rename.get(name, name): values for name, values in changed.items()}
    return changed


def _add_keys(worker: WorkerContext, index: int, state: _RangeState, rows: Rows, alive: npt.NDArray[np.int64]) -> None:
    stage = worker.plan.stages[index]
    assert isinstance(stage, Barrier | Collective)
    for name, values in stage.keys(rows, worker.context).items():
        state.columns[f"key:{name}"] = scatter(values, alive, len(state.stage))
    state.columns["key:source"] = scatter(rows.sources, alive, len(state.stage))
    state.columns["key:row_id"] = scatter(rows.row_ids, alive, len(state.stage))


def scatter(values: pa.Array, positions: npt.NDArray[np.int64], n_rows: int) -> pa.Array:
    """Return N values: `values` at `positions`, which ascend, and null elsewhere."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if len(positions) == n_rows:
        return values
    # `take` with a masked index gives null.
    indices = np.zeros(n_rows, np.int64)
    absent = np.ones(n_rows, np.bool_)
    indices[positions] = np.arange(len(positions))
    absent[positions] = False
    return values.take(pa.array(indices, mask=absent))


def _unite(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default").combine_chunks()
