"""Load the rows of a fixed range as they are in front of a pass, or behind the last one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.clean.plan import UNKNOWN_SOURCE, Pass, Plan, Range
from jina_data.clean.spool import read_rows
from jina_data.clean.worker import WorkerContext
from jina_data.read import ROW
from jina_data.stages.base import Barrier, Collective, Scored
from jina_data.stages.normalize import Normalize
from jina_data.stages.rows import Rows
from jina_data.stages.select import Select

Positions = npt.NDArray[np.int32]

SURVIVES = -1
"""The stage index of a row that no stage has dropped."""


def load(worker: WorkerContext, current: Pass, piece: Range) -> Iterator[tuple[Rows, pa.Array]]:
    """Load the rows of a range that reach a pass, in batches, with their positions in the range.

    A range without such rows gives one empty batch, so that its state still has its columns.
    """
    positions = alive_at(worker, current.number, piece)
    table = load_table(worker, current, piece, _needed(worker.plan, current), positions)
    sources = row_sources(worker, piece, positions)
    row_ids = pa.array(positions.astype(np.uint64) + np.uint64(piece.first_row_id))
    view = worker.plan.views[_first_view(current)]
    keys = _keys_before(worker, current, piece, positions)
    for start in range(0, max(1, len(positions)), worker.plan.batch_rows):
        span = slice(start, start + worker.plan.batch_rows)
        batch = _one_batch(table.slice(start, worker.plan.batch_rows))
        own = None if keys is None else _one_batch(keys.slice(start, worker.plan.batch_rows))
        yield Rows(batch, view, row_ids[span], sources[span], own), pa.array(positions[span])


def _keys_before(worker: WorkerContext, current: Pass, piece: Range, positions: Positions) -> pa.Table | None:
    """Return the keys that a barrier made of its rows, where a pass begins with one."""
    if not current.stages or not isinstance(worker.plan.stages[current.stages[0]], Barrier):
        return None
    path = worker.folder.state(current.number - 1, piece.ordinal)
    names = [name for name in pq.read_schema(path).names if name.startswith("key:")]
    table = _pick(pq.read_table(path, columns=[*names, ROW]), positions).select(names)
    return table.rename_columns([name.removeprefix("key:") for name in names])


def fetch(
    worker: WorkerContext, current: Pass, pieces: Sequence[Range], row_ids: npt.NDArray[np.uint64]
) -> Iterator[Rows]:
    """Read some rows (ids ascending) as they are behind a pass, in batches; all have survived it."""
    index = current.keys_for
    assert index is not None
    view = worker.plan.views[index]
    names = _seen(worker.plan, index)
    for piece in pieces:
        bounds = np.array([piece.first_row_id, piece.first_row_id + piece.n_rows], np.uint64)
        low, high = np.searchsorted(row_ids, bounds)
        if low == high:
            continue
        positions = (row_ids[low:high] - np.uint64(piece.first_row_id)).astype(np.int32)
        for start in range(0, len(positions), worker.plan.batch_rows):
            some = positions[start : start + worker.plan.batch_rows]
            batch = _one_batch(_behind(worker, current, piece, names, some))
            ids = pa.array(row_ids[low + start : low + start + len(some)])
            yield Rows(batch, view, ids, row_sources(worker, piece, some))


def alive_at(worker: WorkerContext, pass_number: int, piece: Range) -> Positions:
    """Return the positions of the rows that reach a pass (the number of passes: those that survive the run)."""
    if pass_number == 0:
        return _positions(pq.read_table(worker.folder.spool(piece.file_index, piece.number), columns=[ROW]))
    before = worker.plan.passes[pass_number - 1]
    state = pq.read_table(worker.folder.state(before.number, piece.ordinal), columns=[ROW, "stage"])
    alive: Positions = _positions(state)[state.column("stage").to_numpy() == SURVIVES]
    if before.keys_for is None or not isinstance(worker.plan.stages[before.keys_for], Collective):
        return alive
    decided = read_decisions(worker, before.keys_for, piece).column("row_id").to_numpy()
    dropped = (decided - np.uint64(piece.first_row_id)).astype(np.int32)
    left: Positions = alive[~np.isin(alive, dropped)]
    return left


def _positions(table: pa.Table) -> Positions:
    positions: Positions = table.column(ROW).to_numpy()
    return positions


def read_decisions(worker: WorkerContext, stage_index: int, piece: Range) -> pa.Table:
    """Read the rows of a range that a collective stage dropped."""
    first = pa.scalar(piece.first_row_id, pa.uint64())
    behind = pa.scalar(piece.first_row_id + piece.n_rows, pa.uint64())
    row_id = pc.field("row_id")
    return pq.read_table(worker.folder.dropped_rows(stage_index), filters=(row_id >= first) & (row_id < behind))


def load_table(
    worker: WorkerContext, current: Pass | None, piece: Range, columns: Sequence[str], positions: Positions
) -> pa.Table:
    """Load some input columns of some rows as they are in front of a pass (None: behind the last).

    Renames and casts of the passes before are done again, and the texts they changed are laid over.
    """
    passes = worker.plan.passes if current is None else worker.plan.passes[: current.number]
    return _through(worker, passes, piece, columns, positions, final=current is None)


def _behind(
    worker: WorkerContext, current: Pass, piece: Range, columns: Sequence[str], positions: Positions
) -> pa.Table:
    """Load some input columns of some rows as they are behind a pass."""
    return _through(worker, worker.plan.passes[: current.number + 1], piece, columns, positions, final=False)


def _through(
    worker: WorkerContext,
    passes: Sequence[Pass],
    piece: Range,
    columns: Sequence[str],
    positions: Positions,
    *,
    final: bool,
) -> pa.Table:
    raw = read_rows(worker.folder, piece, columns, worker.plan.views[0].schema)
    table = _pick(raw, positions).drop_columns([ROW])
    for before in passes:
        batch = _one_batch(table)
        for index in before.stages:
            stage = worker.plan.stages[index]
            if isinstance(stage, Select):
                batch = stage.project(batch)
        table = _lay_over(worker, before, piece, batch, positions, final=final)
    return table


def _lay_over(
    worker: WorkerContext,
    before: Pass,
    piece: Range,
    batch: pa.RecordBatch,
    positions: Positions,
    *,
    final: bool,
) -> pa.Table:
    """Lay the texts that a pass changed over a batch; data/ keeps the originals where the recipe says so."""
    table = pa.Table.from_batches([batch])
    names = [name for name in changed_columns(worker.plan, before) if name in table.column_names]
    if final and worker.plan.writes_original:
        names = []
    path = worker.folder.state(before.number, piece.ordinal)
    masks = _removals(worker, before, path, table.column_names)
    if not names and not masks:
        return table
    wanted = [*(f"text:{name}" for name in names), *masks, ROW]
    state = _pick(pq.read_table(path, columns=wanted), positions)
    # What was taken out is missing in the changed texts already, so those come last.
    for mask, name in masks.items():
        array = without(_joined(table.column(name)), _joined(state.column(mask)))
        table = table.set_column(table.column_names.index(name), name, array)
    for name in names:
        place = table.column_names.index(name)
        old, new = table.column(name), state.column(f"text:{name}")
        if new.null_count < len(new):
            table = table.set_column(place, name, pc.coalesce(new.cast(old.type), old))
    return table


def _removals(worker: WorkerContext, before: Pass, path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Return the columns of a state that tell which texts were taken out of rows that stay, and of which column."""
    if not any(isinstance(worker.plan.stages[index], Scored) for index in before.stages):
        return {}
    found = {}
    masks = [name for name in pq.read_schema(path).names if name.startswith("removed:")]
    for mask in sorted(masks, key=lambda name: int(name.split(":", 2)[1])):
        _, index, name = mask.split(":", 2)
        for later in before.stages[before.stages.index(int(index)) + 1 :]:
            stage = worker.plan.stages[later]
            name = stage.rename.get(name, name) if isinstance(stage, Select) else name
        if name in columns:
            found[mask] = name
    return found


