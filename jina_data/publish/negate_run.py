"""A run of `jina-data negate` as something to publish."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import RunFolderError
from jina_data.folder import RunFolder
from jina_data.publish.base import Facts, Source, public_value
from jina_data.publish.clean_run import BATCH_ROWS

COLUMNS = ("anchor", "entailment", "negative")

MEANINGS = {
    "anchor": "a text",
    "entailment": "a text that follows from the anchor",
    "negative": "a text close to the entailment that contradicts it, written by the generator",
    "source": "the source of anchor and entailment",
    "source_id": "the id of the pair in its source",
    "source_license": "the licence of the source, as it states it",
    "kind": "how the negative contradicts: verbal, quantifier, antonym, affix or removal",
    "generator": "what wrote the negative: a model behind a server, or rules",
    "model": "the model as the server names it, or the version of the rules",
    "prompt_hash": "the hash of the prompt that was used",
}


class NegateRun:
    """A finished run of `negate`: train and test as the run made them, triplets with everything known of them."""

    kind = "negate"
    splits: Sequence[str] = ("train", "test")
    source_column = "source"

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._check()

    def _check(self) -> None:
        """Make sure that both parts of the run hold the same rows.

        Raises:
            RunFolderError: a column or a row is missing.
        """
        for split in self.splits:
            rows = {part: sum(pq.read_metadata(path).num_rows for path in self._paths(part, split)) for part in PARTS}
            if rows["triplet"] != rows["full"]:
                raise RunFolderError(
                    f"{self.folder}: data/triplet has {rows['triplet']:,} rows for {split}, data/full "
                    f"{rows['full']:,}; expected the same rows in both. Run it again, with --overwrite"
                )
            missing = [name for name in (*COLUMNS, "source") if name not in self._schema(split).names]
            if missing:
                raise RunFolderError(f"{self.folder}: data/full has no column {missing[0]!r} for {split}")

    def _paths(self, part: str, split: str) -> list[Path]:
        paths = sorted((self.folder / "data" / part).glob(f"{split}-*.parquet"))
        if not paths:
            raise RunFolderError(f"{self.folder / 'data' / part} has no {split}-*.parquet; expected one at least")
        return paths

    def _schema(self, split: str) -> pa.Schema:
        return pq.read_schema(self._paths("full", split)[0])

    @property
    def fingerprint(self) -> str:
        """The hash of the manifest, which holds the hashes of all outputs."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns of a triplet, in the order of training."""
        return {name: [name] for name in COLUMNS}

    def sources(self) -> Sequence[Source]:
        """Return where the pairs came from, with the licences that the run states."""
        return [
            Source(source["name"], source["name"], source["rows"], source["license"])
            for source in self.manifest["sources"]
        ]

    def facts(self) -> Facts:
        """Return what wrote the negatives, with which prompt, and what to beware of."""
        generator = str(self.manifest.get("generator") or "a generator")
        return Facts(
            what="Triplets of an anchor, a text that it entails, and a negative that contradicts that text with few "
            "words changed. Anchors and entailments come from the sources below; the negatives were written by "
            f"{generator} and checked, with [jina-data](https://github.com/jina-ai/jina-data).",
            recipe="",
            details={"seed": str(self.manifest.get("seed")), "generator": generator} | self._counts(),
            prompt=self._prompt(),
            columns=MEANINGS,
            versions=self.manifest.get("versions", {}),
            models={public_value(name): value for name, value in self.manifest.get("models", {}).items()},
            languages=("en",),
            limits=(
                "The negatives were written by a machine. The checks are rules and models, and err: some negatives do "
                "not contradict, or are clumsy.",
                "Most negations show by a cue such as `not` or `no`. A model may learn the cue instead of the meaning.",
            ),
            synthetic=True,
        )

    def _prompt(self) -> str:
        prompt = self.manifest.get("prompt") or ""
        return prompt if isinstance(prompt, str) else json.dumps(prompt, indent=2, ensure_ascii=False)

    def _counts(self) -> dict[str, str]:
        """Return the counts of the run's report, one line for each that is a plain number."""
        report = RunFolder(self.folder).read_json(self.folder / "report.json")
        counts = report.get("rows", report) if isinstance(report, dict) else {}
        return {
            name.replace("_", " "): f"{value:,}"
            for name, value in counts.items()
            if isinstance(value, int) and not isinstance(value, bool)
        }

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split with everything known of them."""
        for path in self._paths("full", split):
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)


PARTS = ("triplet", "full")
