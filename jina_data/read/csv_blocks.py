"""Parses blocks of CSV with Arrow, where its result is certain to be that of a strict parser.

In a well-formed block without stray quotes, quotes alternate: each odd one opens a field, so it follows a delimiter or
a line break; each even one closes it, so it precedes one of these, or the next quote if both are a doubled quote inside
of the field. If this holds for all quotes, by induction no quote is in an unquoted field and none is followed by text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from jina_data.read.dialect import Dialect
from jina_data.read.encoding import BOM

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[Any]

LF, CR = 10, 13


class Block(NamedTuple):
    """The rows of whole records, as texts, and the number of bytes that they take."""

    table: pa.Table
    n_bytes: int


def parse_block(
    block: bytes, dialect: Dialect, names: list[str], header: list[str] | None, *, max_bytes: int, is_last: bool
) -> Block | None:
    """Parse the whole records in the first `max_bytes` bytes; return None where a strict parser has to."""
    if not block or not names or not dialect.is_plain or BOM in block:
        return None
    values = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(values == ord(dialect.quote)) if dialect.quote else np.zeros(0, np.int64)
    end = len(block) if is_last and len(block) <= max_bytes else _last_record_end(block, quotes, max_bytes)
    quotes = quotes[: np.searchsorted(quotes, end)]
    if not end or len(quotes) % 2 or not _are_field_ends(values, quotes, end, ord(dialect.delimiter)):
        return None
    if block.count(b"\r", 0, end) != block.count(b"\r\n", 0, end):
        return None
    if len(names) == 1 and (b"<<<<<<< " in block or b">>>>>>> " in block):
        return None
    table = _parse(block[:end], dialect, names, has_quotes=bool(len(quotes)))
    if table is None or (header is not None and _repeats(table, header)):
        return None
    return Block(table, end)


def _last_record_end(block: bytes, quotes: Positions, max_bytes: int) -> int:
    """Return the end of the last line that ends outside of quotes, within the first bytes; 0 if there is none."""
    end = max_bytes
    while True:
        end = block.rfind(b"\n", 0, end)
        if end < 0:
            return 0
        n_before = int(np.searchsorted(quotes, end))
        if n_before % 2 == 0:
            return end + 1
        end = int(quotes[n_before - 1])


def _are_field_ends(values: Bytes, quotes: Positions, end: int, delimiter: int) -> bool:
    if not len(quotes):
        return True
    opening, closing = quotes[0::2], quotes[1::2]
    before = values[np.maximum(opening - 1, 0)]
    is_start = (opening == 0) | (before == delimiter) | (before == LF)
    after = values[np.minimum(closing + 1, end - 1)]
    is_end = (closing == end - 1) | (after == delimiter) | (after == LF) | (after == CR)
    is_doubled = closing[:-1] + 1 == opening[1:]
    is_start[1:] |= is_doubled
    is_end[:-1] |= is_doubled
    return bool(is_start.all() and is_end.all())


def _parse(block: bytes, dialect: Dialect, names: list[str], *, has_quotes: bool) -> pa.Table | None:
    try:
        return pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            parse_options=pa.csv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote or False, newlines_in_values=has_quotes
            ),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowException:
        return None


def _repeats(table: pa.Table, header: list[str]) -> bool:
    """Return whether a row repeats the header."""
    if len(header) != table.num_columns:
        return False
    return all(pc.any(pc.equal(column, name)).as_py() for column, name in zip(table.columns, header, strict=True))
