"""Defines how the values of a JSON file become rows: what a record is, where it is, and the names of its columns.

A record is an object, a list (`["a", "b"]`: columns by position), or a text. `path` leads from a value of the file to
its records: `docs[]`. The fields of the objects around a record are added to it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from jina_data.errors import UsageError
from jina_data.read.json_format.load import NotARowError, json_name
from jina_data.read.json_format.values import Struct, kind_of_schema
from jina_data.read.model import InputFile
from jina_data.read.names import is_usable, usable_names
from jina_data.read.options import TYPES

Shape = Literal["objects", "lists", "texts"]
Step = str | None
"""A key, or None for all items of a list."""

Around = dict[str, tuple[str, Any]]
"""Fields of the objects around a record: name and value, by path."""

TEXT_COLUMN = "text"
MAX_OUTER_ITEMS = 100
DOCUMENT_ITSELF = "."
"""The path that says that a document is a record, whatever it holds."""


def parse_records_path(path: str) -> tuple[Step, ...]:
    """Split a path of records, such as `data[].qas[]`, into keys and None for "all items".

    Raises:
        UsageError: it is not such a path.
    """
    steps: list[Step] = []
    for part in path.strip().removeprefix("$").removeprefix(".").split("."):
        key = part
        depth = 0
        while key.endswith("[]"):
            key, depth = key[:-2], depth + 1
        if (not key and not depth) or "[" in key or "]" in key or (not key and steps):
            raise UsageError(
                f"input: records: expected a path such as data[] or data[].paragraphs[].qas[], got '{path}'"
            )
        steps += [key] if key else []
        steps += [None] * depth
    return tuple(steps)


def path_text(steps: Collection[Step]) -> str:
    """Return steps as a path: `data[].qas[]`."""
    return "".join("[]" if step is None else f".{step}" for step in steps).removeprefix(".")


@dataclass(frozen=True)
class Reading:
    """How a value becomes rows.

    `path` leads from a value to its records. `outer` are the fields of the document around the value. `taken` are names
    of fields of records: a field around a record with such a name is named by its path, from `above`, the keys that
    lead to the value.
    """

    shape: Shape = "objects"
    names: tuple[str, ...] = ()
    path: tuple[Step, ...] = ()
    above: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()
    text_columns: tuple[str, ...] = ()
    types: dict[str, pa.DataType] = field(default_factory=dict)

    @cached_property
    def is_plain(self) -> bool:
        """Whether a value is an object that is a row."""
        return self.shape == "objects" and not self.path and not self.above

    def kind(self, schema: pa.Schema) -> Struct:
        """Return the kind of the rows of a schema."""
        return kind_of_schema(schema, self.text_columns, self.types)

    def rows(self, value: Any, outer: Mapping[str, Any]) -> Iterator[dict[str, Any] | NotARowError]:
        """Yield the rows of a value, and the errors of records that are no rows.

        `outer` are the fields of the document around it, by path.
        """
        for row, around in self.records(value, outer):
            yield _with_outer(row, around, self.taken) if around and not isinstance(row, NotARowError) else row

    def records(self, value: Any, outer: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any] | NotARowError, Around]]:
        """Yield the records of a value, each with the fields around it."""
        around = {path: (path.rpartition(".")[2], part) for path, part in outer.items()}
        yield from self._descend(value, 0, self.above, around)

    def _descend(
        self, value: Any, position: int, keys: tuple[str, ...], around: Around
    ) -> Iterator[tuple[dict[str, Any] | NotARowError, Around]]:
        if position == len(self.path):
            is_list = isinstance(value, list) and self.path and self.path[-1] is not None
            for item in value if is_list else (value,):
                yield self._row(item), around
            return
        step = self.path[position]
        if step is None:
            for item in value if isinstance(value, list) else () if value is None else (value,):
                yield from self._descend(item, position + 1, keys, around)
        elif not isinstance(value, dict):
            yield NotARowError(f"expected an object with the key '{step}', found {json_name(value)}"), around
        elif step not in value and position == 0:
            expected = f"expected the records at {path_text(self.path)}"
            yield NotARowError(f"there is no '{step}' in it; {expected}"), around
        elif value.get(step) is not None:
            fields = {name: part for name, part in value.items() if name != step and not _holds_objects(part)}
            wider = around | {".".join((*keys, name)): (name, part) for name, part in fields.items()}
            yield from self._descend(value[step], position + 1, (*keys, step), wider)

    def _row(self, value: Any) -> dict[str, Any] | NotARowError:
        if self.shape == "texts" or (self.path and isinstance(value, str)):
            return self._text_row(value)
        if self.shape == "lists" or (self.path and isinstance(value, list)):
            return self._list_row(value)
        return plain_row(value)

    def _text_row(self, value: Any) -> dict[str, Any] | NotARowError:
        name = self.names[0] if self.names else TEXT_COLUMN
        return _expected("a text", value) if isinstance(value, list | dict) else {name: value}

    def _list_row(self, value: Any) -> dict[str, Any] | NotARowError:
        if not isinstance(value, list):
            return _expected("a list", value)
        names = [*self.names, *("" for _ in value[len(self.names) :])]
        return dict(zip(usable_names(names), value, strict=False))


def _expected(what: str, value: Any) -> NotARowError:
    return NotARowError(f"expected {what}, found {json_name(value)}")


def plain_row(value: Any) -> dict[str, Any] | NotARowError:
    """Return the row of an object."""
    return _named(value) if isinstance(value, dict) else _expected("a JSON object", value)


def _named(row: dict[str, Any]) -> dict[str, Any]:
    if all(map(is_usable, row)):
        return row
    return dict(zip(usable_names(list(row)), row.values(), strict=True))


def _with_outer(row: dict[str, Any], around: Around, taken: frozenset[str]) -> dict[str, Any]:
    """Add the fields around a record: under their names, else under their paths."""
    added: dict[str, Any] = {}
    for path, (name, value) in around.items():
        free = name if name not in row and name not in taken and name not in added else path
        if free in row or free in taken or free in added:
            free = f"parent.{free}"
        added[free] = value
    return {**row, **_named(added)}


def taken_names(reading: Reading, values: Iterable[Any], outer: Mapping[str, Any]) -> list[str]:
    """Return the names of fields around records that records have, too."""
    own: set[str] = set()
    names: dict[str, None] = {}
    for value in values:
        for row, around in reading.records(value, outer):
            own.update(() if isinstance(row, NotARowError) else row)
            names.update((name, None) for name, _ in around.values())
    return [name for name in names if name in own]


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict | list) for item in value)


def is_small(value: Any) -> bool:
    """Return whether a field of a document is added to each of its records: a scalar, or a short list or object."""
    parts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return len(parts) <= MAX_OUTER_ITEMS and not any(isinstance(part, list | dict) for part in parts)


def reading_of(file: InputFile) -> Reading:
    """Return how the values of a file become rows, as it was detected or set."""
    return Reading(
        shape=file.option("shape", "objects"),  # type: ignore[arg-type]
        names=tuple(json.loads(file.option("names", "[]"))),
        path=parse_records_path(file.option("path")) if file.option("path") else (),
        above=tuple(json.loads(file.option("above", "[]"))),
        taken=frozenset(json.loads(file.option("taken", "[]"))),
        text_columns=file.text_columns,
        types={name: TYPES[kind] for name, kind in file.settings.types.items()},
    )
