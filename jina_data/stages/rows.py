"""Batches of rows as stages get them: `View` (columns and roles), `Rows` (a batch), `Texts` (the texts of a role)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.errors import RecipeError
from jina_data.roles import is_text

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """The columns of a table at one stage, and the roles of some of them.

    `roles` maps a role to its columns: one string column, one list-of-strings column, or several string columns
    (negative_1 .. negative_n). `source` is the column with the source of a row, or None if the file is the source.
    `origin` maps renamed columns to their names in the input.
    """

    schema: pa.Schema
    roles: Mapping[str, tuple[str, ...]]
    source: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    def input_name(self, column: str) -> str:
        """Return the name of a column in the input, before any `select` renamed it."""
        return self.origin.get(column, column)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that hold text, each once, in the order of the roles."""
        return tuple(dict.fromkeys(column for columns in self.roles.values() for column in columns))

    def chosen(self, roles: Sequence[str] | None, stage: str) -> tuple[str, ...]:
        """Return the roles that a stage works on: the given roles, or all if None.

        Raises:
            RecipeError: the table lacks a role.
        """
        if roles is None:
            return tuple(self.roles)
        for role in roles:
            if role not in self.roles:
                raise RecipeError(
                    f"stage {stage}: the table has no role {role!r}; its roles are {', '.join(self.roles)}. "
                    f"Assign a column to it: -c {role}=COLUMN."
                )
        return tuple(roles)

    def one_text(self, role: str, stage: str) -> str:
        """Return the column of a role that must hold one text a row.

        Raises:
            RecipeError: the table lacks the role, or it is a list or several columns.
        """
        self.chosen((role,), stage)
        columns = self.roles[role]
        if len(columns) > 1 or not is_text(self.schema.field(columns[0]).type):
            raise RecipeError(
                f"stage {stage}: {role} must be one column with one text a row; it is {', '.join(columns)}. "
                f"Assign one such column with -c {role}=COLUMN; make a row of each item of a list with --explode COLUMN"
            )
        return columns[0]


@dataclass(frozen=True)
class Texts:
    """The texts of one role in a batch, flat.

    `values` holds the T texts that are not null; `owner` (T, ascending) is the row of each. A row has no text where
    its column is null or its list is empty, and several where the role is a list.
    """

    values: pa.LargeStringArray
    owner: IntArray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Rows:
    """A batch of N rows on its way through the stages.

    `batch` holds the columns that stages may read, under their current names and with their current texts. `keys` are
    the keys that a barrier stage computed for these rows before it was fitted.
    """

    batch: pa.RecordBatch
    view: View
    row_ids: pa.UInt64Array
    sources: pa.StringArray
    keys: pa.RecordBatch | None = None

    def __len__(self) -> int:
        return len(self.row_ids)

    def texts(self, role: str) -> Texts:
        """Return the texts of a role, flattened over lists and over several columns, in row order."""
        return self._flat[role]

    @cached_property
    def _flat(self) -> dict[str, Texts]:
        return {
            role: flatten([self.batch.column(name) for name in columns]) for role, columns in self.view.roles.items()
        }

    def take(self, keep: BoolArray) -> Rows:
        """Return the rows where `keep` (N,) is true."""
        if keep.all():
            return self
        mask = pa.array(keep)
        keys = None if self.keys is None else self.keys.filter(mask)
        return Rows(self.batch.filter(mask), self.view, self.row_ids.filter(mask), self.sources.filter(mask), keys)

    def with_columns(self, changed: Mapping[str, pa.Array]) -> Rows:
        """Return the same rows with new values in the `changed` columns."""
        if not changed:
            return self
        arrays = [changed.get(name, self.batch.column(i)) for i, name in enumerate(self.batch.schema.names)]
        return replace(self, batch=pa.RecordBatch.from_arrays(arrays, names=self.batch.schema.names))


def flatten(columns: Sequence[pa.Array]) -> Texts:
    """Flatten text columns and columns of lists of texts into the texts of each row, without nulls."""
    parts = [_flatten_column(column) for column in columns]
    if len(parts) == 1:
        return parts[0]
    values = pa.concat_arrays([part.values for part in parts])
    owner = np.concatenate([part.owner for part in parts])
    # A stable sort keeps the texts of a row in the order of the columns.
    order = np.argsort(owner, kind="stable")
    return Texts(values.take(pa.array(order)), owner[order])


def _flatten_column(column: pa.Array) -> Texts:
    if is_text(column.type):
        values, owner = column, np.arange(len(column), dtype=np.int64)
    else:
        values, owner = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    if values.null_count:
        present = values.is_valid()
        values, owner = values.filter(present), owner[present.to_numpy(zero_copy_only=False)]
    return Texts(values.cast(pa.large_string()), owner.astype(np.int64, copy=False))


def per_row(texts: Texts, values: npt.NDArray[Any], n_rows: int, how: str = "min") -> FloatArray:
    """Reduce one value a text (T,) to one a row (N,), "min" or "max" over its texts; NaN for a row without text."""
    out = np.full(n_rows, np.inf if how == "min" else -np.inf)
    (np.minimum if how == "min" else np.maximum).at(out, texts.owner, values.astype(np.float64))
    out[np.isinf(out)] = np.nan
    return out
