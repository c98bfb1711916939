"""Columns of the Parquet files of evaluation tasks, each value checked to be what its kind says."""

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
class Kind:
    """What the values of a column are: how that is called in errors, what fits, and what becomes of it."""

    expected: str
    fits: Callable[[Any], bool]
    kept: Callable[[Any], Any] = lambda value: value
    optional: bool = False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and bool(values) and all(map(fits, values))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


TEXT = Kind("a string", _is_text)
OPTIONAL = Kind("a string or nothing", lambda value: value is None or _is_text(value), lambda value: value or "", True)
NAME = Kind("a string or a whole number", lambda value: isinstance(value, str | int), str)
NUMBER = Kind("a number", _is_number)
GRADE = Kind("a whole number", lambda value: _is_number(value) and value == int(value), int)
TRUTH = Kind("0 or 1", lambda value: value in (0, 1) and not isinstance(value, str), int)
TEXTS = Kind("a list of one string or more", _all(_is_text))
NUMBERS = Kind("a list of one number or more", _all(_is_number))


def need_file(path: Path) -> Path:
    """Return the path of a file.

    Raises:
        InputError: there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; expected a Parquet file of an evaluation task")
    return path


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        InputError: it is missing or broken.
    """
    try:
        names: list[str] = pq.read_schema(need_file(path)).names
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from None
    return names


def read_columns(path: Path, columns: Mapping[str, Kind]) -> dict[str, list[Any]]:
    """Read columns as lists.

    Raises:
        InputError: a column is missing, a value is missing or of another kind, or there is no row.
    """
    names = column_names(path)
    wanted = [name for name, kind in columns.items() if not kind.optional or name in names]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"{path} lacks {' and '.join(missing)}; its columns are {', '.join(names) or 'none'}")
    try:
        table = pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from None
    if not table.num_rows:
        raise InputError(f"{path} has no rows")
    return {name: _values(path, name, table.column(name).to_pylist(), columns[name]) for name in wanted}


def _values(path: Path, name: str, values: list[Any], kind: Kind) -> list[Any]:
    for row, value in enumerate(values):
        if not kind.fits(value):
            raise InputError(f"{path}, row {row} (counted from 0): {name} is {_shown(value)}; expected {kind.expected}")
    return [kind.kept(value) for value in values]


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as Parquet: {first_line(error)}. Fetch or write it again")
