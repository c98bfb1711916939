"""Runs over files as people have them: what the rows of data/ are, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data.clean.recipe import Recipe
from jina_data.clean.run import CleanConfig, clean
from jina_data.errors import UsageError
from jina_data.progress import SilentProgress
from jina_data.read import InputOptions
from jina_data.roles import guess_roles
from tests.support.tables import small_ranges


class Messages(SilentProgress):
    """Keeps the messages of a run."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def run(
    folder: Path, name: str, content: str | bytes, *, stages: str = "[normalize]", **known: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Clean one file with a recipe, and return the rows of data/ and the messages."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    columns = known.pop("columns", {})
    config = CleanConfig(
        recipe=Recipe.parse(f"stages: {stages}"), inputs=[str(path)], columns=columns, input=InputOptions(**known)
    )
    messages = Messages()
    clean(config, folder / "out", overwrite=True, progress=messages)
    return pq.read_table(folder / "out" / "data").to_pylist(), messages.texts


def test_a_late_text_makes_a_column_text_in_all_rows(tmp_path: Path) -> None:
    cells = [*map(str, range(1200)), "", "1.10", "x"]
    lines = "".join(f"text number {number},{cell}\n" for number, cell in enumerate(cells))
    with small_ranges(2_000):
        rows, _ = run(tmp_path, "t.csv", "text,n\n" + lines)
    assert [row["n"] for row in rows] == cells
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert any("read again 0" in str(event) for event in events)


def test_numbers_in_a_role_are_texts(tmp_path: Path) -> None:
    rows, _ = run(tmp_path, "t.csv", "question,answer,id\nHow many legs has a spider?,8,7\n")
    assert rows == [{"question": "How many legs has a spider?", "answer": "8", "id": 7}]


def test_a_role_inside_of_an_object_becomes_a_column(tmp_path: Path) -> None:
    content = "".join(
        json.dumps({"t": {"en": f"Sentence {number}", "fr": None if number == 2 else f"Phrase {number}"}}) + "\n"
        for number in range(3)
    )
    columns = {"anchor": ("t.en",), "positive": ("t.fr",)}
    rows, _ = run(tmp_path, "t.jsonl", content, columns=columns)
    assert [(row["t.en"], row["t.fr"]) for row in rows] == [
        ("Sentence 0", "Phrase 0"), ("Sentence 1", "Phrase 1"), ("Sentence 2", None),
    ]  # fmt: skip
    assert rows[1]["t"] == {"en": "Sentence 1", "fr": "Phrase 1"}


def test_an_object_as_a_role_is_refused_with_its_fields(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"column 't' \(text\) holds objects, not texts.*t\.en, t\.fr"):
        run(tmp_path, "t.jsonl", '{"t": {"en": "a", "fr": "b"}}\n', columns={"text": ("t",)})
    with pytest.raises(UsageError, match=r"named by its path: -c text=t\.en"):
        run(tmp_path, "t.jsonl", '{"t": {"en": "a", "fr": "b"}}\n')


def test_items_of_lists_become_rows(tmp_path: Path) -> None:
    content = '{"q": "One?", "a": ["x y", "z w"]}\n{"q": "Two?", "a": []}\n{"q": "Three?", "a": ["v"]}\n'
    rows, _ = run(tmp_path, "t.jsonl", content, explode="a", columns={"anchor": ("q",), "positive": ("a",)})
    assert [(row["q"], row["a"]) for row in rows] == [
        ("One?", "x y"), ("One?", "z w"), ("Two?", None), ("Three?", "v"),
    ]  # fmt: skip


def test_what_was_detected_and_mended_is_reported(tmp_path: Path) -> None:
    content = "Export of May\n,text;b\n".replace(";", "|").replace(",", "|")
    rows, messages = run(tmp_path, "t.csv", content + "1|Some words here|x\n2|Short row\n3|More words|y\n")
    assert [row["b"] for row in rows] == ["x", None, "y"]
    reported = [message.removeprefix(f"{tmp_path}/t.csv: ") for message in messages]
    assert reported[:3] == ["skipped 1 line before the header", "delimiter '|'", "column '' is named column_1"]
    assert "1 rows with fewer fields than columns; the missing ones are null" in reported


def test_a_name_with_a_comma_can_be_a_role(tmp_path: Path) -> None:
    from jina_data.roles import parse_roles

    for written in ('text="price, net"', "text=price, net"):
        rows, _ = run(tmp_path, "t.csv", 'a,"price, net"\n1,Some words\n', columns=parse_roles([written]))
        assert rows == [{"a": 1, "price, net": "Some words"}]


@pytest.mark.parametrize("depth", [20, 32, 33, 70, 300])
def test_lists_nested_deeply_are_written(tmp_path: Path, depth: int) -> None:
    content = f'{{"text": "Some words", "a": {"[" * depth}"x"{"]" * depth}}}\n{{"text": "More words"}}\n'
    rows, _ = run(tmp_path, "t.jsonl", content)
    value, level = rows[0]["a"], 0
    while isinstance(value, list):
        value, level = value[0], level + 1
    rest = depth - 32
    assert (level, value) == ((depth, "x") if rest <= 0 else (32, "[" * rest + '"x"' + "]" * rest))


def test_a_column_with_exactly_the_name_of_a_role_comes_first() -> None:
    schema = pa.schema([("Text", pa.string()), ("text", pa.string()), ("TEXT", pa.string())])
    assert guess_roles(schema) == {"text": ("text",)}
    assert guess_roles(schema.remove(1)) == {"text": ("Text",)}
