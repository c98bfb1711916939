"""Reads JSON lines. A range holds the lines that start in its bytes, wherever they end."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from jina_data.read.json_rows import BLANK, parse_lines, parse_records
from jina_data.read.model import (
    RANGE_BYTES,
    ROW,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    InputFile,
    ParsedRange,
    RangeSpec,
    Unreadable,
    as_text,
)
from jina_data.read.streams import CHUNK_BYTES, ByteSource

BOM = b"\xef\xbb\xbf"
Line = tuple[int, int, bytes]
"""A line that is not blank: its number (from 0) and byte offset in the block, and its bytes."""


def split(file: InputFile) -> list[RangeSpec] | None:
    """Return the ranges of a plain local file."""
    if file.compression or not file.is_local or file.size is None:
        return None
    starts = range(0, file.size, RANGE_BYTES)
    return [
        RangeSpec(file.index, number, start, min(start + RANGE_BYTES, file.size)) for number, start in enumerate(starts)
    ]


def parse_range(file: InputFile, spec: RangeSpec, schema: pa.Schema) -> ParsedRange:
    """Read the lines that start in a range."""
    with ByteSource(file) as source:
        source.move_to(max(spec.start - 1, 0))
        block_start = source.offset
        block = source.read(spec.stop - block_start)
        if spec.start:
            line_start = block.find(b"\n", 0, len(block) - 1) + 1
            block, block_start = (block[line_start:], block_start + line_start) if line_start else (b"", spec.stop)
        return parse_block(block + _rest_of_line(source, block), block_start, spec.number, schema)


def _rest_of_line(source: ByteSource, data: bytes) -> bytes:
    """Read from the end of `data` to the end of its last line."""
    parts: list[bytes] = []
    part = data
    while part and not part.endswith(b"\n"):
        part = source.read(CHUNK_BYTES)
        end = part.find(b"\n") + 1
        part = part[:end] if end else part
        parts.append(part)
    return b"".join(parts)


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the ranges of a stream in sequence, from the offset of a line."""
    with ByteSource(file) as source:
        source.move_to(start.get("offset", 0))
        number, block_start, pending = first_number, source.offset, source.read(1)
        while pending or number * RANGE_BYTES < block_start:
            stop = (number + 1) * RANGE_BYTES
            if block_start < stop and pending:
                block, pending = _block(source, pending, stop - block_start)
            else:
                block = b""
            yield parse_block(block, block_start, number, schema)
            block_start += len(block)
            number += 1
            pending = pending or source.read(1)


def _block(source: ByteSource, pending: bytes, n_bytes: int) -> tuple[bytes, bytes]:
    """Return the lines that start within the next bytes of the stream, and the bytes read after them."""
    data = pending + source.read(max(n_bytes - len(pending), 0))
    parts, searched = [data], n_bytes - 1
    while parts[-1]:
        end = parts[-1].find(b"\n", max(searched, 0)) + 1
        if end:
            next_block = parts[-1][end:]
            parts[-1] = parts[-1][:end]
            return b"".join(parts), next_block
        searched = 0
        parts.append(source.read(CHUNK_BYTES))
    return b"".join(parts), b""


def parse_block(block: bytes, block_start: int, number: int, schema: pa.Schema) -> ParsedRange:
    """Read the lines of a block that starts at an offset of the file."""
    end = block_start + len(block)
    if block_start == 0 and block.startswith(BOM):
        block, block_start = block[len(BOM) :], len(BOM)
    n_lines = block.count(b"\n") + (block != b"" and not block.endswith(b"\n"))
    resume = {"offset": end}
    rows = parse_lines(block, schema)
    if rows is not None:
        return ParsedRange(number, rows, [], rows.num_rows, n_lines, resume)
    lines = list(_lines(block))
    rows, failures = parse_records((raw for _, _, raw in lines), schema)
    unreadable = []
    for row, error in failures:
        line, offset, raw = lines[row]
        unreadable.append(Unreadable(row, line + 1, block_start + offset, error, as_text(raw)))
    return ParsedRange(number, rows, unreadable, len(lines), n_lines, resume)


def _lines(block: bytes) -> Iterator[Line]:
    offset = 0
    for number, raw in enumerate(block.split(b"\n")):
        if raw.strip(BLANK):
            yield number, offset, raw.removesuffix(b"\r")
        offset += len(raw) + 1


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first lines, and from more until one is a row."""
    with ByteSource(file) as source:
        while head := source.read(SAMPLE_BYTES):
            head += _rest_of_line(source, head)
            lines = [raw for _, _, raw in _lines(head.removeprefix(BOM))]
            for start in range(0, len(lines), SAMPLE_ROWS):
                rows, _ = parse_records(lines[start : start + SAMPLE_ROWS], pa.schema([]))
                if rows.num_rows:
                    return rows.drop_columns([ROW]).schema
    return pa.schema([])
