"""Prints and plots negation reports."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.evaluate.intervals import FEW_TRIPLETS
from jina_data.evaluate.negation import ALL, MEASURES, NegationReport, Score
from jina_data.run.files import atomic_path

TITLES = {"easy": "EasyNegation", "hard": "HardNegation"}
COLOURS = ("#2f6f9f", "#c8553d", "#5b8c5a", "#8d6a9f", "#b08d2e", "#555555")


def print_negation(report: NegationReport, console: Console | None = None) -> None:
    """Print scores in percent with intervals and error rates, by source and kind, and the differences of models."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("triplets", "model"):
        table.add_column(name, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for measure in MEASURES:
        table.add_column(TITLES[measure], justify="right", no_wrap=True)
        table.add_column("error", justify="right", no_wrap=True)
    for group in report.groups:
        group_name = ALL if group.by == ALL else f"{group.by} {group.name}"
        for number, (label, scores) in enumerate(group.scores.items()):
            cells = [
                cell for measure in MEASURES for cell in (_cell(scores[measure]), f"{100 * scores[measure].error:.1f}")
            ]
            table.add_row("" if number else group_name, label, "" if number else f"{group.negatives:,}", *cells)
    console.print(table)
    for difference in report.differences:
        changes = ", ".join(f"{TITLES[measure]} {_signed(difference.scores[measure])}" for measure in MEASURES)
        console.print(
            f"{difference.second} against {difference.first}: {changes}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(
        f"{report.overall.triplets:,} triplets, {report.unusable:,} rows skipped; in percent, with 95 % intervals "
        f"from {report.resamples:,} resamples (seed {report.seed}); by Wilson's formula for less than {FEW_TRIPLETS} "
        "triplets, and if a model gets all or none right",
        highlight=False,
        soft_wrap=True,
    )


def _cell(score: Score) -> str:
    return f"{100 * score.value:.1f} ({100 * score.low:.1f}–{100 * score.high:.1f})"


def _signed(score: Score) -> str:
    return f"{100 * score.value:+.1f} ({100 * score.low:+.1f} to {100 * score.high:+.1f})"


def plot_negation(report: NegationReport, path: Path) -> None:
    """Plot both measures side by side as PNG: a row for each group, a mark with its interval for each model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups, labels = report.groups, list(report.models)
    figure = Figure(figsize=(10, 1.6 + 0.26 * len(groups) * (len(labels) + 0.6)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    step = 0.8 / len(labels)
    for axis, measure in zip(axes, MEASURES, strict=True):
        for m, label in enumerate(labels):
            scores = [group.scores[label][measure] for group in groups]
            heights = [row + step * (m - (len(labels) - 1) / 2) for row in range(len(groups))]
            axis.errorbar(
                [100 * score.value for score in scores],
                heights,
                xerr=[
                    [100 * max(score.value - score.low, 0) for score in scores],
                    [100 * max(score.high - score.value, 0) for score in scores],
                ],
                fmt="o",
                color=COLOURS[m % len(COLOURS)],
                label=label,
                capsize=3,
            )
        axis.set_title(f"{TITLES[measure]}, %")
        axis.set_xlim(0, 101)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(
        range(len(groups)), [group.name if group.by == ALL else f"{group.by} {group.name}" for group in groups]
    )
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(labels), 4))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
