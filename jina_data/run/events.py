"""The event log of a run: the begin and the end of every unit of work, by worker."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass
class Events:
    """The log of a run: one JSON line for the begin and the end of each unit of work, with its worker.

    Each line is appended by one write, so that several processes can share the file.
    """

    path: Path

    def write(self, event: str, **values: Any) -> None:
        """Append one event."""
        line = json.dumps({"time": round(time.time(), 6), "event": event, "worker": os.getpid(), **values})
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def unit(self, unit: str) -> Iterator[dict[str, Any]]:
        """Log the begin and the end of a unit; the yielded dict takes the metrics of the end event."""
        self.write("begin", unit=unit)
        started = time.perf_counter()
        metrics: dict[str, Any] = {}
        yield metrics
        self.write("finish", unit=unit, seconds=round(time.perf_counter() - started, 6), **metrics)

    def repair(self) -> None:
        """End a last line that a kill cut off, so that the next event starts a new line."""
        if self.path.exists() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("ab") as sink:
                sink.write(b"\n")

    @contextlib.contextmanager
    def follow(self, advance: Callable[[int], None], period_seconds: float = 0.3) -> Iterator[None]:
        """Call `advance` with the rows of every unit that any worker finishes inside the context."""
        stop = threading.Event()

        def read_lines(lines: IO[str]) -> None:
            is_last = False
            while True:  # once more after the stop, for events written just before it
                for line in lines:
                    if '"finish"' in line and line.endswith("\n"):
                        advance(json.loads(line).get("rows", 0))
                if is_last:
                    return
                is_last = stop.wait(period_seconds)

        with self.path.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(0, os.SEEK_END)
            follower = threading.Thread(target=read_lines, args=(lines,), daemon=True)
            follower.start()
            try:
                yield
            finally:
                stop.set()
                follower.join()

    def read(self) -> Iterator[dict[str, Any]]:
        """Read all events; a line that a kill cut off is skipped."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)
