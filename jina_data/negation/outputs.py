"""Write the outputs of a run that writes negatives: the data set, the report, and the manifest over both."""

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


class Outputs:
    """Writes the outputs into the work folder; they move into place when all are whole."""

    def __init__(self, folder: NegationFolder, fingerprint: Mapping[str, Any], settings: NegateConfig) -> None:
        self.folder = folder
        self.out = folder.out
        self.fingerprint = fingerprint
        self.settings = settings
        self.tally = Tally()
        self.gallery = Gallery(settings.seed)

    def write_pairs(self, rounds: Rounds, advance: Callable[[int], None]) -> None:
        """Write what became of every pair.

        Raises:
            LawError: a pair was never asked for.
        """
        remove(self.out)
        with DatasetWriter(self.out, self.fingerprint["generator"]) as sink:
            for _, pair, history in rounds.walk(read_pairs(pairs_of(self.folder))):
                if not history:
                    raise LawError(f"pair {pair.id} was never asked for")
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
        seconds: float,
        peak_memory_bytes: int,
    ) -> NegateReport:
        """Write the report, once every pair is accounted for.

        Raises:
            LawError: the files do not add up.
        """
        counts = self.tally.counts()
        cleaned = self.folder.cleaned
        report = NegateReport(
            **counts,
            **{name: self.fingerprint[name] for name in ("generator", "model", "base_url", "prompt")},
            requests=requests,
            judge=judge,
            rows=read_counts(self.folder.pairs).to_json(),
            cleaning=self.folder.read_json(cleaned) if cleaned.exists() else None,
            warnings=warnings_for(counts, [one for one in (requests, judge) if one], self.settings.generator),
            seconds=round(seconds, 3),
            peak_memory_bytes=peak_memory_bytes,
            versions=versions(self.settings.generator),
            seed=self.settings.seed,
        )
        check_laws(self.out, pairs_of(self.folder), _by_source(report))
        write_json(self.out / "report.json", report.to_json())
        write_html(self.out / "report.html", report, self.gallery, self.fingerprint)
        return report

    def manifest(self, report: NegateReport) -> dict[str, Any]:
        """Return the manifest: what was written from what, and by whom."""
        return {
            "kind": "negate",
            "sources": [
                {"name": one.name, "license": one.license, "rows": one.accepted, "pairs": one.total}
                for one in report.sources
            ],
            "generator": report.generator,
            "prompt": report.prompt,
            "models": dict(report.models),
            "seed": report.seed,
            "versions": dict(report.versions),
        }


def _by_source(report: NegateReport) -> dict[str, dict[str, int]]:
    """Add the licences of a source up."""
    found: dict[str, dict[str, int]] = {}
    for one in report.sources:
        counts = found.setdefault(one.name, dict.fromkeys(("pairs", "accepted", "rejected", "unanswered"), 0))
        for name, n in zip(counts, (one.total, one.accepted, one.rejected, one.unanswered), strict=True):
            counts[name] += n
    return found
