"""Tasks for mteb: those that it knows by name, and local data as mteb's own task classes. Imports mteb when called."""

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
    import mteb
    from mteb import abstasks

    kind = _kind(data)
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
class _Kind:
    """Which class of mteb measures a kind of data, what it is called there, and how the data come in."""

    base: str
    type: Any
    main_score: str
    load: Callable[[Any], Any]
    category: Any = "t2t"
    options: Mapping[str, Any] = field(default_factory=dict)


def _kind(data: LocalData) -> _Kind:
    if isinstance(data, LabelData) and data.is_classification:
        return _Kind("AbsTaskClassification", "Classification", "accuracy", _labels, "t2c")
    if isinstance(data, LabelData):
        # By default mteb samples one text in 25, which is for files of hundreds of thousands.
        names = {"input_column_name": "text", "label_column_name": "label", "max_fraction_of_documents_to_embed": None}
        return _Kind("AbsTaskClustering", "Clustering", "v_measure", _labels, "t2c", names)
    if isinstance(data, SummaryData):
        # Correlations are within a text, so the ends of the scale do not matter, but they must differ.
        known = [score for scores in data.relevance for score in scores]
        scale = {"min_score": min(known), "max_score": max(known)}
        return _Kind("AbsTaskSummarization", "Summarization", "cosine_spearman", _summaries, options=scale)
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
    """Give each query texts of its own, under the ids that mteb gives them: equal scores go by the ids."""
    from datasets import Dataset

    queries = [f"test_query{row}" for row in range(len(data.queries))]
    docs: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query, *lists in zip(queries, data.positives, data.negatives, strict=True):
        for kind, grade, texts in (("apositive", 1, lists[0]), ("negative", 0, lists[1])):
            found = {f"{kind}_{query}_{number:05}": text for number, text in enumerate(texts)}
            docs |= found
            qrels.setdefault(query, {}).update(dict.fromkeys(found, grade))
    split = {
        "corpus": Dataset.from_dict({"id": list(docs), "title": [""] * len(docs), "text": list(docs.values())}),
        "queries": Dataset.from_dict({"id": queries, "text": data.queries}),
        "relevant_docs": qrels,
        "top_ranked": {query: list(found) for query, found in qrels.items()},
    }
    return {"default": {"test": split}}


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

    # Numbers, since scores of two classes are for numbers only: 0 and 1, so those that are tested come first.
    tested = set(data.splits["test"][1])
    labels = sorted(
        {one for _, found in data.splits.values() for one in found}, key=lambda one: (one not in tested, one)
    )
    number = {label: at for at, label in enumerate(labels)}
    return DatasetDict(
        {
            split: Dataset.from_dict({"text": texts, "label": [number[label] for label in found]})
            for split, (texts, found) in data.splits.items()
        }
    )


_KINDS = {
    StsData: _Kind("AbsTaskSTS", "STS", "cosine_spearman", _sts),
    PairData: _Kind(
        "AbsTaskPairClassification", "PairClassification", "max_ap", _pairs, options={"label_column_name": "label"}
    ),
    RetrievalData: _Kind("AbsTaskRetrieval", "Retrieval", "ndcg_at_10", _retrieval),
    # mteb's own class for reranking is deprecated: its tasks are searches among the texts of each query.
    RerankingData: _Kind("AbsTaskRetrieval", "Reranking", "map_at_1000", _reranking),
}


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep mteb, and `datasets`, which it maps tables with, from drawing progress bars of their own."""
    from datasets.utils import logging
    from tqdm import std  # type: ignore[import-untyped]

    was_on, begin = logging.is_progress_bar_enabled(), std.tqdm.__init__
    logging.disable_progress_bar()
    # Some of mteb's bars have no switch.
    std.tqdm.__init__ = partialmethod(begin, disable=True)
    try:
        yield
    finally:
        std.tqdm.__init__ = begin
        if was_on:
            logging.enable_progress_bar()
