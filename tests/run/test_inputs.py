"""Runs as inputs: roles, sources and licences go from command to command; outputs stay apart from inputs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.errors import RunFolderError, UsageError
from jina_data.run.inputs import InputRun, RunInputs, check_apart
from jina_data.run.sources import source_names
from jina_data.stages import Length, Select
from tests.support.cli import jina_data
from tests.support.files import write_jsonl

RECIPE = """licenses: {eins.jsonl: cc-by-4.0, zwei.jsonl: cc0-1.0}
stages:
  - length: {min_words: 2}
"""


def pairs(name: str, n: int) -> list[dict[str, Any]]:
    return [
        {"frage": f"Is the {name} door number {i} open?", "antwort": f"The {name} door number {i} is open.", "n": i}
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files, and a run of clean over them whose columns have German names."""
    here = tmp_path_factory.mktemp("runs")
    write_jsonl(here / "eins.jsonl", pairs("first", 12))
    write_jsonl(here / "zwei.jsonl", pairs("second", 8))
    (here / "recipe.yaml").write_text(RECIPE)
    roles = ("-c", "anchor=frage", "-c", "positive=antwort")
    call = jina_data("clean", "eins.jsonl", "zwei.jsonl", "-o", "run", "-p", "recipe.yaml", *roles, "-q", cwd=here)
    assert call.returncode == 0, call.stderr
    return here


def column(path: Path, name: str) -> list[Any]:
    values: list[Any] = pq.read_table(path)[name].to_pylist()
    return values


def told(folder: Path, *arguments: str) -> str:
    call = jina_data(*arguments, cwd=folder)
    assert call.returncode == 0, call.stderr
    return call.stderr


TOLD = "run: the rows of a run of clean; anchor = frage, positive = antwort"


def test_mine_takes_over_roles_sources_and_licences(folder: Path) -> None:
    assert TOLD in told(folder, "mine", "run", "-o", "mined", "--num-negatives", "1")
    assert Counter(column(folder / "mined" / "ledger", "source")) == {"eins": 12, "zwei": 8}
    manifest = json.loads((folder / "mined" / "manifest.json").read_text())
    licenses = [(source["name"], source["license"]) for source in manifest["sources"]]
    assert licenses == [("eins", "cc-by-4.0"), ("zwei", "cc0-1.0")]


def test_negate_takes_over_roles_sources_and_licences(folder: Path) -> None:
    assert TOLD in told(folder, "negate", "pairs=run", "-o", "negated", "--generator", "rules")
    rows = pq.read_table(folder / "negated" / "data" / "full").to_pylist()
    assert {(row["source"], row["source_license"]) for row in rows} == {("eins", "cc-by-4.0"), ("zwei", "cc0-1.0")}
    assert {row["entailment"] for row in rows} <= {
        f"The {n} door number {i} is open." for n in ("first", "second") for i in range(12)
    }


def test_negate_has_columns(folder: Path) -> None:
    options = ("--generator", "rules", "-q")
    roles = ("-c", "anchor=frage", "-c", "positive=antwort")
    told(folder, "negate", "pairs=eins.jsonl", "-o", "named", *options, *roles)
    assert len(column(folder / "named" / "data" / "full", "anchor")) == 12
    call = jina_data(
        "negate", "pairs=eins.jsonl", "-o", "x", *options, "-c", "anchor=frag", "-c", "positive=antwort", cwd=folder
    )
    assert (call.returncode, "there is no column 'frag'; the columns are frage, antwort, n" in call.stderr) == (1, True)


def test_train_takes_over_roles_and_sources(folder: Path) -> None:
    from jina_data.train.config import TrainConfig
    from jina_data.train.sources import find_sources

    config = TrainConfig(phase="pairs", model="static", inputs=(str(folder / "run"),))
    sources, messages = find_sources(config, folder / "spool")
    assert [(source.name, source.n_rows) for source in sources] == [("eins", 12), ("zwei", 8)]
    assert messages == ["run: the rows of a run of clean; anchor = frage, positive = antwort"]


