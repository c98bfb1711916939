"""Computes EasyNegation and HardNegation: whether a model separates "X" from "not X".

EasyNegation is the share of negatives for which cos(anchor, entailment) > cos(anchor, negative), HardNegation that for
which cos(anchor, entailment) > cos(entailment, negative). Both comparisons are strict: a tie is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import Embedder
from jina_data.errors import InputError
from jina_data.evaluate.intervals import FEW_TRIPLETS, newcombe, wilson
from jina_data.evaluate.output import model_labels
from jina_data.evaluate.triplets import Triplet
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import write_json

MEASURES = ("easy", "hard")
BATCH_TRIPLETS = 1024
RESAMPLES = 10_000
LEVEL = 0.95
ALL = "all"


@dataclass(frozen=True)
class Score:
    """A share of negatives with its 95 % interval: bootstrap, or Wilson for few triplets."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The share of errors."""
        return 1 - self.value


@dataclass(frozen=True)
class TripletGroup:
    """The scores of all models on a group of triplets: all, those of a source, or those of a kind."""

    by: str
    """all, source or kind."""
    name: str
    triplets: int
    negatives: int
    scores: Mapping[str, Mapping[str, Score]]
    """By model label, then by measure: `easy` and `hard`."""


@dataclass(frozen=True)
class Difference:
    """The score of the second model minus that of the first; significant if the interval does not contain 0."""

    first: str
    second: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class NegationReport:
    """The scores of models on negation triplets."""

    models: Mapping[str, str]
    """The `model_id` of each model by its label."""
    groups: Sequence[TripletGroup]
    differences: Sequence[Difference]
    unusable: int
    seed: int
    resamples: int

    @property
    def overall(self) -> TripletGroup:
        """The scores over all triplets."""
        return self.groups[0]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        report = asdict(self)
        for group in report["groups"]:
            for scores in group["scores"].values():
                for score in scores.values():
                    score["error"] = 1 - score["value"]
        report["versions"] = {name: metadata.version(name) for name in ("jina-data", "numpy")}
        return report

    def write(self, path: Path) -> None:
        """Write the report as JSON, atomically."""
        write_json(path, self.to_json())


@dataclass(frozen=True)
class TripletOutcomes:
    """For each of N triplets, the number of its negatives, and how many of them each model gets right."""

    negatives_N: npt.NDArray[np.int64]  # noqa: N815 (the shape)
    right_NMK: npt.NDArray[np.int64]  # noqa: N815
    """(N, models, measures)."""
    sources: list[str]
    kinds: list[str]


