"""Measure the checks on labelled pairs: true contradictions must pass, paraphrases must not.

    python benchmarks/negation_checks.py --corpora FOLDER --out docs/negation/checks.json

Sets: SemAntoNeg and the other parts of CANNOT (contradictions, and paraphrases with a changed antonym), NaN-NLI, SICK,
MRPC. Each set is cut in two by a hash of its first text. The settings are compared on the one half (`tuning`), and
those of the defaults reported on the other, by set and check. The first text takes the place of anchor and entailment,
the second that of the negative.
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
"""Settings that are compared on the tuning half, one at a time."""

TUNING_ROWS = 3000
"""Pairs of the tuning half that settings are compared on, drawn by a hash."""


class Forgetful(AcceptedTexts):
    """Remembers nothing: labelled sets repeat texts on purpose."""

    def add(self, text: str, pair_id: str) -> None:
        """Forget a text."""


@dataclass(frozen=True)
class Labelled:
    """Two texts, and whether the second contradicts the first or says the same."""

    set: str
    first: str
    second: str
    contradicts: bool


def main() -> None:
    """Run the checks over both halves and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    pairs = list(dict.fromkeys(labelled(Path(arguments.corpora))))
    halves: dict[str, list[Labelled]] = {"tuning": [], "reported": []}
    for pair in sorted(pairs, key=lambda pair: hash_64(0, "order", pair.first, pair.second)):
        halves["reported" if hash_64(0, "checks", pair.first) % 2 else "tuning"].append(pair)
    said: dict[str, Any] = {"pairs": {half: len(rows) for half, rows in halves.items()}}
    said["tuning"] = {
        name: [
            {**setting, **summary(run(halves["tuning"][:TUNING_ROWS], VerifyConfig(**setting)))} for setting in settings
        ]
        for name, settings in GRID.items()
    }
    outcomes = run(halves["reported"], VerifyConfig())
    said["reported"] = by_set(outcomes)
    said["checks"] = by_check(outcomes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    print_tables(said)


def labelled(corpora: Path) -> Iterator[Labelled]:
    """Yield the pairs of all sets."""
    evaluation, train = corpora / "eval", corpora / "train"
    for row in rows(evaluation / "semantoneg_triplets.parquet"):
        for negative in (row["negative_1"], row["negative_2"]):
            yield Labelled("semantoneg", row["entailment"], negative, True)
        yield Labelled("semantoneg", row["entailment"], row["anchor"], False)
    for row in rows(evaluation / "cannot_pairs.parquet"):
        if row["source"] != "antonym-substitution":  # that part is SemAntoNeg
            yield Labelled(f"cannot: {row['source']}", row["premise"], row["hypothesis"], row["label"] == 1)
    for name, file in (("nan-nli", evaluation / "nan_nli.parquet"), ("sick", train / "nli_sick_train_trial.parquet")):
        for row in rows(file):
            if row["label"] != "neutral":
                yield Labelled(name, row["premise"], row["hypothesis"], row["label"] == "contradiction")
    for row in rows(train / "dups_mrpc_train_val.parquet"):
        if row["label"] == 1:
            yield Labelled("mrpc", row["anchor"], row["positive"], False)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of labelled rows."""
    return list(pq.read_table(path).to_pylist())


def run(pairs: Sequence[Labelled], settings: VerifyConfig) -> list[tuple[Labelled, str | None, bool]]:
    """Return for each pair the reason it is rejected for, None where it passes, and whether an opposite was listed."""
    verifier = Verifier(settings, accepted=Forgetful())
    found = []
    for number, pair in enumerate(pairs):
        verdict = verifier.check(answer_of(pair, number))
        found.append((pair, verdict.reason, "unlisted_opposite" not in verdict.flags))
    return found


def answer_of(pair: Labelled, number: int) -> Answer:
    """Return the second text as if it had been written as the negative of the first."""
    made = Pair(
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
    return Answer(pair=made, negative=pair.second, raw=pair.second, model="labelled")


def summary(outcomes: Sequence[tuple[Labelled, str | None, bool]]) -> dict[str, float]:
    """Return the shares that are treated rightly: contradictions accepted, paraphrases rejected."""
    accepted = [reason is None for pair, reason, _ in outcomes if pair.contradicts]
    rejected = [reason is not None for pair, reason, _ in outcomes if not pair.contradicts]
    return {
        "contradictions_accepted": round(sum(accepted) / max(len(accepted), 1), 4),
        "paraphrases_rejected": round(sum(rejected) / max(len(rejected), 1), 4),
    }


def by_set(outcomes: Sequence[tuple[Labelled, str | None, bool]]) -> dict[str, Any]:
    """Return the shares and the numbers for each set, and for all."""
    sets = sorted({pair.set for pair, _, _ in outcomes})
    chosen = {name: [one for one in outcomes if one[0].set == name] for name in sets} | {"all": list(outcomes)}
    return {
        name: {
            "contradictions": sum(pair.contradicts for pair, _, _ in some),
            "paraphrases": sum(not pair.contradicts for pair, _, _ in some),
            **summary(some),
        }
        for name, some in chosen.items()
    }


def by_check(outcomes: Sequence[tuple[Labelled, str | None, bool]]) -> dict[str, dict[str, int]]:
    """Return how many contradictions (wrongly) and paraphrases (rightly) each check was the first to reject."""
    counts = Counter((reason or "accepted", pair.contradicts) for pair, reason, _ in outcomes)
    names = [*REASONS, "accepted"]
    return {
        name: {"contradictions": counts[name, True], "paraphrases": counts[name, False]}
        for name in names
        if counts[name, True] + counts[name, False]
    }


def print_tables(said: dict[str, Any]) -> None:
    """Print what was measured."""
    for name, settings in said["tuning"].items():
        print(f"tuning, {name}:")
        for one in settings:
            print("   ", one)
    for name, one in said["reported"].items():
        print(f"{name:45}", one)
    for name, counts in said["checks"].items():
        print(f"{name:25}", counts)


if __name__ == "__main__":
    main()
