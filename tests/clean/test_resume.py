"""A run that is killed resumes: it gives the same bytes, and repeats only the units that were in flight."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data.clean.folder import CleanFolder
from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.clean.run import CleanConfig, clean
from jina_data.clean.session import CleanSession
from jina_data.clean.spool import RangeFacts, write_range
from jina_data.errors import RunFolderError, StoppedError
from jina_data.read.model import RANGE_BYTES, ParsedRange
from jina_data.run.resume import ResumableRun

DEMO = Path(__file__).parents[1] / "data" / "demo"
WORKERS = 2

DOCUMENTS = """\
columns: {text: text, source: origin}
stages:
  - normalize
  - length: {min_words: 2, max_words: 200}
  - language: {languages: any}
  - exact_dedup
"""

PAIRS = """\
columns: {anchor: text, positive: answer}
stages:
  - normalize
  - length: {min_words: 1}
  - exact_dedup: {roles: [anchor, positive], priority: [web, wiki]}
"""

KILLED = """\
columns: {anchor: text, positive: answer}
stages:
  - decontaminate: {files: eval.jsonl, columns: text}
  - normalize
  - exact_dedup: {roles: anchor, against: known.jsonl}
  - near_dedup: {n_grams: 2, threshold: 0.6}
  - consistency: {pool_size: 500, top_k: 40}
"""

TWICE = """\
columns: {text: text, source: origin}
seed: 3
stages:
  - exact_dedup: {fold_case: false}
  - normalize
  - sample: {count: 30000}
  - length: {min_words: 2}
  - exact_dedup: {priority: [web, wiki]}
"""

MODELS = """\
columns: {anchor: text, positive: answer}
seed: 5
stages:
  - decontaminate: {files: held/held.parquet, columns: text, min_words: 4}
  - near_dedup: {role: anchor, threshold: 0.5, n_grams: 2}
  - exact_dedup: {roles: [anchor, positive], against: [held/known.parquet]}
  - consistency: {top_k: 5, pool_size: 100}
"""


# ------------------------------------------------------------------------------------------------------- the inputs


def make_rows(number: int, seed: int) -> list[dict[str, Any]]:
    """Return sentences of the demo sample, repeated: most with a variation, some empty or in capitals."""
    sentences = pq.read_table(DEMO / "sentences.parquet").column("text").to_pylist()
    rng = random.Random(seed)
    rows = []
    for _ in range(number):
        text = rng.choice(sentences)
        chance = rng.random()
        if chance < 0.02:
            text = ""
        elif chance < 0.1:
            text = text.upper()
        elif chance < 0.8:
            text = f"{text} {rng.randrange(10**6)}"
        answer = rng.choice(sentences)[:60]
        note = f"{rng.getrandbits(32):x} " * 40
        rows.append({"text": text, "answer": answer, "origin": rng.choice(["web", "wiki", None]), "note": note})
    return rows


def lines_of(rows: Sequence[Mapping[str, Any]], *, broken: bool = True) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if broken:
        lines[len(lines) // 2] = '{"text": "cut o'
        lines[len(lines) // 3] = '{"text": ["no", "text"]}'
    return "".join(f"{line}\n" for line in lines).encode()


def csv_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def write_inputs(folder: Path, n_rows: int) -> None:
    """Write files of several formats; some have several ranges, some can only be read sequentially."""
    rows = make_rows(n_rows, seed=11)
    parts = [rows[start : start + n_rows // 8] for start in range(0, n_rows, n_rows // 8)]
    (folder / "a.jsonl").write_bytes(lines_of([*parts[0], *parts[1]]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines_of([*parts[2], *parts[3]]), 1, mtime=0))
    pq.write_table(pa.Table.from_pylist(parts[4]), folder / "c.parquet")
    (folder / "d.csv.gz").write_bytes(gzip.compress(csv_of(parts[5]), 1, mtime=0))
    (folder / "e.jsonl").write_bytes(lines_of(parts[6], broken=False))
    pq.write_table(pa.Table.from_pylist(parts[7]), folder / "f.parquet", row_group_size=1_000)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 90 MB of input, in 16 ranges."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "in").mkdir()
    write_inputs(folder / "in", 200_000)
    (folder / "known.jsonl").write_bytes(lines_of(make_rows(500, seed=11), broken=False))
    (folder / "eval.jsonl").write_bytes(lines_of(make_rows(50, seed=5), broken=False))
    for name, recipe in {"documents": DOCUMENTS, "pairs": PAIRS, "twice": TWICE, "killed": KILLED}.items():
        (folder / f"{name}.yaml").write_text(recipe, encoding="utf-8")
    return folder


# ------------------------------------------------------------------------------------------------- runs to be killed


KILLED_AT = """
import os, signal
from contextlib import contextmanager
import numpy as np
from jina_data.clean import session
from jina_data.cli import main
from jina_data.kernels import lsh
from jina_data.stages import hybrid_ranks, near_dedup
from jina_data.stages.hybrid_ranks import HybridRanks

