"""The units of work of a clean run: each writes one file atomically, and logs its beginning and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.clean.ledger import write_ledger
from jina_data.clean.passes import run_pass
from jina_data.clean.plan import InputRange, Pass
from jina_data.clean.shards import Shard, write_shard
from jina_data.clean.spool import read_facts, write_parquet, write_range
from jina_data.clean.worker import WorkerContext
from jina_data.read import ROW, ParsedRange, RangeSpec, all_ranges, digest, parse_range, stream_ranges
from jina_data.run.files import write_json
from jina_data.stages.base import Collective, read_reference_rows, reference_keys


def do_unit(worker: WorkerContext, kind: str, *arguments: Any) -> None:
    """Do one unit of work."""
    UNITS[kind](worker, *arguments)


def _digest(worker: WorkerContext, file_index: int) -> None:
    with worker.events.unit(f"digest {file_index}"):
        write_json(worker.folder.input_sha256(file_index), {"sha256": digest(worker.plan.inputs[file_index])})


def _ranges(worker: WorkerContext, specs: Sequence[RangeSpec]) -> None:
    for spec in specs:
        with worker.events.unit(f"read {spec.file_index}:{spec.number}") as metrics:
            parsed = parse_range(worker.plan.inputs[spec.file_index], spec, worker.plan.views[0].schema)
            metrics["rows"] = write_range(worker.folder, spec.file_index, parsed).n_rows


def _stream(worker: WorkerContext, file_index: int) -> None:
    """Read a file that can only be read sequentially, starting after the last range in the spool."""
    number, end = 0, None
    while worker.folder.spool(file_index, number).exists():
        end = read_facts(worker.folder, file_index, number)[0].end
        number += 1
    ranges = stream_ranges(worker.plan.inputs[file_index], worker.plan.views[0].schema, end, number)
    while True:
        with worker.events.unit(f"read {file_index}:{number}") as metrics:
            parsed = next(ranges, None)
            if parsed is None:
                write_json(worker.folder.end_of_file(file_index), {"ranges": number})
                return
            metrics["rows"] = write_range(worker.folder, file_index, parsed).n_rows
        number += 1


def _again(worker: WorkerContext, file_index: int, numbers: Sequence[int], schema: pa.Schema) -> None:
    """Parse ranges of a file again, with a wider schema, and replace them in the spool."""
    file = worker.plan.inputs[file_index]
    last = max(numbers)
    with worker.events.unit(f"read again {file_index}") as metrics:
        metrics["rows"] = 0
        for number, parsed in enumerate(all_ranges(file, schema)):
            if number in numbers:
                n_rows = read_facts(worker.folder, file_index, number)[0].n_rows
                write_range(worker.folder, file_index, first_rows(parsed, n_rows))
            if number == last:
                return


def _outside(worker: WorkerContext, stage_index: int, file_index: int) -> None:
    """Compute the keys of the rows of a reference file."""
    stage, view = worker.plan.stages[stage_index], worker.plan.views[stage_index]
    assert isinstance(stage, Collective)
    file = worker.plan.outside[stage_index][file_index]
    with worker.events.unit(f"outside {stage_index}:{file_index}") as metrics:
        tables = [
            reference_keys(worker.context, stage, rows)
            for rows in read_reference_rows(file, view, stage.input_columns(view), worker.plan.batch_rows)
        ]
        write_parquet(worker.folder.outside(stage_index, file_index), pa.concat_tables(tables), compression="lz4")
        metrics["rows"] = sum(table.num_rows for table in tables)


def _pass(worker: WorkerContext, current: Pass, piece: InputRange) -> None:
    with worker.events.unit(f"pass {current.number}:{piece.ordinal}") as metrics:
        metrics.update(run_pass(worker, current, piece))


def _ledger(worker: WorkerContext, number: int, pieces: Sequence[InputRange]) -> None:
    with worker.events.unit(f"ledger {number}") as metrics:
        metrics.update(write_ledger(worker, number, pieces))


def _shard(worker: WorkerContext, shard: Shard) -> None:
    with worker.events.unit(f"{shard.kind} {shard.number}") as metrics:
        metrics.update(write_shard(worker, shard))


UNITS: dict[str, Callable[..., None]] = {
    "digest": _digest,
    "ranges": _ranges,
    "stream": _stream,
    "again": _again,
    "outside": _outside,
    "pass": _pass,
    "ledger": _ledger,
    "shard": _shard,
}


def first_rows(parsed: ParsedRange, n_rows: int) -> ParsedRange:
    """Return the first `n_rows` records of a parsed range, readable or not."""
    if parsed.row_count <= n_rows:
        return parsed
    rows = parsed.rows.filter(pc.less(parsed.rows.column(ROW), n_rows))
    unreadable = [record for record in parsed.unreadable if record.row < n_rows]
    return replace(parsed, rows=rows, unreadable=unreadable, row_count=n_rows)
