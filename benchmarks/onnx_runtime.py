"""Compares a model in sentence-transformers and in ONNX Runtime (full precision, int8): decisions and speed on a CPU.

    python benchmarks/onnx_runtime.py --model FOLDER --out onnx.json [--corpora FOLDER] [--pairs 2000] [--turns 3]

FOLDER (or a name on the Hub) is a sentence-transformers model with an ONNX file. The pairs are titles and abstracts of
the corpora, a seeded sample, or those of the demo sample without --corpora and JINA_DATA_CORPORA. The stage
`consistency` runs with each embedder; its decisions are compared with those of sentence-transformers. The speed is that
of encoding all texts; the ways alternate, and each has a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jina_data.embed.load import load_embedder
from jina_data.pipeline import Pipeline
from jina_data.stages.consistency import Consistency

DEMO = Path(__file__).parent.parent / "tests" / "data" / "demo" / "commands.csv"
WAYS = {"sentence-transformers": "{}", "onnx": "onnx:{}", "onnx int8": "onnx:{}#int8"}
BASE = "sentence-transformers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with an ONNX file")
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.corpora, arguments.pairs)
    names = {way: pattern.format(arguments.model) for way, pattern in WAYS.items()}
    speeds = measure_speed(names, pairs, turns=arguments.turns)
    with tempfile.TemporaryDirectory() as folder:
        kept = {way: kept_rows(name, pairs, Path(folder) / way, top_k=arguments.top_k) for way, name in names.items()}
    results = {way: compare(kept[BASE], kept[way], len(pairs)) | speeds[way] for way in WAYS}
    facts: dict[str, Any] = {"model": Path(arguments.model).name, "pairs": len(pairs), "top_k": arguments.top_k}
    facts |= {"corpora": bool(arguments.corpora), "cpus": os.cpu_count(), "machine": platform.machine()}
    facts |= {"python": platform.python_version()}
    facts |= {name: version(name) for name in ("onnxruntime", "torch", "sentence-transformers", "tokenizers", "numpy")}
    text = json.dumps({**facts, "results": results}, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def read_pairs(corpora: Path | None, n_pairs: int) -> pa.Table:
    """Return pairs with a row number: titles and abstracts, or those of the demo sample."""
    if corpora:
        columns = ["anchor", "positive"]
        table = pq.read_table(corpora / "train" / "pairs_acl_title_abstract.parquet", columns=columns)
    else:
        table = pa.csv.read_csv(DEMO).select(["question", "answer"]).rename_columns(["anchor", "positive"])
    chosen = np.sort(np.random.default_rng(0).permutation(len(table))[:n_pairs])
    return table.take(pa.array(chosen)).append_column("number", pa.array(range(len(chosen))))


def measure_speed(names: dict[str, str], pairs: pa.Table, *, turns: int) -> dict[str, dict[str, Any]]:
    """Return the texts per second of each embedder (median and spread), and the similarity to the vectors of the first.

    The spread is the slowest turn divided by the fastest.
    """
    texts = [text or "" for column in ("anchor", "positive") for text in pairs[column].to_pylist()]
    seconds: dict[str, list[float]] = {way: [] for way in names}
    vectors, embedders = {}, {way: load_embedder(name) for way, name in names.items()}
    for turn in range(turns + 1):
        for way, embedder in embedders.items():
            started = time.perf_counter()
            vectors[way] = embedder.encode(texts).astype(np.float64)
            if turn:
                seconds[way].append(time.perf_counter() - started)
    results = {}
    for way in names:
        cosine = np.clip((vectors[BASE] * vectors[way]).sum(1), -1, 1)
        results[way] = {
            "texts_per_second": len(texts) / statistics.median(seconds[way]),
            "spread": max(seconds[way]) / min(seconds[way]),
            "load_average": os.getloadavg()[0],
            "cosine_mean": float(cosine.mean()),
            "cosine_min": float(cosine.min()),
        }
    return results


def kept_rows(name: str, pairs: pa.Table, folder: Path, *, top_k: int) -> set[int]:
    """Run the stage with an embedder, and return the numbers of the rows that it keeps."""
    stage = Consistency(embedder=name, top_k=top_k, pool_size=len(pairs))
    pipeline = Pipeline(stage, columns={"anchor": "anchor", "positive": "positive"})
    report = pipeline.run(pairs, folder, device="cpu", workers=1)
    return set(pq.read_table(Path(str(report.path)) / "data")["number"].to_pylist())


def compare(base: set[int], kept: set[int], n_pairs: int) -> dict[str, Any]:
    """Count dropped rows, and the rows about which two runs decide differently."""
    return {
        "dropped": n_pairs - len(kept),
        "dropped_only_here": len(base - kept),
        "kept_only_here": len(kept - base),
        "same_decision": 1 - len(base ^ kept) / n_pairs,
    }


if __name__ == "__main__":
    main()
