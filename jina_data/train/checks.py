"""Finds out whether a run can learn from its rows, and writes the warnings of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jina_data.errors import InputError
from jina_data.train.alike import fold
from jina_data.train.config import TrainConfig
from jina_data.train.sources import FloatArray, TrainSource
from jina_data.train.stream import Example, usable_examples

CHECKED_BATCHES = 5
"""Sources of up to this number of batches are read before training, to see whether they have any negatives."""

FEW_STEPS = 10
FIRST_LOSSES = 10
"""Steps after which a loss of 0 is reported."""
ALIKE_SHARE = 0.5
"""Share of rows, above which it is reported that they share texts with other rows of their batches."""
STATIC_RATE = 1e-4
"""A static model hardly learns at a lower learning rate."""


def learnable_rates(
    sources: Sequence[TrainSource], rates: FloatArray, config: TrainConfig
) -> tuple[FloatArray, list[str]]:
    """Return the rates of S sources, (S,), with 0 for those from which nothing can be learned, and warnings.

    Nothing can be learned from a source whose rows are negatives of each other, if all have an equal text.

    Raises:
        InputError: nothing can be learned from any source.
    """
    if config.phase == "mlm":
        return rates, []
    n_checked = CHECKED_BATCHES * config.batch_size
    reasons = {
        number: reason
        for number, source in enumerate(sources)
        if rates[number] and source.in_batch and source.n_rows <= n_checked
        if (reason := _why_unlearnable(source))
    }
    kept = np.array([0.0 if number in reasons else rate for number, rate in enumerate(rates)])
    if not kept.any():
        raise InputError(
            f"there is nothing to learn: {'; '.join(reasons.values())}. A row needs other texts in its batch as "
            "negatives. Add rows with other texts, or train triplets with hard negatives"
        )
    return kept / kept.sum(), [f"{reason}; it is left out" for reason in reasons.values()]


def _why_unlearnable(source: TrainSource) -> str:
    """Return why nothing can be learned from a source, "" if something can."""
    shared: set[str] | None = None
    n_usable = 0
    for example in _examples(source):
        n_usable += 1
        texts = {fold(example.anchor), fold(example.positive)}
        shared = texts if shared is None else shared & texts
        if example.negatives or not shared:
            return ""
    if not n_usable:
        return ""  # reading the source raises an error that names the roles
    if n_usable == 1:
        return f"source {source.name!r} has only 1 row with texts"
    return f"source {source.name!r} has the same text in all of its {n_usable:,} rows"


def _examples(source: TrainSource) -> Iterator[Example]:
    for unit in source.units:
        table = source.read(unit)
        yield from usable_examples(source, table, np.arange(table.num_rows))


def start_warnings(
    sources: Sequence[TrainSource], rates: FloatArray, config: TrainConfig, *, steps: int, is_static: bool, rate: float
) -> list[str]:
    """Return the warnings that are known before the first step."""
    warnings = []
    small = [
        source for source, share in zip(sources, rates, strict=True) if share and source.n_rows < config.batch_size
    ]
    if small and config.phase != "mlm":
        named = ", ".join(f"{source.name} {source.n_rows:,}" for source in small[:5])
        more = f" and {len(small) - 5:,} more" if len(small) > 5 else ""
        warnings.append(
            f"sources with fewer rows than a batch of {config.batch_size:,}: {named}{more}. Their batches hold only "
            "their rows, so texts have fewer negatives"
        )
    if config.steps is None and steps < FEW_STEPS:
        warnings.append(
            f"the run has {steps:,} step{'s' if steps > 1 else ''}, so the model hardly changes. Raise --epochs, lower "
            "--batch-size, or add rows"
        )
    if is_static and rate < STATIC_RATE:
        warnings.append(
            f"a static model hardly learns at a learning rate of {rate:g}; leave --learning-rate out, or use 0.003 to "
            "0.03"
        )
    return warnings


def end_warnings(source_rows: Sequence[Mapping[str, Any]], losses: Sequence[float]) -> list[str]:
    """Return the warnings that are known after the last step."""
    warnings = []
    if _is_zero(losses[:FIRST_LOSSES]):
        warnings.append(
            "the loss is 0 from the first step, so nothing was learned: no row had a text to tell its own from"
        )
    for row in source_rows:
        if row["used"] and row["alike"] > ALIKE_SHARE * row["used"]:
            warnings.append(
                f"source {row['source']!r}: {row['alike']:,} of {row['used']:,} rows share a text with other rows of "
                "their batch, which are not their negatives. If the answers are labels or repeat, train triplets with "
                "hard negatives (jina-data mine, --no-in-batch), or remove duplicates with jina-data clean"
            )
    return warnings


class ZeroLossWatch:
    """Reports once if the loss is 0 in all of the first steps of a session."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._losses: list[float] = []

    def add(self, loss: float) -> str:
        """Add the loss of a step; return a warning, or ""."""
        if len(self._losses) >= min(FIRST_LOSSES, self._steps - 1):
            return ""
        self._losses.append(loss)
        is_last = len(self._losses) == min(FIRST_LOSSES, self._steps - 1)
        if not is_last or not _is_zero(self._losses):
            return ""
        return f"warning: the loss is 0 in the first {len(self._losses):,} steps: nothing is learned"


def _is_zero(losses: Sequence[float]) -> bool:
    """Return whether all losses are 0, up to rounding."""
    return bool(losses) and bool(np.all(np.abs(np.asarray(losses, np.float64)) < 1e-7))
