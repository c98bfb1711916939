"""Write the outputs of a run that mines: negatives, dropped pairs, the ledger, the report, and the manifest."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import LawError
from jina_data.mining.audit import Audit
from jina_data.mining.choose import Stock
from jina_data.mining.config import MineConfig
from jina_data.mining.folder import MiningFolder
from jina_data.mining.pairs import FILE_BITS, place_names
from jina_data.mining.report import MineReport
from jina_data.mining.store import UNIT_ROWS
from jina_data.progress import Task
from jina_data.read import InputFile
from jina_data.run.files import count_rows, remove, write_json
from jina_data.run.resume import versions

SHARD_UNITS = 64
"""Units of pairs in a file of the outputs."""

TOO_FEW = "too_few_negatives"
REASONS = (TOO_FEW,)

LEDGER = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("source", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("written", pa.int64()),
        ("positive_score", pa.float64()),
        ("scores", pa.list_(pa.float64())),
        ("partners", pa.list_(pa.string())),
        ("cross_positive", pa.float64()),
        ("cross_scores", pa.list_(pa.float64())),
    ]
)
"""What became of every pair: `partners` is where its negatives first occur, as "file:row"."""

DROPPED = pa.schema(
    [
        ("anchor", pa.large_string()),
        ("positive", pa.large_string()),
        ("_file", pa.string()),
        ("_row", pa.int64()),
        ("_reason", pa.string()),
        ("_score", pa.float64()),
    ]
)
"""The pairs that were dropped; `_score` is how many negatives were found."""


class Outputs:
    """Writes the outputs into the work folder; they move into place when all are whole."""

    def __init__(self, folder: MiningFolder, stock: Stock, settings: MineConfig, files: Sequence[InputFile]) -> None:
        self.folder, self.stock, self.settings, self.files = folder, stock, settings, files
        self.out = folder.out
        self.audit = Audit(settings.audit_quantile)
        self.negatives: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.sources: dict[str, Counter[str]] = {}
        self._read_found = lru_cache(maxsize=4)(_read_found)

    @property
    def names(self) -> list[str]:
        """The columns of negatives."""
        n = self.settings.num_negatives
        return ["negative"] if self.settings.output_format == "triplet" else [f"negative_{i + 1}" for i in range(n)]

    def write(self, task: Task) -> None:
        """Write data/, dropped/ and ledger/, shard by shard."""
        remove(self.out)
        data = pa.schema([(name, pa.large_string()) for name in ("anchor", "positive", *self.names)])
        schemas = {"data": data, "dropped": DROPPED, "ledger": LEDGER}
        n_units = self.stock.pairs.n_units
        for shard in range(-(-n_units // SHARD_UNITS)):
            with contextlib.ExitStack() as stack:
                sinks = {name: stack.enter_context(_sink(self.out, name, shard, schemas[name])) for name in schemas}
                for unit in range(shard * SHARD_UNITS, min((shard + 1) * SHARD_UNITS, n_units)):
                    for name, rows in self._unit(unit).items():
                        if rows or unit % SHARD_UNITS == 0:
                            sinks[name].write_table(_table(schemas[name], rows))
                    task.advance(min(UNIT_ROWS, len(self.stock.pairs) - unit * UNIT_ROWS))

    def _unit(self, unit: int) -> dict[str, list[list[Any]]]:
        """Return the rows that the pairs of a unit have in each output."""
        tables: dict[str, list[list[Any]]] = {"data": [], "dropped": [], "ledger": []}
        pairs = self.stock.pairs
        rows = pairs.unit(unit)
        first = unit * UNIT_ROWS
        some = slice(first, first + rows.num_rows)
        places = rows.column("place").to_numpy()
        named = zip(
            rows.column("anchor").to_pylist(), rows.column("positive").to_pylist(), rows.column("source").to_pylist(),
            places.tolist(), place_names(self.files, places), pairs.anchor_of[some].tolist(),
            pairs.positive_of[some].tolist(), strict=True,
        )  # fmt: skip
        for anchor, positive, source, place, shown, anchor_number, positive_number in named:
            found = self._found(anchor_number)
            own = found["positive_scores"][found["positives"].index(positive_number)]
            partners = place_names(self.files, self.stock.corpus.places[np.array(found["negatives"], np.int64)])
            texts = self.stock.corpus.take(found["negatives"])
            written = self._data_rows(anchor, positive, texts)
            tables["data"] += written
            kept = bool(written)
            file, row = self.files[place >> FILE_BITS].name, place & (2**FILE_BITS - 1)
            if not kept:
                tables["dropped"].append([anchor, positive, file, row, TOO_FEW, float(len(texts))])
            tables["ledger"].append(
                [
                    *(file, row, source, kept, None if kept else TOO_FEW, len(written), own),
                    *(found["scores"], partners, found["cross_positive"], found["cross_scores"]),
                ]
            )
            self._count(source, len(texts), written)
            if kept:
                self.audit.add((anchor, positive), shown, own, list(zip(texts, partners, found["scores"], strict=True)))
        return tables

    def _data_rows(self, anchor: str, positive: str, negatives: Sequence[str]) -> list[list[str]]:
        if self.settings.output_format == "triplet":
            return [[anchor, positive, negative] for negative in negatives]
        return [[anchor, positive, *negatives]] if len(negatives) == self.settings.num_negatives else []

    def _count(self, source: str, n_negatives: int, written: Sequence[Any]) -> None:
        counts = self.sources.setdefault(source, Counter())
        counts.update(read=1, kept=int(bool(written)), dropped=int(not written), written=len(written))
        self.negatives[n_negatives] += 1
        if not written:
            self.reasons[TOO_FEW] += 1

    def _found(self, anchor: int) -> dict[str, Any]:
        unit = anchor // UNIT_ROWS
        return self._read_found(self.folder.found / f"part-{unit:06d}.parquet")[anchor - unit * UNIT_ROWS]

    def report(self, *, seconds: float, peak_memory_bytes: int, cut: Mapping[str, int], refused: int) -> MineReport:
        """Return the report, once every pair is written.

        Raises:
            LawError: the files do not add up.
        """
        rows = {name: sum(counts[name] for counts in self.sources.values()) for name in ("read", "kept", "dropped")}
        written = sum(counts["written"] for counts in self.sources.values())
        counted = {name: count_rows(self.out / name) for name in ("data", "dropped", "ledger")}
        if counted != {"data": written, "dropped": rows["dropped"], "ledger": rows["read"]} or (
            rows["read"] != len(self.stock.pairs) or rows["read"] != rows["kept"] + rows["dropped"]
        ):
            raise LawError(f"the rows do not add up: {rows} and {written} written, the files hold {counted}")
        positives = len(np.unique(self.stock.pairs.positive_of))
        names = ("read", "kept", "dropped", "written")
        return MineReport(
            rows=rows,
            dropped=dict(self.reasons),
            sources=[
                {"name": name, **{one: self.sources[name][one] for one in names}} for name in sorted(self.sources)
            ],
            written=written,
            anchors=len(self.stock.anchors),
            corpus={"texts": len(self.stock.corpus), "positives": positives},
            negatives={str(n): self.negatives[n] for n in sorted(self.negatives)},
            scores=self.audit.scores(),
            audit=self.audit.facts(),
            cut=dict(cut),
            cross_refused=None if self.settings.cross_encoder is None else refused,
            settings=_shown(self.settings),
            seconds=round(seconds, 3),
            peak_memory_bytes=peak_memory_bytes,
            versions=versions(),
            seed=self.settings.seed,
        )

    def manifest(self, report: MineReport, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the manifest: what was written from what, and by whom."""
        return {
            "kind": "mine",
            "inputs": fingerprint["inputs"],
            "corpus": fingerprint["corpus"],
            "sources": [{"name": one["name"], "rows": one["written"]} for one in report.sources],
            "output_format": self.settings.output_format,
            "seed": report.seed,
            "versions": dict(report.versions),
        }

    def write_report(self, report: MineReport) -> None:
        """Write report.json and report.html."""
        from jina_data.mining.report import write_html

        write_json(self.out / "report.json", report.to_json())
        write_html(self.out / "report.html", report)


def _shown(settings: MineConfig) -> dict[str, Any]:
    said = asdict(settings)
    return (
        said
        | {"roles": {role: list(columns) for role, columns in settings.roles.items()}}
        | {name: list(said[name]) for name in ("inputs", "corpus")}
    )


def _read_found(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _sink(out: Path, name: str, shard: int, schema: pa.Schema) -> pq.ParquetWriter:
    (out / name).mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(out / name / f"part-{shard:05d}.parquet", schema, compression="zstd", compression_level=3)


def _table(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )
