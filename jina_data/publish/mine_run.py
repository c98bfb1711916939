"""Provides a finished run of `mine` for publishing: the pairs with their negatives, origin and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from jina_data.mining.report import MineReport
from jina_data.publish.clean_run import join_batches
from jina_data.publish.facts import (
    BATCH_ROWS,
    FILE,
    ROW,
    SOURCE,
    CardFacts,
    FunnelStep,
    PublishedSource,
    hub_dataset_id,
    public_names,
    public_value,
)

POSITIVE_SCORE, SCORES = "_positive_score", "_scores"

MEANINGS = {
    FILE: "the input file of the pair",
    ROW: "the row number in this file, from 0",
    SOURCE: "the source of the pair; see the licences",
    POSITIVE_SCORE: "similarity of anchor and positive, by the embedder",
    SCORES: "similarity of anchor and negatives, by the embedder",
}


class MineRun:
    """A finished run of `mine`: one split with the pairs and their negatives, origin and scores."""

    kind = "mine"
    splits: Sequence[str] = ("train",)
    source_column = SOURCE

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.report = MineReport.load(folder)
        self._names = public_names([file["name"] for file in manifest["inputs"]])

    @property
    def fingerprint(self) -> str:
        """The fingerprint in the manifest, a hash of the inputs and settings of the run."""
        return str(self.manifest["fingerprint_sha256"])

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns of data/, in the order of training."""
        names = pq.read_schema(self._paths("data")[0]).names
        return {"anchor": names[:1], "positive": names[1:2], "negative": names[2:]}

    def sources(self) -> Sequence[PublishedSource]:
        """Return the sources of the pairs, with the licenses that the runs before it stated."""
        licenses = {source["name"]: source.get("license") for source in self.manifest.get("sources", ())}
        return [
            PublishedSource(
                source["name"],
                self._public_name(source["name"]),
                source["written"],
                licenses.get(source["name"]),
            )
            for source in self.report.sources
            if source["written"]
        ]

    def facts(self) -> CardFacts:
        """Return how the negatives were mined, and their limitations."""
        report, audit = self.report, self.report.audit
        return CardFacts(
            summary=f"Pairs with hard negatives, mined with [jina-data](https://github.com/jina-ai/jina-data): "
            f"{report.rows['kept']:,} of {report.rows['read']:,} pairs have negatives. The negatives come from a "
            f"corpus of {report.corpus['texts']:,} texts; they are similar to the anchor and not one of its positives.",
            steps=[FunnelStep("mine", report.rows["read"], report.rows["kept"], report.dropped)],
            recipe=yaml.safe_dump(public_value(dict(report.settings)), sort_keys=False, allow_unicode=True, width=100),
            details={"seed": str(report.seed), "embedder": public_value(report.settings["embedder"])},
            columns=MEANINGS,
            versions=report.versions,
            limitations=(
                f"The negatives were selected by a model and not reviewed by people: {audit['above_positive']:,} of "
                f"{audit['negatives']:,} are at least as similar to the anchor as its positive.",
                "The texts may contain the errors, biases and offensive content of the sources.",
            ),
            hub_sources=sorted({hub_id for name in self._names if (hub_id := hub_dataset_id(name))}),
        )

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of data/ in order, with their origin and the scores of the embedder."""
        rows = (batch for path in self._paths("data") for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS))
        return join_batches(rows, self._origins())

    def _origins(self) -> Iterator[pa.RecordBatch]:
        """Yield file, row, source and scores of the rows of data/, in their order."""
        is_triplet = self.manifest["output_format"] == "triplet"
        columns = ["file", "row", "source", "written", "positive_score", "scores"]
        for path in self._paths("ledger"):
            for pairs in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
                kept = np.repeat(np.arange(len(pairs)), pairs.column("written").to_numpy())
                rows = pairs.take(pa.array(kept))
                scores = rows.column("scores").to_pylist()
                if is_triplet:
                    # A pair has one row for each negative, in the order of its scores: the n-th row of a pair gets the
                    # n-th score. `starts` holds, for each row, the position of the first row of its pair.
                    is_first = np.concatenate([[True], kept[1:] != kept[:-1]]) if len(kept) else np.zeros(0, np.bool_)
                    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(kept)), 0))
                    numbers = np.arange(len(kept)) - starts
                    scores = [[of_pair[number]] for of_pair, number in zip(scores, numbers, strict=True)]
                names = {
                    column: [self._public_name(name) for name in rows.column(column).to_pylist()]
                    for column in ("file", "source")
                }
                yield pa.record_batch(
                    {
                        FILE: pa.array(names["file"], pa.string()),
                        ROW: rows.column("row"),
                        SOURCE: pa.array(names["source"], pa.string()),
                        POSITIVE_SCORE: rows.column("positive_score"),
                        SCORES: pa.array(scores, pa.list_(pa.float64())),
                    }
                )

    def _paths(self, name: str) -> list[Path]:
        return sorted((self.folder / name).glob("part-*.parquet"))

    def _public_name(self, name: str) -> str:
        return self._names.get(name, name)
