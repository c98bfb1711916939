"""Samples of the dropped rows for the report: their texts, the texts of their partners, and the differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.clean.plan import InputRange
from jina_data.clean.spool import read_rows
from jina_data.clean.worker import WorkerContext
from jina_data.errors import JinaDataError
from jina_data.html.text_diff import Excerpt, around_common_words, beginning, compare
from jina_data.read import ROW, InputFile, sample_schema
from jina_data.roles import is_text, is_text_list
from jina_data.stages.reference import read_reference_file

MAX_SAMPLES = 5
"""Dropped rows per stage and reason: the same rows that `jina-data inspect` shows first."""

MAX_COLUMNS = 8
"""Columns that a stage reads, shown in addition to the text columns."""

OUTSIDE_BYTES = 64 * 2**20
"""A larger reference file is not read again for the text of a partner."""

Texts = Mapping[str, str | None]


@dataclass(frozen=True)
class TextComparison:
    """One text column of a dropped row and of its partner; a text is None if it is null.

    A partner outside the run may lack the column, or have others.
    """

    label: str
    text: Excerpt | None
    partner_text: Excerpt | None
    in_row: bool
    in_partner: bool
    is_equal: bool = False


@dataclass(frozen=True)
class DroppedRow:
    """A dropped row for the page; `place` and `partner` are `file:row`."""

    place: str
    score: float | None
    partner: str | None
    lines: Sequence[TextComparison]


@dataclass(frozen=True)
class _LedgerRow:
    stage: int
    reason: str
    row_id: int
    place: str
    score: float | None
    partner: str | None
    partner_row_id: int | None


def sample_drops(worker: WorkerContext, pieces: Sequence[InputRange]) -> dict[tuple[int, str], list[DroppedRow]]:
    """Return samples of the dropped rows by stage and reason; `worker.con` has the view `ledger`."""
    rows = _pick(worker)
    row_ids = {row.row_id for row in rows} | {row.partner_row_id for row in rows if row.partner_row_id is not None}
    columns = {index: _columns_to_show(worker, index) for index in {row.stage for row in rows}}
    names = tuple(dict.fromkeys(name for stage_columns in columns.values() for name in stage_columns))
    texts = _texts_of(worker, pieces, sorted(row_ids), names)
    outside = _outside_texts(worker, rows, columns)
    out: dict[tuple[int, str], list[DroppedRow]] = {}
    for row in rows:
        row_texts = {name: texts[row.row_id].get(name) for name in columns[row.stage]}
        partner_texts: Texts | None
        if row.partner_row_id is not None:
            partner_texts = {name: texts[row.partner_row_id].get(name) for name in columns[row.stage]}
        else:
            partner_texts = outside.get((row.stage, row.partner or ""))
        lines = _compare_columns(row_texts, partner_texts, _labels(worker))
        out.setdefault((row.stage, row.reason), []).append(DroppedRow(row.place, row.score, row.partner, lines))
    return out


def _pick(worker: WorkerContext) -> list[_LedgerRow]:
    # The rows with the smallest hashes of each stage and reason: `min_by` finds them without sorting the ledger.
    # `Inspection.sample` orders by the same hash.
    picked = worker.con.execute(
        "SELECT stage_index, reason, unnest(min_by(row_id, hash(row_id, 0::BIGINT), ?)) FROM ledger "
        "WHERE stage_index IS NOT NULL GROUP BY 1, 2",
        [MAX_SAMPLES],
    ).fetchall()
    row_ids = [row_id for *_, row_id in picked]
    rows = worker.con.execute(
        "SELECT stage_index, reason, row_id, file || ':' || row, score, partner, partner_row_id FROM ledger "
        "WHERE row_id IN (SELECT unnest(?::UBIGINT[])) ORDER BY stage_index, reason, hash(row_id, 0::BIGINT), row_id",
        [row_ids],
    ).fetchall()
    return [_LedgerRow(*row) for row in rows]


def _columns_to_show(worker: WorkerContext, index: int) -> tuple[str, ...]:
    """Return the input columns that explain a decision of a stage: those that it reads, and the texts."""
    view = worker.plan.views[index]
    reads = [view.input_name(name) for name in worker.plan.stages[index].reads(view)][:MAX_COLUMNS]
    return tuple(dict.fromkeys((*reads, *worker.plan.views[0].text_columns)))


def _labels(worker: WorkerContext) -> dict[str, str]:
    roles = worker.plan.views[0].roles
    return {name: role if name == role else f"{role} = {name}" for role, names in roles.items() for name in names}


def _texts_of(
    worker: WorkerContext, pieces: Sequence[InputRange], row_ids: Sequence[int], columns: Sequence[str]
) -> dict[int, dict[str, str | None]]:
    """Read some columns of the input, for rows with ascending ids; each range is read at most once."""
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
    """Return a value as text; each text of a list has its own line."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(text, str | None) for text in value):
        return "\n".join("null" if text is None else text for text in value)
    return str(value)


