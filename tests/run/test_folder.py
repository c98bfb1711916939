"""The run folder: atomic writes, one run at a time, and foreign files stay untouched."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_data.clean.folder import CleanFolder
from jina_data.engines.local import PROCESS_BYTES, WORK_BYTES, MemoryBudget
from jina_data.errors import ResourceError, RunFolderError, UsageError
from jina_data.run.events import Events
from jina_data.run.files import atomic_file, atomic_path, remove, write_json
from jina_data.run.memory import parse_bytes
from jina_data.run.resources import allocate, resource_errors

MIB = 2**20
ONE_WORKER = PROCESS_BYTES + WORK_BYTES


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------ whole or not at all


def test_atomic_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    with atomic_file(path) as sink:
        sink.write(b"half")
        assert not path.exists()
        sink.write(b", whole")
    assert path.read_bytes() == b"half, whole"
    assert names(path.parent) == ["file.bin"]


def test_atomic_file_replaces_the_old_one_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_file(path, "w") as sink:
        sink.write("new: ü")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_bytes() == "new: ü".encode()


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_atomic_path_leaves_nothing_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file.parquet"
    path.write_text("old", encoding="utf-8")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["file.parquet"]


def test_atomic_path_fails_if_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file.parquet"):
        pass
    assert names(tmp_path) == []


def test_temporary_names_do_not_end_like_outputs(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "part-00000.parquet") as temporary:
        temporary.write_bytes(b"")
        assert list(tmp_path.glob("*.parquet")) == []
        assert str(os.getpid()) in temporary.name


def test_write_json_is_read_back(tmp_path: Path) -> None:
    value = {"name": "Zürich 東京", "numbers": [1, 2.5, None], "nested": {"a": True}}
    write_json(tmp_path / "value.json", value)
    assert CleanFolder(tmp_path).read_json(tmp_path / "value.json") == value
    assert "東京" in (tmp_path / "value.json").read_text(encoding="utf-8")


def test_write_json_keeps_the_old_file_when_a_value_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": {1, 2}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert names(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [None, "", "{", '{"a": 1} x', b"\xff"])
def test_read_json_names_the_file_and_the_folder(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunFolderError, match=r"manifest\.json cannot be read: .+ Is .+ the folder of a run\?"):
        CleanFolder(tmp_path).read_json(path)


# ---------------------------------------------------------------------------------------------------------- the lock


def test_lock_keeps_a_second_run_out(tmp_path: Path) -> None:
    first, second = CleanFolder(tmp_path / "out"), CleanFolder(tmp_path / "out")
    with first.locked():
        (first.work / "run.json").write_text("{}", encoding="utf-8")
        with pytest.raises(RunFolderError, match=r"out is in use by another run; wait for it, or name"):
            second.locked().__enter__()
    with second.locked():
        pass


def test_lock_keeps_another_process_out_and_ends_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from jina_data.clean.folder import CleanFolder\n"
        f"with CleanFolder(Path({str(tmp_path)!r})).locked():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="is in use by another run"):
            CleanFolder(tmp_path).locked().__enter__()
        holder.kill()
        holder.wait()
        with CleanFolder(tmp_path).locked():
            pass


def test_lock_reports_why_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"output folder .*file/out cannot be written: Not a directory"):
        CleanFolder(tmp_path / "file" / "out").locked().__enter__()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_run_that_wrote_nothing_leaves_no_new_folder(tmp_path: Path, *, is_new: bool) -> None:
    folder = CleanFolder(tmp_path / "out")
    if not is_new:
        folder.path.mkdir()
    with folder.locked():
        folder.events.write_text("{}\n", encoding="utf-8")
        write_json(folder.work / "run.json", {})
        folder.clear()
    assert folder.path.exists() != is_new
    assert not folder.work.exists()


def test_a_run_that_stopped_leaves_its_work(tmp_path: Path) -> None:
    folder = CleanFolder(tmp_path / "out")

    def stop() -> None:
        with folder.locked():
            write_json(folder.work / "run.json", {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert names(folder.work) == ["lock", "run.json"]


def test_partial_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    folder = CleanFolder(tmp_path / "out")
    partial = [folder.out / "data" / ".part-00000.parquet.123.tmp", folder.work / ".decide-01.parquet.9.tmp"]
    complete = [folder.out / "data" / "part-00000.parquet", folder.spool(0, 0)]
    spilled = folder.work / "duckdb" / "duckdb_temp_block-1.block"
    for path in (*partial, *complete, spilled):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    with folder.locked():
        assert not any(path.exists() for path in (*partial, spilled))
        assert all(path.exists() for path in complete)


# ---------------------------------------------------------------------------------------------- what belongs to a run


def finished_run(folder: CleanFolder) -> None:
    for name in ("data", "dropped", "ledger", "scores/01-length"):
        (folder.path / name).mkdir(parents=True)
        (folder.path / name / "part-00000.parquet").write_bytes(b"x")
    for name in ("unreadable.jsonl", "report.json", "report.html", "events.jsonl", "manifest.json"):
        (folder.path / name).write_bytes(b"x")


def test_clear_removes_what_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    folder = CleanFolder(tmp_path)
    finished_run(folder)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (folder.work / "spool").mkdir(parents=True)
    (folder.work / "lock").touch()
    (tmp_path / ".trash").mkdir()
    folder.clear()
    assert names(tmp_path) == [".work", "mine", "notes.txt"]
    assert names(folder.work) == ["lock"]
    folder.clear()
    assert names(tmp_path) == [".work", "mine", "notes.txt"]


def test_foreign_names_what_no_run_wrote(tmp_path: Path) -> None:
    folder = CleanFolder(tmp_path)
    finished_run(folder)
    folder.work.mkdir()
    assert folder.foreign_names() == []
    (tmp_path / "data" / "part-00001.jsonl").touch()
    assert folder.foreign_names() == []
    (tmp_path / "notes.txt").touch()
    (tmp_path / "data" / "README.md").touch()
    (tmp_path / "scores" / "mine").mkdir()
    (tmp_path / "scores" / "mine" / "table.csv").touch()
    assert folder.foreign_names() == ["data/README.md", "notes.txt", "scores/mine/table.csv"]


def test_finished_means_a_manifest_and_no_run_under_way(tmp_path: Path) -> None:
    folder = CleanFolder(tmp_path)
    states = [folder.is_finished]
    folder.manifest.touch()
    states.append(folder.is_finished)
    folder.work.mkdir()
    (folder.work / "lock").touch()
    states.append(folder.is_finished)
    (folder.work / "run.json").touch()
    states.append(folder.is_finished)
    (tmp_path / ".trash").mkdir()
    folder.discard_work()
    states.append(folder.is_finished)
    assert states == [False, True, True, False, True]
    assert names(tmp_path) == ["manifest.json"]


def test_remove_accepts_files_folders_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("folder", "file", "nothing"):
        remove(tmp_path / name)
    assert names(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------- the events


def test_events_log_units_with_their_metrics(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    with events.unit("read 0:0") as metrics:
        metrics["rows"] = 7
    begin, finish = events.read()
    assert (begin["event"], begin["unit"], begin["worker"]) == ("begin", "read 0:0", os.getpid())
    assert (finish["event"], finish["unit"], finish["rows"]) == ("finish", "read 0:0", 7)
    assert finish["time"] >= begin["time"]
    assert finish["seconds"] >= 0


def test_a_unit_that_fails_is_not_finished(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    with pytest.raises(ValueError, match="bad"), events.unit("pass 0:0"):
        raise ValueError("bad")
    assert [event["event"] for event in events.read()] == ["begin"]


def test_a_line_that_a_kill_cut_off_is_skipped_and_repaired(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.repair()
    assert not events.path.exists()
    assert list(events.read()) == []
    events.write("start")
    events.repair()
    with events.path.open("a", encoding="utf-8") as sink:
        sink.write('{"time": 1, "event": "beg')
    assert [event["event"] for event in events.read()] == ["start"]
    events.repair()
    events.write("resume")
    assert [event["event"] for event in events.read()] == ["start", "resume"]
    assert events.path.read_bytes().count(b"\n") == 3


def test_follow_counts_the_rows_of_finished_units(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    with events.unit("before") as metrics:
        metrics["rows"] = 100
    rows_done: list[int] = []
    with events.follow(rows_done.append, period_seconds=0.01):
        for rows in (1, 2, 3):
            with events.unit("pass") as metrics:
                metrics["rows"] = rows
        with events.unit("digest"):
            pass
    assert sum(rows_done) == 6


# -------------------------------------------------------------------------------------------------- disk and memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk of .*out is full. Free some space .* will resume"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk of .*out is full"),
        (OSError("262144 requested and 32768 written"), "disk of .*out is full"),  # numpy
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "disk of .*is full"),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "disk of .*is full",
        ),
        (sqlite3.OperationalError("database or disk is full"), "disk of .*out is full"),
        (duckdb.OutOfMemoryException("failed to offload data block of size 192.0 KiB"), "disk of .*out is full"),
        (OSError(errno.EFBIG, "File too large"), r"out: a file would be larger than .*\(ulimit -f\)"),
        (OSError(errno.EROFS, "Read-only file system"), "out: the file system is read-only. .* will resume"),
        (pa.ArrowException("[Errno 28] Error writing bytes: No space left on device"), "disk of .*out is full"),
        (duckdb.IOException('Could not write file "x": No space left on device'), "disk of .*out is full"),
        (duckdb.OutOfMemoryException("Out of Memory Error: 1 GiB\nmore"), r"out of memory: .*1 GiB\. Raise --memory"),
        (
            pa.ArrowMemoryError("malloc of size 9 failed"),
            "out of memory: malloc of size 9 failed. Raise --memory-limit",
        ),
        (MemoryError(), "out of memory. Lower --workers or --batch-rows"),
    ],
)
def test_resource_errors_name_a_remedy(tmp_path: Path, error: Exception, expected: str) -> None:
    with pytest.raises(ResourceError, match=expected), resource_errors(tmp_path / "out"):
        raise error


def write_numpy(path: Path) -> None:
    np.save(path, np.arange(2**18))


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"a": np.random.default_rng(0).random(2**18)}), path)


def write_memory_map(path: Path) -> None:
    with path.open("wb") as file:
        allocate(file, 2**20)


@pytest.mark.parametrize("write", [write_numpy, write_parquet, write_memory_map], ids=lambda write: write.__name__)
def test_a_limit_of_the_size_of_files_is_no_defect(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with limited_file_size(2**16), pytest.raises(ResourceError, match=r"is full|ulimit -f"), resource_errors(tmp_path):
        write(tmp_path / "file")


@contextmanager
def limited_file_size(n_bytes: int) -> Iterator[None]:
    """Let a write beyond this size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), duckdb.BinderException("x"), KeyError()])
