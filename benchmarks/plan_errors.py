"""Compares forecasts with runs over real corpora.

    python benchmarks/plan_errors.py --corpora FOLDER --work plan-runs --out plan-errors.json

Each forecast and each run has a separate process, as on the command line. The seconds of a run are those of the call,
without the start of Python. Prints a table, and writes all results as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("sentences", "sentences", ("corpus_commonvoice_sentences",), ("text=text",)),
    ("tweets", "sentences", ("corpus_afrisenti_tweets",), ("text=text",)),
    ("pages", "documents", ("corpus_tldr_pages_multilingual",), ("text=text",)),
    ("pairs", "pairs", ("pairs_*",), ("anchor=anchor", "positive=positive")),
    ("titles", "pairs", ("pairs_acl_title_abstract",), ("anchor=anchor", "positive=positive")),
)
"""Name, recipe, corpora and columns of each run."""

CHILD = """
import json, sys, threading, time
from pathlib import Path
from jina_data.clean.run import CleanConfig, RecipeChoice, clean
from jina_data.forecast.forecast import forecast
from jina_data.roles import parse_roles

def held(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

def watch(folder, peak, stop):
    while not stop.wait(0.2):
        total = 0
        for path in folder.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:
                pass
        peak["work"] = max(peak["work"], total)

def main():
    action, recipe, files, columns, out, workers, seed = json.loads(sys.argv[1])
    choice, roles = RecipeChoice(recipe, seed=seed), parse_roles(columns)
    config = CleanConfig(recipe=choice, inputs=files, columns=roles, workers=workers)
    started = time.perf_counter()
    if action == "forecast":
        answer = forecast(config).to_json()
        print(json.dumps({**answer, "took": time.perf_counter() - started}))
        return
    folder, peak, stop = Path(out), {"work": 0}, threading.Event()
    thread = threading.Thread(target=watch, args=(folder, peak, stop))
    thread.start()
    try:
        report = clean(config, folder).to_json()
    finally:
        stop.set()
        thread.join()
    took = time.perf_counter() - started
    sizes = {name: held(folder / name) for name in ("data", "dropped")}
    print(json.dumps({**report, **peak, **sizes, "stays": held(folder), "took": took}))

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class Compared:
    """A quantity of a run: its forecast with an interval, and the actual value."""

    run: str
    what: str
    low: float
    expected: float
    high: float
    actual: float

    @property
    def covers(self) -> bool:
        return self.low <= self.actual <= self.high

    @property
    def error(self) -> float:
        return self.expected / self.actual - 1 if self.actual else float(self.expected != 0)


def main() -> None:
    """Run the forecasts and the runs, and print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"), required=False)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", help="names of the runs to repeat: " + ", ".join(name for name, *_ in RUNS)
    )
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    rows: list[Compared] = []
    raw: dict[str, Any] = {"machine": machine(), "workers": arguments.workers, "runs": {}}
    for name, recipe, patterns, columns in RUNS:
        if arguments.only and name not in arguments.only:
            continue
        files = [
            str(path)
            for pattern in patterns
            for path in sorted((arguments.corpora / "train").glob(f"{pattern}.parquet"))
        ]
        out = arguments.work / name
        shutil.rmtree(out, ignore_errors=True)
        settings = (recipe, files, columns, str(out), arguments.workers, arguments.seed)
        forecast, actual = child("forecast", *settings), child("run", *settings)
        shutil.rmtree(out, ignore_errors=True)
        compared = compare(name, forecast, actual)
        rows += compared
        raw["runs"][name] = {"forecast": forecast, "actual": actual}
        print(table(compared), f"{name}: the forecast took {forecast['took']:.1f} s", sep="\n", flush=True)
    raw["compared"] = [{**vars(row), "covers": row.covers, "error": row.error} for row in rows]
    arguments.out.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


def child(action: str, *settings: Any) -> dict[str, Any]:
    """Forecast or run in a separate process."""
    script = Path(settings[3]).with_suffix(".py")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(CHILD, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps([action, *settings])], stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(run: str, forecast: dict[str, Any], actual: dict[str, Any]) -> list[Compared]:
    """Compare each number of a forecast with the actual number."""
    rows = [compare_quantity(run, "rows", forecast["rows"], actual["rows"]["read"])]
    for stage, actual_stage in zip(forecast["stages"], actual["stages"], strict=True):
        rows.append(compare_quantity(run, f"kept by {stage['name']}", stage["rows_out"], actual_stage["rows_out"]))
    for stage, actual_stage in zip(forecast["stages"], actual["stages"], strict=True):
        if actual_stage["seconds"] >= 1:
            rows.append(compare_quantity(run, f"seconds of {stage['name']}", stage["seconds"], actual_stage["seconds"]))
    rows.append(compare_quantity(run, "seconds in all", forecast["seconds"], actual["took"]))
    rows.append(
        compare_quantity(run, "MiB in memory", forecast["peak_memory_bytes"], actual["peak_memory_bytes"], 2**20)
    )
    rows.append(compare_quantity(run, "MiB at work", forecast["work_bytes"], actual["work"], 2**20))
    rows.append(compare_quantity(run, "MiB that stay", forecast["folder_bytes"], actual["stays"], 2**20))
    rows.append(compare_quantity(run, "MiB of data/", forecast["data_bytes"], actual["data"], 2**20))
    rows.append(compare_quantity(run, "MiB of dropped/", forecast["dropped_bytes"], actual["dropped"], 2**20))
    return rows


def compare_quantity(run: str, quantity: str, interval: dict[str, float], actual: float, unit: float = 1) -> Compared:
    """Compare an interval with an actual value, both divided by `unit`."""
    low, expected, high = (interval[key] / unit for key in ("low", "expected", "high"))
    return Compared(run, quantity, low, expected, high, actual / unit)


def table(rows: Sequence[Compared]) -> str:
    """Return a comparison as a Markdown table."""
    lines = [
        "| run | what | forecast | from | to | actual | error | covered |",
        "| - | - | -: | -: | -: | -: | -: | - |",
    ]
    for row in rows:
        numbers = " | ".join(format_number(value) for value in (row.expected, row.low, row.high, row.actual))
        lines.append(f"| {row.run} | {row.what} | {numbers} | {row.error:+.1%} | {'yes' if row.covers else 'no'} |")
    return "\n".join(lines)


def format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:,.1f}"


def machine() -> dict[str, Any]:
    """Return the machine of the measurement."""
    return {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}


if __name__ == "__main__":
    main()
