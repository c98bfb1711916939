"""Sources: which rows of which files belong together in a batch, and how often each source is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.errors import InputError, UsageError, first_line
from jina_data.run.sources import IntArray, SourceLabels, run_sources
from jina_data.train.config import TrainConfig
from jina_data.train.inputs import Found, Roles, bind, find_inputs, read_schema

FloatArray = npt.NDArray[np.float64]

TEXT, LIST = pa.large_string(), pa.large_list(pa.large_string())


@dataclass(frozen=True)
class Unit:
    """Rows of one row group: the first `n_rows`, or those listed."""

    path: Path
    group: int
    n_rows: int
    rows: IntArray | None = None


@dataclass(eq=False)
class Source:
    """Rows that are drawn together, in the order of the input."""

    name: str
    roles: Roles
    in_batch: bool = True
    """Whether its rows are negatives of each other."""
    units: list[Unit] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return sum(unit.n_rows for unit in self.units)

    def read(self, unit: Unit) -> pa.Table:
        """Read the texts of a unit: `anchor`, and for pairs `positive`, for triplets `negatives` (lists).

        Documents are anchors; where several columns hold documents, each row gives several.

        Raises:
            InputError: a file changed or is broken.
        """
        columns = list(dict.fromkeys(name for names in self.roles.values() for name in names))
        try:
            with pq.ParquetFile(unit.path) as file:
                table = file.read_row_group(unit.group, columns=columns)
        except (OSError, pa.ArrowException, IndexError) as error:
            raise InputError(
                f"{unit.path}, row group {unit.group} cannot be read: {first_line(error)}. Copy it anew"
            ) from None
        table = table.slice(0, unit.n_rows) if unit.rows is None else table.take(pa.array(unit.rows))
        if "text" in self.roles:
            return pa.table({"anchor": pa.concat_arrays([_texts(table, name) for name in self.roles["text"]])})
        out = {role: _texts(table, self.roles[role][0]) for role in ("anchor", "positive")}
        if "negative" in self.roles:
            out["negatives"] = _lists(table, self.roles["negative"])
        return pa.table(out)


def _texts(table: pa.Table, name: str) -> pa.Array:
    return pc.cast(table[name], TEXT).combine_chunks()


def _lists(table: pa.Table, names: Sequence[str]) -> pa.Array:
    """Return the negatives of each row as one list, in the order of their columns."""
    if len(names) == 1 and pa.types.is_nested(table.schema.field(names[0]).type):
        return pc.cast(table[names[0]], LIST).combine_chunks()
    n_rows, n_columns = table.num_rows, len(names)
    flat = pa.concat_arrays([_texts(table, name) for name in names])
    order = np.arange(n_rows * n_columns).reshape(n_columns, n_rows).T.reshape(-1)
    ends = np.arange(0, n_rows * n_columns + 1, n_columns, dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(ends), flat.take(pa.array(order)))


def find_sources(config: TrainConfig, spool: Path) -> tuple[list[Source], list[str]]:
    """Return the sources of all inputs, and what was guessed about their columns.

    A clean run has the sources that it counted; another input is a source of its own, unless a column names them.

    Raises:
        InputError: a file cannot be read, or there are no rows.
        UsageError: the roles do not fit the phase, or a setting names a source that is not there.
    """
    sources: dict[str, Source] = {}
    said: list[str] = []
    left = config.limit
    inputs = find_inputs(config.inputs, spool)
    for found in inputs:
        roles, column, guessed = bind(found, config.columns, config.phase)
        said += [f"{found.name}: {guessed}"] if guessed else []
        prefix = f"{found.name}/" if len(inputs) > 1 else ""
        for name, unit in _units(found, column, left):
            full = prefix + name if name else found.name
            sources.setdefault(full, Source(full, roles)).units.append(unit)
            left = None if left is None else left - unit.n_rows
    if not sources:
        raise InputError(f"there are no rows in {', '.join(config.inputs)}. Name inputs that have some")
    for name in (*config.no_in_batch, *config.weights):
        _matching(name, sources)
    for name in config.no_in_batch:
        for source in _matching(name, sources):
            source.in_batch = False
    return list(sources.values()), said


def _units(found: Found, column: str | None, left: int | None) -> Iterator[tuple[str, Unit]]:
    """Yield the rows of an input by row group and source; the name is empty where the input is one source."""
    by_ledger = run_sources(found.run, found.files) if column is None and found.run else None
    first = 0
    for path in found.files:
        schema = read_schema(path)
        if not set(found.schema.names) <= set(schema.names):
            raise InputError(f"{path} lacks columns of {found.files[0]}; expected the same in all files of an input")
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                n_rows = file.metadata.row_group(group).num_rows
                n_read = n_rows if left is None else min(n_rows, left)
                left = None if left is None else left - n_read
                if not n_read:
                    continue
                labels = by_ledger[first : first + n_read] if by_ledger else None
                if column is not None:
                    labels = SourceLabels.from_names(file.read_row_group(group, [column])[column])[:n_read]
                first += n_rows
                yield from _split(labels, Unit(path, group, n_read))


def _split(labels: SourceLabels | None, unit: Unit) -> Iterator[tuple[str, Unit]]:
    """Yield the rows of a unit by source; with an empty name where there are no labels."""
    if labels is None:
        yield "", unit
        return
    codes, firsts = np.unique(labels.codes, return_index=True)
    for code in codes[np.argsort(firsts)]:
        rows = np.flatnonzero(labels.codes == code)
        is_whole = len(rows) == unit.n_rows
        yield labels.names[code], unit if is_whole else Unit(unit.path, unit.group, len(rows), rows)


def _matching(name: str, sources: Mapping[str, Source]) -> list[Source]:
    """Return the sources of a name: that one, or all of an input."""
    found = [source for key, source in sources.items() if key == name or key.startswith(f"{name}/")]
    if not found:
        near = get_close_matches(name, sources, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"there is no source {name!r}.{hint} The sources are {', '.join(sources)}")
    return found


def source_rates(sources: Sequence[Source], config: TrainConfig) -> FloatArray:
    """Return the chance of each of S sources to give the next batch, (S,).

    By weights where some are given (of an input with several sources: shared out by their size; a source without one
    gets none), else by size to the power 1/T.
    """
    sizes = np.array([source.n_rows for source in sources], np.float64)
    if not config.weights:
        rates = sizes ** (1 / config.source_temperature)
        return np.asarray(rates / rates.sum())
    by_name = {source.name: source for source in sources}
    rates = np.zeros(len(sources))
    for name, weight in config.weights.items():
        chosen = _matching(name, by_name)
        is_chosen = np.array([source in chosen for source in sources])
        rates[is_chosen] = weight * sizes[is_chosen] / sizes[is_chosen].sum()
    return np.asarray(rates / rates.sum())
