"""Times the reading of 1 GB of JSON lines, CSV and Parquet into Arrow tables, against other readers of the same files.

    python benchmarks/reading.py [--corpora FOLDER] [--bytes 1000000000] [--runs 3] [--out results/reading.json]

Each reader is a process of its own, timed as a whole, with all cores; readers take turns, so that a busy moment of the
machine hits all of them. All read every column of every row into memory as Arrow data (Polars: into its own Arrow
columns; datasets: into its cache on disk, as it does by design). polars and datasets are left out if they are not
installed. The rows are the title/abstract pairs of the corpora folder, or those of the demo sample without it,
repeated, with a number and a score per row.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
FORMATS = ("jsonl", "csv", "parquet")
READERS = ("jina-data", "pyarrow", "duckdb", "polars", "datasets")


def read_with_jina_data(path: str) -> int:
    """Read all ranges of a file, as the workers of `clean` do, with a thread for each core."""
    from jina_data.read import ParsedRange, RangeSpec, parse_range, resolve_inputs, sample_schema, split, stream_ranges

    (file,) = resolve_inputs([path])
    schema = sample_schema(file)
    specs = split(file, schema)
    if specs is None:
        ranges = list(stream_ranges(file, schema))
    else:
        cores = os.cpu_count() or 1
        size = -(-len(specs) // cores) if file.format == "parquet" else 1

        def parse(start: int) -> list[ParsedRange]:
            chosen: list[RangeSpec] = specs[start : start + size]
            return [parse_range(file, spec, schema) for spec in chosen]

        with ThreadPoolExecutor(cores) as pool:
            ranges = [parsed for part in pool.map(parse, range(0, len(specs), size)) for parsed in part]
    assert not any(parsed.unreadable for parsed in ranges)
    return sum(parsed.rows.num_rows for parsed in ranges)


def read_with_pyarrow(path: str) -> int:
    """Read with pyarrow, with blocks of 8 MiB, its best size here."""
    block = 8 * 2**20
    if path.endswith(".jsonl"):
        return pa.json.read_json(path, read_options=pa.json.ReadOptions(block_size=block)).num_rows
    if path.endswith(".csv"):
        options = pa.csv.ParseOptions(newlines_in_values=True)
        return pa.csv.read_csv(path, read_options=pa.csv.ReadOptions(block_size=block), parse_options=options).num_rows
    return pq.read_table(path).num_rows


def read_with_duckdb(path: str) -> int:
    """Read with DuckDB into an Arrow table."""
    import duckdb

    function = {".jsonl": "read_json", ".csv": "read_csv", ".parquet": "read_parquet"}[Path(path).suffix]
    return duckdb.sql(f"SELECT * FROM {function}('{path}')").to_arrow_table().num_rows


def read_with_polars(path: str) -> int:
    """Read with Polars into a data frame."""
    import polars

    function = {".jsonl": polars.read_ndjson, ".csv": polars.read_csv, ".parquet": polars.read_parquet}
    return function[Path(path).suffix](path).height


def read_with_datasets(path: str) -> int:
    """Load with datasets, into a cache that is empty."""
    import datasets

    builder = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}[Path(path).suffix]
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as cache:
        return datasets.load_dataset(builder, data_files=path, split="train", cache_dir=cache).num_rows


def rows_of(corpora: str | None) -> pa.Table:
    """Return pairs of texts: of the corpora folder, or of the demo sample."""
    if corpora:
        return pq.read_table(
            Path(corpora) / "train" / "pairs_acl_title_abstract.parquet", columns=["anchor", "positive"]
        )
    return pa.csv.read_csv(ROOT / "tests/data/demo/commands.csv").select(["question", "answer"])


def write_files(folder: Path, corpora: str | None, n_bytes: int) -> None:
    """Write the same rows in each format, until the JSON lines have the given number of bytes."""
    texts = rows_of(corpora).to_pylist()
    number = written = 0
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as sink:
        while written < n_bytes:
            row = {"id": number, **texts[number % len(texts)], "score": (number % 1000) / 8}
            written += sink.write(json.dumps(row, ensure_ascii=False) + "\n")
            number += 1

    table = pa.json.read_json(folder / "rows.jsonl", read_options=pa.json.ReadOptions(block_size=8 * 2**20))
    pa.csv.write_csv(table, folder / "rows.csv")
    pq.write_table(table, folder / "rows.parquet", row_group_size=65_536)


def installed() -> Iterator[tuple[str, str]]:
    """Yield the readers that are installed, with their versions."""
    for reader in READERS:
        if reader == "jina-data" or importlib.util.find_spec(reader):
            yield reader, importlib.metadata.version(reader)


def measure(path: Path, reader: str) -> tuple[float, int]:
    """Return the seconds of a whole process that reads a file, and the rows that it read."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--read", reader, str(path)], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - began, int(done.stdout)


def compare(folder: Path, n_runs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each reader for each format; the readers take turns."""
    medians: dict[str, dict[str, float]] = {}
    for name in FORMATS:
        path = folder / f"rows.{name}"
        seconds: dict[str, list[float]] = {}
        counts = set()
        for _ in range(n_runs):
            for reader, _version in installed():
                took, n_rows = measure(path, reader)
                seconds.setdefault(reader, []).append(took)
                counts.add(n_rows)
        assert len(counts) == 1, f"the readers disagree on the rows of {path.name}: {counts}"
        medians[name] = {reader: round(statistics.median(times), 2) for reader, times in seconds.items()}
        best = min(medians[name].values())
        for reader, median in medians[name].items():
            print(f"{name:8} {reader:10} {median:6.2f} s  {median / best:5.2f} x the fastest", flush=True)
    return medians


def main() -> None:
    """Write the files, time the readers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default=os.environ.get("JINA_DATA_CORPORA"), metavar="FOLDER")
    parser.add_argument("--bytes", type=int, default=10**9)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        reader, path = arguments.read
        print(globals()[f"read_with_{reader.replace('-', '_')}"](path))
        return
    with tempfile.TemporaryDirectory(prefix="jina-data-reading-") as folder:
        write_files(Path(folder), arguments.corpora, arguments.bytes)
        sizes = {name: (Path(folder) / f"rows.{name}").stat().st_size for name in FORMATS}
        medians = compare(Path(folder), arguments.runs)
    result = {
        "bytes": sizes,
        "median_seconds": medians,
        "runs": arguments.runs,
        "versions": dict(installed()),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.machine()},
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
