"""Streams the rows of a source endlessly from disk, in a seeded order; the position is three numbers.

The row groups of a source are shuffled and split into windows, and then the rows of each window are shuffled. Both
orders depend only on seed, source and epoch, so that a stream can continue at any position without reading the rows
before its window.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jina_data.errors import InputError
from jina_data.train.sources import TrainSource, Unit

_SLICE_ROWS = 512


class Example(NamedTuple):
    """One row; a document is an anchor without a positive."""

    anchor: str
    positive: str = ""
    negatives: tuple[str, ...] = ()


@dataclass
class Position:
    """The position of a stream: epoch, window of the epoch, and row of the window."""

    epoch: int = 0
    window: int = 0
    offset: int = 0


class Stream:
    """Streams the rows of a source endlessly, in another order in each epoch.

    Rows without an anchor, a positive or, for triplets, a negative are skipped and counted in `n_unusable`. Negatives
    that equal the anchor or the positive are ignored.
    """

    def __init__(self, source: TrainSource, *, seed: int, window_rows: int) -> None:
        self.source = source
        self.seed = [seed, zlib.crc32(source.name.encode())]
        self.window_rows = window_rows
        self.position = Position()
        self.n_unusable = 0
        self._rows: Iterator[Example] | None = None
        self._has_usable_rows = False

    def state(self) -> dict[str, int]:
        """Return the position and the count of unusable rows, for JSON."""
        return {**vars(self.position), "n_unusable": self.n_unusable}

    def restore(self, state: dict[str, int]) -> None:
        """Restore a state."""
        self.position = Position(state["epoch"], state["window"], state["offset"])
        self.n_unusable = state["n_unusable"]
        self._rows, self._has_usable_rows = None, True

    def take(self) -> Example:
        """Return the next usable row.

        Raises:
            InputError: the source has no usable row.
        """
        while True:
            if self._rows is None:
                self._rows = self._window()
            for example in self._rows:
                self.position.offset += 1
                if is_usable(example, self.source):
                    self._has_usable_rows = True
                    return example
                self.n_unusable += self.position.epoch == 0
            self._next_window()

    def _next_window(self) -> None:
        position = self.position
        position.window, position.offset, self._rows = position.window + 1, 0, None
        if position.window == len(self._windows(position.epoch)):
            position.epoch, position.window = position.epoch + 1, 0
            if not self._has_usable_rows:
                roles = ", ".join(self.source.roles)
                raise InputError(f"source {self.source.name!r} has no row with texts for {roles}. Name other columns")

    def _windows(self, epoch: int) -> list[list[Unit]]:
        """Return the units of an epoch in shuffled order, split into windows of `window_rows` rows or a little more."""
        units = self.source.units
        windows: list[list[Unit]] = []
        n_rows = self.window_rows
        for number in np.random.default_rng([*self.seed, epoch]).permutation(len(units)):
            if n_rows >= self.window_rows:
                windows.append([])
                n_rows = 0
            windows[-1].append(units[number])
            n_rows += units[number].n_rows
        return windows

    def _window(self) -> Iterator[Example]:
        """Return the remaining rows of the window at the position."""
        position = self.position
        units = self._windows(position.epoch)[position.window]
        table = pa.concat_tables([self.source.read(unit) for unit in units])
        order = np.random.default_rng([*self.seed, position.epoch, position.window]).permutation(table.num_rows)
        return _examples(table, order[position.offset :])


def is_usable(example: Example, source: TrainSource) -> bool:
    """Return whether a row has the texts that its source needs."""
    if "text" in source.roles:
        return bool(example.anchor.strip())
    has_negatives = "negative" not in source.roles or bool(example.negatives)
    return bool(example.anchor.strip() and example.positive.strip() and has_negatives)


def usable_examples(source: TrainSource, table: pa.Table, order: np.ndarray[Any, Any]) -> Iterator[Example]:
    """Yield the usable rows of a table of a source, in an order."""
    return (example for example in _examples(table, order) if is_usable(example, source))


def _examples(table: pa.Table, order: np.ndarray[Any, Any]) -> Iterator[Example]:
    for start in range(0, len(order), _SLICE_ROWS):
        rows = table.take(pa.array(order[start : start + _SLICE_ROWS])).to_pydict()
        anchors = rows["anchor"]
        positives = rows.get("positive") or [""] * len(anchors)
        negatives = rows.get("negatives") or [()] * len(anchors)
        for anchor, positive, texts in zip(anchors, positives, negatives, strict=True):
            own = (positive, anchor)
            kept = tuple(dict.fromkeys(text for text in texts or () if text and text.strip() and text not in own))
            yield Example(anchor or "", positive or "", kept)
