"""Measures the value of filters on real pairs, with and without added foreign-language and mismatched pairs.

    python benchmarks/ablation_noise.py --corpora FOLDER -o DIR [--noise 0.3] [--rows 5000] [--steps 1000] [--seeds 3]
                                        [--json FILE]

The data are pairs of titles and abstracts, questions and answers, and sentences and simplifications, at most --rows
from each source. Texts of SciFact and STS12 are removed. Then the fraction --noise of the rows is replaced: half of
them by pairs in other languages, half by mismatched pairs, with the positive of another row of the source.
`jina-data ablate` cleans the pairs with no filter, each filter alone, and all filters, and trains a table of random
token vectors on the kept rows for the same number of steps. The results are SciFact (nDCG@10) and STS12 (Spearman).
With --noise 0, no pair is replaced.

With noise, the results have one more line, `perfect`: the same training on exactly the rows that were not replaced, an
upper bound for the detection of noise. A table shows how many replaced rows, and how many other rows, each filter
dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.evaluate.ablation_report import AblateReport, VariantScores

SOURCES = ("acl_title_abstract", "medquad", "simplification", "sentence_compression")
HELD_OUT = ("scifact.queries", "scifact.corpus", "sts12")
RECIPE = """\
columns: {anchor: anchor, positive: positive}
stages:
  - normalize
  - language: {languages: [en]}
  - exact_dedup
  - near_dedup: {threshold: 0.9}
  - consistency: {embedder: static, pool_size: 10000, pool_by: source, top_k: 20}
"""
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", choices=("random", "static"), default="random")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora, out = Path(arguments.corpora), arguments.out
    held_out = [str(corpora / "eval" / f"{name}.parquet") for name in HELD_OUT]
    write_pairs(corpora / "train", out / "pairs", arguments.rows)
    write(out / "decontaminate.yaml", f"stages:\n  - decontaminate: {{files: {json.dumps(held_out)}}}\n")
    write(out / "filters.yaml", RECIPE)
    jina_data("clean", out / "pairs", "-o", out / "decontaminated", "-p", out / "decontaminate.yaml", "-q")
    mix(out / "decontaminated", corpora / "train", out / "raw", arguments.noise)
    start = "static" if arguments.start == "static" else random_table(out / "start")
    words: list[object] = ["ablate", out / "raw", "-o", out / "ablation", "-p", out / "filters.yaml", "-m", start]
    tasks = (corpora / "eval" / "scifact", corpora / "eval" / "sts12.parquet")
    words += [word for task in tasks for word in ("-t", task)]
    training: list[object] = ["--steps", arguments.steps, "--batch-size", arguments.batch_size]
    training += ["--learning-rate", arguments.learning_rate]
    jina_data(*words, *training, "--seeds", arguments.seeds)
    report = AblateReport.load(out / "ablation")
    counts = {}
    if arguments.noise:
        reference = perfect(out, start, tasks, training, arguments.seeds)
        report = replace(report, variants=[*report.variants, reference])
        report.print()
        counts = dropped(out)
        print(json.dumps(counts, indent=1))
    if arguments.json:
        results = report.to_json()
        results["settings"] |= {"tasks": ["scifact", "sts12"], "model": arguments.start}
        results |= {"noise": arguments.noise, "rows_of_a_source": arguments.rows, "dropped": counts}
        write(arguments.json, json.dumps(results, indent=1) + "\n")


def perfect(
    out: Path, start: str | Path, tasks: Sequence[Path], training: Sequence[object], seeds: int
) -> VariantScores:
    """Train on the rows that were not replaced, and evaluate the model."""
    folder = out / "perfect"
    folder.mkdir(exist_ok=True)
    for path in sorted((out / "raw").glob("*.parquet")):
        kinds = pq.read_table(out / "noise" / path.name)["kind"]
        pq.write_table(pq.read_table(path).filter(pc.equal(kinds, "")), folder / path.name)
    # The rows pass through clean, as in the ablation, so that the sources are the same.
    write(out / "nothing.yaml", "columns: {anchor: anchor, positive: positive}\nstages: [normalize]\n")
    jina_data("clean", folder, "-o", out / "perfect-clean", "-p", out / "nothing.yaml", "-q")
    scores_by_seed = []
    for seed in range(seeds):
        run, scores = out / "perfect-runs" / str(seed), out / "perfect-scores" / str(seed)
        words = ["train", "pairs", out / "perfect-clean", "-o", run, "--model", start, "--seed", seed, *training]
        jina_data(*words, "-q")
        jina_data("evaluate", "mteb", *tasks, "-m", run / "model", "-o", scores, "-q")
        (model,) = json.loads((scores / "report.json").read_text(encoding="utf-8"))["models"]
        scores_by_seed.append({name: task["value"] for name, task in model["tasks"].items()})
    n_rows = sum(pq.read_metadata(path).num_rows for path in (out / "perfect-clean" / "data").iterdir())
    return VariantScores("perfect", n_rows, None, scores_by_seed)


def dropped(out: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Return the numbers of rows and of dropped rows, by filter and kind of row: torn, foreign, or "as it was"."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for run in sorted((out / "ablation" / "clean").iterdir()):
        ledger = pq.read_table(run / "ledger", columns=["file", "row", "kept"]).to_pydict()
        kinds = {path.name: pq.read_table(path)["kind"].to_pylist() for path in (out / "noise").glob("*.parquet")}
        table = counts.setdefault(run.name, {})
        for file, row, kept in zip(ledger["file"], ledger["row"], ledger["kept"], strict=True):
            counts_of_kind = table.setdefault(kinds[Path(file).name][row] or "as it was", {"rows": 0, "dropped": 0})
            counts_of_kind["rows"] += 1
            counts_of_kind["dropped"] += not kept
    return counts


def jina_data(*words: object) -> None:
    """Print a command of jina-data, and run it."""
    command = [str(word) for word in words]
    print("$ jina-data", " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *command], check=True)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_pairs(train: Path, folder: Path, max_rows: int) -> None:
    """Write a file for each source with a seeded sample of at most `max_rows` pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SOURCES):
        if (folder / f"{name}.parquet").exists():
            continue
        table = pq.read_table(train / f"pairs_{name}.parquet", columns=["anchor", "positive"])
        rows = np.random.default_rng([SEED, number]).permutation(len(table))[:max_rows]
        pq.write_table(table.take(np.sort(rows)), folder / f"{name}.parquet")