def kill(*_, **__):
    os.killpg(os.getpgrp(), signal.SIGKILL)

def killing(number, function):
    "Return the function; its call with this number kills the run."
    calls = iter(range(1, number))
    return lambda *given, **named: (function if next(calls, None) else kill)(*given, **named)
"""
MOMENTS = {
    # In near_dedup, after the sets of some rows are written.
    "sets": """
rows_at = near_dedup._read_items
def some(*given):
    for number, rows in enumerate(rows_at(*given)):
        if number == 2:
            kill()
        yield rows
near_dedup._read_items = some
""",
    # In near_dedup, after some rows are decided.
    "decisions": "lsh.NODES_AT_A_TIME = 100; lsh._decide = killing(3, lsh._decide)",
    # After the decisions are written, before they get their name.
    "name": """
atomic_path = session.atomic_path
@contextmanager
def half(path):
    with atomic_path(path) as temporary:
        yield temporary
        kill()
session.atomic_path = half
""",
    # In consistency, after a part of the pool is written.
    "pool": "hybrid_ranks.CHUNK = 64; HybridRanks._write_block = killing(4, HybridRanks._write_block)",
    # After the pool and one of the three files of excluded rows are written.
    "excluded": """
open_memmap = np.lib.format.open_memmap
made = killing(2, open_memmap)
np.lib.format.open_memmap = lambda *a, mode, **more: (made if mode == "w+" else open_memmap)(*a, mode=mode, **more)
""",
    # After all files are written, before the result that marks them as done.
    "facts": """
write_json = session.write_json
session.write_json = lambda path, value: kill() if path.name == "look-04.json" else write_json(path, value)
""",
}
"""Code that kills a run of the recipe `killed` and all its workers inside a collective or barrier stage."""


class Run:
    """A run that can be started repeatedly, in its own process group."""

    def __init__(self, inputs: Path, recipe: str, out: Path) -> None:
        self.inputs, self.recipe, self.out = inputs, recipe, out
        self.events = out / "events.jsonl"

    def start(self, code: str = "from jina_data.cli import main") -> subprocess.Popen[bytes]:
        command = (
            sys.executable,
            "-c",
            f"{code}\nmain()",
            "clean",
            "in",
            "-o",
            self.out,
            "-p",
            f"{self.recipe}.yaml",
            "--workers",
            str(WORKERS),
        )
        with (self.out.parent / f"{self.out.name}.log").open("ab") as log:
            return subprocess.Popen(
                list(map(str, command)), cwd=self.inputs, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self) -> None:
        status = self.start().wait(timeout=600)
        assert status == 0, self.log()

    def log(self) -> str:
        return (self.out.parent / f"{self.out.name}.log").read_text(encoding="utf-8")

    def n_events(self) -> int:
        return self.events.read_bytes().count(b"\n") if self.events.exists() else 0

    def start_and_wait_for(self, n_events: int) -> subprocess.Popen[bytes]:
        """Start, and wait until the log has `n_events` lines and at least one new line."""
        before = self.n_events()
        process = self.start()
        while process.poll() is None and self.n_events() < max(n_events, before + 1):
            time.sleep(0.002)
        return process

    def start_and_kill(self, n_events: int, seconds: float) -> bool:
        """Start, wait for `n_events` lines and some seconds, and kill all processes; return whether it was running."""
        process = self.start_and_wait_for(n_events)
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout=60) == -signal.SIGKILL


def results(run: Path) -> dict[str, str]:
    """Return the sha256 of every file that must not depend on kills; fail on unexpected names."""
    names = {*CleanFolder.outputs, "events.jsonl", "manifest.json"}
    assert {path.name for path in run.iterdir()} - {"cache"} == names
    files = (
        path for path in run.rglob("*") if path.is_file() and path.relative_to(run).parts[0] in CleanFolder.outputs
    )
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("report.json", "report.html")
    }


def read_events(run: Path) -> list[dict[str, Any]]:
    events = []
    for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def sessions(events: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split the log into sessions."""
    starts = [index for index, event in enumerate(events) if event["event"] in ("start", "resume")]
    for start, stop in zip(starts, [*starts[1:], len(events)], strict=True):
        yield list(events[start:stop])


