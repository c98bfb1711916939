"""The memory of the process tree stays under its limit."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory import resident_bytes

DEMO = Path(__file__).parents[1] / "data" / "demo"
MAIN = "from jina_data.cli import main; main()"


def demo_words() -> list[str]:
    """Return the words of the demo sample: real text in several languages."""
    with gzip.open(DEMO / "questions.jsonl.gz", "rt", encoding="utf-8", errors="replace") as lines:
        return [word for line in lines for word in line.split() if "\\" not in word and '"' not in word]


def write_documents(path: Path, n_bytes: int, seed: int) -> int:
    """Write JSON lines of documents of varied length, one in twenty a copy of an earlier one; return their number."""
    chance = random.Random(seed)
    words = demo_words()
    recent: list[str] = []
    size = count = 0
    with path.open("w", encoding="utf-8") as sink:
        while size < n_bytes:
            if recent and chance.random() < 0.05:
                text = chance.choice(recent)
            else:
                start, length = chance.randrange(len(words)), int(chance.lognormvariate(5.5, 1.0))
                text = " ".join([*words[start : start + length], str(count)])
                recent.append(text)
                del recent[:-1000]
            line = json.dumps({"id": count, "text": text, "meta": {"n": [count, size]}}, ensure_ascii=False) + "\n"
            size += len(line.encode())
            count += 1
            sink.write(line)
    return count


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    try:
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    except OSError:
        return
    for child in children:
        yield from tree(child)


def _children(task: Path) -> list[int]:
    try:
        return [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        return []


def run_watched(arguments: list[str], cwd: Path) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run the command line; return the result and the peak memory of its process tree."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, sum(resident_bytes(pid) for pid in tree(process.pid)))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    done.set()
    watcher.join()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err), peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("n_bytes", "limit", "workers"),
    [
        pytest.param(60 * 10**6, "1GB", 2, id="60MB"),
        pytest.param(2 * 10**9, "1GB", 2, id="2GB", marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
        pytest.param(2 * 10**9, "600MB", 1, id="2GB-600MB", marks=[pytest.mark.full, pytest.mark.timeout(7200)]),
    ],
)
def test_memory_stays_under_the_budget(tmp_path: Path, n_bytes: int, limit: str, workers: int) -> None:
    n_rows = write_documents(tmp_path / "raw.jsonl", n_bytes, seed=1)
    arguments = ["clean", "raw.jsonl", "-o", "run", "-p", "documents", "--memory-limit", limit]
    done, peak = run_watched([*arguments, "--workers", str(workers)], tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["rows"]["read"] == n_rows
    budget = {"1GB": 10**9, "600MB": 600 * 10**6}[limit]
    print(f"peak {peak / 10**6:.0f} MB of {budget / 10**6:.0f} MB, {n_rows} rows, {report['seconds']} s")
    assert 10**7 < peak < budget
    # The peak in the report is close to the peak measured from outside.
    assert report["peak_memory_bytes"] == pytest.approx(peak, rel=0.25)
