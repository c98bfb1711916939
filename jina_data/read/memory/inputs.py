"""Takes tables, frames, datasets and rows from memory as inputs, copied to files so that they are read like files.

A copy is Parquet or, for rows that are dicts, JSON lines. Its hash depends on the content alone, so that a run over the
same data resumes.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from jina_data.errors import UsageError
from jina_data.read.memory.rows import write_rows
from jina_data.read.memory.tables import tables_of, write_tables
from jina_data.read.model import InputFile


class ArrowStream(Protocol):
    """A table, frame, reader or relation of any library that exports Arrow data."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the data as an Arrow C stream."""
        ...


TableLike = ArrowStream | Iterable[Mapping[str, Any]]
"""A table, a frame, a dataset, or rows that are dicts."""

Inputs = str | Path | TableLike | Sequence[str | Path | TableLike | InputFile] | Mapping[str, TableLike]
"""One or several paths, globs, URLs or `datasets:ID`, or data from memory; a mapping gives names to data."""

EXPECTED = (
    "expected a file, folder, pattern, URL or datasets:ID, or a pyarrow table or reader, a pandas or polars frame, a "
    "dataset of datasets, a DuckDB relation, or rows that are dicts"
)


@dataclass(frozen=True)
class MemoryInput:
    """Data from memory and the name that it has in the outputs."""

    name: str
    value: Any


def list_inputs(inputs: Inputs) -> list[str | MemoryInput | InputFile]:
    """Return inputs as a list: paths as text, and data from memory with names, `table-0` and so on if it has none.

    Raises:
        UsageError: an input is neither, or looks like a table but is none; the message says how to pass it.
    """
    if isinstance(inputs, Mapping):
        return [_named(name, value) for name, value in inputs.items()]
    values = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if values and all(isinstance(value, Mapping) and not _is_dict_of_tables(value) for value in values):
        values = [values]
    listed: list[str | MemoryInput | InputFile] = []
    for value in values:
        if isinstance(value, str | Path | InputFile):
            listed.append(value if isinstance(value, InputFile) else str(value))
        elif isinstance(value, Mapping):
            listed += [_named(name, part) for name, part in value.items()]
        else:
            number = sum(isinstance(entry, MemoryInput) for entry in listed)
            listed.append(MemoryInput(f"table-{number}", _checked(value)))
    return listed


def _is_dict_of_tables(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(_is_data(part) for part in value.values())


def _is_data(value: object) -> bool:
    """Return whether a value is data by itself: no scalar, and no list of scalars, which would be a column."""
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__next__") or is_dataset(value):
        return not _is_column(value)
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(row, Mapping) for row in value)
    return hasattr(value, "collect_batches") or hasattr(value, "scanner")


def _named(name: object, value: Any) -> MemoryInput:
    if not isinstance(name, str) or not name.strip() or any(not character.isprintable() for character in name):
        raise UsageError(f"the name of a table must be a text in one line, got {name!r}")
    if isinstance(value, str | Path):
        raise UsageError(
            f"inputs: {name!r} names the file {str(value)[:100]!r}; a mapping gives names to data from memory. "
            "Name files in a list"
        )
    is_column = isinstance(value, list | tuple) and not all(isinstance(row, Mapping) for row in value)
    if is_column or _is_column(value) or not (isinstance(value, Iterable) or _is_data(value)):
        raise UsageError(
            f"inputs: {name!r} holds the values of a column, so the mapping is one table. Make a table of it: "
            "pyarrow.table(...), or pandas.DataFrame(...)"
        )
    return MemoryInput(name, _checked(value))


def _is_column(value: object) -> bool:
    """Return whether a value is a Series or an array, which Arrow exports too."""
    return type(value).__name__ in ("Series", "ChunkedArray", "ndarray", "Tensor", "Index") or hasattr(value, "chunks")


def _checked(value: Any) -> Any:
    """Return a value that is data.

    Raises:
        UsageError: it is none.
    """
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__qualname__}".removeprefix("builtins.")
    if _is_column(value) or hasattr(value, "__array_interface__"):
        raise UsageError(
            f"inputs: a {kind} is one column or an array, not a table. Make a table of it with named columns, "
            "for example pyarrow.table({'text': values})"
        )
    if isinstance(value, bytes | bytearray) or not (_is_data(value) or isinstance(value, Iterable)):
        raise UsageError(f"inputs: got a {kind}; {EXPECTED}")
    return value


def is_dataset(value: object) -> bool:
    """Return whether a value is a dataset of the package datasets, in memory or streamed."""
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(value, datasets.Dataset | datasets.IterableDataset)


def copy_inputs(listed: Sequence[str | MemoryInput | InputFile], folder: Path) -> list[str | InputFile]:
    """Copy data from memory into files of a folder, and return the inputs with input files in its place.

    Raises:
        UsageError: a row is not a dict, or a value cannot be written.
        InputError: the data cannot be read.
    """
    copied: list[str | InputFile] = []
    for number, entry in enumerate(listed):
        if not isinstance(entry, MemoryInput):
            copied.append(entry)
            continue
        tables = tables_of(entry.value, entry.name)
        notes: list[str] = []
        if tables is None:
            path = folder / f"{number:05d}.jsonl"
            write_rows(entry.value, entry.name, path)
        else:
            path = folder / f"{number:05d}.parquet"
            notes = write_tables(tables, entry.name, path)
        copied.append(_input_file(entry.name, path).with_notes(notes))
    return copied


def _input_file(name: str, path: Path) -> InputFile:
    with path.open("rb") as stored:
        content_hash = hashlib.file_digest(stored, "sha256").hexdigest()
    kind = path.suffix.removeprefix(".")
    return replace(InputFile(0, name, kind, path=str(path)), size=path.stat().st_size, etag=content_hash)


def has_data(listed: Sequence[str | MemoryInput | InputFile]) -> bool:
    """Return whether inputs have data from memory."""
    return any(isinstance(entry, MemoryInput) for entry in listed)
