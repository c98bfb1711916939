"""The pairs and the corpus, read once: different anchors and texts get numbers, and each pair those of its own.

Texts that are equal after folding (case and white space) are one text: the first that occurs stands for all of them.
The corpus is all positives, in the order of the pairs, then the files of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.errors import InputError, UsageError
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.kernels.rank import Exclusions
from jina_data.mining.store import UNIT_ROWS, LongArray, writing
from jina_data.read import InputFile, all_ranges, sample_schema
from jina_data.roles import bind_roles
from jina_data.run.files import remove
from jina_data.run.sources import run_sources

FILE_BITS = 40
"""The place of a row is (number of its file << FILE_BITS) + its row in the file; files of the corpus come behind."""

Table = tuple[pa.Table, LongArray]
"""Rows as strings, and their places."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run on disk: P of them, A different anchors, C different texts."""

    folder: Path

    @cached_property
    def anchor_of(self) -> LongArray:
        """The number of the anchor of each pair, (P,)."""
        return np.asarray(np.load(self.folder / "anchor_of.npy", mmap_mode="r"))

    @cached_property
    def positive_of(self) -> LongArray:
        """The number in the corpus of the positive of each pair, (P,)."""
        return np.asarray(np.load(self.folder / "positive_of.npy", mmap_mode="r"))

    @cached_property
    def anchor_in_corpus(self) -> LongArray:
        """The number in the corpus of the text of each anchor, (A,); -1 where it is not there."""
        return np.asarray(np.load(self.folder / "anchor_in_corpus.npy", mmap_mode="r"))

    def __len__(self) -> int:
        return len(self.anchor_of)

    @property
    def n_units(self) -> int:
        """How many units of pairs there are."""
        return -(-len(self) // UNIT_ROWS)

    def unit(self, number: int) -> pa.Table:
        """Return the pairs of a unit: anchor, positive, place and source."""
        with pq.ParquetFile(self.folder / "pairs.parquet") as stored:
            return stored.read_row_group(number)

    @cached_property
    def _by_anchor(self) -> tuple[LongArray, LongArray, LongArray]:
        """Return the positives of all anchors: where those of each start and stop in a list of numbers, ascending."""
        pairs = np.unique(np.column_stack([self.anchor_of, self.positive_of]), axis=0)
        n_anchors = len(self.anchor_in_corpus)
        start, stop = (np.searchsorted(pairs[:, 0], np.arange(n_anchors), side) for side in ("left", "right"))
        return start, stop, np.ascontiguousarray(pairs[:, 1])

    def positives(self, first: int, stop: int) -> tuple[LongArray, LongArray]:
        """Return the positives of some anchors one after the other, and where those of each end, (n + 1,)."""
        starts, stops, numbers = self._by_anchor
        ends = np.concatenate([starts[first : first + 1], stops[first:stop]])
        return numbers[ends[0] : ends[-1]], ends - ends[0]

    def excluded(self, first: int, stop: int) -> Exclusions:
        """Return what is no negative of some anchors: their positives, and themselves."""
        positives, ends = self.positives(first, stop)
        lists = [
            np.unique(np.concatenate([positives[ends[i] : ends[i + 1]], [own] if own >= 0 else []]))
            for i, own in enumerate(self.anchor_in_corpus[first:stop].tolist())
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
    """Read pairs and corpus; `folder` comes last, and says that all is there.

    Raises:
        InputError: a row cannot be read, or lacks a text; the message names file, row and column.
        UsageError: there is no column for a role.
    """
    half = folder.with_name(f".{folder.name}.tmp")
    for path in (half, texts("anchors"), texts("corpus")):
        remove(path)
    half.mkdir(parents=True)
    anchor_keys, positive_keys = [_NO_KEYS], [_NO_KEYS]
    with pq.ParquetWriter(half / "pairs.parquet", PAIRS, compression="zstd") as sink:
        for rows in _units(_read_pairs(inputs, roles, message), limit):
            sink.write_table(rows, row_group_size=UNIT_ROWS)
            anchor_keys.append(_keys(rows.column("anchor")))
            positive_keys.append(_keys(rows.column("positive")))
    anchors = _Numbers.of(np.concatenate(anchor_keys))
    if not len(anchors.number_of):
        raise InputError(f"{', '.join(file.name for file in inputs)}: no pairs; expected a row at least")
    more = [_keys(table.column("text")) for table, _ in _read_corpus(corpus, len(inputs), roles)]
    whole = _Numbers.of(np.concatenate([*positive_keys, *more]))
    n_pairs = len(anchors.number_of)
    np.save(half / "anchor_of.npy", anchors.number_of)
    np.save(half / "positive_of.npy", whole.number_of[:n_pairs])
    np.save(half / "anchor_in_corpus.npy", whole.find(anchors.keys))
    stored = Pairs(half)

    def rows_of_pairs(column: str) -> Iterator[tuple[pa.ChunkedArray, LongArray]]:
        for number in range(stored.n_units):
            rows = stored.unit(number)
            yield rows.column(column), rows.column("place").to_numpy()

    def rows_of_corpus() -> Iterator[tuple[pa.ChunkedArray, LongArray]]:
        yield from rows_of_pairs("positive")
        for table, places in _read_corpus(corpus, len(inputs), roles):
            yield table.column("text"), places

    _write_first(texts("anchors"), rows_of_pairs("anchor"), anchors)
    _write_first(texts("corpus"), rows_of_corpus(), whole)
    half.replace(folder)
    return Pairs(folder)


PAIRS = pa.schema(
    [("anchor", pa.large_string()), ("positive", pa.large_string()), ("place", pa.int64()), ("source", pa.string())]
)
_NO_KEYS: KeyArray = np.zeros((0, 2), np.uint64)


def _keys(texts: pa.ChunkedArray) -> KeyArray:
    return content_keys([texts], case=True, whitespace=True)


@dataclass(frozen=True)
class _Numbers:
    """The numbers of N texts among the M different ones, in order of their first occurrence."""

    number_of: LongArray
    first: LongArray
    """Where each different text first occurs, ascending, (M,)."""
    keys: KeyArray
    """The keys of the different texts, (M, 2)."""

    @classmethod
    def of(cls, keys: KeyArray) -> _Numbers:
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        ranked = keys[order]
        is_new = np.ones(len(keys), np.bool_)
        is_new[1:] = (ranked[1:] != ranked[:-1]).any(1)
        group = np.cumsum(is_new) - 1
        firsts = order[is_new]  # lexsort is stable, so the first of a group is its earliest
        by_place = np.argsort(firsts)
        number = np.empty(len(firsts), np.int64)
        number[by_place] = np.arange(len(firsts))
        number_of = np.empty(len(keys), np.int64)
        number_of[order] = number[group]
        first = firsts[by_place]
        return cls(number_of, first, keys[first])

    def find(self, keys: KeyArray) -> LongArray:
        """Return the numbers of other texts here, -1 for those that are not."""
        both = _Numbers.of(np.concatenate([self.keys, keys]))
        found = both.number_of[len(self.keys) :]
        return np.where(found < len(self.keys), found, -1)


def _write_first(folder: Path, rows: Iterator[tuple[pa.ChunkedArray, LongArray]], numbers: _Numbers) -> None:
    """Write the texts that occur for the first time."""
    at = 0
    with writing(folder) as sink:
        for texts, places in rows:
            low, high = np.searchsorted(numbers.first, (at, at + len(texts)))
            chosen = numbers.first[low:high] - at
            sink.add(texts.take(pa.array(chosen)).to_pylist(), places[chosen])
            at += len(texts)


# ------------------------------------------------------------------------------------------------------- reading


def _units(tables: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Cut rows into units of one size, at most `limit` rows in all."""
    held: list[pa.Table] = []
    n_held, left = 0, limit if limit is not None else 2**62
    for table in tables:
        some = table.slice(0, left)
        left -= some.num_rows
        held.append(some)
        n_held += some.num_rows
        if n_held >= UNIT_ROWS:
            joined = pa.concat_tables(held)
            whole = n_held - n_held % UNIT_ROWS
            for start in range(0, whole, UNIT_ROWS):
                yield joined.slice(start, UNIT_ROWS)
            held, n_held = [joined.slice(whole)], n_held - whole
        if not left:
            break
    if n_held:
        yield pa.concat_tables(held)


def _read_pairs(
    inputs: Sequence[InputFile], roles: Mapping[str, Sequence[str]], message: Callable[[str], None]
) -> Iterator[pa.Table]:
    wanted = {role: tuple(columns) for role, columns in roles.items() if role != "text"}
    by_run = _sources_in_runs(inputs)
    for index, file in enumerate(inputs):
        schema = sample_schema(file)
        if not schema.names:
            raise InputError(f"{file.name} is empty; expected rows with an anchor and a positive")
        try:
            bound, source, said = bind_roles(schema, wanted)
        except UsageError as error:
            raise UsageError(f"{file.name}: {error}") from None
        if set(bound) < {"anchor", "positive"} or not {"anchor", "positive"} <= set(bound):
            raise UsageError(
                f"{file.name}: no columns for anchor and positive among {', '.join(schema.names)}. Name them: "
                "-c anchor=COLUMN -c positive=COLUMN"
            )
        if said and not index:
            message(said)
        columns = {"anchor": bound["anchor"][0], "positive": bound["positive"][0]}
        columns |= {"source": source} if source else {}
        for table, places in _rows(file, schema, columns, index=index):
            first = int(places[0]) & ((1 << FILE_BITS) - 1) if len(places) else 0
            of_run = by_run.get(Path(file.name), [])[first : first + table.num_rows]
            unsaid = pa.array(of_run or [file.name] * table.num_rows, pa.large_string())
            named = pc.coalesce(table.column("source"), unsaid) if source else unsaid
            yield pa.table(
                [table.column("anchor"), table.column("positive"), pa.array(places), named.cast(pa.string())],
                schema=PAIRS,
            )


def _sources_in_runs(inputs: Sequence[InputFile]) -> dict[Path, list[str]]:
    """Return the source of each row of the files that are the data of a run with several sources."""
    found: dict[Path, list[str]] = {}
    runs = {Path(file.name).parent.parent for file in inputs if file.is_local and Path(file.name).parent.name == "data"}
    for run in sorted(runs):
        files = sorted((run / "data").glob("*.parquet"))
        labels = run_sources(run, files)
        if labels is None:
            continue
        start = 0
        for path in files:
            stop = start + pq.read_metadata(path).num_rows
            found[path] = [labels.names[code] for code in labels.codes[start:stop]]
            start = stop
    return found


def _read_corpus(corpus: Sequence[InputFile], n_inputs: int, roles: Mapping[str, Sequence[str]]) -> Iterator[Table]:
    for index, file in enumerate(corpus):
        schema = sample_schema(file)
        column = _corpus_column(file, schema, roles)
        yield from _rows(file, schema, {"text": column}, index=n_inputs + index)


def _corpus_column(file: InputFile, schema: pa.Schema, roles: Mapping[str, Sequence[str]]) -> str:
    named = [*roles.get("text", ()), "text", "positive", *roles.get("positive", ())]
    texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
    column = next((name for name in named if name in texts), texts[0] if len(texts) == 1 else None)
    if column is None:
        raise UsageError(
            f"{file.name}: which column holds the texts of the corpus? Name it with -c text=COLUMN; the file has: "
            f"{', '.join(schema.names) or 'none'}"
        )
    return column


def _rows(file: InputFile, schema: pa.Schema, columns: Mapping[str, str], *, index: int) -> Iterator[Table]:
    """Read some columns of a file under other names, with the places of the rows.

    Raises:
        InputError: a row cannot be read, or a text of it is missing or blank.
    """
    first_row = 0
    for parsed in all_ranges(file, schema):
        for broken in parsed.unreadable[:1]:
            raise InputError(
                f"{file.name}, row {first_row + broken.row} (counted from 0) cannot be read: {broken.error}. Mend the "
                "file, or run jina-data clean first, which sets such rows aside"
            )
        values: dict[str, Any] = {}
        for name, column in columns.items():
            found = parsed.rows.column(column) if column in parsed.rows.column_names else None
            values[name] = pa.nulls(parsed.rows.num_rows, pa.string()) if found is None else found
            if name != "source":
                _refuse_missing(values[name], file, column, first_row)
        yield (
            pa.table({name: one.cast(pa.large_string()) for name, one in values.items()}),
            np.arange(first_row, first_row + parsed.rows.num_rows) + (index << FILE_BITS),
        )
        first_row += parsed.row_count


def _refuse_missing(texts: Any, file: InputFile, column: str, first_row: int) -> None:
    for row, text in enumerate(texts.to_pylist()):
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{file.name}, row {first_row + row} (counted from 0): {column} is "
                f"{'missing' if text is None else repr(text)[:40]}; expected a text. Leave such rows out first, for "
                "example with jina-data clean"
            )


def place_names(files: Sequence[InputFile], places: npt.NDArray[np.int64]) -> list[str]:
    """Return places as "file:row"."""
    return [f"{files[place >> FILE_BITS].name}:{place & (2**FILE_BITS - 1)}" for place in places.tolist()]
