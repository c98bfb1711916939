"""Samples of the dropped rows for the report: their texts, their partners' texts, and where the two differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.clean.plan import Range
from jina_data.clean.spool import read_rows
from jina_data.clean.worker import WorkerContext
from jina_data.errors import JinaDataError
from jina_data.html.text_diff import Shown, _around, _start, compare
from jina_data.read import ROW, InputFile, sample_schema
from jina_data.roles import is_text, is_text_list
from jina_data.stages.reference import read_reference_file

SAMPLES = 5
"""So many dropped rows are shown for each stage and reason: those that `jina-data inspect` shows first."""


MAX_COLUMNS = 8
"""So many columns that a stage looks at are shown beside the texts."""

OUTSIDE_BYTES = 64 * 2**20
"""A larger outside file is not read again for the text of a partner."""


Texts = Mapping[str, str | None]


@dataclass(frozen=True)
class Line:
    """A text column of a dropped row and of its partner (None: null); an outside partner may have others."""

    label: str
    own: Shown | None
    other: Shown | None
    has_own: bool
    has_other: bool
    same: bool = False


@dataclass(frozen=True)
class Drop:
    """A dropped row: where it stands, the score it fell for, its partner's place, and its texts."""

    place: str
    score: float | None
    partner: str | None
    lines: Sequence[Line]


@dataclass(frozen=True)
class _Picked:
    stage: int
    reason: str
    row_id: int
    place: str
    score: float | None
    partner: str | None
    partner_row_id: int | None


def sample_drops(worker: WorkerContext, pieces: Sequence[Range]) -> dict[tuple[int, str], list[Drop]]:
    """Return some dropped rows of each stage and reason; `worker.con` has the view `ledger`."""
    picked = _pick(worker)
    wanted = {one.row_id for one in picked} | {one.partner_row_id for one in picked if one.partner_row_id is not None}
    columns = {index: _shown_columns(worker, index) for index in {one.stage for one in picked}}
    names = tuple(dict.fromkeys(name for shown in columns.values() for name in shown))
    texts = _texts_of(worker, pieces, sorted(wanted), names)
    outside = _outside_texts(worker, picked, columns)
    out: dict[tuple[int, str], list[Drop]] = {}
    for one in picked:
        own = {name: texts[one.row_id].get(name) for name in columns[one.stage]}
        other: Texts | None
        if one.partner_row_id is not None:
            other = {name: texts[one.partner_row_id].get(name) for name in columns[one.stage]}
        else:
            other = outside.get((one.stage, one.partner or ""))
        lines = _lines(own, other, _labels(worker))
        out.setdefault((one.stage, one.reason), []).append(Drop(one.place, one.score, one.partner, lines))
    return out


def _pick(worker: WorkerContext) -> list[_Picked]:
    """Pick the rows by a hash, without sorting the ledger."""
    picked = worker.con.execute(
        "SELECT stage_index, reason, unnest(min_by(row_id, hash(row_id, 0::BIGINT), ?)) FROM ledger "
        "WHERE stage_index IS NOT NULL GROUP BY 1, 2",
        [SAMPLES],
    ).fetchall()
    ids = [row_id for *_, row_id in picked]
    found = worker.con.execute(
        "SELECT stage_index, reason, row_id, file || ':' || row, score, partner, partner_row_id FROM ledger "
        "WHERE row_id IN (SELECT unnest(?::UBIGINT[])) ORDER BY stage_index, reason, hash(row_id, 0::BIGINT), row_id",
        [ids],
    ).fetchall()
    return [_Picked(*row) for row in found]


def _shown_columns(worker: WorkerContext, index: int) -> tuple[str, ...]:
    """Return the input columns that tell why a stage dropped a row: those it looks at, and the texts."""
    view = worker.plan.views[index]
    reads = [view.input_name(name) for name in worker.plan.stages[index].reads(view)][:MAX_COLUMNS]
    return tuple(dict.fromkeys((*reads, *worker.plan.views[0].text_columns)))


def _labels(worker: WorkerContext) -> dict[str, str]:
    roles = worker.plan.views[0].roles
    return {name: role if name == role else f"{role} = {name}" for role, names in roles.items() for name in names}


