"""Progress of a long run: bars on a terminal, plain lines in a log, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Task(Protocol):
    """One step of a run while it works."""

    def advance(self, rows: int) -> None:
        """Report that more rows are done."""
        ...


class Progress(Protocol):
    """Receives the messages and the progress of a run."""

    def message(self, text: str) -> None:
        """Show one line."""
        ...

    def task(self, name: str, total_rows: int | None) -> AbstractContextManager[Task]:
        """Begin a step over `total_rows` rows; None if the number is unknown."""
        ...


class SilentProgress:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Begin a step without showing it."""
        yield _SilentTask()


class _SilentTask:
    def advance(self, rows: int) -> None:
        pass


class LineProgress:
    """Writes plain lines, at most one per period for each step: for logs and pipes."""

    def __init__(self, sink: TextIO | None = None, period_seconds: float = 10.0) -> None:
        self.sink = sink or sys.stderr
        self.period_seconds = period_seconds

    def message(self, text: str) -> None:
        """Write one line."""
        print(text, file=self.sink, flush=True)

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Write a line per period while a step works, and one when it is finished."""
        task = _LineTask(self, name, total_rows)
        yield task
        self.message(task.finished_line())


class _LineTask:
    def __init__(self, progress: LineProgress, name: str, total_rows: int | None) -> None:
        self.progress, self.name, self.total_rows = progress, name, total_rows
        self.rows = 0
        self.started = self.printed = time.monotonic()

    def advance(self, rows: int) -> None:
        self.rows += rows
        if time.monotonic() - self.printed >= self.progress.period_seconds:
            self.printed = time.monotonic()
            self.progress.message(self.line())

    def line(self) -> str:
        rate = self._rate()
        total = f" of {self.total_rows:,}" if self.total_rows is not None else ""
        remaining = ""
        if self.total_rows and rate and self.rows < self.total_rows:
            remaining = f", {(self.total_rows - self.rows) / rate:.0f} s left"
        return f"{self.name}: {self.rows:,}{total} rows, {rate:,.0f} rows/s{remaining}"

    def finished_line(self) -> str:
        if not self.rows and self.total_rows is None:  # a step that does not count rows
            return f"{self.name}: {time.monotonic() - self.started:.1f} s"
        return f"{self.name}: {self.rows:,} rows, {self._rate():,.0f} rows/s"

    def _rate(self) -> float:
        return self.rows / max(time.monotonic() - self.started, 1e-9)


OTHER_WIDTH = 49
"""The width of a bar's line without the name of its step: mark 1, bar 10, rows 12, rate 9, time 12, five spaces."""


class BarProgress:
    """Draws a bar for each step on a terminal, with rows, rate and time."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)

    def message(self, text: str) -> None:
        """Write one line."""
        self.console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, name: str, total_rows: int | None) -> Iterator[Task]:
        """Draw a bar while a step works; it stays on the screen with the rows and the time of the step."""
        with _bars(self.console) as bars:
            task = _BarTask(bars, bars.add_task(name, total=total_rows, rows="", rate=""))
            try:
                yield task
            except BaseException:
                bars.stop_task(task.number)
                raise
            task.finish()


class _BarTask:
    def __init__(self, bars: Bars, number: TaskID) -> None:
        self.bars, self.number = bars, number
        self.rows = 0
        self.started = time.monotonic()

    def advance(self, rows: int) -> None:
        self.rows += rows
        seconds = time.monotonic() - self.started
        rate = f"{self.rows / seconds:,.0f}/s" if seconds > 0.1 else ""  # too short for a rate
        self.bars.update(self.number, completed=self.rows, rows=f"{self.rows:,} rows", rate=rate)

    def finish(self) -> None:
        """Fill the bar: fewer rows than the total may have reached the step, and the total may be unknown."""
        n_units = max(self.rows, 1)
        self.bars.update(self.number, completed=n_units, total=n_units)


def _bars(console: Console) -> Bars:
    """Return the layout of a bar: a mark, the name, the bar, rows, rate and time."""
    from rich import progress
    from rich.table import Column
    from rich.text import Text

    class MarkColumn(progress.SpinnerColumn):
        """A spinner while the step works, then a mark."""

        def render(self, task: progress.Task) -> RenderableType:
            if task.finished:
                return Text("\N{CHECK MARK}", style="progress.percentage")
            if task.stop_time is not None:
                return Text("\N{MULTIPLICATION X}", style="red")
            return super().render(task)

    class TimeColumn(progress.ProgressColumn):
        """The time left if it can be estimated, else the time so far; the time that a finished step took."""

        def render(self, task: progress.Task) -> Text:
            if task.finished or task.stop_time is not None or task.time_remaining is None:
                return Text(_clock(task.finished_time or task.elapsed or 0.0), style="progress.elapsed")
            return Text(f"{_clock(task.time_remaining)} left", style="progress.remaining")

    name_width = min(60, max(16, console.width - OTHER_WIDTH))
    return progress.Progress(
        MarkColumn(),
        progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(width=name_width, no_wrap=True, overflow="ellipsis")
        ),
        progress.BarColumn(bar_width=10),
        progress.TextColumn("{task.fields[rows]:>12}", markup=False),
        progress.TextColumn("{task.fields[rate]:>9}", markup=False),
        TimeColumn(table_column=Column(width=12, no_wrap=True)),
        console=console,
    )


def _clock(seconds: float) -> str:
    """Format a time as h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def progress_for(*, quiet: bool) -> Progress:
    """Return what fits the output: nothing if quiet, bars on a terminal, else plain lines."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
