"""Evaluates embedders on mteb tasks: main scores by task, means by type, and the overall mean."""

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
from jina_data.progress import Progress, SilentProgress
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
"""The columns of the table, with the task types of mteb in each."""

DIGITS = 6
"""Decimal digits of a score: the precision of mteb's result files, so that new and reused scores are equal."""

BATCH_TEXTS = 1024
"""Texts in a batch of mteb; the embedder makes its own batches."""


@dataclass(frozen=True)
class TaskScore:
    """The main score of a model on a task, from 0 to 1, and all other measures of mteb."""

    task: str
    type: str
    """The task type of mteb: STS, Retrieval, Classification ..."""
    measure: str
    """The measure of the main score: cosine_spearman, ndcg_at_10, accuracy, v_measure ..."""
    value: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelScores:
    """The scores of a model on all tasks."""

    label: str
    model_id: str
    tasks: Mapping[str, TaskScore]

    @property
    def types(self) -> dict[str, float]:
        """The mean score by column of `TYPES`, for the columns with tasks."""
        scores = {
            column: [score.value for score in self.tasks.values() if score.type in types]
            for column, types in TYPES.items()
        }
        return {column: sum(values) / len(values) for column, values in scores.items() if values}

    @property
    def average(self) -> float:
        """The mean over all tasks."""
        return sum(score.value for score in self.tasks.values()) / len(self.tasks)


@dataclass(frozen=True)
class TasksReport:
    """The scores of models on tasks."""

    models: Sequence[ModelScores]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        models = [
            {
                "label": model.label,
                "model_id": model.model_id,
                "average": model.average,
                "types": {column: model.types.get(column) for column in TYPES},
                "tasks": {name: asdict(score) for name, score in model.tasks.items()},
            }
            for model in self.models
        ]
        names = ("jina-data", "mteb", "numpy", "scipy")
        return {"models": models, "versions": {name: metadata.version(name) for name in names}}

    def write(self, path: Path) -> None:
        """Write the report as JSON, atomically."""
        write_json(path, self.to_json())


def evaluate_sts(data: StsData | str | Path, model: Embedder) -> TaskScore:
    """Evaluate Spearman's correlation of cosine similarities with human scores, on pairs or a file of pairs.

    Raises:
        InputError: the file does not exist or cannot be read.
        MissingExtraError: mteb is not installed.
    """
    return _evaluate_task(data if isinstance(data, StsData) else read_sts(data), model)


def evaluate_retrieval(data: RetrievalData | str | Path, model: Embedder) -> TaskScore:
    """Evaluate nDCG@10 of retrieval from a corpus, or from the files NAME.corpus, NAME.queries and NAME.qrels.

    Raises:
        InputError: a file does not exist or cannot be read, or a folder contains several tasks.
        MissingExtraError: mteb is not installed.
    """
    if isinstance(data, RetrievalData):
        return _evaluate_task(data, model)
    tasks = read_retrieval(data)
    if len(tasks) > 1:
        names = ", ".join(task.name for task in tasks)
        raise InputError(f"{data} contains {len(tasks)} tasks: {names}. Name one of them")
    return _evaluate_task(tasks[0], model)


def _evaluate_task(data: StsData | RetrievalData, model: Embedder) -> TaskScore:
    need_mteb("evaluation")
    return evaluate_tasks([to_task(data)], [model]).models[0].tasks[data.name]


def evaluate_tasks(
    tasks: Sequence[AbsTask],
    models: Sequence[Embedder],
    *,
    labels: Sequence[str] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    instruction: str | None = None,
) -> TasksReport:
    """Run every model on every task.

    Args:
        tasks: of mteb, or from `to_task`.
        models: the models to evaluate.
        labels: names of the models in the report; by default the shortest distinct names.
        folder: folder for results in the format of mteb, `results/MODEL/REVISION/TASK.json`. An existing result of the
            same model and data is reused.
        progress: receives the progress.
        instruction: template for the instruction of a task, see `TaskPrompts`.

    Raises:
        InputError: the data of a task could not be downloaded.
        ModelError: a score is undefined.
        ResourceError: the disk is full.
        RunFolderError: the folder is not writable, or is the run folder of another command.
        UsageError: there is no task or model, a model occurs twice, or the template is not valid.
        MissingExtraError: mteb is not installed.
    """
    need_mteb("evaluation")
    if not tasks:
        raise UsageError("no task given. Name files, or tasks of mteb such as STS12")
    labels = model_labels([model.name for model in models]) if labels is None else list(labels)
    if folder is not None:
        ready_folder(folder)
    model_scores = []
    progress = progress or SilentProgress()
    adapted = [MtebEmbedder(model, label, instruction=instruction) for model, label in zip(models, labels, strict=True)]
    for mteb_model in adapted:
        if line := mteb_model.prompts.line():
            progress.message(f"{mteb_model.label} {line}")
    with progress.task("evaluate", len(tasks) * len(models)) as steps, without_bars():
        for model, mteb_model in zip(models, adapted, strict=True):
            scores = {}
            for task in tasks:
                scores[task.metadata.name] = _run(task, mteb_model, folder)
                steps.advance(1)
            model_scores.append(ModelScores(mteb_model.label, model.model_id, scores))
    return TasksReport(model_scores)


