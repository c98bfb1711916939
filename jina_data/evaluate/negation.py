"""EasyNegation and HardNegation: does a model see that "not X" is no neighbour of "X"?

EasyNegation is the share of negatives for which cos(anchor, entailment) > cos(anchor, negative), HardNegation that for
which cos(anchor, entailment) > cos(entailment, negative). Both are strict: a tie is an error.
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
from jina_data.evaluate.output import model_labels
from jina_data.evaluate.triplets import Triplet
from jina_data.progress import Progress, Quiet
from jina_data.run.files import write_json

MEASURES = ("easy", "hard")
BATCH_TRIPLETS = 1024
RESAMPLES = 10_000
LEVEL = 0.95
ALL = "all"


@dataclass(frozen=True)
class Score:
    """A share of negatives, with the interval in which it lies in 95 % of the resamples."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The share that the model gets wrong."""
        return 1 - self.value


@dataclass(frozen=True)
class Group:
    """The scores of all models over some triplets: all, those of a source, or those of a kind."""

    by: str
    """all, source or kind."""
    name: str
    triplets: int
    negatives: int
    scores: Mapping[str, Mapping[str, Score]]
    """By the label of the model, then `easy` and `hard`."""


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another, over the same resamples; an interval without 0 is a difference."""

    first: str
    second: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class NegationReport:
    """What models make of negation."""

    models: Mapping[str, str]
    """The label of each model, and what names it with all that its vectors depend on."""
    groups: Sequence[Group]
    differences: Sequence[Difference]
    unusable: int
    seed: int
    resamples: int

    @property
    def overall(self) -> Group:
        """The scores over all triplets."""
        return self.groups[0]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        said = asdict(self)
        for holder in (*said["groups"],):
            for scores in holder["scores"].values():
                for score in scores.values():
                    score["error"] = 1 - score["value"]
        said["versions"] = {name: metadata.version(name) for name in ("jina-data", "numpy")}
        return said

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_json(path, self.to_json())


@dataclass(frozen=True)
class _Outcome:
    """What the models did with each of N triplets: how many negatives it has, and how many of them each got right."""

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
    """Measure how models tell negatives from entailments.

    Triplets are embedded a batch at a time; kept of each is only what every model got right. Triplets are resampled
    whole, since the negatives of one are no independent observations; all models see the same resamples.

    Args:
        triplets: what to measure on.
        models: what to measure.
        labels: what to call the models in the report; by default as short as their names allow.
        seed: of the resamples.
        resamples: how many of them.
        progress: where to tell how far it is.

    Raises:
        InputError: there is no triplet.
        UsageError: no model is named, or one twice.
    """
    labels = model_labels([model.name for model in models]) if labels is None else list(labels)
    outcome = _compare(triplets, models, progress or Quiet())
    if not len(outcome.negatives_N):
        raise InputError("no triplets: each row needs an anchor, an entailment and a negative. Look at the columns")
    rng = np.random.default_rng(seed)
    chosen = [(ALL, ALL, np.ones(len(outcome.negatives_N), np.bool_))]
    for by, names in (("source", outcome.sources), ("kind", outcome.kinds)):
        array = np.array(names)
        found = sorted(set(names))
        chosen += [(by, name, array == name) for name in found] if len(found) > 1 else []
    groups = []
    differences: list[Difference] = []
    for by, name, mask in chosen:
        group, drawn = _group(outcome, mask, labels, by=by, name=name, rng=rng, resamples=resamples)
        groups.append(group)
        if by == ALL:
            differences = _differences(group, drawn, labels)
    unusable = int(getattr(triplets, "unusable", 0))
    ids = {label: model.model_id for label, model in zip(labels, models, strict=True)}
    return NegationReport(ids, groups, differences, unusable, seed, resamples)


def _compare(triplets: Iterable[Triplet], models: Sequence[Embedder], progress: Progress) -> _Outcome:
    negatives: list[int] = []
    right: list[npt.NDArray[np.int64]] = []
    sources: list[str] = []
    kinds: list[str] = []
    with progress.task("evaluate negation", None) as task:
        for batch in _batches(triplets):
            negatives += [len(one.negatives) for one in batch]
            sources += [one.source for one in batch]
            kinds += [one.kind for one in batch]
            right.append(np.stack([right_of(batch, model) for model in models], axis=1))
            task.advance(len(batch))
    stacked = np.concatenate(right) if right else np.zeros((0, len(models), 2), np.int64)
    return _Outcome(np.array(negatives, np.int64), stacked, sources, kinds)


def _batches(triplets: Iterable[Triplet]) -> Iterator[list[Triplet]]:
    stream = iter(triplets)
    while batch := list(islice(stream, BATCH_TRIPLETS)):
        yield batch


def right_of(batch: Sequence[Triplet], model: Embedder) -> npt.NDArray[np.int64]:
    """Return for each of N triplets how many of its negatives a model gets right, (N, 2): easily, and hardly."""
    texts = [text for one in batch for text in (one.anchor, one.entailment, *one.negatives)]
    unique = list(dict.fromkeys(texts))
    place = {text: position for position, text in enumerate(unique)}
    vectors_TD = _unit(model.encode(unique))  # noqa: N806
    owner = np.repeat(np.arange(len(batch)), [len(one.negatives) for one in batch])
    anchors = np.array([place[one.anchor] for one in batch])[owner]
    entailments = np.array([place[one.entailment] for one in batch])[owner]
    negatives = np.array([place[text] for one in batch for text in one.negatives])
    anchor_entailment = _cosines(vectors_TD, anchors, entailments)
    out = np.zeros((len(batch), len(MEASURES)), np.int64)
    for column, left in enumerate((anchors, entailments)):
        np.add.at(out[:, column], owner, anchor_entailment > _cosines(vectors_TD, left, negatives))
    return out


def _unit(vectors: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Scale vectors (T, D) to length 1 once more: half precision leaves them a little off."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return unit


def _cosines(
    vectors_TD: npt.NDArray[np.float64],  # noqa: N803
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    # Rounded, so that the same texts tie whatever the order in which products are added.
    products: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors_TD[left], vectors_TD[right])
    return products.round(12)


def _group(
    outcome: _Outcome,
    mask: npt.NDArray[np.bool_],
    labels: Sequence[str],
    *,
    by: str,
    name: str,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Group, npt.NDArray[np.float64]]:
    """Return the scores over some triplets, and the shares in every resample: (resamples, models, measures)."""
    negatives, right = outcome.negatives_N[mask], outcome.right_NMK[mask]
    n_triplets = len(negatives)
    total = int(negatives.sum())
    shares = right.sum(axis=0) / total
    # Resampling N triplets is drawing how often each pattern of outcomes comes up: exact, and cheap for any N.
    table = np.column_stack([negatives, right.reshape(n_triplets, -1)])
    patterns, counts = np.unique(table, axis=0, return_counts=True)
    drawn = rng.multinomial(n_triplets, counts / n_triplets, size=resamples)
    sums = drawn @ patterns
    resampled = (sums[:, 1:] / sums[:, :1]).reshape(resamples, *shares.shape)
    scores = {
        label: {measure: _score(shares[m, k], resampled[:, m, k]) for k, measure in enumerate(MEASURES)}
        for m, label in enumerate(labels)
    }
    return Group(by, name, n_triplets, total, scores), resampled


def _score(value: float, resampled: npt.NDArray[np.float64]) -> Score:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(float(value), float(low), float(high))


def _differences(group: Group, drawn: npt.NDArray[np.float64], labels: Sequence[str]) -> list[Difference]:
    found = []
    for (m, first), (n, second) in combinations(enumerate(labels), 2):
        scores = {
            measure: _score(
                group.scores[second][measure].value - group.scores[first][measure].value,
                drawn[:, n, k] - drawn[:, m, k],
            )
            for k, measure in enumerate(MEASURES)
        }
        found.append(Difference(first, second, scores))
    return found
