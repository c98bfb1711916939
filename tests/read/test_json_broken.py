"""Broken JSON: a corrupted byte costs at most its record, and what is left of a record is never a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError
from jina_data.read import sample_schema
from jina_data.read.checks import check_parseable
from tests.support.tables import errors_of, rows_of, small_ranges, write_input

thorough = settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make a failure smaller takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

TRICKY = [
    "",
    "x",
    "}\n{",
    '},{"id":1',
    'a"b',
    "\\",
    '{"id": 1}',
    "{}",
    "[",
    "]",
    "ü😀",
    '"}, {"',
    "\r\n",
    "a\\",
    "': '",
]
TEXT = st.sampled_from(TRICKY) | st.text(max_size=6)
INNER = st.fixed_dictionaries({"t": TEXT}, optional={"s": st.integers(0, 99)})
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 999), "text": TEXT},
        optional={"answers": st.lists(INNER, max_size=3), "meta": INNER, "tags": st.lists(TEXT, max_size=2)},
    ),
    min_size=1,
    max_size=6,
)
SEPARATORS = {"compact": (",", ":"), "usual": (", ", ": ")}


def written(
    rows: list[dict[str, Any]], layout: str, *, ascii_only: bool, style: str
) -> tuple[bytes, list[tuple[int, int]]]:
    """Write rows in a layout; return the bytes, and the place of each record."""
    indent = {"pretty array": 2, "pretty values": 1, "flat values": 0}.get(layout)
    separators = SEPARATORS[style] if indent is None else None
    texts = [json.dumps(row, ensure_ascii=ascii_only, separators=separators, indent=indent) for row in rows]
    if layout == "pretty array":
        texts = [text.replace("\n", "\n  ") for text in texts]
    before, between, after = {
        "lines": ("", "\n", "\n"),
        "crlf": ("\ufeff", "\r\n", "\r\n"),
        "cr": ("", "\r", "\r"),
        "array": ("[", ", " if style == "usual" else ",", "]"),
        "array of lines": ("[\n", ",\n", "\n]\n"),
        "pretty array": ("[\n  ", ",\n  ", "\n]"),
        "values": ("", " ", ""),
        "pretty values": ("", "\n", "\n"),
        "flat values": ("", "\n", "\n"),
        "wrapped": ('{"version": 1, "data": [', ", ", "]}"),
    }[layout]
    data = before.encode()
    places = []
    for number, text in enumerate(texts):
        data += between.encode() if number else b""
        places.append((len(data), len(data) + len(text.encode())))
        data += text.encode()
    return data + after.encode(), places


def plain(rows: list[dict[str, Any]]) -> list[Any]:
    """Return rows without nulls and empty objects, which a table has for missing keys."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: clean(part) for name, part in value.items() if part is not None}
        return [clean(part) for part in value] if isinstance(value, list) else value

    return [clean(row) for row in rows]


LAYOUTS = ["lines", "crlf", "cr", "array", "array of lines", "pretty array", "values", "pretty values", "flat values"]


def check_corruption(folder: Path, rows: list[dict[str, Any]], layout: str, *, ascii_only: bool, style: str,
                     where: float, byte: int, size: int) -> None:  # fmt: skip
    rows = [{"id": 1000, "text": "first"}, *rows, {"id": 1001, "text": "last"}]
    data, places = written(rows, layout, ascii_only=ascii_only, style=style)
    start = data.find(b"[") + 1 if layout == "wrapped" else 0
    end = data.rfind(b"]") if layout == "wrapped" else len(data)
    position = start + int(where * (end - start))
    broken = data[:position] + bytes([byte]) + data[position + 1 :]
    suffix = "jsonl" if layout in ("lines", "crlf") else "json"
    try:
        file = write_input(folder, f"t.{suffix}", broken)
    except InputError:
        return  # A single letter of another encoding in a file of ASCII: the run asks for the encoding.
    with small_ranges(size, size):
        found = plain(rows_of(file))
    for row in found if layout == "wrapped" else ():
        row.pop("version", None)
    if layout in ("lines", "crlf"):
        # The byte order mark is a part of the first line, and a line ends with its line break.
        places = [
            (0 if number == 0 else start, end + 1 + (layout == "crlf")) for number, (start, end) in enumerate(places)
        ]
    touched = [number for number, (first, last) in enumerate(places) if first <= position < last]
    expected = plain(rows)
    if not touched:
        assert found == expected
        return
    number = touched[0]
    if layout in ("values", "cr") and chr(byte).isspace() and data[position : position + 1] == b"{":
        return  # On one line, no one can see whether the object before goes on.
    assert found[:number] == expected[:number]
    assert found[len(found) - (len(rows) - number - 1) :] == expected[number + 1 :]
    left = found[number : len(found) - (len(rows) - number - 1)]
    assert len(left) <= 1
    inner = [*plain(rows)[number].get("answers", []), plain(rows)[number].get("meta")]
    assert not left or left[0] not in inner


@thorough
@given(
    rows=ROWS,
    layout=st.sampled_from([*LAYOUTS, "wrapped"]),
    ascii_only=st.booleans(),
    style=st.sampled_from(sorted(SEPARATORS)),
    where=st.floats(0, 0.999),
    byte=st.sampled_from(list(b'{}[]",:\\\n\r \x00x1\xff\xef')) | st.integers(0, 255),
    size=st.sampled_from([1, 30, 1000]),
)
def test_a_corrupted_byte_costs_at_most_its_record(
    tmp_path: Path, rows: list[dict[str, Any]], layout: str, ascii_only: bool, style: str, where: float, byte: int,
    size: int,
) -> None:  # fmt: skip
    check_corruption(tmp_path, rows, layout, ascii_only=ascii_only, style=style, where=where, byte=byte, size=size)


