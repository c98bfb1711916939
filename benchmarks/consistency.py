"""Measures the consistency stage: mismatched pairs that it drops, real pairs that it keeps, and its memory.

    python benchmarks/consistency.py --corpora FOLDER --work consistency-runs --out consistency.json
    python benchmarks/consistency.py --corpora FOLDER --work runs --embedder FOLDER-OF-A-MODEL --sample 10000
    python benchmarks/consistency.py --corpora FOLDER --work runs --memory-pool 1000000 --memory-limit 2GB

A seeded 30 % of the positives of each file are shuffled among themselves. A shuffled positive that is also a positive
of its new anchor (the files have duplicates) is counted separately, as "equivalent". `--sample N` uses a seeded sample
of N rows of each file, shuffled in the same way; pool and anchors come from the sample.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.report import CleanReport
from jina_data.kernels.keys import content_keys
from jina_data.pipeline import Pipeline
from jina_data.stages.consistency import Consistency

FILES = ("pairs_acl_title_abstract", "pairs_medquad", "pairs_sentence_compression", "pairs_simplification")
SHUFFLED = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--embedder", default="static")
    parser.add_argument("--sample", type=int, help="rows of each file (default: all)")
    parser.add_argument("--pool-size", type=int, default=10_000)
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--memory-pool", type=int, help="measure memory with a pool of this size instead")
    parser.add_argument("--memory-limit", default="4GB")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.memory_pool:
        results = [measure_memory(arguments)]
    else:
        head = f"{'file':32}{'rows':>7}{'shuffled':>10}{'equivalent':>11}"
        print(f"{head}{'dropped':>9}{'kept':>8}{'rows/s':>9}{'peak MB':>9}")
        results = [measure(arguments, name) for name in arguments.files]
    facts = {"embedder": arguments.embedder, "pool_size": arguments.pool_size, "top_k": arguments.top_k}
    facts |= {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    facts |= {name: version(name) for name in ("numpy", "numba", "duckdb", "wordllama")}
    text = json.dumps({**facts, "results": results}, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def measure(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Shuffle pairs of a file, run the stage, and count the dropped and kept pairs."""
    table, moved, equivalent = shuffle_pairs(arguments.corpora / "train" / f"{name}.parquet", arguments.sample)
    source = arguments.work / f"{name}.parquet"
    pq.write_table(table, source)
    stage = Consistency(embedder=arguments.embedder, pool_size=arguments.pool_size, top_k=arguments.top_k)
    report, seconds = run(arguments, stage, source)
    kept = kept_rows(report)
    mismatched, untouched = moved & ~equivalent, ~moved
    result = {
        "file": name,
        "rows": len(table),
        "shuffled": int(moved.sum()),
        "equivalent": int(equivalent.sum()),
        "equivalent_kept": float(kept[equivalent].mean()) if equivalent.any() else None,
        "shuffled_dropped": 1 - float(kept[mismatched].mean()),
        "untouched_kept": float(kept[untouched].mean()),
        "rows_per_second": len(table) / seconds,
        "peak_memory_bytes": report.peak_memory_bytes,
    }
    shares = f"{result['shuffled_dropped']:9.2%}{result['untouched_kept']:8.2%}{result['rows_per_second']:9,.0f}"
    counts = f"{len(table):7,}{result['shuffled']:10,}{result['equivalent']:11,}"
    print(f"{name:32}{counts}{shares}{report.peak_memory_bytes / 10**6:9,.0f}", flush=True)
    return result


def shuffle_pairs(
    path: Path, sample: int | None = None, seed: int = 0
) -> tuple[pa.Table, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Shuffle a fraction of the positives of a file among themselves.

    Returns:
        The pairs, a mask of the pairs with the positive of another row, and a mask of those that are equivalent.
    """
    table = pq.read_table(path, columns=["anchor", "positive"]).combine_chunks()
    rng = np.random.default_rng(seed)
    if sample is not None and sample < len(table):
        table = table.take(pa.array(np.sort(rng.permutation(len(table))[:sample])))
    anchors, positives = (
        list(map(tuple, content_keys([column], case=True, whitespace=True).tolist())) for column in table.columns
    )
    real_pairs = set(zip(anchors, positives, strict=True))
    chosen = np.sort(rng.permutation(len(table))[: int(SHUFFLED * len(table))])
    origin = np.arange(len(table))
    origin[chosen] = rng.permutation(chosen)
    moved = origin != np.arange(len(table))
    same = [(anchor, positives[row]) in real_pairs for anchor, row in zip(anchors, origin.tolist(), strict=True)]
    shuffled = pa.table({"anchor": table["anchor"], "positive": table["positive"].take(pa.array(origin))})
    return shuffled, moved, moved & np.array(same)


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run over as many different pairs as the pool has texts; 1 % of the first 20,000 pairs are matching."""
    n = arguments.memory_pool
    source = arguments.work / "memory.parquet"
    # In a separate process, so that its memory is not counted.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_synthetic, arguments.corpora, source, n).result()
    report, seconds = run(arguments, Consistency(embedder=arguments.embedder, pool_size=n), source)
    result = {"rows": n, "pool": n, "seconds": seconds, "memory_limit": arguments.memory_limit}
    result |= {"peak_memory_bytes": report.peak_memory_bytes, "kept": int(kept_rows(report).sum())}
    print(f"pool {n:,}: {seconds:.0f} s, peak {report.peak_memory_bytes / 10**6:,.0f} MB of {arguments.memory_limit}")
    return result


def write_synthetic(corpora: Path, target: Path, n: int) -> None:
    """Write N pairs of sentences, made different by a number at the end."""
    column = pq.read_table(corpora / "train" / "corpus_commonvoice_sentences.parquet", columns=["text"])
    texts = column["text"].to_pylist()
    anchors = [f"{texts[row % len(texts)]} {row}" for row in range(n)]
    shift = n // 3
    matching = set(range(0, min(n, 20_000), 100))
    positives = [f"{anchors[row if row in matching else (row + shift) % n]} !" for row in range(n)]
    pq.write_table(pa.table({"anchor": anchors, "positive": positives}), target)


def run(arguments: argparse.Namespace, stage: Consistency, source: Path) -> tuple[CleanReport, float]:
    started = time.perf_counter()
    report = Pipeline(stage).run(
        source,
        arguments.work / f"run-{source.stem}",
        overwrite=True,
        workers=arguments.workers,
        memory_limit=arguments.memory_limit,
    )
    return report, time.perf_counter() - started


def kept_rows(report: CleanReport) -> npt.NDArray[np.bool_]:
    assert report.path is not None
    ledger = pq.read_table(report.path / "ledger", columns=["row", "kept"])
    kept: npt.NDArray[np.bool_] = np.zeros(len(ledger), np.bool_)
    kept[ledger["row"].to_numpy()] = ledger["kept"].to_numpy()
    return kept


if __name__ == "__main__":
    main()
