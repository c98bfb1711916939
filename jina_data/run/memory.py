"""How much memory this process and its children hold."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from jina_data.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_bytes(text: str) -> int:
    """Read a size such as 4GB, 512MiB or 2e9.

    Raises:
        UsageError: it is not a size.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?I?)B?\s*", text, re.IGNORECASE)
    if match is None or match[2].upper() not in UNITS:
        raise UsageError(f"{text!r} is not a size; expected something like 4GB or 512MiB")
    try:
        return int(float(match[1]) * UNITS[match[2].upper()])
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a size; expected something like 4GB or 512MiB") from None


def machine_bytes() -> int:
    """Return the memory of this machine, or of the container that this process is confined to."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def held_bytes(pid: int) -> int:
    """Return the resident memory of a process; pages that it shares count in part where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def peak_by_usage() -> int:
    """Return the largest resident memory of this process so far, where nothing better is known (macOS)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryWatch:
    """Samples the memory of the process tree in the background; `peak_bytes` is the most that was seen."""

    def __init__(self, period_seconds: float = 0.2) -> None:
        self.peak_bytes = 0
        self._period_seconds = period_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]
            self.peak_bytes = max(self.peak_bytes, sum(map(held_bytes, pids)) or peak_by_usage())
            if self._stop.wait(self._period_seconds):
                return
