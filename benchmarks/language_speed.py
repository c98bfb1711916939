"""Measures the speed of the `language` stage: its kernel compared with a Python loop over the fastText runtime.

    python benchmarks/language_speed.py [--corpora FOLDER] [--model FILE] [--rows N] [--repeats N] [--json FILE]

Reads eval/langid_lingua.parquet (short texts in 75 languages), train/corpus_commonvoice_sentences.parquet (sentences)
and train/pairs_acl_title_abstract.parquet (abstracts). Each repeat times the runtime, then the kernel with one and with
two threads, on the same texts. The results are medians and extremes of the wall time, and medians of the ratios of wall
time and of processor time; on a busy machine only the ratios of processor time are reliable. Labels must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.languages.identify import identify, identify_by_runtime

SETS = {
    "lingua": ("eval/langid_lingua.parquet", "text"),
    "Common Voice": ("train/corpus_commonvoice_sentences.parquet", "text"),
    "ACL abstracts": ("train/pairs_acl_title_abstract.parquet", "positive"),
}
THREADS = (1, 2)
BATCH = 4096
"""Number of texts in a batch, as in a run."""


@dataclass(frozen=True)
class Line:
    """Rows per second: median and extremes of the repeats; ratios to the runtime are computed for each repeat."""

    texts: str
    rows: int
    bytes_per_row: float
    way: str
    rows_per_second: float
    slowest: float
    fastest: float
    ratio: float
    processor_ratio: float


def read(path: Path, column: str, n_rows: int) -> pa.LargeStringArray:
    """Return up to `n_rows` texts of a file, at equal distances."""
    values = pq.read_table(path, columns=[column])[column].combine_chunks()
    rows = np.linspace(0, len(values) - 1, min(n_rows, len(values))).astype(np.int64)
    return values.take(pa.array(rows)).cast(pa.large_string())


def by_threads(values: pa.LargeStringArray, model: str | None, threads: int) -> None:
    """Identify the languages of batches in a pool of threads."""
    batches = [values.slice(start, BATCH) for start in range(0, len(values), BATCH)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda batch: identify(batch, model), batches):
            pass


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the processor time of a function."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def measure(name: str, values: pa.LargeStringArray, model: str | None, repeats: int) -> list[Line]:
    times: dict[str, list[tuple[float, float]]] = {"runtime": [], **{f"kernel, threads: {n}": [] for n in THREADS}}
    for _ in range(repeats):
        times["runtime"].append(seconds(partial(identify_by_runtime, values, model)))
        for n in THREADS:
            times[f"kernel, threads: {n}"].append(seconds(partial(by_threads, values, model, n)))
    lines = []
    for way, of_way in times.items():
        ratios = np.median(np.array(times["runtime"]) / np.array(of_way), axis=0).tolist()
        rates = len(values) / np.array(of_way)[:, 0]
        spread = float(np.median(rates)), float(rates.min()), float(rates.max())
        lines.append(Line(name, len(values), values.nbytes / len(values), way, *spread, *ratios))
    return lines


def differences(values: pa.LargeStringArray, model: str | None) -> tuple[int, float]:
    """Return the number of labels that differ from the runtime, and the largest difference of a probability."""
    (labels, probability), (expected, expected_p) = identify(values, model), identify_by_runtime(values, model)
    differing = sum(label != other for label, other in zip(labels.to_pylist(), expected.to_pylist(), strict=True))
    return differing, float(np.abs(probability - expected_p).max(initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("--model", help="a fastText model file; default: lid.176.ftz")
    parser.add_argument("--rows", type=int, default=20_000, help="maximum number of texts of each set")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers to this JSON file")
    args = parser.parse_args()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: version(name) for name in ("numba", "numpy", "pyarrow", "fasttext-predict")}
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {versions}")
    print(
        "\n| texts | rows | bytes per row | way | rows/s | slowest | fastest | ratio to the runtime | processor ratio |"
    )
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    lines: list[Line] = []
    equality = []
    for name, (file, column) in SETS.items():
        values = read(args.corpora / file, column, args.rows)
        differing, apart = differences(values, args.model)  # also loads and compiles
        equality.append(
            {"texts": name, "rows": len(values), "labels_that_differ": differing, "probability_apart": apart}
        )
        for line in measure(name, values, args.model, args.repeats):
            lines.append(line)
            speed = " | ".join(f"{rate:,.0f}" for rate in (line.rows_per_second, line.slowest, line.fastest))
            ratios = f"{line.ratio:.1f} | {line.processor_ratio:.1f}"
            print(f"| {name} | {line.rows:,} | {line.bytes_per_row:.0f} | {line.way} | {speed} | {ratios} |")
    print()
    for entry in equality:
        print(
            f"{entry['texts']}: {entry['labels_that_differ']} labels differ; "
            f"largest difference of a probability {entry['probability_apart']:.1g}"
        )
    if args.json:
        result = {"machine": platform.machine(), "cores": cores, "versions": versions, "equality": equality}
        args.json.write_text(json.dumps(result | {"speed": [asdict(line) for line in lines]}, indent=1))
    if any(entry["labels_that_differ"] for entry in equality):
        raise SystemExit("labels differ from those of the runtime")


if __name__ == "__main__":
    main()
