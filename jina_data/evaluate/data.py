"""The data of evaluation tasks in memory: a class for each kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StsData:
    """N pairs of sentences with human similarity scores."""

    name: str
    sentences1: Sequence[str]
    sentences2: Sequence[str]
    scores: Sequence[float]
    sha256: str


@dataclass(frozen=True)
class PairData:
    """N pairs of sentences with labels: 1 for the same meaning, else 0."""

    name: str
    sentences1: Sequence[str]
    sentences2: Sequence[str]
    labels: Sequence[int]
    sha256: str


@dataclass(frozen=True)
class RerankingData:
    """N queries, each with relevant and irrelevant texts."""

    name: str
    queries: Sequence[str]
    positives: Sequence[Sequence[str]]
    negatives: Sequence[Sequence[str]]
    sha256: str


@dataclass(frozen=True)
class SummaryData:
    """N texts, each with human summaries, and with machine summaries and their human ratings."""

    name: str
    texts: Sequence[str]
    human_summaries: Sequence[Sequence[str]]
    machine_summaries: Sequence[Sequence[str]]
    relevance: Sequence[Sequence[float]]
    sha256: str


@dataclass(frozen=True)
class RetrievalData:
    """A corpus, queries, and relevance grades of documents by query."""

    name: str
    doc_ids: Sequence[str]
    titles: Sequence[str]
    docs: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    sha256: str


@dataclass(frozen=True)
class LabelData:
    """Texts with labels, by split: `train` and `test` for classification, `test` for clustering."""

    name: str
    splits: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    sha256: str

    @property
    def is_classification(self) -> bool:
        """Whether there is a training split."""
        return "train" in self.splits


LocalData = StsData | PairData | RerankingData | SummaryData | RetrievalData | LabelData