def test_clean_takes_over_roles_sources_and_licences(folder: Path) -> None:
    assert TOLD in told(folder, "clean", "run", "-o", "again", "-p", "recipe.yaml")
    assert Counter(column(folder / "again" / "ledger", "source")) == {"eins": 12, "zwei": 8}
    manifest = json.loads((folder / "again" / "manifest.json").read_text())
    assert manifest["roles"] == {"anchor": ["frage"], "positive": ["antwort"]}
    licenses = manifest["recipe"]["licenses"]
    assert (licenses["eins"], licenses["zwei"]) == ("cc-by-4.0", "cc0-1.0")
    assert column(folder / "again" / "data", "frage") == column(folder / "run" / "data", "frage")


def test_data_and_single_files_of_a_run_keep_their_sources(folder: Path) -> None:
    for number, name in enumerate(("run/data", "run/data/part-00000.parquet", "run/data/*.parquet")):
        told(
            folder,
            "clean",
            name,
            "-o",
            f"part-{number}",
            "-p",
            "recipe.yaml",
            "-c",
            "anchor=frage",
            "-c",
            "positive=antwort",
        )
        assert Counter(column(folder / f"part-{number}" / "ledger", "source")) == {"eins": 12, "zwei": 8}


def test_one_source_keeps_its_name(folder: Path) -> None:
    told(
        folder, "clean", "eins.jsonl", "-o", "one", "-p", "recipe.yaml", "-c", "anchor=frage", "-c", "positive=antwort"
    )
    told(folder, "mine", "one", "-o", "one-mined", "--num-negatives", "1")
    assert set(column(folder / "one-mined" / "ledger", "source")) == {"eins"}


def test_json_lines_of_a_run_keep_their_sources(folder: Path) -> None:
    roles = ("-c", "anchor=frage", "-c", "positive=antwort")
    told(folder, "clean", "eins.jsonl", "zwei.jsonl", "-o", "lines", "-p", "recipe.yaml", *roles, "--format", "jsonl")
    told(folder, "mine", "lines", "-o", "lines-mined", "--num-negatives", "1")
    assert Counter(column(folder / "lines-mined" / "ledger", "source")) == {"eins": 12, "zwei": 8}


def test_options_come_before_the_run(folder: Path) -> None:
    line = told(
        folder, "mine", "run", "-o", "turned", "--num-negatives", "1", "-c", "anchor=antwort", "-c", "positive=frage"
    )
    assert "run: the rows of a run of clean\n" in line
    assert column(folder / "turned" / "data", "anchor")[0] == "The first door number 0 is open."
    run = InputRun.open(str(folder / "run"))
    assert run is not None
    assert run.roles_beside({"negative": ("n",)}) == {"anchor": ("frage",), "positive": ("antwort",)}
    assert run.roles_beside({"positive": ("n",)}) == {"anchor": ("frage",)}
    assert run.roles_beside({"text": ("frage",)}) == {}


def test_roles_are_those_of_the_data_after_select(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", pairs("only", 4))
    pipeline = Pipeline(
        Select(rename={"frage": "q"}), Length(min_words=1), columns={"anchor": "frage", "positive": "antwort"}
    )
    pipeline.run(path, tmp_path / "run")
    run = InputRun.open(str(tmp_path / "run"))
    assert run is not None
    assert run.roles == {"anchor": ("q",), "positive": ("antwort",)}


def test_runs_with_other_columns_need_names(folder: Path, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"question": "a b", "answer": "c d"}])
    Pipeline(Length(min_words=1)).run(path, tmp_path / "other")
    given = RunInputs.open([str(folder / "run"), str(tmp_path / "other")])
    with pytest.raises(UsageError, match=r"different columns for the same roles .* Name the columns with -c"):
        given.roles({})
    assert given.roles({"anchor": ("x",), "positive": ("y",)}) == {}


UNFINISHED: list[Sequence[str]] = [
    ("clean", "unfinished", "-o", "x"),
    ("mine", "unfinished", "-o", "x"),
    ("negate", "pairs=unfinished", "-o", "x", "--generator", "rules"),
    ("train", "pairs", "unfinished", "-o", "x", "--model", "static"),
    ("encode", "unfinished", "-o", "x.parquet", "-m", "static"),
    ("evaluate", "negation", "unfinished", "-m", "static"),
    ("ablate", "unfinished", "-o", "x", "-t", "sts:x"),
]


