"""Turns columns of Parquet files into texts and lists of texts, and names the file and row of what is neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.errors import InputError, UsageError, first_line

TEXT, LIST = pa.large_string(), pa.large_list(pa.large_string())


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column of this type has a list in each row."""
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind) or views)


def check_columns(path: Path, schema: pa.Schema, roles: Mapping[str, Sequence[str]]) -> None:
    """Check that the columns of roles hold texts, lists of texts, or values with one text form.

    Raises:
        UsageError: a column has another type; the message names file and column.
    """
    for role, names in roles.items():
        for name in names:
            kind = schema.field(name).type
            value = kind.value_type if is_list(kind) or pa.types.is_dictionary(kind) else kind
            if pa.types.is_nested(value):
                raise UsageError(
                    f"{path}: the column {name!r} ({role}) has the type {_shortened(kind)}; expected texts, or lists "
                    f"of texts. Name another column: -c {role}=COLUMN"
                )


def check_not_empty(name: str, schemas: Sequence[pa.Schema], roles: Mapping[str, Sequence[str]]) -> None:
    """Check that the columns of each role hold values in at least one file of an input.

    Raises:
        UsageError: all columns of a role hold only nulls or empty lists in all files.
    """
    for role, columns in roles.items():
        kinds = [schema.field(column).type for schema in schemas for column in columns]
        if kinds and all(map(_is_empty, kinds)):
            what = "empty lists or nulls" if is_list(kinds[0]) else "nulls"
            raise UsageError(
                f"{name}: the column {', '.join(columns)} ({role}) holds only {what}; expected texts, or lists of "
                f"texts. Name another column: -c {role}=COLUMN"
            )


def _is_empty(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind.value_type if is_list(kind) else kind))


def column_texts(table: pa.Table, name: str, *, path: Path, first_row: int) -> pa.Array:
    """Return a column as texts, or as lists of texts if it holds lists.

    Args:
        table: rows of a file.
        name: the column.
        path: the file, for messages.
        first_row: the number of the first row in the file, for messages.

    Raises:
        InputError: a value has no text form, such as bytes that are not UTF-8; the message names file and row.
    """
    column = table[name].combine_chunks()
    kind = LIST if is_list(column.type) else TEXT
    try:
        return pc.cast(column, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = next((row for row in range(len(column)) if not _has_text(column.slice(row, 1), kind)), 0)
        raise InputError(
            f"{path}, row {first_row + row} (counted from 0): the column {name!r} holds a value that is not a text: "
            f"{first_line(error)}. Repair it, or run jina-data clean first, which drops such rows"
        ) from None


def _has_text(value: pa.Array, kind: pa.DataType) -> bool:
    try:
        pc.cast(value, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def as_lists(texts: pa.Array) -> pa.Array:
    """Return texts as lists of one text; null becomes an empty list, and lists stay."""
    if texts.type == LIST:
        return texts
    is_valid = texts.is_valid().to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(is_valid)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(ends), texts.drop_null())


def join_lists(columns: Sequence[pa.Array]) -> pa.Array:
    """Return the texts of several columns as one list for each row, in the order of the columns."""
    if len(columns) == 1:
        return as_lists(columns[0])
    rows: Any = zip(*(as_lists(column).to_pylist() for column in columns), strict=True)
    return pa.array([[text for texts in row for text in texts or ()] for row in rows], LIST)


def flat_texts(texts: pa.Array) -> pa.Array:
    """Return all texts of a column of texts or of lists of texts."""
    return texts.flatten() if texts.type == LIST else texts


def _shortened(kind: pa.DataType) -> str:
    name = str(kind)
    return name if len(name) <= 80 else f"{name[:77]}..."
