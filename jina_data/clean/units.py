"""The units of a clean run: each leaves one file, whole or not at all, and logs its beginning and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.clean.ledger import write_ledger
from jina_data.clean.passes import run_pass
from jina_data.clean.plan import Pass, Range
from jina_data.clean.shards import Shard, write_shard
from jina_data.clean.spool import read_facts, write_parquet, write_range
from jina_data.clean.worker import Desk
from jina_data.read import ROW, ParsedRange, RangeSpec, digest, parse_range, stream_ranges
from jina_data.run.files import write_json
from jina_data.stages.base import Collective, keys_of_outside, outside_rows


def do_unit(desk: Desk, kind: str, *arguments: Any) -> None:
    """Do one unit of work, log its beginning and end, and leave its output whole or not at all."""
    UNITS[kind](desk, *arguments)


def _digest(desk: Desk, file_index: int) -> None:
    with desk.events.unit(f"digest {file_index}"):
        write_json(desk.folder.input_sha256(file_index), {"sha256": digest(desk.plan.inputs[file_index])})


def _ranges(desk: Desk, specs: Sequence[RangeSpec]) -> None:
    for spec in specs:
        with desk.events.unit(f"read {spec.file_index}:{spec.number}") as said:
            parsed = parse_range(desk.plan.inputs[spec.file_index], spec, desk.plan.views[0].schema)
            said["rows"] = write_range(desk.folder, spec.file_index, parsed).n_rows


def _stream(desk: Desk, file_index: int) -> None:
    """Read a file that can only be read in sequence, from behind the last range that is in the spool."""
    number, end = 0, None
    while desk.folder.spool(file_index, number).exists():
        end = read_facts(desk.folder, file_index, number)[0].end
        number += 1
    ranges = stream_ranges(desk.plan.inputs[file_index], desk.plan.views[0].schema, end, number)
    while True:
        with desk.events.unit(f"read {file_index}:{number}") as said:
            parsed = next(ranges, None)
            if parsed is None:
                write_json(desk.folder.end_of_file(file_index), {"ranges": number})
                return
            said["rows"] = write_range(desk.folder, file_index, parsed).n_rows
        number += 1


def _outside(desk: Desk, stage_index: int, file_index: int) -> None:
    """Make the keys of the rows of an outside file."""
    stage, view = desk.plan.stages[stage_index], desk.plan.views[stage_index]
    assert isinstance(stage, Collective)
    file = desk.plan.outside[stage_index][file_index]
    with desk.events.unit(f"outside {stage_index}:{file_index}") as said:
        tables = [
            keys_of_outside(desk.context, stage, rows)
            for rows in outside_rows(file, view, stage.sees(view), desk.plan.batch_rows)
        ]
        write_parquet(desk.folder.outside(stage_index, file_index), pa.concat_tables(tables), compression="lz4")
        said["rows"] = sum(table.num_rows for table in tables)


def _pass(desk: Desk, current: Pass, piece: Range) -> None:
    with desk.events.unit(f"pass {current.number}:{piece.ordinal}") as said:
        said.update(run_pass(desk, current, piece))


def _ledger(desk: Desk, number: int, pieces: Sequence[Range]) -> None:
    with desk.events.unit(f"ledger {number}") as said:
        said.update(write_ledger(desk, number, pieces))


def _shard(desk: Desk, shard: Shard) -> None:
    with desk.events.unit(f"{shard.kind} {shard.number}") as said:
        said.update(write_shard(desk, shard))


UNITS: dict[str, Callable[..., None]] = {
    "digest": _digest,
    "ranges": _ranges,
    "stream": _stream,
    "outside": _outside,
    "pass": _pass,
    "ledger": _ledger,
    "shard": _shard,
}


def first_rows(parsed: ParsedRange, n_rows: int) -> ParsedRange:
    """Return the first records of a parsed range."""
    if parsed.row_count <= n_rows:
        return parsed
    rows = parsed.rows.filter(pc.less(parsed.rows.column(ROW), n_rows))
    unreadable = [broken for broken in parsed.unreadable if broken.row < n_rows]
    return replace(parsed, rows=rows, unreadable=unreadable, row_count=n_rows)