def check_repeats(events: Sequence[dict[str, Any]]) -> None:
    """Check that only units in flight at a kill began again, at most one per worker and one of the parent."""
    begun: set[str] = set()
    in_flight: set[str] = set()
    for session in sessions(events):
        again = [event["unit"] for event in session if event["event"] == "begin" and event["unit"] in begun]
        assert set(again) <= in_flight
        assert len(again) == len(set(again)) <= WORKERS + 1
        begins = {event["unit"] for event in session if event["event"] == "begin"}
        finishes = {event["unit"] for event in session if event["event"] == "finish"}
        assert finishes <= begins
        begun |= begins
        # A unit in flight that did not begin again had written its file, but not its end event.
        in_flight = (in_flight - finishes) | (begins - finishes)
    assert in_flight <= {event["unit"] for event in events if event["event"] == "begin"}


@pytest.fixture(scope="module")
def undisturbed(inputs: Path) -> Callable[[str], Run]:
    """Return the undisturbed run of a recipe."""
    runs: dict[str, Run] = {}

    def of(recipe: str) -> Run:
        if recipe not in runs:
            runs[recipe] = Run(inputs, recipe, inputs / f"undisturbed-{recipe}")
            runs[recipe].finish()
        return runs[recipe]

    return of


def kill_and_resume(undisturbed: Run, out: Path, n_kills: int, seed: int) -> None:
    """Kill a run at random moments, finish it, and compare its results with the undisturbed run."""
    rng = random.Random(seed)
    n_events = undisturbed.n_events()
    run = Run(undisturbed.inputs, undisturbed.recipe, out)
    moments = sorted(rng.sample(range(2, n_events - 4), n_kills))
    kills = [run.start_and_kill(moment, rng.random() * 0.2) for moment in moments]
    run.finish()
    assert results(out) == results(undisturbed.out)
    events = read_events(out)
    check_repeats(events)
    assert sum(kills) >= n_kills - 2, run.log()
    assert [event["event"] for event in events].count("resume") >= sum(kills)
    report, expected = CleanReport.load(out), CleanReport.load(undisturbed.out)
    assert (report.rows, report.files, report.sources) == (expected.rows, expected.files, expected.sources)
    assert [stage.dropped for stage in report.stages] == [stage.dropped for stage in expected.stages]


def test_the_inputs_are_of_several_ranges(inputs: Path, undisturbed: Callable[[str], Run]) -> None:
    begun = [event.get("unit", "") for event in read_events(undisturbed("pairs").out) if event["event"] == "finish"]
    for file in (0, 1, 2):
        assert sum(unit.startswith(f"read {file}:") for unit in begun) >= 2
    assert sum(unit.startswith("pass 0:") for unit in begun) >= 8
    assert (inputs / "in" / "a.jsonl").stat().st_size > 2 * RANGE_BYTES


