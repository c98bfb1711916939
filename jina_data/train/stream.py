"""Streams the rows of a source endlessly from disk, in a seeded order; the position is three numbers.

The row groups of a source are shuffled and split into windows, and then the rows of each window are shuffled. Both
orders depend only on seed, source and epoch, so that a stream can continue at any position without reading the rows
before its window.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jina_data.errors import InputError
from jina_data.train.sources import TrainSource, Unit
from jina_data.train.texts import as_lists

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
        table = _joined([self.source.read(unit) for unit in units])
        seed = [*self.seed, position.epoch, position.window]
        order = np.random.default_rng(seed).permutation(table.num_rows)
        draws = np.random.default_rng([*seed, 1]).random(table.num_rows)
        return _examples(table, order[position.offset :], draws)


def is_usable(example: Example, source: TrainSource) -> bool:
    """Return whether a row has the texts that its source needs."""
    if "text" in source.roles:
        return bool(example.anchor.strip())
    has_negatives = "negative" not in source.roles or bool(example.negatives)
    return bool(example.anchor.strip() and example.positive.strip() and has_negatives)


def usable_examples(source: TrainSource, table: pa.Table, order: np.ndarray[Any, Any]) -> Iterator[Example]:
    """Yield the usable rows of a table of a source, in an order."""
    draws = np.zeros(table.num_rows)
    return (example for example in _examples(table, order, draws) if is_usable(example, source))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables; where only some have lists of texts, the texts of the others become lists of one."""
    names = tables[0].column_names
    mixed = {name for name in names if len({table.schema.field(name).type for table in tables}) > 1}
    return pa.concat_tables(
        pa.table({name: as_lists(table[name].combine_chunks()) if name in mixed else table[name] for name in names})
        for table in tables
    )


def _drawn(texts: str | list[str | None] | None, draw: float) -> str:
    """Return a text, or one of several texts that are not blank, by a number from 0 to below 1; "" if there is none."""
    if isinstance(texts, list):
        usable = [text for text in texts if text and text.strip()]
        return usable[int(draw * len(usable))] if usable else ""
    return texts or ""


def _examples(table: pa.Table, order: np.ndarray[Any, Any], draws: np.ndarray[Any, Any]) -> Iterator[Example]:
    """Yield the rows of a table in an order; of several anchors or positives of a row, one is drawn."""
    for start in range(0, len(order), _SLICE_ROWS):
        rows = table.take(pa.array(order[start : start + _SLICE_ROWS])).to_pydict()
        anchors = rows["anchor"]
        positives = rows.get("positive") or [""] * len(anchors)
        negatives = rows.get("negatives") or [()] * len(anchors)
        drawn = draws[order[start : start + _SLICE_ROWS]].tolist()
        for anchors_of, positives_of, texts, draw in zip(anchors, positives, negatives, drawn, strict=True):
            anchor, positive = _drawn(anchors_of, draw), _drawn(positives_of, draw)
            own = (positive, anchor)
            kept = tuple(dict.fromkeys(text for text in texts or () if text and text.strip() and text not in own))
            yield Example(anchor, positive, kept)
