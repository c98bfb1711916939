"""The report of a run that writes negatives, as one HTML page that needs no network."""

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
from jina_data.run.files import whole_file

N_SAMPLES, MOST_CHARS = 6, 600


class Samples:
    """Keeps a few pairs of each name: those with the lowest hashes, whatever the order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.number = 0
        self.held: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}

    def add(self, name: str, pair: Pair, one: Attempt) -> None:
        """Offer a pair."""
        # A heap keeps its lowest on top; the largest hash must be there to be pushed out.
        rank = -hash_64(self.seed, "sample", pair.id, name)
        held = self.held.setdefault(name, [])
        if len(held) == N_SAMPLES and rank <= held[0][0]:
            return
        row: dict[str, Any] = {"id": pair.id, "anchor": pair.anchor, "entailment": pair.entailment, "kind": pair.kind}
        row |= {"negative": one.negative, "raw": (one.raw or "")[: 2 * MOST_CHARS], "detail": one.detail}
        self.number += 1  # the same pair may be rejected twice for the same reason
        entry = (rank, self.number, row)
        if len(held) < N_SAMPLES:
            heapq.heappush(held, entry)
        else:
            heapq.heappushpop(held, entry)

    def shown(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the samples of some names, with what differs marked."""
        return {
            name: [_marked(row) for _, _, row in sorted(self.held[name], key=lambda entry: (-entry[0], entry[1]))]
            for name in names
            if name in self.held
        }


class Gallery:
    """The samples of a run: of what was accepted by kind, and of what was rejected by reason."""

    def __init__(self, seed: int) -> None:
        self.accepted = Samples(seed)
        self.rejected = Samples(seed)

    def add(self, pair: Pair, history: Sequence[Attempt]) -> None:
        """Offer a pair and what became of it."""
        for one in history:
            if one.state == "accepted":
                self.accepted.add(one.kind or "none", pair, one)
            elif one.state == "rejected":
                self.rejected.add(one.reason or "none", pair, one)


def write_html(path: Path, report: NegateReport, gallery: Gallery, fingerprint: Mapping[str, Any]) -> None:
    """Write report.html."""
    seen = {reason for one in report.rounds for reason in one["reasons"]}
    reasons = sorted(seen, key=lambda reason: (-report.reasons.get(reason, 0), reason))
    text = page.render(
        "negation.html",
        report=report,
        reasons=reasons,
        accepted=gallery.accepted.shown([*KINDS, "none"]),
        rejected=gallery.rejected.shown(reasons),
        settings=yaml.safe_dump(json.loads(json.dumps(dict(fingerprint))), sort_keys=False, allow_unicode=True),
    )
    with whole_file(path, "w") as sink:
        sink.write(text)


def _marked(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the texts of a row into what the page shows of them."""
    shown = {**row, "anchor": _shown(row["anchor"]), "raw": _shown(row["raw"]) if row["raw"] else None}
    if row["negative"]:
        entailment, negative = compare(row["entailment"], row["negative"])
        return shown | {"entailment": entailment, "negative": negative}
    return shown | {"entailment": _shown(row["entailment"])}


def _shown(text: str) -> Excerpt:
    return Excerpt([Span(text[:MOST_CHARS])], len(text), cut_after=len(text) > MOST_CHARS)
