"""Provides a finished run of `negate` for publishing: triplets with the metadata of each negative."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import RunFolderError
from jina_data.publish.facts import BATCH_ROWS, CardFacts, FunnelStep, PublishedSource, public_value
from jina_data.run.folder import RunFolder

COLUMNS = ("anchor", "entailment", "negative")

MEANINGS = {
    "id": "the id of the pair in the run",
    "anchor": "a text",
    "entailment": "a text that follows from the anchor",
    "negative": "a text similar to the entailment that contradicts it, written by the generator",
    "source": "the source of anchor and entailment",
    "source_id": "the id of the pair in its source",
    "source_license": "the licence that the source states",
    "kind": "the requested kind of negation: verbal, quantifier, antonym, affix or removal",
    "kind_found": "the kind of negation that the checks detected",
    "generator": "the generator of the negative: an LLM or rules",
    "model": "the model name that the server reports, or the version of the rules",
    "prompt_hash": "the hash of the prompt; null for rules",
    "attempt": "number of earlier requests for this pair",
    "flags": "remarks of the checks on an accepted negative",
    "scores": "the measurements of the checks",
}


RULES_LIMITATION = "The negatives were written by rules, without an LLM."
LLM_LIMITATION = (
    "jina-data was tested with scripted servers and models with random weights. The quality of the negatives of this "
    "model, and the share of bad negatives that pass the checks, have not been measured."
)


class NegateRun:
    """A finished run of `negate`: its train and test splits, triplets with their metadata."""

    kind = "negate"
    splits: Sequence[str] = ("train", "test")
    source_column = "source"

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._check()

    def _check(self) -> None:
        """Make sure that data/triplet and data/full have the same number of rows.

        Raises:
            RunFolderError: a column is missing, or the numbers differ.
        """
        for split in self.splits:
            rows = {part: sum(pq.read_metadata(path).num_rows for path in self._paths(part, split)) for part in PARTS}
            if rows["triplet"] != rows["full"]:
                raise RunFolderError(
                    f"{self.folder}: data/triplet has {rows['triplet']:,} rows for {split}, data/full "
                    f"{rows['full']:,}; expected the same number. Run it again with --overwrite"
                )
            missing = [name for name in (*COLUMNS, "source") if name not in self._schema(split).names]
            if missing:
                raise RunFolderError(f"{self.folder}: data/full has no column {missing[0]!r} for {split}")

    def _paths(self, part: str, split: str) -> list[Path]:
        paths = sorted((self.folder / "data" / part).glob(f"{split}-*.parquet"))
        if not paths:
            raise RunFolderError(f"{self.folder / 'data' / part} has no {split}-*.parquet; expected at least one")
        return paths

    def _schema(self, split: str) -> pa.Schema:
        return pq.read_schema(self._paths("full", split)[0])

    @property
    def fingerprint(self) -> str:
        """The hash of the manifest, which contains the hashes of all outputs."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns of a triplet, in the order of training."""
        return {name: [name] for name in COLUMNS}

    def sources(self) -> Sequence[PublishedSource]:
        """Return the sources of the pairs, with the licenses that the run states."""
        return [
            PublishedSource(source["name"], source["name"], source["rows"], source["license"])
            for source in self.manifest["sources"]
        ]

    def facts(self) -> CardFacts:
        """Return the generator, the prompt, the rejected pairs by reason, and the limitations."""
        report = RunFolder(self.folder).read_json(self.folder / "report.json")
        generator = str(self.manifest.get("generator") or "a generator")
        writers = self.manifest.get("models") or {generator: 0}
        return CardFacts(
            summary="Triplets of an anchor, an entailment (a text that follows from the anchor), and a negative that "
            "contradicts the entailment with few changed words. Anchors and entailments come from the sources below. "
            f"The negatives were written by {', '.join(public_value(name) for name in writers)} and checked with "
            "[jina-data](https://github.com/jina-ai/jina-data).",
            steps=_steps(report),
            recipe="",
            details={"seed": str(self.manifest.get("seed")), "generator": generator, **_details(report)},
            prompt=self._prompt(),
            columns=MEANINGS,
            versions=self.manifest.get("versions", {}),
            languages=("en",),
            limitations=(
                "The negatives were generated and checked automatically. The checks make errors: some negatives do not "
                "contradict the entailment or are not fluent.",
                RULES_LIMITATION if generator.startswith("rules") else LLM_LIMITATION,
                *(f"{text[0].upper()}{text[1:]}." for text in report.get("warnings", ())),
            ),
            synthetic=True,
        )

    def _prompt(self) -> str:
        from jina_data.negation.prompt import PREAMBLE, PROMPT_HASH

        prompt = str(self.manifest.get("prompt") or "")
        return f"{PREAMBLE}\n(version {PROMPT_HASH})" if prompt == PROMPT_HASH else prompt

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split with all columns."""
        for path in self._paths("full", split):
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)


def _steps(report: Mapping[str, Any]) -> list[FunnelStep]:
    """Return the step of the report: the number of pairs, and the accepted negatives."""
    pairs = report.get("pairs")
    if not pairs:
        return []
    dropped = dict(report.get("reasons", {})) | ({"unanswered": pairs["unanswered"]} if pairs["unanswered"] else {})
    return [FunnelStep("write and check", pairs["total"], pairs["accepted"], dropped)]


def _details(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the counts of kinds, the accuracy of a classifier on negation words alone, the cost, and the judge."""
    kinds = {kind: counts["found"] for kind, counts in report.get("kinds", {}).items() if counts["found"]}
    details = {"kinds": ", ".join(f"{kind} {n:,}" for kind, n in kinds.items())} if kinds else {}
    if (accuracy := (report.get("cues") or {}).get("accuracy")) is not None:
        details["accuracy of a classifier on negation words alone"] = f"{accuracy:.1%} (50 % = chance)"
    accounts = [account for account in (report.get("requests"), report.get("judge")) if account]
    if accounts and all(account["usd"] is not None for account in accounts):
        details["cost"] = f"{sum(account['usd'] for account in accounts):,.2f} USD"
    if judge := report.get("judge"):
        details["judge"] = public_value(judge["model"])
    return details


PARTS = ("triplet", "full")
