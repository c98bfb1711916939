"""Trains a model from raw files in one script: clean, negate, tokenizer, MLM, pairs, mine, triplets, evaluate.

    python benchmarks/from_nothing.py --corpora FOLDER -o DIR [--preset tiny] [--scale 1.0] [--device auto]
                                      [--precision fp32] [--steps PHASE=N] [--from STEP] [--until STEP]

The steps run commands of jina-data, which are printed before they run and do nothing if they are already done:

    pairs      convert raw sources to tables of pairs
    clean      filter the pairs, and remove texts of the evaluation
    negate     write negatives for entailments with rules, and add contradictions written by people
    mlm        train a tokenizer on the texts, then train masked language modelling
    contrast   train on the pairs
    mine       mine hard negatives for the pairs with this model
    triplets   train on the mined and the negated triplets
    evaluate   STS-B test, STS12 and SciFact, after each phase

`--scale` multiplies the steps of all phases, `--steps mlm=5000` sets the steps of a phase, and `--limit` is the maximum
number of pairs of a source. Training starts from random weights and uses no text of the evaluation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

STEPS = ("pairs", "clean", "negate", "mlm", "contrast", "mine", "triplets", "evaluate")
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        **{"vocabulary": 8192, "length": 96, "limit": 3000},
        **{"mlm": (300, 64), "pairs": (200, 64), "triplets": (60, 64)},
    },
    "small": {
        **{"vocabulary": 16384, "length": 192, "limit": 60_000},
        **{"mlm": (6000, 512), "pairs": (2500, 1024), "triplets": (600, 512)},
    },
}
"""Size of the vocabulary; tokens of a text (128 in mlm); pairs of a source; steps and batch size of each phase."""

HELD_OUT = ("stsb.test", "stsb.dev", "sts12", "scifact.queries", "scifact.corpus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--steps", action="append", default=[], metavar="PHASE=N")
    parser.add_argument("--limit", type=int, help="pairs of a source (default: 3000 for tiny, 60000 for small)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--from", dest="first", choices=STEPS, default=STEPS[0])
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1])
    arguments = parser.parse_args()
    arguments.limit = arguments.limit or PRESETS[arguments.preset]["limit"]
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    arguments.corpora = Path(arguments.corpora)
    seconds: dict[str, float] = {}
    for step in STEPS[STEPS.index(arguments.first) : STEPS.index(arguments.until) + 1]:
        started = time.perf_counter()
        globals()[f"step_{step}"](arguments)
        seconds[step] = round(time.perf_counter() - started, 1)
        print(f"-- {step}: {seconds[step]} s", flush=True)
    print(json.dumps({"seconds": seconds}))


def jina_data(*words: object) -> None:
    """Print a command of jina-data, and run it."""
    command = [str(word) for word in words]
    print("$ jina-data", " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *command], check=True)


# --------------------------------------------------------------------------------------------------------------- data


def step_pairs(arguments: argparse.Namespace) -> None:
    """Write a table of pairs for each source."""
    folder = arguments.out / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in sources(arguments.corpora / "train"):
        table = pa.Table.from_pylist(
            list(rows)[: arguments.limit], schema=pa.schema([("anchor", pa.string()), ("positive", pa.string())])
        )
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        print(f"{name}: {len(table):,} pairs")


def sources(train: Path) -> Iterator[tuple[str, Iterable[dict[str, str]]]]:
    """Yield the sources, each with its name and its pairs."""
    for name in ("acl_title_abstract", "medquad", "sentence_compression", "simplification", "tldr_description_command"):
        yield name, pq.read_table(train / f"pairs_{name}.parquet", columns=["anchor", "positive"]).to_pylist()
    captions = pq.read_table(train / "captions_multi30k_task2.parquet")
    english = captions.filter(pc.equal(captions["lang"], "en"))
    yield "multi30k", caption_pairs(english)
    yield "coco", caption_pairs(pq.read_table(train / "captions_coco_val2017.parquet"))
    yield "entailments", entailments(train)


def caption_pairs(captions: pa.Table) -> Iterator[dict[str, str]]:
    """Yield pairs of captions of the same image; each caption is used at most once."""
    of_image: dict[Any, list[str]] = {}
    for image, caption in zip(captions["image_id"].to_pylist(), captions["caption"].to_pylist(), strict=True):
        of_image.setdefault(image, []).append(caption)
    for texts in of_image.values():
        for anchor, positive in zip(texts[::2], texts[1::2], strict=False):
            yield {"anchor": anchor, "positive": positive}


def entailments(train: Path) -> Iterator[dict[str, str]]:
    for name in ("nli_snli_sample", "nli_snli_counterfactual", "nli_mnli_dev_matched"):
        for row in pq.read_table(train / f"{name}.parquet").to_pylist():
            if row["label"] == "entailment":
                yield {"anchor": row["premise"], "positive": row["hypothesis"]}


def contradictions(train: Path) -> Iterator[dict[str, str]]:
    """Yield premises with a hypothesis that follows from it and one that contradicts it."""
    hypotheses: dict[str, dict[str, str]] = {}
    for name in ("nli_snli_sample", "nli_snli_counterfactual", "nli_mnli_dev_matched"):
        for row in pq.read_table(train / f"{name}.parquet").to_pylist():
            hypotheses.setdefault(row["premise"], {})[row["label"]] = row["hypothesis"]
    for premise, by_label in hypotheses.items():
        if {"entailment", "contradiction"} <= by_label.keys():
            yield {"anchor": premise, "positive": by_label["entailment"], "negative": by_label["contradiction"]}


def step_clean(arguments: argparse.Namespace) -> None:
    """Clean the pairs of all sources, remove texts of the evaluation, and write the kept texts as documents."""
    recipe = arguments.out / "recipe.yaml"
    files = [str(arguments.corpora / "eval" / f"{name}.parquet") for name in HELD_OUT]
    recipe.write_text(RECIPE.format(files=json.dumps(files)), encoding="utf-8")
    jina_data("clean", arguments.out / "pairs", "-o", arguments.out / "clean", "-p", recipe, "-q")
    report = json.loads((arguments.out / "clean" / "report.json").read_text(encoding="utf-8"))
    print("rows", report["rows"])
    kept = pq.read_table(arguments.out / "clean" / "data")
    texts = dict.fromkeys(text for role in ("anchor", "positive") for text in kept[role].to_pylist())
    pq.write_table(pa.table({"text": list(texts)}), arguments.out / "documents.parquet", compression="zstd")
    print(f"documents.parquet: {len(texts):,} texts")


RECIPE = """\
columns: {{anchor: anchor, positive: positive}}
stages:
  - normalize
  - length: {{min_words: 1, max_chars: 100000}}
  - rules
  - exact_dedup
  - near_dedup: {{threshold: 0.9}}
  - consistency: {{embedder: static, pool_size: 10000, top_k: 50, min_precision: 0.9}}
  - decontaminate: {{files: {files}}}
