"""Reads files of any format in ranges: the ranges of a file, and the rows of a range."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from jina_data.read import hub, text_lines
from jina_data.read.columnar import arrow, parquet
from jina_data.read.csv_format import delimited
from jina_data.read.derived import add_derived, derived_schema, source_schema
from jina_data.read.encoding import NOT_UTF8
from jina_data.read.json_format import lines, values_text
from jina_data.read.model import InputFile, ParsedRange, RangeSpec
from jina_data.read.schema import unite_schemas
from jina_data.read.streams import translate_errors


def sample_schema(file: InputFile) -> pa.Schema:
    """Return the columns of a file: those of its schema, else those inferred from its first rows (1000, or 1 MiB).

    Raises:
        InputError: the file is truncated or corrupt.
    """
    return derived_schema(file, _READERS[file.format].sample_schema(file))


def split(file: InputFile, schema: pa.Schema) -> list[RangeSpec] | None:  # noqa: ARG001
    """Return the ranges of a file, in order; None if it can only be read in sequence."""
    if file.format == "parquet":
        return parquet.split(file)
    return lines.split(file) if file.format == "jsonl" else None


def parse_range(file: InputFile, spec: RangeSpec, schema: pa.Schema) -> ParsedRange:
    """Read one range of a file that can be split.

    The rows have the columns of `schema` in its order. If values require it, types are wider, and new columns follow.
    """
    reader = parquet if file.format == "parquet" else lines
    parsed = reader.parse_range(file, spec, source_schema(file, schema))
    return add_derived(file, _with_encoding_in_errors(file, parsed), schema)


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int] | None = None, first_number: int = 0
) -> Iterator[ParsedRange]:
    """Read the ranges of any file in sequence: from its start, or from the `end` of a range with the next number."""
    source = source_schema(file, schema)
    for parsed in _READERS[file.format].stream_ranges(file, source, start or {}, first_number):
        yield add_derived(file, _with_encoding_in_errors(file, parsed), schema)


def _with_encoding_in_errors(file: InputFile, parsed: ParsedRange) -> ParsedRange:
    """Name the encoding of a file in the errors of records that are not in it: readers see decoded text only."""
    encoding = file.option("encoding")
    if not encoding or not parsed.unreadable:
        return parsed
    records = [
        replace(record, error=f"not {encoding}") if record.error.startswith(NOT_UTF8) else record
        for record in parsed.unreadable
    ]
    return replace(parsed, unreadable=records)


def digest(file: InputFile) -> str | None:
    """Return the sha256 of the stored bytes of a local file; None for a remote one."""
    if not file.is_local:
        return None
    with translate_errors(file.name), Path(file.local_path).open("rb") as stored:
        return hashlib.file_digest(stored, "sha256").hexdigest()


class _RangeReader(Protocol):
    """The interface of the module of a format."""

    def sample_schema(self, file: InputFile) -> pa.Schema: ...

    def stream_ranges(
        self, file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
    ) -> Iterator[ParsedRange]: ...


_READERS: dict[str, _RangeReader] = {
    "parquet": parquet,
    "arrow": arrow,
    "jsonl": lines,
    "json": values_text,
    "csv": delimited,
    "tsv": delimited,
    "text": text_lines,
    "datasets": hub,
}


def settled_schema(files: Sequence[InputFile]) -> pa.Schema:
    """Return the schema of all rows of files, found by reading them until no range widens it."""
    schema = unite_schemas([sample_schema(file) for file in files])
    while True:
        wider = schema
        for file in files:
            for parsed in all_ranges(file, wider):
                wider = unite_schemas([wider, parsed.rows.schema], file.text_columns)
        if wider.equals(schema):
            return schema
        schema = wider


def all_ranges(file: InputFile, schema: pa.Schema) -> Iterator[ParsedRange]:
    """Parse a file range by range, in order."""
    specs = split(file, schema)
    if specs is None:
        return stream_ranges(file, schema, None, 0)
    return (parse_range(file, spec, schema) for spec in specs)
