"""The scores of models on tasks as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.evaluate.tasks import TYPES, TasksReport


def print_tasks(report: TasksReport, console: Console | None = None) -> None:
    """Print a row for each model: its scores on the tasks, then the means by type and over all tasks, in percent."""
    console = console or Console()
    names = list(report.models[0].tasks)
    if len(names) <= 8:
        _print(console, names, [[100 * one.tasks[name].value for name in names] for one in report.models], report)
    means = [
        [*(100 * one.types[column] if column in one.types else None for column in TYPES), 100 * one.average]
        for one in report.models
    ]
    _print(console, [*TYPES, "average"], means, report)
    measures = sorted({(score.type, score.measure) for score in report.models[0].tasks.values()})
    told = ", ".join(f"{measure} for {kind}" for kind, measure in measures)
    said = f"{len(names):,} task{'s' if len(names) > 1 else ''}; in percent: {told}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def _print(
    console: Console, columns: Sequence[str], values: Sequence[Sequence[float | None]], report: TasksReport
) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for model, row in zip(report.models, values, strict=True):
        table.add_row(model.label, *("" if value is None else f"{value:.2f}" for value in row))
    console.print(table)
