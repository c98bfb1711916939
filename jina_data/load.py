"""Load the rows of a fixed range as they are in front of a pass, or behind the last one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.desk import Desk
from jina_data.plan import UNKNOWN_SOURCE, Pass, Plan, Range
from jina_data.read import ROW
from jina_data.spool import read_rows
from jina_data.stages.base import Collective, Rows
from jina_data.stages.normalize import Normalize
from jina_data.stages.select import Select

Positions = npt.NDArray[np.int32]

SURVIVES = -1
"""The stage index of a row that no stage has dropped."""


def load(desk: Desk, current: Pass, piece: Range) -> Iterator[tuple[Rows, pa.Array]]:
    """Load the rows of a range that reach a pass, in batches, with their positions in the range.

    A range without such rows gives one empty batch, so that its state still has its columns.
    """
    positions = alive_at(desk, current.number, piece)
    table = load_table(desk, current, piece, _needed(desk.plan, current), positions)
    sources = row_sources(desk, piece, positions)
    row_ids = pa.array(positions.astype(np.uint64) + np.uint64(piece.first_row_id))
    view = desk.plan.views[_first_view(current)]
    for start in range(0, max(1, len(positions)), desk.plan.batch_rows):
        span = slice(start, start + desk.plan.batch_rows)
        batch = _one_batch(table.slice(start, desk.plan.batch_rows))
        yield Rows(batch, view, row_ids[span], sources[span]), pa.array(positions[span])


def alive_at(desk: Desk, pass_number: int, piece: Range) -> Positions:
    """Return the positions of the rows that reach a pass (the number of passes: those that survive the run)."""
    if pass_number == 0:
        return _positions(pq.read_table(desk.folder.spool(piece.file_index, piece.number), columns=[ROW]))
    before = desk.plan.passes[pass_number - 1]
    state = pq.read_table(desk.folder.state(before.number, piece.ordinal), columns=[ROW, "stage"])
    alive: Positions = _positions(state)[state.column("stage").to_numpy() == SURVIVES]
    if before.keys_for is None or not isinstance(desk.plan.stages[before.keys_for], Collective):
        return alive
    decided = read_decisions(desk, before.keys_for, piece).column("row_id").to_numpy()
    dropped = (decided - np.uint64(piece.first_row_id)).astype(np.int32)
    left: Positions = alive[~np.isin(alive, dropped)]
    return left


def _positions(table: pa.Table) -> Positions:
    positions: Positions = table.column(ROW).to_numpy()
    return positions


def read_decisions(desk: Desk, stage_index: int, piece: Range) -> pa.Table:
    """Read the rows of a range that a collective stage dropped."""
    first = pa.scalar(piece.first_row_id, pa.uint64())
    behind = pa.scalar(piece.first_row_id + piece.n_rows, pa.uint64())
    row_id = pc.field("row_id")
    return pq.read_table(desk.folder.decision(stage_index), filters=(row_id >= first) & (row_id < behind))


def load_table(
    desk: Desk, current: Pass | None, piece: Range, columns: Sequence[str], positions: Positions
) -> pa.Table:
    """Load some input columns of some rows as they are in front of a pass (None: behind the last).

    Renames and casts of the passes before are done again, and the texts they changed are laid over.
    """
    raw = read_rows(desk.folder, piece, columns, desk.plan.views[0].schema)
    table = _pick(raw, positions).drop_columns([ROW])
    passes = desk.plan.passes if current is None else desk.plan.passes[: current.number]
    for before in passes:
        batch = _one_batch(table)
        for index in before.stages:
            stage = desk.plan.stages[index]
            if isinstance(stage, Select):
                batch = stage.project(batch)
        table = _lay_over(desk, before, piece, batch, positions, final=current is None)
    return table


def _lay_over(
    desk: Desk,
    before: Pass,
    piece: Range,
    batch: pa.RecordBatch,
    positions: Positions,
    *,
    final: bool,
) -> pa.Table:
    """Lay the texts that a pass changed over a batch; data/ keeps the originals where the recipe says so."""
    table = pa.Table.from_batches([batch])
    names = [name for name in changed_columns(desk.plan, before) if name in table.column_names]
    if not names or (final and desk.plan.writes_original):
        return table
    path = desk.folder.state(before.number, piece.ordinal)
    state = _pick(pq.read_table(path, columns=[*(f"text:{name}" for name in names), ROW]), positions)
    for name in names:
        place = table.column_names.index(name)
        old, new = table.column(name), state.column(f"text:{name}")
        if new.null_count < len(new):
            table = table.set_column(place, name, pc.coalesce(new.cast(old.type), old))
    return table


def row_sources(desk: Desk, piece: Range, positions: Positions) -> pa.Array:
    """Return the source of some rows of a range: the value of the source column, or the file."""
    column = desk.plan.views[0].source
    if column is None:
        return pa.array([desk.plan.file_name(piece.file_index)] * len(positions), pa.string())
    table = _pick(read_rows(desk.folder, piece, [column], desk.plan.views[0].schema), positions)
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
    """Return the input columns that the stages of a pass look at."""
    readers = list(current.stages) + ([current.keys_for] if current.keys_for is not None else [])
    first = plan.views[_first_view(current)]
    names = dict.fromkeys(first.input_name(name) for name in first.text_columns)
    for index in readers:
        view = plan.views[index]
        names.update(dict.fromkeys(view.input_name(name) for name in plan.stages[index].reads(view)))
    return list(names)


def changed_columns(plan: Plan, current: Pass) -> tuple[str, ...]:
    """Return the text columns that the stages of a pass may change, under their names behind the pass."""
    if not any(isinstance(plan.stages[index], Normalize) for index in current.stages):
        return ()
    return plan.views[view_behind(current)].text_columns


def view_behind(current: Pass) -> int:
    """Return the number of the view behind a pass."""
    return current.stages[-1] + 1 if current.stages else 0
