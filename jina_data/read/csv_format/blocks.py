"""Parses blocks of CSV with Arrow, where its result is certain to be that of a strict parser.

In a well-formed block without stray quotes, quotes alternate: each odd one opens a field, so it follows a delimiter or
a line break; each even one closes it, so it precedes one of these, or the next quote if both are a doubled quote inside
of the field. If this holds for all quotes, by induction no quote is in an unquoted field and none is followed by text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from jina_data.read.csv_format.dialect import Dialect
from jina_data.read.encoding import BOM

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[Any]

LF, CR = 10, 13


def end_of_records(block: bytes, dialect: Dialect, *, max_bytes: int, is_last: bool) -> int:
    """Return the end of the last whole record in the first bytes of a block, if it is well-formed up to there; else 0.

    `is_last` tells that nothing follows the block.
    """
    if not block or not dialect.is_plain:
        return 0
    values = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(values == ord(dialect.quote)) if dialect.quote else np.zeros(0, np.int64)
    end = len(block) if is_last and len(block) <= max_bytes else _last_record_end(block, quotes, max_bytes)
    quotes = quotes[: np.searchsorted(quotes, end)]
    is_well_formed = len(quotes) % 2 == 0 and _are_field_ends(values, quotes, end, ord(dialect.delimiter))
    has_lone_cr = block.count(b"\r", 0, end) != block.count(b"\r\n", 0, end)
    return end if is_well_formed and not has_lone_cr and block.find(BOM, 0, end) < 0 else 0


def parse_block(block: bytes, dialect: Dialect, names: list[str], header: list[str] | None) -> pa.Table | None:
    """Parse a block of whole, well-formed records as texts; return None where a strict parser has to."""
    if not names or (len(names) == 1 and (b"<<<<<<< " in block or b">>>>>>> " in block)):
        return None
    has_quotes = bool(dialect.quote) and dialect.quote.encode() in block
    table = _parse(block, dialect, names, has_quotes=has_quotes)
    return None if table is None or (header is not None and _repeats(table, header)) else table


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