def mix(run: Path, train: Path, folder: Path, noise: float) -> None:
    """Write a file for each source with the pairs of a run, a fraction of them replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = pq.read_table(run / "ledger", columns=["file", "kept"]).to_pydict()
    files = [file for file, kept in zip(ledger["file"], ledger["kept"], strict=True) if kept]
    kept = pq.read_table(run / "data", columns=["anchor", "positive"])
    foreign = foreign_pairs(train)
    for number, file in enumerate(dict.fromkeys(files)):
        rows = kept.filter(pa.array([name == file for name in files]))
        anchors, positives = rows["anchor"].to_pylist(), rows["positive"].to_pylist()
        rng = np.random.default_rng([SEED, 7, number])
        chosen = rng.permutation(len(rows))[: round(noise * len(rows))]
        mismatched, foreign_rows = chosen[: len(chosen) // 2].tolist(), chosen[len(chosen) // 2 :].tolist()
        for row, other in zip(mismatched, [*mismatched[1:], *mismatched[:1]], strict=True):
            positives[row] = rows["positive"][other].as_py()
        for row, choice in zip(foreign_rows, rng.choice(len(foreign), len(foreign_rows)).tolist(), strict=True):
            anchors[row], positives[row] = foreign[choice]
        name = Path(file).name
        if not (folder / name).exists():
            pq.write_table(pa.table({"anchor": anchors, "positive": positives}), folder / name)
        kinds = np.full(len(rows), "", object)
        kinds[mismatched], kinds[foreign_rows] = "torn", "foreign"
        (folder.parent / "noise").mkdir(exist_ok=True)
        pq.write_table(pa.table({"kind": pa.array(kinds.tolist(), pa.string())}), folder.parent / "noise" / name)
        print(
            f"{name}: {len(rows):,} pairs, {len(mismatched):,} mismatched, {len(foreign_rows):,} in other languages",
            flush=True,
        )


def foreign_pairs(train: Path) -> list[tuple[str, str]]:
    """Return pairs in other languages: two German captions of an image, and the first line and text of a page."""
    captions = pq.read_table(train / "captions_multi30k_task2.parquet").to_pydict()
    german: dict[str, list[str]] = {}
    for image, caption, language in zip(captions["image_id"], captions["caption"], captions["lang"], strict=True):
        if language == "de":
            german.setdefault(image, []).append(caption)
    pages = pq.read_table(train / "corpus_tldr_pages_multilingual.parquet").to_pydict()
    texts = [text for text, language in zip(pages["text"], pages["lang"], strict=True) if not language.startswith("en")]
    pairs = [(texts_of_image[0], texts_of_image[1]) for texts_of_image in german.values() if len(texts_of_image) > 1]
    return pairs + [(text.strip().split("\n")[0], text) for text in texts]


def random_table(folder: Path) -> Path:
    """Save a table of random token vectors, with the width and the tokenizer of the bundled table."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from jina_data.train.models import load_trainable

    if not folder.exists():
        table: Any = load_trainable("static", tokenizer=None, device="cpu", seed=SEED).module
        bundled = table[0]
        n_words, dim = bundled.embedding.weight.shape
        vectors = np.random.default_rng(SEED).normal(0, 0.1, (n_words, dim)).astype(np.float32)
        SentenceTransformer(modules=[StaticEmbedding(bundled.tokenizer, embedding_weights=vectors)]).save(str(folder))
    return folder


if __name__ == "__main__":
    main()
