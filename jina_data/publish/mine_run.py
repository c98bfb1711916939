"""A run of `jina-data mine` as something to publish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from jina_data.mining.report import MineReport
from jina_data.publish.clean_run import side_by_side
from jina_data.publish.facts import (
    BATCH_ROWS,
    FILE,
    ROW,
    SOURCE,
    Facts,
    Source,
    Step,
    hub_id,
    public_names,
    public_value,
)

POSITIVE_SCORE, SCORES = "_positive_score", "_scores"

MEANINGS = {
    FILE: "the file of the input that the pair came from",
    ROW: "the row in that file, from 0",
    SOURCE: "the source of the pair; see the licences",
    POSITIVE_SCORE: "how close anchor and positive are to the embedder",
    SCORES: "how close anchor and negatives are to it",
}


class MineRun:
    """A finished run of `mine`: one split, the pairs with their negatives, where each pair came from, and scores."""

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
        """The hash of what decided the rows."""
        return str(self.manifest["fingerprint_sha256"])

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns of data/, in the order of training."""
        names = pq.read_schema(self._paths("data")[0]).names
        return {"anchor": names[:1], "positive": names[1:2], "negative": names[2:]}

    def sources(self) -> Sequence[Source]:
        """Return where the pairs came from; the run states no licences."""
        return [
            Source(one["name"], self._shown(one["name"]), one["written"])
            for one in self.report.sources
            if one["written"]
        ]

    def facts(self) -> Facts:
        """Return how the negatives were found, and what to beware of."""
        report, audit = self.report, self.report.audit
        return Facts(
            what=f"Pairs with hard negatives: for {report.rows['kept']:,} of {report.rows['read']:,} pairs, texts of a "
            f"corpus of {report.corpus['texts']:,} that are close to the anchor and no positives of it, found with "
            "[jina-data](https://github.com/jina-ai/jina-data).",
            steps=[Step("mine", report.rows["read"], report.rows["kept"], report.dropped)],
            recipe=yaml.safe_dump(public_value(dict(report.settings)), sort_keys=False, allow_unicode=True, width=100),
            details={"seed": str(report.seed), "embedder": public_value(report.settings["embedder"])},
            columns=MEANINGS,
            versions=report.versions,
            limits=(
                f"Negatives were found by a model and are not checked by people: {audit['above_positive']:,} of "
                f"{audit['negatives']:,} are at least as close to the anchor as its positive.",
                "The texts are those of the sources, with their errors, bias and offensive content.",
            ),
            hub_sources=sorted({found for name in self._names if (found := hub_id(name))}),
        )

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of data/ in order, with where they came from and the scores of the embedder."""
        rows = (batch for path in self._paths("data") for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS))
        return side_by_side(rows, self._places())

    def _places(self) -> Iterator[pa.RecordBatch]:
        """Yield file, row, source and scores of the rows of data/, in their order."""
        is_triplet = self.manifest["output_format"] == "triplet"
        columns = ["file", "row", "source", "written", "positive_score", "scores"]
        for path in self._paths("ledger"):
            for pairs in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
                kept = np.repeat(np.arange(len(pairs)), pairs.column("written").to_numpy())
                rows = pairs.take(pa.array(kept))
                scores = rows.column("scores").to_pylist()
                if is_triplet:
                    # The rows of a pair stand in the order of its negatives.
                    first = np.concatenate([[True], kept[1:] != kept[:-1]]) if len(kept) else np.zeros(0, np.bool_)
                    starts = np.maximum.accumulate(np.where(first, np.arange(len(kept)), 0))
                    scores = [[one[at]] for one, at in zip(scores, np.arange(len(kept)) - starts, strict=True)]
                named = {
                    name: [self._shown(one) for one in rows.column(name).to_pylist()] for name in ("file", "source")
                }
                yield pa.record_batch(
                    {
                        FILE: pa.array(named["file"], pa.string()),
                        ROW: rows.column("row"),
                        SOURCE: pa.array(named["source"], pa.string()),
                        POSITIVE_SCORE: rows.column("positive_score"),
                        SCORES: pa.array(scores, pa.list_(pa.float64())),
                    }
                )

    def _paths(self, name: str) -> list[Path]:
        return sorted((self.folder / name).glob("part-*.parquet"))

    def _shown(self, name: str) -> str:
        return self._names.get(name, name)
