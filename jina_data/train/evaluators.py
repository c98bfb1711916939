"""What a model is worth while it is trained: on a table of judged pairs, of triplets, or of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F

from jina_data.encoder.batches import token_batches
from jina_data.errors import UsageError
from jina_data.train.convert import read_table
from jina_data.train.models import TrainableModel
from jina_data.train.steps import Context

FloatArray = npt.NDArray[np.float64]

OTHER_NAMES = {"negative": ("negative_1", "negatives"), "score": ("similarity", "relatedness")}
KINDS = {
    "sts": (("sentence1", "sentence2", "score"),),
    "triplets": (("anchor", "positive", "negative"), ("anchor", "entailment", "negative")),
    "pairs": (("anchor", "positive"), ("anchor", "entailment"), ("query", "positive"), ("question", "answer")),
}
"""Columns that tell the kind of a table."""


@dataclass(frozen=True)
class EvalTable:
    """A table to evaluate on: its name, its kind and its texts, N of each column."""

    name: str
    kind: str
    texts: tuple[list[str], ...]
    scores: FloatArray | None = None


def read_eval(path: str) -> EvalTable:
    """Read a table for evaluation.

    `sts`: sentence1, sentence2 and score. `triplets`: anchor, positive (or entailment) and negative (the first of
    several). `pairs`: anchor and positive.

    Raises:
        InputError: it cannot be read.
        UsageError: its columns are of no kind.
    """
    table = read_table(path)
    names = {name: name for name in table.column_names}
    for wanted, others in OTHER_NAMES.items():
        for other in others:
            if other in names:
                names.setdefault(wanted, other)
    for kind, choices in KINDS.items():
        for columns in choices:
            if all(column in names for column in columns):
                return _table(Path(path).name.partition(".")[0], kind, [table[names[column]] for column in columns])
    raise UsageError(
        f"--eval {path} has the columns {', '.join(table.column_names)}; expected sentence1, sentence2 and score, or "
        "anchor and positive with or without negative"
    )


def _table(name: str, kind: str, columns: Sequence[pa.ChunkedArray]) -> EvalTable:
    texts = columns[:2] if kind == "sts" else columns
    lists = tuple([_first(value) for value in column.to_pylist()] for column in texts)
    scores = np.array(columns[2].to_pylist(), np.float64) if kind == "sts" else None
    return EvalTable(name, kind, lists, scores)


def _first(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value or "")


def evaluate(
    trainee: TrainableModel, table: EvalTable, *, max_length: int, token_budget: int, cast: Context
) -> dict[str, float]:
    """Return the scores of a model on a table, from 0 to 1, by name.

    `sts`: Spearman's correlation of cosine and judgement. `triplets`: how often the positive is nearer than the
    negative. `pairs`: how often the own positive is the nearest of all, and the mean reciprocal of its rank.
    """
    was_training = trainee.module.training
    trainee.module.eval()
    try:
        first, second, *rest = (
            _unit(trainee, texts, max_length=max_length, token_budget=token_budget, cast=cast) for texts in table.texts
        )
    finally:
        trainee.module.train(was_training)
    near = (first * second).sum(1)
    if table.kind == "sts":
        assert table.scores is not None
        return {f"{table.name}/spearman": spearman(near, table.scores)}
    if table.kind == "triplets":
        return {f"{table.name}/accuracy": float((near > (first * rest[0]).sum(1)).mean())}
    ranks = np.array([_rank(second @ one, row) for row, one in enumerate(first)])
    return {f"{table.name}/accuracy": float((ranks == 1).mean()), f"{table.name}/mrr": float((1 / ranks).mean())}


def _rank(cosines: FloatArray, own: int) -> int:
    """Return 1 + how many are nearer than the own one; all come from one product, so that equal ones are equal."""
    return 1 + int((cosines > cosines[own]).sum())


def spearman(some: FloatArray, others: FloatArray) -> float:
    """Return Spearman's rank correlation, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(some), rankdata(others))[0, 1])


def _unit(
    trainee: TrainableModel, texts: Sequence[str], *, max_length: int, token_budget: int, cast: Context
) -> FloatArray:
    """Return the vectors of N texts, (N, D), of length 1."""
    ids = trainee.tokenize(texts, max_length)
    out: FloatArray | None = None
    with torch.inference_mode(), cast():
        for positions in token_batches(np.array([len(one) for one in ids], np.int64), token_budget=token_budget):
            part = F.normalize(trainee.embed([ids[position] for position in positions]).double(), dim=-1)
            found = part.cpu().numpy()
            out = np.empty((len(texts), found.shape[1])) if out is None else out
            out[positions] = found
    return out if out is not None else np.empty((0, 0))