def _texts_of(
    worker: WorkerContext, pieces: Sequence[Range], row_ids: Sequence[int], columns: Sequence[str]
) -> dict[int, dict[str, str | None]]:
    """Read some columns of some rows (ids ascending) as they came in; a range is read once."""
    ids = np.array(row_ids, np.uint64)
    out: dict[int, dict[str, str | None]] = {}
    for piece in pieces:
        bounds = np.array([piece.first_row_id, piece.first_row_id + piece.n_rows], np.uint64)
        low, high = np.searchsorted(ids, bounds)
        if low < high:
            positions = (ids[low:high] - np.uint64(piece.first_row_id)).tolist()
            table = read_rows(worker.folder, piece, columns, worker.plan.views[0].schema)
            rows = table.filter(pc.is_in(table.column(ROW), pa.array(positions, table.schema.field(ROW).type)))
            for row in rows.to_pylist():
                position = row.pop(ROW)
                out[piece.first_row_id + position] = {name: _as_text(value) for name, value in row.items()}
    return out


def _as_text(value: Any) -> str | None:
    """Return a value as text; the texts of a list stand below each other."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str | None) for one in value):
        return "\n".join("null" if one is None else one for one in value)
    return str(value)


# ------------------------------------------------------------------------------------------------ partners outside


def _outside_texts(
    worker: WorkerContext, picked: Sequence[_Picked], columns: Mapping[int, Sequence[str]]
) -> dict[tuple[int, str], dict[str, str | None]]:
    """Read the rows outside the run that sampled rows were dropped for; what cannot be read is left out."""
    out: dict[tuple[int, str], dict[str, str | None]] = {}
    for index, files in worker.plan.outside.items():
        partners = {one.partner for one in picked if one.stage == index and one.partner_row_id is None and one.partner}
        for file in files:
            rows = {row for name, _, row in (partner.rpartition(":") for partner in partners) if name == file.name}
            wanted = {int(row) for row in rows if row.isdecimal()}
            if wanted and file.is_local and (file.size or 0) <= OUTSIDE_BYTES:
                for row, texts in _outside_rows(file, wanted, columns[index]).items():
                    out[index, f"{file.name}:{row}"] = texts
    return out


def _outside_rows(file: InputFile, wanted: set[int], columns: Sequence[str]) -> dict[int, dict[str, str | None]]:
    out: dict[int, dict[str, str | None]] = {}
    try:
        schema = sample_schema(file)
        texts = [field.name for field in schema if is_text(field.type) or is_text_list(field.type)]
        names = [name for name in columns if name in schema.names] or texts
        for first_row, table in read_reference_file(file, names):
            for position, row in enumerate(table.column(ROW).to_pylist()):
                if first_row + row in wanted:
                    values = table.slice(position, 1).select(names).to_pylist()[0]
                    out[first_row + row] = {name: _as_text(value) for name, value in values.items()}
            if len(out) == len(wanted):
                break
    except (JinaDataError, OSError, pa.ArrowException):
        return out  # the name of the partner must do
    return out


# ------------------------------------------------------------------------------------------------------ differences


def _lines(own: Texts, other: Texts | None, labels: Mapping[str, str]) -> list[Line]:
    """Put the texts of a row and its partner beside each other, by column."""
    theirs = other or {}
    strange = " ".join(theirs[name] or "" for name in theirs if name not in own)
    out = []
    for name in dict.fromkeys((*own, *theirs)):
        left, right = own.get(name), theirs.get(name)
        label, places = labels.get(name, name), (name in own, name in theirs)
        if left is not None and right is not None:
            out.append(Line(label, *compare(left, right), *places, same=left == right))
        else:
            shown = _around(left, strange) if left and strange else _start(left)
            out.append(Line(label, shown, _start(right), *places))
    return out


def sample_unreadable(worker: WorkerContext) -> list[dict[str, Any]]:
    """Return the first records that could not be parsed: "place", "error", "raw" (cut)."""
    with (worker.folder.out / "unreadable.jsonl").open(encoding="utf-8") as lines:
        broken = [json.loads(line) for line in islice(lines, SAMPLES)]
    return [
        {"place": f"{one['file']}:{one['row']}", "error": one["error"], "raw": _start(str(one["raw"]))}
        for one in broken
    ]
