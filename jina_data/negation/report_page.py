"""Writes the report of a negate run as one HTML page without external resources."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jina_data.english.cues import KINDS
from jina_data.english.texts import hash_64
from jina_data.html import page
from jina_data.html.text_diff import Excerpt, Span, compare
from jina_data.negation.pairs import Pair
from jina_data.negation.report import NegateReport
from jina_data.negation.rounds import Attempt
from jina_data.run.files import atomic_file

N_SAMPLES, MAX_CHARS = 6, 600


class Samples:
    """Keeps a few pairs for each name: those with the lowest hashes, independent of the order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.number = 0
        self.heaps: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}

    def add(self, name: str, pair: Pair, attempt: Attempt) -> None:
        """Add a pair if its hash is among the lowest."""
        # A heap has its smallest element on top. Ranks are negative hashes, so that is the largest hash.
        rank = -hash_64(self.seed, "sample", pair.id, name)
        heap = self.heaps.setdefault(name, [])
        if len(heap) == N_SAMPLES and rank <= heap[0][0]:
            return
        row: dict[str, Any] = {"id": pair.id, "anchor": pair.anchor, "entailment": pair.entailment, "kind": pair.kind}
        row |= {"negative": attempt.negative, "raw": (attempt.raw or "")[: 2 * MAX_CHARS], "detail": attempt.detail}
        self.number += 1  # breaks ties: the same pair may be rejected twice for the same reason
        entry = (rank, self.number, row)
        if len(heap) < N_SAMPLES:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)

    def compared(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the samples of the given names, with differences between entailment and negative marked."""
        return {
            name: [_compared(row) for _, _, row in sorted(self.heaps[name], key=lambda entry: (-entry[0], entry[1]))]
            for name in names
            if name in self.heaps
        }


class Gallery:
    """The samples of a run: accepted pairs by kind, and rejected attempts by reason."""

    def __init__(self, seed: int) -> None:
        self.accepted = Samples(seed)
        self.rejected = Samples(seed)

    def add(self, pair: Pair, history: Sequence[Attempt]) -> None:
        """Add a pair with its attempts in all rounds."""
        for attempt in history:
            if attempt.state == "accepted":
                self.accepted.add(attempt.kind or "none", pair, attempt)
            elif attempt.state == "rejected":
                self.rejected.add(attempt.reason or "none", pair, attempt)


def write_html(path: Path, report: NegateReport, gallery: Gallery, fingerprint: Mapping[str, Any]) -> None:
    """Write report.html."""
    round_reasons = {reason for part in report.rounds for reason in part["reasons"]}
    reasons = sorted(round_reasons, key=lambda reason: (-report.reasons.get(reason, 0), reason))
    text = page.render(
        "negation.html",
        report=report,
        reasons=reasons,
        accepted=gallery.accepted.compared([*KINDS, "none"]),
        rejected=gallery.rejected.compared(reasons),
        settings=yaml.safe_dump(json.loads(json.dumps(dict(fingerprint))), sort_keys=False, allow_unicode=True),
    )
    with atomic_file(path, "w") as sink:
        sink.write(text)


def _compared(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the texts of a row by their excerpts, with differences between entailment and negative marked."""
    excerpts = {**row, "anchor": _excerpt(row["anchor"]), "raw": _excerpt(row["raw"]) if row["raw"] else None}
    if row["negative"]:
        entailment, negative = compare(row["entailment"], row["negative"])
        return excerpts | {"entailment": entailment, "negative": negative}
    return excerpts | {"entailment": _excerpt(row["entailment"])}


def _excerpt(text: str) -> Excerpt:
    return Excerpt([Span(text[:MAX_CHARS])], len(text), cut_after=len(text) > MAX_CHARS)
