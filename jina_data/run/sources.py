"""Reads the source of each row of a run from its ledger, for training and mining."""

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
"""The source of rows with a null in the source column."""


@dataclass(frozen=True)
class SourceLabels:
    """The source of each of N rows: its code, (N,), and the name of each code."""

    codes: IntArray
    names: tuple[str, ...]

    @classmethod
    def from_names(cls, values: pa.Array | pa.ChunkedArray) -> Self:
        """Encode the source names of rows; null is a source of its own."""
        texts = pc.fill_null(pc.cast(values, pa.string()), NO_NAME)
        encoded = pa.chunked_array([texts] if isinstance(texts, pa.Array) else texts.chunks, pa.string())
        encoded = encoded.combine_chunks().dictionary_encode()
        return cls(encoded.indices.to_numpy().astype(np.int64), tuple(encoded.dictionary.to_pylist()))

    def __getitem__(self, rows: slice) -> SourceLabels:
        """Return the labels of a slice of rows."""
        return SourceLabels(self.codes[rows], self.names)


def run_sources(run: Path, files: Sequence[Path]) -> SourceLabels | None:
    """Return the source of each row of a run folder's data, from its ledger; None if the run has one source only.

    A pair for which mining wrote several rows has several labels.

    Args:
        run: the folder of a run of clean or mine.
        files: all files of its data, in order.

    Raises:
        InputError: the ledger and the data have different numbers of rows.
    """
    ledger = run / "ledger"
    if not ledger.is_dir() or not _has_several_sources(run / "report.json"):
        return None
    parts = [_kept_sources(file) for file in sorted(ledger.glob("*.parquet"))]
    labels = SourceLabels.from_names(pa.chunked_array(parts, pa.string()))
    n_rows = sum(pq.read_metadata(file).num_rows for file in files)
    if len(labels.codes) != n_rows:
        raise InputError(
            f"{run}: the ledger has {len(labels.codes):,} kept rows, but data/ has {n_rows:,} rows. Run the command "
            "again, or name the files in data/ instead of the folder"
        )
    stems = tuple(Path(name).name.partition(".")[0] or name for name in labels.names)
    return SourceLabels(labels.codes, stems) if len(set(stems)) == len(stems) else labels


def _kept_sources(file: Path) -> pa.Array:
    """Return the sources of the kept rows of a ledger file, each repeated for every row that was written for it."""
    try:
        names = [name for name in ("kept", "source", "written") if name in pq.read_schema(file).names]
        rows = pq.read_table(file, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read as Parquet: {first_line(error)}. Copy the run again") from None
    kept = rows.filter(rows["kept"])
    indices = np.arange(kept.num_rows)
    if "written" in names:
        indices = indices.repeat(kept["written"].to_numpy())
    return kept["source"].combine_chunks().take(pa.array(indices))


def _has_several_sources(report: Path) -> bool:
    try:
        values = json.loads(report.read_text(encoding="utf-8"))
        return len(values["sources"]) > 1
    except (OSError, ValueError, KeyError, TypeError):
        return False
