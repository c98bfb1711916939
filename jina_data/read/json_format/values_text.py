"""Reads JSON that is not JSON lines: arrays, values one after another, and lists of records inside of documents."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from jina_data.read.json_format.columns import column_ranges, columns_schema
from jina_data.read.json_format.load import try_load
from jina_data.read.json_format.reading import Reading, reading_of
from jina_data.read.json_format.resync import Keys
from jina_data.read.json_format.rows import Failure, parse_lines, parse_values
from jina_data.read.json_format.scan import Documents, JsonValue, Scanner
from jina_data.read.model import (
    RANGE_BYTES,
    RANGE_ROWS,
    ROW,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    InputFile,
    ParsedRange,
    Unreadable,
    as_text,
)
from jina_data.read.streams import ByteSource

MAX_KEY_SAMPLE = 50


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the values of a file in sequence, a range at a time, from the end of a range."""
    if file.option("layout") == "columns":
        yield from column_ranges(file, schema, start, first_number)
        return
    reading = reading_of(file)
    with ByteSource(file) as source:
        scanner = scan(file, source, start)
        values: list[JsonValue] = []
        number, begin, first_line = first_number, start.get("offset", 0), 0
        for value in _records(file, scanner):
            values.append(value)
            if value.end - begin >= RANGE_BYTES or len(values) >= RANGE_ROWS:
                yield _parse(values, scanner, schema, reading, number=number, first_line=first_line)
                values, number, begin, first_line = [], number + 1, value.end, scanner.line
        if values:
            yield _parse(values, scanner, schema, reading, number=number, first_line=first_line)


def scan(file: InputFile, source: ByteSource, start: dict[str, int]) -> Scanner:
    """Return the values of a file, from a place."""
    return Scanner(source, _documents(file), start, lambda: keys_of_records(file))


def _documents(file: InputFile) -> Documents:
    shape = "objects" if file.option("path") else file.option("shape", "objects")
    return Documents(file.option("layout"), shape, tuple(json.loads(file.option("above", "[]"))))


def _records(file: InputFile, scanner: Scanner) -> Iterator[JsonValue]:
    """Yield the values behind the header."""
    header_end = int(file.option("header_end", "0"))
    return (value for value in scanner if value.end > header_end)


def keys_of_records(file: InputFile) -> Keys:
    """Return the keys of the first values of a file, up to a broken one."""
    found: list[frozenset[str]] = []
    with ByteSource(file) as source:
        for value in Scanner(source, _documents(file), {}, Keys):
            row = try_load(value.raw) if value.error is None else None
            if not isinstance(row, dict) or len(found) >= MAX_KEY_SAMPLE or value.end > SAMPLE_BYTES:
                break
            found.append(frozenset(row))
    return Keys(frozenset.intersection(*found), frozenset.union(*found)) if found else Keys()


def _parse(
    values: list[JsonValue], scanner: Scanner, schema: pa.Schema, reading: Reading, *, number: int, first_line: int
) -> ParsedRange:
    """Parse values; each broken one is a failure at its place among the records."""
    rows, failures = parse_scanned(values, schema, reading)
    unreadable = [
        Unreadable(
            failure.position,
            values[failure.value].line - first_line + 1,
            values[failure.value].offset,
            failure.error,
            as_text(values[failure.value].raw),
        )
        for failure in failures
    ]
    n_records = rows.num_rows + len(unreadable)
    return ParsedRange(number, rows, unreadable, n_records, scanner.line - first_line, scanner.end)


def parse_scanned(values: list[JsonValue], schema: pa.Schema, reading: Reading) -> tuple[pa.Table, list[Failure]]:
    """Parse values of which some are broken."""
    good = [position for position, value in enumerate(values) if value.error is None]
    errors = [(position, value.error) for position, value in enumerate(values) if value.error is not None]
    raws = [values[position].raw for position in good]
    rows = _parse_objects(raws, schema, reading)
    if rows is None:
        outer = [values[position].outer for position in good] if reading.above else None
        rows, failures, counts = parse_values(map(try_load, raws), schema, reading, outer)
    else:
        failures, counts = [], [1] * len(good)
    return _insert_errors(rows, failures, counts, good, errors)


def _insert_errors(
    rows: pa.Table, failures: list[Failure], counts: list[int], good: list[int], errors: list[tuple[int, str]]
) -> tuple[pa.Table, list[Failure]]:
    """Count broken values among the records. `counts` are the records of each good value."""
    if not errors and len(good) == len(counts):
        return rows, [failure._replace(value=good[failure.value]) for failure in failures]
    n_records = np.zeros(len(good) + len(errors), np.int64)
    n_records[good] = counts
    n_records[[position for position, _ in errors]] = 1
    starts = np.cumsum(n_records) - n_records
    old_starts = np.cumsum(counts) - counts if counts else np.zeros(0, np.int64)
    owners = np.repeat(np.arange(len(good)), counts)
    shift = starts[good] - old_starts
    old = rows.column(ROW).to_numpy()
    moved = (old + shift[owners[old]]).astype(np.int32) if len(old) else old
    rows = rows.set_column(rows.column_names.index(ROW), ROW, pa.array(moved, pa.int32()))
    all_failures = [
        Failure(failure.position + int(shift[failure.value]), good[failure.value], failure.error)
        for failure in failures
    ]
    all_failures += [Failure(int(starts[position]), position, error) for position, error in errors]
    return rows, sorted(all_failures)


def _parse_objects(raws: list[bytes], schema: pa.Schema, reading: Reading) -> pa.Table | None:
    """Read objects with Arrow, wherever their line breaks are.

    Line breaks are replaced by carriage returns, so that each object is a line. In a string both are errors.
    """
    return parse_lines(b"\n".join(raw.replace(b"\n", b"\r") for raw in raws), schema, reading)


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first values, and from more until one is a row."""
    if file.option("layout") == "columns":
        return columns_schema(file)
    reading = reading_of(file)
    with ByteSource(file) as source:
        values: list[JsonValue] = []
        for value in _records(file, scan(file, source, {})):
            values.append(value)
            if value.end >= SAMPLE_BYTES or len(values) >= SAMPLE_ROWS:
                rows, _ = parse_scanned(values, pa.schema([]), reading)
                if rows.num_rows:
                    return rows.drop_columns([ROW]).schema
                values = []
    return parse_scanned(values, pa.schema([]), reading)[0].drop_columns([ROW]).schema
