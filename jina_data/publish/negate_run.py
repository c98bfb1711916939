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
from jina_data.publish.facts import BATCH_ROWS, Facts, Source, Step, public_value
from jina_data.run.folder import RunFolder

COLUMNS = ("anchor", "entailment", "negative")

MEANINGS = {
    "id": "tells the pairs of the run apart",
    "anchor": "a text",
    "entailment": "a text that follows from the anchor",
    "negative": "a text close to the entailment that contradicts it, written by the generator",
    "source": "the source of anchor and entailment",
    "source_id": "the id of the pair in its source",
    "source_license": "the licence of the source, as it states it",
    "kind": "the kind of negation that was asked for: verbal, quantifier, antonym, affix or removal",
    "kind_found": "the kind that the checks found",
    "generator": "what wrote the negative: a model behind a server, or rules",
    "model": "the model as the server names it, or the version of the rules",
    "prompt_hash": "the hash of the prompt that was used; null for rules",
    "attempt": "how often the pair had been asked for before",
    "flags": "what is worth knowing of an accepted negative",
    "scores": "what the checks measured",
}


RULES_LIMIT = "No LLM took part: rules wrote the negatives."
LLM_LIMIT = (
    "The makers of jina-data tested it against scripted servers and models of random weights. How good the negatives "
    "of the model named here are, and how many of its bad ones the checks let through, they did not measure."
)


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
        """Return what wrote the negatives, with which prompt, what was rejected, and what to beware of."""
        report = RunFolder(self.folder).read_json(self.folder / "report.json")
        generator = str(self.manifest.get("generator") or "a generator")
        writers = self.manifest.get("models") or {generator: 0}
        return Facts(
            what="Triplets of an anchor, a text that it entails, and a negative that contradicts that text with few "
            "words changed. Anchors and entailments come from the sources below; the negatives were written by "
            f"{', '.join(public_value(name) for name in writers)} and checked, with "
            "[jina-data](https://github.com/jina-ai/jina-data).",
            steps=_steps(report),
            recipe="",
            details={"seed": str(self.manifest.get("seed")), "generator": generator, **_details(report)},
            prompt=self._prompt(),
            columns=MEANINGS,
            versions=self.manifest.get("versions", {}),
            languages=("en",),
            limits=(
                "The negatives were written by a machine. The checks are rules and models, and err: some negatives do "
                "not contradict, or are clumsy.",
                RULES_LIMIT if generator.startswith("rules") else LLM_LIMIT,
                *(f"{text[0].upper()}{text[1:]}." for text in report.get("warnings", ())),
            ),
            synthetic=True,
        )

    def _prompt(self) -> str:
        from jina_data.negation.prompt import PREAMBLE, PROMPT_HASH

        prompt = str(self.manifest.get("prompt") or "")
        return f"{PREAMBLE}\n(version {PROMPT_HASH})" if prompt == PROMPT_HASH else prompt

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split with everything known of them."""
        for path in self._paths("full", split):
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)


def _steps(report: Mapping[str, Any]) -> list[Step]:
    """Return the one step that a report tells of: of so many pairs, the negatives that were accepted."""
    pairs = report.get("pairs")
    if not pairs:
        return []
    lost = dict(report.get("reasons", {})) | ({"unanswered": pairs["unanswered"]} if pairs["unanswered"] else {})
    return [Step("write and check", pairs["total"], pairs["accepted"], lost)]


def _details(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the mix of kinds, what words of negation give away, and what it cost."""
    found = {kind: counts["found"] for kind, counts in report.get("kinds", {}).items() if counts["found"]}
    out = {"kinds": ", ".join(f"{kind} {n:,}" for kind, n in found.items())} if found else {}
    if (accuracy := (report.get("cues") or {}).get("accuracy")) is not None:
        out["told by words of negation alone"] = f"{accuracy:.1%} of the negatives (50 % is chance)"
    accounts = [one for one in (report.get("requests"), report.get("judge")) if one]
    if accounts and all(one["usd"] is not None for one in accounts):
        out["cost"] = f"{sum(one['usd'] for one in accounts):,.2f} USD"
    if judge := report.get("judge"):
        out["judge"] = public_value(judge["model"])
    return out


PARTS = ("triplet", "full")