@pytest.mark.parametrize("layout", ["array", "values", "wrapped", "lines"])
@pytest.mark.parametrize(
    "broken",
    [
        '{"id":1,"r":[{"id":2,"r":[]},{"id":3,"r":[]}],"x":nope}',
        '{"id":1,"r":[{"id":2},{"id":nope}]}',
        '{"id":1,"r":[{"id":2},{"id":3}]',
        '{"id":"1,"r":[{"id":2},{"id":3}]}',
        '{id":1,"r":[{"id":2},{"id":3}]}',
        '{"id":1,"r":[{"id":2},{"id":3}]}}',
        '{"id":1}"r":[{"id":2},{"id":3}]}',
    ],
)
def test_an_object_inside_a_broken_record_is_no_row(tmp_path: Path, layout: str, broken: str) -> None:
    good = '{"id":5,"r":[{"id":6},{"id":7}]}'
    data = {
        "array": f"[{good}, {broken}, {good}]",
        "values": f"{good}\n\n{broken}\n\n{good} {good}",
        "wrapped": f'{{"v":1,"data":[{good}, {broken}, {good}],"w":2}}',
        "lines": f"{good}\n{good}\n{broken}\n{good}\n",
    }[layout]
    file = write_input(tmp_path, "t.jsonl" if layout == "lines" else "t.json", data)
    assert [row["id"] for row in rows_of(file)] == [5, 5] + [5] * (layout in ("values", "lines"))
    assert len(errors_of(file)) == 1


LINES: list[tuple[str, str, list[object], int]] = [
    ("line break in a text", '{"a": "x\n{}\ny"}', [], 1),
    ("text with an object", '{"a": "x\n[1]\n{"a": 5}y"}', [], 3),
    ("pretty-printed", '{\n "a": 4,\n "b": [\n {"a":2}\n ]\n}', [4], 0),
    ("pretty-printed and broken", '{\n "a": 4,,\n "b": [\n {"a":2}\n ]\n}', [], 1),
    ("cut off in a text", '{"a": "tru', [], 1),
    ("cut off in a list", '{"a": [1,', [], 1),
    ("cut off behind a comma", '{"a": 1,', [], 1),
    ("two on a line", '{"a": 3}{"a": 4}', [3, 4], 0),
    ("two with one wrong byte between", '{"a": 3}X{"a": 4}', [3, 4], 0),
    ("more between", '{"a": 3}"b":{"a": 4}}', [], 1),
    ("comma behind", '{"a": 3},', [3], 0),
    ("byte order mark", '\ufeff{"a": 3}', [3], 0),
    ("carriage returns between", '{"a": 3}\r{"a": 4}', [3, 4], 0),
]


@pytest.mark.parametrize(("case", "broken", "kept", "n_errors"), LINES, ids=[case[0] for case in LINES])
def test_lines_around_a_broken_record(
    tmp_path: Path, case: str, broken: str, kept: list[object], n_errors: int
) -> None:
    lines = ['{"a": 1}'] * 4 + [broken] + ['{"a": 2}'] * 4
    file = write_input(tmp_path, "t.jsonl", "\n".join(lines))
    for size in (1, 10, 1000):
        with small_ranges(size):
            assert [row["a"] for row in rows_of(file)] == [1] * 4 + kept + [2] * 4
            assert len(errors_of(file)) == n_errors


FOREIGN: list[tuple[str, str, str]] = [
    ("t.jsonl", "{'q': \"Is it?\", 'a': None}\n{'q': 'x', 'a': True}\n", r"Python dicts .* for line in sys.stdin"),
    ("t.json", "[{'q': 1},\n{'q': 2}]", r"Python dicts .*ast.literal_eval\(sys.stdin.read"),
    ("t.jsonl", '{"a": True, "b": None}\n', "Python dicts"),
    ("t.json", '// note\n[{"a": 1}]', r"JSON5 or JavaScript \(comments\)"),
    ("t.jsonl", '{"a": 1,}\n{"a": 2,}\n', "commas before a closing bracket"),
    ("t.json", "{a: 1}", "keys without quotes"),
    ("t.json", 'window.YTD.tweets.part0 = [ {"a": 1} ]', "JavaScript that assigns a value"),
    ("t.json", 'callback([{"a": 1}])', "JSONP"),
    ("t.json", ')]}\',\n[{"a": 1}]', "JSON after a line against scripts"),
    ("t.jsonl", 'data: {"a": 1}\n\ndata: {"a": 2}\n', "Text stands before the object in each line"),
    ("t.jsonl", '2024-01-01 INFO {"a": 1}\n2024-01-01 INFO {"a": 2}\n', "Text stands before the object in each line"),
    ("t.json", "q,a\n1,2\n", "looks like CSV"),
    ("t.json", "- q: 1\n", "looks like YAML"),
    ("t.json", "hello", "has the format of its suffix"),
]


@pytest.mark.parametrize(("name", "data", "expected"), FOREIGN)
def test_a_file_that_is_no_json_is_named(tmp_path: Path, name: str, data: str, expected: str) -> None:
    file = write_input(tmp_path, name, data)
    with pytest.raises(InputError, match=expected):
        check_parseable([file], [sample_schema(file)])
