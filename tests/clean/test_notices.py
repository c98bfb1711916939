"""Warnings of a run: unreadable records of a file, and stages that drop many rows of a source."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jina_data import Length, Pipeline, Sample, Where
from jina_data.clean.report import CleanReport
from jina_data.errors import InputError, UsageError
from jina_data.run.names import plain_name
from tests.support.cli import jina_data
from tests.support.files import write_jsonl


def lines(n: int, *, broken: int) -> str:
    """Return N lines, the first of which are broken."""
    return "".join('{"text": broken\n' if i < broken else json.dumps({"text": f"text {i}"}) + "\n" for i in range(n))


def run(folder: Path, text: str, **options: Any) -> CleanReport:
    path = folder / "rows.jsonl"
    path.write_text(text)
    return Pipeline(Length(min_words=1)).run(path, folder / "run", **options)


@pytest.mark.parametrize(("broken", "warns"), [(0, False), (1, False), (2, True), (50, True)])
def test_more_than_one_percent_unreadable_gives_a_warning(tmp_path: Path, broken: int, warns: bool) -> None:
    # The last lines are broken: a sample of a file of broken lines has no columns.
    report = run(tmp_path, "".join(reversed(lines(100, broken=broken).splitlines(keepends=True))))
    assert bool(report.warnings) is warns
    if warns:
        (warning,) = report.warnings
        assert warning.startswith(f"{tmp_path}/rows.jsonl: {broken} of 100 records (")
        assert f"The first error, line {101 - broken}: not JSON" in warning
        assert warning.endswith("See them with `jina-data inspect DIR --reason unreadable`")
        page = (tmp_path / "run" / "report.html").read_text()
        assert "records (" in page
        assert "Warning:" in page
        assert json.loads((tmp_path / "run" / "report.json").read_text())["warnings"] == [warning]


def test_more_than_half_unreadable_stops_before_any_stage(tmp_path: Path) -> None:
    text = "".join(reversed(lines(100, broken=51).splitlines(keepends=True)))
    with pytest.raises(InputError) as raised:
        run(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/rows.jsonl: 51 of 100 records (51 %) cannot be read; the limit is 50 %")
    assert "The first error, line 50: not JSON" in message
    assert message.endswith("set --max-unreadable 1")
    assert not (tmp_path / "run").exists()
    assert run(tmp_path, text, max_unreadable=0.6).rows.unreadable == 51
    with pytest.raises(UsageError, match=r"--max-unreadable is 1\.5; expected a share from 0 to 1"):
        run(tmp_path, text, max_unreadable=1.5)


def test_one_bad_file_of_several_stops_the_run(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "good.jsonl", [{"text": f"text {i}"} for i in range(1000)])
    (tmp_path / "bad.jsonl").write_text(lines(10, broken=6)[::1])
    call = jina_data("clean", "good.jsonl", "bad.jsonl", "-o", "run", "-p", "sentences", cwd=tmp_path)
    assert (call.returncode, "bad.jsonl: 6 of 10 records (60 %) cannot be read" in call.stderr) == (1, True)
    options = ("-p", "sentences", "--max-unreadable", "1")
    assert jina_data("clean", "good.jsonl", "bad.jsonl", "-o", "run", *options, cwd=tmp_path).returncode == 0


def rows_of(**sources: tuple[int, int]) -> list[dict[str, Any]]:
    """Return rows by source: the number of all rows, and of those with a text that is too short."""
    return [
        {"text": "short" if i < bad else f"a text of five words {i}", "site": name}
        for name, (n, bad) in sources.items()
        for i in range(n)
    ]


def test_a_stage_that_drops_more_than_a_fifth_of_a_source_warns(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_of(good=(200, 40), bad=(40, 9), tiny=(19, 19)))
    pipeline = Pipeline(Length(min_words=3), columns={"text": "text", "source": "site"})
    report = pipeline.run(path, tmp_path / "run")
    assert report.warnings == [
        "length drops 9 of 40 rows (22 %) of bad, most of them as too_short. Check some of them with "
        "`jina-data inspect DIR --stage length --reason too_short --source bad`"
    ]


def test_rows_that_earlier_stages_dropped_do_not_count(tmp_path: Path) -> None:
    # The second stage drops 6 of the 20 rows that reach it, which are 6 of 100 rows.
    rows = [{"text": "one two three" if i < 80 else "a b" if i < 86 else "one two three four"} for i in range(100)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    pipeline = Pipeline(Where(expression="text != 'one two three'"), Length(min_words=3))
    warnings = pipeline.run(path, tmp_path / "run").warnings
    assert [warning.partition(" of ")[0] for warning in warnings] == ["where drops 80", "length drops 6"]
    assert "6 of 20 rows (30 %)" in warnings[1]


def test_a_sample_gives_no_warning(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_of(good=(100, 0)))
    assert Pipeline(Sample(fraction=0.1)).run(path, tmp_path / "run").warnings == []


def test_many_warnings_are_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_of(**{f"site-{n}": (20, 5 + n % 3) for n in range(30)}))
    pipeline = Pipeline(Length(min_words=3), columns={"text": "text", "source": "site"})
    warnings = pipeline.run(path, tmp_path / "run").warnings
    assert len(warnings) == 11
    assert warnings[-1].startswith("in 20 more cases a stage drops more than 20 % of a source, 110 rows in all")


def test_the_terminal_names_the_run_folder(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows_of(all=(40, 20)))
    options = ("-p", "documents", "-s", "length.min_words=3", "-c", "text=text", "-c", "source=site")
    call = jina_data("clean", "rows.jsonl", "-o", "a run", *options, cwd=tmp_path)
    assert "warning: length drops 20 of 40 rows (50 %) of all" in call.stdout
    assert "`jina-data inspect 'a run' --stage length --reason too_short --source all`" in call.stdout
    sampled = jina_data(
        "inspect", "a run", "--stage", "length", "--reason", "too_short", "--source", "all", cwd=tmp_path
    )
    assert sampled.stdout.startswith("length (stage 1) too_short: 20 rows\n- rows.jsonl:")
    wrong = jina_data("inspect", "a run", "--source", "al", cwd=tmp_path)
    assert "this run has no source 'al'; did you mean 'all'? The sources of this run are all" in wrong.stderr


# -------------------------------------------------------------------------------------------- names that are not UTF-8


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (os.fsdecode(b"l\xe4n.csv"), "l\\xe4n.csv"),
        ("län.csv", "län.csv"),
        ("日本.csv", "日本.csv"),
        ("\ud800x", "\\ud800x"),
        (os.fsdecode("ä".encode() + b"\xff"), "ä\\xff"),
    ],
)
def test_plain_names(name: str, expected: str) -> None:
    assert plain_name(name) == expected
    assert plain_name(expected) == expected


def test_a_file_whose_name_is_not_utf8(tmp_path: Path) -> None:
    try:
        path = write_jsonl(tmp_path / os.fsdecode(b"l\xe4n.jsonl"), rows_of(one=(3, 1)))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with path.open("a") as sink:
        sink.write("{broken\n")
    call = jina_data("clean", tmp_path, "-o", tmp_path.parent / f"{tmp_path.name}-run", "-p", "sentences", cwd=tmp_path)
    assert call.returncode == 0, call.stderr
    assert "l\\xe4n.jsonl: 1 of 4 records (25 %) cannot be read" in call.stdout
    out = tmp_path.parent / f"{tmp_path.name}-run"
    assert json.loads((out / "manifest.json").read_text())["inputs"][0]["name"] == f"{tmp_path}/l\\xe4n.jsonl"
    assert json.loads((out / "report.json").read_text())["files"][0]["name"] == f"{tmp_path}/l\\xe4n.jsonl"
    for place in (os.fsdecode(b"l\xe4n.jsonl:1"), "l\\xe4n.jsonl:1"):
        assert "a text of five words 1" in jina_data("inspect", out, "--row", place).stdout
    again = jina_data("clean", tmp_path, "-o", out, "-p", "sentences", cwd=tmp_path)
    assert "is finished: same inputs" in again.stderr
    wrong = jina_data("clean", tmp_path, "-o", tmp_path.parent / os.fsdecode(b"r\xe4n"), "-p", "sentences")
    assert (wrong.returncode, "the name of the output folder" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("name", ["out [1]", "o*t", "wh?", "{a,b}", "it's", "a#b"])
def test_output_folders_whose_names_look_like_patterns(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows_of(one=(3, 1)))
    call = jina_data("clean", "rows.jsonl", "-o", name, "-p", "sentences", cwd=tmp_path)
    assert call.returncode == 0, call.stderr
    assert "kept" in jina_data("inspect", name, "--row", "rows.jsonl:0", cwd=tmp_path).stdout


@pytest.mark.skipif(os.sep == "\\", reason="a backslash separates folders")
def test_an_output_folder_with_a_backslash_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows_of(one=(3, 1)))
    call = jina_data("clean", "rows.jsonl", "-o", "a\\b", "-p", "sentences", cwd=tmp_path)
    assert (call.returncode, "has a backslash" in call.stderr) == (1, True)
