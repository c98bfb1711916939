"""Numbers for the contents of rows, as the stages that drop repeats compare them."""

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


def find_repeat_stages(plan: Plan) -> list[int]:
    """Return the indices of the stages that drop repeated content."""
    return [index for index, stage in enumerate(plan.stages) if isinstance(stage, ExactDedup)]


def content_numbers(plan: Plan, index: int, rows: pa.Table) -> KeyArray:
    """Return a number for the content of each row of the input, as the `exact_dedup` at `index` would compare it.

    Changes by earlier stages are not included, except the normal form of Unicode.
    """
    stage, view = plan.stages[index], plan.views[index]
    assert isinstance(stage, ExactDedup)
    is_normalized = any(isinstance(earlier, Normalize) for earlier in plan.stages[:index])
    names = view.schema.names if stage.roles == "row" else _text_columns(view, stage.roles)
    columns = []
    for name in dict.fromkeys(view.input_name(name) for name in names):
        column = rows.column(name) if name in rows.column_names else pa.nulls(len(rows), pa.string())
        columns.append(pc.utf8_normalize(column, "NFC") if is_normalized and is_text(column.type) else column)
    keys = content_keys(columns, case=stage.fold_case, whitespace=stage.fold_whitespace)
    return np.ascontiguousarray(keys[:, 0])


def _text_columns(view: View, roles: Sequence[str] | None) -> list[str]:
    return [name for role, names in view.roles.items() if roles is None or role in roles for name in names]


def count_keys(batches: Sequence[KeyArray]) -> tuple[KeyArray, npt.NDArray[np.int64]]:
    """Return the distinct numbers of contents, sorted, and the count of each."""
    keys, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *batches]), return_counts=True)
    return keys, counts.astype(np.int64)
