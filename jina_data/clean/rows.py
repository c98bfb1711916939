"""Loads the rows of a fixed range in their state before a pass, or after the last pass.

The spool keeps the input unchanged, and each pass writes only its decisions and the texts that it changed. So rows are
loaded from the spool, and the renames, casts and changed texts of the earlier passes are applied again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.clean.plan import UNKNOWN_SOURCE, InputRange, Pass, Plan
from jina_data.clean.spool import read_rows
from jina_data.clean.worker import WorkerContext
from jina_data.read import ROW
from jina_data.read.as_text import to_text
from jina_data.stages.base import Barrier, Collective, Scored
from jina_data.stages.normalize import Normalize
from jina_data.stages.rows import Rows
from jina_data.stages.select import Select

Positions = npt.NDArray[np.int32]

SURVIVES = -1
"""The stage index of a row that no stage has dropped."""


def load(worker: WorkerContext, current: Pass, piece: InputRange) -> Iterator[tuple[Rows, pa.Array]]:
    """Load the rows of a range that reach a pass, in batches, with their positions in the range.

    If no rows reach the pass, it yields one empty batch, so that the state file still has all columns.
    """
    positions = remaining_positions(worker, current.number, piece)
    table = load_table(worker, current, piece, _columns_to_load(worker.plan, current), positions)
    sources = row_sources(worker, piece, positions)
    row_ids = pa.array(positions.astype(np.uint64) + np.uint64(piece.first_row_id))
    view = worker.plan.views[_first_view(current)]
    keys = _keys_before(worker, current, piece, positions)
    for start in range(0, max(1, len(positions)), worker.plan.batch_rows):
        span = slice(start, start + worker.plan.batch_rows)
        batch = _to_batch(table.slice(start, worker.plan.batch_rows))
        batch_keys = None if keys is None else _to_batch(keys.slice(start, worker.plan.batch_rows))
        yield Rows(batch, view, row_ids[span], sources[span], batch_keys), pa.array(positions[span])


def _keys_before(worker: WorkerContext, current: Pass, piece: InputRange, positions: Positions) -> pa.Table | None:
    """Return the keys that a barrier stage computed for the rows, if the pass begins with one."""
    if not current.stages or not isinstance(worker.plan.stages[current.stages[0]], Barrier):
        return None
    path = worker.folder.state(current.number - 1, piece.ordinal)
    names = [name for name in pq.read_schema(path).names if name.startswith("key:")]
    table = _pick(pq.read_table(path, columns=[*names, ROW]), positions).select(names)
    return table.rename_columns([name.removeprefix("key:") for name in names])


def fetch(
    worker: WorkerContext, current: Pass, pieces: Sequence[InputRange], row_ids: npt.NDArray[np.uint64]
) -> Iterator[Rows]:
    """Read rows in their state after a pass, in batches; their ids ascend, and all of them remain after the pass."""
    index = current.keys_for
    assert index is not None
    view = worker.plan.views[index]
    names = _input_columns(worker.plan, index)
    for piece in pieces:
        bounds = np.array([piece.first_row_id, piece.first_row_id + piece.n_rows], np.uint64)
        low, high = np.searchsorted(row_ids, bounds)
        if low == high:
            continue
        positions = (row_ids[low:high] - np.uint64(piece.first_row_id)).astype(np.int32)
        for start in range(0, len(positions), worker.plan.batch_rows):
            batch_positions = positions[start : start + worker.plan.batch_rows]
            passes = worker.plan.passes[: current.number + 1]
            table = _apply_passes(worker, passes, piece, names, batch_positions, final=False)
            ids = pa.array(row_ids[low + start : low + start + len(batch_positions)])
            yield Rows(_to_batch(table), view, ids, row_sources(worker, piece, batch_positions))


def remaining_positions(worker: WorkerContext, pass_number: int, piece: InputRange) -> Positions:
    """Return the positions of the rows that reach a pass; for the number of passes, those of the kept rows."""
    if pass_number == 0:
        return _positions(pq.read_table(worker.folder.spool(piece.file_index, piece.number), columns=[ROW]))
    previous = worker.plan.passes[pass_number - 1]
    state = pq.read_table(worker.folder.state(previous.number, piece.ordinal), columns=[ROW, "stage"])
    alive: Positions = _positions(state)[state.column("stage").to_numpy() == SURVIVES]
    if previous.keys_for is None or not isinstance(worker.plan.stages[previous.keys_for], Collective):
        return alive
    decided = read_decisions(worker, previous.keys_for, piece).column("row_id").to_numpy()
    dropped = (decided - np.uint64(piece.first_row_id)).astype(np.int32)
    remaining: Positions = alive[~np.isin(alive, dropped)]
    return remaining


def _positions(table: pa.Table) -> Positions:
    positions: Positions = table.column(ROW).to_numpy()
    return positions


def read_decisions(worker: WorkerContext, stage_index: int, piece: InputRange) -> pa.Table:
    """Read the rows of a range that a collective stage dropped."""
    first = pa.scalar(piece.first_row_id, pa.uint64())
    end = pa.scalar(piece.first_row_id + piece.n_rows, pa.uint64())
    row_id = pc.field("row_id")
    return pq.read_table(worker.folder.dropped_rows(stage_index), filters=(row_id >= first) & (row_id < end))


def load_table(
    worker: WorkerContext, current: Pass | None, piece: InputRange, columns: Sequence[str], positions: Positions
) -> pa.Table:
    """Load input columns of rows in their state before a pass (None: after the last)."""
    passes = worker.plan.passes if current is None else worker.plan.passes[: current.number]
    return _apply_passes(worker, passes, piece, columns, positions, final=current is None)


def _apply_passes(
    worker: WorkerContext,
    passes: Sequence[Pass],
    piece: InputRange,
    columns: Sequence[str],
    positions: Positions,
    *,
    final: bool,
) -> pa.Table:
    """Load input columns of rows, and apply the renames, casts and changed texts of some passes.

    With `final`, the rows are for data/, which may keep the original texts.
    """
    raw = read_rows(worker.folder, piece, columns, worker.plan.views[0].schema)
    table = _pick(raw, positions).drop_columns([ROW])
    for earlier in passes:
        batch = _to_batch(table)
        for index in earlier.stages:
            stage = worker.plan.stages[index]
            if isinstance(stage, Select):
                batch = stage.project(batch)
        table = _apply_changes(worker, earlier, piece, batch, positions, final=final)
    return table


def _apply_changes(
    worker: WorkerContext,
    earlier: Pass,
    piece: InputRange,
    batch: pa.RecordBatch,
    positions: Positions,
    *,
    final: bool,
) -> pa.Table:
    """Replace the texts that a pass changed, and remove those that it removed from rows that it kept."""
    table = pa.Table.from_batches([batch])
    names = [name for name in changed_columns(worker.plan, earlier) if name in table.column_names]
    if final and worker.plan.writes_original:
        names = []  # data/ gets the original texts
    path = worker.folder.state(earlier.number, piece.ordinal)
    masks = _removal_masks(worker, earlier, path, table.column_names)
    if not names and not masks:
        return table
    state_columns = [*(f"text:{name}" for name in names), *masks, ROW]
    state = _pick(pq.read_table(path, columns=state_columns), positions)
    # The changed texts already lack the removed ones, so they are applied last.
    for mask, name in masks.items():
        array = without(_combine(table.column(name)), _combine(state.column(mask)))
        table = table.set_column(table.column_names.index(name), name, array)
    for name in names:
        index = table.column_names.index(name)
        old, new = table.column(name), state.column(f"text:{name}")
        if new.null_count < len(new):
            table = table.set_column(index, name, pc.coalesce(new.cast(old.type), old))
    return table


def _removal_masks(worker: WorkerContext, earlier: Pass, path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Return the columns of a state file that mark removed texts, each with the current name of its text column.

    A mask is named `removed:STAGE:COLUMN`, with the name of the column at that stage; later `select` stages of the
    pass may have renamed it.
    """
    if not any(isinstance(worker.plan.stages[index], Scored) for index in earlier.stages):
        return {}
    columns_of = {}
    masks = [name for name in pq.read_schema(path).names if name.startswith("removed:")]
    for mask in sorted(masks, key=lambda name: int(name.split(":", 2)[1])):
        _, index, name = mask.split(":", 2)
        for later in earlier.stages[earlier.stages.index(int(index)) + 1 :]:
            stage = worker.plan.stages[later]
            name = stage.rename.get(name, name) if isinstance(stage, Select) else name
        if name in columns:
            columns_of[mask] = name
    return columns_of


