"""Reads inputs: inputs are resolved to files, files are split into ranges, ranges become Arrow tables."""

from jina_data.read.inputs import input_notes, resolve_inputs
from jina_data.read.model import (
    RANGE_BYTES,
    RANGE_ROWS,
    ROW,
    InputFile,
    ParsedRange,
    RangeSpec,
    Unreadable,
)
from jina_data.read.options import InputOptions
from jina_data.read.ranges import (
    all_ranges,
    digest,
    parse_range,
    sample_schema,
    settled_schema,
    split,
    stream_ranges,
)
from jina_data.read.schema import conform, is_exact, unite_schemas, unite_types, writable

__all__ = [
    "RANGE_BYTES",
    "RANGE_ROWS",
    "ROW",
    "InputFile",
    "InputOptions",
    "ParsedRange",
    "RangeSpec",
    "Unreadable",
    "all_ranges",
    "conform",
    "digest",
    "input_notes",
    "is_exact",
    "parse_range",
    "resolve_inputs",
    "sample_schema",
    "settled_schema",
    "split",
    "stream_ranges",
    "unite_schemas",
    "unite_types",
    "writable",
]
