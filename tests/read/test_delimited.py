from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import ROW, InputFile, InputOptions, resolve_inputs, sample_schema, settled_schema, stream_ranges
from tests.support.tables import errors_of, ranges_of, rows_of, small_ranges, table_of, write_input

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", 'say "hi"', '"', "a\nb", "a\r\nb", "a\rb", ",", "\t", ";", "|", "'", "\\", "007", " 5", "é", "שלום", "1.10"]
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "gb18030", "shift_jis"]


def read(path: Path, **known: Any) -> tuple[InputFile, list[dict[str, Any]]]:
    """Read all rows of a file, and check that ranges of any size give the same."""
    (file,) = resolve_inputs([str(path)], InputOptions(**known))
    rows = table_of(ranges_of(file, settled_schema([file]))).to_pylist()
    return file, rows


def write(path: Path, rows: list[list[str]], *, encoding: str = "utf-8", **dialect: Any) -> Path:
    sink = io.StringIO(newline="")
    csv.writer(sink, **dialect).writerows(rows)
    path.write_bytes(sink.getvalue().encode(encoding))
    return path


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, Any]:
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    # With QUOTE_MINIMAL the csv module leaves \r or \n unquoted unless it is in the line end.
    quoting = quoting if end == "\r\n" else csv.QUOTE_ALL
    escaped = draw(st.booleans())
    return {
        "delimiter": delimiter,
        "quotechar": draw(st.sampled_from(['"', "'"])),
        "lineterminator": end,
        "quoting": quoting,
        **({"escapechar": "\\", "doublequote": False} if escaped else {}),
    }


@quick
@given(
    cells=st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(WORDS, min_size=n, max_size=n), max_size=8)),
    dialect=dialects(),
    encoding=st.sampled_from(ENCODINGS),
    n_bytes=st.integers(1, 60),
)
@example(  # a delimiter, a blank and a quote inside of a quoted field
    cells=[["", "", " "], ["", "", "; "]],
    dialect={"delimiter": ";", "quotechar": '"', "lineterminator": "\r\n", "quoting": csv.QUOTE_MINIMAL},
    encoding="utf-8",
    n_bytes=1,
)
def test_any_table_in_any_dialect_and_encoding_comes_back(
    tmp_path: Path, cells: list[list[str]], dialect: dict[str, Any], encoding: str, n_bytes: int
) -> None:
    names = [f"name {number}" for number in range(len(cells[0]) if cells else 2)]
    texts = "".join(cell for row in cells for cell in row)
    assume(texts.encode(encoding, "replace").decode(encoding) == texts)
    # Line ends of CR alone are told from line breaks in cells by the quotes around these, unless quotes are escaped.
    assume("escapechar" not in dialect or not set("\r\n") & set(texts))
    path = write(tmp_path / "t.csv", [names, *cells], encoding=encoding, **dialect)
    known = {
        "encoding": encoding,
        "delimiter": dialect["delimiter"],
        "quote": dialect["quotechar"],
        "escape": dialect.get("escapechar", "none"),
        "header": True,
        "skip_rows": 0,
        "types": dict.fromkeys(names, "string"),
    }
    with small_ranges(n_bytes):
        (file,) = resolve_inputs([str(path)], InputOptions(**known))
        ranges = ranges_of(file)
    assert [parsed.unreadable for parsed in ranges if parsed.unreadable] == []
    # A row that is the header once more is no row.
    expected = [row for row in cells if row != names and (len(row) == 1 or any(cell for cell in row))]
    found = [list(row.values()) for row in table_of(ranges).to_pylist()]
    assert [row for row in found if len(row) == 1 or any(row)] == expected


SENTENCES = st.sampled_from(
    [
        "Wie alt, bitte?",
        "A plain one",
        'He said "no"',
        "Größe; 5 cm",
        "über 1.000 €",
        "two\nlines",
        "It's mine",
        "x | y",
    ]
)


