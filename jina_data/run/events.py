"""The event log of a run: units of work begun and finished, by worker."""

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
    """The log of a run: one JSON line for each unit of work begun and finished, by the worker that did it.

    Lines are appended by one write each, so that workers can share the file.
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
        """Log the beginning and the end of a unit; what is put into the yielded dict goes with its end."""
        self.write("begin", unit=unit)
        started = time.perf_counter()
        said: dict[str, Any] = {}
        yield said
        self.write("finish", unit=unit, seconds=round(time.perf_counter() - started, 6), **said)

    def mend(self) -> None:
        """End a last line that a kill cut off, so that the next event has a line of its own."""
        if self.path.exists() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("ab") as sink:
                sink.write(b"\n")

    @contextlib.contextmanager
    def followed(self, advance: Callable[[int], None], period_seconds: float = 0.3) -> Iterator[None]:
        """Call `advance` with the rows of every unit that any worker finishes meanwhile."""
        stop = threading.Event()

        def follow(lines: IO[str]) -> None:
            last = False
            while True:
                for line in lines:
                    if '"finish"' in line and line.endswith("\n"):
                        advance(json.loads(line).get("rows", 0))
                if last:
                    return
                last = stop.wait(period_seconds)

        with self.path.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(0, os.SEEK_END)
            follower = threading.Thread(target=follow, args=(lines,), daemon=True)
            follower.start()
            try:
                yield
            finally:
                stop.set()
                follower.join()

    def read(self) -> Iterator[dict[str, Any]]:
        """Read all events; a line cut off by a kill is passed over."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)
