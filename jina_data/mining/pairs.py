"""Reads the pairs and the corpus once, and numbers the distinct anchors and texts.

Texts that are equal after folding case and white space count as one text, spelled as in its first occurrence. The
corpus consists of all positives, in the order of the pairs, and then of the files of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.arrow.types import is_list
from jina_data.errors import InputError, UsageError
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.kernels.rank import Exclusions
from jina_data.mining.store import UNIT_ROWS, LongArray, write_texts
from jina_data.read import InputFile, all_ranges, sample_schema
from jina_data.read.model import ROW_BITS
from jina_data.roles import bind_roles, text_schema
from jina_data.run.files import remove
from jina_data.run.inputs import run_of_file
from jina_data.run.names import plain_name
from jina_data.run.sources import SourceLabels, count_rows_of

TableRows = tuple[pa.Table, LongArray]
"""Rows as strings, and their packed ids."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run on disk: P pairs, with A distinct anchors and C distinct texts in the corpus."""

    folder: Path

    @cached_property
    def anchor_of(self) -> LongArray:
        """The number of each pair's anchor, (P,)."""
        return np.asarray(np.load(self.folder / "anchor_of.npy", mmap_mode="r"))

    @cached_property
    def positive_of(self) -> LongArray:
        """The number of each pair's positive in the corpus, (P,)."""
        return np.asarray(np.load(self.folder / "positive_of.npy", mmap_mode="r"))

    @cached_property
    def anchor_in_corpus(self) -> LongArray:
        """The number of each anchor's text in the corpus, (A,); -1 if it is not in the corpus."""
        return np.asarray(np.load(self.folder / "anchor_in_corpus.npy", mmap_mode="r"))

    def __len__(self) -> int:
        return len(self.anchor_of)

    @property
    def n_units(self) -> int:
        """The number of units of pairs."""
        return -(-len(self) // UNIT_ROWS)

    def unit(self, number: int) -> pa.Table:
        """Return the pairs of a unit, with the columns of `PAIRS`."""
        with pq.ParquetFile(self.folder / "pairs.parquet") as stored:
            return stored.read_row_group(number)

    @cached_property
    def _by_anchor(self) -> tuple[LongArray, LongArray, LongArray]:
        """Return the positives of all anchors: start and stop of each anchor, and the numbers, ascending per anchor."""
        # Unique rows are sorted by anchor, then by positive, so the positives of an anchor are one range.
        pairs = np.unique(np.column_stack([self.anchor_of, self.positive_of]), axis=0)
        n_anchors = len(self.anchor_in_corpus)
        start, stop = (np.searchsorted(pairs[:, 0], np.arange(n_anchors), side) for side in ("left", "right"))
        return start, stop, np.ascontiguousarray(pairs[:, 1])

    def positives(self, start: int, stop: int) -> tuple[LongArray, LongArray]:
        """Return the positives of n anchors, concatenated, and the bounds of each anchor, (n + 1,)."""
        starts, stops, numbers = self._by_anchor
        bounds = np.concatenate([starts[start : start + 1], stops[start:stop]])
        return numbers[bounds[0] : bounds[-1]], bounds - bounds[0]

    def excluded(self, start: int, stop: int) -> Exclusions:
        """Return the texts that cannot be negatives of n anchors: their positives and the anchors themselves."""
        positives, bounds = self.positives(start, stop)
        lists = [
            np.unique(np.concatenate([positives[bounds[i] : bounds[i + 1]], [itself] if itself >= 0 else []]))
            for i, itself in enumerate(self.anchor_in_corpus[start:stop].tolist())
        ]
        counts = np.cumsum([0, *map(len, lists)])
        return Exclusions(counts[:-1], counts[1:], np.concatenate(lists).astype(np.int64))


def write_pairs(
    folder: Path,
    texts: Callable[[str], Path],
    *,
    inputs: Sequence[InputFile],
    corpus: Sequence[InputFile],
    roles: Mapping[str, Sequence[str]],
    limit: int | None,
    message: Callable[[str], None],
) -> Pairs:
    """Read the pairs and the corpus, and write them; `folder` is written last: if it exists, all is complete.

    Raises:
        InputError: a row cannot be read, or a text is missing; the message names file, row and column.
        UsageError: there is no column for a role.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    for path in (unfinished, texts("anchors"), texts("corpus")):
        remove(path)
    unfinished.mkdir(parents=True)
    anchor_keys, positive_keys = [_NO_KEYS], [_NO_KEYS]
    with pq.ParquetWriter(unfinished / "pairs.parquet", PAIRS, compression="zstd") as sink:
        for rows in _units(_read_pairs(inputs, roles, message), limit):
            sink.write_table(rows, row_group_size=UNIT_ROWS)
            anchor_keys.append(_keys(rows.column("anchor")))
            positive_keys.append(_keys(rows.column("positive")))
    anchors = TextNumbers.of(np.concatenate(anchor_keys))
    if not len(anchors.number_of):
        raise InputError(f"{', '.join(file.name for file in inputs)}: no pairs; expected at least one row")
    corpus_keys = [_keys(table.column("text")) for table, _ in _read_corpus(corpus, len(inputs), roles)]
    texts_of_corpus = TextNumbers.of(np.concatenate([*positive_keys, *corpus_keys]))
    n_pairs = len(anchors.number_of)
    np.save(unfinished / "anchor_of.npy", anchors.number_of)
    np.save(unfinished / "positive_of.npy", texts_of_corpus.number_of[:n_pairs])
    np.save(unfinished / "anchor_in_corpus.npy", texts_of_corpus.find(anchors.keys))
    stored = Pairs(unfinished)

    def rows_of_pairs(column: str) -> Iterator[tuple[pa.ChunkedArray, LongArray]]:
        for number in range(stored.n_units):
            rows = stored.unit(number)
            yield rows.column(column), rows.column("place").to_numpy()

    def rows_of_corpus() -> Iterator[tuple[pa.ChunkedArray, LongArray]]:
        yield from rows_of_pairs("positive")
        for table, row_ids in _read_corpus(corpus, len(inputs), roles):
            yield table.column("text"), row_ids

    _write_first(texts("anchors"), rows_of_pairs("anchor"), anchors)
    _write_first(texts("corpus"), rows_of_corpus(), texts_of_corpus)
    unfinished.replace(folder)
    return Pairs(folder)


PAIRS = pa.schema(
    [("anchor", pa.large_string()), ("positive", pa.large_string()), ("place", pa.int64()), ("source", pa.string())]
)
_NO_KEYS: KeyArray = np.zeros((0, 2), np.uint64)


def _keys(texts: pa.ChunkedArray) -> KeyArray:
    return content_keys([texts], case=True, whitespace=True)


@dataclass(frozen=True)
class TextNumbers:
    """The numbers of N texts; the M distinct texts are numbered in the order of their first occurrences."""

    number_of: LongArray
    """The number of each text, (N,)."""
    first: LongArray
    """The position of the first occurrence of each distinct text, ascending, (M,)."""
    keys: KeyArray
    """The keys of the distinct texts, (M, 2)."""

    @classmethod
    def of(cls, keys: KeyArray) -> TextNumbers:
        """Number texts by their keys, (N, 2)."""
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        ranked = keys[order]
        is_new = np.ones(len(keys), np.bool_)
        is_new[1:] = (ranked[1:] != ranked[:-1]).any(1)
        group = np.cumsum(is_new) - 1
        firsts = order[is_new]  # lexsort is stable, so the first of a group is its earliest occurrence
        by_occurrence = np.argsort(firsts)
        number = np.empty(len(firsts), np.int64)
        number[by_occurrence] = np.arange(len(firsts))
        number_of = np.empty(len(keys), np.int64)
        number_of[order] = number[group]
        first = firsts[by_occurrence]
        return cls(number_of, first, keys[first])

    def find(self, keys: KeyArray) -> LongArray:
        """Return the numbers of other texts by their keys, -1 for those that do not occur."""
        # The distinct texts come first and keep their numbers, so any higher number is a new text.
        both = TextNumbers.of(np.concatenate([self.keys, keys]))
        numbers = both.number_of[len(self.keys) :]
        return np.where(numbers < len(self.keys), numbers, -1)


def _write_first(folder: Path, rows: Iterator[tuple[pa.ChunkedArray, LongArray]], numbers: TextNumbers) -> None:
    """Write the first occurrence of each distinct text."""
    position = 0
    with write_texts(folder) as sink:
        for texts, row_ids in rows:
            low, high = np.searchsorted(numbers.first, (position, position + len(texts)))
            firsts = numbers.first[low:high] - position
            sink.add(texts.take(pa.array(firsts)).to_pylist(), row_ids[firsts])
            position += len(texts)


# ------------------------------------------------------------------------------------------------------- reading


def _units(tables: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Split rows into units of `UNIT_ROWS` rows (the last may be smaller), at most `limit` rows in all."""
    buffer: list[pa.Table] = []
    n_buffered, n_remaining = 0, limit if limit is not None else 2**62
    for table in tables:
        rows = table.slice(0, n_remaining)
        n_remaining -= rows.num_rows
        buffer.append(rows)
        n_buffered += rows.num_rows
        if n_buffered >= UNIT_ROWS:
            joined = pa.concat_tables(buffer)
            n_complete = n_buffered - n_buffered % UNIT_ROWS
            for start in range(0, n_complete, UNIT_ROWS):
                yield joined.slice(start, UNIT_ROWS)
            buffer, n_buffered = [joined.slice(n_complete)], n_buffered - n_complete
        if not n_remaining:
            break
    if n_buffered:
        yield pa.concat_tables(buffer)


def _read_pairs(
    inputs: Sequence[InputFile], roles: Mapping[str, Sequence[str]], message: Callable[[str], None]
) -> Iterator[pa.Table]:
    requested = {role: tuple(columns) for role, columns in roles.items() if role != "text"}
    run_labels = _sources_in_runs(inputs)
    for index, file in enumerate(inputs):
        schema = sample_schema(file)
        if not schema.names:
            raise InputError(f"{file.name} is empty; expected rows with an anchor and a positive")
        try:
            bound, source, notice = bind_roles(schema, requested)
        except UsageError as error:
            raise UsageError(f"{file.name}: {error}") from None
        if set(bound) < {"anchor", "positive"} or not {"anchor", "positive"} <= set(bound):
            raise UsageError(
                f"{file.name}: no columns for anchor and positive among {', '.join(schema.names)}. Name them: "
                "-c anchor=COLUMN -c positive=COLUMN"
            )
        if notice and not index:
            message(notice)
        columns = {"anchor": bound["anchor"][0], "positive": bound["positive"][0]}
        schema = text_schema(schema, tuple(columns.values()))
        for role, column in columns.items():
            if is_list(schema.field(column).type):
                raise UsageError(
                    f"{file.name}: column {column!r} ({role}) holds lists; expected one text in each row. To make a "
                    f"row of each item: --explode {column}"
                )
        file = replace(file, text_columns=tuple(columns.values()))  # noqa: PLW2901
        columns |= {"source": source} if source else {}
        for table, row_ids in _rows(file, schema, columns, index=index):
            first_row = int(row_ids[0]) & ((1 << ROW_BITS) - 1) if len(row_ids) else 0
            labels = run_labels.get(Path(file.name))
            names = labels[first_row : first_row + table.num_rows].to_names() if labels else None
            default = pa.array(names or [plain_name(file.name)] * table.num_rows, pa.large_string())
            sources = pc.coalesce(table.column("source"), default) if source else default
            yield pa.table(
                [table.column("anchor"), table.column("positive"), pa.array(row_ids), sources.cast(pa.string())],
                schema=PAIRS,
            )


def _sources_in_runs(inputs: Sequence[InputFile]) -> dict[Path, SourceLabels]:
    """Return the source of each row, for the files in data/ of a run."""
    sources: dict[Path, SourceLabels] = {}
    for file in inputs:
        path = Path(file.name)
        if not file.is_local or path in sources or (run := run_of_file(path)) is None:
            continue
        if (labels := run.labels()) is None:
            continue
        start = 0
        for shard in run.files:
            stop = start + count_rows_of(shard)
            sources[shard] = labels[start:stop]
            start = stop
    return sources


def _read_corpus(corpus: Sequence[InputFile], n_inputs: int, roles: Mapping[str, Sequence[str]]) -> Iterator[TableRows]:
    for index, file in enumerate(corpus):
        schema = sample_schema(file)
        column = _corpus_column(file, schema, roles)
        yield from _rows(file, schema, {"text": column}, index=n_inputs + index)


def _corpus_column(file: InputFile, schema: pa.Schema, roles: Mapping[str, Sequence[str]]) -> str:
    preferred = [*roles.get("text", ()), "text", "positive", *roles.get("positive", ())]
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    column = next((name for name in preferred if name in texts), texts[0] if len(texts) == 1 else None)
    if column is None:
        raise UsageError(
            f"{file.name}: cannot infer the column of the corpus texts. Name it with -c text=COLUMN; the file has: "
            f"{', '.join(schema.names) or 'none'}"
        )
    return column


def _rows(file: InputFile, schema: pa.Schema, columns: Mapping[str, str], *, index: int) -> Iterator[TableRows]:
    """Read columns of a file under the given names, with the packed ids of the rows.

    Raises:
        InputError: a row cannot be read, or a text of it is missing or blank.
    """
    first_row = 0
    for parsed in all_ranges(file, schema):
        for broken in parsed.unreadable[:1]:
            raise InputError(
                f"{file.name}, row {first_row + broken.row} (counted from 0) cannot be read: {broken.error}. Repair "
                "the file, or run jina-data clean first, which drops such rows"
            )
        values: dict[str, Any] = {}
        for name, column in columns.items():
            is_present = column in parsed.rows.column_names
            values[name] = parsed.rows.column(column) if is_present else pa.nulls(parsed.rows.num_rows, pa.string())
            if name != "source":
                _check_texts(values[name], file, column, first_row)
        yield (
            pa.table({name: texts.cast(pa.large_string()) for name, texts in values.items()}),
            np.arange(first_row, first_row + parsed.rows.num_rows) + (index << ROW_BITS),
        )
        first_row += parsed.row_count


def _check_texts(texts: Any, file: InputFile, column: str, first_row: int) -> None:
    """Raise `InputError` for the first text that is missing or blank."""
    for row, text in enumerate(texts.to_pylist()):
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{file.name}, row {first_row + row} (counted from 0): {column} is "
                f"{'missing' if text is None else repr(text)[:40]}; expected a text. Drop such rows first, for example "
                "with jina-data clean"
            )


def unpack_row_id(files: Sequence[InputFile], row_id: int) -> tuple[str, int]:
    """Return the name of a row's file, and its row in the file."""
    return plain_name(files[row_id >> ROW_BITS].name), row_id & ((1 << ROW_BITS) - 1)


def row_names(files: Sequence[InputFile], row_ids: npt.NDArray[np.int64]) -> list[str]:
    """Return packed row ids as "file:row"."""
    return ["{}:{}".format(*unpack_row_id(files, row_id)) for row_id in row_ids.tolist()]
