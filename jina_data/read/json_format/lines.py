"""Reads JSON lines. A range holds the records that start in its bytes, wherever they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from jina_data.read.encoding import BOM
from jina_data.read.json_format.line_rows import CONTEXT_BYTES, records_of
from jina_data.read.json_format.reading import reading_of
from jina_data.read.json_format.rows import parse_lines, parse_values
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

LOOKBACK_BYTES = 2 * CONTEXT_BYTES


@dataclass(frozen=True)
class Block:
    """Whole lines of a file: the byte at which they start, and whole lines before and after them."""

    data: bytes
    start: int
    before: bytes
    after: bytes


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
        source.move_to(max(spec.start - 1 - LOOKBACK_BYTES, 0))
        before = source.read(max(spec.start - 1 - source.offset, 0))
        start = source.offset
        data = source.read(spec.stop - start)
        if spec.start:
            cut = data.find(b"\n", 0, len(data) - 1) + 1
            if not cut:
                cut = len(data)
                start = spec.stop - cut
            before, data, start = before + data[:cut], data[cut:], start + cut
        rest, after = _rest_of_line(source, data)
        after += source.read(max(CONTEXT_BYTES - len(after), 0))
        block = Block(data + rest, start, before, after[:CONTEXT_BYTES])
        return parse_block(file, block, schema, number=spec.number)


def _rest_of_line(source: ByteSource, data: bytes) -> tuple[bytes, bytes]:
    """Read from the end of `data` to the end of its last line; return this, and bytes read after it."""
    parts: list[bytes] = []
    part, after = data, b""
    while part and not part.endswith(b"\n"):
        part = source.read(CHUNK_BYTES)
        end = part.find(b"\n") + 1
        if end:
            part, after = part[:end], part[end:]
        parts.append(part)
    return b"".join(parts), after


def stream_ranges(
    file: InputFile, schema: pa.Schema, start: dict[str, int], first_number: int
) -> Iterator[ParsedRange]:
    """Read the ranges of a stream in sequence, from the offset of a line."""
    with ByteSource(file) as source:
        block_start = start.get("offset", 0)
        source.move_to(max(block_start - LOOKBACK_BYTES, 0))
        before = source.read(block_start - source.offset)
        number, pending = first_number, source.read(1)
        while pending or number * RANGE_BYTES < block_start:
            stop = (number + 1) * RANGE_BYTES
            data = b""
            if block_start < stop and pending:
                data, pending = _block(source, pending, stop - block_start)
            if len(pending) < CONTEXT_BYTES:
                pending += source.read(CONTEXT_BYTES - len(pending))
            yield parse_block(file, Block(data, block_start, before, pending[:CONTEXT_BYTES]), schema, number=number)
            block_start += len(data)
            before = (before[-LOOKBACK_BYTES:] + data)[-LOOKBACK_BYTES:]
            number += 1


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


def parse_block(file: InputFile, block: Block, schema: pa.Schema, *, number: int) -> ParsedRange:
    """Read the records that start in a block."""
    data, start = block.data, block.start
    resume = {"offset": start + len(data)}
    n_lines = data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))
    if start == 0 and data.startswith(BOM):
        data, start = data[len(BOM) :], len(BOM)
    reading = reading_of(file)
    rows = parse_lines(data, schema, reading)
    if rows is not None and (len(data) >= CONTEXT_BYTES or not (block.before.strip() and block.after.strip())):
        return ParsedRange(number, rows, [], rows.num_rows, n_lines, resume)
    before, after = _whole_lines(block, start)
    base, header_end = start - len(before), int(file.option("header_end", "0"))
    records = [
        record
        for record in records_of(before + data + after, reading.shape)
        if max(start, header_end) <= record.offset + base < start + len(data)
    ]
    rows, failures, _ = parse_values((record.value for record in records), schema, reading)
    unreadable = [
        Unreadable(
            failure.position,
            records[failure.value].line - before.count(b"\n") + 1,
            records[failure.value].offset + base,
            failure.error,
            as_text(records[failure.value].raw),
        )
        for failure in failures
    ]
    return ParsedRange(number, rows, unreadable, rows.num_rows + len(unreadable), n_lines, resume)


def _whole_lines(block: Block, start: int) -> tuple[bytes, bytes]:
    """Return the lines around a block, without those that are cut off."""
    before, after = block.before, block.after
    if len(before) < start:
        before = before[before.find(b"\n") + 1 :] if b"\n" in before else b""
    if len(after) >= CONTEXT_BYTES:
        after = after[: after.rfind(b"\n") + 1]
    return before, after


def sample_schema(file: InputFile) -> pa.Schema:
    """Infer the columns from the first lines, and from more until one is a row."""
    reading = reading_of(file)
    header_end = int(file.option("header_end", "0"))
    offset = 0
    with ByteSource(file) as source:
        pending = b""
        while head := pending + source.read(max(SAMPLE_BYTES - len(pending), 0)):
            rest, pending = _rest_of_line(source, head)
            head += rest
            values = [
                record.value
                for record in records_of(head.removeprefix(BOM), reading.shape)
                if record.offset + offset >= header_end
            ]
            offset += len(head)
            for start in range(0, len(values), SAMPLE_ROWS):
                rows, _, _ = parse_values(values[start : start + SAMPLE_ROWS], pa.schema([]), reading)
                if rows.num_rows:
                    return rows.drop_columns([ROW]).schema
    return pa.schema([])
