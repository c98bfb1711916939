"""What a long run says while it is at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO


class Task(Protocol):
    """A piece of work that is under way."""

    def advance(self, rows: int) -> None:
        """Say that more rows are done."""
        ...


class Progress(Protocol):
    """Where a run tells how far it is."""

    def message(self, text: str) -> None:
        """Say one line."""
        ...

    def task(self, name: str, total_rows: int | None) -> AbstractContextManager[Task]:
        """Begin a piece of work over so many rows (None: nobody knows yet)."""
        ...


class Quiet:
    """Says nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Begin a piece of work, silently."""
        yield _SilentTask()


class _SilentTask:
    def advance(self, rows: int) -> None:
        pass


class Plain:
    """Writes plain lines, one in a while: for logs and pipes."""

    def __init__(self, sink: TextIO | None = None, period_seconds: float = 10.0) -> None:
        self.sink = sink or sys.stderr
        self.period_seconds = period_seconds

    def message(self, text: str) -> None:
        """Write one line."""
        print(text, file=self.sink, flush=True)

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Write a line now and then while a piece of work is under way, and one at its end."""
        task = _PlainTask(self, name, total_rows)
        yield task
        self.message(task.line())


class _PlainTask:
    def __init__(self, progress: Plain, name: str, total_rows: int | None) -> None:
        self.progress, self.name, self.total_rows = progress, name, total_rows
        self.rows = 0
        self.started = self.told = time.monotonic()

    def advance(self, rows: int) -> None:
        self.rows += rows
        if time.monotonic() - self.told >= self.progress.period_seconds:
            self.told = time.monotonic()
            self.progress.message(self.line())

    def line(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        if not self.rows and self.total_rows is None:
            return f"{self.name}: {seconds:.1f} s"
        rate = self.rows / seconds
        done = f"{self.rows:,}" + (f" of {self.total_rows:,}" if self.total_rows is not None else "")
        left = ""
        if self.total_rows and rate and self.rows < self.total_rows:
            left = f", {(self.total_rows - self.rows) / rate:.0f} s left"
        return f"{self.name}: {done} rows, {rate:,.0f} rows/s{left}"


class Live:
    """Draws bars on a terminal, with rows, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)

    def message(self, text: str) -> None:
        """Write one line."""
        self.console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Draw a bar while a piece of work is under way."""
        from rich import progress as bars

        columns = (
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description:<28}", markup=False),
            bars.BarColumn(bar_width=24),
            bars.TextColumn("{task.completed:>12,.0f} rows"),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self.console, transient=False) as live:
            yield _LiveTask(live, live.add_task(name, total=total_rows, rate=""))


class _LiveTask:
    def __init__(self, live: object, number: object) -> None:
        self.live, self.number = live, number
        self.rows = 0
        self.started = time.monotonic()

    def advance(self, rows: int) -> None:
        self.rows += rows
        rate = self.rows / max(time.monotonic() - self.started, 1e-9)
        self.live.update(self.number, completed=self.rows, rate=f"{rate:,.0f} rows/s")  # type: ignore[attr-defined]


def progress_for(*, quiet: bool) -> Progress:
    """Choose how to tell: nothing, bars on a terminal, else plain lines."""
    if quiet:
        return Quiet()
    return Live() if sys.stderr.isatty() else Plain()
