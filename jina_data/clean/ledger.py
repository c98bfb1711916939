"""Writes the ledger: for every row of the input, whether it was kept, or which stage dropped it and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import UNKNOWN_SOURCE, InputRange, Plan, grouped
from jina_data.clean.rows import SURVIVES, read_decisions, row_sources
from jina_data.clean.spool import unreadable_rows
from jina_data.clean.worker import WorkerContext
from jina_data.errors import LawError
from jina_data.read import ROW
from jina_data.read.model import ROW_BITS
from jina_data.run.files import atomic_path
from jina_data.stages.base import Collective

UNREADABLE = -2
"""The stage index of a row that could not be parsed, in this module and in `RowOutcomes`."""

READ_STAGE, READ_REASON = "read", "unreadable"

LEDGER_ROWS = 1_000_000
"""The approximate maximum rows of a ledger file; a range is never split between files."""

LEDGER_SCHEMA = pa.schema(
    [
        ("row_id", pa.uint64()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("source", pa.string()),
        ("kept", pa.bool_()),
        ("stage_index", pa.int16()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("partner", pa.string()),
        ("partner_row_id", pa.uint64()),
    ]
)


@dataclass
class RowOutcomes:
    """What happened to the N rows of a range, by position.

    `stage` is SURVIVES, UNREADABLE or the index of the stage that dropped the row. `partner` and `partner_row_id` have
    entries for the rows whose stage named a partner.
    """

    stage: npt.NDArray[np.int16]
    reason: npt.NDArray[np.int16]
    score: npt.NDArray[np.float64]
    partner: dict[int, str]
    partner_row_id: dict[int, int]

    @property
    def kept(self) -> npt.NDArray[np.int32]:
        """The positions of the rows that were kept."""
        return np.flatnonzero(self.stage == SURVIVES).astype(np.int32)

    @property
    def dropped(self) -> npt.NDArray[np.int32]:
        """The positions of the rows that a stage dropped, without the unreadable rows."""
        return np.flatnonzero(self.stage >= 0).astype(np.int32)


def read_outcomes(worker: WorkerContext, piece: InputRange) -> RowOutcomes:
    """Collect the decisions of all passes and collective stages about a range."""
    outcomes = RowOutcomes(
        np.full(piece.n_rows, UNREADABLE, np.int16),
        np.full(piece.n_rows, -1, np.int16),
        np.full(piece.n_rows, np.nan),
        {},
        {},
    )
    parsed = pq.read_table(worker.folder.spool(piece.file_index, piece.number), columns=[ROW]).column(ROW).to_numpy()
    outcomes.stage[parsed] = SURVIVES
    for current in worker.plan.passes:
        path = worker.folder.state(current.number, piece.ordinal)
        partners = [name for name in pq.read_schema(path).names if name.startswith("partner:")]
        state = pq.read_table(path, columns=[ROW, "stage", "reason", "score", *partners])
        rows = state.column(ROW).to_numpy()
        for name, values in (("stage", outcomes.stage), ("reason", outcomes.reason), ("score", outcomes.score)):
            values[rows] = state.column(name).to_numpy()
        for name in partners:
            _add_partners(outcomes, int(name.removeprefix("partner:")), rows, state.column(name))
        if current.keys_for is not None and isinstance(worker.plan.stages[current.keys_for], Collective):
            _add_decisions(outcomes, current.keys_for, read_decisions(worker, current.keys_for, piece), piece)
    return outcomes


def _add_partners(outcomes: RowOutcomes, index: int, rows: npt.NDArray[np.int32], partners: pa.ChunkedArray) -> None:
    """Add the partners outside the run, for the rows that the stage dropped."""
    for row, partner in zip(rows.tolist(), partners.to_pylist(), strict=True):
        if partner is not None and outcomes.stage[row] == index:
            outcomes.partner[row] = partner


def _add_decisions(outcomes: RowOutcomes, index: int, decisions: pa.Table, piece: InputRange) -> None:
    rows = (decisions.column("row_id").to_numpy() - np.uint64(piece.first_row_id)).astype(np.int64)
    if (outcomes.stage[rows] != SURVIVES).any():
        raise LawError(f"stage {index} dropped a row that an earlier stage had dropped")
    outcomes.stage[rows] = index
    outcomes.reason[rows] = decisions.column("reason").to_numpy()
    outcomes.score[rows] = decisions.column("score").to_numpy()
    partners = zip(rows.tolist(), decisions.column("partner").to_pylist(), strict=True)
    outcomes.partner |= {row: partner for row, partner in partners if partner is not None}
    ids = zip(rows.tolist(), decisions.column("partner_row_id").to_pylist(), strict=True)
    outcomes.partner_row_id |= {row: row_id for row, row_id in ids if row_id is not None}


def partners_of(plan: Plan, outcomes: RowOutcomes, rows: npt.NDArray[np.int32]) -> list[str | None]:
    """Return the partners of rows as `file:row`; None for a row without one."""
    out: list[str | None] = []
    for row in rows.tolist():
        row_id = outcomes.partner_row_id.get(row)
        out.append(row_name(plan, row_id) if row_id is not None else outcomes.partner.get(row))
    return out


def row_name(plan: Plan, row_id: int) -> str:
    """Return a row id as `file:row`."""
    return f"{plan.file_name(row_id >> ROW_BITS)}:{row_id & (2**ROW_BITS - 1)}"


def stage_name(plan: Plan, index: int) -> str:
    """Return the name of the stage that dropped a row; unreadable rows have the stage "read"."""
    return READ_STAGE if index == UNREADABLE else plan.stages[index].name


def reason_name(plan: Plan, index: int, reason: int) -> str:
    """Return the reason for which a stage dropped a row."""
    return READ_REASON if index == UNREADABLE else plan.stages[index].reasons[reason]


def ledger_table(worker: WorkerContext, piece: InputRange, outcomes: RowOutcomes) -> pa.Table:
    """Return the ledger of a range: one row for every row of the input, readable or not."""
    rows = np.arange(piece.n_rows, dtype=np.int32)
    kept = outcomes.stage == SURVIVES
    stage = [None if index == SURVIVES else stage_name(worker.plan, index) for index in outcomes.stage.tolist()]
    reason = [
        None if index == SURVIVES else reason_name(worker.plan, index, code)
        for index, code in zip(outcomes.stage.tolist(), outcomes.reason.tolist(), strict=True)
    ]
    columns = {
        "row_id": pa.array(rows.astype(np.uint64) + np.uint64(piece.first_row_id)),
        "file": pa.array([worker.plan.file_name(piece.file_index)] * piece.n_rows, pa.string()),
        "row": pa.array(rows.astype(np.int64) + piece.first_row),
        "source": _sources(worker, piece, outcomes),
        "kept": pa.array(kept),
        "stage_index": pa.array(np.maximum(outcomes.stage, -1), mask=outcomes.stage < 0),
        "stage": pa.array(stage, pa.string()),
        "reason": pa.array(reason, pa.string()),
        "score": pa.array(outcomes.score, mask=np.isnan(outcomes.score)),
        "partner": pa.array(partners_of(worker.plan, outcomes, rows), pa.string()),
        "partner_row_id": pa.array([outcomes.partner_row_id.get(row) for row in rows.tolist()], pa.uint64()),
    }
    return pa.table(columns, schema=LEDGER_SCHEMA)


def _sources(worker: WorkerContext, piece: InputRange, outcomes: RowOutcomes) -> pa.Array:
    if worker.plan.views[0].source is None:
        return row_sources(worker, piece, np.arange(piece.n_rows, dtype=np.int32))
    parsed = np.flatnonzero(outcomes.stage != UNREADABLE).astype(np.int32)
    out = np.full(piece.n_rows, UNKNOWN_SOURCE, dtype=object)
    out[parsed] = row_sources(worker, piece, parsed).to_pylist()
    return pa.array(out, pa.string())


@dataclass(frozen=True)
class RangeCounts:
    """How many rows of a range were kept, dropped and unreadable."""

    ordinal: int
    kept: int
    dropped: int
    unreadable: int


def write_ledger(worker: WorkerContext, number: int, pieces: Sequence[InputRange]) -> dict[str, Any]:
    """Write one file of the ledger, and one file of scores for every stage, for some ranges.

    Raises:
        LawError: the rows of a range do not add up.
    """
    counts: list[RangeCounts] = []
    tables: list[pa.Table] = []
    for piece in pieces:
        outcomes = read_outcomes(worker, piece)
        unreadable = sum(1 for _ in unreadable_rows(worker.folder, piece))
        count = RangeCounts(piece.ordinal, len(outcomes.kept), len(outcomes.dropped), unreadable)
        if count.kept + count.dropped + count.unreadable != piece.n_rows:
            raise LawError(f"range {piece.ordinal} has {piece.n_rows} rows, but {count} do not add up to this number")
        counts.append(count)
        tables.append(ledger_table(worker, piece, outcomes))
    for index, stage in enumerate(worker.plan.stages):
        _write_scores(worker, number, pieces, index, f"{index:02d}-{stage.name}")
    metadata = {b"jina_data": json.dumps([vars(count) for count in counts]).encode()}
    table = pa.concat_tables([LEDGER_SCHEMA.empty_table(), *tables]).combine_chunks().replace_schema_metadata(metadata)
    with atomic_path(ledger_path(worker.folder, number)) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=2**17)
    return {"rows": table.num_rows}


def ledger_path(folder: CleanFolder, number: int) -> Path:
    """Return the path of a ledger file in the work folder."""
    return folder.out / "ledger" / f"part-{number:05d}.parquet"


def read_counts(folder: CleanFolder, number: int) -> list[RangeCounts]:
    """Read the row counts of the ranges in a ledger file."""
    metadata = pq.read_schema(ledger_path(folder, number)).metadata
    return [RangeCounts(**count) for count in json.loads(metadata[b"jina_data"])]


def _write_scores(worker: WorkerContext, number: int, pieces: Sequence[InputRange], index: int, name: str) -> None:
    """Write the scores of a stage for the rows that reached it; a stage without scores gets no file."""
    stage_pass = next((current for current in worker.plan.passes if index in current.stages), None)
    if stage_pass is None or not pieces:
        return
    prefix = f"score:{index}:"
    names = [
        column
        for column in pq.read_schema(worker.folder.state(stage_pass.number, pieces[0].ordinal)).names
        if column.startswith(prefix)
    ]
    if not names:
        return
    tables = [_scores_of(worker.folder, stage_pass.number, piece, names, prefix) for piece in pieces]
    with atomic_path(worker.folder.out / "scores" / name / f"part-{number:05d}.parquet") as temporary:
        pq.write_table(pa.concat_tables(tables).combine_chunks(), temporary, compression="zstd", row_group_size=2**17)


def _scores_of(folder: CleanFolder, pass_number: int, piece: InputRange, names: Sequence[str], prefix: str) -> pa.Table:
    state = pq.read_table(folder.state(pass_number, piece.ordinal), columns=[ROW, *names])
    row_ids = state.column(ROW).to_numpy().astype(np.uint64) + np.uint64(piece.first_row_id)
    columns = {name.removeprefix(prefix): state.column(name) for name in names}
    reached = np.zeros(state.num_rows, np.bool_)
    for column in columns.values():
        reached |= column.is_valid().to_numpy()
    return pa.table({"row_id": pa.array(row_ids), **columns}).filter(pa.array(reached))


def ledger_groups(pieces: Sequence[InputRange]) -> list[list[InputRange]]:
    """Divide the ranges among the files of the ledger; there is at least one file."""
    groups = grouped([(piece, piece.n_rows) for piece in pieces], LEDGER_ROWS)
    return [[piece for piece, _ in group] for group in groups] or [[]]
