"""Reference rows: the files and runs that dedup compares `against`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.errors import InputError, RunFolderError
from jina_data.stages import ExactDedup, Normalize, Select, Stage
from tests.support.files import write_csv, write_jsonl, write_parquet

OURS = [{"text": text} for text in ["Hello  World", "old text here", "new text", "New  text", "OLD text here", None]]
THEIRS = [{"text": text} for text in ["something", "old TEXT here", "old text here"]]


def fates(folder: Path, *stages: Stage, **options: Any) -> list[tuple[str | None, str | None]]:
    """Run stages over our rows; return reason and partner of every row, the file names without their folder."""
    source = write_jsonl(folder / "ours.jsonl", OURS)
    report = Pipeline(*stages).run(source, folder / "out", **options)
    assert report.path is not None
    ledger = pq.read_table(report.path / "ledger").to_pylist()
    assert all((row["partner_row_id"] is None) == ("ours" not in (row["partner"] or "")) for row in ledger)
    partners = [row["partner"] and row["partner"].rsplit("/", 1)[-1] for row in ledger]
    return [(row["reason"], partner) for row, partner in zip(ledger, partners, strict=True)]


def test_files_of_every_format(tmp_path: Path) -> None:
    files = [
        write_jsonl(tmp_path / "theirs.jsonl", THEIRS),
        write_csv(tmp_path / "theirs.csv", THEIRS),
        write_parquet(tmp_path / "theirs.parquet", THEIRS),
    ]
    for file in files:
        assert fates(tmp_path, ExactDedup(against=(str(file),)), overwrite=True) == [
            (None, None),
            ("exact_duplicate", f"{file.name}:1"),
            (None, None),
            ("exact_duplicate", "ours.jsonl:2"),
            ("exact_duplicate", f"{file.name}:1"),
            (None, None),
        ]


def test_the_first_of_several_files_is_the_partner(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", [{"text": "new text", "more": 1}])
    two = write_jsonl(tmp_path / "two.jsonl", [{"text": "new text"}, {"text": "hello world"}])
    found = fates(tmp_path, ExactDedup(against=(str(two), str(one))))
    assert [partner for _, partner in found] == [
        "two.jsonl:1",
        None,
        "two.jsonl:0",
        "two.jsonl:0",
        "ours.jsonl:1",
        None,
    ]


def test_an_earlier_run_stands_for_its_kept_rows(tmp_path: Path) -> None:
    theirs = write_jsonl(tmp_path / "theirs.jsonl", THEIRS)
    Pipeline(ExactDedup()).run(theirs, tmp_path / "earlier")
    found = fates(tmp_path, ExactDedup(against=(str(tmp_path / "earlier"),)), workers=2)
    assert found[1] == found[4] == ("exact_duplicate", "part-00000.parquet:1")
    assert [reason for reason, _ in found] == [
        None,
        "exact_duplicate",
        None,
        "exact_duplicate",
        "exact_duplicate",
        None,
    ]


def test_an_earlier_run_that_kept_nothing(tmp_path: Path) -> None:
    theirs = write_jsonl(tmp_path / "theirs.jsonl", THEIRS)
    Pipeline(ExactDedup(against=(str(theirs),))).run(theirs, tmp_path / "earlier")
    assert pq.read_table(tmp_path / "earlier" / "data").num_rows == 0
    assert fates(tmp_path, ExactDedup(against=(str(tmp_path / "earlier"),)))[1] == (None, None)


def test_reference_rows_drop_rows_of_better_sources_too(tmp_path: Path) -> None:
    theirs = write_jsonl(tmp_path / "theirs.jsonl", THEIRS)
    stage = ExactDedup(against=(str(theirs),), priority=("ours.jsonl",))
    assert fates(tmp_path, stage)[1] == ("exact_duplicate", "theirs.jsonl:1")


@pytest.mark.parametrize("name", ["text", "body"])
def test_a_column_has_its_current_name_or_that_of_the_input(tmp_path: Path, name: str) -> None:
    theirs = write_jsonl(tmp_path / "theirs.jsonl", [{name: row["text"]} for row in THEIRS])
    found = fates(tmp_path, Select(rename={"text": "body"}), Normalize(), ExactDedup(against=(str(theirs),)))
    assert found[1] == ("exact_duplicate", "theirs.jsonl:1")


def test_a_changed_file_is_another_run(tmp_path: Path) -> None:
    theirs = write_jsonl(tmp_path / "theirs.jsonl", THEIRS)
    stage = ExactDedup(against=(str(theirs),))
    fates(tmp_path, stage)
    write_jsonl(tmp_path / "theirs.jsonl", [*THEIRS, {"text": "more"}])
    with pytest.raises(RunFolderError, match="other files to compare with"):
        Pipeline(stage).run(tmp_path / "ours.jsonl", tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, r"theirs.jsonl: no such file"),
        ([{"txt": "a"}], r"theirs.jsonl has no column 'text'; its columns are txt. Files to compare with need"),
        ([{"text": "a"}, '{"text": '], r"theirs.jsonl: row 1 cannot be read: "),
    ],
)
def test_errors_of_reference_files(tmp_path: Path, rows: Sequence[Any] | None, expected: str) -> None:
    if rows is not None:
        write_jsonl(tmp_path / "theirs.jsonl", rows)
    with pytest.raises(InputError, match=expected):
        fates(tmp_path, ExactDedup(against=(str(tmp_path / "theirs.jsonl"),)))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half" / ".work").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="half holds an unfinished run; expected a finished run, or files"):
        fates(tmp_path, ExactDedup(against=(str(tmp_path / "half"),)))
