"""Reads column-oriented JSON, which pandas writes: a list or an object for each column, or an object of records.

The orientations: `lists` (`{"q": [..], "a": [..]}`), `columns` (`{"q": {"0": ..}}`), `split` (`{"columns": [..],
"index": [..], "data": [[..]]}`), and `index` (`{"0": {"q": ..}, "1": {..}}`, records under their keys).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from jina_data.errors import InputError
from jina_data.read.json_format.load import NotARowError, as_json, stored_keys, try_load
from jina_data.read.json_format.reading import reading_of
from jina_data.read.json_format.rows import parse_values
from jina_data.read.model import MAX_RECORD_BYTES, RANGE_ROWS, ROW, SAMPLE_ROWS, InputFile, ParsedRange, Unreadable
from jina_data.read.names import replaced_names, usable_names
from jina_data.read.streams import ByteSource

MIN_KEYED_RECORDS = 10
"""Fewer objects under keys that are no numbers are the fields of one record."""

CONVERT = (
    'Convert it first: python -c "import pandas as pd; '
    "pd.read_json('IN.json').to_json('OUT.jsonl', orient='records', lines=True)\""
)


def load_document(file: InputFile) -> Any:
    """Return the document of a file, None if it is not one.

    Raises:
        InputError: it is too large.
    """
    with ByteSource(file) as source:
        data = source.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        raise InputError(
            f"{file.name}: this is column-oriented JSON (a list or an object for each column) of more than "
            f"{MAX_RECORD_BYTES:,} bytes; expected records. {CONVERT}"
        )
    value = try_load(data)
    return None if isinstance(value, NotARowError) else value


def orientation_of(document: Any) -> str | None:
    """Return the orientation of a document, if it is certain."""
    if not isinstance(document, dict) or not document:
        return None
    parts = list(document.values())
    if _is_split(document):
        return "split"
    if all(isinstance(part, list) for part in parts):
        return "lists" if _are_columns(parts) else None
    if all(isinstance(part, dict) and part for part in parts):
        return _keyed_orientation(document)
    return None


def _is_split(document: dict[str, Any]) -> bool:
    columns, data = document.get("columns"), document.get("data")
    return (
        set(document) <= {"columns", "index", "data"}
        and isinstance(columns, list)
        and isinstance(data, list)
        and all(isinstance(row, list) and len(row) == len(columns) for row in data)
    )


def _are_columns(parts: list[list[Any]]) -> bool:
    lengths = {len(part) for part in parts}
    return len(parts) > 1 and len(lengths) == 1 and lengths.pop() > 1 and all(map(_are_scalars, parts))


def _are_scalars(values: Any) -> bool:
    return not any(isinstance(value, list | dict) for value in values)


def _keyed_orientation(document: dict[str, dict[str, Any]]) -> str | None:
    keys = list(document)
    fields = list(next(iter(document.values())))
    alike = all(part.keys() == document[keys[0]].keys() for part in document.values())
    if alike and _are_numbers(fields) and all(_are_scalars(part.values()) for part in document.values()):
        return "columns" if len(fields) > 1 and not _are_numbers(keys) else None
    shared = set(fields).intersection(*document.values())
    if not shared:
        return None
    return "index" if len(keys) >= MIN_KEYED_RECORDS or (_are_numbers(keys) and len(keys) > 1) else None


def _are_numbers(keys: list[str]) -> bool:
    return all(key.isascii() and key.isdigit() for key in keys)


def rows_of_document(document: dict[str, Any], orientation: str) -> list[dict[str, Any]]:
    """Return the rows of a column-oriented document. Keys that are not 0, 1, 2, ... are a column, `index` or `key`."""
    if orientation == "split":
        names = usable_names([str(name) for name in document["columns"]])
        rows = [dict(zip(names, row, strict=True)) for row in document["data"]]
        return _with_keys(rows, "index", document.get("index", list(range(len(rows)))))
    if orientation == "index":
        return _with_keys([dict(row) for row in document.values()], "key", list(document))
    names = usable_names(list(document))
    parts = list(document.values())
    if orientation == "lists":
        return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
    keys = list(parts[0])
    rows = [{name: part[key] for name, part in zip(names, parts, strict=True)} for key in keys]
    return _with_keys(rows, "index", keys)


def column_notes(document: dict[str, Any], orientation: str) -> list[str]:
    """Return notes about columns with new names."""
    if orientation == "index":
        return []
    return replaced_names(
        [str(name) for name in document["columns"]] if orientation == "split" else stored_keys(document)
    )


def _with_keys(rows: list[dict[str, Any]], name: str, keys: list[Any]) -> list[dict[str, Any]]:
    if [str(key) for key in keys] == [str(number) for number in range(len(rows))]:
        return rows
    while any(name in row for row in rows):
        name = f"{name}_2"
    return [{name: key, **row} for key, row in zip(keys, rows, strict=True)]


def column_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the rows of a column-oriented document, a range at a time, from a row at which a range starts."""
    rows = rows_of_document(load_document(file), file.option("orientation"))
    reading = reading_of(file)
    first = start.get("row", 0)
    for number, begin in enumerate(range(first, len(rows), RANGE_ROWS), first_number):
        part = rows[begin : begin + RANGE_ROWS]
        table, failures, _ = parse_values(part, schema, reading)
        unreadable = [
            Unreadable(failure.position, None, None, failure.error, as_json(part[failure.value]))
            for failure in failures
        ]
        yield ParsedRange(number, table, unreadable, len(part), 0, {"row": begin + len(part)})


def columns_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first rows."""
    rows = rows_of_document(load_document(file), file.option("orientation"))[:SAMPLE_ROWS]
    return parse_values(rows, pa.schema([]), reading_of(file))[0].drop_columns([ROW]).schema
