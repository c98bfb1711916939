"""The outcome of an ablation: means over seeds with intervals, differences by seed, a table and a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.errors import RunFolderError
from jina_data.run.files import whole_path, write_json

AVERAGE = "average"
BASELINE = "none"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and its interval of 95 % (Student's t; none from a single number)."""

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def over(cls, values: Sequence[float]) -> Self:
        """Return mean and interval of N values."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean)
        from scipy.stats import t

        half = (
            float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        )
        return cls(mean, mean - half, mean + half)

    def to_json(self) -> dict[str, float | None]:
        """Return mean, low and high."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class VariantScores:
    """What the models of a variant make of the tasks: scores by task for each seed, from 0 to 1."""

    name: str
    rows: int | None
    """Rows that it was trained on."""
    same_as: str | None
    """The variant that keeps the same rows."""
    seeds: Sequence[Mapping[str, float]]

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return [name for name in self.seeds[0] if name != "loss"]

    def values(self, task: str) -> list[float]:
        """Return a task's scores by seed; for "average", their means over the tasks."""
        if task == AVERAGE:
            return [float(np.mean([scores[name] for name in self.tasks])) for scores in self.seeds]
        return [scores[task] for scores in self.seeds]


@dataclass(frozen=True)
class AblateReport:
    """The report of an ablation; `report.json` holds the same."""

    path: Path
    variants: Sequence[VariantScores]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The tasks, and their average where there are several."""
        tasks = self._variant(BASELINE).tasks
        return [*tasks, AVERAGE] if len(tasks) > 1 else tasks

    def score(self, variant: str, task: str) -> Estimate | None:
        """Return what a variant makes of a task; None: it was not measured."""
        one = self._variant(variant)
        return Estimate.over(one.values(task)) if one.tasks else None

    def difference(self, variant: str, task: str) -> Estimate:
        """Return how much better a variant is than no filter, seed by seed."""
        pairs = zip(self._variant(variant).values(task), self._variant(BASELINE).values(task), strict=True)
        return Estimate.over([ours - theirs for ours, theirs in pairs])

    def to_json(self) -> dict[str, Any]:
        """Return what report.json holds."""
        return {
            "variants": [self._told(one) for one in self.variants],
            "settings": dict(self.settings),
            "versions": {name: metadata.version(name) for name in ("jina-data", "torch", "mteb", "numpy")},
        }

    def write(self, folder: Path) -> None:
        """Write report.json and plot.png into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "report.json", self.to_json())
        self.plot(folder / "plot.png")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the report of a finished ablation.

        Raises:
            RunFolderError: there is none.
        """
        path = Path(folder) / "report.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            found = [VariantScores(one["name"], one["rows"], one["same_as"], one["seeds"]) for one in said["variants"]]
            return cls(Path(folder), found, said["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{path} cannot be read: {error}. Is {folder} the folder of an ablation?") from None

    def print(self, console: Console | None = None) -> None:
        """Print a row for each variant: rows, score and difference to no filter for each task, in percent."""
        console = console or Console()
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("filters", no_wrap=True)
        table.add_column("rows", justify="right", no_wrap=True)
        for column in self.columns:
            table.add_column(column, justify="right", no_wrap=True)
            table.add_column(f"against {BASELINE}", justify="right", no_wrap=True)
        for one in self.variants:
            rows = "" if one.rows is None else f"{one.rows:,}"
            table.add_row(one.name, rows, *self._cells(one))
        console.print(table)
        n_seeds = len(self._variant(BASELINE).seeds)
        said = f"in percent; means over {n_seeds} seeds with intervals of 95 %, differences seed by seed"
        console.print(said, highlight=False, soft_wrap=True)
        for one in self.variants:
            if one.same_as:
                console.print(f"{one.name} keeps the same rows as {one.same_as}", highlight=False, soft_wrap=True)

    def plot(self, path: Path) -> None:
        """Draw the scores as PNG: a panel for each task, a mark with its interval for each variant."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        shown = [one for one in self.variants if one.tasks]
        figure = Figure(figsize=(2 + 3 * len(self.columns), 1.4 + 0.32 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(self.columns), sharey=True, squeeze=False)[0]
        for axis, task in zip(axes, self.columns, strict=True):
            for place, one in enumerate(shown):
                found = Estimate.over(one.values(task))
                half = 0.0 if found.low is None else 100 * (found.mean - found.low)
                axis.errorbar([100 * found.mean], [place], xerr=[[half], [half]], fmt="o", color="#2f6f9f", capsize=3)
                axis.plot([100 * value for value in one.values(task)], [place] * len(one.seeds), "|", color="#8d8d8d")
            axis.axvline(100 * Estimate.over(self._variant(BASELINE).values(task)).mean, color="#c8553d", lw=0.8)
            axis.set_title(f"{task}, %", fontsize=10)
            axis.grid(axis="x", alpha=0.3)
        told = "dot: mean, bar: 95 % interval over seeds, grey: single seeds, line: mean without filters"
        figure.supxlabel(told, fontsize=8)
        axes[0].set_yticks(range(len(shown)), [one.name for one in shown])
        axes[0].invert_yaxis()
        with whole_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def _variant(self, name: str) -> VariantScores:
        return next(one for one in self.variants if one.name == name)

    def _cells(self, one: VariantScores) -> list[str]:
        cells = []
        for task in self.columns:
            found = self.score(one.name, task)
            cells.append("" if found is None else _percent(found))
            is_compared = one.rows is not None and one.name != BASELINE
            cells.append(_percent(self.difference(one.name, task), sign="+") if is_compared else "")
        return cells

    def _told(self, one: VariantScores) -> dict[str, Any]:
        scores = {task: found.to_json() for task in self.columns if (found := self.score(one.name, task))}
        said = {"name": one.name, "rows": one.rows, "same_as": one.same_as, "seeds": list(one.seeds), "scores": scores}
        if one.rows is not None and one.name != BASELINE:
            said["against_none"] = {task: self.difference(one.name, task).to_json() for task in self.columns}
        return said


def _percent(one: Estimate, sign: str = "") -> str:
    half = "" if one.high is None else f" ± {100 * (one.high - one.mean):.2f}"
    return f"{100 * one.mean:{sign}.2f}{half}"
