"""Evaluates a model during training, on a table of scored pairs, triplets or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F

from jina_data.embed.prompts import ModelPrompts
from jina_data.encoder.batches import token_batches
from jina_data.errors import UsageError
from jina_data.train.convert import read_table
from jina_data.train.models import TrainableModel
from jina_data.train.steps import Autocast

FloatArray = npt.NDArray[np.float64]

OTHER_NAMES = {"negative": ("negative_1", "negatives"), "score": ("similarity", "relatedness")}
KINDS = {
    "sts": (("sentence1", "sentence2", "score"),),
    "triplets": (("anchor", "positive", "negative"), ("anchor", "entailment", "negative")),
    "pairs": (("anchor", "positive"), ("anchor", "entailment"), ("query", "positive"), ("question", "answer")),
}
"""Columns that determine the kind of a table."""


@dataclass(frozen=True)
class EvalTable:
    """A table to evaluate on: name, kind, and N texts of each column."""

    name: str
    kind: str
    texts: tuple[list[str], ...]
    scores: FloatArray | None = None


def read_eval(path: str) -> EvalTable:
    """Read a table for evaluation.

    `sts`: sentence1, sentence2 and score. `triplets`: anchor, positive (or entailment) and negative (of several,
    the first). `pairs`: anchor and positive.

    Raises:
        InputError: the table cannot be read.
        UsageError: the columns match no kind.
    """
    table = read_table(path)
    names = {name: name for name in table.column_names}
    for standard, aliases in OTHER_NAMES.items():
        for alias in aliases:
            if alias in names:
                names.setdefault(standard, alias)
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
    model: TrainableModel,
    table: EvalTable,
    *,
    max_length: int,
    token_budget: int,
    cast: Autocast,
    prompts: ModelPrompts | None = None,
) -> dict[str, float]:
    """Return the scores of a model on a table, from 0 to 1, by name.

    `sts`: Spearman correlation of cosine similarity and score. `triplets`: share of rows with the positive closer than
    the negative. `pairs`: share of rows whose positive is the closest of all positives, and its mean reciprocal rank.
    Anchors get the prompt for queries, positives and negatives that for documents, and sentences the default prompt.
    """
    prompts = prompts or ModelPrompts()
    of_column = [prompts.default] * 2 if table.kind == "sts" else [prompts.query, prompts.document, prompts.document]
    columns = [[prompt + text for text in texts] for prompt, texts in zip(of_column, table.texts, strict=False)]
    was_training = model.module.training
    model.module.eval()
    try:
        first, second, *rest = (
            _unit(model, texts, max_length=max_length, token_budget=token_budget, cast=cast) for texts in columns
        )
    finally:
        model.module.train(was_training)
    cosines = (first * second).sum(1)
    if table.kind == "sts":
        assert table.scores is not None
        return {f"{table.name}/spearman": spearman(cosines, table.scores)}
    if table.kind == "triplets":
        return {f"{table.name}/accuracy": float((cosines > (first * rest[0]).sum(1)).mean())}
    ranks = np.array([_rank(second @ anchor, row) for row, anchor in enumerate(first)])
    return {f"{table.name}/accuracy": float((ranks == 1).mean()), f"{table.name}/mrr": float((1 / ranks).mean())}


def _rank(cosines: FloatArray, target: int) -> int:
    """Return the rank of the target. All cosines are from one product, so that equal texts have equal cosines."""
    return 1 + int((cosines > cosines[target]).sum())


def spearman(values: FloatArray, others: FloatArray) -> float:
    """Return Spearman's rank correlation; ties get their mean rank."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(values), rankdata(others))[0, 1])


def _unit(
    model: TrainableModel, texts: Sequence[str], *, max_length: int, token_budget: int, cast: Autocast
) -> FloatArray:
    """Return the vectors of N texts, (N, D), scaled to length 1."""
    ids = model.tokenize(texts, max_length)
    out: FloatArray | None = None
    with torch.inference_mode(), cast():
        for positions in token_batches(np.array([len(tokens) for tokens in ids], np.int64), token_budget=token_budget):
            part = F.normalize(model.embed([ids[position] for position in positions]).double(), dim=-1)
            vectors = part.cpu().numpy()
            out = np.empty((len(texts), vectors.shape[1])) if out is None else out
            out[positions] = vectors
    return out if out is not None else np.empty((0, 0))