def test_a_run_that_is_killed_three_times(undisturbed: Callable[[str], Run], tmp_path: Path) -> None:
    kill_and_resume(undisturbed("pairs"), tmp_path / "out", 3, seed=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("recipe", ["documents", "pairs", "twice", "killed"])
def test_runs_that_are_killed_ten_times(
    undisturbed: Callable[[str], Run], tmp_path: Path, recipe: str, seed: int
) -> None:
    kill_and_resume(undisturbed(recipe), tmp_path / "out", 10, seed)


@pytest.fixture(scope="module")
def small_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six input files, about 4 MB, with the reference files of the recipe `killed`."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "in").mkdir()
    write_inputs(folder / "in", 8_000)
    (folder / "known.jsonl").write_bytes(lines_of(make_rows(500, seed=11), broken=False))
    (folder / "eval.jsonl").write_bytes(lines_of(make_rows(50, seed=5), broken=False))
    (folder / "killed.yaml").write_text(KILLED, encoding="utf-8")
    return folder


def test_a_run_that_is_killed_inside_cross_row_stages(small_inputs: Path, tmp_path: Path) -> None:
    """At each moment in turn."""
    undisturbed = Run(small_inputs, "killed", tmp_path / "undisturbed")
    undisturbed.finish()
    run = Run(small_inputs, "killed", tmp_path / "out")
    files = {}
    for moment, code in MOMENTS.items():
        assert run.start(KILLED_AT + code).wait(timeout=600) == -signal.SIGKILL, (moment, run.log())
        work = [path.relative_to(run.out / ".work") for path in (run.out / ".work").rglob("*") if path.is_file()]
        files[moment] = {re.sub(r"\.\d+\.tmp$", ".tmp", str(path)) for path in work}
        assert read_events(run.out)[-1]["unit"] == (
            "decide 3" if moment in ("sets", "decisions", "name") else "decide 4"
        )
    assert {"look-03/sets.bin", "look-03/signatures.bin"} <= files["sets"]
    assert ".decide-03.parquet.tmp" in files["name"]
    assert not [moment for moment in ("sets", "decisions", "name") if "decide-03.parquet" in files[moment]]
    assert "look-04/block-000000000.npz" in files["pool"]
    assert "look-04/anchor_high.npy" in files["excluded"] - files["pool"]
    assert "look-04/ordinal.npy" in files["facts"] - files["excluded"]
    run.finish()
    assert results(run.out) == results(undisturbed.out)
    events = read_events(run.out)
    check_repeats(events)
    begun = Counter(event["unit"] for event in events if event["event"] == "begin")
    assert {unit: number for unit, number in begun.items() if number > 1} == {"decide 3": 4, "decide 4": 4}
    dropped = [stage.dropped for stage in CleanReport.load(run.out).stages]
    assert [list(reasons) for reasons in dropped] == [
        ["contaminated"],
        [],
        ["exact_duplicate"],
        ["near_duplicate"],
        ["inconsistent"],
    ]
    assert dropped == [stage.dropped for stage in CleanReport.load(undisturbed.out).stages]


# --------------------------------------------------------------------------------------- only one of the processes dies


def parents() -> dict[int, int]:
    """Return the parent of every live process."""
    parent_of = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parent_of[int(entry.parent.name)] = int(parent)
    return parent_of


def wait_for(reached: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(reached())


def start_until_the_workers_work(run: Run) -> tuple[subprocess.Popen[bytes], list[int]]:
    process = run.start()
    assert wait_for(lambda: run.events.exists() and '"finish"' in run.events.read_text(encoding="utf-8"), 120)
    workers = {event["worker"] for event in read_events(run.out) if event["event"] == "begin"} - {process.pid}
    assert workers
    return process, sorted(workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the workers in /proc")
def test_workers_end_with_their_parent(undisturbed: Callable[[str], Run], tmp_path: Path) -> None:
    run = Run(undisturbed("pairs").inputs, "pairs", tmp_path / "out")
    process, _ = start_until_the_workers_work(run)
    children = [pid for pid, parent in parents().items() if parent == process.pid]
    assert len(children) >= WORKERS
    process.kill()
    process.wait()
    assert wait_for(lambda: not set(children) & set(parents()), 15), run.log()
    run.finish()
    assert results(run.out) == results(undisturbed("pairs").out)


def test_a_worker_that_is_killed_is_reported(undisturbed: Callable[[str], Run], tmp_path: Path) -> None:
    run = Run(undisturbed("pairs").inputs, "pairs", tmp_path / "out")
    process, workers = start_until_the_workers_work(run)
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    last = run.log().rstrip("\n").splitlines()[-1]
    assert last.startswith(
        "Error: a worker process ended early. The most likely cause is a lack of memory: lower --workers or raise "
    )
    assert last.endswith("run the same command again: the run will resume")
    assert "Traceback" not in run.log()
    run.finish()
    assert results(run.out) == results(undisturbed("pairs").out)


# --------------------------------------------------------------------------------------------- states made by hand


class Small:
    """A small run in this process that can be stopped before any of its steps."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = CleanFolder(folder / "out")
        self.limit = limit
        self.input = folder / "rows.jsonl"
        self.input.write_bytes(lines_of(make_rows(500, seed=2)))
        self.recipe = Recipe.parse(TWICE.replace("30000", "200"))

    def clean(self, out: Path | None = None) -> CleanReport:
        return clean(
            CleanConfig(recipe=self.recipe, inputs=[str(self.input)], limit=self.limit), out or self.folder.path
        )

    def stop_before(self, step: str) -> None:
        """Run up to a step of the session, and stop as after Ctrl-C."""

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ResumableRun if step == "finish" else CleanSession, step, stop)
            with pytest.raises(StoppedError, match="Run the same command again"):
                self.clean()

    def check(self) -> None:
        """Finish the run, and compare it with a run that was not stopped."""
        self.clean()
        fresh = self.folder.path.with_name("fresh")
        self.clean(fresh)
        assert results(self.folder.path) == results(fresh)
        check_repeats(read_events(self.folder.path))
        shutil.rmtree(fresh)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


STEPS = (
    "_run_steps",
    "_read",
    "_list_ranges",
    "_run_pass",
    "_run_cross_row_stage",
    "_write_ledger",
    "_write_shards",
    "_write_unreadable",
)


@pytest.mark.parametrize("step", [*STEPS, "_write_report", "finish"])
def test_a_run_resumes_from_every_step(small: Small, step: str) -> None:
    small.stop_before(step)
    small.check()


def test_a_run_that_stops_at_every_step_in_turn(small: Small) -> None:
    for step in (*STEPS, "_write_report", "finish"):
        small.stop_before(step)
    small.check()


def test_a_run_with_a_limit_reads_nothing_twice(tmp_path: Path) -> None:
    small = Small(tmp_path, limit=300)
    small.stop_before("_write_ledger")
    small.check()


def test_a_limit_over_several_files_reads_nothing_twice(tmp_path: Path) -> None:
    rows = make_rows(300, seed=2)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines_of(rows))
    inputs = [str(tmp_path / f"{name}.jsonl") for name in "abc"]
    recipe = Recipe.parse(PAIRS)
    written: list[int] = []

    def write(folder: CleanFolder, file_index: int, parsed: ParsedRange) -> RangeFacts:
        if written == [0]:
            written.append(file_index)
            raise KeyboardInterrupt
        written.append(file_index)
        return write_range(folder, file_index, parsed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_data.clean.session.write_range", write)
        with pytest.raises(StoppedError):
            clean(CleanConfig(recipe=recipe, inputs=inputs, limit=700), tmp_path / "out")
        clean(CleanConfig(recipe=recipe, inputs=inputs, limit=700), tmp_path / "out")
    assert written == [0, 1, 1, 2]
    report = clean(CleanConfig(recipe=recipe, inputs=inputs, limit=700), tmp_path / "fresh")
    assert report.rows.read == 700
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


@pytest.mark.parametrize("n_moved", range(len(CleanFolder.outputs) + 1))
def test_a_kill_among_the_final_moves(small: Small, n_moved: int) -> None:
    small.stop_before("finish")
    for name in CleanFolder.outputs[:n_moved]:
        (small.folder.out / name).replace(small.folder.path / name)
    assert not small.folder.is_finished
    small.check()


def test_a_kill_after_the_manifest(small: Small) -> None:
    small.stop_before("finish")
    for name in CleanFolder.outputs:
        (small.folder.out / name).replace(small.folder.path / name)
    shutil.copy(small.folder.work / "complete.json", small.folder.manifest)
    assert not small.folder.is_finished
    small.check()


def test_a_kill_while_the_work_folder_is_removed(small: Small) -> None:
    small.clean()
    before = results(small.folder.path)
    (small.folder.path / ".trash" / "spool").mkdir(parents=True)
    assert small.folder.is_finished
    small.clean()
    assert results(small.folder.path) == before


def test_partial_outputs_are_removed(small: Small) -> None:
    small.stop_before("_write_report")
    (small.folder.out / "data" / ".part-00000.parquet.4711.tmp").write_bytes(b"half")
    (small.folder.out / ".report.html.4711.tmp").write_bytes(b"half")
    small.check()
    manifest = small.folder.read_json(small.folder.manifest)
    assert not [name for name in manifest["outputs"] if "tmp" in name]


def test_a_log_whose_last_line_was_cut_off(small: Small) -> None:
    small.stop_before("_write_ledger")
    with small.folder.events.open("a", encoding="utf-8") as sink:
        sink.write('{"time": 1, "event": "begin", "unit": "pass 0')
    small.check()
    lines = small.folder.events.read_text(encoding="utf-8").splitlines()
    broken = [line for line in lines if not line.endswith("}")]
    assert broken == ['{"time": 1, "event": "begin", "unit": "pass 0']


def test_a_lock_without_a_run_is_a_new_run(small: Small) -> None:
    small.folder.work.mkdir(parents=True)
    (small.folder.work / "lock").touch()
    small.check()


@pytest.mark.parametrize("change", ["grown", "touched", "other name", "more files"])
def test_an_input_that_changed_is_refused(small: Small, change: str) -> None:
    small.stop_before("_write_ledger")
    before = sorted(str(path) for path in small.folder.path.rglob("*"))
    inputs = [small.input]
    if change == "grown":
        with small.input.open("ab") as sink:
            sink.write(b'{"text": "one more"}\n')
    elif change == "touched":
        os.utime(small.input, (1, 1))
    else:
        inputs.append(Path(shutil.copy(small.input, small.input.with_name("other.jsonl"))))
        inputs = inputs if change == "more files" else inputs[1:]
    with pytest.raises(RunFolderError) as caught:
        clean(CleanConfig(recipe=small.recipe, inputs=list(map(str, inputs))), small.folder.path)
    assert str(caught.value) == (
        f"{small.folder.path} holds an unfinished run with other inputs (names, sizes or modification times). "
        "Name another folder, or start over with --overwrite"
    )
    assert sorted(str(path) for path in small.folder.path.rglob("*")) == before
    clean(CleanConfig(recipe=small.recipe, inputs=list(map(str, inputs))), small.folder.path, overwrite=True)


def test_other_settings_are_refused(small: Small) -> None:
    small.stop_before("_write_ledger")
    other = Recipe.parse(TWICE.replace("30000", "100"))
    with pytest.raises(RunFolderError, match="holds an unfinished run with another recipe"):
        clean(CleanConfig(recipe=other, inputs=[str(small.input)]), small.folder.path)
    with pytest.raises(RunFolderError, match="with another recipe and another output format and another --limit"):
        clean(CleanConfig(recipe=other, inputs=[str(small.input)], out_format="jsonl", limit=9), small.folder.path)
    small.check()


def test_execution_settings_may_change_when_a_run_resumes(small: Small) -> None:
    small.stop_before("_write_ledger")
    clean(
        CleanConfig(recipe=small.recipe, inputs=[str(small.input)], batch_rows=7, memory_limit_bytes=2 * 10**9),
        small.folder.path,
    )
    small.check()


def sleep_on(seconds: float) -> None:
    time.sleep(seconds)


def test_processes_of_the_calling_program_are_left_alone(small: Small) -> None:
    """A run ends its own workers, and no other children of the calling program."""
    other = multiprocessing.get_context("spawn").Process(target=sleep_on, args=(60,), daemon=True)
    other.start()
    try:
        second = small.input.with_name("more.jsonl")
        second.write_bytes(lines_of(make_rows(100, seed=3)))
        inputs = [str(small.input), str(second)]
        clean(CleanConfig(recipe=small.recipe, inputs=inputs, workers=2), small.folder.path)
        other.join(2)
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def test_ctrl_c_inside_a_query_stops_the_run(small: Small) -> None:
    """DuckDB raises its own error for an interrupt."""

    def query(*_: object) -> None:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        with duckdb.connect(config={"threads": 1}) as con:
            con.sql("SELECT sum(hash(a.range + b.range)) FROM range(1000000) a, range(100000) b").fetchall()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CleanSession, "_run_cross_row_stage", query)
        with pytest.raises(StoppedError, match="Run the same command again"):
            small.clean()
    small.check()


def test_an_interrupt_that_looks_like_bad_input_does_not_clear_the_run(small: Small) -> None:
    """Readers raise `InputError` for any failure; without a check for Ctrl-C, this would discard hours of work."""
    from jina_data.errors import InputError

    def read(*_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        raise InputError("rows.jsonl: could not be read: interrupted")

    small.stop_before("_write_ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CleanSession, "_write_ledger", read)
        with pytest.raises(StoppedError):
            small.clean()
    assert (small.folder.work / "run.json").exists()
    small.check()


# ------------------------------------------------------------------------------------- stages with models and decisions


@pytest.fixture
def modelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A small run with evaluation texts, reference rows and an embedder."""
    rows = [{name: row[name] for name in ("text", "answer")} for row in make_rows(60, seed=2)]
    (tmp_path / "held").mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:20]).select(["text"]), tmp_path / "held" / "held.parquet")
    pq.write_table(pa.Table.from_pylist(rows[20:40]), tmp_path / "held" / "known.parquet")
    monkeypatch.chdir(tmp_path)
    small = Small(tmp_path)
    small.recipe = Recipe.parse(MODELS)
    return small


