from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from jina_data.read import ROW, InputFile, resolve_inputs, sample_schema, settled_schema, stream_ranges, unite_types
from jina_data.read.json_format import lines as jsonl_module
from jina_data.read.json_format.load import try_load
from jina_data.read.json_format.rows import parse_lines, parse_values
from tests.support.tables import (
    BOOL,
    DOUBLE,
    INT,
    NULL,
    STRING,
    assert_same_ranges,
    errors_of,
    ranges_of,
    rows_of,
    small_ranges,
    table_of,
    tables,
    write_input,
)

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dumped(table: pa.Table, ascii_only: bool) -> list[str]:
    return [json.dumps(row, ensure_ascii=ascii_only) for row in table.to_pylist()]


@quick
@given(table=tables(), ascii_only=st.booleans(), share=st.integers(1, 12), pack=st.sampled_from(["", ".gz", ".zst"]))
def test_any_table_comes_back_from_lines(
    tmp_path: Path, table: pa.Table, ascii_only: bool, share: int, pack: str
) -> None:
    data = "\n".join(dumped(table, ascii_only))
    with small_ranges(len(data) // share + 1):
        plain = ranges_of(write_input(tmp_path, "t.jsonl", data), table.schema)
        packed = ranges_of(write_input(tmp_path, "t.jsonl.zst", data), table.schema)
    assert_same_ranges(plain, packed)
    assert table_of(plain).equals(table)
    file = write_input(tmp_path, "t.jsonl" + pack, data)
    assert rows_of(file) == table.to_pylist()


@quick
@given(
    table=tables(),
    layout=st.sampled_from(["array", "pretty", "values", "spread"]),
    share=st.integers(1, 12),
    n_rows=st.integers(1, 5),
    pack=st.sampled_from(["", ".gz", ".zst"]),
)
def test_any_table_comes_back_from_json(
    tmp_path: Path, table: pa.Table, layout: str, share: int, n_rows: int, pack: str
) -> None:
    rows = table.to_pylist()
    assume(len(rows) > 1 or "array" in layout)  # one object is a document, of which a list may be the records
    data = {
        "array": json.dumps(rows),
        "pretty": "\ufeff\n" + json.dumps(rows, indent=2, ensure_ascii=False) + "\n",
        "values": "".join(json.dumps(row) for row in rows),
        "spread": "\n\n".join(json.dumps(row, indent=1) for row in rows),
    }[layout]
    file = write_input(tmp_path, "t.json" + pack, data)
    with small_ranges(len(data) // share + 1, n_rows):
        assert rows_of(file) == rows
        assert table_of(ranges_of(file, table.schema)).equals(table)


NUMBERS = ["0", "-0", "-0.0", "1", "-7", "01", "1.", ".5", "1.5", "1e3", "1E400", "-1e-400", "1e22", "nan", "+1", "0x1"]
NUMBERS += ["9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "-", "--1"]
NUMBERS += ["123456789012345678901234567890", "NaN", "-NaN", "Infinity", "Inf", "-Infinity"]
OTHERS = [
    "null",
    "true",
    "false",
    '"x"',
    '""',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\udc00"',
    '"\\u0000"',
    '"\t"',
    '"\\x"',
]
OTHERS += [
    "{}",
    "[]",
    "[null]",
    "[1]",
    "[1,2.5]",
    '["x"]',
    '["x",1]',
    '{"x":1}',
    '{"x":1,"x":2}',
    '{"y":"z"}',
    '{"x":null}',
]
OTHERS += [
    "[[]]",
    "tru",
    "/**/1",
    '"\u2028"',
    "1} ",
    '1}{"a":2',
    '"}\n{"',
    "1,",
    "'x'",
    '"2020-01-01"',
    '{"x":{"x":1}}',
    "",
]
TYPES = [
    INT,
    DOUBLE,
    STRING,
    BOOL,
    NULL,
    pa.list_(INT),
    pa.list_(DOUBLE),
    pa.list_(NULL),
    pa.struct([("x", INT)]),
    pa.struct([("x", DOUBLE), ("y", STRING)]),
]
LINES = st.one_of(
    st.builds("{{{}{}: {}{}}}".format, st.sampled_from(["", " "]), st.sampled_from(['"a"', '"b"', '"\\u0061"']),
              st.sampled_from(NUMBERS + OTHERS), st.sampled_from(["", " ", ', "b": 1', ', "a": 1', ', "b": null'])),
    st.sampled_from(["", " ", "\r", "{}", "[]", "1", "{", "}", "{}{}", "null", '{"a":1} \x00 }', "\ufeff{}", "{} x"]),
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(
    lines=st.lists(LINES, max_size=5),
    first=st.sampled_from(TYPES),
    second=st.sampled_from(TYPES),
    end=st.sampled_from(["\n", "\r\n"]),
    damage=st.none() | st.tuples(st.integers(0, 60), st.binary(max_size=2)),
)
@example(lines=['{"a":1}{"a":2}', '{"a":1} \x00 }', "{}"], first=INT, second=NULL, end="\n", damage=None)
def test_arrow_reads_what_python_reads(
    lines: list[str], first: pa.DataType, second: pa.DataType, end: str, damage: tuple[int, bytes] | None
) -> None:
    """The fast path gives nothing, or the same table as the slow path, which then has no failures."""
    block = end.join(lines).encode()
    if damage is not None:
        block = block[: damage[0]] + damage[1] + block[damage[0] + len(damage[1]) :]
    schema = pa.schema([("a", first), ("b", second)])
    fast = parse_lines(block, schema)
    if fast is not None:
        records = [line for line in block.split(b"\n") if line.strip(b" \t\r")]
        slow, failures, _ = parse_values(map(try_load, records), schema)
        assert failures == []
        assert slow.schema == fast.schema
        assert str(slow.to_pylist()) == str(fast.to_pylist())


@quick
@given(table=tables())
def test_arrow_does_read_clean_lines(table: pa.Table) -> None:
    """Only doubles that both may read differently (beyond 2**63, or -0.0) make the fast path return None."""
    lines = dumped(table, ascii_only=False)
    assume(not any("e+" in line or "-0.0" in line for line in lines))
    rows = parse_lines("\n".join(lines).encode(), table.schema)
    assert rows is not None
    assert rows.drop_columns([ROW]).equals(table)


def settled_rows(file: InputFile) -> list[dict[str, object]]:
    return rows_of(file, settled_schema([file]))


def test_a_long_line_spans_ranges(tmp_path: Path) -> None:
    long = "long 😀 " * 1_400_000
    lines = [{"a": "x", "n": 1}, {"a": long, "n": 2}, {"a": "y", "n": 3}]
    file = write_input(tmp_path, "t.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    assert file.size is not None
    assert file.size > 10 * 2**20
    ranges = ranges_of(file)
    assert [parsed.row_count for parsed in ranges] == [2, 1] if file.size < 2**24 else [2, 1, 0]
    assert rows_of(file) == lines


def test_ranges_hold_the_lines_that_start_in_them(tmp_path: Path) -> None:
    data = '{"a":1}\n{"a":2}\n\n{"a":"' + "x" * 40 + '"}\n{"a":3}'
    with small_ranges(10):
        ranges = ranges_of(write_input(tmp_path, "t.jsonl", data), pa.schema([("a", INT)]))
    assert [parsed.row_count for parsed in ranges] == [2, 1, 0, 0, 0, 0, 1, 0]
    assert [parsed.line_count for parsed in ranges] == [2, 2, 0, 0, 0, 0, 1, 0]


BROKEN: list[tuple[str, bytes, str]] = [
    ("cut", b'{"a": 1', "not JSON: Expecting ',' delimiter at character 8"),
    ("list", b"[1]", "expected a JSON object, found a list"),
    ("number", b"7", "expected a JSON object, found a number"),
    ("latin1", b'{"a": 1, "b": "\xe9"}', "not UTF-8: byte 0xe9 at byte 15 of the record"),
    ("surrogate", b'{"b": "\\ud800"}', "column 'b': half of a surrogate pair, which is no character"),
    ("surrogate key", b'{"\\ud800": 1}', "column '\\ud800': half of a surrogate pair"),
    ("deeper", b'{"e": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ("python", b"{'a': 1}", "not JSON: Expecting property name enclosed in double quotes"),
    ("comma", b'{"a": 1,}', "not JSON"),
]


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "array.json", "values.json"])
@pytest.mark.parametrize(("case", "raw", "expected"), BROKEN, ids=[case[0] for case in BROKEN])
def test_broken_records_are_reported_and_cost_only_themselves(
    tmp_path: Path, name: str, case: str, raw: bytes, expected: str
) -> None:
    good = b'{"a": 1, "b": "\xc3\xa9", "c": {"x": 1}, "d": 1.5, "l": [{"y": 1}], "e": null}'
    if name.startswith("t."):
        data = b"\n".join([good, b"", good, raw, good])
    elif name == "array.json":
        data = b"[" + b",\n".join([good, good, raw, good]) + b"]"
    else:
        data = good + b"\n\n" + b"\n".join([good.replace(b", ", b",\n"), raw, good.replace(b", ", b",\n")])
    file = write_input(tmp_path, name, data)
    (error,) = errors_of(file)
    assert expected in error
    (parsed,) = stream_ranges(file, sample_schema(file))
    assert parsed.row_count == 4
    assert parsed.unreadable[0].row == 2
    assert parsed.unreadable[0].raw.encode("utf-8", "surrogateescape") == raw
    assert parsed.rows.num_rows == 3
    assert parsed.rows.drop_columns([ROW]).schema == sample_schema(file)


WIDER: list[tuple[str, pa.DataType, str, pa.DataType, object]] = [
    ("null to int", NULL, "1", INT, 1),
    ("null to list", NULL, "[1]", pa.list_(INT), [1]),
    ("int to double", INT, "1.5", DOUBLE, 1.5),
    ("int in double", DOUBLE, "3", DOUBLE, 3.0),
    ("large int in double", DOUBLE, "9007199254740993", STRING, "9007199254740993"),
    ("list of null", pa.list_(NULL), '["x"]', pa.list_(STRING), ["x"]),
    ("list of int", pa.list_(INT), "[1, 2.5, 9007199254740992]", pa.list_(DOUBLE), [1.0, 2.5, 9007199254740992.0]),
    ("large int in a list", pa.list_(DOUBLE), "[1e2, 9007199254740993]", pa.list_(STRING), ["1e2", "9007199254740993"]),
    ("new field", pa.struct([("x", INT)]), '{"y": "s"}', pa.struct([("x", INT), ("y", STRING)]), {"x": None, "y": "s"}),
    ("field widens", pa.struct([("x", INT)]), '{"x": 0.5}', pa.struct([("x", DOUBLE)]), {"x": 0.5}),
    ("small int", pa.int32(), "1", INT, 1),
    ("large string", pa.large_string(), '"x"', STRING, "x"),
    ("dictionary", pa.dictionary(pa.int32(), STRING), '"x"', STRING, "x"),
    ("float", pa.float32(), "0.5", DOUBLE, 0.5),
    ("foreign null", pa.timestamp("s"), "null", pa.timestamp("s"), None),
    ("foreign text", pa.timestamp("s"), '"2020"', STRING, "2020"),
    ("empty object", NULL, "{}", NULL, None),
    ("empty objects in a list", NULL, "[{}]", pa.list_(NULL), [None]),
    ("NaN", DOUBLE, "NaN", DOUBLE, math.nan),
    ("Infinity", INT, "-Infinity", DOUBLE, -math.inf),
    ("too large for double", DOUBLE, "1e400", STRING, "1e400"),
    ("uint64", NULL, "18446744073709551615", pa.uint64(), 2**64 - 1),
    ("uint64 for int64", INT, "9223372036854775808", pa.uint64(), 2**63),
    ("negative for uint64", pa.uint64(), "-1", STRING, "-1"),
    ("beyond 64 bits", INT, "18446744073709551616", STRING, "18446744073709551616"),
    ("thousands of digits", INT, "1" * 5000, STRING, "1" * 5000),
    ("uint64 and double", pa.uint64(), "1.50", STRING, "1.50"),
    ("text for int", INT, '"x"', STRING, "x"),
    ("bool for int", INT, "true", STRING, "true"),
    ("number for text", STRING, "1.50", STRING, "1.50"),
    ("object for text", STRING, '{"k": [1, null], "ä": {}}', STRING, '{"k": [1, null], "ä": {}}'),
    ("object for list", pa.list_(INT), '{"k":1.0}', STRING, '{"k": 1.0}'),
    ("list for object", pa.struct([("x", INT)]), '["\\u00e4"]', STRING, '["ä"]'),
    ("text in a list of numbers", pa.list_(pa.list_(INT)), '[[0, 4, "P"]]', pa.list_(pa.list_(STRING)),
     [["0", "4", "P"]]),
    ("field is mixed", pa.struct([("x", INT)]), '{"x": "one"}', pa.struct([("x", STRING)]), {"x": "one"}),
    ("repeated key in a text", STRING, '{"x": 1, "x": 2, "": 3}', STRING, '{"x": 1, "x": 2, "": 3}'),
]  # fmt: skip


@pytest.mark.parametrize(("case", "given_type", "text", "found", "value"), WIDER, ids=[case[0] for case in WIDER])
def test_columns_widen(
    tmp_path: Path, case: str, given_type: pa.DataType, text: str, found: pa.DataType, value: object
) -> None:
    schema = pa.schema([("z", STRING), ("a", given_type)])
    (parsed,) = ranges_of(
        write_input(tmp_path, "t.jsonl", f'{{"a": {text}, "new": 1}}\n{{"newer": {{"k": []}}}}'), schema
    )
    assert parsed.unreadable == []
    assert parsed.rows.column_names == ["z", "a", "new", "newer", ROW]
    assert parsed.rows.schema.field("a").type == found
    assert str(parsed.rows.column("a")[0].as_py()) == str(value)
    assert unite_types(given_type, found) in (found, STRING)


def test_a_broken_record_widens_nothing(tmp_path: Path) -> None:
    schema = pa.schema([("a", INT), ("b", INT)])
    file = write_input(tmp_path, "t.jsonl", '{"a": 1}\n{"a": 1.5, "new": 1, "b": "x"\n{"b": 2}')
    (parsed,) = ranges_of(file, schema)
    assert [broken.row for broken in parsed.unreadable] == [1]
    assert parsed.rows.schema == pa.schema([("a", INT), ("b", INT), (ROW, pa.int32())])


def test_ranges_of_different_types_agree_when_read_again(tmp_path: Path) -> None:
    data = '{"a": null}\n' * 5 + '{"a": 1.50}\n' + '{"a": null}\n' * 5 + '{"a": "text"}\n{"a": {}}\n'
    file = write_input(tmp_path, "t.jsonl", data)
    with small_ranges(30):
        first = ranges_of(file, pa.schema([("a", NULL)]))
        assert {str(parsed.rows.schema.field("a").type) for parsed in first} == {"null", "double", "string"}
        again = settled_rows(file)
    assert again == settled_rows(file)
    assert [row["a"] for row in again if row["a"] is not None] == ["1.50", "text", "{}"]


SMALL: list[tuple[str, bytes, list[dict[str, object]]]] = [
    ("blank lines", b'\n\n{"a":1}\n \t\n{"a":2}\n\n', [{"a": 1}, {"a": 2}]),
    ("mark", b'\xef\xbb\xbf{"a":1}\n', [{"a": 1}]),
    ("mark and crlf", b'\xef\xbb\xbf\r\n{"a":1}\r\n\r\n{"a":2}\r\n', [{"a": 1}, {"a": 2}]),
    ("spaces", b' {"a":1} \n\t{"a":2}\t\n', [{"a": 1}, {"a": 2}]),
    ("no end of line", b'{"a":1}', [{"a": 1}]),
    ("empty", b"", []),
    ("blank", b"\n\n", []),
    ("no columns", b"{}\n{}\n", [{}, {}]),
    ("missing keys", b'{"a":1}\n{"b":2}\n', [{"a": 1, "b": None}, {"a": None, "b": 2}]),
    ("empty text", b'{"a":""}\n{"a":null}', [{"a": ""}, {"a": None}]),
    ("dates stay text", b'{"a":"2020-01-01"}', [{"a": "2020-01-01"}]),
    ("nul", b'{"a":"x\\u0000y"}', [{"a": "x\0y"}]),
]


@pytest.mark.parametrize(("case", "data", "rows"), SMALL, ids=[case[0] for case in SMALL])
@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
def test_small_files(tmp_path: Path, case: str, data: bytes, rows: list[dict[str, object]], pack: str) -> None:
    file = write_input(tmp_path, "t.jsonl" + pack, data)
    for size in (1, 7, 1000):
        with small_ranges(size):
            ranges = ranges_of(file)
        assert sum(parsed.row_count for parsed in ranges) == len(rows)
        if rows != [{}, {}]:
            assert table_of(ranges).to_pylist() == rows
        assert sum(parsed.line_count for parsed in ranges) == data.count(b"\n") + (
            not data.endswith(b"\n") and data != b""
        )


def test_offsets_and_lines_count_from_the_right_place(tmp_path: Path) -> None:
    lines = [
        b'{"a": %d}' % number if number % 7 else b"broken \xc3\xa4\xc3\xa4 \xff %d" % number for number in range(100)
    ]
    for name, start, end in (
        ("a.jsonl", b"\xef\xbb\xbf", b"\r\n"),
        ("b.jsonl.gz", b"\n\n", b"\n"),
        ("c.jsonl", b"", b"\n \n"),
    ):
        file = write_input(tmp_path, name, start + end.join(lines))
        for size in (1, 64, 1000):
            with small_ranges(size):
                assert len(errors_of(file)) == 15


LAYOUTS: list[tuple[str, str, str]] = [
    ("array", '[{"a": 1}, {"a": 2}]', "json"),
    ("array behind blanks", '\n\n [ {"a": 1},\n{"a": 2} ] \n', "json"),
    ("lines", '{"a": 1}\n{"a": 2}\n', "jsonl"),
    ("lines, the first broken", '{"a": \n{"a": 1}\n{"a": 2}\n{"a": 2}\n', "jsonl"),
    ("values on a line", '{"a": 1} {"a": 2}', "json"),
    ("pretty values", '{\n  "a": 1\n}\n{\n  "a": 2\n}\n', "json"),
    ("one value", '{"a": 1}', "json"),
]


@pytest.mark.parametrize(("case", "data", "form"), LAYOUTS, ids=[case[0] for case in LAYOUTS])
def test_layout_of_json_is_detected(tmp_path: Path, case: str, data: str, form: str) -> None:
    file = write_input(tmp_path, "t.json", data)
    assert file.format == form
    assert [row["a"] for row in rows_of(file)][:2] == [1, 2][: len(rows_of(file))]


BROKEN_ARRAYS: list[tuple[str, str, list[int], list[str]]] = [
    ("cut in a value", '[{"a": 1}, {"a": 2}, {"a": ', [1, 2], ["a value begins here whose brackets or quotes never"]),
    ("cut behind a value", '[{"a": 1}, {"a": 2},\n', [1, 2], ["the file ends inside its array"]),
    (
        "numbers between",
        '[{"a": 1}, 5, null, [{"a": 7}], "x,]", {"a": 2}]',
        [1, 2],
        ["expected a JSON object, found"] * 4,
    ),
    ("text behind", '[{"a": 1}, {"a": 2}] oops {"a": 3}', [1, 2], ["text behind the end of the array"]),
    ("bare word", '[{"a": 1}, {"a": nope}, {"a": 2}]', [1, 2], ["not JSON: Expecting value"]),
    ("line break in a string", '[{"a": 1}, {"b": "x\ny"}, {"a": 2}]', [1, 2], ["not JSON: Invalid control character"]),
    ("no comma", '[{"a": 1} {"a": 2}]', [1, 2], []),
    ("comma too many", '[{"a": 1}, {"a": 2},]', [1, 2], []),
    ("quote not closed", '[{"a": 1}, {"b": "x}, {"a": 2}]', [1, 2], ["not JSON"]),
    ("quote not closed at the end", '[{"a": 1}, {"a": 2}, {"b": "x}]', [1, 2], ["not JSON"]),
    ("empty", "[]", [], []),
    ("empty and cut", "[", [], ["the file ends inside its array"]),
]


@pytest.mark.parametrize(("case", "data", "kept", "errors"), BROKEN_ARRAYS, ids=[case[0] for case in BROKEN_ARRAYS])
def test_broken_arrays(tmp_path: Path, case: str, data: str, kept: list[int], errors: list[str]) -> None:
    file = write_input(tmp_path, "t.json", data)
    for size, n_rows in ((1, 1), (1000, 1000)):
        with small_ranges(size, n_rows):
            assert [row["a"] for row in rows_of(file)] == kept
            messages = errors_of(file)
            assert len(messages) == len(errors)
            assert all(expected in error for expected, error in zip(errors, messages, strict=True))


def test_text_between_values_is_reported(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.json", '{"a": 1}\njunk {"a": \n 2} "{" {"a": 3} [1, 2')
    assert [row["a"] for row in rows_of(file)] == [1, 2, 3]
    assert len(errors_of(file)) == 3


def test_an_array_streams_in_little_memory(tmp_path: Path) -> None:
    """A value is scanned once, for any size of chunks; the buffer holds one value, not the file."""
    rows = [{"a": "x" * 1_000_000, "n": number} for number in range(12)]
    file = write_input(tmp_path, "t.json", json.dumps(rows))
    ranges = ranges_of(file)
    assert [parsed.row_count for parsed in ranges] == [9, 3]
    assert table_of(ranges).to_pylist() == rows


def test_a_value_without_end_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jina_data.read.json_format import scan as json_scan

    monkeypatch.setattr(json_scan, "MAX_RECORD_BYTES", 300_000)
    monkeypatch.setattr(json_scan, "RAW_BYTES", 1_000)
    file = write_input(tmp_path, "t.json", '[{"a": 1}, {"a": "' + "x" * 2_000_000)
    (parsed,) = list(stream_ranges(file, sample_schema(file)))
    assert parsed.rows.num_rows == 1
    assert len(parsed.unreadable[0].raw) == 1_000
    assert "nothing in these 2,000,007 bytes, of which raw shows 1,000 was read" in parsed.unreadable[0].error


def test_the_sample_continues_until_there_is_a_row(tmp_path: Path) -> None:
    file = write_input(tmp_path, "t.jsonl", "broken\n" * 400_000 + '{"a": 1}\n')
    assert sample_schema(file) == pa.schema([("a", INT)])
    assert sample_schema(write_input(tmp_path, "u.jsonl", "broken\n" * 3)) == pa.schema([])


def test_the_slow_path_alone_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(
        json.dumps({"a": number, "t": "é😀" * (number % 50), "l": [{"x": number / 3}]}) + "\n" for number in range(3000)
    )
    file = write_input(tmp_path, "t.jsonl", data)
    with small_ranges(20_000):
        fast = ranges_of(file)
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        monkeypatch.setattr(jsonl_module, "parse_lines", nothing)
        assert_same_ranges(ranges_of(file), fast)


def test_a_few_lists_in_a_column_of_texts_stay_texts(tmp_path: Path) -> None:
    lines = [{"text": f"text {number}"} for number in range(5)] + [{"text": ["a", "b"]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "l.jsonl").write_text('{"text": ["a"]}\n{"text": ["b", 1]}\n{"text": "c"}\n', encoding="utf-8")
    few, many = (
        replace(file, text_columns=("text",))
        for name in ("t.jsonl", "l.jsonl")
        for file in resolve_inputs([str(tmp_path / name)])
    )
    assert [row["text"] for row in rows_of(few)][-2:] == ["text 4", '["a", "b"]']
    assert [row["text"] for row in rows_of(many)] == [["a"], ["b", "1"], ["c"]]