def without(values: pa.Array, mask: pa.Array) -> pa.Array:
    """Take texts out of N rows: `mask` is a bool for each text, or a list of bools for each list; null takes none."""
    if pa.types.is_boolean(mask.type):
        return pc.if_else(pc.fill_null(mask, False), pa.scalar(None, values.type), values)
    pairs = zip(values.to_pylist(), mask.to_pylist(), strict=True)
    left = [
        texts if texts is None or gone is None else [text for text, one in zip(texts, gone, strict=True) if not one]
        for texts, gone in pairs
    ]
    return pa.array(left, values.type)


def row_sources(worker: WorkerContext, piece: Range, positions: Positions) -> pa.Array:
    """Return the source of some rows of a range: the value of the source column, or the file."""
    column = worker.plan.views[0].source
    if column is None:
        return pa.array([worker.plan.file_name(piece.file_index)] * len(positions), pa.string())
    table = _pick(read_rows(worker.folder, piece, [column], worker.plan.views[0].schema), positions)
    values = pc.fill_null(pc.cast(table.column(column), pa.string()), UNKNOWN_SOURCE).combine_chunks()
    return values if isinstance(values, pa.Array) else values.combine_chunks()


def _pick(table: pa.Table, positions: Positions) -> pa.Table:
    """Return the rows of a table at some positions, which it has all, ascending."""
    if table.num_rows == len(positions):
        return table
    places = np.searchsorted(table.column(ROW).to_numpy(), positions)
    return table.take(pa.array(places))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.chunk(0) if column.num_chunks == 1 else _joined(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=table.column_names)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _first_view(current: Pass) -> int:
    """Return the number of the view in front of a pass."""
    if current.stages:
        return current.stages[0]
    return 0 if current.keys_for is None else current.keys_for


def _needed(plan: Plan, current: Pass) -> list[str]:
    """Return the input columns that the stages of a pass look at; a pass without any still loads the texts."""
    readers = [*current.stages, *([] if current.keys_for is None else [current.keys_for])]
    if not readers:
        return [plan.views[0].input_name(name) for name in plan.views[0].text_columns]
    return list(dict.fromkeys(name for index in readers for name in _seen(plan, index)))


def _seen(plan: Plan, index: int) -> list[str]:
    """Return the input columns that a stage is handed."""
    view = plan.views[index]
    return [view.input_name(name) for name in plan.stages[index].input_columns(view)]


def changed_columns(plan: Plan, current: Pass) -> tuple[str, ...]:
    """Return the text columns that the stages of a pass may change, under their names behind the pass."""
    if not any(isinstance(plan.stages[index], Normalize) for index in current.stages):
        return ()
    return plan.views[view_behind(current)].text_columns


def view_behind(current: Pass) -> int:
    """Return the number of the view behind a pass."""
    return current.stages[-1] + 1 if current.stages else 0