@pytest.mark.parametrize("step", ["_list_ranges", "_run_pass", "_run_cross_row_stage", "_write_ledger", "finish"])
def test_a_run_with_models_resumes_from_every_step(modelled: Small, step: str) -> None:
    modelled.stop_before(step)
    modelled.check()


def test_a_run_with_models_stops_before_every_cross_row_stage(modelled: Small) -> None:
    """Stop between the pass that computes the keys and each cross-row stage, in turn."""
    calls: list[int] = []
    run_cross_row_stage = CleanSession._run_cross_row_stage
    for n_done in range(3):
        calls.clear()

        def stop(session: CleanSession, *args: Any, n_done: int = n_done) -> Any:
            calls.append(1)
            if len(calls) > 1 or n_done == 0:
                raise KeyboardInterrupt
            return run_cross_row_stage(session, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CleanSession, "_run_cross_row_stage", stop)
            with pytest.raises(StoppedError):
                modelled.clean()
    modelled.check()
    units = {event["unit"] for event in read_events(modelled.folder.path) if event["event"] == "finish"}
    assert sum(unit.startswith("decide ") for unit in units) == 3


def counted(run: Path, kind: str) -> int:
    """Return the number of scores that were "computed" or "reused"."""
    counts = [event["scores"] for event in read_events(run) if event["event"] == "finish" and event.get("scores")]
    return sum(numbers.get(kind, 0) for scores in counts for numbers in scores.values())


