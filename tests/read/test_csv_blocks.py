from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.read.csv_format.blocks import end_of_records, parse_block
from jina_data.read.csv_format.delimited import _Judge, records_of
from jina_data.read.csv_format.dialect import Dialect

NAMES = ["a", "b"]


def strict_rows(block: bytes, dialect: Dialect, names: list[str]) -> list[list[str | None]] | None:
    """Parse with the csv module; None if a record is no row of the right width."""
    judge = _Judge(names, None, dialect.quote)
    rows: list[list[str | None]] = []
    for record in records_of(block, dialect, is_last=True):
        if not judge.is_no_record(record):
            if record.error or len(record.fields) != len(names):
                return None
            rows.append(list(record.fields))
    return rows


PIECES = ['"', '""', ",", "\n", "\r\n", "\r", "x", "é", " ", '"x"', '"a,b"', "\0", "\ufeff", ";"]


PIECES = ['"', '""', ",", "\n", "\r\n", "\r", "x", "é", " ", '"x"', '"a,b"', "\0", "\ufeff", ";"]


@settings(max_examples=600, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES)),
    width=st.integers(1, 3),
    quote=st.sampled_from(['"', ""]),
    max_bytes=st.integers(1, 60),
    is_last=st.booleans(),
)
def test_a_block_is_parsed_as_by_the_csv_module_or_not_at_all(
    pieces: list[str], width: int, quote: str, max_bytes: int, is_last: bool
) -> None:
    block, dialect, names = "".join(pieces).encode(), Dialect(quote=quote), ["a", "b", "c"][:width]
    end = end_of_records(block, dialect, max_bytes=max_bytes, is_last=is_last)
    found = parse_block(block[:end], dialect, names, None) if end else None
    if found is None:
        return
    assert end <= max_bytes
    rows = [list(row.values()) for row in found.to_pylist()]
    assert rows == strict_rows(block[:end], dialect, names)
    # The block ends with a record: what follows is parsed as if the block had not been cut.
    whole = strict_rows(block, dialect, names)
    if whole is not None:
        rest = strict_rows(block[end:], dialect, names)
        assert rest is not None
        assert whole == rows + rest


CELLS = st.text(st.sampled_from('ab ",;\n\té'), max_size=6)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), quoting=st.sampled_from([0, 1]))
def test_what_the_csv_module_writes_is_parsed(rows: list[tuple[str, str]], quoting: int) -> None:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n", quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    block = sink.getvalue().encode()
    assert end_of_records(block, Dialect(), max_bytes=10**6, is_last=True) == len(block)
    found = parse_block(block, Dialect(), NAMES, None)
    assert found is not None
    assert found.to_pylist() == [dict(zip(NAMES, row, strict=True)) for row in rows]


REFUSED = [
    ("text after a quote", b'"x"y,z\n'),
    ("a quote inside of a field", b'5" disk,z\n'),
    ("a quote that is not closed", b'"x,z\ny,z\n'),
    ("a lone carriage return", b"x\ry,z\n"),
    ("too few fields", b"x\n"),
    ("too many fields", b"x,y,z\n"),
    ("not UTF-8", b"x,\xff\n"),
    ("a mark of UTF-8", b"\xef\xbb\xbfx,y\n"),
    ("the header again", b"x,y\na,b\n"),
]


@pytest.mark.parametrize(("case", "block"), REFUSED, ids=[case[0] for case in REFUSED])
def test_blocks_that_a_strict_parser_has_to_read(case: str, block: bytes) -> None:
    end = end_of_records(block, Dialect(), max_bytes=1000, is_last=True)
    assert not end or parse_block(block, Dialect(), NAMES, ["a", "b"]) is None


def test_a_block_ends_at_the_last_whole_record() -> None:
    block = b'x,y\nx,"1\n2"\nx,"open\n'
    end = end_of_records(block, Dialect(), max_bytes=len(block), is_last=False)
    assert end == len(b'x,y\nx,"1\n2"\n')
    assert parse_block(block[:end], Dialect(), NAMES, None) == pa.table({"a": ["x", "x"], "b": ["y", "1\n2"]})
