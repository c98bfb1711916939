"""Measures the stage `consistency`: precision and recall with planted mismatches, ranks by scorer, and memory.

    python benchmarks/consistency.py recipe --corpora FOLDER --work runs --out results/consistency_recipe.json
    python benchmarks/consistency.py ranks --corpora FOLDER --work runs --embedder hybrid --embedder static
    python benchmarks/consistency.py memory --corpora FOLDER --work runs --pool 1000000 --memory-limit 2GB

`recipe` runs the recipe `pairs` over whole sources in which 0, 5 and 30 % of the positives are shuffled among
themselves, with several seeds. `ranks` runs the stage alone over a sample of each source with 30 % shuffled, with the
sample as the pool, and counts the pairs up to several ranks. A shuffled positive that is also a positive of its new
anchor (the sources have duplicates) counts as a good pair. Rows that earlier stages drop do not count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data import CleanConfig, CleanReport, Pipeline, clean
from jina_data.clean.run import RecipeChoice
from jina_data.kernels.keys import content_keys
from jina_data.stages.consistency import Consistency

SOURCES: Mapping[str, tuple[str, str, str, str | None]] = {
    "titles and abstracts": ("pairs_acl_title_abstract", "anchor", "positive", None),
    "medical questions": ("pairs_medquad", "anchor", "positive", None),
    "compressions": ("pairs_sentence_compression", "anchor", "positive", None),
    "simplifications": ("pairs_simplification", "anchor", "positive", None),
    "commands": ("pairs_tldr_description_command", "anchor", "positive", None),
    "entailments": ("nli_snli_sample", "premise", "hypothesis", "entailment"),
    "paraphrases": ("dups_mrpc_train_val", "anchor", "positive", "1"),
    "translations en-de": ("parallel_multi30k_task1", "en", "de", None),
}
RANKS = (2, 10, 50)


def main() -> None:
    """Run the chosen measurement and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("recipe", "ranks", "memory"))
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--embedder", action="append", help="default: hybrid")
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 0.05, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sample", type=int, help="rows of each source (recipe: all; ranks: 5,000)")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--pool", type=int, default=1_000_000)
    parser.add_argument("--memory-limit", default="2GB")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    arguments.corpora = Path(arguments.corpora)
    arguments.work.mkdir(parents=True, exist_ok=True)
    measure = {"recipe": measure_recipe, "ranks": measure_ranks, "memory": measure_memory}[arguments.what]
    facts = {"what": arguments.what, "cpus": os.cpu_count(), "machine": platform.machine()}
    facts |= {"python": platform.python_version()}
    facts |= {name: version(name) for name in ("numpy", "numba", "duckdb", "wordllama")}
    results: list[dict[str, Any]] = []
    for result in measure(arguments):
        results.append(result)
        print(json.dumps(result), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n", encoding="utf-8")


def measure_recipe(arguments: argparse.Namespace) -> Any:
    """Run the recipe `pairs` over each source, with each share of shuffled positives."""
    for name in arguments.sources:
        for embedder in arguments.embedder or ["hybrid"]:
            for noise in arguments.noise:
                for seed in range(arguments.seeds if noise else 1):
                    table, is_bad = read(arguments.corpora, name, noise, seed, arguments.sample)
                    path = arguments.work / "pairs.parquet"
                    pq.write_table(table, path)
                    choice = RecipeChoice("pairs", settings=[f"consistency.embedder={embedder}"])
                    columns = {"anchor": ("anchor",), "positive": ("positive",)}
                    config = CleanConfig(recipe=choice, inputs=[str(path)], columns=columns, workers=arguments.workers)
                    started = time.perf_counter()
                    report = clean(config, arguments.work / "run", overwrite=True)
                    seconds = time.perf_counter() - started
                    yield {"source": name, "embedder": embedder, "noise": noise, "seed": seed} | {
                        **account(report, is_bad),
                        "seconds": round(seconds, 1),
                        "peak_memory_bytes": report.peak_memory_bytes,
                    }


def account(report: CleanReport, is_bad: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Count what `consistency` dropped, of the rows that reached it."""
    assert report.path is not None
    ledger = pq.read_table(report.path / "ledger", columns=["row", "kept", "stage"]).sort_by("row")
    is_dropped = pc.equal(ledger["stage"], "consistency").fill_null(False).to_numpy()
    reached = is_dropped | ledger["kept"].to_numpy()
    n_dropped, n_bad = int(is_dropped.sum()), int((reached & is_bad).sum())
    hits = int((is_dropped & is_bad).sum())
    main_part = max(report.judged, key=lambda part: part.rows)
    return {
        "rows": int(reached.sum()),
        "mismatched": n_bad,
        "dropped": n_dropped,
        "precision": round(hits / n_dropped, 4) if n_dropped else None,
        "recall": round(hits / n_bad, 4) if n_bad else None,
        "good_lost": round((n_dropped - hits) / int((reached & ~is_bad).sum()), 5),
        "not_judged": round(sum(part.rows for part in report.judged if part.limit is None) / int(reached.sum()), 4),
        "estimated_share": main_part.share,
        "limit": main_part.limit,
    }


def measure_ranks(arguments: argparse.Namespace) -> Any:
    """Run the stage alone over a sample of each source with 30 % shuffled; the sample is the pool."""
    for name in arguments.sources:
        table, is_bad = read(arguments.corpora, name, 0.3, 0, arguments.sample or 5000)
        path = arguments.work / "pairs.parquet"
        pq.write_table(table, path)
        for embedder in arguments.embedder or ["hybrid"]:
            stage = Consistency(embedder=embedder, pool_size=len(table), top_k=max(RANKS), audit_rows=0)
            started = time.perf_counter()
            report = Pipeline(stage).run(path, arguments.work / "run", overwrite=True, workers=arguments.workers)
            seconds = time.perf_counter() - started
            assert report.path is not None
            scores = pq.read_table(report.path / "scores").sort_by("row_id")
            columns = [column for column in scores.column_names if column.endswith("rank")]
            for column in columns:
                rank = scores[column].to_numpy()
                yield {
                    "source": name,
                    "embedder": embedder if column == "rank" else f"{embedder}: {column.removesuffix('_rank')}",
                    "rows": len(table),
                    "rows_per_second": round(len(table) / seconds),
                    **{
                        f"top_{k}": {
                            "shuffled_dropped": round(float((rank[is_bad] > k).mean()), 4),
                            "others_kept": round(float((rank[~is_bad] <= k).mean()), 4),
                        }
                        for k in RANKS
                    },
                }


def read(
    corpora: Path, name: str, noise: float, seed: int, sample: int | None
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Return the pairs of a source with a share of its positives shuffled, and which pairs do not match."""
    file, anchor, positive, label = SOURCES[name]
    table = pq.read_table(corpora / "train" / f"{file}.parquet").combine_chunks()
    if label is not None:
        table = table.filter(pc.equal(pc.cast(table["label"], pa.string()), label))
    table = pa.table({"anchor": table[anchor], "positive": table[positive]}).drop_null().combine_chunks()
    rng = np.random.default_rng(seed)
    if sample is not None and sample < len(table):
        table = table.take(pa.array(np.sort(rng.permutation(len(table))[:sample]))).combine_chunks()
    anchors, positives = (
        list(map(tuple, content_keys([column], case=True, whitespace=True).tolist())) for column in table.columns
    )
    real_pairs = set(zip(anchors, positives, strict=True))
    chosen = rng.permutation(len(table))[: int(noise * len(table))]
    origin = np.arange(len(table))
    origin[chosen] = np.roll(chosen, 1)
    pairs = zip(anchors, origin.tolist(), strict=True)
    is_bad = np.array([(anchor, positives[row]) not in real_pairs for anchor, row in pairs])
    return pa.table({"anchor": table["anchor"], "positive": table["positive"].take(pa.array(origin))}), is_bad


def measure_memory(arguments: argparse.Namespace) -> Any:
    """Run over as many different pairs as the pool has texts; 1 % of the first 20,000 pairs are matching."""
    source = arguments.work / "memory.parquet"
    # In a separate process, so that its memory is not counted.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_synthetic, arguments.corpora, source, arguments.pool).result()
    for embedder in arguments.embedder or ["hybrid"]:
        started = time.perf_counter()
        report = Pipeline(Consistency(embedder=embedder, pool_size=arguments.pool)).run(
            source,
            arguments.work / "run",
            overwrite=True,
            workers=arguments.workers,
            memory_limit=arguments.memory_limit,
        )
        yield {
            "pool": arguments.pool,
            "embedder": embedder,
            "seconds": round(time.perf_counter() - started, 1),
            "memory_limit": arguments.memory_limit,
            "peak_memory_bytes": report.peak_memory_bytes,
        }


def write_synthetic(corpora: Path, target: Path, n: int) -> None:
    """Write N pairs of sentences, made different by a number at the end."""
    column = pq.read_table(corpora / "train" / "corpus_commonvoice_sentences.parquet", columns=["text"])
    texts = column["text"].to_pylist()
    anchors = [f"{texts[row % len(texts)]} {row}" for row in range(n)]
    shift = n // 3
    matching = set(range(0, min(n, 20_000), 100))
    positives = [f"{anchors[row if row in matching else (row + shift) % n]} !" for row in range(n)]
    pq.write_table(pa.table({"anchor": anchors, "positive": positives}), target)


if __name__ == "__main__":
    main()
