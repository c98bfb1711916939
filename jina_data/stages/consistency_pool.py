"""The pool of `consistency`: which positives are in it, and which of them do not compete for an anchor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.run.resources import allocate
from jina_data.stages.base import RemainingRows
from jina_data.stages.rows import Rows

if TYPE_CHECKING:
    from jina_data.kernels.rank import Exclusions

ROLES = ("anchor", "positive")
ANCHOR_HIGH, ANCHOR_LOW, ORDINAL = "anchor_high.npy", "anchor_low.npy", "ordinal.npy"
CHUNK = 2**12
"""Number of pool rows, or of excluded pairs, that are processed at a time. Their vectors are scattered over the cache,
and every page that is read there counts as memory of this process."""

KEYS = ", ".join(f"{role}{suffix}_{half}" for role in ROLES for suffix in ("", "_text") for half in ("high", "low"))
"""The columns of keys: of the content of each role, and of its exact text with the prompt."""


def choose_pool(remaining: RemainingRows, pool_size: int, *, by_source: bool) -> dict[str, list[int]]:
    """Create the table `pool`, and return the span [start, stop) of ordinals of each source ("*": of all sources).

    The pool has one row for each content of a part, of which those with the smallest seeded hashes are chosen. Ordinals
    number the rows of the pool by part, so those of a part are contiguous.
    """
    part = "source" if by_source else "'*'"
    remaining.con.execute(
        f"""
        CREATE TEMP TABLE pool AS
        WITH contents AS (
            SELECT {part} AS part, positive_high, positive_low, min(hash) AS hash, min(row_id) AS row_id,
                   arg_min(positive_text_high, row_id) AS text_high, arg_min(positive_text_low, row_id) AS text_low
            FROM {remaining.name} GROUP BY part, positive_high, positive_low
        ), chosen AS (
            SELECT * FROM contents QUALIFY row_number() OVER (PARTITION BY part ORDER BY hash, row_id) <= ?
        )
        SELECT row_number() OVER (ORDER BY part, hash, row_id) - 1 AS ordinal, * FROM chosen ORDER BY ordinal
        """,
        [pool_size],
    )
    query = "SELECT part, min(ordinal), max(ordinal) + 1 FROM pool GROUP BY part ORDER BY part"
    return {part: [start, stop] for part, start, stop in remaining.con.execute(query).fetchall()}


def pool_rows(remaining: RemainingRows, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
    """Return ids and keys of the texts of the rows of the table `pool` with ordinals from `start` to before `stop`."""
    rows: dict[str, npt.NDArray[Any]] = remaining.con.execute(
        "SELECT text_high AS positive_text_high, text_low AS positive_text_low, row_id FROM pool "
        "WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal",
        [start, stop],
    ).fetchnumpy()
    return rows


@dataclass(frozen=True)
class Spans:
    """The part of the pool in which each of N pairs is ranked: `names` (N,), and the span [start, stop) of each part.

    Iterating yields the indices of the pairs of each part, and its span.
    """

    names: npt.NDArray[np.object_]
    parts: Mapping[str, Sequence[int]]
    most: int | None = None
    """The maximum number of texts of each part that count, which are a random sample of it."""

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.int64], tuple[int, int]]]:
        for name in sorted(set(self.names.tolist())):
            start, stop = self.parts[name]
            stop = stop if self.most is None else min(stop, start + self.most)
            yield np.flatnonzero(self.names == name), (start, stop)

    def take(self, rows: npt.NDArray[np.int64]) -> Spans:
        """Return the parts of some pairs."""
        return Spans(self.names[rows], self.parts, self.most)


def texts_of(rows: Rows, role: str) -> list[str]:
    """Return the text of each row; null counts as an empty text."""
    return [text or "" for text in rows.batch.column(rows.view.roles[role][0]).to_pylist()]


def contents(columns: Sequence[list[str]], seed: int | None = None) -> KeyArray:
    """Return the 128-bit keys of texts, ignoring case and white space, (N, 2)."""
    return content_keys(
        [pa.array(texts, pa.large_string()) for texts in columns], case=True, whitespace=True, seed=seed
    )


def table_keys(table: Mapping[str, npt.NDArray[Any]], name: str) -> KeyArray:
    """Return the 128-bit keys in two columns of a table, (N, 2)."""
    return np.column_stack([table[f"{name}_{half}"] for half in ("high", "low")])


def row_keys(batch: pa.RecordBatch, name: str) -> KeyArray:
    """Return the 128-bit keys in two columns of a batch, (N, 2)."""
    return np.column_stack([batch.column(f"{name}_{half}").to_numpy() for half in ("high", "low")])


def write_excluded(remaining: RemainingRows) -> int:
    """Write the (anchor, pool ordinal) of all texts of the pool that are positives of an anchor; return the count.

    Three arrays in parallel, sorted by anchor and ordinal, so that `read_excluded` can search them in place.
    """
    con = remaining.con
    con.execute(f"""
        CREATE TEMP TABLE excluded AS
        SELECT DISTINCT anchor_high, anchor_low, ordinal
        FROM {remaining.name} JOIN pool USING (positive_high, positive_low)
    """)
    total = int(con.execute("SELECT count(*) FROM excluded").fetchall()[0][0])
    columns = {ANCHOR_HIGH: np.uint64, ANCHOR_LOW: np.uint64, ORDINAL: np.int64}
    sinks = [_open_sink(remaining.folder / name, kind, total) for name, kind in columns.items()]
    written = 0
    for batch in con.sql("SELECT * FROM excluded ORDER BY ALL").to_arrow_reader(CHUNK):
        for sink, column in zip(sinks, batch.columns, strict=True):
            sink[written : written + len(batch)] = column.to_numpy()
        written += len(batch)
    for sink in sinks:
        sink.flush()
    con.execute("DROP TABLE excluded")
    return total


def _open_sink(path: Path, kind: npt.DTypeLike, total: int) -> Any:
    """Map a new array of N numbers into memory, with its space on the disk reserved."""
    sink = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(total,))
    with path.open("r+b") as file:
        allocate(file, path.stat().st_size)
    return sink


def read_excluded(folder: Path, anchors: KeyArray) -> Exclusions:
    """Return the texts of the pool that do not compete for each of N anchors."""
    from jina_data.kernels.rank import Exclusions, find_runs

    high, low, ordinals = (np.load(folder / name, mmap_mode="r") for name in (ANCHOR_HIGH, ANCHOR_LOW, ORDINAL))
    start, stop = np.empty(len(anchors), np.int64), np.empty(len(anchors), np.int64)
    anchor_high, anchor_low = np.ascontiguousarray(anchors.T)
    find_runs(np.asarray(high), np.asarray(low), anchor_high, anchor_low, start, stop)
    return Exclusions(start, stop, np.asarray(ordinals))
