"""Many pairs under faults, and killed processes; the counts are those of the server, in a separate process."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jina_data.negation.report import NegateReport
from tests.support.cli import JINA_DATA
from tests.support.negation import data_bytes, make_pairs, most_in, read

SERVER = Path(__file__).parents[1] / "support" / "llm_server.py"
GOOD = ("ok", "slow")
CONCURRENCY = 16


@contextmanager
def serving(log: Path, **settings: Any) -> Iterator[str]:
    """Run the server in a separate process; yield its address."""
    command = [sys.executable, str(SERVER), "--log", str(log), "--settings", json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@dataclass
class Log:
    """The requests at the server."""

    arrivals: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    """How often each request was answered without a fault."""

    @classmethod
    def read(cls, path: Path) -> Log:
        log = cls()
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["event"] == "arrive":
                log.arrivals.append(entry["time"])
            elif entry["event"] == "answer":
                log.answers[entry["did"]] += 1
                log.good[entry["name"]] += entry["did"] in GOOD
        return log

    @property
    def repeats(self) -> int:
        """Requests that the server answered without a fault more than once."""
        return sum(count - 1 for count in self.good.values() if count > 1)


def command(source: str, folder: Path, url: str, *more: str) -> list[str]:
    return [
        *JINA_DATA, "negate", source, "-o", str(folder), "--model", "tiny", "--base-url", url,
        "--concurrency", str(CONCURRENCY), "--timeout", "20", *more,
    ]  # fmt: skip


def lines_of(log: Path) -> int:
    return log.read_bytes().count(b'"arrive"') if log.exists() else 0


def under_way(folder: Path) -> int:
    """Return the number of requests in flight according to the ledger."""
    con = sqlite3.connect(folder / "requests.sqlite")
    try:
        return int(con.execute("SELECT count(*) FROM requests WHERE state = 'sent'").fetchone()[0])
    finally:
        con.close()


def kill_after(arguments: Sequence[str], log: Path, n_arrivals: int) -> bool:
    """Run a command until the server has received N more requests, then kill the process group."""
    target = lines_of(log) + n_arrivals
    process = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while lines_of(log) < target:
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_every_pair_once(folder: Path, n_pairs: int) -> None:
    report = NegateReport.load(folder)
    assert (report.pairs.total, report.pairs.accepted, report.pairs.unanswered) == (n_pairs, n_pairs, 0)
    rows = read(folder, "data/full")
    assert len({row["id"] for row in rows}) == len(rows) == n_pairs
    for row in rows:
        assert row["negative"] == row["entailment"].replace(" is ", " is not ")


def run_with_kills(tmp_path: Path, *, n_pairs: int, kills: int, share: float, each: int = 1) -> dict[str, Any]:
    """Run to the end with kills in between; check and return the counts."""
    source = make_pairs(tmp_path / "pairs.csv", n_pairs)
    log, folder = tmp_path / "server.jsonl", tmp_path / "run"
    in_flight = []
    with serving(log, fault_share=share, slow_seconds=0.1, latency_seconds=0.005) as url:
        arguments = command(source, folder, url, "--pairs-per-request", str(each))
        for _ in range(kills):
            assert kill_after(arguments, log, n_pairs // each // (kills + 1))
            in_flight.append(under_way(folder))
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=1800)
        assert done.returncode == 0, done.stderr
    seen = Log.read(log)
    check_every_pair_once(folder, n_pairs)
    usage = NegateReport.load(folder).requests
    assert usage is not None
    assert all(count <= CONCURRENCY for count in in_flight)
    assert seen.repeats <= sum(in_flight)
    assert len([count for count in seen.good.values() if count]) == -(-n_pairs // each)
    assert usage["unknown"] >= sum(in_flight)
    return {
        "arrivals": len(seen.arrivals),
        "answers": dict(seen.answers),
        "in_flight": in_flight,
        "repeats": seen.repeats,
        "unknown": usage["unknown"],
        "sends": usage["sends"],
    }


def test_a_killed_run_resumes_and_repeats_at_most_the_requests_in_flight(tmp_path: Path) -> None:
    run_with_kills(tmp_path, n_pairs=240, kills=2, share=0.2)


def hear_interrupts() -> None:
    """Enable Ctrl-C, which a shell disables for processes in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_is_one_line_and_the_run_resumes(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 200)
    log, folder = tmp_path / "server.jsonl", tmp_path / "run"
    with serving(log, latency_seconds=0.1) as url:
        arguments = command(source, folder, url, "-q")
        with subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_interrupts,  # noqa: PLW1509
        ) as process:
            while lines_of(log) < 20:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("Error: stopped. Run the same command again")
        assert err.count("\n") == 1
        n_under_way = under_way(folder)
        assert n_under_way <= CONCURRENCY
        assert subprocess.run(arguments, check=False).returncode == 0
    check_every_pair_once(folder, 200)
    assert Log.read(log).repeats <= n_under_way


@pytest.mark.full
@pytest.mark.timeout(1800)  # many requests at a fixed rate: minutes on an idle machine
def test_ten_thousand_pairs_survive_ten_kills(tmp_path: Path) -> None:
    print(run_with_kills(tmp_path, n_pairs=10_000, kills=10, share=0.2))


@pytest.mark.full
@pytest.mark.timeout(1800)  # many requests at a fixed rate: minutes on an idle machine
def test_ten_thousand_pairs_under_faults_within_limits(tmp_path: Path) -> None:
    """Each pair is answered once, none is lost, and no minute has more requests than the limit."""
    rpm = 3000
    source = make_pairs(tmp_path / "pairs.csv", 10_000)
    log, other = tmp_path / "server.jsonl", tmp_path / "other.jsonl"
    with serving(log, fault_share=0.2, slow_seconds=0.1) as url:
        done = subprocess.run(
            command(source, tmp_path / "run", url, "--rpm", str(rpm)), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    seen = Log.read(log)
    check_every_pair_once(tmp_path / "run", 10_000)
    assert seen.repeats == 0
    faults = seen.answers.total() - sum(seen.answers[did] for did in GOOD)
    most = max(most_in_sorted(seen.arrivals, 60.0), 1)
    print({"arrivals": len(seen.arrivals), "faults": faults, "answers": dict(seen.answers), "most in 60 s": most})
    assert most <= rpm
    assert most_in_sorted(seen.arrivals, 1.0) <= rpm / 60 * 1.25 + 16
    with serving(other, fault_share=0.2, seed=1, slow_seconds=0.05) as url:
        again = command(source, tmp_path / "again", url, "--concurrency", "7")
        assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    assert data_bytes(tmp_path / "run") == data_bytes(tmp_path / "again")


def most_in_sorted(times: Sequence[float], seconds: float) -> int:
    """Return the maximum number of events in any window of the given length, in one pass over sorted times."""
    ordered, first, most = sorted(times), 0, 0
    for last, now in enumerate(ordered):
        while ordered[first] <= now - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_windows_are_counted_alike() -> None:
    times = [0.0, 0.1, 0.5, 1.05, 1.1, 3.0]
    assert most_in_sorted(times, 1.0) == most_in(times, 1.0) == 3
