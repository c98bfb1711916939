"""The data of evaluation tasks, whatever files they come from: a class for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StsData:
    """N pairs of sentences, and how alike people find them."""

    name: str
    sentences1: Sequence[str]
    sentences2: Sequence[str]
    scores: Sequence[float]
    sha256: str


@dataclass(frozen=True)
class PairData:
    """N pairs of sentences, and whether both say the same: 1 or 0."""

    name: str
    sentences1: Sequence[str]
    sentences2: Sequence[str]
    labels: Sequence[int]
    sha256: str


@dataclass(frozen=True)
class RerankingData:
    """N queries, and for each the texts that answer it and those that do not."""

    name: str
    queries: Sequence[str]
    positives: Sequence[Sequence[str]]
    negatives: Sequence[Sequence[str]]
    sha256: str


@dataclass(frozen=True)
class SummaryData:
    """N texts, each with summaries by people, and others with how good people find them."""

    name: str
    texts: Sequence[str]
    human_summaries: Sequence[Sequence[str]]
    machine_summaries: Sequence[Sequence[str]]
    relevance: Sequence[Sequence[float]]
    sha256: str


@dataclass(frozen=True)
class RetrievalData:
    """A corpus, queries, and for each query the documents that answer it, each with how well."""

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
        """Whether there is something to learn from."""
        return "train" in self.splits


LocalData = StsData | PairData | RerankingData | SummaryData | RetrievalData | LabelData
