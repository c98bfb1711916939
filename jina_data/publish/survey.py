"""A first look at all rows: their types, nulls and numbers, what should not go public, and examples for the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.errors import InputError
from jina_data.progress import Task
from jina_data.publish.facts import Publishable
from jina_data.publish.layout import row_texts
from jina_data.publish.scan import Scan
from jina_data.publish.split import KeyWriter
from jina_data.read import unite_or_none

EXAMPLES = 3


@dataclass
class Survey:
    """What was seen."""

    source_column: str
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    rows: dict[str, int] = field(default_factory=dict)
    nulls: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    scan: Scan = field(default_factory=Scan)
    examples: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, split: str) -> None:
        """Take in some rows of a split."""
        united = unite_or_none(self.schema, batch.schema)
        if united is None:
            raise InputError(f"the rows have columns whose types do not unite: {self.schema} and {batch.schema}")
        self.schema = united
        self.rows[split] = self.rows.get(split, 0) + batch.num_rows
        self.nulls.update({name: batch.column(name).null_count for name in batch.schema.names})
        self.by_source.update(batch.column(self.source_column).to_pylist())
        flagged = self.scan.look(batch)
        self._keep_examples(batch, flagged)

    def _keep_examples(self, batch: pa.RecordBatch, flagged: Collection[int]) -> None:
        clean = (row for row in range(batch.num_rows) if row not in flagged)
        for row in clean:
            if len(self.examples) >= EXAMPLES:
                return
            self.examples.append(batch.slice(row, 1))


def kept(run: Publishable, split: str, excluded: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a split without those of some sources, named as they are shown."""
    for batch in run.batches(split):
        mask = pc.invert(pc.is_in(batch.column(run.source_column), pa.array(sorted(excluded), pa.string())))
        left = batch.filter(mask) if excluded else batch
        if left.num_rows:
            yield left


def survey(run: Publishable, excluded: Collection[str], keys: Path | None, task: Task) -> Survey:
    """Look at all rows; with `keys`, write there the keys of their texts.

    Raises:
        InputError: a column is of a type that data sets of the Hub cannot hold.
    """
    seen = Survey(run.source_column)
    writer = KeyWriter(keys) if keys is not None else None
    for split in run.splits:
        seen.rows[split] = 0
        for batch in kept(run, split, excluded):
            seen.add(batch, split)
            if writer is not None:
                writer.add(row_texts(batch, run.roles))
            task.advance(batch.num_rows)
    if writer is not None:
        writer.close()
    refuse_types(seen.schema)
    return seen


def refuse_types(schema: pa.Schema) -> None:
    """Refuse columns that `datasets` could not load.

    Raises:
        InputError: there is such a column.
    """
    from datasets import Features

    for column in schema:
        try:
            Features.from_arrow_schema(pa.schema([column]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"column {column.name!r} is {column.type}, which data sets of the Hub cannot hold ({error}). Clean "
                f"again and leave it out, with `- select: {{drop: [{column.name}]}}` in the recipe"
            ) from None


def example_rows(tables: Sequence[pa.Table], max_chars: int) -> list[Mapping[str, Any]]:
    """Return a few rows with long texts cut, for the card."""
    rows = [row for table in tables for row in table.to_pylist()[:1]]
    return [{name: _cut(value, max_chars) for name, value in row.items()} for row in rows]


def _cut(value: Any, max_chars: int) -> Any:
    if isinstance(value, str) and len(value) > max_chars:
        return f"{value[:max_chars]}..."
    return value
