"""Layouts of JSON: where the records are, what they are, and the names of their columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jina_data.errors import InputError, UsageError
from jina_data.read import InputFile, InputOptions, resolve_inputs, settled_schema
from jina_data.read.json_format.reading import parse_records_path
from tests.support.tables import errors_of, rows_of, small_ranges

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resolve(folder: Path, name: str, data: str, **options: Any) -> InputFile:
    path = folder / name
    path.write_bytes(data.encode())
    (file,) = resolve_inputs([str(path)], InputOptions(**options))
    return file


SQUAD = json.dumps(
    {
        "version": "1.1",
        "data": [
            {
                "title": "T",
                "paragraphs": [{"context": "C is a letter.", "qas": [{"id": "1", "question": "C?"}, {"id": "2"}]}],
            },
            {"title": "U", "paragraphs": [{"context": "D", "qas": []}, {"context": "E", "qas": [{"id": "3"}]}]},
        ],
    }
)
VIEWER = json.dumps(
    {
        "features": [{"name": "a"}],
        "rows": [{"row_idx": number, "row": {"a": number}, "truncated_cells": []} for number in range(2)],
        "num_rows_total": 2,
    }
)

CASES: list[tuple[str, str, dict[str, Any], list[dict[str, Any]]]] = [
    ("t.json", '[{"a":true},\n{"a":""}]', {}, [{"a": "true"}, {"a": ""}]),
    ("t.jsonl", '{"text":"x"}\r{"text":"y"}\r', {}, [{"text": "x"}, {"text": "y"}]),
    ("t.jsonl", '[{"text":"x"}]\n', {}, [{"text": "x"}]),
    ("t.jsonl", '[{"a":1}]\n[{"a":2}]\n', {}, [{"a": 1}, {"a": 2}]),
    ("t.json", '[{"a":1}]\ufeff[{"a":2}]', {}, [{"a": 1}, {"a": 2}]),
    ("t.json", '[{"a":1}]\n\n{"a":2}', {}, [{"a": 1}, {"a": 2}]),
    ("t.json", '\x1e{"a":1}\n\x1e{"a":2}\n', {}, [{"a": 1}, {"a": 2}]),
    ("t.jsonl", '{"text":"x","answers":"N/A"}\n{"text":"y","answers":3}\n', {},
     [{"text": "x", "answers": "N/A"}, {"text": "y", "answers": "3"}]),
    ("t.json", '{"data":[{"q":"a"},{"q":"b"}]}', {}, [{"q": "a"}, {"q": "b"}]),
    ("t.jsonl", '{\n "version": 2,\n "data":[{"q":"a"},{"q":"b"}]\n}\n', {},
     [{"q": "a", "version": 2}, {"q": "b", "version": 2}]),
    ("t.json", '{"result":{"n":1,"items":[{"q":"a"}]}}', {}, [{"q": "a", "n": 1}]),
    ("t.json", '{"data":[{"q":"a"},{"q":"b"}]}', {"records": "."}, [{"data": [{"q": "a"}, {"q": "b"}]}]),
    ("t.json", SQUAD, {"records": "data[].paragraphs[].qas[]"}, [
        {"id": "1", "question": "C?", "version": "1.1", "title": "T", "context": "C is a letter."},
        {"id": "2", "question": None, "version": "1.1", "title": "T", "context": "C is a letter."},
        {"id": "3", "question": None, "version": "1.1", "title": "U", "context": "E"},
    ]),
    ("t.json", VIEWER, {},
     [{"a": 0, "row_idx": 0, "truncated_cells": []}, {"a": 1, "row_idx": 1, "truncated_cells": []}]),
    ("t.json", VIEWER, {"records": "rows[].row"},
     [{"a": 0, "row_idx": 0, "truncated_cells": []}, {"a": 1, "row_idx": 1, "truncated_cells": []}]),
    ("t.jsonl", '{"id":7,"docs":[{"id":"1"},{"id":"2"}],"n":1}\n', {"records": "docs[]"},
     [{"id": "1", "parent.id": 7, "n": 1}, {"id": "2", "parent.id": 7, "n": 1}]),
    ("t.jsonl", '{"docs":[{"id":"1"}]}\n{"docs":[]}\n{"docs":[{"id":"2"}]}\n', {"records": "docs"},
     [{"id": "1"}, {"id": "2"}]),
    ("t.json", '[{"docs":[{"id":"1"}]}, {"docs":[{"id":"2"}]}]', {"records": "[].docs[]"}, [{"id": "1"}, {"id": "2"}]),
    ("t.json", '{"v":1,"data":[{"v":2,"l":[{"v":3}]}]}', {"records": "data[].l[]"},
     [{"v": 3, "parent.v": 1, "data.v": 2}]),
    ("t.jsonl", '{"texts":["x","y"]}\n', {"records": "texts[]"}, [{"text": "x"}, {"text": "y"}]),
    ("t.jsonl", '["a","b"]\n["c","d"]\n', {}, [{"column_1": "a", "column_2": "b"}, {"column_1": "c", "column_2": "d"}]),
    ("t.jsonl", '["q","a"]\n["c","d"]\n', {"header": True}, [{"q": "c", "a": "d"}]),
    ("t.json", '[["q","a"],["c",1]]', {"header": True}, [{"q": "c", "a": 1}]),
    ("t.json", '[["c",1],["d",2,3]]', {"column_names": ("x",)},
     [{"x": "c", "column_2": 1, "column_3": None}, {"x": "d", "column_2": 2, "column_3": 3}]),
    ("t.jsonl", '"a"\n"b"\n', {}, [{"text": "a"}, {"text": "b"}]),
    ("t.json", '["a","b",null]', {}, [{"text": "a"}, {"text": "b"}, {"text": None}]),
    ("t.json", '{"q":["a","b"],"a":[1,2]}', {}, [{"q": "a", "a": 1}, {"q": "b", "a": 2}]),
    ("t.json", '{"q":["a"],"a":["b","c"]}', {}, [{"q": ["a"], "a": ["b", "c"]}]),
    ("t.json", '{"q":{"0":"x","1":"y"},"a":{"0":1,"1":2}}', {}, [{"q": "x", "a": 1}, {"q": "y", "a": 2}]),
    ("t.json", '{"columns":["q","a"],"index":[5,7],"data":[["x",1],["y",2]]}', {},
     [{"index": 5, "q": "x", "a": 1}, {"index": 7, "q": "y", "a": 2}]),
    ("t.json", '{"0":{"q":"x"},"1":{"q":"y"}}', {}, [{"q": "x"}, {"q": "y"}]),
    ("t.json", '{"schema":{"fields":[{"name":"q"}],"pandas_version":"1.4.0"},"data":[{"q":"x"},{"q":"y"}]}', {},
     [{"q": "x"}, {"q": "y"}]),
    ("t.json", '{"":1,"a":2,"a":3,"_file":"f","x\\u0000":4,"o":{"":1,"k":2,"k":3}}', {},
     [{"column_1": 1, "a": 2, "a_2": 3, "_file_2": "f", "x": 4, "o": {"column_1": 1, "k": 2, "k_2": 3}}]),
    ("t.jsonl", '{"n":"3","t":1.50}\n{"n":4,"t":{"k":1}}\n', {"types": {"n": "int64", "t": "json"}},
     [{"n": 3, "t": "1.50"}, {"n": 4, "t": '{"k": 1}'}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "options", "rows"), CASES)
@pytest.mark.parametrize("size", [1, 40, 100_000])
def test_layouts(
    tmp_path: Path, name: str, data: str, options: dict[str, Any], rows: list[dict[str, Any]], size: int
) -> None:
    file = resolve(tmp_path, name, data, **options)
    with small_ranges(size, size):
        found = rows_of(file, settled_schema([file]))
        assert errors_of(file) == []
    assert [dict(sorted(row.items())) for row in found] == [dict(sorted(row.items())) for row in rows]


def test_what_is_found_is_an_option(tmp_path: Path) -> None:
    def options(data: str) -> dict[str, str]:
        return dict(resolve(tmp_path, "t.json", data).options)

    assert options('{"data":[{"q":"a"}]}')["records"] == "data[]"
    assert options('{"q":["a","b"],"a":[1,2]}') == {"layout": "columns", "orientation": "lists"}
    assert options('{"images":[{"a":1}],"labels":[{"b":1}]}')["candidates"] == "images[], labels[]"


def test_columns_of_which_some_hold_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column-oriented JSON .*question, answers.* orient='records'"):
        resolve(tmp_path, "t.json", '{"question":["a","b"],"answers":[{"t":1},{"t":2}]}')


def test_a_value_that_is_not_of_the_set_type_is_unreadable(tmp_path: Path) -> None:
    file = resolve(tmp_path, "t.jsonl", '{"n":1}\n{"n":"n/a"}\n{"n":2}\n', types={"n": "int64"})
    assert [row["n"] for row in rows_of(file)] == [1, 2]
    assert errors_of(file) == ["""column 'n': "n/a" is not int64, the type that is set for this column"""]


@pytest.mark.parametrize("path", ["", "a[0]", "a..b", "[a]", "a.[]"])
def test_paths_of_records_are_checked(path: str) -> None:
    with pytest.raises(UsageError, match=r"expected a path such as data\[\]"):
        parse_records_path(path)


SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5) | st.sampled_from([0.5, 1e22, -2.25])
VALUES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=2) | st.dictionaries(st.sampled_from("xy"), part))


def as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@quick
@given(
    columns=st.lists(st.lists(VALUES, min_size=2, max_size=5), min_size=1, max_size=3),
    layout=st.sampled_from(["lines", "array", "pretty", "values", "wrapped", "lists"]),
    size=st.sampled_from([1, 50, 100_000]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_mixed_values_come_back_as_text(
    tmp_path: Path, columns: list[list[Any]], layout: str, size: int, end: str
) -> None:
    """A first row of texts makes every column text; the other rows hold any values."""
    n_rows = min(map(len, columns))
    rows = [{f"column_{number}": "first" for number in range(1, len(columns) + 1)}]
    rows += [{f"column_{number}": column[row] for number, column in enumerate(columns, 1)} for row in range(n_rows)]
    lists = [[*row.values(), number] for number, row in enumerate(rows)]  # lists of objects would be arrays
    data = {
        "lines": end.join(map(json.dumps, rows)),
        "array": "\ufeff" + json.dumps(rows),
        "pretty": json.dumps(rows, indent=2).replace("\n", end),
        "values": end.join(json.dumps(row, indent=1) for row in rows),
        "wrapped": json.dumps({"n": 1, "data": rows}),
        "lists": end.join(map(json.dumps, lists)),
    }[layout]
    file = resolve(tmp_path, "t.json", data)
    with small_ranges(size, size):
        found = rows_of(file, settled_schema([file]))
    expected = [{name: as_text(value) for name, value in row.items()} for row in rows]
    assert [{name: row[name] for name in expected[0]} for row in found] == expected


HEADERS: list[tuple[str, bool]] = [
    ('["text", "n"]\n["Hello there", 1]\n["Bye", 2]\n', True),
    ('["words", "n"]\n["Hello there", 1]\n["Bye", 2]\n', True),
    ('["words", "more"]\n["Hello there", "x"]\n', False),
    ('["Hello", 5]\n["Hello there", 1]\n["Bye", 2]\n', False),
    ('["text", "n"]\n', False),
]


@pytest.mark.parametrize(("data", "is_doubtful"), HEADERS)
@pytest.mark.parametrize("is_array", [True, False])
def test_a_list_of_names_is_reported(tmp_path: Path, data: str, is_doubtful: bool, is_array: bool) -> None:
    content = f"[{','.join(data.splitlines())}]" if is_array else data
    if is_array and content.count("[") < 3:
        return
    file = resolve(tmp_path, "t.json", content)
    assert [note.startswith("the first list seems to hold column names") for note in file.notes] == [True] * is_doubtful
    (known,) = resolve_inputs([file.name], InputOptions(header=True))
    assert known.notes == []


def test_texts_that_are_objects_are_reported(tmp_path: Path) -> None:
    records = [json.dumps({"text": f"Text {number}"}) for number in range(3)]
    for name, content in (("t.jsonl", "\n".join(map(json.dumps, records))), ("t.json", json.dumps(records))):
        file = resolve(tmp_path, name, content)
        assert file.notes == ["the texts are JSON objects, perhaps encoded twice; they are read as texts"]
        assert rows_of(file) == [{"text": record} for record in records]
    assert resolve(tmp_path, "u.jsonl", '"Hello"\n"{}"\n"Bye"\n').notes == []


AFTER: list[tuple[str, str, list[str]]] = [
    ("none", '{"v": 1, "data": [{"q": "a"}]}', []),
    ("two", '{"v": 1, "data": [{"q": "a"}], "license": "cc", "count": 1}', ["license, count"]),
    ("nested", '{"r": {"docs": [{"q": "a"}], "found": 1}, "status": 0}', ["r.found, status"]),
    ("of other objects", '{"data": [{"q": "a"}], "other": {"x": {"y": 1}}}', []),
]


@pytest.mark.parametrize(("case", "data", "notes"), AFTER, ids=[case[0] for case in AFTER])
def test_fields_after_the_records_are_reported(tmp_path: Path, case: str, data: str, notes: list[str]) -> None:
    file = resolve(tmp_path, "t.json", data)
    assert file.notes == [f"fields after the records are not read: {names}" for names in notes]
