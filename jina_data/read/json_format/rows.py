"""Converts JSON values to rows: with Arrow's reader where the result is provably the same, else value by value.

Arrow's reader is used if each line is certain to be one object. Its result is discarded unless every object became a
row of the expected types. The result is also checked for values that Arrow reads differently from `json.loads` and the
rules of types: integers beyond 53 bits in double columns, `-0`, NaN, and texts that Arrow reads as timestamps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.types as pt

from jina_data.arrow.types import is_list, is_string
from jina_data.read.json_format.load import NotARowError
from jina_data.read.json_format.reading import Reading, plain_row
from jina_data.read.json_format.values import MAX_DEPTH, TEXT, TEXTS, MisfitError, Struct, column, fit_row
from jina_data.read.model import ROW
from jina_data.read.names import is_usable
from jina_data.read.schema import MAX_FIELDS, conform, unite_types, writable

BLANK = b" \t\r"
PLAIN = Reading()

MAX_NEW_FIELDS = 300
"""Fields that Arrow may find beside those of the schema. Its time grows with the square of their number."""
_PROBES, _PROBE_BYTES = 16, 2**12

_NO_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^{}\[\]"]++|"', re.DOTALL)
_LARGE_INTEGER = re.compile(rb"[\[:,\s]-?[0-9]{16,}\s*[,}\]]")


class Failure(NamedTuple):
    """A record that is no row: its position among all records, the value that it comes from, and its error."""

    position: int
    value: int
    error: str


def parse_lines(block: bytes, schema: pa.Schema, reading: Reading = PLAIN) -> pa.Table | None:
    """Read lines that are one object each, with Arrow; return None where `parse_values` must read them."""
    n_records = _count_objects(block)
    if not reading.is_plain or not n_records or not len(schema) or b"\0" in block or len(block) >= 2**31 - 2:
        return None
    expected = reading.kind(schema).type
    rows = _read(block, expected, "error")
    if rows is None:
        rows = _read_new_fields(block, expected)
    if rows is None or rows.num_rows != n_records or not _can_be_rows(rows, schema, reading):
        return None
    if not all(_reads_alike(chunk, block) for values in rows.columns for chunk in values.chunks):
        return None
    found = unite_types(expected, pa.struct(list(rows.schema)))
    rows = rows.select([child.name for child in found])
    return _apply_schema(rows, np.arange(n_records, dtype=np.int32), schema)


def _read(block: bytes, expected: pa.DataType, unexpected_fields: str) -> pa.Table | None:
    typed = _without_nulls(expected) if unexpected_fields == "infer" else expected
    options = pa.json.ParseOptions(explicit_schema=pa.schema(list(typed)), unexpected_field_behavior=unexpected_fields)
    reading = pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        rows = pa.json.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)
        rows.validate(full=True)
        _count_fields(pa.struct(list(rows.schema)))
    except (pa.ArrowException, UnicodeDecodeError):  # the second: of a key
        return None
    for child in expected:
        if child.name not in rows.column_names:
            rows = rows.append_column(child.name, pa.nulls(rows.num_rows))
    return rows


def _read_new_fields(block: bytes, expected: pa.DataType) -> pa.Table | None:
    """Let Arrow infer the types of fields that are not expected, if they are few and not nested deeply."""
    if _depth(block) > MAX_DEPTH:
        return None
    probe = b"\n".join(_probes(block))
    rows = _read(probe, expected, "infer") if probe else None
    if rows is None or _count_fields(pa.struct(list(rows.schema))) > _count_fields(expected) + MAX_NEW_FIELDS:
        return None
    known = unite_types(expected, _without_times(pa.struct(list(rows.schema))))
    rows = _read(block, known, "infer") if pt.is_struct(known) else None
    if rows is not None and _has_times(pa.struct(list(rows.schema))):
        known = unite_types(known, _without_times(pa.struct(list(rows.schema))))
        rows = _read(block, known, "infer") if pt.is_struct(known) else None
    return rows


def _depth(block: bytes) -> int:
    """Return a bound of the depth of brackets outside of strings; Arrow crashes at great depth."""
    brackets = np.frombuffer(_NO_BRACKET.sub(b"", block), np.uint8)
    steps = np.where((brackets == ord("{")) | (brackets == ord("[")), 1, -1)
    depths = np.concatenate([[0], np.cumsum(steps)])
    return int((depths - np.minimum.accumulate(depths)).max())


def _probes(block: bytes) -> list[bytes]:
    """Return lines from all parts of a block."""
    lines: list[bytes] = []
    position = 0
    for number in range(_PROBES):
        position = max(position, len(block) * number // _PROBES)
        start = position if position == 0 else block.find(b"\n", position - 1) + 1
        if start == 0 and position:
            break
        end = block.find(b"\n", start + _PROBE_BYTES)
        position = len(block) if end < 0 else end + 1
        lines.append(block[start:position])
    return lines


def _without_nulls(kind: pa.DataType) -> pa.DataType:
    """Drop the fields whose type is to be inferred."""
    if not pt.is_struct(kind):
        return pa.list_(_without_nulls(kind.value_type)) if is_list(kind) else kind
    return pa.struct([(child.name, _without_nulls(child.type)) for child in kind if not _is_unknown(child.type)])


def _is_unknown(kind: pa.DataType) -> bool:
    return bool(pt.is_null(kind) or (is_list(kind) and _is_unknown(kind.value_type)))


def _without_times(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([(child.name, _without_times(child.type)) for child in kind])
    if is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    return pa.string() if pt.is_temporal(kind) else kind


def _has_times(kind: pa.DataType) -> bool:
    return not _without_times(kind).equals(kind)


def _count_fields(kind: pa.DataType) -> int:
    if pt.is_struct(kind):
        return sum(bool(child.name) + _count_fields(child.type) for child in kind)
    return _count_fields(kind.value_type) if is_list(kind) else 0


def _can_be_rows(rows: pa.Table, schema: pa.Schema, reading: Reading) -> bool:
    """Return whether Arrow found what `parse_values` finds: usable names, no times, texts in columns with a role."""
    if _has_times(pa.struct(list(rows.schema))) or not all(map(is_usable, rows.column_names)):
        return False
    if not all(_has_usable_fields(child.type) for child in rows.schema):
        return False
    new = [child for child in rows.schema if child.name not in schema.names]
    chosen = {*reading.text_columns, *reading.types}
    return all(is_string(child.type) or child.name not in chosen for child in new)


def _has_usable_fields(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        names = [child.name for child in kind]
        usable = all(names) and not any("\0" in name for name in names) and len(names) <= MAX_FIELDS
        return usable and all(_has_usable_fields(child.type) for child in kind)
    return _has_usable_fields(kind.value_type) if is_list(kind) else True


def _count_objects(block: bytes) -> int:
    """Return the number of lines that are not blank; 0 unless each of them starts with { and ends with }.

    In JSON, a { after a } begins a new value, and a line break is never in a string. So if there are as many objects as
    such lines, each line is one object.
    """
    n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    seams = block.count(b"}\n{") + block.count(b"}\r\n{")
    if block.startswith(b"{") and block.endswith((b"}\n", b"}\r\n", b"}")) and seams == n_lines - 1:
        return n_lines
    lines = [line for line in (raw.strip(BLANK) for raw in block.split(b"\n")) if line]
    return len(lines) if all(line.startswith(b"{") and line.endswith(b"}") for line in lines) else 0


def _reads_alike(values: pa.Array, block: bytes) -> bool:
    """Return whether Arrow and Python read all doubles the same: finite, no large integer, and no -0."""
    if pt.is_struct(values.type):
        return all(_reads_alike(child, block) for child in values.flatten())
    if pt.is_list(values.type):
        return _reads_alike(values.flatten(), block)
    if not pt.is_float64(values.type):
        return True
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all() or (np.signbit(numbers) & (numbers == 0)).any():
        return False
    return bool((np.abs(numbers) < 2.0**53).all()) or _LARGE_INTEGER.search(block) is None


def parse_values(
    values: Iterable[Any],
    schema: pa.Schema,
    reading: Reading = PLAIN,
    outer: Sequence[dict[str, Any]] | None = None,
) -> tuple[pa.Table, list[Failure], list[int]]:
    """Convert loaded values, or their errors, one by one. A row may widen the types of columns, an error nothing.

    `outer` are the fields of the documents around the values. Returns the rows, the failures, and the number of records
    of each value.
    """
    kind = reading.kind(schema)
    rows: list[dict[str, Any]] = []
    positions: list[int] = []
    failures: list[Failure] = []
    counts: list[int] = []
    for number, value in enumerate(values):
        before = len(rows) + len(failures)
        for row in _rows(value, reading, outer[number] if outer else {}):
            position = len(rows) + len(failures)
            try:
                if isinstance(row, NotARowError):
                    raise row
                kind = fit_row(row, kind)
            except (NotARowError, MisfitError) as error:
                failures.append(Failure(position, number, str(error)))
                continue
            rows.append(row)
            positions.append(position)
        counts.append(len(rows) + len(failures) - before)
    kind = _with_few_lists_as_text(rows, kind, reading.kind(schema))
    return _apply_schema(_table(rows, kind), np.array(positions, np.int32), schema), failures, counts


def _with_few_lists_as_text(rows: Sequence[dict[str, Any]], kind: Struct, requested: Struct) -> Struct:
    """Return the kind in which a column of texts stays one if at most half of its values are lists, by mistake."""
    texts = {}
    for name, part in kind.fields.items():
        if part is TEXTS and requested.fields.get(name) is TEXT:
            values = [value for row in rows if (value := row.get(name)) is not None]
            if 2 * sum(isinstance(value, list) for value in values) <= len(values):
                texts[name] = TEXT
    return Struct({**kind.fields, **texts}) if texts else kind


def _rows(value: Any, reading: Reading, outer: dict[str, Any]) -> Iterable[dict[str, Any] | NotARowError]:
    if isinstance(value, NotARowError):
        return [value]
    return [plain_row(value)] if reading.is_plain else reading.rows(value, outer)


def _table(rows: Sequence[dict[str, Any]], kind: Struct) -> pa.Table:
    columns = [column([row.get(name) for row in rows], part) for name, part in kind.fields.items()]
    return pa.table(columns, names=list(kind.fields)) if columns else pa.table({})


def _apply_schema(rows: pa.Table, positions: np.ndarray[Any, np.dtype[np.int32]], schema: pa.Schema) -> pa.Table:
    """Cast columns to the types of the schema, or to wider types that their values require.

    Objects without fields become null, because Parquet cannot store them.
    """
    schema_types = dict(zip(schema.names, schema.types, strict=True))
    types: dict[str, pa.DataType] = {}
    columns: dict[str, pa.ChunkedArray] = {}
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        schema_type = schema_types.get(name, values.type)
        if values.null_count == len(values):
            columns[name] = pa.chunked_array([pa.nulls(len(values), schema_type)])
            types[name] = schema_type
        else:
            columns[name] = values
            types[name] = unite_types(schema_type, values.type)
    found = writable(pa.schema(list(types.items())))
    return conform(pa.table({**columns, ROW: pa.array(positions, pa.int32())}), found)