def test_another_threshold_calls_no_model(modelled: Small, tmp_path: Path) -> None:
    modelled.clean()
    assert counted(modelled.folder.path, "computed") > 0
    modelled.recipe = Recipe.parse(MODELS.replace("top_k: 5", "top_k: 1"))
    outs = [tmp_path / name for name in ("again", "third")]
    old = modelled.folder.path
    for out in outs:
        clean(CleanConfig(recipe=modelled.recipe, inputs=[str(modelled.input)], reuse=(old,)), out)
        assert counted(out, "computed") == 0
        shutil.rmtree(old)
        old = out
    modelled.clean(tmp_path / "fresh")
    assert counted(tmp_path / "fresh", "computed") > 0
    assert results(outs[-1]) == results(tmp_path / "fresh")


def test_one_more_file_embeds_only_what_is_new(modelled: Small, tmp_path: Path) -> None:
    modelled.recipe = Recipe.parse(MODELS[: MODELS.index("  - decon")] + "  - consistency: {pool_size: 100}\n")
    modelled.clean()
    more = modelled.input.with_name("more.jsonl")
    more.write_bytes(lines_of(make_rows(100, seed=3), broken=False))

    def texts(path: Path) -> set[str]:
        table = pq.read_table(path)
        return {text or "" for name in ("text", "answer") for text in table.column(name).to_pylist()}

    inputs = [str(modelled.input), str(more)]
    clean(CleanConfig(recipe=modelled.recipe, inputs=inputs, reuse=(modelled.folder.path,)), tmp_path / "both")
    clean(CleanConfig(recipe=modelled.recipe, inputs=inputs), tmp_path / "fresh")
    assert results(tmp_path / "both") == results(tmp_path / "fresh")
    before, after = (
        {text for part in ("data", "dropped") for text in texts(run / part)}
        for run in (modelled.folder.path, tmp_path / "both")
    )
    assert counted(tmp_path / "both", "computed") == len(after - before) > 0
