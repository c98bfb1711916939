"""Converts JSON objects to rows: with Arrow's reader where the result is provably the same, else object by object.

Arrow's reader is used if each line is certain to be one object. Its result is discarded unless every object became a
row of the expected types. The result is also checked for values that Arrow reads differently from `json.loads` and the
widening rules: integers beyond 64 bits in double columns, `-0`, and NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.types as pt

from jina_data.read.json_values import MAX_DEPTH, TOO_DEEP, MisfitError, Struct, as_doubles, fit, kind_of_schema
from jina_data.read.model import ROW
from jina_data.read.schema import conform, unite_types, writable

Failures = list[tuple[int, str]]
"""Positions of records that are no rows, and their errors."""

BLANK = b" \t\r"


class NotARowError(ValueError):
    """A record cannot become a row."""


def parse_lines(block: bytes, schema: pa.Schema) -> pa.Table | None:
    """Read lines that are one object each, with Arrow; return None where `parse_records` must read them."""
    n_records = _count_objects(block)
    if not n_records or not len(schema) or b"\0" in block or len(block) >= 2**31 - 2:
        return None
    expected = kind_of_schema(schema).type
    options = pa.json.ParseOptions(explicit_schema=pa.schema(list(expected)), unexpected_field_behavior="error")
    reading = pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        rows = pa.json.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)
        rows.validate(full=True)
    except pa.ArrowException:
        return None
    exact = all(_reads_alike(chunk) for column in rows.columns for chunk in column.chunks)
    if rows.num_rows != n_records or not exact or pa.struct(list(rows.schema)) != expected:
        return None
    return _apply_schema(rows, np.arange(n_records, dtype=np.int32), schema)


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


def _reads_alike(values: pa.Array) -> bool:
    """Return whether Arrow and Python read all doubles the same: no huge or non-finite number and no -0."""
    if pt.is_struct(values.type):
        return all(_reads_alike(child) for child in values.flatten())
    if pt.is_list(values.type):
        return _reads_alike(values.flatten())
    if not pt.is_float64(values.type):
        return True
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    return bool((np.abs(numbers) < 2.0**63).all() and not (np.signbit(numbers) & (numbers == 0)).any())


def parse_records(records: Iterable[bytes], schema: pa.Schema) -> tuple[pa.Table, Failures]:
    """Read records one by one. A row may widen the types of columns; a record that is no row changes nothing."""
    kind = kind_of_schema(schema)
    rows: list[dict[str, Any]] = []
    positions: list[int] = []
    failures: Failures = []
    for position, record in enumerate(records):
        try:
            row = load_object(record)
            widened = fit(row, kind)
            assert isinstance(widened, Struct)
            kind = widened
        except (NotARowError, MisfitError) as error:
            failures.append((position, str(error)))
            continue
        rows.append(row)
        positions.append(position)
    columns = [pa.chunked_array([_column(rows, name, kind)]) for name in kind.fields]
    table = pa.table(columns, names=list(kind.fields)) if columns else pa.table({})
    return _apply_schema(table, np.array(positions, np.int32), schema), failures


def load_object(record: bytes) -> dict[str, Any]:
    """Read one JSON object, strictly.

    Raises:
        NotARowError: it is not a valid JSON object.
    """
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = record[error.start]
        raise NotARowError(f"not UTF-8: byte 0x{byte:02x} at byte {error.start} of the record") from None
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise NotARowError(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise NotARowError(f"not JSON: {error.msg} at character {error.pos + 1} of the record") from None
    except NotARowError:
        raise
    except ValueError:
        raise NotARowError("an integer beyond 64 bits, of thousands of digits") from None
    if not isinstance(row, dict):
        raise NotARowError(f"expected a JSON object, found {_json_name(row)}")
    if b"\\u" in record:
        _refuse_lone_surrogates(row)
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for position, name in enumerate(names) if name in names[:position])
        raise NotARowError(f"the key {duplicate!r} occurs twice in one object")
    return row


def _json_name(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _refuse_lone_surrogates(row: dict[str, Any]) -> None:
    for name, value in row.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            column = name.encode("utf-8", "backslashreplace").decode()
            raise NotARowError(f"column '{column}': half of a surrogate pair, which is no character") from None
        except RecursionError:
            raise NotARowError(TOO_DEEP) from None


def _column(rows: Sequence[dict[str, Any]], name: str, kind: Struct) -> pa.Array:
    part = kind.fields[name]
    values = [row.get(name) for row in rows]
    try:
        return pa.array(values, part.type)
    except pa.ArrowInvalid:
        return pa.array([as_doubles(value, part) for value in values], part.type)


def _apply_schema(rows: pa.Table, positions: np.ndarray[Any, np.dtype[np.int32]], schema: pa.Schema) -> pa.Table:
    """Cast columns to the types of the schema, or to wider types that their values require.

    Objects without fields become null, because Parquet cannot store them.
    """
    schema_types = dict(zip(schema.names, schema.types, strict=True))
    columns: dict[str, pa.ChunkedArray] = {}
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        schema_type = schema_types.get(name, values.type)
        if values.null_count == len(values):
            columns[name] = pa.chunked_array([pa.nulls(len(values), schema_type)])
        else:
            united = unite_types(schema_type, values.type)
            columns[name] = values if values.type.equals(united) else values.cast(united)
    types = writable(pa.schema([(name, values.type) for name, values in columns.items()]))
    return conform(pa.table({**columns, ROW: pa.array(positions, pa.int32())}), types)


assert MAX_DEPTH < 200  # json.loads fails at Python's recursion limit, which must be higher
