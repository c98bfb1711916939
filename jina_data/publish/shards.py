"""Writes the rows of a split as Parquet shards, and measures the shards by reading them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jina_data.publish.checksum import Checksum
from jina_data.run.files import remove

GROUP_BYTES = 16 * 2**20
"""Approximate size of a row group in memory; a reader of one row loads a whole row group."""


class ShardWriter:
    """Writes the shards `CONFIG/SPLIT-00000-of-0000N.parquet`; a shard ends after the row group that fills it.

    Pages use content-defined chunking, so storage that deduplicates chunks uploads only new content.
    """

    def __init__(self, folder: Path, config: str, split: str, *, schema: pa.Schema, shard_bytes: int) -> None:
        self.folder, self.split, self.schema, self.shard_bytes = folder / config, split, schema, shard_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._buffered: list[pa.Table] = []
        self._buffered_bytes = 0
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Add rows."""
        if not table.num_rows:
            return
        self._buffered.append(table)
        self._buffered_bytes += table.nbytes
        if self._buffered_bytes >= GROUP_BYTES:
            self._write_group()

    def close(self) -> tuple[Path, ...]:
        """Write the remaining rows, give the shards their final names, and return their paths, at least one."""
        if self._buffered or not self._parts:
            self._write_group()
        self._end_shard()
        names = [f"{self.split}-{number:05d}-of-{len(self._parts):05d}.parquet" for number in range(len(self._parts))]
        return tuple(part.rename(self.folder / name) for part, name in zip(self._parts, names, strict=True))

    def discard(self) -> None:
        """Remove the shards that were written so far."""
        self._end_shard()
        for part in self._parts:
            remove(part)

    def _write_group(self) -> None:
        rows = pa.concat_tables([self.schema.empty_table(), *self._buffered]).combine_chunks()
        self._buffered, self._buffered_bytes = [], 0
        if self._writer is None:
            self._parts.append(self.folder / f".{self.split}-{len(self._parts):05d}.tmp")
            self._writer = pq.ParquetWriter(
                self._parts[-1],
                self.schema,
                compression="zstd",
                use_content_defined_chunking=True,
                write_page_index=True,
            )
        self._writer.write_table(rows, row_group_size=max(1, rows.num_rows))
        if self._parts[-1].stat().st_size >= self.shard_bytes:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_shard(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the row groups of a shard as `datasets` reads them."""
    with path.open("rb") as stored:
        for fragment in ds.ParquetFileFormat().make_fragment(stored).split_by_row_group():
            n_rows = fragment.row_groups[0].num_rows
            yield from fragment.to_batches(batch_size=max(1, n_rows), batch_readahead=0, fragment_readahead=0)


def measure_shards(paths: tuple[Path, ...]) -> tuple[Checksum, int]:
    """Return the checksum of the rows in shards, and their size in memory in bytes, as `datasets` counts it."""
    checksum, n_bytes = Checksum(), 0
    for path in paths:
        for batch in read_shard(path):
            table = pa.Table.from_batches([batch])
            checksum.add(table)
            n_bytes += table.nbytes
    return checksum, n_bytes
