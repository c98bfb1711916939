"""Surveys all rows before the build: types, nulls, row counts, sensitive content, and examples for the card."""

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
from jina_data.publish.facts import PublishableRun
from jina_data.publish.layout import row_texts
from jina_data.publish.scan import Scan
from jina_data.publish.split import KeyWriter
from jina_data.read import unite_schemas

EXAMPLES = 3


@dataclass
class Survey:
    """The result of a survey: schema, row counts, nulls, findings and examples."""

    source_column: str
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    rows: dict[str, int] = field(default_factory=dict)
    nulls: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    scan: Scan = field(default_factory=Scan)
    examples: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, split: str) -> None:
        """Add rows of a split."""
        self.schema = unite_schemas([self.schema, batch.schema])
        self.rows[split] = self.rows.get(split, 0) + batch.num_rows
        self.nulls.update({name: batch.column(name).null_count for name in batch.schema.names})
        self.by_source.update(batch.column(self.source_column).to_pylist())
        flagged = self.scan.check(batch)
        self._keep_examples(batch, flagged)

    def _keep_examples(self, batch: pa.RecordBatch, flagged: Collection[int]) -> None:
        clean = (row for row in range(batch.num_rows) if row not in flagged)
        for row in clean:
            if len(self.examples) >= EXAMPLES:
                return
            self.examples.append(batch.slice(row, 1))


def included_rows(run: PublishableRun, split: str, excluded: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a split without the rows of excluded sources, which are given by their public names."""
    for batch in run.batches(split):
        mask = pc.invert(pc.is_in(batch.column(run.source_column), pa.array(sorted(excluded), pa.string())))
        included = batch.filter(mask) if excluded else batch
        if included.num_rows:
            yield included


def survey_rows(run: PublishableRun, excluded: Collection[str], keys: Path | None, task: Task) -> Survey:
    """Survey all rows; with `keys`, write the keys of their texts to this path.

    Raises:
        InputError: a column has a type that datasets of the Hub do not support.
    """
    result = Survey(run.source_column)
    writer = KeyWriter(keys) if keys is not None else None
    for split in run.splits:
        result.rows[split] = 0
        for batch in included_rows(run, split, excluded):
            result.add(batch, split)
            if writer is not None:
                writer.add(row_texts(batch, run.roles))
            task.advance(batch.num_rows)
    if writer is not None:
        writer.close()
    check_types(result.schema)
    return result


def check_types(schema: pa.Schema) -> None:
    """Make sure that `datasets` can load all columns.

    Raises:
        InputError: `datasets` does not support the type of a column.
    """
    from datasets import Features

    for column in schema:
        try:
            Features.from_arrow_schema(pa.schema([column]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"column {column.name!r} has the type {column.type}, which datasets of the Hub do not support "
                f"({error}). Clean again without it: add `- select: {{drop: [{column.name}]}}` to the recipe"
            ) from None


def example_rows(tables: Sequence[pa.Table], max_chars: int) -> list[Mapping[str, Any]]:
    """Return example rows for the card, with long texts truncated."""
    rows = [row for table in tables for row in table.to_pylist()[:1]]
    return [{name: _truncate(value, max_chars) for name, value in row.items()} for row in rows]


def _truncate(value: Any, max_chars: int) -> Any:
    if isinstance(value, str) and len(value) > max_chars:
        return f"{value[:max_chars]}..."
    return value
