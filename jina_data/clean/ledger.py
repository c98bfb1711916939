"""The ledger: what became of every row."""

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
from jina_data.clean.plan import ROW_BITS, UNKNOWN_SOURCE, Plan, Range, grouped
from jina_data.clean.rows import SURVIVES, read_decisions, row_sources
from jina_data.clean.spool import unreadable_rows
from jina_data.clean.worker import WorkerContext
from jina_data.errors import LawError
from jina_data.read import ROW
from jina_data.run.files import whole_path
from jina_data.stages.base import Collective

UNREADABLE = -2
"""The stage index, inside this module, of a row that could not be parsed."""

READ_STAGE, READ_REASON = "read", "unreadable"

LEDGER_ROWS = 1_000_000
"""A ledger file holds whole ranges, up to about so many rows."""

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
    """What became of the N rows of a range, by position.

    `stage` is SURVIVES, UNREADABLE or the index of the stage that dropped the row; `partner` and `partner_row_id` are
    there only where a stage named one.
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
        """The positions of the rows that a stage dropped; unreadable rows are not among them."""
        return np.flatnonzero(self.stage >= 0).astype(np.int32)


def fates_of(worker: WorkerContext, piece: Range) -> RowOutcomes:
    """Gather what the passes and the collective stages said about a range."""
    fates = RowOutcomes(
        np.full(piece.n_rows, UNREADABLE, np.int16),
        np.full(piece.n_rows, -1, np.int16),
        np.full(piece.n_rows, np.nan),
        {},
        {},
    )
    parsed = pq.read_table(worker.folder.spool(piece.file_index, piece.number), columns=[ROW]).column(ROW).to_numpy()
    fates.stage[parsed] = SURVIVES
    for current in worker.plan.passes:
        path = worker.folder.state(current.number, piece.ordinal)
        partners = [name for name in pq.read_schema(path).names if name.startswith("partner:")]
        state = pq.read_table(path, columns=[ROW, "stage", "reason", "score", *partners])
        rows = state.column(ROW).to_numpy()
        for name, values in (("stage", fates.stage), ("reason", fates.reason), ("score", fates.score)):
            values[rows] = state.column(name).to_numpy()
        for name in partners:
            _note_partners(fates, int(name.removeprefix("partner:")), rows, state.column(name))
        if current.keys_for is not None and isinstance(worker.plan.stages[current.keys_for], Collective):
            _note_decisions(fates, current.keys_for, read_decisions(worker, current.keys_for, piece), piece)
    return fates


def _note_partners(fates: RowOutcomes, index: int, rows: npt.NDArray[np.int32], partners: pa.ChunkedArray) -> None:
    """Note the outside partners of the rows that a stage dropped."""
    for row, partner in zip(rows.tolist(), partners.to_pylist(), strict=True):
        if partner is not None and fates.stage[row] == index:
            fates.partner[row] = partner


def _note_decisions(fates: RowOutcomes, index: int, decided: pa.Table, piece: Range) -> None:
    rows = (decided.column("row_id").to_numpy() - np.uint64(piece.first_row_id)).astype(np.int64)
    if (fates.stage[rows] != SURVIVES).any():
        raise LawError(f"stage {index} dropped a row that had not reached it")
    fates.stage[rows] = index
    fates.reason[rows] = decided.column("reason").to_numpy()
    fates.score[rows] = decided.column("score").to_numpy()
    partners = zip(rows.tolist(), decided.column("partner").to_pylist(), strict=True)
    fates.partner |= {row: partner for row, partner in partners if partner is not None}
    ids = zip(rows.tolist(), decided.column("partner_row_id").to_pylist(), strict=True)
    fates.partner_row_id |= {row: row_id for row, row_id in ids if row_id is not None}


def partners_of(plan: Plan, fates: RowOutcomes, rows: npt.NDArray[np.int32]) -> list[str | None]:
    """Return the partner of some rows as `file:row`, or null."""
    out: list[str | None] = []
    for row in rows.tolist():
        row_id = fates.partner_row_id.get(row)
        out.append(row_name(plan, row_id) if row_id is not None else fates.partner.get(row))
    return out


def row_name(plan: Plan, row_id: int) -> str:
    """Return a row id as `file:row`."""
    return f"{plan.file_name(row_id >> ROW_BITS)}:{row_id & (2**ROW_BITS - 1)}"


def stage_name(plan: Plan, index: int) -> str:
    """Return the name of the stage that dropped a row; reading counts as one."""
    return READ_STAGE if index == UNREADABLE else plan.stages[index].name


def reason_name(plan: Plan, index: int, reason: int) -> str:
    """Return the reason for which a stage dropped a row."""
    return READ_REASON if index == UNREADABLE else plan.stages[index].reasons[reason]


def ledger_table(worker: WorkerContext, piece: Range, fates: RowOutcomes) -> pa.Table:
    """Return the ledger of a range: one row for every row of the input, parsed or not."""
    rows = np.arange(piece.n_rows, dtype=np.int32)
    kept = fates.stage == SURVIVES
    stage = [None if index == SURVIVES else stage_name(worker.plan, index) for index in fates.stage.tolist()]
    reason = [
        None if index == SURVIVES else reason_name(worker.plan, index, code)
        for index, code in zip(fates.stage.tolist(), fates.reason.tolist(), strict=True)
    ]
    columns = {
        "row_id": pa.array(rows.astype(np.uint64) + np.uint64(piece.first_row_id)),
        "file": pa.array([worker.plan.file_name(piece.file_index)] * piece.n_rows, pa.string()),
        "row": pa.array(rows.astype(np.int64) + piece.first_row),
        "source": _sources(worker, piece, fates),
        "kept": pa.array(kept),
        "stage_index": pa.array(np.maximum(fates.stage, -1), mask=fates.stage < 0),
        "stage": pa.array(stage, pa.string()),
        "reason": pa.array(reason, pa.string()),
        "score": pa.array(fates.score, mask=np.isnan(fates.score)),
        "partner": pa.array(partners_of(worker.plan, fates, rows), pa.string()),
        "partner_row_id": pa.array([fates.partner_row_id.get(row) for row in rows.tolist()], pa.uint64()),
    }
    return pa.table(columns, schema=LEDGER_SCHEMA)


def _sources(worker: WorkerContext, piece: Range, fates: RowOutcomes) -> pa.Array:
    if worker.plan.views[0].source is None:
        return pa.array([worker.plan.file_name(piece.file_index)] * piece.n_rows, pa.string())
    parsed = np.flatnonzero(fates.stage != UNREADABLE).astype(np.int32)
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


def write_ledger(worker: WorkerContext, number: int, pieces: Sequence[Range]) -> dict[str, Any]:
    """Write one file of the ledger, and of the scores of every stage, over some whole ranges.

    Raises:
        LawError: the rows of a range do not add up.
    """
    counts: list[RangeCounts] = []
    tables: list[pa.Table] = []
    for piece in pieces:
        fates = fates_of(worker, piece)
        unreadable = sum(1 for _ in unreadable_rows(worker.folder, piece))
        count = RangeCounts(piece.ordinal, len(fates.kept), len(fates.dropped), unreadable)
        if count.kept + count.dropped + count.unreadable != piece.n_rows:
            raise LawError(f"range {piece.ordinal} has {piece.n_rows} rows, but {count} do not add up to them")
        counts.append(count)
        tables.append(ledger_table(worker, piece, fates))
    for index, stage in enumerate(worker.plan.stages):
        _write_scores(worker, number, pieces, index, f"{index:02d}-{stage.name}")
    metadata = {b"jina_data": json.dumps([vars(count) for count in counts]).encode()}
    table = pa.concat_tables([LEDGER_SCHEMA.empty_table(), *tables]).combine_chunks().replace_schema_metadata(metadata)
    with whole_path(ledger_path(worker.folder, number)) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=2**17)
    return {"rows": table.num_rows}


def ledger_path(folder: CleanFolder, number: int) -> Path:
    """Return the path of a file of the ledger while the run is at work."""
    return folder.out / "ledger" / f"part-{number:05d}.parquet"


def read_counts(folder: CleanFolder, number: int) -> list[RangeCounts]:
    """Read back how the rows of the ranges in a ledger file fared."""
    metadata = pq.read_schema(ledger_path(folder, number)).metadata
    return [RangeCounts(**count) for count in json.loads(metadata[b"jina_data"])]


def _write_scores(worker: WorkerContext, number: int, pieces: Sequence[Range], index: int, name: str) -> None:
    """Write the scores that a stage measured, for the rows that reached it; nothing where it measures none."""
    home = next((current for current in worker.plan.passes if index in current.stages), None)
    if home is None or not pieces:
        return
    prefix = f"score:{index}:"
    names = [
        column
        for column in pq.read_schema(worker.folder.state(home.number, pieces[0].ordinal)).names
        if column.startswith(prefix)
    ]
    if not names:
        return
    tables = [_scores_of(worker.folder, home.number, piece, names, prefix) for piece in pieces]
    with whole_path(worker.folder.out / "scores" / name / f"part-{number:05d}.parquet") as temporary:
        pq.write_table(pa.concat_tables(tables).combine_chunks(), temporary, compression="zstd", row_group_size=2**17)


def _scores_of(folder: CleanFolder, pass_number: int, piece: Range, names: Sequence[str], prefix: str) -> pa.Table:
    state = pq.read_table(folder.state(pass_number, piece.ordinal), columns=[ROW, *names])
    row_ids = state.column(ROW).to_numpy().astype(np.uint64) + np.uint64(piece.first_row_id)
    columns = {name.removeprefix(prefix): state.column(name) for name in names}
    reached = np.zeros(state.num_rows, np.bool_)
    for column in columns.values():
        reached |= column.is_valid().to_numpy()
    return pa.table({"row_id": pa.array(row_ids), **columns}).filter(pa.array(reached))


def ledger_groups(pieces: Sequence[Range]) -> list[list[Range]]:
    """Put neighbouring ranges together until a file of the ledger is full; there is always one file."""
    groups = grouped([(piece, piece.n_rows) for piece in pieces], LEDGER_ROWS)
    return [[piece for piece, _ in group] for group in groups] or [[]]