def test_other_errors_pass_through(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, resource_errors(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4 * 10**9),
        ("4gb", 4 * 10**9),
        ("4G", 4 * 10**9),
        (" 4 GB ", 4 * 10**9),
        ("1.5GB", 1_500_000_000),
        ("512MiB", 512 * 2**20),
        ("512MI", 512 * 2**20),
        ("2GiB", 2**31),
        ("1TiB", 2**40),
        ("3kB", 3_000),
        ("3KiB", 3_072),
        ("1024", 1_024),
        ("1024B", 1_024),
        ("2e9", 2 * 10**9),
        ("2E9", 2 * 10**9),
        (".5GiB", 2**29),
        ("1PB", 10**15),
        ("0", 0),
    ],
)
def test_parse_bytes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "lots",
        "-1GB",
        "4 G B",
        "4XB",
        "4IB",
        "1.2.3GB",
        ".",
        "4GBB",
        "1e",
        "nan",
        "inf",
        "4,5GB",
        "1e999",
        "4Gbit",
    ],
)
def test_parse_bytes_refuses_other_texts(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size; expected something like 4GB or 512MiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("limit", "requested", "workers"),
    [
        (ONE_WORKER, 1, 1),
        (ONE_WORKER, 64, 1),
        (PROCESS_BYTES + 2 * ONE_WORKER - 1, 64, 1),
        (PROCESS_BYTES + 2 * ONE_WORKER, 64, 2),
        (PROCESS_BYTES + 2 * ONE_WORKER, 1, 1),
        (PROCESS_BYTES + 16 * ONE_WORKER, 16, 16),
        (4 * 10**9, 2, 2),
        (4 * 10**9, 64, 7),
    ],
)
def test_budget_gives_as_many_workers_as_the_limit_allows(limit: int, requested: int, workers: int) -> None:
    budget = MemoryBudget.share(limit, requested)
    assert (budget.total, budget.workers) == (limit, workers)


@given(limit=st.integers(ONE_WORKER, 2**42), requested=st.integers(1, 512))
def test_budget_never_exceeds_the_limit(limit: int, requested: int) -> None:
    budget = MemoryBudget.share(limit, requested)
    processes = 1 if budget.workers == 1 else budget.workers + 1
    assert 1 <= budget.workers <= requested
    assert processes * PROCESS_BYTES + budget.duckdb <= limit
    assert budget.duckdb // budget.workers >= 64 * MIB


@pytest.mark.parametrize("limit", [0, 100 * MIB, ONE_WORKER - 1])
def test_budget_rejects_a_limit_below_one_worker(limit: int) -> None:
    with pytest.raises(
        ResourceError, match=r"a memory limit of \d+MB is too low: one process needs 525MB\. Raise --memory-limit"
    ):
        MemoryBudget.share(limit, 4)
