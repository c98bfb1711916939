"""The source of each row of a clean run, from its ledger: what trains and mines on a run tells its sources apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jina_data.errors import InputError, first_line

IntArray = npt.NDArray[np.int64]

NO_NAME = "(none)"
"""The source of rows whose column of sources is null."""


@dataclass(frozen=True)
class Labels:
    """The source of each of N rows: a number, (N,), and the name of each number."""

    codes: IntArray
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: pa.Array | pa.ChunkedArray) -> Self:
        """Number the names of some rows; rows without one share one."""
        texts = pc.fill_null(pc.cast(values, pa.string()), NO_NAME)
        encoded = pa.chunked_array([texts] if isinstance(texts, pa.Array) else texts.chunks, pa.string())
        encoded = encoded.combine_chunks().dictionary_encode()
        return cls(encoded.indices.to_numpy().astype(np.int64), tuple(encoded.dictionary.to_pylist()))

    def __getitem__(self, rows: slice) -> Labels:
        """Return the labels of some rows."""
        return Labels(self.codes[rows], self.names)


def run_sources(run: Path, files: Sequence[Path]) -> Labels | None:
    """Return the source of each row of a run folder's data, from its ledger; None where the run has but one.

    A pair for which mining wrote several rows has as many here.

    Args:
        run: the folder of a run of clean or mine.
        files: all files of its data, in their order.

    Raises:
        InputError: ledger and data disagree.
    """
    ledger = run / "ledger"
    if not ledger.is_dir() or not _has_several(run / "report.json"):
        return None
    parts = [_kept_sources(file) for file in sorted(ledger.glob("*.parquet"))]
    labels = Labels.of(pa.chunked_array(parts, pa.string()))
    n_rows = sum(pq.read_metadata(file).num_rows for file in files)
    if len(labels.codes) != n_rows:
        raise InputError(
            f"{run}: the ledger keeps {len(labels.codes):,} rows and data/ holds {n_rows:,}. Clean anew, or name "
            "the files in data/ instead of the folder"
        )
    stems = tuple(Path(name).name.partition(".")[0] or name for name in labels.names)
    return Labels(labels.codes, stems) if len(set(stems)) == len(stems) else labels


def _kept_sources(file: Path) -> pa.Array:
    """Return the source of each row that a part of a ledger says was kept, as often as it was written."""
    try:
        names = [name for name in ("kept", "source", "written") if name in pq.read_schema(file).names]
        rows = pq.read_table(file, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read as Parquet: {first_line(error)}. Copy the run anew") from None
    kept = rows.filter(rows["kept"])
    places = np.arange(kept.num_rows)
    if "written" in names:
        places = places.repeat(kept["written"].to_numpy())
    return kept["source"].combine_chunks().take(pa.array(places))


def _has_several(report: Path) -> bool:
    try:
        values = json.loads(report.read_text(encoding="utf-8"))
        return len(values["sources"]) > 1
    except (OSError, ValueError, KeyError, TypeError):
        return False
