"""Measures the checks of negation on labelled pairs: contradictions should pass, paraphrases should be rejected.

    python benchmarks/negation_checks.py --corpora FOLDER --out docs/negation/checks.json

The sets are SemAntoNeg and the other parts of CANNOT (contradictions, and paraphrases with a changed antonym), NaN-NLI,
SICK and MRPC. Each set is split into two halves by a hash of the first text. Settings are compared on the `tuning`
half; the results of the defaults are reported on the other half, by set and check. The first text of a pair is used as
anchor and entailment, the second as negative.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.english.texts import hash_64
from jina_data.negation.pairs import Answer, Pair
from jina_data.negation.verify import REASONS, AcceptedTexts, Verifier, VerifyConfig

GRID: dict[str, Sequence[dict[str, Any]]] = {
    "max_replaced": [{"max_replaced": value} for value in (0, 1, 2, 3, 5)],
    "allow_reworded": [{"allow_reworded": value} for value in (False, True)],
    "min_overlap": [{"min_overlap": value} for value in (0.3, 0.5, 0.6, 0.7)],
    "length ratio": [
        {"min_length_ratio": low, "max_length_ratio": high}
        for low, high in ((0.3, 3), (0.5, 2), (0.6, 1.6), (0.8, 1.3))
    ],
}
"""The settings that are compared on the tuning half, one option at a time."""

TUNING_ROWS = 3000
"""Number of pairs of the tuning half on which settings are compared, sampled by a hash."""


class NoAcceptedTexts(AcceptedTexts):
    """Stores nothing, because labelled sets repeat texts."""

    def add(self, text: str, pair_id: str) -> None:
        """Store nothing."""


@dataclass(frozen=True)
class LabelledPair:
    """Two texts, and whether the second contradicts or paraphrases the first."""

    set: str
    first: str
    second: str
    contradicts: bool


def main() -> None:
    """Run the checks on both halves, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    pairs = list(dict.fromkeys(labelled(Path(arguments.corpora))))
    halves: dict[str, list[LabelledPair]] = {"tuning": [], "reported": []}
    for pair in sorted(pairs, key=lambda pair: hash_64(0, "order", pair.first, pair.second)):
        halves["reported" if hash_64(0, "checks", pair.first) % 2 else "tuning"].append(pair)
    results: dict[str, Any] = {"pairs": {half: len(rows) for half, rows in halves.items()}}
    results["tuning"] = {
        name: [
            {**setting, **summary(run(halves["tuning"][:TUNING_ROWS], VerifyConfig(**setting)))} for setting in settings
        ]
        for name, settings in GRID.items()
    }
    outcomes = run(halves["reported"], VerifyConfig())
    results["reported"] = by_set(outcomes)
    results["checks"] = by_check(outcomes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print_tables(results)


def labelled(corpora: Path) -> Iterator[LabelledPair]:
    """Yield the pairs of all sets."""
    evaluation, train = corpora / "eval", corpora / "train"
    for row in rows(evaluation / "semantoneg_triplets.parquet"):
        for negative in (row["negative_1"], row["negative_2"]):
            yield LabelledPair("semantoneg", row["entailment"], negative, True)
        yield LabelledPair("semantoneg", row["entailment"], row["anchor"], False)
    for row in rows(evaluation / "cannot_pairs.parquet"):
        if row["source"] != "antonym-substitution":  # that part is SemAntoNeg
            yield LabelledPair(f"cannot: {row['source']}", row["premise"], row["hypothesis"], row["label"] == 1)
    for name, file in (("nan-nli", evaluation / "nan_nli.parquet"), ("sick", train / "nli_sick_train_trial.parquet")):
        for row in rows(file):
            if row["label"] != "neutral":
                yield LabelledPair(name, row["premise"], row["hypothesis"], row["label"] == "contradiction")
    for row in rows(train / "dups_mrpc_train_val.parquet"):
        if row["label"] == 1:
            yield LabelledPair("mrpc", row["anchor"], row["positive"], False)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of labelled rows."""
    return list(pq.read_table(path).to_pylist())


def run(pairs: Sequence[LabelledPair], settings: VerifyConfig) -> list[tuple[LabelledPair, str | None, bool]]:
    """Return for each pair the reason for its rejection, or None, and whether the opposite was listed."""
    verifier = Verifier(settings, accepted=NoAcceptedTexts())
    outcomes = []
    for number, pair in enumerate(pairs):
        verdict = verifier.check(answer_of(pair, number))
        outcomes.append((pair, verdict.reason, "unlisted_opposite" not in verdict.flags))
    return outcomes


def answer_of(pair: LabelledPair, number: int) -> Answer:
    """Return the second text as an answer with the negative of the first text."""
    negation_pair = Pair(
        id=f"checks-{number}",
        source=pair.set,
        source_id=str(number),
        source_license=None,
        group=str(number),
        split="test",
        anchor=pair.first,
        entailment=pair.first,
        kind="verbal",
    )
    return Answer(pair=negation_pair, negative=pair.second, raw=pair.second, model="labelled")


def summary(outcomes: Sequence[tuple[LabelledPair, str | None, bool]]) -> dict[str, float]:
    """Return the fractions of accepted contradictions and of rejected paraphrases."""
    accepted = [reason is None for pair, reason, _ in outcomes if pair.contradicts]
    rejected = [reason is not None for pair, reason, _ in outcomes if not pair.contradicts]
    return {
        "contradictions_accepted": round(sum(accepted) / max(len(accepted), 1), 4),
        "paraphrases_rejected": round(sum(rejected) / max(len(rejected), 1), 4),
    }


def by_set(outcomes: Sequence[tuple[LabelledPair, str | None, bool]]) -> dict[str, Any]:
    """Return the fractions and the numbers of pairs for each set, and for all sets."""
    sets = sorted({pair.set for pair, _, _ in outcomes})
    chosen = {name: [outcome for outcome in outcomes if outcome[0].set == name] for name in sets} | {
        "all": list(outcomes)
    }
    return {
        name: {
            "contradictions": sum(pair.contradicts for pair, _, _ in of_set),
            "paraphrases": sum(not pair.contradicts for pair, _, _ in of_set),
            **summary(of_set),
        }
        for name, of_set in chosen.items()
    }


def by_check(outcomes: Sequence[tuple[LabelledPair, str | None, bool]]) -> dict[str, dict[str, int]]:
    """Return how many contradictions (wrong) and paraphrases (correct) each check rejected first."""
    counts = Counter((reason or "accepted", pair.contradicts) for pair, reason, _ in outcomes)
    names = [*REASONS, "accepted"]
    return {
        name: {"contradictions": counts[name, True], "paraphrases": counts[name, False]}
        for name in names
        if counts[name, True] + counts[name, False]
    }


def print_tables(results: dict[str, Any]) -> None:
    """Print the results."""
    for name, settings in results["tuning"].items():
        print(f"tuning, {name}:")
        for setting in settings:
            print("   ", setting)
    for name, shares in results["reported"].items():
        print(f"{name:45}", shares)
    for name, counts in results["checks"].items():
        print(f"{name:25}", counts)


if __name__ == "__main__":
    main()