def without(values: pa.Array, mask: pa.Array) -> pa.Array:
    """Remove texts from N rows; `mask` has a bool for each text, or a list of bools for each list (null: none).

    A removed text becomes null; from a list, it is deleted.
    """
    if pa.types.is_boolean(mask.type):
        return pc.if_else(pc.fill_null(mask, False), pa.scalar(None, values.type), values)
    pairs = zip(values.to_pylist(), mask.to_pylist(), strict=True)
    remaining = [
        texts
        if texts is None or flags is None
        else [text for text, is_removed in zip(texts, flags, strict=True) if not is_removed]
        for texts, flags in pairs
    ]
    return pa.array(remaining, values.type)


def row_sources(worker: WorkerContext, piece: InputRange, positions: Positions) -> pa.Array:
    """Return the sources of rows of a range: the values of the source column, or the name of the file."""
    column = worker.plan.views[0].source
    if column is None:
        return pa.array([worker.plan.file_name(piece.file_index)] * len(positions), pa.string())
    table = _pick(read_rows(worker.folder, piece, [column], worker.plan.views[0].schema), positions)
    values = pc.fill_null(to_text(table.column(column)), UNKNOWN_SOURCE).combine_chunks()
    return values if isinstance(values, pa.Array) else values.combine_chunks()