def evaluate_negation(
    triplets: Iterable[Triplet],
    models: Sequence[Embedder],
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> NegationReport:
    """Evaluate how well models separate negatives from entailments.

    Triplets are embedded in batches, and only the counts are kept. Whole triplets are resampled, because the negatives
    of a triplet are not independent; all models have the same resamples.

    Args:
        triplets: the triplets to evaluate on.
        models: the models to evaluate.
        labels: names of the models in the report; by default the shortest distinct names.
        seed: random seed of the resamples.
        resamples: number of bootstrap resamples.
        progress: receives the progress.

    Raises:
        InputError: there are no triplets.
        UsageError: there is no model, or a model occurs twice.
    """
    labels = model_labels([model.name for model in models]) if labels is None else list(labels)
    outcomes = _compare(triplets, models, progress or SilentProgress())
    if not len(outcomes.negatives_N):
        raise InputError("no triplets: each row needs an anchor, an entailment and a negative. Check the columns")
    rng = np.random.default_rng(seed)
    masks = [(ALL, ALL, np.ones(len(outcomes.negatives_N), np.bool_))]
    for by, names in (("source", outcomes.sources), ("kind", outcomes.kinds)):
        array = np.array(names)
        distinct = sorted(set(names))
        masks += [(by, name, array == name) for name in distinct] if len(distinct) > 1 else []
    groups = []
    differences: list[Difference] = []
    for by, name, mask in masks:
        group, resampled = _group(outcomes, mask, labels, by=by, name=name, rng=rng, resamples=resamples)
        groups.append(group)
        if by == ALL:
            differences = _differences(group, resampled, labels)
    unusable = int(getattr(triplets, "unusable", 0))
    ids = {label: model.model_id for label, model in zip(labels, models, strict=True)}
    return NegationReport(ids, groups, differences, unusable, seed, resamples)


def _compare(triplets: Iterable[Triplet], models: Sequence[Embedder], progress: Progress) -> TripletOutcomes:
    negatives: list[int] = []
    right: list[npt.NDArray[np.int64]] = []
    sources: list[str] = []
    kinds: list[str] = []
    with progress.task("evaluate negation", None) as task:
        for batch in _batches(triplets):
            negatives += [len(triplet.negatives) for triplet in batch]
            sources += [triplet.source for triplet in batch]
            kinds += [triplet.kind for triplet in batch]
            right.append(np.stack([right_of(batch, model) for model in models], axis=1))
            task.advance(len(batch))
    stacked = np.concatenate(right) if right else np.zeros((0, len(models), 2), np.int64)
    return TripletOutcomes(np.array(negatives, np.int64), stacked, sources, kinds)


def _batches(triplets: Iterable[Triplet]) -> Iterator[list[Triplet]]:
    stream = iter(triplets)
    while batch := list(islice(stream, BATCH_TRIPLETS)):
        yield batch


def right_of(batch: Sequence[Triplet], model: Embedder) -> npt.NDArray[np.int64]:
    """Return how many negatives of each of N triplets a model gets right, by measure (easy, hard): (N, 2)."""
    texts = [text for triplet in batch for text in (triplet.anchor, triplet.entailment, *triplet.negatives)]
    unique = list(dict.fromkeys(texts))
    row_of = {text: row for row, text in enumerate(unique)}
    vectors_TD = _unit(model.encode(unique))  # noqa: N806
    # One entry for each negative: the index of its triplet, and the rows of its three texts.
    triplet_of = np.repeat(np.arange(len(batch)), [len(triplet.negatives) for triplet in batch])
    anchors = np.array([row_of[triplet.anchor] for triplet in batch])[triplet_of]
    entailments = np.array([row_of[triplet.entailment] for triplet in batch])[triplet_of]
    negatives = np.array([row_of[text] for triplet in batch for text in triplet.negatives])
    anchor_entailment = _cosines(vectors_TD, anchors, entailments)
    out = np.zeros((len(batch), len(MEASURES)), np.int64)
    for column, others in enumerate((anchors, entailments)):
        np.add.at(out[:, column], triplet_of, anchor_entailment > _cosines(vectors_TD, others, negatives))
    return out


def _unit(vectors: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Scale vectors (T, D) to length 1 again, because of their rounding to half precision."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return unit


def _cosines(
    vectors_TD: npt.NDArray[np.float64],  # noqa: N803
    rows: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    # Rounded, so that equal texts tie whatever the order of the additions.
    products: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors_TD[rows], vectors_TD[others])
    return products.round(12)


def _group(
    outcomes: TripletOutcomes,
    mask: npt.NDArray[np.bool_],
    labels: Sequence[str],
    *,
    by: str,
    name: str,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[TripletGroup, npt.NDArray[np.float64]]:
    """Return the scores of a group, and its shares in every resample: (resamples, models, measures)."""
    negatives, right = outcomes.negatives_N[mask], outcomes.right_NMK[mask]
    n_triplets = len(negatives)
    total = int(negatives.sum())
    shares = right.sum(axis=0) / total
    # Triplets with the same counts are exchangeable, so a resample of N triplets is a multinomial draw of how often
    # each distinct row of counts occurs: exact, and cheap for any N.
    table = np.column_stack([negatives, right.reshape(n_triplets, -1)])
    patterns, counts = np.unique(table, axis=0, return_counts=True)
    frequencies = rng.multinomial(n_triplets, counts / n_triplets, size=resamples)
    sums = frequencies @ patterns
    resampled = (sums[:, 1:] / sums[:, :1]).reshape(resamples, *shares.shape)
    scores = {
        label: {
            measure: _share_score(shares[m, k], resampled[:, m, k], n_triplets) for k, measure in enumerate(MEASURES)
        }
        for m, label in enumerate(labels)
    }
    return TripletGroup(by, name, n_triplets, total, scores), resampled


def _share_score(value: float, resampled: npt.NDArray[np.float64], n_triplets: int) -> Score:
    """Return a share with its bootstrap interval; of few triplets, or if all resamples agree, with Wilson's."""
    if n_triplets >= FEW_TRIPLETS and resampled.min() < resampled.max():
        return _score(value, resampled)
    return Score(float(value), *wilson(float(value), n_triplets, LEVEL))


def _score(value: float, resampled: npt.NDArray[np.float64]) -> Score:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(float(value), float(low), float(high))


def _differences(group: TripletGroup, resampled: npt.NDArray[np.float64], labels: Sequence[str]) -> list[Difference]:
    differences = []
    for (m, first), (n, second) in combinations(enumerate(labels), 2):
        scores = {
            measure: _difference_score(
                group.scores[first][measure].value,
                group.scores[second][measure].value,
                resampled[:, n, k] - resampled[:, m, k],
                group.triplets,
            )
            for k, measure in enumerate(MEASURES)
        }
        differences.append(Difference(first, second, scores))
    return differences


def _difference_score(first: float, second: float, resampled: npt.NDArray[np.float64], n_triplets: int) -> Score:
    if n_triplets >= FEW_TRIPLETS:
        return _score(second - first, resampled)
    return Score(second - first, *newcombe(first, second, n_triplets, LEVEL))
