"""Shows the progress of a run as a bar or lines, and writes metrics.jsonl and, if installed, TensorBoard events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jina_data.progress import BarProgress, LineProgress, Progress
from jina_data.run.files import atomic_file
from jina_data.train.report import read_metrics

PERIOD_SECONDS = 10.0
"""Seconds between plain lines."""


class Metrics:
    """Appends a line for each step to metrics.jsonl; a resumed run removes the lines after its checkpoint."""

    def __init__(self, path: Path, *, step: int, tensorboard: Path) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= step] if step else []
        with atomic_file(path, "w") as sink:
            sink.writelines(f"{json.dumps(line)}\n" for line in kept)
        self._sink = path.open("a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(tensorboard), purge_step=step + 1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._sink.write(f"{json.dumps(line)}\n")
        self._sink.flush()
        if self._board is not None:
            flat = {
                **{name: line[name] for name in ("loss", "lr", "grad_norm") if name in line},
                **line.get("eval", {}),
            }
            for name, value in flat.items():
                self._board.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Close the files."""
        self._sink.close()
        if self._board is not None:
            self._board.close()


class StepMeter:
    """Counts steps and tokens, averages the loss, and reports after each step."""

    def __init__(self, steps: int, done: int, report: Callable[[StepMeter], object]) -> None:
        self.steps, self.done, self._report = steps, done, report
        self.tokens = 0
        self.started = self.reported = time.monotonic()
        self._first = done
        self._mean: float | None = None

    def advance(self, loss: float, tokens: int) -> None:
        """Count a finished step."""
        self.done += 1
        self.tokens += tokens
        self._mean = loss if self._mean is None else 0.95 * self._mean + 0.05 * loss
        self._report(self)

    def line(self) -> str:
        """Return a line with step, loss, speed and remaining time."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        remaining = (self.steps - self.done) * seconds / max(1, self.done - self._first)
        return (
            f"step {self.done:,} of {self.steps:,}, loss {self._mean or 0:.4f}, {self.tokens / seconds:,.0f} tokens/s, "
            f"{remaining:,.0f} s left"
        )


@contextmanager
def step_meter(progress: Progress, steps: int, done: int) -> Iterator[StepMeter]:
    """Show the progress of a run: a bar on a terminal, periodic lines in a log, and nothing if quiet."""
    if isinstance(progress, BarProgress):
        with _bar(progress, steps, done) as meter:
            yield meter
        return

    def report(meter: StepMeter) -> None:
        if isinstance(progress, LineProgress) and time.monotonic() - meter.reported >= PERIOD_SECONDS:
            meter.reported = time.monotonic()
            progress.message(meter.line())

    meter = StepMeter(steps, done, report)
    yield meter
    if isinstance(progress, LineProgress):
        progress.message(meter.line())


@contextmanager
def _bar(progress: BarProgress, steps: int, done: int) -> Iterator[StepMeter]:
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("train"),
        bars.BarColumn(bar_width=24),
        bars.TextColumn("{task.fields[line]}", markup=False),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=progress.console) as live:
        number = live.add_task("train", total=steps, completed=done, line="")
        yield StepMeter(steps, done, lambda meter: live.update(number, completed=meter.done, line=meter.line()))
