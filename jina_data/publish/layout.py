"""The configs of a data set: a default one with what training needs, and `full` with everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.read.schema import is_list, is_string

FULL = "full"


@dataclass(frozen=True)
class Layout:
    """How rows become those of the default config.

    `roles` maps the role to columns of the rows, in the order of training. A role in several columns gives
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
        """Return the rows of the default config: only what training needs, none with a null in it."""
        arrays: dict[str, pa.Array] = {}
        for role, columns in self.roles.items():
            if role in self.exploded:
                arrays[role] = _as_list([batch.column(name) for name in columns])
            elif len(columns) == 1:
                arrays[role] = batch.column(columns[0])
            else:
                arrays |= {f"{role}_{at}": batch.column(name) for at, name in enumerate(columns, 1)}
        for role in self.exploded:
            arrays = _explode(arrays, role)
        plain = {name: array.cast(pa.string()) if is_string(array.type) else array for name, array in arrays.items()}
        table = pa.table(plain)
        return table if not any(column.null_count for column in table.columns) else table.drop_null()


def make_layout(roles: Mapping[str, Sequence[str]], schema: pa.Schema, nulls: Mapping[str, int]) -> Layout:
    """Choose the default config of rows with these roles, columns and numbers of nulls in each.

    Lists of texts, and several columns of negatives of which some rows lack one, become one row for each text: a
    trainer takes neither lists nor nulls.
    """
    exploded = [
        role
        for role, columns in roles.items()
        if any(is_list(schema.field(name).type) for name in columns)
        or (role == "negative" and len(columns) > 1 and any(nulls.get(name) for name in columns))
    ]
    return Layout(default_name(roles), roles, tuple(exploded))


def default_name(roles: Mapping[str, Sequence[str]]) -> str:
    """Return what the default config is called, by what its rows are."""
    if "negative" in roles:
        return "triplet"
    return (
        "pair"
        if len([role for role in roles if role in ("anchor", "positive", "sentence1", "sentence2")]) > 1
        else ("document")
    )


def _as_list(columns: Sequence[pa.Array]) -> pa.Array:
    """Return one list of texts for each row, of a list column or of several columns; nulls are left out."""
    if len(columns) == 1 and is_list(columns[0].type):
        return columns[0]
    values = [
        [text for cell in row for text in (cell if isinstance(cell, list) else [cell]) if text is not None]
        for row in zip(*(column.to_pylist() for column in columns), strict=True)
    ]
    return pa.array(values, pa.list_(pa.string()))


def _explode(arrays: Mapping[str, pa.Array], role: str) -> dict[str, pa.Array]:
    """Make one row of each text of a list column; rows without any are gone."""
    lists = arrays[role]
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    parents = pc.list_parent_indices(lists)
    flat = pc.list_flatten(lists)
    return {name: flat if name == role else array.take(parents) for name, array in arrays.items()}


def row_texts(batch: pa.RecordBatch, roles: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the texts of each row by which rows belong together: all but the negatives and labels."""
    columns = [name for role, names in roles.items() if role != "negative" for name in names]
    texts = [column for name in columns if _holds_texts((column := batch.column(name)).type)]
    return [
        [text for cell in row for text in (cell if isinstance(cell, list) else [cell]) if text is not None]
        for row in zip(*(column.to_pylist() for column in texts), strict=True)
    ]


def _holds_texts(kind: pa.DataType) -> bool:
    return is_string(kind) or (is_list(kind) and is_string(kind.value_type))


def text_keys(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return a 64-bit key of each of N folded texts; texts that fold to the same have the same key.

    Two texts that share a key by chance are only kept on the same side of a split, which does no harm.
    """
    from jina_data.kernels.keys import content_keys

    return content_keys([pa.array(texts, pa.large_string())], case=True, whitespace=True)[:, 0]
