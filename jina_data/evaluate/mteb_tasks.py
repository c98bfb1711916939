"""Resolves task names, and turns local data into task classes of mteb. Imports mteb when called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partialmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jina_data.errors import MissingExtraError, UsageError
from jina_data.evaluate.data import (
    LabelData,
    LocalData,
    PairData,
    RerankingData,
    RetrievalData,
    StsData,
    SummaryData,
)
from jina_data.evaluate.local import is_local, read_local

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask


def need_mteb(feature: str) -> None:
    """Check that mteb is installed, without importing it.

    Raises:
        MissingExtraError: it is not installed; the message names the feature.
    """
    if find_spec("mteb") is None or find_spec("torch") is None:
        raise MissingExtraError(f"{feature} needs mteb; run: pip install 'jina-data[torch,evaluate]'")


def tasks_named(names: Sequence[str]) -> list[AbsTask]:
    """Return the tasks for names: each is tried as files, then as a task of mteb, then as a benchmark of mteb.

    Raises:
        UsageError: a task or benchmark does not exist, or a task occurs twice.
        InputError: files do not exist or cannot be read.
    """
    tasks = [task for name in names for task in _resolve(name)]
    task_names = set[str]()
    for task in tasks:
        if task.metadata.name in task_names:
            raise UsageError(
                f"the task {task.metadata.name!r} occurs twice in {', '.join(names)}. Name it once, or rename a file"
            )
        task_names.add(task.metadata.name)
    return tasks


def _resolve(name: str) -> list[AbsTask]:
    if is_local(name):
        return [to_task(data) for data in read_local(name)]
    import mteb

    try:
        return [mteb.get_task(name)]
    except KeyError as no_task:
        try:
            return list(mteb.get_benchmark(name).tasks)
        except KeyError as no_benchmark:
            messages = [str(error.args[0]).removeprefix("KeyError: ") for error in (no_task, no_benchmark)]
            message = next((message for message in messages if "Did you mean" in message), messages[0])
            raise UsageError(
                f"{name!r} is not a file or folder, nor a task or benchmark of mteb {mteb.__version__}: {message}"
            ) from None


def to_task(data: LocalData) -> AbsTask:
    """Return local data as a task of the matching mteb class."""
    import mteb
    from mteb import abstasks

    kind = _task_kind(data)
    metadata = mteb.TaskMetadata(
        name=data.name,
        description=f"The local {kind.type} task {data.name}.",
        dataset={"path": f"local/{data.name}", "revision": data.sha256[:40]},
        type=kind.type,
        category=kind.category,
        eval_splits=["test"],
        eval_langs=["mul-Latn"],
        main_score=kind.main_score,
    )

    def load_data(self: Any, **_: Any) -> None:
        self.dataset = kind.load(data)
        self.data_loaded = True

    members = {"metadata": metadata, "load_data": load_data, **kind.options}
    task: AbsTask = type("Local", (getattr(abstasks, kind.base),), members)()
    return task


@dataclass(frozen=True)
class TaskKind:
    """A kind of task: its class, type and main score in mteb, and the function that converts the data."""

    base: str
    type: Any
    main_score: str
    load: Callable[[Any], Any]
    category: Any = "t2t"
    options: Mapping[str, Any] = field(default_factory=dict)


def _task_kind(data: LocalData) -> TaskKind:
    if isinstance(data, LabelData) and data.is_classification:
        return TaskKind("AbsTaskClassification", "Classification", "accuracy", _labels, "t2c")
    if isinstance(data, LabelData):
        # By default, mteb samples one text in 25, which suits files with hundreds of thousands of texts.
        names = {"input_column_name": "text", "label_column_name": "label", "max_fraction_of_documents_to_embed": None}
        return TaskKind("AbsTaskClustering", "Clustering", "v_measure", _labels, "t2c", names)
    if isinstance(data, SummaryData):
        # Correlations are computed within a text, so the ends of the scale do not matter, but they must differ.
        ratings = [score for scores in data.relevance for score in scores]
        scale = {"min_score": min(ratings), "max_score": max(ratings)}
        return TaskKind("AbsTaskSummarization", "Summarization", "cosine_spearman", _summaries, options=scale)
    return _KINDS[type(data)]


def _sts(data: StsData) -> dict[str, Any]:
    from datasets import Dataset

    rows = {"sentence1": data.sentences1, "sentence2": data.sentences2, "score": list(map(float, data.scores))}
    return {"test": Dataset.from_dict(rows)}


def _pairs(data: PairData) -> dict[str, Any]:
    from datasets import Dataset

    rows = {"sentence1": data.sentences1, "sentence2": data.sentences2, "label": data.labels}
    return {"test": Dataset.from_dict(rows)}


def _summaries(data: SummaryData) -> dict[str, Any]:
    from datasets import Dataset

    lists = {"human_summaries": data.human_summaries, "machine_summaries": data.machine_summaries}
    return {"test": Dataset.from_dict({"text": data.texts, **lists, "relevance": data.relevance})}


def _reranking(data: RerankingData) -> dict[str, Any]:
    """Return a search task with separate texts for each query. Their ids are those of mteb, which break ties."""
    from datasets import Dataset

    queries = [f"test_query{row}" for row in range(len(data.queries))]
    docs: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query, *lists in zip(queries, data.positives, data.negatives, strict=True):
        for kind, grade, texts in (("apositive", 1, lists[0]), ("negative", 0, lists[1])):
            texts_by_id = {f"{kind}_{query}_{number:05}": text for number, text in enumerate(texts)}
            docs |= texts_by_id
            qrels.setdefault(query, {}).update(dict.fromkeys(texts_by_id, grade))
    split = {
        "corpus": Dataset.from_dict({"id": list(docs), "title": [""] * len(docs), "text": list(docs.values())}),
        "queries": Dataset.from_dict({"id": queries, "text": data.queries}),
        "relevant_docs": qrels,
        "top_ranked": {query: list(grades) for query, grades in qrels.items()},
    }
    return {"default": {"test": split}}


def _retrieval(data: RetrievalData) -> dict[str, Any]:
    from datasets import Dataset

    corpus = Dataset.from_dict({"id": data.doc_ids, "title": data.titles, "text": data.docs})
    queries = Dataset.from_dict({"id": data.query_ids, "text": data.queries})
    qrels = {query: dict(grades) for query, grades in data.qrels.items()}
    return {
        "default": {"test": {"corpus": corpus, "queries": queries, "relevant_docs": qrels, "top_ranked": None}},
    }


def _labels(data: LabelData) -> Any:
    from datasets import Dataset, DatasetDict

    # As numbers, because mteb computes the scores of two classes only for 0 and 1: so the test labels come first.
    test_labels = set(data.splits["test"][1])
    labels = sorted(
        {label for _, split_labels in data.splits.values() for label in split_labels},
        key=lambda label: (label not in test_labels, label),
    )
    number_of = {label: number for number, label in enumerate(labels)}
    return DatasetDict(
        {
            split: Dataset.from_dict({"text": texts, "label": [number_of[label] for label in split_labels]})
            for split, (texts, split_labels) in data.splits.items()
        }
    )


_KINDS = {
    StsData: TaskKind("AbsTaskSTS", "STS", "cosine_spearman", _sts),
    PairData: TaskKind(
        "AbsTaskPairClassification", "PairClassification", "max_ap", _pairs, options={"label_column_name": "label"}
    ),
    RetrievalData: TaskKind("AbsTaskRetrieval", "Retrieval", "ndcg_at_10", _retrieval),
    # The reranking class of mteb is deprecated: its tasks are searches among the texts of each query.
    RerankingData: TaskKind("AbsTaskRetrieval", "Reranking", "map_at_1000", _reranking),
}


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Turn off the progress bars of mteb and of `datasets`."""
    from datasets.utils import logging
    from tqdm import std  # type: ignore[import-untyped]

    was_on, begin = logging.is_progress_bar_enabled(), std.tqdm.__init__
    logging.disable_progress_bar()
    # Some bars of mteb have no option to turn them off.
    std.tqdm.__init__ = partialmethod(begin, disable=True)
    try:
        yield
    finally:
        std.tqdm.__init__ = begin
        if was_on:
            logging.enable_progress_bar()
