"""Finds the columns of pairs that the user named, and the columns, sources and licences of runs that are sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from jina_data.errors import InputError
from jina_data.negation.raw import RawRow, RawTable
from jina_data.read import InputFile
from jina_data.run.sources import count_rows_of

COLUMN_ROLES = ("anchor", "positive", "source")
"""The roles of columns that the sources have."""


def named_columns(table: RawTable, named: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the columns by role that the user named, and those of the run that the table is from."""
    if table.run is None:
        return dict(named)
    roles = table.run.roles_beside(named)
    pairs = {"anchor": roles.get("sentence1", ()), "positive": roles.get("sentence2", ())}
    source = {"source": (table.run.source,)} if table.run.source is not None else {}
    return {**{role: names for role, names in pairs.items() if names}, **roles, **source, **named}


def named_pair(table: RawTable, named: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | None:
    """Return the named columns of anchor and positive; None if neither is named.

    Raises:
        InputError: one of them is not named, or the table has no such column.
    """
    roles = named_columns(table, named)
    pair = [roles.get(role, ("",))[0] for role in ("anchor", "positive")]
    if not any(pair):
        return None
    missing = next((name for name in pair if name and name not in table.columns), None)
    if missing is not None or not all(pair):
        problem = f"there is no column {missing!r}" if missing else "anchor or positive has no column"
        raise InputError(
            f"{table.name}: {problem}; the columns are {', '.join(table.columns[:12]) or 'none'}. Name both: "
            "-c anchor=COLUMN -c positive=COLUMN"
        )
    return pair[0], pair[1]


def named_source(table: RawTable, named: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the column with the role source, if it is named and in the table.

    Raises:
        InputError: the user named a column that the table does not have.
    """
    names = named_columns(table, named).get("source", ())
    if "source" in named and names[0] not in table.columns:
        raise InputError(
            f"{table.name}: there is no column {names[0]!r} (source); the columns are {', '.join(table.columns[:12])}"
        )
    return names


def with_sources(table: RawTable, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    """Add the sources of the ledger to the rows of a run."""
    path = Path(table.file.name) if isinstance(table.file, InputFile) else table.file
    if table.run is None or path not in table.run.files or (labels := table.run.labels()) is None:
        yield from rows
        return
    start = sum(count_rows_of(file) for file in table.run.files[: table.run.files.index(path)])
    for number, row in enumerate(rows, start):
        yield replace(row, source=labels.names[labels.codes[number]])
