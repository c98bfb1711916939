"""The rows of a source in a seeded order, from disk, without end; where one stands is three numbers.

The row groups of a source are shuffled, and then the rows of some row groups at a time, as many as a window holds. Both
orders depend on seed, source and epoch alone, so that a position finds its row again without reading what came before.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jina_data.errors import InputError
from jina_data.train.sources import Source, Unit

_SLICE_ROWS = 512


class Example(NamedTuple):
    """One row: a document is an anchor alone."""

    anchor: str
    positive: str = ""
    negatives: tuple[str, ...] = ()


@dataclass
class Position:
    """Where a stream stands: how often it has been through its source, in which window, at which row of it."""

    epoch: int = 0
    window: int = 0
    offset: int = 0


class Stream:
    """Yields the rows of a source again and again, in another order each time.

    Rows without an anchor or a positive, with a negative that equals its positive, or that lack a negative where there
    should be some, are passed over and counted in `n_unusable`.
    """

    def __init__(self, source: Source, *, seed: int, window_rows: int) -> None:
        self.source = source
        self.seed = [seed, zlib.crc32(source.name.encode())]
        self.window_rows = window_rows
        self.position = Position()
        self.n_unusable = 0
        self._rows: Iterator[Example] | None = None
        self._found_any = False

    def state(self) -> dict[str, int]:
        """Return the position, as JSON has it."""
        return {**vars(self.position), "n_unusable": self.n_unusable}

    def restore(self, state: dict[str, int]) -> None:
        """Go to a position."""
        self.position = Position(state["epoch"], state["window"], state["offset"])
        self.n_unusable = state["n_unusable"]
        self._rows, self._found_any = None, True

    def take(self) -> Example:
        """Return the next usable row.

        Raises:
            InputError: the source has none.
        """
        while True:
            if self._rows is None:
                self._rows = self._window()
            for example in self._rows:
                self.position.offset += 1
                if self._is_usable(example):
                    self._found_any = True
                    return example
                self.n_unusable += self.position.epoch == 0
            self._next_window()

    def _next_window(self) -> None:
        at = self.position
        at.window, at.offset, self._rows = at.window + 1, 0, None
        if at.window == len(self._windows(at.epoch)):
            at.epoch, at.window = at.epoch + 1, 0
            if not self._found_any:
                roles = ", ".join(self.source.roles)
                raise InputError(f"source {self.source.name!r} has no row with texts for {roles}; name other columns")

    def _windows(self, epoch: int) -> list[list[Unit]]:
        """Return the units of an epoch in their order, cut into windows."""
        units = self.source.units
        windows: list[list[Unit]] = []
        held = self.window_rows
        for number in np.random.default_rng([*self.seed, epoch]).permutation(len(units)):
            if held >= self.window_rows:
                windows.append([])
                held = 0
            windows[-1].append(units[number])
            held += units[number].n_rows
        return windows

    def _window(self) -> Iterator[Example]:
        """Yield what is left of the window at the position."""
        at = self.position
        units = self._windows(at.epoch)[at.window]
        table = pa.concat_tables([self.source.read(unit) for unit in units])
        order = np.random.default_rng([*self.seed, at.epoch, at.window]).permutation(table.num_rows)
        return _examples(table, order[at.offset :])

    def _is_usable(self, example: Example) -> bool:
        if "text" in self.source.roles:
            return bool(example.anchor)
        has_negatives = "negative" not in self.source.roles or bool(example.negatives)
        return bool(example.anchor and example.positive and has_negatives)


def _examples(table: pa.Table, order: np.ndarray[Any, Any]) -> Iterator[Example]:
    for start in range(0, len(order), _SLICE_ROWS):
        rows = table.take(pa.array(order[start : start + _SLICE_ROWS])).to_pydict()
        anchors = rows["anchor"]
        positives = rows.get("positive") or [""] * len(anchors)
        negatives = rows.get("negatives") or [()] * len(anchors)
        for anchor, positive, some in zip(anchors, positives, negatives, strict=True):
            kept = tuple(dict.fromkeys(text for text in some or () if text and text not in (positive, anchor)))
            yield Example(anchor or "", positive or "", kept)
