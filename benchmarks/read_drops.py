"""Samples fifty dropped rows for each recipe and reason (and file, for pairs) for manual review.

    python benchmarks/read_drops.py --corpora FOLDER --work drops-runs --out docs/drops/sample.jsonl

Runs the shipped recipes over the real corpora, and writes one line for each sampled row. Texts are written only if the
license of their source allows it (see docs/drops/README.md); other rows are identified by file and row. Verdicts of an
earlier sample are kept.
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

REDISTRIBUTABLE = (
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
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[run[0] for run in RUNS],
        help="runs to sample again; the lines of the others are kept",
    )
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
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
    """Sample up to fifty dropped rows for each reason of a run; for pairs, for each reason and file."""
    lines = []
    files = [part.name for part in inspection.report.files] if run == "pairs" else [None]
    for stage in inspection.report.stages:
        for reason, total in stage.dropped.items():
            samples = [inspection.sample(reason, stage.index, SAMPLE_ROWS, 0, file) for file in files]
            for drop in (sampled for of_file in samples for sampled in of_file):
                row = short(drop["place"])
                verdict, note = verdicts.get((run, reason, row), ("unread", ""))
                line: dict[str, Any] = {"run": run, "stage": stage.name, "reason": reason, "of": total, "row": row}
                line |= {"verdict": verdict, "note": note, "score": drop["score"]}
                line["partner"] = short(drop["partner"]) if drop["partner"] else None
                if row.startswith(REDISTRIBUTABLE):
                    line["texts"] = truncate(drop["texts"])
                if line["partner"] and line["partner"].startswith(REDISTRIBUTABLE):
                    line["partner_texts"] = truncate(drop["partner_texts"])
                lines.append(line)
    return lines


def short(row: str) -> str:
    """Return the label of a row, FILE:ROW, without the folder of the file."""
    return Path(row).name


def truncate(texts: dict[str, Any] | None) -> dict[str, str]:
    """Truncate texts to 300 characters."""
    return {name: str(text)[:300] for name, text in (texts or {}).items()}


def read_verdicts(path: Path) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Read the verdicts of an earlier sample."""
    return {(x["run"], x["reason"], x["row"]): (x["verdict"], x["note"]) for x in read_lines(path)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of an earlier sample."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
