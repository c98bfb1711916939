"""Writes the kept and the dropped rows as shards, each file atomically."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.folder import CleanFolder
from jina_data.clean.json_lines import write_json_lines
from jina_data.clean.ledger import RangeCounts, RowOutcomes, partners_of, read_outcomes, reason_name, stage_name
from jina_data.clean.plan import InputRange, Plan, grouped
from jina_data.clean.rows import load_table
from jina_data.clean.worker import WorkerContext
from jina_data.run.files import atomic_path

SHARD_BYTES = 256 * 2**20
"""The approximate maximum size of a shard in memory; a range is never split between shards."""

GROUP_BYTES = 32 * 2**20
"""The approximate maximum size of a row group in memory; a range is never split between row groups."""

Kind = Literal["data", "dropped"]

DROPPED_COLUMNS = (
    pa.field("_file", pa.string()),
    pa.field("_row", pa.int64()),
    pa.field("_stage", pa.string()),
    pa.field("_reason", pa.string()),
    pa.field("_score", pa.float64()),
    pa.field("_partner", pa.string()),
)


@dataclass(frozen=True)
class Shard:
    """A file of data/ or dropped/: its number, and the ranges of each row group.

    Both follow from row counts alone, so the bytes do not depend on the number of workers.
    """

    kind: Kind
    number: int
    groups: tuple[tuple[InputRange, ...], ...]

    def path(self, folder: CleanFolder, out_format: str) -> Path:
        """Return the path of the shard in the work folder."""
        suffix = "jsonl" if self.kind == "data" and out_format == "jsonl" else "parquet"
        return folder.out / self.kind / f"part-{self.number:05d}.{suffix}"


def cut_shards(kind: Kind, pieces: Sequence[InputRange], counts: Sequence[RangeCounts]) -> list[Shard]:
    """Divide the ranges into shards and row groups. There is at least one shard, which shows the columns."""
    sized = []
    for piece, count in zip(pieces, counts, strict=True):
        n_rows = count.kept if kind == "data" else count.dropped
        if n_rows:
            sized.append((piece, piece.n_bytes * n_rows // max(1, piece.n_rows)))
    shards = []
    for number, members in enumerate(grouped(sized, SHARD_BYTES) or [[]]):
        groups = tuple(tuple(piece for piece, _ in group) for group in grouped(members, GROUP_BYTES))
        shards.append(Shard(kind, number, groups))
    return shards


def write_shard(worker: WorkerContext, shard: Shard) -> dict[str, Any]:
    """Write a shard."""
    schema = shard_schema(worker.plan, shard.kind)
    with atomic_path(shard.path(worker.folder, worker.plan.out_format)) as temporary:
        tables = (_group_table(worker, shard.kind, group) for group in shard.groups)
        is_json = shard.path(worker.folder, worker.plan.out_format).suffix == ".jsonl"
        n_rows = write_json_lines(temporary, tables) if is_json else _write_parquet(temporary, schema, tables)
    return {"rows": n_rows}


def shard_schema(plan: Plan, kind: Kind) -> pa.Schema:
    """Return the columns of data/ (those after the last stage) or dropped/ (those of the input, and the reason)."""
    if kind == "data":
        return plan.views[-1].schema.remove_metadata()
    return pa.schema([*plan.views[0].schema, *DROPPED_COLUMNS])


def _group_table(worker: WorkerContext, kind: Kind, group: Sequence[InputRange]) -> pa.Table:
    tables = []
    for piece in group:
        outcomes = read_outcomes(worker, piece)
        make = kept_rows if kind == "data" else dropped_rows
        tables.append(make(worker, piece, outcomes).cast(shard_schema(worker.plan, kind)))
    return pa.concat_tables(tables).combine_chunks()


def kept_rows(worker: WorkerContext, piece: InputRange, outcomes: RowOutcomes) -> pa.Table:
    """Return the kept rows of a range in the form of data/."""
    table = load_table(worker, None, piece, worker.plan.views[0].schema.names, outcomes.kept)
    return table.select(worker.plan.views[-1].schema.names)


def dropped_rows(worker: WorkerContext, piece: InputRange, outcomes: RowOutcomes) -> pa.Table:
    """Return the dropped rows of a range: the unchanged columns of the input, and why the row was dropped."""
    rows = outcomes.dropped
    table = load_table(worker, worker.plan.passes[0], piece, worker.plan.views[0].schema.names, rows)
    stages = outcomes.stage[rows].tolist()
    reasons = outcomes.reason[rows].tolist()
    columns = {
        "_file": pa.array([worker.plan.file_name(piece.file_index)] * len(rows), pa.string()),
        "_row": pa.array(rows.astype("int64") + piece.first_row),
        "_stage": pa.array([stage_name(worker.plan, index) for index in stages], pa.string()),
        "_reason": pa.array(
            [reason_name(worker.plan, index, code) for index, code in zip(stages, reasons, strict=True)], pa.string()
        ),
        "_score": pa.array(outcomes.score[rows], from_pandas=True),
        "_partner": pa.array(partners_of(worker.plan, outcomes, rows), pa.string()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> int:
    n_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            n_rows += table.num_rows
    return n_rows
