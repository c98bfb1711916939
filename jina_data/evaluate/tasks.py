"""Run tasks through mteb with any embedder: its main score for each task, the mean of each type, and of all."""

from __future__ import annotations

import errno
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.embed.base import Embedder
from jina_data.errors import InputError, ModelError, ResourceError, StoppedError, UsageError
from jina_data.evaluate.data import RetrievalData, StsData
from jina_data.evaluate.local import read_retrieval, read_sts
from jina_data.evaluate.mteb_model import MtebEmbedder
from jina_data.evaluate.mteb_tasks import need_mteb, to_task, without_bars
from jina_data.evaluate.output import model_labels, ready_folder
from jina_data.progress import Progress, Quiet
from jina_data.run.files import write_json

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask
    from mteb.results import TaskResult

TYPES = {
    "CF": ("Classification", "MultilabelClassification"),
    "CL": ("Clustering",),
    "PC": ("PairClassification",),
    "RR": ("Reranking", "InstructionReranking"),
    "RT": ("Retrieval", "InstructionRetrieval"),
    "STS": ("STS",),
    "SM": ("Summarization",),
}
"""The columns of the table, and mteb's types of tasks that each stands for."""

DIGITS = 6
"""Digits of a score: so many are in mteb's files, and a score is the same whether it comes from there or not."""

BATCH_TEXTS = 1024
"""What mteb hands over at a time; the embedder makes its own batches."""


@dataclass(frozen=True)
class TaskScore:
    """What a model makes of a task: the main score, from 0 to 1, and all that mteb measures beside it."""

    task: str
    type: str
    """As mteb calls it: STS, Retrieval, Classification ..."""
    measure: str
    """The main score: cosine_spearman, ndcg_at_10, accuracy, v_measure ..."""
    value: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelScores:
    """What a model makes of all tasks."""

    label: str
    model_id: str
    tasks: Mapping[str, TaskScore]

    @property
    def types(self) -> dict[str, float]:
        """The mean over the tasks of each type that there is one of, by its column."""
        found = {
            column: [one.value for one in self.tasks.values() if one.type in kinds] for column, kinds in TYPES.items()
        }
        return {column: sum(values) / len(values) for column, values in found.items() if values}

    @property
    def average(self) -> float:
        """The mean over all tasks."""
        return sum(one.value for one in self.tasks.values()) / len(self.tasks)


@dataclass(frozen=True)
class TasksReport:
    """What models make of tasks."""

    models: Sequence[ModelScores]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        models = [
            {
                "label": one.label,
                "model_id": one.model_id,
                "average": one.average,
                "types": {column: one.types.get(column) for column in TYPES},
                "tasks": {name: asdict(score) for name, score in one.tasks.items()},
            }
            for one in self.models
        ]
        names = ("jina-data", "mteb", "numpy", "scipy")
        return {"models": models, "versions": {name: metadata.version(name) for name in names}}

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_json(path, self.to_json())


def evaluate_sts(data: StsData | str | Path, model: Embedder) -> TaskScore:
    """Measure Spearman's correlation of a model's cosines with people's scores, over pairs or a file of them.

    Raises:
        InputError: the file is missing or broken.
        MissingExtraError: mteb is not installed.
    """
    return _one(data if isinstance(data, StsData) else read_sts(data), model)


def evaluate_retrieval(data: RetrievalData | str | Path, model: Embedder) -> TaskScore:
    """Measure nDCG@10 of a model's search over a corpus, or the files NAME.corpus, NAME.queries and NAME.qrels.

    Raises:
        InputError: a file is missing or broken, or a folder holds several tasks.
        MissingExtraError: mteb is not installed.
    """
    if isinstance(data, RetrievalData):
        return _one(data, model)
    found = read_retrieval(data)
    if len(found) > 1:
        raise InputError(f"{data} holds {len(found)} tasks: {', '.join(one.name for one in found)}. Name one of them")
    return _one(found[0], model)


def _one(data: StsData | RetrievalData, model: Embedder) -> TaskScore:
    need_mteb("evaluation")
    return evaluate_tasks([to_task(data)], [model]).models[0].tasks[data.name]


