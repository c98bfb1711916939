"""Checks that the content of input files has the format of their names."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from jina_data.errors import InputError
from jina_data.read import InputFile, all_ranges
from jina_data.read.json_format.foreign import describe
from jina_data.read.model import SAMPLE_BYTES
from jina_data.read.streams import ByteSource

SMALL_BYTES = 2**14
"""A file of more bytes counts as one with rows."""


def check_parseable(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> None:
    """Check that there is a column, and that each file that is not empty has a readable record.

    Raises:
        InputError: all files are empty, or no record of a file could be parsed; the message gives the first error, and
            what the file is, if this is known.
    """
    for file, schema in zip(files, schemas, strict=True):
        if schema.names or not file.size:
            continue
        parsed = next(all_ranges(file, schema), None)
        for failure in parsed.unreadable[:1] if parsed else ():
            where = "" if failure.line is None else f" (line {failure.line})"
            found = _description(file) or "Check that the file has the format of its suffix"
            raise InputError(
                f"{file.name}: none of its first records could be read. The first error{where}: {failure.error}. "
                f"{found[0].upper()}{found[1:]}."
            )
    if not any(schema.names for schema in schemas):
        file = files[0]
        if file.path is not None:
            raise InputError(f"{file.name}: the data has no rows. Pass data with rows.")
        problem = "the file is empty (0 bytes)" if file.size == 0 else "the file has no rows"
        others = f", and so it is with the {len(files) - 1} other files" if len(files) > 1 else ""
        raise InputError(f"{file.name}: {problem}{others}. Fetch or write it again, or name another file.")


def empty_files(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> list[str]:
    """Return a sentence for each small file without rows."""
    return [
        f"{file.name}: the file {'is empty (0 bytes)' if file.size == 0 else 'has no rows'}"
        for file, schema in zip(files, schemas, strict=True)
        if file.size is not None and file.size < SMALL_BYTES and next(all_ranges(file, schema), None) is None
    ]


def _description(file: InputFile) -> str | None:
    if file.format not in ("json", "jsonl"):
        return None
    with ByteSource(file) as source:
        return describe(source.read(SAMPLE_BYTES))
