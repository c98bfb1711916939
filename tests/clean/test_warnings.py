"""A run warns about HTML in its texts, and about an answer to many different questions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jina_data import CleanConfig, CleanReport, Recipe, clean

HTML = "<p>Use <code>open()</code> &amp; read.</p>"


def run(folder: Path, rows: Sequence[Mapping[str, str]], stages: str) -> CleanReport:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"anchor": ("question",), "positive": ("answer",)}
    config = CleanConfig(
        recipe=Recipe.parse(f"stages: {stages}"), inputs=[str(folder / "rows.jsonl")], columns=columns, batch_rows=7
    )
    return clean(config, folder / "out")


def html_rows(n_html: int) -> list[dict[str, str]]:
    return [
        {"question": f"How to read {n}?", "answer": HTML if n < n_html else f"open({n}) <b and c>"} for n in range(100)
    ]


def test_html_in_more_than_one_percent_of_the_texts(tmp_path: Path) -> None:
    report = run(tmp_path, html_rows(3), "[normalize]")
    (warning,) = report.warnings
    assert warning.startswith("3 of 200 texts (2 %) contain HTML tags or entities")
    assert warning.endswith("use normalize.markup: -s normalize.markup=true")
    assert "contain HTML tags" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert CleanReport.load(tmp_path / "out").warnings == list(report.warnings)


def test_html_in_one_percent_of_the_texts_or_less(tmp_path: Path) -> None:
    assert run(tmp_path, html_rows(2), "[normalize]").warnings == []


def test_html_that_a_stage_extracts(tmp_path: Path) -> None:
    assert run(tmp_path, html_rows(50), "[normalize: {markup: true}]").warnings == []


def test_html_without_the_stage_normalize(tmp_path: Path) -> None:
    (warning,) = run(tmp_path, html_rows(50), "[length]").warnings
    assert "add the stage `normalize: {markup: true}`" in warning


def answered(n_stock: int, n_rows: int) -> list[dict[str, str]]:
    stock = "Please ask your doctor about this."
    return [
        {"question": f"What is disease {n}?", "answer": stock if n < n_stock else f"Disease {n} is rare."}
        for n in range(n_rows)
    ]


def test_an_answer_to_many_questions(tmp_path: Path) -> None:
    (warning,) = run(tmp_path, answered(120, 400), "[length]").warnings
    assert warning.startswith("120 different anchors (30.0 %) have the same positive, 'Please ask your doctor")


def test_an_answer_to_few_questions(tmp_path: Path) -> None:
    assert run(tmp_path, answered(90, 400), "[length]").warnings == []


def test_the_stage_repeated_drops_it(tmp_path: Path) -> None:
    report = run(tmp_path, answered(120, 400), "[length, repeated]")
    # Nothing is said of the answer any more; the stage drops more than a fifth of the source, which is.
    (warning,) = report.warnings
    assert warning.startswith("repeated drops 120 of 400 rows (30 %)")
    assert report.stages[1].dropped == {"repeated_text": 120}
