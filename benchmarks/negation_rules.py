"""Measures the rule generator on real sources, and samples 200 triplets from each source for manual review.

    python benchmarks/negation_rules.py --corpora FOLDER --work rules-run --out docs/negation

Pairs are made from the five sources, and split into two halves by a hash of their group: the rules were developed on
one half (`--half tuning`), and the sample comes from the other half (`--half judged`, the default). The outputs are
`rules.json` (coverage, reasons and kinds by source, accuracy of cues) and `sample.jsonl`, with texts only if their
license allows it; `WORK/to-read.txt` has all texts in full. Verdicts of an earlier sample are kept for negatives that
have not changed. `--apart-from` is an older sample whose groups are not sampled again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jina_data.english.cues import CueClassifier
from jina_data.english.texts import hash_64
from jina_data.negation.kinds import RULES_MIX
from jina_data.negation.pairs import Answer, Pair, Verdict
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.sources import read_pairs, write_pairs
from jina_data.negation.verify import Verifier

SAMPLE_ROWS = 200
FILES = {
    "snli": "nli_snli_sample.parquet",
    "multi_nli": "nli_mnli_dev_matched.parquet",
    "sentence_compression": "pairs_sentence_compression.parquet",
    "simple_wiki": "pairs_simplification.parquet",
    "coco_captions": "captions_coco_val2017.parquet",
}
REDISTRIBUTABLE = ("coco_captions",)
"""Sources under CC BY 4.0."""


def main() -> None:
    """Generate and verify negatives, count the outcomes, and sample triplets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("judged", "tuning"), default="judged")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--apart-from", type=Path)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    train = Path(arguments.corpora) / "train"
    pairs = arguments.work / "pairs.parquet"
    counts = write_pairs([f"{name}={train / file}" for name, file in FILES.items()], pairs, seed=0, mix=RULES_MIX)
    judged = list(judge(pairs, arguments.half))
    results: dict[str, Any] = {
        "model": RuleGenerator.name,
        "half": arguments.half,
        "rows": dict(counts.rows),
        "sources": {},
    }
    lines: list[dict[str, Any]] = []
    verdicts = read_verdicts(arguments.out / "sample.jsonl")
    excluded = groups_of(pairs, [arguments.apart_from] if arguments.apart_from else [])
    with (arguments.work / "to-read.txt").open("w", encoding="utf-8") as sink:
        for source in FILES:
            of_source = [outcome for outcome in judged if outcome[0].source == source]
            results["sources"][source] = measure(of_source)
            for number, (pair, answer, verdict) in enumerate(draw(of_source, arguments.seed, excluded)):
                lines.append(line_of(pair, answer, verdict, verdicts))
                sink.write(f"{source} {number} [{verdict.kind}] A: {pair.anchor}\n  E: {pair.entailment}\n")
                sink.write(f"  N: {answer.negative}\n")
    results["sources"]["all"] = measure(judged)
    results["verdicts"] = count_verdicts(lines)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "rules.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (arguments.out / "sample.jsonl").write_text(text, encoding="utf-8")
    print_counts(results, lines)


def half_of(pair: Pair) -> str:
    """Return the half of a pair: the rules were developed on `tuning` only, never on `judged`."""
    return "judged" if hash_64(0, "judged", pair.group) % 2 else "tuning"


def groups_of(pairs: Path, samples: Iterable[Path]) -> set[str]:
    """Return the groups of the pairs in samples."""
    pair_ids = {pair_id for path in samples for pair_id, _ in read_verdicts(path)}
    return {pair.group for pair in read_pairs(pairs) if pair.id in pair_ids}


def judge(path: Path, half: str) -> Iterator[tuple[Pair, Answer, Verdict]]:
    """Yield the pairs of a half, each with the answer of the rules and the verdict of the verification."""
    generator, verifier = RuleGenerator(), Verifier()
    for pair in read_pairs(path):
        if half_of(pair) == half:
            answer = generator.generate(pair)
            yield pair, answer, verifier.check(answer)


def measure(judged: list[tuple[Pair, Answer, Verdict]]) -> dict[str, Any]:
    """Count the accepted and rejected negatives, and measure the accuracy of a classifier on cues."""
    accepted = [(pair, answer, verdict) for pair, answer, verdict in judged if verdict.reason is None]
    cues = CueClassifier()
    for pair, answer, _ in accepted:
        cues.add(pair.entailment, answer.negative or "")
    return {
        "pairs": len(judged),
        "accepted": len(accepted),
        "coverage": round(len(accepted) / max(len(judged), 1), 4),
        "reasons": dict(Counter(verdict.reason for _, _, verdict in judged if verdict.reason).most_common()),
        "asked": dict(Counter(pair.kind for pair, _, _ in accepted).most_common()),
        "found": dict(Counter(str(verdict.kind) for _, _, verdict in accepted).most_common()),
        "cue_accuracy": round(cues.accuracy(), 4),
    }


def draw(
    judged: list[tuple[Pair, Answer, Verdict]], seed: int, excluded: set[str]
) -> list[tuple[Pair, Answer, Verdict]]:
    """Sample accepted triplets by a seeded hash of their pairs, without the excluded groups."""
    accepted = [outcome for outcome in judged if outcome[2].reason is None and outcome[0].group not in excluded]
    return sorted(accepted, key=lambda outcome: hash_64(seed, "read", outcome[0].id))[:SAMPLE_ROWS]


def line_of(
    pair: Pair, answer: Answer, verdict: Verdict, verdicts: dict[tuple[str, str], tuple[str, str]]
) -> dict[str, Any]:
    """Return the line of a sampled triplet: its source, its verdict, and its texts if the license allows it."""
    digest = hashlib.sha256((answer.negative or "").encode()).hexdigest()[:12]
    judged, note = verdicts.get((pair.id, digest), ("unread", ""))
    line: dict[str, Any] = {"source": pair.source, "row": pair.source_id, "id": pair.id, "model": answer.model}
    line |= {"kind": verdict.kind, "negative_sha256": digest, "verdict": judged, "note": note}
    if pair.source in REDISTRIBUTABLE:
        line |= {"anchor": pair.anchor, "entailment": pair.entailment, "negative": answer.negative}
    return line


def read_verdicts(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Read the verdicts of an earlier sample."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(line["id"], line["negative_sha256"]): (line["verdict"], line["note"]) for line in lines}


def count_verdicts(lines: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """Count the verdicts by source and by kind, and the first words of their notes."""
    counts_by: dict[str, dict[str, Counter[str]]] = {"source": {}, "kind": {}}
    for line in lines:
        for by, counts in counts_by.items():
            counter = counts.setdefault(line[by], Counter())
            counter[line["verdict"]] += 1
            if line["note"]:
                counter[line["note"].partition(":")[0]] += 1
    return {by: {name: dict(counter) for name, counter in counts.items()} for by, counts in counts_by.items()}


def print_counts(results: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Print coverage and verdicts by source."""
    for source, counts in results["sources"].items():
        verdicts = Counter(line["verdict"] for line in lines if source in ("all", line["source"]))
        print(f"{source:22} {counts['accepted']:6,} of {counts['pairs']:6,} = {counts['coverage']:.1%}", dict(verdicts))
        print(f"{'':22} {counts['reasons']} {counts['found']} cues {counts['cue_accuracy']:.1%}")


if __name__ == "__main__":
    main()
