"""Evaluates retrieval with texts truncated at several lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.embed.base import Embedder
from jina_data.embed.limited import limited
from jina_data.errors import UsageError
from jina_data.evaluate.data import RetrievalData
from jina_data.evaluate.mteb_tasks import need_mteb, to_task
from jina_data.evaluate.negation_table import COLOURS
from jina_data.evaluate.output import model_labels, ready_folder
from jina_data.evaluate.tasks import evaluate_tasks
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import atomic_path, write_json

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class LengthScores:
    """The nDCG@10 of a model on a task by length; None for lengths above the maximum of the model."""

    label: str
    model_id: str
    max_tokens: int | None
    task: str
    scores: Mapping[int, float | None]


@dataclass(frozen=True)
class LengthReport:
    """The scores of models on retrieval tasks at several lengths."""

    lengths: Sequence[int]
    rows: Sequence[LengthScores]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        versions = {name: metadata.version(name) for name in ("jina-data", "mteb", "numpy")}
        return {"measure": "ndcg_at_10", **asdict(self), "versions": versions}

    def write(self, path: Path) -> None:
        """Write the report as JSON, atomically."""
        write_json(path, self.to_json())


def evaluate_length(
    tasks: Sequence[RetrievalData],
    models: Sequence[Embedder],
    *,
    lengths: Sequence[int] = LENGTHS,
    labels: Sequence[str] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> LengthReport:
    """Run every model on every task, with texts truncated at each length by the model's own tokenizer.

    Args:
        tasks: corpora with queries.
        models: the models to evaluate.
        lengths: tokens per text, special tokens included; lengths above the maximum of a model are skipped for it.
        labels: names of the models in the report; by default the shortest distinct names.
        folder: folder for results in the format of mteb; existing results are reused.
        progress: receives the progress.

    Raises:
        UsageError: a length is not positive, or a model does not support truncation.
        MissingExtraError: mteb is not installed.
    """
    need_mteb("evaluation")
    chosen = sorted(set(lengths))
    if not chosen or chosen[0] < 1:
        raise UsageError(f"lengths are {', '.join(map(str, lengths)) or 'none'}; expected positive numbers")
    labels = model_labels([model.name for model in models]) if labels is None else list(labels)
    for model in models:
        if model.max_tokens is None or chosen[0] <= model.max_tokens:
            limited(model, chosen[0])  # fails for a model without truncation, before any model runs
    if folder is not None:
        ready_folder(folder)
    rows = []
    with (progress or SilentProgress()).task("evaluate length", len(tasks) * len(models) * len(chosen)) as steps:
        for model, label in zip(models, labels, strict=True):
            for data in tasks:
                scores: dict[int, float | None] = {}
                for length in chosen:
                    scores[length] = _score(data, model, f"{label}@{length}", length, folder)
                    steps.advance(1)
                rows.append(LengthScores(label, model.model_id, model.max_tokens, data.name, scores))
    return LengthReport(chosen, rows)


def _score(data: RetrievalData, model: Embedder, label: str, length: int, folder: Path | None) -> float | None:
    if model.max_tokens is not None and length > model.max_tokens:
        return None
    report = evaluate_tasks([to_task(data)], [limited(model, length)], labels=[label], folder=folder)
    return report.models[0].tasks[data.name].value


def print_length(report: LengthReport, console: Console | None = None) -> None:
    """Print a row for each task and model, with a column for each length, in percent."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("task", "model"):
        table.add_column(name, overflow="fold")
    for length in report.lengths:
        table.add_column(str(length), justify="right")
    for row in report.rows:
        cells = ("–" if (score := row.scores[length]) is None else f"{100 * score:.2f}" for length in report.lengths)
        table.add_row(row.task, row.label, *cells)
    console.print(table)
    console.print("nDCG@10 in percent by maximum tokens per text; –: above the maximum of the model")


def plot_length(report: LengthReport, path: Path) -> None:
    """Plot nDCG@10 over length as PNG: a panel for each task, a line for each model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in report.rows))
    labels = list(dict.fromkeys(row.label for row in report.rows))
    figure = Figure(figsize=(1.5 + 4.5 * len(tasks), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for row in (row for row in report.rows if row.task == task):
            points = [(length, 100 * score) for length, score in row.scores.items() if score is not None]
            colour = COLOURS[labels.index(row.label) % len(COLOURS)]
            axis.plot(*zip(*points, strict=True) if points else ((), ()), "o-", color=colour, label=row.label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(report.lengths, [str(length) for length in report.lengths])
        axis.set_title(f"{task}, nDCG@10, %")
        axis.set_xlabel("tokens per text")
        axis.grid(alpha=0.3)
        axis.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
