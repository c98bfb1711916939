"""The report of a run that writes negatives: counts by source, kind, reason and round, cues, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from jina_data.english.cues import KINDS, CueClassifier
from jina_data.errors import RunFolderError
from jina_data.negation.folder import NegationFolder
from jina_data.negation.pairs import Pair
from jina_data.negation.rounds import Attempt
from jina_data.run.resume import versions as core_versions

CUE_LIMIT = 0.75
"""From here on, words of negation alone tell the negative from the entailment too often."""


@dataclass
class PairCounts:
    """How many pairs there were, and what became of them: total = accepted + rejected + unanswered."""

    total: int = 0
    accepted: int = 0
    rejected: int = 0
    unanswered: int = 0

    def count(self, state: str) -> None:
        """Count one pair."""
        self.total += 1
        setattr(self, state, getattr(self, state) + 1)


@dataclass
class SourceCounts(PairCounts):
    """What became of the pairs of one source under one licence."""

    name: str = ""
    license: str | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NegateReport:
    """What a run did. `path` is its folder once it is finished."""

    pairs: PairCounts
    sources: Sequence[SourceCounts]
    splits: Mapping[str, int]
    kinds: Mapping[str, Mapping[str, int]]
    """For each kind: for how many pairs it was asked, how many of those were accepted, how often it was found."""
    reasons: Mapping[str, int]
    rounds: Sequence[Mapping[str, Any]]
    flags: Mapping[str, int]
    cues: Mapping[str, Any]
    generator: str
    model: str | None
    base_url: str | None
    prompt: str | None
    models: Mapping[str, int]
    requests: Mapping[str, Any] | None
    judge: Mapping[str, Any] | None
    """Who judged, what it was asked, and what that cost."""
    rows: Mapping[str, Any]
    """What became of the rows of the sources before they were pairs."""
    cleaning: Mapping[str, Any] | None
    warnings: Sequence[str]
    seconds: float
    peak_memory_bytes: int
    versions: Mapping[str, str]
    seed: int
    path: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the report of a finished run.

        Raises:
            RunFolderError: there is no finished run that wrote negatives in this folder.
        """
        run = NegationFolder(Path(folder))
        if not run.manifest.exists() or run.read_json(run.manifest).get("kind") != "negate":
            raise RunFolderError(f"{folder} is not the folder of a finished run of `jina-data negate`")
        values = run.read_json(run.path / "report.json")
        return cls(
            pairs=PairCounts(**values.pop("pairs")),
            sources=[SourceCounts(**part) for part in values.pop("sources")],
            path=Path(folder),
            **values,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as in report.json."""
        values = asdict(self)
        del values["path"]
        return values


class Tally:
    """Counts the pairs as they are written. It holds counts alone."""

    def __init__(self) -> None:
        self.pairs = PairCounts()
        self.sources: dict[tuple[str, str | None], SourceCounts] = {}
        self.source_reasons: dict[tuple[str, str | None], Counter[str]] = {}
        self.splits: Counter[str] = Counter(train=0, test=0)
        self.asked: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.rounds: list[tuple[Counter[str], Counter[str]]] = []
        self.flags: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.cues = CueClassifier()
        self.source_cues: dict[str, CueClassifier] = {}

    def add(self, pair: Pair, history: Sequence[Attempt]) -> None:
        """Count a pair by what became of it in the end, and its rounds."""
        last = history[-1]
        key = (pair.source, pair.source_license)
        self.pairs.count(last.state)
        self.sources.setdefault(key, SourceCounts(name=pair.source, license=pair.source_license)).count(last.state)
        self.asked[pair.kind] += 1
        for number, one in enumerate(history):
            if number == len(self.rounds):
                self.rounds.append((Counter(), Counter()))
            states, reasons = self.rounds[number]
            states[one.state] += 1
            if one.reason is not None:
                reasons[one.reason] += 1
        if last.state == "accepted":
            self._accept(pair, last)
        elif last.reason is not None:
            self.reasons[last.reason] += 1
            self.source_reasons.setdefault(key, Counter())[last.reason] += 1

    def _accept(self, pair: Pair, last: Attempt) -> None:
        assert last.negative is not None
        self.splits[pair.split] += 1
        self.accepted[pair.kind] += 1
        self.found[last.kind or "none"] += 1
        self.flags.update(last.flags)
        self.models[last.model or "unknown"] += 1
        self.cues.add(pair.entailment, last.negative)
        self.source_cues.setdefault(pair.source, CueClassifier()).add(pair.entailment, last.negative)

    def counts(self) -> dict[str, Any]:
        """Return the counts as the report has them."""
        for key, source in self.sources.items():
            source.reasons = _most_first(self.source_reasons.get(key, Counter()))
        kinds = {
            kind: {"asked": self.asked[kind], "accepted": self.accepted[kind], "found": self.found[kind]}
            for kind in KINDS
        }
        rounds = [
            {
                "asked": states.total(),
                **{state: states[state] for state in ("accepted", "rejected", "unanswered")},
                "reasons": _most_first(reasons),
            }
            for states, reasons in self.rounds
        ]
        return {
            "pairs": self.pairs,
            "sources": [self.sources[key] for key in sorted(self.sources, key=lambda key: (key[0], key[1] or ""))],
            "splits": dict(self.splits),
            "kinds": kinds,
            "reasons": _most_first(self.reasons),
            "rounds": rounds,
            "flags": _most_first(self.flags),
            "cues": self._cue_counts(),
            "models": _most_first(self.models),
        }

    def _cue_counts(self) -> dict[str, Any]:
        accuracy = round(self.cues.accuracy(), 4)
        by_source = {name: round(one.accuracy(), 4) for name, one in sorted(self.source_cues.items())}
        return {"accuracy": accuracy, "limit": CUE_LIMIT, "is_above": accuracy > CUE_LIMIT, "by_source": by_source}


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def warnings_for(counts: Mapping[str, Any], accounts: Sequence[Mapping[str, Any]], generator: str) -> list[str]:
    """Say what a user should know before the data is used."""
    found = []
    pairs: PairCounts = counts["pairs"]
    if counts["cues"]["is_above"]:
        found.append(
            f"a classifier that sees nothing but words of negation tells {counts['cues']['accuracy']:.0%} of the "
            f"negatives from their entailments (limit {CUE_LIMIT:.0%}): a model can learn the words instead of the "
            "meaning. Ask for more antonyms and removals with --mix"
        )
    if generator != "llm":
        found.append("these negatives are written by rules, not by an LLM: a baseline, simpler than what people write")
    if pairs.unanswered:
        found.append(
            f"{pairs.unanswered:,} pairs have no answer; the same command goes on with them, as far as --max-cost "
            "allows"
        )
    if unknown := sum(one["unknown"] for one in accounts):
        found.append(
            f"{unknown:,} requests were under way when a process or a connection ended; they may have been "
            "billed, and their cost is not in the sum"
        )
    if any(one["usd"] is None for one in accounts):
        found.append("what this cost is not known, since the price of the model is not; see --price-in and --prices")
    return found


def versions(generator: str) -> dict[str, str]:
    """Return the versions of what results depend on."""
    found = core_versions()
    if generator == "llm":
        found["openai"] = metadata.version("openai")
    return found
