"""Carries the sources of rows from a run to the next one: the ledger of the first run has them, its data may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import Plan
from jina_data.run.files import atomic_path
from jina_data.run.inputs import run_of_file
from jina_data.run.sources import count_rows_of

GROUP_ROWS = 2**17


def write_sources(folder: CleanFolder, plan: Plan) -> None:
    """Write the sources of the rows of every input file that is the data of a run, unless a column has them.

    Raises:
        InputError: the ledger of a run does not fit its data.
    """
    if plan.views[0].source is not None:
        return
    for file in plan.inputs:
        path = Path(file.name)
        target = folder.sources(file.index)
        if not file.is_local or target.exists() or (run := run_of_file(path)) is None or path not in run.files:
            continue
        if (labels := run.labels()) is None:
            continue
        start = sum(count_rows_of(earlier) for earlier in run.files[: run.files.index(path)])
        part = labels[start : start + count_rows_of(path)]
        names = pa.DictionaryArray.from_arrays(pa.array(part.codes, pa.int32()), pa.array(part.names, pa.string()))
        with atomic_path(target) as temporary:
            pq.write_table(pa.table({"source": names}), temporary, compression="zstd", row_group_size=GROUP_ROWS)


def known_sources(folder: CleanFolder, file_index: int, rows: npt.NDArray[np.int64]) -> pa.Array | None:
    """Return the sources of rows of an input file, by their ascending numbers; None if the file is its own source."""
    path = folder.sources(file_index)
    if not path.exists():
        return None
    if not len(rows):
        return pa.array([], pa.string())
    with pq.ParquetFile(path) as stored:
        first, last = int(rows[0]) // GROUP_ROWS, int(rows[-1]) // GROUP_ROWS
        table = stored.read_row_groups(list(range(first, last + 1)))
    return table.column("source").cast(pa.string()).combine_chunks().take(pa.array(rows - first * GROUP_ROWS))
