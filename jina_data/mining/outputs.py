"""Writes the outputs of a run of `mine`: negatives, dropped pairs, the ledger, the report and the manifest."""

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
from jina_data.mining.audit import NegativeAudit
from jina_data.mining.choose import MiningData
from jina_data.mining.config import MineConfig
from jina_data.mining.folder import MiningFolder
from jina_data.mining.pairs import row_names, unpack_row_id
from jina_data.mining.report import MineReport, write_html
from jina_data.mining.store import UNIT_ROWS
from jina_data.progress import Task
from jina_data.read import InputFile
from jina_data.run.files import count_rows, remove, write_json
from jina_data.run.inputs import license_of
from jina_data.run.resume import versions

SHARD_UNITS = 64
"""Units of pairs in an output file."""

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
"""What happened to every pair; `partners` are the rows where its negatives first occur, as "file:row"."""

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
"""The dropped pairs; `_score` is the number of negatives found."""


class MineOutputs:
    """Writes the outputs into the work folder, from where they are moved into place when all are complete."""

    def __init__(
        self,
        folder: MiningFolder,
        data: MiningData,
        config: MineConfig,
        files: Sequence[InputFile],
        *,
        licenses: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.data, self.config, self.files = folder, data, config, files
        self.licenses = licenses or {}
        self.out = folder.out
        self.audit = NegativeAudit(config.audit_quantile)
        self.negatives: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.sources: dict[str, Counter[str]] = {}
        # Pairs with the same anchor are often far apart, so the negatives of a few units are kept.
        self._read_unit = lru_cache(maxsize=4)(_read_rows)

    @property
    def names(self) -> list[str]:
        """The names of the negative columns."""
        n = self.config.num_negatives
        return ["negative"] if self.config.output_format == "triplet" else [f"negative_{i + 1}" for i in range(n)]

    def write(self, task: Task) -> None:
        """Write data/, dropped/ and ledger/, shard by shard."""
        remove(self.out)
        data_schema = pa.schema([(name, pa.large_string()) for name in ("anchor", "positive", *self.names)])
        schemas = {"data": data_schema, "dropped": DROPPED, "ledger": LEDGER}
        n_units = self.data.pairs.n_units
        for shard in range(-(-n_units // SHARD_UNITS)):
            with contextlib.ExitStack() as stack:
                sinks = {name: stack.enter_context(_sink(self.out, name, shard, schemas[name])) for name in schemas}
                for unit in range(shard * SHARD_UNITS, min((shard + 1) * SHARD_UNITS, n_units)):
                    for name, rows in self._rows_of_unit(unit).items():
                        if rows or unit % SHARD_UNITS == 0:
                            sinks[name].write_table(_table(schemas[name], rows))
                    task.advance(min(UNIT_ROWS, len(self.data.pairs) - unit * UNIT_ROWS))

    def _rows_of_unit(self, unit: int) -> dict[str, list[list[Any]]]:
        """Return the rows of a unit of pairs in each output."""
        tables: dict[str, list[list[Any]]] = {"data": [], "dropped": [], "ledger": []}
        pairs = self.data.pairs
        rows = pairs.unit(unit)
        start = unit * UNIT_ROWS
        in_unit = slice(start, start + rows.num_rows)
        columns = zip(
            rows.column("anchor").to_pylist(), rows.column("positive").to_pylist(), rows.column("source").to_pylist(),
            rows.column("place").to_pylist(), pairs.anchor_of[in_unit].tolist(), pairs.positive_of[in_unit].tolist(),
            strict=True,
        )  # fmt: skip
        for anchor, positive, source, row_id, anchor_number, positive_number in columns:
            mined = self._negatives_of(anchor_number)
            positive_score = mined["positive_scores"][mined["positives"].index(positive_number)]
            partners = row_names(self.files, self.data.corpus.row_ids[np.array(mined["negatives"], np.int64)])
            texts = self.data.corpus.take(mined["negatives"])
            written = self._data_rows(anchor, positive, texts)
            tables["data"] += written
            kept = bool(written)
            file, row = unpack_row_id(self.files, row_id)
            if not kept:
                tables["dropped"].append([anchor, positive, file, row, TOO_FEW, float(len(texts))])
            tables["ledger"].append(
                [
                    *(file, row, source, kept, None if kept else TOO_FEW, len(written), positive_score),
                    *(mined["scores"], partners, mined["cross_positive"], mined["cross_scores"]),
                ]
            )
            self._count(source, len(texts), written)
            if kept:
                negatives = list(zip(texts, partners, mined["scores"], strict=True))
                self.audit.add((anchor, positive), f"{file}:{row}", positive_score, negatives)
        return tables

    def _data_rows(self, anchor: str, positive: str, negatives: Sequence[str]) -> list[list[str]]:
        if self.config.output_format == "triplet":
            return [[anchor, positive, negative] for negative in negatives]
        return [[anchor, positive, *negatives]] if len(negatives) == self.config.num_negatives else []

    def _count(self, source: str, n_negatives: int, written: Sequence[Any]) -> None:
        counts = self.sources.setdefault(source, Counter())
        counts.update(read=1, kept=int(bool(written)), dropped=int(not written), written=len(written))
        self.negatives[n_negatives] += 1
        if not written:
            self.reasons[TOO_FEW] += 1

    def _negatives_of(self, anchor: int) -> dict[str, Any]:
        """Return the row of an anchor, with the columns of `NEGATIVES`."""
        unit, position = divmod(anchor, UNIT_ROWS)
        return self._read_unit(self.folder.negatives(unit))[position]

    def report(self, *, seconds: float, peak_memory_bytes: int, cut: Mapping[str, int], refused: int) -> MineReport:
        """Return the report, after every pair is written.

        Raises:
            LawError: the row counts do not add up.
        """
        rows = {name: sum(counts[name] for counts in self.sources.values()) for name in ("read", "kept", "dropped")}
        written = sum(counts["written"] for counts in self.sources.values())
        counted = {name: count_rows(self.out / name) for name in ("data", "dropped", "ledger")}
        if counted != {"data": written, "dropped": rows["dropped"], "ledger": rows["read"]} or (
            rows["read"] != len(self.data.pairs) or rows["read"] != rows["kept"] + rows["dropped"]
        ):
            raise LawError(f"the rows do not add up: {rows} and {written} written, but the files have {counted}")
        positives = len(np.unique(self.data.pairs.positive_of))
        names = ("read", "kept", "dropped", "written")
        return MineReport(
            rows=rows,
            dropped=dict(self.reasons),
            sources=[
                {"name": name, **{count: self.sources[name][count] for count in names}} for name in sorted(self.sources)
            ],
            written=written,
            anchors=len(self.data.anchors),
            corpus={"texts": len(self.data.corpus), "positives": positives},
            negatives={str(n): self.negatives[n] for n in sorted(self.negatives)},
            scores=self.audit.scores(),
            audit=self.audit.facts(),
            cut=dict(cut),
            cross_refused=None if self.config.cross_encoder is None else refused,
            settings=_plain_config(self.config),
            seconds=round(seconds, 3),
            peak_memory_bytes=peak_memory_bytes,
            versions=versions(),
            seed=self.config.seed,
        )

    def manifest(self, report: MineReport, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the manifest: inputs, sources, format, seed and versions."""
        return {
            "kind": "mine",
            "inputs": fingerprint["inputs"],
            "corpus": fingerprint["corpus"],
            "sources": [
                {
                    "name": source["name"],
                    "rows": source["written"],
                    "license": license_of(self.licenses, source["name"]),
                }
                for source in report.sources
            ],
            "data_roles": {"anchor": ["anchor"], "positive": ["positive"], "negative": self.names},
            "data_source": None,
            "output_format": self.config.output_format,
            "seed": report.seed,
            "versions": dict(report.versions),
        }

    def write_report(self, report: MineReport) -> None:
        """Write report.json and report.html."""
        write_json(self.out / "report.json", report.to_json())
        write_html(self.out / "report.html", report)


def _plain_config(config: MineConfig) -> dict[str, Any]:
    options = asdict(config) | {"input": config.input.to_json()}
    return (
        options
        | {"roles": {role: list(columns) for role, columns in config.roles.items()}}
        | {name: list(options[name]) for name in ("inputs", "corpus")}
    )


def _read_rows(path: Path) -> list[dict[str, Any]]:
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
