"""Provides what `jina-data inspect` needs for every kind of run: the choice of dropped rows, and lines about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, Self

from jina_data.errors import UsageError
from jina_data.run.names import plain_name


@dataclass(frozen=True)
class DropGroup:
    """The rows that a stage dropped for a reason. `title` names the stage in the output."""

    stage: str
    title: str
    reason: str
    rows: int
    index: int | None = None
    """The position of the stage in the recipe, from 0; None for other stages."""


@dataclass(frozen=True)
class DropQuery:
    """Which dropped rows to show, and how: None for all stages, reasons or sources."""

    stage: str | None = None
    reason: str | None = None
    source: str | None = None
    n_rows: int = 5
    seed: int = 0
    width: int = 300


class RunInspection(Protocol):
    """A finished run, opened for queries about its rows."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a finished run."""
        ...

    def drop_lines(self, query: DropQuery) -> Iterator[str]:
        """Yield the counts of dropped rows by stage and reason, each with a sample."""
        ...

    def row_text(self, place: str, *, width: int) -> str:
        """Describe what happened to one row."""
        ...


def choose_groups(
    groups: Sequence[DropGroup], query: DropQuery, *, stages: Iterable[str], reasons: Iterable[str]
) -> list[DropGroup]:
    """Return the groups of the stage and the reason of a query, or all.

    Args:
        groups: the dropped rows of the run.
        query: the names to look for.
        stages: all stages of the run, also those that dropped nothing.
        reasons: all reasons of these stages.

    Raises:
        UsageError: the run has no such stage or reason.
    """
    if query.stage is not None:
        check_name("stage", query.stage, stages)
    if query.reason is not None:
        check_name("reason", query.reason, reasons, shown=[group.reason for group in groups])
    return [group for group in groups if query.stage in (None, group.stage) and query.reason in (None, group.reason)]


def check_name(kind: str, name: str, names: Iterable[str], *, shown: Iterable[str] | None = None) -> None:
    """Check that a name exists; `shown` are the names that the message lists (None: all).

    Raises:
        UsageError: it does not; the message gives the nearest name and those of the run.
    """
    known = list(dict.fromkeys(names))
    if name in known:
        return
    near = get_close_matches(name, known, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = known if shown is None else list(dict.fromkeys(shown))
    which = f"{kind}s of this run" if shown is None else f"{kind}s with rows in this run"
    raise UsageError(f"this run has no {kind} {name!r}{hint} The {which} are {_listed(listed, ', ') or 'none'}")


MAX_NAMES = 40
"""The maximum number of names in a message."""


def nothing_dropped(query: DropQuery) -> str:
    """Return the line for a query without results."""
    parts = [
        f"{word} {value}"
        for word, value in (("stage", query.stage), ("reason", query.reason), ("source", query.source))
        if value is not None
    ]
    return f"no rows were dropped{' (' + ', '.join(parts) + ')' if parts else ''}"


def text_lines(texts: Mapping[str, Any] | None, width: int) -> list[str]:
    """Return a line for each column of a row."""
    return [f"    {name}: {shown(value, width)}" for name, value in (texts or {}).items()]


def shown(value: Any, width: int) -> str:
    """Return a value as JSON, so that spaces and line breaks are visible; a long one is cut."""
    return _cut(json.dumps(value, ensure_ascii=False, default=str), width)


def shown_raw(text: str, width: int) -> str:
    """Return the text of a broken record in one line; a long one is cut."""
    return _cut(text.replace("\r", "\\r").replace("\n", "\\n"), width)


def _cut(text: str, width: int) -> str:
    text = plain_name(text)
    return text if len(text) <= width else f"{text[:width]}... ({len(text):,} characters)"


def split_place(place: str) -> tuple[str, int]:
    """Split FILE:ROW.

    Raises:
        UsageError: it is not of this form.
    """
    file, _, row = place.rpartition(":")
    if not file or not row.isdecimal():
        raise UsageError(f"{place!r} is not FILE:ROW, for example questions.jsonl:17")
    return file, int(row)


def find_file(file: str, names: Sequence[str]) -> str:
    """Return the name of an input file; the end of a name is enough if only one file matches.

    Raises:
        UsageError: no file has this name, or several have.
    """
    matches = [name for name in names if name == file]
    matches = matches or [name for name in names if name.endswith(f"/{file}")]
    matches = matches or [name for name in names if name.endswith(file)]
    if len(matches) != 1:
        found = f"could be {_listed(matches, ' or ')}" if matches else "is not a file of this run"
        raise UsageError(f"{file!r} {found}; the files are {_listed(names, ', ')}")
    return matches[0]


def _listed(names: Sequence[str], separator: str) -> str:
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    return separator.join(names[:MAX_NAMES]) + more
