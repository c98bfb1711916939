"""Tasks for mteb: those that it knows by name, and local data as mteb's own task classes. Imports mteb when called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jina_data.errors import MissingExtraError, UsageError
from jina_data.evaluate.local import LabelData, LocalData, RetrievalData, StsData, is_local, read_local

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask


def need_mteb(what: str) -> None:
    """Make sure that mteb is there; nothing is loaded.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("mteb") is None or find_spec("torch") is None:
        raise MissingExtraError(f"{what} needs mteb; run: pip install 'jina-data[torch,evaluate]'")


def tasks_named(names: Sequence[str]) -> list[AbsTask]:
    """Return the tasks that names stand for: files, tasks of mteb and benchmarks of mteb, in this order of trying.

    Raises:
        UsageError: there is no such task or benchmark, or a task is named twice.
        InputError: files are missing or broken.
    """
    found = [task for name in names for task in _named(name)]
    unique = list({task.metadata.name: task for task in reversed(found)}.values())[::-1]
    if len(unique) < len(found):
        seen: set[str] = set()
        twice = next(one for task in found if (one := task.metadata.name) in seen or seen.add(one))  # type: ignore[func-returns-value]
        raise UsageError(f"the task {twice!r} is named twice among {', '.join(names)}. Name it once, or rename a file")
    return unique


def _named(name: str) -> list[AbsTask]:
    if is_local(name):
        return [to_task(data) for data in read_local(name)]
    import mteb

    try:
        return [mteb.get_task(name)]
    except KeyError as no_task:
        try:
            return list(mteb.get_benchmark(name).tasks)
        except KeyError as no_benchmark:
            said = [str(error.args[0]).removeprefix("KeyError: ") for error in (no_task, no_benchmark)]
            near = next((one for one in said if "Did you mean" in one), said[0])
            raise UsageError(
                f"{name!r} is no file or folder, and no task or benchmark of mteb {mteb.__version__}: {near}"
            ) from None


def to_task(data: LocalData) -> AbsTask:
    """Make a task of mteb's own class from local data."""
    from mteb import abstasks

    if isinstance(data, StsData):
        return _task(abstasks.AbsTaskSTS, data, "STS", "cosine_spearman", load=_sts)
    if isinstance(data, RetrievalData):
        return _task(abstasks.AbsTaskRetrieval, data, "Retrieval", "ndcg_at_10", load=_retrieval)
    if data.is_classification:
        return _task(abstasks.AbsTaskClassification, data, "Classification", "accuracy", load=_labels)
    # By default mteb samples one text in 25, which is for files of hundreds of thousands.
    options = {"max_fraction_of_documents_to_embed": None, "input_column_name": "text", "label_column_name": "label"}
    return _task(abstasks.AbsTaskClustering, data, "Clustering", "v_measure", load=_labels, options=options)


def _task(
    base: Any, data: LocalData, kind: Any, main_score: str, *, load: Any, options: dict[str, Any] | None = None
) -> AbsTask:
    import mteb

    metadata = mteb.TaskMetadata(
        name=data.name,
        description=f"The local {kind} task {data.name}.",
        dataset={"path": f"local/{data.name}", "revision": data.sha256[:40]},
        type=kind,
        category="t2c" if kind in ("Classification", "Clustering") else "t2t",
        eval_splits=["test"],
        eval_langs=["mul-Latn"],
        main_score=main_score,
    )

    def load_data(self: Any, **_: Any) -> None:
        self.dataset = load(data)
        self.data_loaded = True

    members = {"metadata": metadata, "load_data": load_data, **(options or {})}
    task: AbsTask = type("Local", (base,), members)()
    return task


def _sts(data: StsData) -> dict[str, Any]:
    from datasets import Dataset

    rows = {"sentence1": data.sentences1, "sentence2": data.sentences2, "score": list(map(float, data.scores))}
    return {"test": Dataset.from_dict(rows)}


def _retrieval(data: RetrievalData) -> dict[str, Any]:
    from datasets import Dataset

    corpus = Dataset.from_dict({"id": data.doc_ids, "title": data.titles, "text": data.docs})
    queries = Dataset.from_dict({"id": data.query_ids, "text": data.queries})
    qrels = {query: dict(found) for query, found in data.qrels.items()}
    return {
        "default": {"test": {"corpus": corpus, "queries": queries, "relevant_docs": qrels, "top_ranked": None}},
    }


def _labels(data: LabelData) -> Any:
    from datasets import Dataset, DatasetDict

    # Numbers, since scores of two classes are for numbers only.
    number = {label: at for at, label in enumerate(sorted({one for _, found in data.splits.values() for one in found}))}
    return DatasetDict(
        {
            split: Dataset.from_dict({"text": texts, "label": [number[label] for label in labels]})
            for split, (texts, labels) in data.splits.items()
        }
    )


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep `datasets`, which mteb maps tables with, from drawing progress bars of its own."""
    from datasets.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
