"""Reads the source of each row of a run from its ledger, for training and mining."""

from __future__ import annotations

import json
import os
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

    def to_names(self) -> list[str]:
        """Return the source of each row."""
        return [self.names[code] for code in self.codes]


def run_sources(run: Path, files: Sequence[Path], *, always: bool = False) -> SourceLabels | None:
    """Return the source of each row of a run folder's data, from its ledger; None if there is no ledger.

    A pair for which mining wrote several rows has several labels.

    Args:
        run: the folder of a run of clean, mine or negate.
        files: the files of its data, in order.
        always: whether to return labels if the run has one source only, instead of None.

    Raises:
        InputError: the ledger and the data have different numbers of rows.
    """
    ledger = run / "ledger"
    if not ledger.is_dir():
        return _column_sources(files) if always else None
    if not always and not _has_several_sources(run / "report.json"):
        return None
    parts = [_kept_sources(file) for file in sorted(ledger.glob("*.parquet"))]
    labels = SourceLabels.from_names(pa.chunked_array(parts, pa.string()))
    n_rows = sum(count_rows_of(file) for file in files)
    if len(labels.codes) != n_rows:
        raise InputError(
            f"{run}: the ledger has {len(labels.codes):,} kept rows, but data/ has {n_rows:,} rows. Run the command "
            "again, or name the files in data/ instead of the folder"
        )
    return SourceLabels(labels.codes, source_names(run, labels.names))


def _column_sources(files: Sequence[Path]) -> SourceLabels | None:
    """Return the sources in the column `source`, as `negate` writes it; None if a file lacks it."""
    if not files or any(file.suffix != ".parquet" or "source" not in pq.read_schema(file).names for file in files):
        return None
    columns = [pq.read_table(file, columns=["source"], partitioning=None)["source"] for file in files]
    return SourceLabels.from_names(pa.chunked_array([chunk for column in columns for chunk in column.chunks]))


def count_rows_of(file: Path) -> int:
    """Return the number of rows of a file of data: Parquet, or one row per line."""
    if file.suffix == ".parquet":
        return int(pq.read_metadata(file).num_rows)
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def source_names(run: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the sources of a run, with short names for input files: they have no local folder.

    The short name is that of the file without suffix; with suffix, or with folders, if it would not be unique.
    """
    inputs = _input_names(run)
    files = [name for name in names if (inputs is None or name in inputs) and not _is_remote(name)]
    others = set(names) - set(files)
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in files]) if files else ""  # noqa: PTH100, PTH120
    stems = {name: Path(name).name.partition(".")[0] or name for name in files}
    lasts = {name: Path(name).name for name in files}
    for short in (stems, lasts, {name: os.path.relpath(name, folder) for name in files}):
        if len({*short.values(), *others}) == len(set(names)):
            return tuple(short.get(name, name) for name in names)
    return tuple(names)


def _is_remote(name: str) -> bool:
    return "://" in name or name.startswith("datasets:")


def _input_names(run: Path) -> set[str] | None:
    """Return the names of the input files of a run; None if it has no manifest."""
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        return {file["name"] for file in manifest["inputs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