def _pick(table: pa.Table, positions: Positions) -> pa.Table:
    """Return the rows of a table at ascending positions, all of which the table has."""
    if table.num_rows == len(positions):
        return table
    indices = np.searchsorted(table.column(ROW).to_numpy(), positions)
    return table.take(pa.array(indices))


def _to_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.chunk(0) if column.num_chunks == 1 else _combine(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=table.column_names)


def _combine(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _first_view(current: Pass) -> int:
    """Return the index of the view before a pass."""
    if current.stages:
        return current.stages[0]
    return 0 if current.keys_for is None else current.keys_for


def _columns_to_load(plan: Plan, current: Pass) -> list[str]:
    """Return the input columns that the stages of a pass read; a pass without stages loads the texts."""
    readers = [*current.stages, *([] if current.keys_for is None else [current.keys_for])]
    if not readers:
        return [plan.views[0].input_name(name) for name in plan.views[0].text_columns]
    return list(dict.fromkeys(name for index in readers for name in _input_columns(plan, index)))


def _input_columns(plan: Plan, index: int) -> list[str]:
    """Return the input columns that a stage gets."""
    view = plan.views[index]
    return [view.input_name(name) for name in plan.stages[index].input_columns(view)]


def changed_columns(plan: Plan, current: Pass) -> tuple[str, ...]:
    """Return the text columns that the stages of a pass may change, by their names after the pass."""
    if not any(isinstance(plan.stages[index], Normalize) for index in current.stages):
        return ()
    return plan.views[view_after(current)].text_columns


def view_after(current: Pass) -> int:
    """Return the index of the view after a pass."""
    return current.stages[-1] + 1 if current.stages else 0
