"""Reads columns from the Parquet files of evaluation tasks, and checks every value against the type of its column."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, first_line


@dataclass(frozen=True)
class ColumnType:
    """The type of the values of a column."""

    expected: str
    """The name of the type in error messages."""
    is_valid: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value
    optional: bool = False
    """Whether the column may be missing."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and bool(values) and all(map(is_valid, values))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


TEXT = ColumnType("a string", _is_text)
OPTIONAL = ColumnType(
    "a string or nothing", lambda value: value is None or _is_text(value), lambda value: value or "", True
)
NAME = ColumnType("a string or a whole number", lambda value: isinstance(value, str | int), str)
NUMBER = ColumnType("a number", _is_number)
GRADE = ColumnType("a whole number", lambda value: _is_number(value) and value == int(value), int)
TRUTH = ColumnType("0 or 1", lambda value: value in (0, 1) and not isinstance(value, str), int)
TEXTS = ColumnType("a list of one string or more", _list_of(_is_text))
NUMBERS = ColumnType("a list of one number or more", _list_of(_is_number))


def need_file(path: Path) -> Path:
    """Return the path of an existing file.

    Raises:
        InputError: it does not exist, or is no file.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a Parquet file of an evaluation task")
    return path


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        InputError: the file does not exist or cannot be read.
    """
    try:
        names: list[str] = pq.read_schema(need_file(path)).names
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from None
    return names


def read_columns(path: Path, columns: Mapping[str, ColumnType]) -> dict[str, list[Any]]:
    """Read columns as lists.

    Raises:
        InputError: a column is missing, a value is missing or of another type, or there are no rows.
    """
    names = column_names(path)
    selected = [name for name, column in columns.items() if not column.optional or name in names]
    missing = [name for name in selected if name not in names]
    if missing:
        raise InputError(f"{path} lacks {' and '.join(missing)}; its columns are {', '.join(names) or 'none'}")
    try:
        table = pq.read_table(path, columns=selected)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from None
    if not table.num_rows:
        raise InputError(f"{path} has no rows")
    return {name: _values(path, name, table.column(name).to_pylist(), columns[name]) for name in selected}


def _values(path: Path, name: str, values: list[Any], column: ColumnType) -> list[Any]:
    for row, value in enumerate(values):
        if not column.is_valid(value):
            raise InputError(
                f"{path}, row {row} (counted from 0): {name} is {_shorten(value)}; expected {column.expected}"
            )
    return [column.convert(value) for value in values]


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as Parquet: {first_line(error)}. Download or write it again")