def _run(task: AbsTask, model: MtebEmbedder, folder: Path | None) -> TaskScore:
    import mteb

    cache = mteb.ResultCache(folder) if folder is not None else None
    try:
        with warnings.catch_warnings():
            # The cause of these warnings is a score that is not finite, which is an error below.
            warnings.filterwarnings("ignore", "Mean of empty slice|An input array is constant|invalid value")
            results = mteb.evaluate(
                model,
                task,
                co2_tracker=False,
                cache=cache,
                overwrite_strategy=_overwrite_strategy(task, model, cache),
                encode_kwargs={"batch_size": BATCH_TEXTS, "show_progress_bar": False},
                show_progress_bar=False,
            )
    except KeyboardInterrupt:
        if folder is None:
            raise
        raise StoppedError(
            f"stopped. Results of finished tasks are in {folder}; run the same command again to resume"
        ) from None
    except OSError as error:
        if folder is not None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise ResourceError(
                f"{folder} cannot be written: {error.strerror}. Free some space, or name another folder. Results of "
                "finished tasks are kept; run the same command again to resume"
            ) from None
        resume = "" if folder is None else f". Results of finished tasks are in {folder}; run the same command again"
        raise InputError(
            f"the data of task {task.metadata.name!r} could not be downloaded from the Hugging Face Hub: "
            f"{str(error).splitlines()[0]}{resume}"
        ) from error
    score = _score(task, results.task_results[0])
    if not math.isfinite(score.value):
        raise ModelError(
            f"{model.label!r} on task {score.task!r}: {score.measure} is undefined. All similarities may be equal: "
            "the weights of the model may be damaged, or the task too small"
        )
    return score


def _overwrite_strategy(task: AbsTask, model: MtebEmbedder, cache: Any) -> str:
    """Return the overwrite strategy of mteb: an existing result is reused only if it is from the same data."""
    if cache is None:
        return "always"
    path = cache.get_task_result_path(task.metadata.name, model.mteb_model_meta)
    if not path.is_file():
        return "always"
    try:
        result = cache.load_task_result(task.metadata.name, model.mteb_model_meta)
    except ValueError:
        path.unlink()  # truncated by a kill or a full disk
        return "always"
    is_same_data = result is not None and result.dataset_revision == task.metadata.revision
    return "only-missing" if is_same_data else "always"


def _score(task: AbsTask, result: TaskResult) -> TaskScore:
    """Return the main score (mteb's mean over splits and languages), with the other measures if there is one split."""
    parts = [scores for split in result.scores.values() for scores in split]
    numbers = parts[0] if len(parts) == 1 else {}
    others = {
        name: round(float(value), DIGITS)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    description = task.metadata
    main_score = round(float(result.get_score()), DIGITS)
    return TaskScore(description.name, description.type, description.main_score, main_score, others)


def print_tasks(report: TasksReport, console: Console | None = None) -> None:
    """Print a row for each model in percent: scores by task (up to 8 tasks), means by type, and the overall mean."""
    console = console or Console()
    names = list(report.models[0].tasks)
    if len(names) <= 8:
        _print(console, names, [[100 * model.tasks[name].value for name in names] for model in report.models], report)
    types = [column for column in TYPES if any(column in model.types for model in report.models)]
    means = [
        [*(100 * model.types[column] if column in model.types else None for column in types), 100 * model.average]
        for model in report.models
    ]
    _print(console, [*types, "average"], means, report)
    measures = sorted({(score.type, score.measure) for score in report.models[0].tasks.values()})
    listed = ", ".join(f"{measure} for {kind}" for kind, measure in measures)
    caption = f"{len(names):,} task{'s' if len(names) > 1 else ''}; in percent: {listed}"
    console.print(caption, highlight=False, markup=False, soft_wrap=True)


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