def evaluate_tasks(
    tasks: Sequence[AbsTask],
    models: Sequence[Embedder],
    *,
    labels: Sequence[str] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TasksReport:
    """Run every model on every task.

    Args:
        tasks: of mteb, or from `to_task`.
        models: what to measure.
        labels: what to call the models; by default as short as their names allow.
        folder: where results go in mteb's own format, `results/MODEL/REVISION/TASK.json`. A task that has a result of
            the same model and data there is not run again.
        progress: where to tell how far it is.

    Raises:
        InputError: the data of a task cannot be had.
        ModelError: a score is no number.
        ResourceError: the disk is full.
        RunFolderError: the folder cannot be written, or is another command's.
        UsageError: no task or model is named, or one twice.
        MissingExtraError: mteb is not installed.
    """
    need_mteb("evaluation")
    if not tasks:
        raise UsageError("no task is named. Name files, or tasks of mteb such as STS12")
    labels = model_labels([model.name for model in models]) if labels is None else list(labels)
    if folder is not None:
        ready_folder(folder)
    found = []
    with (progress or Quiet()).task("evaluate", len(tasks) * len(models)) as steps, without_bars():
        for model, label in zip(models, labels, strict=True):
            wrapped, scores = MtebEmbedder(model, label), {}
            for task in tasks:
                scores[task.metadata.name] = _run(task, wrapped, folder)
                steps.advance(1)
            found.append(ModelScores(label, model.model_id, scores))
    return TasksReport(found)


def _run(task: AbsTask, model: MtebEmbedder, folder: Path | None) -> TaskScore:
    import mteb

    cache = mteb.ResultCache(folder) if folder is not None else None
    try:
        with warnings.catch_warnings():
            # What these warn of makes a score that is no number, which is an error below.
            warnings.filterwarnings("ignore", "Mean of empty slice|An input array is constant|invalid value")
            results = mteb.evaluate(
                model,
                task,
                co2_tracker=False,
                cache=cache,
                overwrite_strategy=_strategy(task, model, cache),
                encode_kwargs={"batch_size": BATCH_TEXTS, "show_progress_bar": False},
                show_progress_bar=False,
            )
    except KeyboardInterrupt:
        if folder is None:
            raise
        raise StoppedError(f"stopped. Finished tasks are kept in {folder}; the same command goes on") from None
    except OSError as error:
        if folder is not None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise ResourceError(
                f"{folder} cannot be written: {error.strerror}. Make room, or name another folder; finished tasks are "
                "kept, and the same command goes on"
            ) from None
        kept = "" if folder is None else f". Finished tasks are kept in {folder}; the same command goes on"
        raise InputError(
            f"the data of task {task.metadata.name!r}, which mteb takes from the Hugging Face Hub, cannot be had: "
            f"{str(error).splitlines()[0]}{kept}"
        ) from error
    score = _score(task, results.task_results[0])
    if not math.isfinite(score.value):
        raise ModelError(
            f"{model.label!r} on task {score.task!r}: {score.measure} is no number. It is undefined where a model "
            "finds all texts equally alike: its weights may be damaged, or the task too small"
        )
    return score


def _strategy(task: AbsTask, model: MtebEmbedder, cache: Any) -> str:
    """Tell whether a result that is there may stand: it must be of the same data."""
    if cache is None:
        return "always"
    path = cache.get_task_result_path(task.metadata.name, model.mteb_model_meta)
    if not path.is_file():
        return "always"
    try:
        known = cache.load_task_result(task.metadata.name, model.mteb_model_meta)
    except ValueError:
        path.unlink()  # a kill or a full disk cut it off
        return "always"
    same = known is not None and known.dataset_revision == task.metadata.revision
    return "only-missing" if same else "always"


def _score(task: AbsTask, result: TaskResult) -> TaskScore:
    """Return the main score, the mean over splits and languages as mteb takes it; others where there is one split."""
    parts = [scores for found in result.scores.values() for scores in found]
    numbers = parts[0] if len(parts) == 1 else {}
    others = {
        name: round(float(value), DIGITS)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    said = task.metadata
    return TaskScore(said.name, said.type, said.main_score, round(float(result.get_score()), DIGITS), others)


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
