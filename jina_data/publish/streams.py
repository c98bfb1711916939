"""Streams of record batches: put side by side, gathered into tables of a size."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from jina_data.errors import LawError


def side_by_side(left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put the columns of two streams with the same rows side by side, however they are cut into batches.

    Columns of the right one that the left one has as well are left out. Never more than a batch of each is held.

    Raises:
        LawError: one stream has more rows than the other.
    """
    other = _Cut(right)
    for batch in left:
        at = 0
        while at < batch.num_rows:
            beside = other.take(batch.num_rows - at)
            if beside is None:
                raise LawError("the ledger has fewer kept rows than data/")
            here = batch.slice(at, beside.num_rows)
            at += beside.num_rows
            added = [name for name in beside.schema.names if name not in here.schema.names]
            yield pa.RecordBatch.from_arrays(
                [*here.columns, *(beside.column(name) for name in added)], names=[*here.schema.names, *added]
            )
    if other.take(1) is not None:
        raise LawError("the ledger has more kept rows than data/")


class _Cut:
    """A stream of which as many rows are taken as are wanted, or fewer."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.batches = batches
        self.rest: pa.RecordBatch | None = None

    def take(self, n_rows: int) -> pa.RecordBatch | None:
        """Return up to so many rows, at least one; None at the end."""
        while self.rest is None or not self.rest.num_rows:
            self.rest = next(self.batches, None)
            if self.rest is None:
                return None
        taken = self.rest.slice(0, n_rows)
        self.rest = self.rest.slice(taken.num_rows)
        return taken
