"""Reads inputs in small ranges, and compares tables."""

from __future__ import annotations

import contextlib
import gzip
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import zstandard
from hypothesis import strategies as st

from jina_data.read import (
    ROW,
    InputFile,
    ParsedRange,
    conform,
    parse_range,
    resolve_inputs,
    sample_schema,
    split,
    stream_ranges,
    unite_schemas,
)


def errors_of(file: InputFile, schema: pa.Schema | None = None) -> list[str]:
    """Return the errors of unreadable records; check that each has its offset and line in the file."""
    ranges = ranges_of(file, schema)
    path = Path(file.name)
    data = path.read_bytes()
    if file.compression:
        data = gzip.decompress(data) if file.compression == "gzip" else zstandard.decompress(data)
    first_line = 0
    for parsed in ranges:
        for failure in parsed.unreadable:
            if failure.byte_offset is not None and failure.line is not None:
                content = failure.raw.encode("utf-8", "surrogateescape")
                assert data[failure.byte_offset :].startswith(content)
                assert data.count(b"\n", 0, failure.byte_offset) == first_line + failure.line - 1
        first_line += parsed.line_count
    return [failure.error for parsed in ranges for failure in parsed.unreadable]


def resolve_file(path: Path | str) -> InputFile:
    (file,) = resolve_inputs([str(path)])
    return file


def ranges_of(file: InputFile, schema: pa.Schema | None = None) -> list[ParsedRange]:
    """Read a file in sequence, and check the laws of ranges."""
    schema = sample_schema(file) if schema is None else schema
    ranges = list(stream_ranges(file, schema))
    for number, parsed in enumerate(ranges):
        assert parsed.number == number
        positions = [*parsed.rows.column(ROW).to_pylist(), *(failure.row for failure in parsed.unreadable)]
        assert sorted(positions) == list(range(parsed.row_count))
        assert parsed.rows.column(ROW).to_pylist() == sorted(parsed.rows.column(ROW).to_pylist())
        assert parsed.rows.schema.field(ROW).type == pa.int32()
        assert [failure.row for failure in parsed.unreadable] == sorted(failure.row for failure in parsed.unreadable)
        assert parsed.rows.column_names[: len(schema)] == schema.names
        if len(ranges) - number <= 12:
            assert_same_ranges(list(stream_ranges(file, schema, parsed.end, number + 1)), ranges[number + 1 :])
    specs = split(file, schema)
    if specs is not None:
        assert [spec.number for spec in specs] == list(range(len(specs)))
        assert_same_ranges([parse_range(file, spec, schema) for spec in specs], ranges)
        assert_same_ranges([parse_range(file, spec, schema) for spec in reversed(specs)], ranges[::-1])
    return ranges


def rows_of(file: InputFile, schema: pa.Schema | None = None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = table_of(ranges_of(file, schema)).to_pylist()
    return rows


def assert_same_ranges(left: list[ParsedRange], right: list[ParsedRange]) -> None:
    assert len(left) == len(right)
    for actual, expected in zip(left, right, strict=True):
        assert (actual.number, actual.row_count, actual.line_count, actual.unreadable) == (
            expected.number,
            expected.row_count,
            expected.line_count,
            expected.unreadable,
        )
        assert actual.rows.schema == expected.rows.schema
        assert str(actual.rows.to_pylist()) == str(expected.rows.to_pylist())


MODULES = (
    "json_format.lines",
    "json_format.values_text",
    "json_format.columns",
    "csv_format.delimited",
    "csv_format.blocks",
    "columnar.parquet",
    "columnar.arrow",
    "text_lines",
    "hub",
)


@contextlib.contextmanager
def small_ranges(n_bytes: int, n_rows: int = 65_536) -> Iterator[None]:
    """Make ranges so small that a small file has many."""
    with contextlib.ExitStack() as stack:
        for name in MODULES:
            module = importlib.import_module(f"jina_data.read.{name}")
            for constant, value in (("RANGE_BYTES", n_bytes), ("RANGE_ROWS", n_rows)):
                if hasattr(module, constant):
                    stack.enter_context(mock.patch.object(module, constant, value))
        yield


def table_of(ranges: list[ParsedRange]) -> pa.Table:
    """Unite the rows of all ranges, as the engine does."""
    schema = pa.schema([])
    for parsed in ranges:
        schema = unite_schemas([schema, parsed.rows.schema])
    tables = [conform(parsed.rows.drop_columns([ROW]), schema) for parsed in ranges]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def write_input(folder: Path, name: str, data: bytes | str) -> InputFile:
    """Write a file, compressed according to its suffix, and resolve it."""
    content = data.encode() if isinstance(data, str) else data
    path = folder / name
    path.write_bytes(PACK.get(path.suffix, PACK[""])(content))
    return resolve_file(path)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a table of the types of JSON."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    columns: dict[str, pa.Array] = {}
    n_rows = draw(st.integers(1, 12))
    for name in names:
        kind, cell_strategy = draw(values())
        cells = draw(st.lists(st.none() | cell_strategy, min_size=n_rows, max_size=n_rows))
        columns[name] = pa.array(cells, kind)
    return pa.table(columns)


NAMES = st.sampled_from(["a", "b", "text", "ключ", "x y", 'q"', "😀"])


def values(depth: int = 2) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    """Return a strategy of a type and of values of that type."""
    scalars: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
        (STRING, TEXTS),
        (INT, st.integers(-(2**63), 2**63 - 1)),
        (DOUBLE, st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)),
        (BOOL, st.booleans()),
    ]
    leaf = st.sampled_from(scalars)
    if depth == 0:
        return leaf

    def nested(parts: list[tuple[str, tuple[pa.DataType, st.SearchStrategy[Any]]]]) -> Any:
        kind = pa.struct([(name, part[0]) for name, part in parts])
        return kind, st.fixed_dictionaries({name: st.none() | part[1] for name, part in parts})

    lists = values(depth - 1).map(lambda part: (pa.list_(part[0]), st.lists(st.none() | part[1], max_size=3)))
    fields = st.lists(st.tuples(NAMES, values(depth - 1)), min_size=1, max_size=3, unique_by=lambda pair: pair[0])
    return leaf | lists | fields.map(nested)


PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


INT, DOUBLE, STRING, BOOL, NULL = pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.null()


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "😀👩‍👩‍👧", "שלום עולם", "a\u0000b", 'q"u\\o', "\u2028", "\ufeff", "}\n{"]
)
