"""Evaluates models on tasks by their names: the function of `jina-data evaluate mteb`, `sts` and `retrieval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jina_data.embed.base import runs_on_cpu
from jina_data.embed.device import settle_device
from jina_data.embed.load import load_embedder
from jina_data.embed.prompts import NONE, without_prompts
from jina_data.errors import UsageError
from jina_data.evaluate.mteb_tasks import need_mteb, tasks_named
from jina_data.evaluate.output import model_labels, ready_folder, writing
from jina_data.evaluate.tasks import TasksReport, evaluate_tasks
from jina_data.progress import Progress
from jina_data.run.files import remove

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The tasks, and the models that are evaluated on them."""

    tasks: Sequence[str]
    """mteb tasks, mteb benchmarks, or local data, as `jina-data evaluate mteb` accepts them."""
    models: Sequence[str]
    """Names or folders of models, or LABEL=MODEL."""
    device: str = "auto"
    prompts: bool = True
    """Whether the prompts of the models, and the instructions of the tasks, are used."""
    instruction: str | None = None
    """Template for the instruction of a task, with {instruction}; by default as the model has it; "none": none."""


def evaluate(
    config: EvaluateConfig, out: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None
) -> TasksReport:
    """Evaluate models on tasks. Results in `out` for the same model and data are reused, unless `overwrite` is set.

    Args:
        config: tasks and models.
        out: the folder for results/ and report.json; None writes nothing.
        overwrite: compute all results again.
        progress: where progress is reported.

    Raises:
        JinaDataError: a task, a model or the folder cannot be used; see `jina_data.errors`.
    """
    need_mteb("jina-data evaluate")
    folder = None if out is None else Path(out)
    tasks = tasks_named(config.tasks)
    embedders, labels = load_models(config.models, config.device, prompts=config.prompts)
    instruction = config.instruction if config.prompts else NONE
    if folder is not None and overwrite:
        ready_folder(folder)
        remove(folder / "results")
    report = evaluate_tasks(tasks, embedders, labels=labels, folder=folder, progress=progress, instruction=instruction)
    if folder is not None:
        with writing(folder):
            report.write(folder / "report.json")
    return report


def load_models(models: Sequence[str], device: str, *, prompts: bool = True) -> tuple[list[Embedder], list[str]]:
    """Load models given as MODEL or LABEL=MODEL; return the embedders and their labels.

    With `prompts` false, the embedders have none of the prompts of their models.

    Raises:
        UsageError: a model is named twice, or a label or model is empty.
        ModelError: a model cannot be loaded.
    """
    given_labels, names = zip(*map(_split_label, models), strict=True)
    labels = model_labels(given_labels)
    settled_device = "cpu" if all(map(runs_on_cpu, names)) else settle_device(device)
    embedders = [load_embedder(name, settled_device) for name in names]
    return embedders if prompts else [*map(without_prompts, embedders)], labels


def _split_label(argument: str) -> tuple[str, str]:
    """Split LABEL=M into the label and the name of a model; M alone is both."""
    label, equals, name = argument.partition("=")
    if not equals or Path(argument).exists():
        return argument, argument
    if not label or not name:
        raise UsageError(f"--model {argument}: expected M, or LABEL=M")
    return label, name
