"""Reads reference files: an earlier run's data, or other files, whose rows a stage compares with those of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, RunFolderError
from jina_data.read import ROW, InputFile, InputOptions, all_ranges, resolve_inputs, sample_schema
from jina_data.read.model import DETECTED, ROW_BITS
from jina_data.run.names import plain_name


@dataclass(frozen=True)
class ReferenceRows:
    """The reference rows of a stage: files, and the DuckDB relation `name` of their `packed_row_id` and keys."""

    files: tuple[InputFile, ...]
    name: str

    def row_name(self, packed_row_id: int) -> str:
        """Return the name "file:row" of a row."""
        return f"{plain_name(self.files[packed_row_id >> ROW_BITS].name)}:{packed_row_id & (2**ROW_BITS - 1)}"

    def sql_row_name(self, packed_row_id: str) -> str:
        """Return an SQL expression for the name "file:row" of a row."""
        # DuckDB lists count from 1.
        names = ", ".join("'" + plain_name(file.name).replace("'", "''") + "'" for file in self.files)
        file, row = f"({packed_row_id} >> {ROW_BITS})::BIGINT", f"({packed_row_id} & {2**ROW_BITS - 1})"
        return f"([{names}])[{file} + 1] || ':' || {row}"


def resolve_reference_files(names: Sequence[str], settings: InputOptions = DETECTED) -> tuple[InputFile, ...]:
    """Return the files that the given names stand for. The folder of a finished run stands for its data/.

    Raises:
        InputError: a file is missing or of an unknown format.
        RunFolderError: a run folder is not finished.
    """
    expanded: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        if (path / "manifest.json").is_file():
            expanded += [str(shard) for shard in sorted((path / "data").glob("part-*")) if _has_rows(shard)]
        elif (path / ".work").is_dir():
            raise RunFolderError(f"{name} holds an unfinished run; expected a finished run, or files")
        else:
            expanded.append(name)
    return tuple(resolve_inputs(expanded, settings)) if expanded else ()


def _has_rows(shard: Path) -> bool:
    return pq.read_metadata(shard).num_rows > 0 if shard.suffix == ".parquet" else shard.stat().st_size > 0


def read_reference_file(file: InputFile, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """Read columns of a file in tables with `__row`, each with the number of the table's first row in the file.

    Raises:
        InputError: the file lacks a column, or a record cannot be read.
    """
    schema = sample_schema(file)
    for column in columns:
        if column not in schema.names:
            raise InputError(
                f"{file.name} has no column {column!r}; its columns are {', '.join(schema.names)}. "
                "Files to compare with need the text columns of this run"
            )
    first_row = 0
    for parsed in all_ranges(file, schema):
        for broken in parsed.unreadable[:1]:
            raise InputError(f"{file.name}: row {first_row + broken.row} cannot be read: {broken.error}")
        yield first_row, parsed.rows.select([ROW, *columns])
        first_row += parsed.row_count
