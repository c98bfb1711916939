"""Measure the consistency stage: pairs torn apart on purpose that it drops, real pairs that it keeps, and its memory.

    python benchmarks/consistency.py --corpora FOLDER --work consistency-runs --out consistency.json
    python benchmarks/consistency.py --corpora FOLDER --work runs --embedder FOLDER-OF-A-MODEL --sample 10000
    python benchmarks/consistency.py --corpora FOLDER --work runs --memory-pool 1000000 --memory-limit 2GB

Of each file, a seeded 30 % of the positives are shuffled among themselves. A shuffled positive that is a positive of
its new anchor all the same (the file has duplicates) is counted apart, as "equivalent". `--sample N` takes N seeded
rows of each file, torn apart in the same way: pool and anchors are theirs.
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
    parser.add_argument("--sample", type=int, help="rows of each file; all without it")
    parser.add_argument("--pool-size", type=int, default=10_000)
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--memory-pool", type=int, help="measure memory with a pool of so many texts instead")
    parser.add_argument("--memory-limit", default="4GB")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
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
    """Tear pairs of one file apart, run the stage, and count what became of them."""
    table, moved, equivalent = torn_pairs(arguments.corpora / "train" / f"{name}.parquet", arguments.sample)
    source = arguments.work / f"{name}.parquet"
    pq.write_table(table, source)
    stage = Consistency(embedder=arguments.embedder, pool_size=arguments.pool_size, top_k=arguments.top_k)
    report, seconds = run(arguments, stage, source)
    kept = kept_rows(report)
    torn, whole = moved & ~equivalent, ~moved
    result = {
        "file": name,
        "rows": len(table),
        "shuffled": int(moved.sum()),
        "equivalent": int(equivalent.sum()),
        "equivalent_kept": float(kept[equivalent].mean()) if equivalent.any() else None,
        "shuffled_dropped": 1 - float(kept[torn].mean()),
        "untouched_kept": float(kept[whole].mean()),
        "rows_per_second": len(table) / seconds,
        "peak_memory_bytes": report.peak_memory_bytes,
    }
    shares = f"{result['shuffled_dropped']:9.2%}{result['untouched_kept']:8.2%}{result['rows_per_second']:9,.0f}"
    counts = f"{len(table):7,}{result['shuffled']:10,}{result['equivalent']:11,}"
    print(f"{name:32}{counts}{shares}{report.peak_memory_bytes / 10**6:9,.0f}", flush=True)
    return result


def torn_pairs(
    path: Path, sample: int | None = None, seed: int = 0
) -> tuple[pa.Table, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Shuffle a share of a file's positives among themselves.

    Returns:
        The pairs, which of them got another row's positive, and which of those one of their anchor's all the same.
    """
    table = pq.read_table(path, columns=["anchor", "positive"]).combine_chunks()
    rng = np.random.default_rng(seed)
    if sample is not None and sample < len(table):
        table = table.take(pa.array(np.sort(rng.permutation(len(table))[:sample])))
    anchors, positives = (
        list(map(tuple, content_keys([column], case=True, whitespace=True).tolist())) for column in table.columns
    )
    known = set(zip(anchors, positives, strict=True))
    some = np.sort(rng.permutation(len(table))[: int(SHUFFLED * len(table))])
    origin = np.arange(len(table))
    origin[some] = rng.permutation(some)
    moved = origin != np.arange(len(table))
    same = [(anchor, positives[at]) in known for anchor, at in zip(anchors, origin.tolist(), strict=True)]
    torn = pa.table({"anchor": table["anchor"], "positive": table["positive"].take(pa.array(origin))})
    return torn, moved, moved & np.array(same)


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run over as many pairs as the pool shall have texts, all different; of the first, one in a hundred is whole."""
    n = arguments.memory_pool
    source = arguments.work / "memory.parquet"
    # In a process of its own: what making them holds must not count.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_synthetic, arguments.corpora, source, n).result()
    report, seconds = run(arguments, Consistency(embedder=arguments.embedder, pool_size=n), source)
    result = {"rows": n, "pool": n, "seconds": seconds, "memory_limit": arguments.memory_limit}
    result |= {"peak_memory_bytes": report.peak_memory_bytes, "kept": int(kept_rows(report).sum())}
    print(f"pool {n:,}: {seconds:.0f} s, peak {report.peak_memory_bytes / 10**6:,.0f} MB of {arguments.memory_limit}")
    return result


def write_synthetic(corpora: Path, target: Path, n: int) -> None:
    """Write N pairs of sentences, all different by a number at the end."""
    column = pq.read_table(corpora / "train" / "corpus_commonvoice_sentences.parquet", columns=["text"])
    texts = column["text"].to_pylist()
    anchors = [f"{texts[row % len(texts)]} {row}" for row in range(n)]
    shift = n // 3
    whole = set(range(0, min(n, 20_000), 100))
    positives = [f"{anchors[row if row in whole else (row + shift) % n]} !" for row in range(n)]
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