# ------------------------------------------------------------------------------------------------ partners outside


def _outside_texts(
    worker: WorkerContext, rows: Sequence[_LedgerRow], columns: Mapping[int, Sequence[str]]
) -> dict[tuple[int, str], dict[str, str | None]]:
    """Read the texts of partners in reference files, by stage and `file:row`; unreadable ones are left out."""
    out: dict[tuple[int, str], dict[str, str | None]] = {}
    for index, files in worker.plan.outside.items():
        partners = {row.partner for row in rows if row.stage == index and row.partner_row_id is None and row.partner}
        for file in files:
            numbers = {row for name, _, row in (partner.rpartition(":") for partner in partners) if name == file.name}
            file_rows = {int(number) for number in numbers if number.isdecimal()}
            if file_rows and file.is_local and (file.size or 0) <= OUTSIDE_BYTES:
                for row, texts in _read_file_rows(file, file_rows, columns[index]).items():
                    out[index, f"{file.name}:{row}"] = texts
    return out


def _read_file_rows(file: InputFile, file_rows: set[int], columns: Sequence[str]) -> dict[int, dict[str, str | None]]:
    out: dict[int, dict[str, str | None]] = {}
    try:
        schema = sample_schema(file)
        texts = [field.name for field in schema if is_text(field.type) or is_text_list(field.type)]
        names = [name for name in columns if name in schema.names] or texts
        for first_row, table in read_reference_file(file, names):
            for position, row in enumerate(table.column(ROW).to_pylist()):
                if first_row + row in file_rows:
                    values = table.slice(position, 1).select(names).to_pylist()[0]
                    out[first_row + row] = {name: _as_text(value) for name, value in values.items()}
            if len(out) == len(file_rows):
                break
    except (JinaDataError, OSError, pa.ArrowException):
        return out  # the page then shows the partner without its texts
    return out


# ------------------------------------------------------------------------------------------------------ differences


def _compare_columns(row: Texts, partner: Texts | None, labels: Mapping[str, str]) -> list[TextComparison]:
    """Compare the texts of a row and its partner, column by column."""
    partner = partner or {}
    unmatched = " ".join(partner[name] or "" for name in partner if name not in row)
    out = []
    for name in dict.fromkeys((*row, *partner)):
        text, other = row.get(name), partner.get(name)
        label, presence = labels.get(name, name), (name in row, name in partner)
        if text is not None and other is not None:
            out.append(TextComparison(label, *compare(text, other), *presence, is_equal=text == other))
        else:
            # The partner has this text in a column of another name, if at all.
            excerpt = around_common_words(text, unmatched) if text and unmatched else _beginning_or_none(text)
            out.append(TextComparison(label, excerpt, _beginning_or_none(other), *presence))
    return out


def _beginning_or_none(text: str | None) -> Excerpt | None:
    return None if text is None else beginning(text)


def sample_unreadable(worker: WorkerContext) -> list[dict[str, Any]]:
    """Return the first records that could not be parsed: "place", "error", and the beginning of "raw"."""
    with (worker.folder.out / "unreadable.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in islice(lines, MAX_SAMPLES)]
    return [
        {
            "place": f"{record['file']}:{record['row']}",
            "error": record["error"],
            "raw": beginning(str(record["raw"])),
        }
        for record in records
    ]
