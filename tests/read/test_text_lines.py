from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jina_data.read import InputOptions, resolve_inputs
from tests.support.tables import errors_of, ranges_of, resolve_file, rows_of, small_ranges

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_are_rows_and_blank_lines_are_not(tmp_path: Path, end: str, last: bool) -> None:
    lines = ["Hello there, you all.", "", "  Good morning, to you.  ", " \t", "Привет, мир", "第三行，文字", "\u3000"]
    text = end.join(lines) + (end if last else "")
    (tmp_path / "t.txt").write_bytes(text.encode())
    expected = [lines[0], lines[2], lines[4], lines[5]]
    assert [row["text"] for row in rows_of(resolve_file(tmp_path / "t.txt"))] == expected


@quick
@given(
    lines=st.lists(
        st.tuples(st.text("ab é\u2028\x0b\x0c\x1c\x85😀", max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
    ),
    size=st.integers(1, 20),
    chunk=st.integers(1, 9),
)
def test_any_lines_come_back(tmp_path: Path, lines: list[tuple[str, str]], size: int, chunk: int) -> None:
    # A line of blanks that ends in CR joins a next line that is empty and ends in LF; it is blank either way.
    data = "".join(text + end for text, end in lines).encode()
    (tmp_path / "t.txt").write_bytes(data)
    (file,) = resolve_inputs([str(tmp_path / "t.txt")], InputOptions(format="text"))
    with small_ranges(size, 3), mock.patch("jina_data.read.text_lines.CHUNK_BYTES", chunk):
        ranges = ranges_of(file)
    texts = [text for parsed in ranges for text in parsed.rows.column("text").to_pylist()]
    assert texts == [text for text, _ in lines if text.strip()]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffFirst.\nSecond.\n".encode())
    assert rows_of(resolve_file(tmp_path / "t.txt")) == [{"text": "First."}, {"text": "Second."}]
    (tmp_path / "u.txt").write_bytes("First.\r\nSecond.\r\n".encode("utf-16"))
    assert rows_of(resolve_file(tmp_path / "u.txt")) == [{"text": "First."}, {"text": "Second."}]


def test_a_line_that_is_not_utf8_costs_itself_only(tmp_path: Path) -> None:
    lines = [b"Eins: \xc3\xa4\xc3\xb6\xc3\xbc", b"", b"Zwei: \xc3\xa4\xff\xc3\xbc\xc3\xb6", b"Drei: \xc3\xa4\xc3\xb6"]
    (tmp_path / "t.txt").write_bytes(b"\n".join(lines))
    file = resolve_file(tmp_path / "t.txt")
    assert errors_of(file) == ["not UTF-8"]
    (parsed,) = ranges_of(file)
    assert parsed.rows.column("text").to_pylist() == ["Eins: äöü", "Drei: äö"]
    assert [(failure.row, failure.line, failure.byte_offset) for failure in parsed.unreadable] == [(1, 3, 14)]
    assert parsed.line_count == 4


TABLES: list[tuple[str, str, str, list[str]]] = [
    ("tabs", "question\tanswer\nWhat is it?\tA test.\n", "tsv", ["question", "answer"]),
    ("tabs, three", "id\ttext\tlang\n1\tx, y\ten\n2\t\tde\n", "tsv", ["id", "text", "lang"]),
    ("commas", "question,answer\nWhat is it?,A test.\nWho?,Me.\n", "csv", ["question", "answer"]),
    ("quoted commas", 'question,answer\n"Well, what?",A test.\n', "csv", ["question", "answer"]),
    ("semicolons", "frage;antwort\nWas ist das?;Ein Test.\n", "csv", ["frage", "antwort"]),
    ("pipes", "question | answer\nWhat is it? | A test.\n", "csv", ["question", "answer"]),
]


def test_tabs_and_quotes_are_a_table(tmp_path: Path) -> None:
    text = 'id\tquestion\tanswer\r\n1\tWhat is "x"?\t"He said ""yes"", twice"\r\n2\tWhat now?\t"one\ntwo"\r\n'
    (tmp_path / "u.txt").write_bytes(text.encode("utf-16"))
    assert rows_of(resolve_file(tmp_path / "u.txt")) == [
        {"id": 1, "question": 'What is "x"?', "answer": 'He said "yes", twice'},
        {"id": 2, "question": "What now?", "answer": "one\ntwo"},
    ]


@pytest.mark.parametrize(("text", "expected", "names"), [case[1:] for case in TABLES], ids=[case[0] for case in TABLES])
def test_tables_are_recognised(tmp_path: Path, text: str, expected: str, names: list[str]) -> None:
    (tmp_path / "t.txt").write_text(text)
    file = resolve_file(tmp_path / "t.txt")
    assert file.format == expected
    rows = rows_of(file)
    assert [name.strip() for name in rows[0]] == names
    assert len(rows) == len(text.splitlines()) - 1


PROSE: list[tuple[str, str]] = [
    ("greetings", "Hello, you.\nGoodbye, all.\n"),
    ("words with commas", "Hello, you\nGoodbye, all\n"),
    ("one line", "red,green\n"),
    ("semicolons", "I came; I saw.\nI went; I left.\n"),
    ("a tab somewhere", "One\tline.\nAnother line.\n"),
    ("numbers", "1,5 Liter Wasser sind genug.\n2,5 Liter Milch sind zu viel.\n"),
    ("code", "for (i = 0; i < n; i++)\nfor (j = 0; j < n; j++)\n"),
    ("one word a line", "alpha\nbeta\ngamma\n"),
    ("chinese", "你好，世界\n再见，世界\n"),
]


@pytest.mark.parametrize("text", [case[1] for case in PROSE], ids=[case[0] for case in PROSE])
def test_prose_is_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    assert [row["text"] for row in rows_of(resolve_file(tmp_path / "t.txt"))] == text.splitlines()


def test_options_decide(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("question\tanswer\nWhat is it?\tA test.\n")
    path = str(tmp_path / "t.txt")
    (file,) = resolve_inputs([path], InputOptions(format="text"))
    assert rows_of(file) == [{"text": "question\tanswer"}, {"text": "What is it?\tA test."}]
    (tmp_path / "t.txt").write_text("Hello, you.\nGoodbye, all.\n")
    for options in (InputOptions(format="csv", header=False), InputOptions(delimiter=",", header=False)):
        (file,) = resolve_inputs([path], options)
        assert len(rows_of(file)[0]) == 2
