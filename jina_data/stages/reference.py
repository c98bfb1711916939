"""Rows outside a run that stages compare with: an earlier run's data, or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, RunFolderError
from jina_data.read import ROW, InputFile, all_ranges, resolve_inputs, sample_schema

ROW_BITS = 40
"""The place of an outside row is (number of its file << ROW_BITS) + (its row in the file)."""


@dataclass(frozen=True)
class ReferenceRows:
    """The outside rows of a stage: their files, and a DuckDB relation `name` with `place` and the stage's keys."""

    files: tuple[InputFile, ...]
    name: str

    def row_name(self, place: int) -> str:
        """Return the place of a row as "file:row"."""
        return f"{self.files[place >> ROW_BITS].name}:{place & (2**ROW_BITS - 1)}"

    def sql_row_name(self, place: str) -> str:
        """Return an SQL expression for the "file:row" of a place."""
        names = ", ".join("'" + file.name.replace("'", "''") + "'" for file in self.files)
        return f"([{names}])[({place} >> {ROW_BITS})::BIGINT + 1] || ':' || ({place} & {2**ROW_BITS - 1})"


def resolve_outside(names: Sequence[str]) -> tuple[InputFile, ...]:
    """Return the files that some names stand for; a finished run's folder stands for its data/.

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
            raise RunFolderError(f"{name} holds an unfinished run; expected a finished one, or files")
        else:
            expanded.append(name)
    return tuple(resolve_inputs(expanded)) if expanded else ()


def _has_rows(shard: Path) -> bool:
    return pq.read_metadata(shard).num_rows > 0 if shard.suffix == ".parquet" else shard.stat().st_size > 0


def read_outside(file: InputFile, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """Read some columns of a file: tables with `__row`, each with the number of the file's row that its 0 stands for.

    Raises:
        InputError: the file lacks a column, or holds a record that cannot be read.
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