"""


def step_negate(arguments: argparse.Namespace) -> None:
    """Write negatives with rules, add contradictions written by people, and remove texts of the evaluation."""
    train, out = arguments.corpora / "train", arguments.out
    inputs = [f"snli={train}/nli_snli_sample.parquet", f"multi_nli={train}/nli_mnli_dev_matched.parquet"]
    inputs += [f"coco_captions={train}/captions_coco_val2017.parquet"]
    inputs += [f"sentence_compression={train}/pairs_sentence_compression.parquet"]
    inputs += [f"simple_wiki={train}/pairs_simplification.parquet"]
    jina_data("negate", *inputs, "-o", out / "negations", "--generator", "rules", "-q")
    rows = pq.read_table(out / "negations" / "data" / "triplet", columns=["anchor", "entailment", "negative"])
    negated = rows.rename_columns(["anchor", "positive", "negative"])
    folder = out / "triplets"
    folder.mkdir(exist_ok=True)
    pq.write_table(negated, folder / "negations.parquet", compression="zstd")
    pq.write_table(
        pa.Table.from_pylist(list(contradictions(train))), folder / "contradictions.parquet", compression="zstd"
    )
    recipe = out / "triplets.yaml"
    files = [str(arguments.corpora / "eval" / f"{name}.parquet") for name in HELD_OUT]
    recipe.write_text(
        f"stages:\n  - exact_dedup\n  - decontaminate: {{files: {json.dumps(files)}}}\n", encoding="utf-8"
    )
    jina_data("clean", folder, "-o", out / "negatives", "-p", recipe, "-q")


# -------------------------------------------------------------------------------------------------------------- model


def train(arguments: argparse.Namespace, phase: str, *inputs: Path, out: str, **options: object) -> None:
    steps, rows = PRESETS[arguments.preset][phase]
    words: list[object] = ["train", phase, *inputs, "-o", arguments.out / out, "--batch-size", rows]
    steps_of_phase = dict(assignment.split("=") for assignment in arguments.steps)
    words += [
        "--steps",
        steps_of_phase.get(phase, max(1, round(steps * arguments.scale))),
        "--device",
        arguments.device,
    ]
    words += ["--precision", arguments.precision]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", value]
    jina_data(*words)


def step_mlm(arguments: argparse.Namespace) -> None:
    """Train a tokenizer, and train masked language modelling."""
    vocabulary = f"train:{PRESETS[arguments.preset]['vocabulary']}"
    documents = arguments.out / "documents.parquet"
    train(arguments, "mlm", documents, preset=arguments.preset, out="mlm", tokenizer=vocabulary, max_length=128)


def step_contrast(arguments: argparse.Namespace) -> None:
    """Train on pairs."""
    evaluation = arguments.corpora / "eval" / "stsb.dev.parquet"
    options: dict[str, object] = {
        "learning_rate": 5e-4,
        "max_length": PRESETS[arguments.preset]["length"],
        "eval": evaluation,
    }
    options["source_rates"] = "temperature:2"
    train(arguments, "pairs", arguments.out / "clean", model=arguments.out / "mlm" / "model", out="contrast", **options)


def step_mine(arguments: argparse.Namespace) -> None:
    """Mine negatives with the model that was trained on pairs."""
    words: list[object] = ["mine", arguments.out / "clean", "-o", arguments.out / "mined"]
    words += ["-m", arguments.out / "contrast" / "model", "--num-negatives", 3, "--range-min", 5, "--range-max", 60]
    words += ["--relative-margin", 0.05, "--device", arguments.device]
    jina_data(*words)


def step_triplets(arguments: argparse.Namespace) -> None:
    """Train on triplets with mined and negated negatives."""
    evaluation = arguments.corpora / "eval" / "stsb.dev.parquet"
    inputs = (arguments.out / "mined", arguments.out / "negatives")
    options: dict[str, object] = {
        "learning_rate": 1e-4,
        "max_length": PRESETS[arguments.preset]["length"],
        "eval": evaluation,
    }
    train(arguments, "triplets", *inputs, model=arguments.out / "contrast" / "model", out="final", **options)


def step_evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate the model after each phase."""
    evaluation = arguments.corpora / "eval"
    models = [
        word for phase in ("mlm", "contrast", "final") for word in ("-m", f"{phase}={arguments.out / phase / 'model'}")
    ]
    tasks = [evaluation / "stsb.test.parquet", evaluation / "sts12.parquet", evaluation / "scifact"]
    jina_data("evaluate", "mteb", *tasks, *models, "-o", arguments.out / "scores")


if __name__ == "__main__":
    main()
