"""Draw fifty seeded drops for each recipe and reason, of pairs for each file too, to be read by eye.

    python benchmarks/read_drops.py --corpora FOLDER --work drops-runs --out docs/drops/sample.jsonl

Runs the shipped recipes over the real corpora and writes one line for each drawn row. Texts are written only where the
licence of their source allows it (see docs/drops/README.md); the others are named by file and row. Verdicts that an
earlier sample holds are carried over.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from jina_data.clean.inspection import Inspection
from jina_data.clean.run import CleanConfig, RecipeChoice, clean, default_workers

SAMPLE_ROWS = 50

SHIPPABLE = (
    "corpus_commonvoice_sentences",
    "corpus_tldr_pages_multilingual",
    "corpus_afrisenti_tweets",
    "pairs_medquad",
    "pairs_tldr_description_command",
)
"""Corpora under CC0 or CC BY 4.0."""

NLI = RecipeChoice("pairs", where="label = 'entailment'")
RUNS: tuple[tuple[str, RecipeChoice, tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (
    ("documents", RecipeChoice("documents"), ("corpus_tldr*", "corpus_afrisenti*"), {"text": ("text",)}),
    ("sentences", RecipeChoice("sentences"), ("corpus_commonvoice*",), {"text": ("text",), "source": ("lang",)}),
    ("pairs", RecipeChoice("pairs"), ("pairs_*",), {"anchor": ("anchor",), "positive": ("positive",)}),
    ("pairs of NLI", NLI, ("nli_*",), {"anchor": ("premise",), "positive": ("hypothesis",)}),
)


def main() -> None:
    """Run the recipes and write the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"), required=False)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", default=[run[0] for run in RUNS], help="draw these anew, keep the others")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    verdicts = read_verdicts(arguments.out)
    lines: list[dict[str, Any]] = []
    for name, choice, patterns, columns in RUNS:
        if name not in arguments.runs:
            lines += [line for line in read_lines(arguments.out) if line["run"] == name]
            continue
        files = [str(path) for pattern in patterns for path in sorted((arguments.corpora / "train").glob(pattern))]
        folder = arguments.work / name.replace(" ", "-")
        config = CleanConfig(recipe=choice, inputs=files, columns=columns, workers=default_workers(files))
        clean(config, folder, overwrite=True)
        lines += draw(name, Inspection.open(folder), verdicts)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    for (run, reason, verdict), count in sorted(Counter((x["run"], x["reason"], x["verdict"]) for x in lines).items()):
        print(f"{run:15} {reason:20} {verdict:8} {count}")


def draw(
    run: str, inspection: Inspection, verdicts: dict[tuple[str, str, str], tuple[str, str]]
) -> list[dict[str, Any]]:
    """Draw up to fifty dropped rows for each reason of a run; of pairs, for each file."""
    lines = []
    files = [part.name for part in inspection.report.files] if run == "pairs" else [None]
    for stage in inspection.report.stages:
        for reason, total in stage.dropped.items():
            drawn = [inspection.sample(reason, stage.index, SAMPLE_ROWS, 0, file) for file in files]
            for drop in (one for of_file in drawn for one in of_file):
                place = short(drop["place"])
                verdict, note = verdicts.get((run, reason, place), ("unread", ""))
                line: dict[str, Any] = {"run": run, "stage": stage.name, "reason": reason, "of": total, "row": place}
                line |= {"verdict": verdict, "note": note, "score": drop["score"]}
                line["partner"] = short(drop["partner"]) if drop["partner"] else None
                if place.startswith(SHIPPABLE):
                    line["texts"] = cut(drop["texts"])
                if line["partner"] and line["partner"].startswith(SHIPPABLE):
                    line["partner_texts"] = cut(drop["partner_texts"])
                lines.append(line)
    return lines


def short(place: str) -> str:
    """Name a row by its file alone, without the folder."""
    return Path(place).name


def cut(texts: dict[str, Any] | None) -> dict[str, str]:
    """Cut texts to what a reader needs."""
    return {name: str(text)[:300] for name, text in (texts or {}).items()}


def read_verdicts(path: Path) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Read the verdicts of an earlier sample."""
    return {(x["run"], x["reason"], x["row"]): (x["verdict"], x["note"]) for x in read_lines(path)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read an earlier sample."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