@quick
@given(
    rows=st.lists(st.tuples(SENTENCES, SENTENCES, SENTENCES), min_size=3, max_size=20),
    dialect=dialects(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_tables_of_ordinary_texts_are_detected(
    tmp_path: Path, rows: list[tuple[str, str, str]], dialect: dict[str, Any], encoding: str
) -> None:
    dialect = {**dialect, "quotechar": '"'}
    path = write(tmp_path / "t.csv", [["id", "question", "answer"], *map(list, rows)], encoding=encoding, **dialect)
    _, found = read(path)
    assert [tuple(row.values()) for row in found] == rows
    assert not rows or list(found[0]) == ["id", "question", "answer"]


TYPES: list[tuple[list[str], pa.DataType, list[object]]] = [
    (["1", "-2", ""], pa.int64(), [1, -2, None]),
    (["2.5", "0.1", "-3.25", ""], pa.float64(), [2.5, 0.1, -3.25, None]),
    (["0.30000000000000004", "1e-05", "1.0"], pa.float64(), [0.30000000000000004, 1e-05, 1.0]),
    (["true", "false", ""], pa.bool_(), [True, False, None]),
    (["1", "2.5"], pa.string(), ["1", "2.5"]),  # as a double, 1 prints as 1.0
    (["1", "1.1", "1.10"], pa.string(), ["1", "1.1", "1.10"]),
    (["3.9", "3.10"], pa.string(), ["3.9", "3.10"]),
    (["True", "False"], pa.string(), ["True", "False"]),
    (["12e4"], pa.string(), ["12e4"]),
    (["nan", "0.5"], pa.string(), ["nan", "0.5"]),
    (["true", "1"], pa.string(), ["true", "1"]),
    (["007", "12"], pa.string(), ["007", "12"]),
    (["-0"], pa.string(), ["-0"]),
    (["1", "x", ""], pa.string(), ["1", "x", ""]),
    ([" 1"], pa.string(), [" 1"]),
    (["+1"], pa.string(), ["+1"]),
    (["1,000"], pa.string(), ["1,000"]),
    (["١"], pa.string(), ["١"]),
    (["9223372036854775807"], pa.int64(), [9223372036854775807]),
    (["9223372036854775808"], pa.string(), ["9223372036854775808"]),
    (["1e999"], pa.string(), ["1e999"]),
    (["0.1234567890123456789"], pa.string(), ["0.1234567890123456789"]),
    (["2020-01-01"], pa.string(), ["2020-01-01"]),
    (["null"], pa.string(), ["null"]),
    (["", ""], pa.string(), ["", ""]),
]


@pytest.mark.parametrize(("cells", "kind", "expected"), TYPES, ids=[" ".join(case[0]) for case in TYPES])
def test_a_text_is_a_number_only_if_the_number_prints_alike(
    tmp_path: Path, cells: list[str], kind: pa.DataType, expected: list[object]
) -> None:
    path = write(tmp_path / "t.csv", [["key", "a"], *(["k", cell] for cell in cells)])
    (file,) = resolve_inputs([str(path)])
    found = table_of(ranges_of(file, settled_schema([file])))
    assert found.schema.field("a").type == kind
    assert str(found.column("a").to_pylist()) == str(expected)


@pytest.mark.parametrize("late", ["x", "1.50", "007", "0.5", "9223372036854775808", "true"])
def test_a_late_value_of_another_type_makes_the_column_text(tmp_path: Path, late: str) -> None:
    cells = [*map(str, range(1500)), "", late, ""]
    path = write(tmp_path / "t.csv", [["id", "a"], *([f"k{n}", cell] for n, cell in enumerate(cells))])
    with small_ranges(200):
        _, rows = read(path)
    assert [row["a"] for row in rows] == cells


def test_a_text_after_a_column_that_is_empty_at_first(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["title", "text"], *(["t", ""] for _ in range(1200)), ["t", "late"]])
    _, rows = read(path)
    assert [row["text"] for row in rows] == [""] * 1200 + ["late"]


def test_types_that_are_set(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["id", "n", "s"], ["1", "2", "3"], ["2", "x", "4"], ["3", "", "5"]])
    (file,) = resolve_inputs([str(path)], InputOptions(types={"id": "string", "n": "int64", "s": "double"}))
    assert rows_of(file) == [{"id": "1", "n": 2, "s": 3.0}, {"id": "3", "n": None, "s": 5.0}]
    assert errors_of(file) == ["column 'n': expected int64, the type set for it, found 'x'"]


