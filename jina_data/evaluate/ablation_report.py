"""The report of an ablation: means over seeds with intervals, differences by seed, a table and a plot."""

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
from jina_data.run.files import atomic_path, write_json

AVERAGE = "average"
BASELINE = "none"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval (Student's t; no interval for a single value)."""

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
    """The scores of a variant's models: by task for each seed, from 0 to 1."""

    name: str
    rows: int | None
    """The number of rows of the training data."""
    same_as: str | None
    """An earlier variant that keeps the same rows."""
    seeds: Sequence[Mapping[str, float]]

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return [name for name in self.seeds[0] if name != "loss"]

    def values(self, task: str) -> list[float]:
        """Return the scores of a task by seed; for "average", the means over the tasks."""
        if task == AVERAGE:
            return [float(np.mean([scores[name] for name in self.tasks])) for scores in self.seeds]
        return [scores[task] for scores in self.seeds]


@dataclass(frozen=True)
class AblateReport:
    """The report of an ablation, with the content of `report.json`."""

    path: Path
    variants: Sequence[VariantScores]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The tasks, and their average if there are several."""
        tasks = self._variant(BASELINE).tasks
        return [*tasks, AVERAGE] if len(tasks) > 1 else tasks

    def score(self, variant: str, task: str) -> Estimate | None:
        """Return the score of a variant on a task, None if it was not evaluated."""
        scores = self._variant(variant)
        return Estimate.over(scores.values(task)) if scores.tasks else None

    def difference(self, variant: str, task: str) -> Estimate:
        """Return the difference of a variant to no filter, computed by seed."""
        pairs = zip(self._variant(variant).values(task), self._variant(BASELINE).values(task), strict=True)
        return Estimate.over([ours - theirs for ours, theirs in pairs])

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "variants": [self._variant_json(variant) for variant in self.variants],
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
            RunFolderError: it does not exist or cannot be read.
        """
        path = Path(folder) / "report.json"
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            variants = [
                VariantScores(variant["name"], variant["rows"], variant["same_as"], variant["seeds"])
                for variant in report["variants"]
            ]
            return cls(Path(folder), variants, report["settings"])
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
        for variant in self.variants:
            rows = "" if variant.rows is None else f"{variant.rows:,}"
            table.add_row(variant.name, rows, *self._cells(variant))
        console.print(table)
        n_seeds = len(self._variant(BASELINE).seeds)
        caption = f"in percent; means over {n_seeds} seeds with 95 % intervals; differences are computed by seed"
        console.print(caption, highlight=False, soft_wrap=True)
        for variant in self.variants:
            if variant.same_as:
                line = f"{variant.name} keeps the same rows as {variant.same_as}"
                console.print(line, highlight=False, soft_wrap=True)

    def plot(self, path: Path) -> None:
        """Plot the scores as PNG: a panel for each task, a mark with its interval for each variant."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        variants = [variant for variant in self.variants if variant.tasks]
        figure = Figure(figsize=(2 + 3 * len(self.columns), 1.4 + 0.32 * len(variants)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(self.columns), sharey=True, squeeze=False)[0]
        for axis, task in zip(axes, self.columns, strict=True):
            for row, variant in enumerate(variants):
                values = variant.values(task)
                score = Estimate.over(values)
                half = 0.0 if score.low is None else 100 * (score.mean - score.low)
                axis.errorbar([100 * score.mean], [row], xerr=[[half], [half]], fmt="o", color="#2f6f9f", capsize=3)
                axis.plot([100 * value for value in values], [row] * len(values), "|", color="#8d8d8d")
            axis.axvline(100 * Estimate.over(self._variant(BASELINE).values(task)).mean, color="#c8553d", lw=0.8)
            axis.set_title(f"{task}, %", fontsize=10)
            axis.grid(axis="x", alpha=0.3)
        legend = "dot: mean, bar: 95 % interval over seeds, grey: single seeds, line: mean without filters"
        figure.supxlabel(legend, fontsize=8)
        axes[0].set_yticks(range(len(variants)), [variant.name for variant in variants])
        axes[0].invert_yaxis()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def _variant(self, name: str) -> VariantScores:
        return next(variant for variant in self.variants if variant.name == name)

    def _cells(self, variant: VariantScores) -> list[str]:
        cells = []
        for task in self.columns:
            score = self.score(variant.name, task)
            cells.append("" if score is None else _percent(score))
            is_compared = variant.rows is not None and variant.name != BASELINE
            cells.append(_percent(self.difference(variant.name, task), sign="+") if is_compared else "")
        return cells

    def _variant_json(self, variant: VariantScores) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": variant.name,
            "rows": variant.rows,
            "same_as": variant.same_as,
            "seeds": list(variant.seeds),
            "scores": {task: score.to_json() for task in self.columns if (score := self.score(variant.name, task))},
        }
        if variant.rows is not None and variant.name != BASELINE:
            values["against_none"] = {task: self.difference(variant.name, task).to_json() for task in self.columns}
        return values


def _percent(estimate: Estimate, sign: str = "") -> str:
    half = "" if estimate.high is None else f" ± {100 * (estimate.high - estimate.mean):.2f}"
    return f"{100 * estimate.mean:{sign}.2f}{half}"