@pytest.mark.parametrize("arguments", UNFINISHED, ids=lambda arguments: arguments[0])
def test_an_unfinished_run_is_refused(folder: Path, arguments: Sequence[str]) -> None:
    (folder / "unfinished" / ".work").mkdir(parents=True, exist_ok=True)
    (folder / "unfinished" / ".work" / "run.json").write_text("{}")
    call = jina_data(*arguments, cwd=folder)
    assert call.returncode == 1
    assert "unfinished holds an unfinished run. Run its command again and let it finish" in call.stderr


INSIDE: list[tuple[Sequence[str], str]] = [
    (("clean", ".", "-o", "out"), "-o out is inside the input ."),
    (("clean", "run", "-o", "run"), "-o run is also an input"),
    (
        ("clean", "run/data/part-00000.parquet", "-o", "run", "--overwrite"),
        "is inside -o run, where the run would replace",
    ),
    (("clean", "run/data/*.parquet", "-o", "run", "--overwrite"), "is inside -o run, where the run would replace"),
    (("mine", "run", "-o", "run/out"), "-o run/out is inside the input run"),
    (("mine", "eins.jsonl", "--corpus", "run", "-o", "run/out"), "-o run/out is inside the input run"),
    (("negate", "pairs=run", "-o", "run/out", "--generator", "rules"), "-o run/out is inside the input run"),
    (("train", "pairs", "run", "-o", "run/out", "--model", "static"), "-o run/out is inside the input run"),
    (("encode", "run", "-o", "run/out.parquet", "-m", "static"), "-o run/out.parquet is inside the input run"),
    (("ablate", "run", "-o", "run/out", "-t", "sts:x"), "-o run/out is inside the input run"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), INSIDE, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_an_output_inside_an_input_is_refused(folder: Path, arguments: Sequence[str], message: str) -> None:
    call = jina_data(*arguments, cwd=folder)
    assert (call.returncode, message in call.stderr) == (2, True), call.stderr
    assert not (folder / "out").exists()


def test_links_do_not_hide_an_output_inside_an_input(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "link").symlink_to("input")
    with pytest.raises(UsageError, match="is inside the input"):
        check_apart([str(tmp_path / "input")], tmp_path / "link" / "out")
    check_apart([str(tmp_path / "input"), "s3://bucket/out", "datasets:a/b"], tmp_path / "input-2")


def test_a_folder_with_a_run_inside_is_refused(folder: Path, tmp_path: Path) -> None:
    call = jina_data("clean", ".", "-o", tmp_path / "out", cwd=folder)
    assert call.returncode == 1
    assert ". contains the folder of a run, ./" in call.stderr


def test_a_run_without_rows_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "train"}')
    with pytest.raises(RunFolderError, match="a run of train, which has no rows"):
        InputRun.open(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"name": "an extension of a browser"}')
    assert InputRun.open(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("inputs", "names", "expected"),
    [
        (["/a/eins.jsonl"], ["/a/eins.jsonl"], ["eins"]),
        (["/a/x.jsonl", "/a/x.csv"], ["/a/x.jsonl", "/a/x.csv"], ["x.jsonl", "x.csv"]),
        (["/a/de/x.csv", "/a/en/x.csv"], ["/a/de/x.csv", "/a/en/x.csv"], ["de/x.csv", "en/x.csv"]),
        (["/a/x.csv"], ["web.2021", "(unknown)"], ["web.2021", "(unknown)"]),
        (["datasets:a/b?split=train"], ["datasets:a/b?split=train"], ["datasets:a/b?split=train"]),
    ],
)
def test_short_names(tmp_path: Path, inputs: list[str], names: list[str], expected: list[str]) -> None:
    manifest = {"kind": "clean", "inputs": [{"name": name} for name in inputs]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert list(source_names(tmp_path, names)) == expected
