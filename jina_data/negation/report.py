"""Provides the report of a negate run: counts by source, kind, reason and round, negation cues, and cost."""

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
"""The report warns if a classifier tells more negatives from entailments by negation words alone."""


@dataclass
class PairCounts:
    """Numbers of pairs by their final state: total = accepted + rejected + unanswered."""

    total: int = 0
    accepted: int = 0
    rejected: int = 0
    unanswered: int = 0

    def count(self, state: str) -> None:
        """Count one pair."""
        self.total += 1
        setattr(self, state, getattr(self, state) + 1)


@dataclass
class SourcePairCounts(PairCounts):
    """Numbers of pairs of one source under one licence."""

    name: str = ""
    license: str | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NegateReport:
    """The results of a run. `path` is its folder if the run is finished."""

    pairs: PairCounts
    sources: Sequence[SourcePairCounts]
    splits: Mapping[str, int]
    kinds: Mapping[str, Mapping[str, int]]
    """For each kind: pairs `asked` for it, how many of them were `accepted`, negatives `found` to have it."""
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
    """The judge, its requests and their cost."""
    rows: Mapping[str, Any]
    """Numbers of source rows, of pairs, and of unusable rows by reason."""
    cleaning: Mapping[str, Any] | None
    warnings: Sequence[str]
    seconds: float
    peak_memory_bytes: int
    versions: Mapping[str, str]
    seed: int
    stopped: str | None = None
    """Why the run stopped before all pairs were requested: max_cost or unusable; else None."""
    advice: str | None = None
    """What to do about answers that cannot be used, if nearly none can."""
    path: Path | None = None

    @property
    def failure(self) -> str | None:
        """Why the run is a failure: no negative was accepted, or the answers cannot be used; else None."""
        if self.stopped == "unusable" and self.advice:
            return self.advice
        if self.pairs.accepted:
            return None
        counts = ", ".join(f"{reason} {n:,}" for reason, n in self.reasons.items()) or "no pairs"
        advice = f". {self.advice}" if self.advice else ""
        return f"no negative was accepted for {self.pairs.total:,} pairs: {counts}{advice}"

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the report of a finished run.

        Raises:
            RunFolderError: the folder has no finished negate run.
        """
        run = NegationFolder(Path(folder))
        if not run.manifest.exists() or run.read_json(run.manifest).get("kind") != "negate":
            raise RunFolderError(f"{folder} has no finished run of `jina-data negate`")
        values = run.read_json(run.path / "report.json")
        return cls(
            pairs=PairCounts(**values.pop("pairs")),
            sources=[SourcePairCounts(**part) for part in values.pop("sources")],
            path=Path(folder),
            **values,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as in report.json."""
        values = asdict(self)
        del values["path"]
        return values


class Tally:
    """Counts the pairs while they are written. It stores only counts."""

    def __init__(self) -> None:
        self.pairs = PairCounts()
        self.sources: dict[tuple[str, str | None], SourcePairCounts] = {}
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
        """Count a pair by its final state, and its attempt in each round."""
        last = history[-1]
        key = (pair.source, pair.source_license)
        self.pairs.count(last.state)
        self.sources.setdefault(key, SourcePairCounts(name=pair.source, license=pair.source_license)).count(last.state)
        self.asked[pair.kind] += 1
        for number, attempt in enumerate(history):
            if number == len(self.rounds):
                self.rounds.append((Counter(), Counter()))
            states, reasons = self.rounds[number]
            states[attempt.state] += 1
            if attempt.reason is not None:
                reasons[attempt.reason] += 1
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
        """Return the counts as in the report."""
        for key, source in self.sources.items():
            source.reasons = _by_count(self.source_reasons.get(key, Counter()))
        kinds = {
            kind: {"asked": self.asked[kind], "accepted": self.accepted[kind], "found": self.found[kind]}
            for kind in KINDS
        }
        rounds = [
            {
                "asked": states.total(),
                **{state: states[state] for state in ("accepted", "rejected", "unanswered")},
                "reasons": _by_count(reasons),
            }
            for states, reasons in self.rounds
        ]
        return {
            "pairs": self.pairs,
            "sources": [self.sources[key] for key in sorted(self.sources, key=lambda key: (key[0], key[1] or ""))],
            "splits": dict(self.splits),
            "kinds": kinds,
            "reasons": _by_count(self.reasons),
            "rounds": rounds,
            "flags": _by_count(self.flags),
            "cues": self._cue_counts(),
            "models": _by_count(self.models),
        }

    def _cue_counts(self) -> dict[str, Any]:
        accuracy = round(self.cues.accuracy(), 4)
        by_source = {name: round(cues.accuracy(), 4) for name, cues in sorted(self.source_cues.items())}
        return {"accuracy": accuracy, "limit": CUE_LIMIT, "is_above": accuracy > CUE_LIMIT, "by_source": by_source}


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def warnings_for(counts: Mapping[str, Any], accounts: Sequence[Mapping[str, Any]], generator: str) -> list[str]:
    """Return warnings about the data for the report."""
    warnings = []
    pairs: PairCounts = counts["pairs"]
    if counts["cues"]["is_above"]:
        warnings.append(
            f"a classifier that only sees negation words tells {counts['cues']['accuracy']:.0%} of the negatives from "
            f"their entailments (limit {CUE_LIMIT:.0%}): a model can learn the words instead of the meaning. Request "
            "more antonyms and removals with --mix"
        )
    if generator != "llm":
        warnings.append(
            "these negatives are written by rules, not by an LLM: a baseline, simpler than negatives by people"
        )
    if left_out := sorted({name for account in accounts for name in account.get("left_out", ())}):
        warnings.append(f"the server does not accept {', '.join(left_out)}; the requests were sent without")
    if pairs.unanswered:
        warnings.append(
            f"{pairs.unanswered:,} pairs have no answer; run the same command again to resume with them, as far as "
            "--max-cost allows"
        )
    if unknown := sum(account["unknown"] for account in accounts):
        warnings.append(
            f"{unknown:,} requests were in flight when a process or a connection ended; they may have been billed, and "
            "their cost is not in the total"
        )
    if any(account["usd"] is None for account in accounts):
        warnings.append("the cost is not known, because the price of the model is not; see --price-in and --prices")
    return warnings


def versions(generator: str) -> dict[str, str]:
    """Return the versions of the packages that the results depend on."""
    package_versions = core_versions()
    if generator == "llm":
        package_versions["openai"] = metadata.version("openai")
    return package_versions
