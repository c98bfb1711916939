"""The contents of rows, counted as the stages that drop repeats would see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.clean.plan import Plan
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.roles import is_text
from jina_data.stages.exact_dedup import ExactDedup
from jina_data.stages.normalize import Normalize
from jina_data.stages.rows import View


def repeats(plan: Plan) -> list[int]:
    """Return the stages that drop repeated content."""
    return [index for index, stage in enumerate(plan.stages) if isinstance(stage, ExactDedup)]


def repeat_keys(plan: Plan, index: int, rows: pa.Table) -> KeyArray:
    """Return a number for the content of each row, as an `exact_dedup` would see it in the input.

    What stages before it change is not known here, but for the normal form of Unicode.
    """
    stage, view = plan.stages[index], plan.views[index]
    assert isinstance(stage, ExactDedup)
    composes = any(isinstance(before, Normalize) for before in plan.stages[:index])
    names = view.schema.names if stage.roles == "row" else _text_columns(view, stage.roles)
    columns = []
    for name in dict.fromkeys(view.input_name(name) for name in names):
        column = rows.column(name) if name in rows.column_names else pa.nulls(len(rows), pa.string())
        columns.append(pc.utf8_normalize(column, "NFC") if composes and is_text(column.type) else column)
    keys = content_keys(columns, case=stage.fold_case, whitespace=stage.fold_whitespace)
    return np.ascontiguousarray(keys[:, 0])


def _text_columns(view: View, roles: Sequence[str] | None) -> list[str]:
    return [name for role, names in view.roles.items() if roles is None or role in roles for name in names]


def count_keys(found: Sequence[KeyArray]) -> tuple[KeyArray, npt.NDArray[np.int64]]:
    """Return all numbers of contents, sorted, and how often each occurs."""
    keys, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *found]), return_counts=True)
    return keys, counts.astype(np.int64)
