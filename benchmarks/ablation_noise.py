"""What filters are worth on real pairs as they are, and with stated amounts of foreign and mismatched pairs mixed in.

    python benchmarks/ablation_noise.py --corpora FOLDER -o DIR [--noise 0.3] [--rows 20000] [--steps 400] [--seeds 3]

Pairs of titles and abstracts, questions and answers, sentences and simpler ones, at most --rows of each, lose what
SciFact and STS12 hold. Then the share --noise of all rows is replaced, half of it by pairs in other languages, half by
pairs whose positive is that of another row of the source. `jina-data ablate` cleans them with no filter, each filter
alone and all, and trains a table of random token vectors for the same steps on what is left. Measured are SciFact
(nDCG@10) and STS12 (Spearman). With --noise 0 the pairs stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", choices=("random", "static"), default="random")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora, out = Path(arguments.corpora), arguments.out
    held_out = [str(corpora / "eval" / f"{name}.parquet") for name in HELD_OUT]
    write_pairs(corpora / "train", out / "pairs", arguments.rows)
    write(out / "decontaminate.yaml", f"stages:\n  - decontaminate: {{files: {json.dumps(held_out)}}}\n")
    write(out / "filters.yaml", RECIPE)
    jina_data("clean", out / "pairs", "-o", out / "decontaminated", "-p", out / "decontaminate.yaml", "-q")
    mix(out / "decontaminated", corpora / "train", out / "raw", arguments.noise)
    start = "static" if arguments.start == "static" else random_table(out / "start")
    words: list[object] = ["ablate", out / "raw", "-o", out / "ablation", "-p", out / "filters.yaml", "-m", start]
    words += ["-t", corpora / "eval" / "scifact", "-t", corpora / "eval" / "sts12.parquet"]
    words += ["--steps", arguments.steps, "--batch-size", arguments.batch_size, "--seeds", arguments.seeds]
    jina_data(*words, "--learning-rate", arguments.learning_rate)


def jina_data(*words: object) -> None:
    """Run a command of jina-data, and print it first."""
    listed = [str(word) for word in words]
    print("$ jina-data", " ".join(listed), flush=True)
    subprocess.run([sys.executable, "-m", "jina_data", *listed], check=True)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_pairs(train: Path, folder: Path, most: int) -> None:
    """Write at most so many pairs of each source, drawn by a seed, a file a source."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SOURCES):
        table = pq.read_table(train / f"pairs_{name}.parquet", columns=["anchor", "positive"])
        rows = np.random.default_rng([SEED, number]).permutation(len(table))[:most]
        pq.write_table(table.take(np.sort(rows)), folder / f"{name}.parquet")


def mix(run: Path, train: Path, folder: Path, noise: float) -> None:
    """Write the pairs of a run, a file a source, with a share of them replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = pq.read_table(run / "ledger", columns=["file", "kept"]).to_pydict()
    files = [file for file, kept in zip(ledger["file"], ledger["kept"], strict=True) if kept]
    kept = pq.read_table(run / "data", columns=["anchor", "positive"])
    foreign = foreign_pairs(train)
    for number, file in enumerate(dict.fromkeys(files)):
        rows = kept.filter(pa.array([one == file for one in files]))
        anchors, positives = rows["anchor"].to_pylist(), rows["positive"].to_pylist()
        rng = np.random.default_rng([SEED, 7, number])
        chosen = rng.permutation(len(rows))[: round(noise * len(rows))]
        torn, abroad = chosen[: len(chosen) // 2].tolist(), chosen[len(chosen) // 2 :].tolist()
        for row, other in zip(torn, [*torn[1:], *torn[:1]], strict=True):
            positives[row] = rows["positive"][other].as_py()
        for row, place in zip(abroad, rng.choice(len(foreign), len(abroad)).tolist(), strict=True):
            anchors[row], positives[row] = foreign[place]
        name = Path(file).name
        pq.write_table(pa.table({"anchor": anchors, "positive": positives}), folder / name)
        print(f"{name}: {len(rows):,} pairs, {len(torn):,} torn apart, {len(abroad):,} in other languages", flush=True)


def foreign_pairs(train: Path) -> list[tuple[str, str]]:
    """Return pairs in other languages: two German captions of an image; pages of commands and their first lines."""
    captions = pq.read_table(train / "captions_multi30k_task2.parquet").to_pydict()
    german: dict[str, list[str]] = {}
    for image, caption, language in zip(captions["image_id"], captions["caption"], captions["lang"], strict=True):
        if language == "de":
            german.setdefault(image, []).append(caption)
    pages = pq.read_table(train / "corpus_tldr_pages_multilingual.parquet").to_pydict()
    texts = [text for text, language in zip(pages["text"], pages["lang"], strict=True) if not language.startswith("en")]
    pairs = [(one[0], one[1]) for one in german.values() if len(one) > 1]
    return pairs + [(text.strip().split("\n")[0], text) for text in texts]


def random_table(folder: Path) -> Path:
    """Save a table of random token vectors, as wide as the bundled one and with its tokenizer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from jina_data.train.models import load_trainee

    if not folder.exists():
        table: Any = load_trainee("static", tokenizer=None, device="cpu", seed=SEED).module
        like = table[0]
        n_words, dim = like.embedding.weight.shape
        vectors = np.random.default_rng(SEED).normal(0, 0.1, (n_words, dim)).astype(np.float32)
        SentenceTransformer(modules=[StaticEmbedding(like.tokenizer, embedding_weights=vectors)]).save(str(folder))
    return folder


if __name__ == "__main__":
    main()
