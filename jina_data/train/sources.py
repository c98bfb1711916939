"""Finds the sources of the inputs, reads their rows, and computes their sampling rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, UsageError, first_line
from jina_data.run.sources import IntArray, SourceLabels, run_sources
from jina_data.train.config import TrainConfig
from jina_data.train.inputs import Roles, TrainInput, bind_input, find_inputs, read_schema
from jina_data.train.texts import check_columns, check_not_empty, column_texts, flat_texts, join_lists

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """Rows of one row group: the first `n_rows`, or those listed."""

    path: Path
    group: int
    n_rows: int
    rows: IntArray | None = None


@dataclass(eq=False)
class TrainSource:
    """Rows that form batches together, in input order."""

    name: str
    roles: Roles
    in_batch: bool = True
    """Whether the rows are negatives of each other."""
    units: list[Unit] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return sum(unit.n_rows for unit in self.units)

    def read(self, unit: Unit) -> pa.Table:
        """Read the texts of a unit: `anchor`, and for pairs `positive`, for triplets `negatives` (lists).

        Anchors and positives are lists if the file has lists. Documents are anchors; with several text columns, or with
        lists, each row gives several documents.

        Raises:
            InputError: a file cannot be read, or a value is not a text.
        """
        columns = list(dict.fromkeys(name for names in self.roles.values() for name in names))
        try:
            with pq.ParquetFile(unit.path) as file:
                table = file.read_row_group(unit.group, columns=columns)
                first_row = sum(file.metadata.row_group(group).num_rows for group in range(unit.group))
        except (OSError, pa.ArrowException, IndexError) as error:
            raise InputError(
                f"{unit.path}, row group {unit.group} cannot be read: {first_line(error)}. Copy it again"
            ) from None
        texts = {name: column_texts(table, name, path=unit.path, first_row=first_row) for name in columns}
        table = pa.table(texts)
        table = table.slice(0, unit.n_rows) if unit.rows is None else table.take(pa.array(unit.rows))
        texts = {name: table[name].combine_chunks() for name in columns}
        if "text" in self.roles:
            return pa.table({"anchor": pa.concat_arrays([flat_texts(texts[name]) for name in self.roles["text"]])})
        out = {role: texts[self.roles[role][0]] for role in ("anchor", "positive")}
        if "negative" in self.roles:
            out["negatives"] = join_lists([texts[name] for name in self.roles["negative"]])
        return pa.table(out)


def find_sources(config: TrainConfig, spool: Path) -> tuple[list[TrainSource], list[str]]:
    """Return the sources of all inputs, and messages about inferred columns.

    The sources of a run are those of its ledger; any other input is one source, unless a column names the sources.

    Raises:
        InputError: a file cannot be read, or there are no rows.
        UsageError: the roles do not fit the phase, or a setting names a source that does not exist.
    """
    sources: dict[str, TrainSource] = {}
    messages: list[str] = []
    rows_left = config.limit
    inputs = find_inputs(config.inputs, spool)
    for entry in inputs:
        roles, column, message = bind_input(entry, config.columns, config.phase)
        messages += [f"{entry.name}: {message}"] if message else []
        _check_types(entry, roles)
        prefix = f"{entry.name}/" if len(inputs) > 1 else ""
        for name, unit in _units(entry, column, rows_left):
            full_name = prefix + name if name else entry.name
            sources.setdefault(full_name, TrainSource(full_name, roles)).units.append(unit)
            rows_left = None if rows_left is None else rows_left - unit.n_rows
    if not sources:
        raise InputError(f"there are no rows in {', '.join(config.inputs)}. Name inputs with rows")
    for name in (*config.no_in_batch, *config.weights):
        _matching(name, sources)
    for name in config.no_in_batch:
        for source in _matching(name, sources):
            source.in_batch = False
    return list(sources.values()), messages


def _check_types(entry: TrainInput, roles: Roles) -> None:
    """Check the types of the columns with roles, in all files of an input that have them."""
    schemas = {path: read_schema(path) for path in entry.files}
    names = {name for columns in roles.values() for name in columns}
    complete = {path: schema for path, schema in schemas.items() if names <= set(schema.names)}
    for path, schema in complete.items():
        check_columns(path, schema, roles)
    check_not_empty(entry.name, list(complete.values()), roles)


def _units(entry: TrainInput, column: str | None, rows_left: int | None) -> Iterator[tuple[str, Unit]]:
    """Yield the rows of an input by row group and source; the name is empty if the input is one source."""
    by_ledger = run_sources(entry.run, entry.files) if column is None and entry.run else None
    first_row = 0
    for path in entry.files:
        schema = read_schema(path)
        if not set(entry.schema.names) <= set(schema.names):
            raise InputError(f"{path} lacks columns of {entry.files[0]}; expected the same in all files of an input")
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                n_rows = file.metadata.row_group(group).num_rows
                n_read = n_rows if rows_left is None else min(n_rows, rows_left)
                rows_left = None if rows_left is None else rows_left - n_read
                if not n_read:
                    continue
                labels = by_ledger[first_row : first_row + n_read] if by_ledger else None
                if column is not None:
                    labels = SourceLabels.from_names(file.read_row_group(group, [column])[column])[:n_read]
                first_row += n_rows
                yield from _split(labels, Unit(path, group, n_read))


def _split(labels: SourceLabels | None, unit: Unit) -> Iterator[tuple[str, Unit]]:
    """Yield the rows of a unit by source, in order of first occurrence; the name is empty without labels."""
    if labels is None:
        yield "", unit
        return
    codes, firsts = np.unique(labels.codes, return_index=True)
    for code in codes[np.argsort(firsts)]:
        rows = np.flatnonzero(labels.codes == code)
        has_all_rows = len(rows) == unit.n_rows
        yield labels.names[code], unit if has_all_rows else Unit(unit.path, unit.group, len(rows), rows)


def _matching(name: str, sources: Mapping[str, TrainSource]) -> list[TrainSource]:
    """Return the source with a name, or all sources of the input with this name."""
    matches = [source for key, source in sources.items() if key == name or key.startswith(f"{name}/")]
    if not matches:
        similar = get_close_matches(name, sources, 1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        raise UsageError(f"there is no source {name!r}.{hint} The sources are {', '.join(sources)}")
    return matches


def source_rates(sources: Sequence[TrainSource], config: TrainConfig) -> FloatArray:
    """Return the probability that the next batch is from each of S sources, (S,).

    If weights are given, the rates are proportional to them: the weight of an input with several sources is divided by
    size, and a source without a weight gets 0. Otherwise they are proportional to size to the power 1/T.
    """
    sizes = np.array([source.n_rows for source in sources], np.float64)
    if not config.weights:
        rates = sizes ** (1 / config.source_temperature)
        return np.asarray(rates / rates.sum())
    by_name = {source.name: source for source in sources}
    rates = np.zeros(len(sources))
    for name, weight in config.weights.items():
        matches = _matching(name, by_name)
        is_chosen = np.array([source in matches for source in sources])
        rates[is_chosen] = weight * sizes[is_chosen] / sizes[is_chosen].sum()
    return np.asarray(rates / rates.sum())
