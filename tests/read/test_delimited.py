from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import ROW, sample_schema, stream_ranges
from tests.support.tables import errors_of, ranges_of, rows_of, small_ranges, table_of, write_input

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = TEXTS | st.sampled_from(
    ["", 'say "hi"', '"', "a\nb", "a\r\nb", "a\rb", ",", "\t", ";", "007", " 5", "é", "שלום", "\0"]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a table of the types of CSV; its first row determines the types."""
    n_rows = draw(st.integers(0, 10))

    def column(first: object, cells: st.SearchStrategy[object], kind: pa.DataType) -> pa.Array:
        return pa.array([first, *draw(st.lists(cells, min_size=n_rows, max_size=n_rows))], kind)

    columns = {
        "text": column("text", WORDS, pa.string()),
        "int": column(1, st.none() | st.integers(-(2**63), 2**63 - 1), pa.int64()),
        "double": column(0.5, st.none() | NUMBERS, pa.float64()),
        "bool": column(True, st.none() | st.booleans(), pa.bool_()),
        'na"m\ne': column("end", WORDS, pa.string()),
    }
    names = draw(st.permutations(list(columns)))
    return pa.table({name: columns[name] for name in names[: draw(st.integers(1, 5))]})


def dumped(table: pa.Table, *, delimiter: str = ",", end: str = "\r\n") -> str:
    sink = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL if "\r" in end else csv.QUOTE_ALL  # else it leaves \r unquoted
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        cells = [str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values()]
        writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells])
    return sink.getvalue()


@quick
@given(
    table=tables(),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    share=st.integers(1, 8),
    n_rows=st.integers(1, 5),
    pack=st.sampled_from(["", ".gz", ".zst"]),
)
def test_any_table_comes_back(
    tmp_path: Path, table: pa.Table, end: str, mark: bool, share: int, n_rows: int, pack: str
) -> None:
    data = ("\ufeff" if mark else "") + dumped(table, end=end)
    with small_ranges(len(data) // share + 1, n_rows):
        ranges = ranges_of(write_input(tmp_path, "t.csv" + pack, data))
    assert [parsed.unreadable for parsed in ranges if parsed.unreadable] == []
    assert table_of(ranges).equals(table)


@quick
@given(table=tables(), share=st.integers(1, 8))
def test_any_quoted_tsv_comes_back(tmp_path: Path, table: pa.Table, share: int) -> None:
    data = '"quoted\tname"\ttext\n"a\tb"\tx\n' + "".join(f'"{n}\t"\ty\n' for n in range(table.num_rows))
    with small_ranges(len(data) // share + 1):
        assert rows_of(write_input(tmp_path, "t.tsv", data))[0] == {"quoted\tname": "a\tb", "text": "x"}


TYPES: list[tuple[list[str], pa.DataType, list[object]]] = [
    (["1", "-2", ""], pa.int64(), [1, -2, None]),
    (["1", "2.5", "3e2", ".5", "5.", ""], pa.float64(), [1.0, 2.5, 300.0, 0.5, 5.0, None]),
    (["1.5", "nan", "-inf"], pa.float64(), [1.5, float("nan"), float("-inf")]),
    (["nan", "inf"], pa.string(), ["nan", "inf"]),
    (["true", "False", ""], pa.bool_(), [True, False, None]),
    (["true", "1"], pa.string(), ["true", "1"]),
    (["007", "12"], pa.string(), ["007", "12"]),
    (["1", "x", ""], pa.string(), ["1", "x", ""]),
    ([" 1"], pa.string(), [" 1"]),
    (["+1"], pa.string(), ["+1"]),
    (["1,000"], pa.string(), ["1,000"]),
    (["١"], pa.string(), ["١"]),
    (["9223372036854775808"], pa.string(), ["9223372036854775808"]),
    (["1e999"], pa.string(), ["1e999"]),
    (["", ""], pa.null(), [None, None]),
    (["2020-01-01"], pa.string(), ["2020-01-01"]),
    (["null"], pa.string(), ["null"]),
]


@pytest.mark.parametrize(("cells", "kind", "expected"), TYPES)
def test_types_are_inferred(tmp_path: Path, cells: list[str], kind: pa.DataType, expected: list[object]) -> None:
    sink = io.StringIO()
    csv.writer(sink).writerows([["k", "a"], *(["k", cell] for cell in cells)])
    file = write_input(tmp_path, "t.csv", sink.getvalue())
    assert sample_schema(file).field("a").type == kind
    assert str([row["a"] for row in rows_of(file)]) == str(expected)


def test_later_values_fit_widen_or_are_unreadable(tmp_path: Path) -> None:
    schema = pa.schema(
        [("i", pa.int64()), ("d", pa.float64()), ("b", pa.bool_()), ("e", pa.null()), ("s", pa.string())]
    )
    header = "i,d,b,e,s\n"
    file = write_input(tmp_path, "t.csv", header + "1,1,true,,x\n2,,,late,\n,2,,,\n")
    assert rows_of(file, schema) == [
        {"i": 1, "d": 1.0, "b": True, "e": None, "s": "x"},
        {"i": 2, "d": None, "b": None, "e": "late", "s": ""},
        {"i": None, "d": 2.0, "b": None, "e": None, "s": ""},
    ]
    file = write_input(tmp_path, "u.csv", header + "1.5,,,,\n2,,,,\n")
    assert [row["i"] for row in rows_of(file, schema)] == [1.5, 2.0]
    file = write_input(tmp_path, "v.csv", header + "1.5,x,,,\n,,yes,,\n9223372036854775808,,,,\n007,,,,\n3,,,,\n")
    assert errors_of(file, schema) == [
        "column 'd': expected double, found 'x'",
        "column 'b': expected bool, found 'yes'",
        "column 'i': expected int64, found '9223372036854775808'",
        "column 'i': expected int64, found '007'",
    ]
    assert table_of(ranges_of(file, schema)).schema.field("i").type == pa.int64()


def test_a_type_of_another_file_holds_no_text(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.timestamp("s")), ("z", pa.large_string())])
    file = write_input(tmp_path, "t.csv", "k,a\nx,\nx,2020-01-01\n")
    assert errors_of(file, schema) == ["column 'a': expected timestamp[s], found '2020-01-01'"]
    assert rows_of(file, schema) == [{"a": None, "z": None, "k": "x"}]


BROKEN: list[tuple[str, bytes, str]] = [
    ("too few", b"a", "expected 2 fields, found 1"),
    ("too many", b"a,b,c", "expected 2 fields, found 3"),
    ("not utf-8", b"a,\xff", "not UTF-8"),
    ("text behind a quote", b'a,"b"c', "not CSV: ',' expected after '\"'"),
    ("carriage return", b"a,b\rc,d", "not CSV: new-line character seen in unquoted field"),
    ("many lines", b'a,"b\n\n\n",c', "expected 2 fields, found 3"),
    ("not utf-8 on a later line", b'a,"b\n\xff\n"', "not UTF-8"),
]


@pytest.mark.parametrize(("case", "raw", "expected"), BROKEN, ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("pack", ["", ".gz"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_broken_records_cost_only_themselves(
    tmp_path: Path, case: str, raw: bytes, expected: str, pack: str, end: bytes
) -> None:
    good = b'x,"y' + end + b'"",z"'
    data = end.join([b"\xef\xbb\xbfone,two", good, good, b"", raw, good, raw, b"last,one", b""])
    file = write_input(tmp_path, "t.csv" + pack, data)
    for size, n_rows in ((1, 1), (40, 2), (10_000, 10_000)):
        with small_ranges(size, n_rows):
            errors = errors_of(file)
            assert len(errors) == 2
            assert all(expected in error for error in errors)
            ranges = ranges_of(file)
            assert sum(parsed.row_count for parsed in ranges) == 6
            assert [row["one"] for row in table_of(ranges).to_pylist()] == ["x", "x", "x", "last"]
            broken = [broken for parsed in ranges for broken in parsed.unreadable]
            assert [failure.raw.encode("utf-8", "surrogateescape") for failure in broken] == [raw, raw]


def test_a_quote_that_never_closes_is_one_unreadable_record(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", 'a,b\n1,2\n3,"x\ny\nz')
    assert errors_of(file) == ["a quote opens here that nothing closes before the end of the file"]
    (parsed,) = stream_ranges(file, sample_schema(file))
    assert (parsed.unreadable[0].line, parsed.unreadable[0].byte_offset, parsed.line_count) == (3, 8, 5)


def test_a_field_too_long_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jina_data.read import delimited

    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 100_000)
    file = write_input(tmp_path, "t.csv", "a,b\n1,2\n3,{}\n4,5\n".format("x" * 200_000))
    assert errors_of(file) == ["a field of more than 100,000 characters; is a quote not closed?"]
    assert [row["a"] for row in rows_of(file)] == [1, 4]


def test_a_long_field_is_read(tmp_path: Path) -> None:
    text = "long 😀 " * 1_200_000
    file = write_input(tmp_path, "t.csv", f'a,b\n1,"{text}"\n2,y\n')
    assert rows_of(file) == [{"a": 1, "b": text}, {"a": 2, "b": "y"}]
    assert [parsed.row_count for parsed in ranges_of(file)] == [1, 1]


DIALECTS: list[tuple[str, str, str, str, str, list[dict[str, object]]]] = [
    ("commas", "t.csv", "a,b\nx,y", ",", "rfc4180", [{"a": "x", "b": "y"}]),
    ("semicolons", "t.csv", 'a;b\n"x;1";1,5', ";", "rfc4180", [{"a": "x;1", "b": "1,5"}]),
    ("tabs", "t.csv", "a\tb\nx\ty,z", "\t", "rfc4180", [{"a": "x", "b": "y,z"}]),
    ("one column", "t.csv", 'a\nx\n""', ",", "rfc4180", [{"a": "x"}, {"a": ""}]),
    ("tsv without quotes", "t.tsv", "a\tb\nx\ty", "\t", "none", [{"a": "x", "b": "y"}]),
    ("quotes are text", "t.tsv", 'a\tb\n"Oh", he said\t"x\nz\ty', "\t", "none",
     [{"a": '"Oh", he said', "b": '"x'}, {"a": "z", "b": "y"}]),
    ("a quote on each of two lines", "t.tsv", 'a\tb\n1\t"x\n2\t"y', "\t", "none",
     [{"a": 1, "b": '"x'}, {"a": 2, "b": '"y'}]),
    ("quotes wrap fields", "t.tsv", 'a\tb\n"x"\t"say ""hi"""', "\t", "rfc4180", [{"a": "x", "b": 'say "hi"'}]),
    ("a line break in quotes", "t.tsv", 'a\tb\n"x\ny"\tz\nq\tr', "\t", "rfc4180",
     [{"a": "x\ny", "b": "z"}, {"a": "q", "b": "r"}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "name", "data", "delimiter", "quoting", "rows"), DIALECTS, ids=[case[0] for case in DIALECTS]
)
def test_dialects(
    tmp_path: Path, case: str, name: str, data: str, delimiter: str, quoting: str, rows: list[dict[str, object]]
) -> None:
    file = write_input(tmp_path, name, data)
    assert dict(file.options) == {"delimiter": delimiter, "quoting": quoting}
    assert rows_of(file) == rows


HEADERS: list[tuple[str, bytes, str]] = [
    ("empty", b"", "the file is empty. A csv file must begin with a line of column names"),
    ("twice", b"a,b,a\n", "column 'a': it occurs twice. Rename the column in the source"),
    ("no name", b"a,,b\n", "column '': the name is empty"),
    ("not utf-8", b"a,\xff\n", "the header could not be read: not UTF-8"),
    ("not closed", b'a,"b\n1,2\n', "the header could not be read: a quote opens here"),
]


@pytest.mark.parametrize(("case", "data", "message"), HEADERS, ids=[case[0] for case in HEADERS])
def test_headers_that_cannot_be_used(tmp_path: Path, case: str, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample_schema(write_input(tmp_path, "t.csv", data))


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "a,b\n")
    assert sample_schema(file) == pa.schema([("a", pa.null()), ("b", pa.null())])
    assert ranges_of(file) == []


def test_ranges_close_by_rows_and_bytes(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "a\n" + "".join(f"{number}\n" for number in range(10, 40)))
    with small_ranges(1000, 7):
        assert [parsed.row_count for parsed in ranges_of(file)] == [7, 7, 7, 7, 2]
    with small_ranges(30, 1000):
        assert [parsed.row_count for parsed in ranges_of(file)] == [10, 10, 10]
        assert [parsed.line_count for parsed in ranges_of(file)] == [11, 10, 10]
    (whole,) = ranges_of(file)
    assert whole.rows.schema.names == ["a", ROW]
