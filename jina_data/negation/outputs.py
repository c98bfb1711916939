"""Writes the outputs of a negate run: the dataset, the report, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jina_data.errors import LawError
from jina_data.negation.config import NegateConfig
from jina_data.negation.dataset import DatasetWriter, check_laws
from jina_data.negation.folder import NegationFolder
from jina_data.negation.report import NegateReport, Tally, versions, warnings_for
from jina_data.negation.report_page import Gallery, write_html
from jina_data.negation.rounds import Rounds, pairs_of
from jina_data.negation.sources import read_counts, read_pairs
from jina_data.run.files import remove, write_json


class NegateOutputs:
    """Writes the outputs into the work folder; they move into place when all are complete."""

    def __init__(self, folder: NegationFolder, fingerprint: Mapping[str, Any], config: NegateConfig) -> None:
        self.folder = folder
        self.out = folder.out
        self.fingerprint = fingerprint
        self.config = config
        self.tally = Tally()
        self.gallery = Gallery(config.seed)

    def write_pairs(self, rounds: Rounds, advance: Callable[[int], None]) -> None:
        """Write every pair: accepted, rejected or unanswered.

        Raises:
            LawError: a pair was in no round.
        """
        remove(self.out)
        with DatasetWriter(self.out, self.fingerprint["generator"]) as sink:
            for _, pair, history in rounds.walk(read_pairs(pairs_of(self.folder))):
                if not history:
                    raise LawError(f"pair {pair.id} was in no round")
                sink.add(pair, history)
                self.tally.add(pair, history)
                self.gallery.add(pair, history)
                if self.tally.pairs.total % 1000 == 0:
                    advance(1000)
        advance(self.tally.pairs.total % 1000)

    def write_report(
        self,
        requests: Mapping[str, Any] | None,
        judge: Mapping[str, Any] | None,
        *,
        stopped: str | None = None,
        advice: str | None = None,
        seconds: float,
        peak_memory_bytes: int,
    ) -> NegateReport:
        """Write the report, after a check that every pair is in exactly one output.

        Raises:
            LawError: the counts of the files and of the report differ.
        """
        counts = self.tally.counts()
        cleaned = self.folder.cleaned
        warnings = warnings_for(counts, [account for account in (requests, judge) if account], self.config.generator)
        report = NegateReport(
            **counts,
            **{name: self.fingerprint[name] for name in ("generator", "model", "base_url", "prompt")},
            requests=requests,
            judge=judge,
            rows=read_counts(self.folder.pairs).to_json(),
            cleaning=self.folder.read_json(cleaned) if cleaned.exists() else None,
            warnings=[advice, *warnings] if advice else warnings,
            stopped=stopped,
            advice=advice,
            seconds=round(seconds, 3),
            peak_memory_bytes=peak_memory_bytes,
            versions=versions(self.config.generator),
            seed=self.config.seed,
        )
        check_laws(self.out, pairs_of(self.folder), _by_source(report))
        write_json(self.out / "report.json", report.to_json())
        write_html(self.out / "report.html", report, self.gallery, self.fingerprint)
        return report

    def manifest(self, report: NegateReport) -> dict[str, Any]:
        """Return the manifest: sources, generator, models and versions."""
        return {
            "kind": "negate",
            "sources": [
                {"name": source.name, "license": source.license, "rows": source.accepted, "pairs": source.total}
                for source in report.sources
            ],
            "generator": report.generator,
            "prompt": report.prompt,
            "models": dict(report.models),
            "seed": report.seed,
            "versions": dict(report.versions),
        }


def _by_source(report: NegateReport) -> dict[str, dict[str, int]]:
    """Return the counts of each source, summed over its licences."""
    totals: dict[str, dict[str, int]] = {}
    for source in report.sources:
        counts = totals.setdefault(source.name, dict.fromkeys(("pairs", "accepted", "rejected", "unanswered"), 0))
        for name, n in zip(counts, (source.total, source.accepted, source.rejected, source.unanswered), strict=True):
            counts[name] += n
    return totals