BROKEN: list[tuple[str, bytes, str]] = [
    ("too many", b"a,b,c", "expected 2 fields, found 3"),
    ("not utf-8", b"\xc3\xa4,\xff", "not UTF-8"),
    ("text behind a quote", b'a,"b"c', "not CSV: ',' expected after '\"'"),
    ("carriage return", b"a,b,c\rd", "a line break outside of quotes that is not that of the file"),
    ("many lines", b'a,"b\n\n\n",c', "expected 2 fields, found 3"),
    ("not utf-8 on a later line", b'a,"\xc3\xa4b\n\xff\n"', "not UTF-8"),
    ("a conflict of git", b"<<<<<<< HEAD", "a conflict marker of git"),
    ("a quote that nothing closes", b'a,"b', "not CSV"),
]


@pytest.mark.parametrize(("case", "raw", "expected"), BROKEN, ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("pack", ["", ".gz"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_broken_records_cost_only_themselves(
    tmp_path: Path, case: str, raw: bytes, expected: str, pack: str, end: bytes
) -> None:
    good = b'x,"y' + end + b'"",\xc3\xa9z"'
    data = end.join([b"\xef\xbb\xbfone,two", good, good, b"", raw, good, raw, good, b"last,one", b""])
    file = write_input(tmp_path, "t.csv" + pack, data)
    for size in (1, 40, 10_000):
        with small_ranges(size):
            errors = errors_of(file)
            assert len(errors) == 2
            assert all(expected in error for error in errors)
            ranges = ranges_of(file)
            assert sum(parsed.row_count for parsed in ranges) == 7
            assert [row["one"] for row in table_of(ranges).to_pylist()] == ["x", "x", "x", "x", "last"]
            broken = [broken for parsed in ranges for broken in parsed.unreadable]
            assert [failure.raw.encode("utf-8", "surrogateescape") for failure in broken] == [raw, raw]


def test_the_rest_of_a_broken_record_is_no_row(tmp_path: Path) -> None:
    text = 'id,text,tag\n1,"a ""b"" c",x\n2,"one "two" three\nand more, of it",y\n3,good,z\n4,short\n'
    file = write_input(tmp_path, "t.csv", text)
    assert [row["id"] for row in rows_of(file)] == [1, 3, 4]
    assert errors_of(file)[1:] == ["the rest of a broken record"]


def test_a_quote_that_never_closes_costs_its_line(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", 'a,b\n1,2\n3,"x\n4,y\n5,z\n')
    assert errors_of(file) == ["a quote opens here that nothing closes before the end of the file"]
    assert [row["a"] for row in rows_of(file)] == [1, 4, 5]
    (parsed,) = stream_ranges(file, sample_schema(file))
    assert (parsed.unreadable[0].line, parsed.unreadable[0].byte_offset, parsed.line_count) == (3, 8, 5)


def test_a_record_too_long_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("delimited", "dialect"):
        monkeypatch.setattr(f"jina_data.read.csv_format.{module}.MAX_RECORD_BYTES", 100_000)
    monkeypatch.setattr("jina_data.read.csv_format.delimited.end_of_records", lambda *_, **__: 0)
    file = write_input(tmp_path, "t.csv", "a,b\n1,2\n3,{}\n4,5\n".format("x" * 200_000))
    assert errors_of(file) == ["a field of more than 100,000 characters; is a quote not closed?"]
    assert [row["a"] for row in rows_of(file)] == [1, 4]


def test_a_long_field_is_read(tmp_path: Path) -> None:
    text = "long 😀 " * 1_200_000
    file = write_input(tmp_path, "t.csv", f'a,b\n1,"{text}"\n2,y\n')
    assert rows_of(file) == [{"a": 1, "b": text}, {"a": 2, "b": "y"}]
    assert [parsed.row_count for parsed in ranges_of(file)] == [1, 1]


def test_short_rows_are_padded_and_counted(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "id,title,text\n1,A page,About\n2,A page without\n3,Other,More,\n")
    assert rows_of(file) == [
        {"id": 1, "title": "A page", "text": "About"},
        {"id": 2, "title": "A page without", "text": None},
        {"id": 3, "title": "Other", "text": "More"},
    ]
    assert [parsed.counts for parsed in ranges_of(file)] == [{"padded": 1}]


def test_headers_and_marks_of_joined_files_are_no_rows(tmp_path: Path) -> None:
    part = "\ufeffquestion,answer\nWhat is it?,A test.\n"
    file = write_input(tmp_path, "t.csv", part + part + part)
    assert rows_of(file) == [{"question": "What is it?", "answer": "A test."}] * 3
    assert [parsed.counts for parsed in ranges_of(file)] == [{"repeated_headers": 2}]


def test_backslashes_that_escape_nothing_stay(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", 'a,b\n"a \\"b\\" c","C:\\new\\\\"\nx,y\\z\n')
    assert rows_of(file) == [{"a": 'a "b" c', "b": "C:\\new\\"}, {"a": "x", "b": "y\\z"}]


TWO = [("one", "1"), ("two", "2")]
BREAKS: list[tuple[str, bytes, list[tuple[str, str]]]] = [
    ("LF in a file of CR", b"q,a\rone,1\ntwo,2\rx,3\ry,4\r", [*TWO, ("x", "3"), ("y", "4")]),
    ("CR in a file of LF", b"q,a\none,1\rtwo,2\nx,3\ny,4\n", [*TWO, ("x", "3"), ("y", "4")]),
    ("LF CR", b"q,a\n\rone,1\n\rtwo,2\n\r", TWO),
    ("CR after the header", b"q,a\rone,1\ntwo,2\nx,3\n", [*TWO, ("x", "3")]),
    ("CR in a file of CR LF", b"q,a\r\none,1\rtwo,2\r\nx,3\r\n", [*TWO, ("x", "3")]),
    ("CR in a field", b"q,a\none\rand more,1\ntwo,2\r\n", [("one\rand more", "1"), ("two", "2")]),
    ("CR in two fields", b"q,a\none\r,\r1\ntwo,2\n", [("one\r", "\r1"), ("two", "2")]),
]


@pytest.mark.parametrize(("case", "data", "rows"), BREAKS, ids=[case[0] for case in BREAKS])
@pytest.mark.parametrize("size", [1, 12, 10_000])
def test_line_breaks_of_other_systems(
    tmp_path: Path, case: str, data: bytes, rows: list[tuple[str, str]], size: int
) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    (file,) = resolve_inputs([str(tmp_path / "t.csv")], InputOptions(types={"a": "string"}))
    with small_ranges(size):
        ranges = ranges_of(file)
    assert [(row["q"], row["a"]) for row in table_of(ranges).to_pylist()] == rows
    assert [parsed.unreadable for parsed in ranges if parsed.unreadable] == []


DUMPS: list[tuple[str, str, list[dict[str, Any]], dict[str, int]]] = [
    ("psql", " id | q\n----+----\n  1 | x \n(1 row)\n\n", [{"id": "  1 ", "q": " x "}], {"rules": 2}),
    ("sqlcmd", "id,q\n--,--\n1,x\n\n(1 rows affected)\n", [{"id": 1, "q": "x"}], {"rules": 1}),
    ("mysql", "+----+---+\n| id | q |\n+----+---+\n| 1  | x |\n| 2  | y |\n+----+---+\n2 rows in set (0.00 sec)\n",
     [{"column_1": "", "id": f" {n}  ", "q": f" {q} ", "column_4": ""} for n, q in ((1, "x"), (2, "y"))],
     {"rules": 3}),
    ("dashes that are values", "id,q\n1,--\n--,--\n", [{"id": "1", "q": "--"}, {"id": "--", "q": "--"}], {}),
    ("null", "id,q,n\n1,\\N,\\N\n2,x,5\n", [{"id": 1, "q": None, "n": None}, {"id": 2, "q": "x", "n": 5}], {}),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "rows", "counts"), DUMPS, ids=[case[0] for case in DUMPS])
def test_tables_as_databases_print_them(
    tmp_path: Path, case: str, text: str, rows: list[dict[str, Any]], counts: dict[str, int]
) -> None:
    file = write_input(tmp_path, "t.csv", text)
    assert rows_of(file) == rows
    assert [parsed.counts for parsed in ranges_of(file)] == [counts]
    assert errors_of(file) == []


def test_a_line_break_after_a_backslash_is_in_the_field(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.tsv", "id\tq\ta\n1\tx\tone\\\ntwo\n2\t\\N\tthree\n3\ty\tfour\n")
    assert [row["a"] for row in rows_of(file)] == ["one\ntwo", "three", "four"]
    assert [row["q"] for row in rows_of(file)] == ["x", None, "y"]


def test_a_delimiter_in_quotes_is_not_escaped(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", 'a,b\n"say \\"o","x\\,y"\n"""\\,z""",plain\n')
    assert rows_of(file) == [{"a": 'say "o', "b": "x\\,y"}, {"a": '"\\,z"', "b": "plain"}]


def test_blanks_after_quotes_are_no_text(tmp_path: Path) -> None:
    text = 'id , text\n"1" , "Hello, you" \n"2" ,"Bye ""x"" , y"  \n'
    assert rows_of(write_input(tmp_path, "t.csv", text)) == [
        {"id": 1, "text": "Hello, you"},
        {"id": 2, "text": 'Bye "x" , y'},
    ]


def test_two_marks_at_the_start_are_no_name(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "\ufeff\ufeffid,text\n1,Hello\n2,Bye\n")
    assert rows_of(file) == [{"id": 1, "text": "Hello"}, {"id": 2, "text": "Bye"}]


def test_nul_characters_stay(tmp_path: Path) -> None:
    assert rows_of(write_input(tmp_path, "t.csv", "q,a\nWhat?,A\0test.\n")) == [{"q": "What?", "a": "A\0test."}]


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "a,b\n")
    assert sample_schema(file) == pa.schema([("a", pa.null()), ("b", pa.null())])
    assert ranges_of(file) == []
    empty = write_input(tmp_path, "e.csv", "")
    assert (sample_schema(empty).names, ranges_of(empty)) == ([], [])


def test_ranges_hold_whole_records(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.csv", "a\n" + "".join(f"{number}\n" for number in range(10, 40)))
    with small_ranges(30):
        assert [parsed.row_count for parsed in ranges_of(file)] == [10, 10, 10]
        assert [parsed.line_count for parsed in ranges_of(file)] == [11, 10, 10]
    with small_ranges(31):
        assert [parsed.row_count for parsed in ranges_of(file)] == [10, 10, 10]
    (whole,) = ranges_of(file)
    assert whole.rows.schema.names == ["a", ROW]


OTHER_ENCODINGS: list[tuple[str, str, str]] = [
    ("cp1252", "id;text\n0;Grüße aus Köln – Straße Nummer 0 und noch ein Satz dazu.\n", "cp1252"),
    ("cp1252", "english,french\nJustice,Justice\nHealth,Santé\nSchool,École\n", "cp1252"),
    ("cp1252", "id,price\n1,one £\n2,two\n3,three\n", "cp1252"),
    ("gb18030", "question,answer\n头痛怎么办,多喝水\n发烧怎么办,看医生\n", "gb18030"),
    ("shift_jis", "id,text\n1,これは日本語の文章です。\n2,今日は天気がいいです。\n", "cp932"),
    ("cp1251", "id,text\n1,Привет как дела сегодня\n2,Хорошо спасибо а у вас\n", "cp1251"),
    ("koi8_r", "id,text\n1,Привет как дела сегодня\n2,Хорошо спасибо а у вас\n", "koi8_r"),
    ("cp1250", "id,text\n1,Zażółć gęślą jaźń dzisiaj\n2,Příliš žluťoučký kůň\n", "cp1250"),
    ("cp1252", "id,text\n1,déjà vu\n2,été\n3,C'est ça\n", "cp1252"),
    ("cp1252", "id,text\n1,it’s fine\n", "cp1252"),
    ("cp1252", "id,text\n1,15 °C today\n", "cp1252"),
    ("utf-16-le", "id,text\n1,Hello there\n", "utf-16-le"),
    ("utf-32-be", "id,text\n1,Hello there\n", "utf-32-be"),
]


@pytest.mark.parametrize(("encoding", "text", "named"), OTHER_ENCODINGS)
def test_a_file_in_another_encoding_stops_with_its_name(tmp_path: Path, encoding: str, text: str, named: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=rf"t\.csv: the text is not UTF-8.*--encoding {named}"):
        resolve_inputs([str(path)])
    _, rows = read(path, encoding=encoding)
    assert [list(row.values())[1] for row in rows] == [
        line.replace(";", ",").split(",")[1] for line in text.splitlines()[1:]
    ]


DAMAGED: list[tuple[str, bytes, int]] = [
    ("one byte among characters beyond ASCII", "id,text\n1,Grüße\n2,Köln\n".encode() + b"3,\xe9\n4,x\n", 1),
    ("one byte that is no letter", b"id,text\n1,a\n2,\xffb\n3,c\n", 1),
    ("UTF-8 as set", b"id,text\n1,caf\xe9\n2,b\n", 1),
]


@pytest.mark.parametrize(("case", "data", "n_unreadable"), DAMAGED, ids=[case[0] for case in DAMAGED])
def test_damaged_utf8_costs_the_damaged_records(tmp_path: Path, case: str, data: bytes, n_unreadable: int) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    known = InputOptions(encoding="utf-8") if case.endswith("set") else InputOptions()
    (file,) = resolve_inputs([str(path)], known)
    assert errors_of(file) == ["not UTF-8"] * n_unreadable


def test_bytes_that_are_not_in_the_encoding_cost_their_record(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("id,text\n1,über\n".encode("cp1252") + b"2,a\x81b\n3,c\n")
    (file,) = resolve_inputs([str(path)], InputOptions(encoding="cp1252"))
    ranges = list(stream_ranges(file, sample_schema(file)))
    assert [row["text"] for row in table_of(ranges).to_pylist()] == ["über", "c"]
    assert [failure.error for parsed in ranges for failure in parsed.unreadable] == ["not cp1252"]


SEEMS_UTF8 = ["the text seems to be utf-8, but is read as cp1252, which is set"]
SET_ENCODINGS: list[tuple[str, bytes, str, list[str]]] = [
    ("UTF-8", "id,text\n1,Grüße\n".encode(), "cp1252", SEEMS_UTF8),
    ("UTF-8 with a mark", b"\xef\xbb\xbfid,text\n1,a\n", "cp1252", SEEMS_UTF8),
    ("UTF-8 with a mark, as set", b"\xef\xbb\xbfid,text\n1,a\n", "utf-8-sig", []),
    ("UTF-16 with a mark", "id,text\n1,a\n".encode("utf-16"), "utf-16-le", []),
    ("right", "id,text\n1,Grüße\n".encode("cp1252"), "cp1252", []),
    ("ASCII", b"id,text\n1,a\n", "cp1252", []),
]


@pytest.mark.parametrize(("case", "data", "encoding", "notes"), SET_ENCODINGS, ids=[case[0] for case in SET_ENCODINGS])
def test_an_encoding_that_is_set_and_seems_wrong_is_noted(
    tmp_path: Path, case: str, data: bytes, encoding: str, notes: list[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    (file,) = resolve_inputs([str(path)], InputOptions(encoding=encoding))
    assert file.notes == notes


def test_utf16_as_set_without_a_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("id,text\n1,a\n".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"not in the encoding that is set .*utf-16-le or utf-16-be"):
        resolve_inputs([str(path)], InputOptions(encoding="utf-16"))


@pytest.mark.parametrize("end", [b"\0" * 2000, b"\0\0\n", b"\x1a", b""])
def test_zeros_at_the_end_are_no_encoding(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text\n1,Hello\n2,Bye\n" + end)
    assert read(path)[1] == [{"id": 1, "text": "Hello"}, {"id": 2, "text": "Bye"}]
