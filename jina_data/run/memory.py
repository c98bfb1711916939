"""Memory sizes as text, and the memory that this machine has and this process tree uses."""

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

_SIZE = re.compile(r"\d*\.?\d+\s*([kmgtp]i?b?|b)?", re.IGNORECASE)
_EXPONENT = re.compile(r"\d*\.?\d+e\d+", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Parse a size such as 4GB, 512MiB, 4G or 2e9; without a unit, it is in bytes.

    Raises:
        UsageError: it is not a size.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError  # training imports this module, and needs no pydantic

    size = text.strip()
    try:
        if _EXPONENT.fullmatch(size):
            return int(float(size))
        # ByteSize ignores what follows the unit ("4,5GB" would be 4 bytes), and it knows Gi only as GiB.
        if _SIZE.fullmatch(size):
            return int(TypeAdapter(ByteSize).validate_python(f"{size}B" if size[-1] in "iI" else size))
    except (ValidationError, OverflowError):
        pass
    raise UsageError(f"{text!r} is not a size; expected something like 4GB or 512MiB")


def memory_limit_bytes(size: str | None) -> int:
    """Return a memory limit in bytes: the given size, or half of the machine's memory.

    Raises:
        UsageError: it is not a size.
    """
    return parse_bytes(size) if size else machine_bytes() // 2


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
    """Return the resident memory of a process; Linux divides shared pages among the processes that share them."""
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
    """Return the peak resident memory of this process so far, for systems without /proc (macOS)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryWatch:
    """Samples the memory of the process tree in the background; `peak_bytes` is the largest sample."""

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
