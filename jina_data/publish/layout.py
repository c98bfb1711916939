"""Defines the default config of a dataset, with the columns for training; the config `full` has all columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.arrow.types import is_list, is_string

FULL = "full"


@dataclass(frozen=True)
class ConfigLayout:
    """Maps the rows of a run to rows of the default config.

    `roles` maps each role to columns of the run, in the order of training. A role with several columns gives
    `negative_1`, `negative_2`, ...; a role in `exploded` gives one row for each of its texts instead.
    """

    name: str
    roles: Mapping[str, Sequence[str]]
    exploded: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns of the default config, in the order of training."""
        names: list[str] = []
        for role, columns in self.roles.items():
            single = len(columns) == 1 or role in self.exploded
            names += [role] if single else [f"{role}_{number}" for number in range(1, len(columns) + 1)]
        return names

    def project(self, batch: pa.RecordBatch) -> pa.Table:
        """Return the rows of the default config: only the columns for training, without rows that have a null."""
        arrays: dict[str, pa.Array] = {}
        for role, columns in self.roles.items():
            if role in self.exploded:
                arrays[role] = _as_list([batch.column(name) for name in columns])
            elif len(columns) == 1:
                arrays[role] = batch.column(columns[0])
            else:
                arrays |= {f"{role}_{number}": batch.column(name) for number, name in enumerate(columns, 1)}
        for role in self.exploded:
            arrays = _explode(arrays, role)
        plain = {name: array.cast(pa.string()) if is_string(array.type) else array for name, array in arrays.items()}
        table = pa.table(plain)
        return table if not any(column.null_count for column in table.columns) else table.drop_null()


def make_layout(roles: Mapping[str, Sequence[str]], schema: pa.Schema, nulls: Mapping[str, int]) -> ConfigLayout:
    """Choose the default config from the roles, the schema, and the number of nulls in each column.

    Lists of texts become one row for each text, and so do several columns of negatives if any has a null, because
    trainers accept neither lists nor nulls.
    """
    exploded = [
        role
        for role, columns in roles.items()
        if any(is_list(schema.field(name).type) for name in columns)
        or (role == "negative" and len(columns) > 1 and any(nulls.get(name) for name in columns))
    ]
    return ConfigLayout(default_name(roles), roles, tuple(exploded))


def default_name(roles: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the default config: triplet, pair or document."""
    if "negative" in roles:
        return "triplet"
    text_roles = [role for role in roles if role in ("anchor", "positive", "sentence1", "sentence2")]
    return "pair" if len(text_roles) > 1 else "document"


def _as_list(columns: Sequence[pa.Array]) -> pa.Array:
    """Return one list of texts for each row, from a list column or from several columns, without nulls."""
    if len(columns) == 1 and is_list(columns[0].type):
        return columns[0]
    values = [
        [text for cell in row for text in (cell if isinstance(cell, list) else [cell]) if text is not None]
        for row in zip(*(column.to_pylist() for column in columns), strict=True)
    ]
    return pa.array(values, pa.list_(pa.string()))


def _explode(arrays: Mapping[str, pa.Array], role: str) -> dict[str, pa.Array]:
    """Make one row for each text of a list column; a row without texts gives no row."""
    lists = arrays[role]
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    parents = pc.list_parent_indices(lists)
    flat = pc.list_flatten(lists)
    return {name: flat if name == role else array.take(parents) for name, array in arrays.items()}


def row_texts(batch: pa.RecordBatch, roles: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the texts of each row that tie it to other rows: all texts except negatives."""
    names = [name for role, columns in roles.items() if role != "negative" for name in columns]
    text_columns = [column for name in names if _holds_texts((column := batch.column(name)).type)]
    return [
        [text for cell in row for text in (cell if isinstance(cell, list) else [cell]) if text is not None]
        for row in zip(*(column.to_pylist() for column in text_columns), strict=True)
    ]


def _holds_texts(dtype: pa.DataType) -> bool:
    return is_string(dtype) or (is_list(dtype) and is_string(dtype.value_type))


def text_keys(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return a 64-bit key for each of N texts; texts that are equal after folding have the same key.

    If two different texts share a key by chance, they only stay in the same split, which does no harm.
    """
    from jina_data.kernels.keys import content_keys

    return content_keys([pa.array(texts, pa.large_string())], case=True, whitespace=True)[:, 0]
