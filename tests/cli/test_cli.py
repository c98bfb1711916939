"""Tests of the command line: help, usage errors, output on stdout and stderr, and the effect of each option."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest

from jina_data.clean.recipe import recipe_schema
from jina_data.cli import COMMANDS, cli
from tests.support.cli import JINA_DATA, Call, jina_data

RECIPE = """\
stages:
  - length: {min_words: 2}
  - exact_dedup
"""

ROWS = [
    {"text": "the first text", "lang": "en"},
    {"text": "the  FIRST text ", "lang": "en"},
    {"text": "short", "lang": "en"},
    {"text": "", "lang": "de"},
    {"text": "ein anderer Text", "lang": "de"},
    {"text": "a third text", "lang": "en"},
]
BROKEN = '{"text": "cut off'


def process(*arguments: str | Path, cwd: Path | None = None) -> Call:
    """Run the command in a process, with its output in pipes."""
    command = [*JINA_DATA, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return Call(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input, a recipe and a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    lines = [json.dumps(row) for row in ROWS]
    lines.insert(2, BROKEN)
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(here: Path) -> Call:
    call = process("clean", "rows.jsonl", "-o", "run", "-p", "recipe.yaml", "--workers", "1", cwd=here)
    assert call.returncode == 0, call.stderr
    return call


def cleaned(here: Path, name: str, *options: str) -> list[str]:
    """Clean the rows with options; return the kept texts."""
    call = jina_data("clean", "rows.jsonl", "-o", name, "-p", "recipe.yaml", "--workers", "1", *options, cwd=here)
    assert call.returncode == 0, call.stderr
    texts: list[str] = pq.read_table(here / name / "data").column("text").to_pylist()
    return texts


# ---------------------------------------------------------------------------------------------------------------- help


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command


def test_every_command_and_option_has_help() -> None:
    for name, command in commands():
        assert command.help, name
        assert command.get_short_help_str(200) == COMMANDS[name]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"
                assert parameter.help[-1] in ".)", f"{name} {parameter.opts}"
            else:
                assert (parameter.metavar or "").strip(".") in command.help, f"{name} {parameter.name}"
    assert all(option.help for option in cli.params if isinstance(option, click.Option))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_every_command_is_printed(name: str, flag: str) -> None:
    call = jina_data(name, flag)
    assert (call.returncode, call.stderr) == (0, "")
    assert f" {name} " in call.stdout.splitlines()[0]


def test_help_lists_all_commands() -> None:
    call = jina_data("--help")
    assert (call.returncode, call.stderr) == (0, "")
    for name, help_text in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(help_text.split()[0])}", call.stdout, re.MULTILINE)


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        process("--help")
        seconds.append(time.perf_counter() - started)
    # The target is half a second; a machine that is busy with other tests may need four times as long.
    assert statistics.median(seconds) < 2.0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["clean", "--help"], ["inspect", "--help"], ["nope"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from jina_data.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'duckdb', 'pyarrow', 'numba', 'numpy', 'pydantic', 'torch', 'rich', 'jinja2', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    call = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert call.stderr.splitlines()[-1] == "[]"


def test_version() -> None:
    assert re.fullmatch(r"jina-data, version \d+\.\d+\.\d+\n", jina_data("--version").stdout)


def test_schema_is_printed_as_json() -> None:
    call = jina_data("schema")
    assert (call.returncode, call.stderr) == (0, "")
    assert json.loads(call.stdout) == recipe_schema()


# --------------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: "),
        (["cleen"], "No such command 'cleen'"),
        (["--bogus"], "No such option '--bogus'"),
        (["clean"], "Missing argument 'INPUT...'"),
        (["clean", "rows.jsonl"], "Missing option '-o'"),
        (["clean", "rows.jsonl", "-o", "x", "--bogus"], "No such option '--bogus'"),
        (["clean", "rows.jsonl", "-o", "x", "--limit", "0"], "Invalid value for '--limit'"),
        (["clean", "rows.jsonl", "-o", "x", "--workers", "0"], "Invalid value for '--workers'"),
        (["clean", "rows.jsonl", "-o", "x", "--seed", "one"], "Invalid value for '--seed'"),
        (["clean", "rows.jsonl", "-o", "x", "--format", "csv"], "Invalid value for '--format'"),
        (["clean", "rows.jsonl", "-o", "x", "--memory-limit", "lots"], "'lots' is not a size; expected something like"),
        (["clean", "rows.jsonl", "-o", "x", "-c", "text"], "-c text: expected ROLE=COLUMN, for example -c anchor="),
        (["clean", "rows.jsonl", "-o", "x", "-c", "txt=text"], "unknown role 'txt'; did you mean 'text'?"),
        (
            ["clean", "rows.jsonl", "-o", "x", "-c", "text=tekst"],
            "no column 'tekst' (assigned to text). Did you mean 'te",
        ),
        (["clean", "rows.jsonl", "-o", "x", "-s", "length"], "-s length: expected STAGE.OPTION=VALUE"),
        (["clean", "rows.jsonl", "-o", "x", "-p", "documnts"], "Did you mean 'documents'?"),
        (["clean", "rows.jsonl", "-o", "x", "--where", "lnag = 'en'"], "no column 'lnag'. Did you mean 'lang'?"),
        (["clean", "rows.jsonl", "-o", "x", "--where", "lang ="], "is not an SQL expression"),
        (
            ["clean", "rows.jsonl", "-o", "x", "--where", "count(*) > 1"],
            "whose result does not depend on that row alone",
        ),
        (["inspect"], "Missing argument 'DIR'"),
        (["inspect", "run", "--row", "3"], "'3' is not FILE:ROW, for example questions.jsonl:17"),
        (["inspect", "run", "--row", "rows.jsonl:99"], "rows.jsonl has no row 99; rows are counted from 0"),
        (["inspect", "run", "--row", "other.jsonl:1"], "'other.jsonl' is not a file of this run; the files are rows.j"),
        (
            ["inspect", "run", "--stage", "rules"],
            "this run has no stage 'rules'. The stages of this run are read, length, exact_dedup",
        ),
        (
            ["inspect", "run", "--reason", "nope"],
            "no reason 'nope'. The reasons with rows in this run are unreadable, empty, too_short, exact_duplicate",
        ),
    ],
)
@pytest.mark.usefixtures("finished")
def test_wrong_usage_ends_with_status_2(here: Path, arguments: list[str], message: str) -> None:
    call = jina_data(*arguments, cwd=here)
    assert call.returncode == 2
    assert message in call.stderr
    assert call.stdout == ""
    assert "Traceback" not in call.stderr
    assert not (here / "x").exists()


# ------------------------------------------------------------------------------------------------------------- output


def test_progress_is_plain_lines_without_a_terminal(finished: Call) -> None:
    assert "\x1b" not in finished.stderr
    assert "\r" not in finished.stderr
    lines = finished.stderr.splitlines()
    assert "roles guessed from the column names: text = text" in lines
    progress = [line for line in lines if re.match(r"[a-z_, ]+: [0-9,]+( of [0-9,]+)? rows, [0-9,]+ rows/s$", line)]
    assert [line.split(":")[0] for line in progress if not line.startswith("exact_dedup")] == [
        "reading",
        "length, keys for exact_dedup",
        "ledger",
        "data and dropped",
    ]


def test_the_funnel_is_a_table_on_stdout(finished: Call) -> None:
    table = [line.split() for line in finished.stdout.splitlines()]
    assert ["read", "7", "1", "6", "85.7", "%", "unreadable", "1"] in table
    assert ["length", "6", "2", "4", "57.1", "%", "empty", "1,", "too_short", "1"] in table
    assert ["exact_dedup", "4", "1", "3", "42.9", "%", "exact_duplicate", "1"] in table
    assert "3 of 7 rows kept, 3 dropped, 1 unreadable; " in finished.stdout
    places = ("kept rows:            run/data", "dropped rows and why: run/dropped", "run/report.html", "inspect run")
    for place in places:
        assert place in finished.stdout


def test_quiet_prints_nothing(here: Path) -> None:
    arguments = ("clean", "rows.jsonl", "-o", "quiet", "-p", "recipe.yaml", "--workers", "1", "--quiet")
    for _ in range(2):
        call = jina_data(*arguments, cwd=here)
        assert (call.returncode, call.stdout, call.stderr) == (0, "", "")
    call = jina_data(*arguments, "--seed", "5", cwd=here)
    assert (call.returncode, call.stdout) == (1, "")
    assert call.stderr.startswith("Error: quiet holds a finished run with ")


def test_the_chosen_recipe_is_printed(here: Path) -> None:
    call = jina_data("clean", "rows.jsonl", "-o", "default", "--workers", "1", cwd=here)
    assert call.returncode == 0
    assert "recipe: documents (choose another with -p)" in call.stderr
    assert json.loads((here / "default" / "manifest.json").read_text())["recipe"]["stages"][0] != {}


# ------------------------------------------------------------------------------------------------------------- options


def test_without_options(here: Path) -> None:
    assert cleaned(here, "plain") == ["the first text", "ein anderer Text", "a third text"]


def test_limit_reads_the_first_rows_only(here: Path) -> None:
    assert cleaned(here, "limited", "--limit", "4") == ["the first text"]
    rows = json.loads((here / "limited" / "report.json").read_text())["rows"]
    assert rows == {"read": 4, "kept": 1, "dropped": 2, "unreadable": 1}


def test_limit_beyond_the_input_reads_all(here: Path) -> None:
    assert cleaned(here, "unlimited", "--limit", "1000") == cleaned(here, "plain")


def test_set_changes_an_option(here: Path) -> None:
    texts = cleaned(here, "set", "-s", "length.min_words=1", "--set", "exact_dedup.fold_case=false")
    assert texts == ["the first text", "the  FIRST text ", "short", "ein anderer Text", "a third text"]


def test_where_comes_first(here: Path) -> None:
    assert cleaned(here, "where", "--where", "lang = 'de'") == ["ein anderer Text"]
    stages = json.loads((here / "where" / "report.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["where", "length", "exact_dedup"]
    assert stages[0]["dropped"] == {"filtered": 4}


def test_column_names_the_roles(here: Path) -> None:
    assert cleaned(here, "columns", "-c", "text=lang", "-s", "length.min_words=1", "-c", "source=text") == [
        "the first text",
        "",
    ]
    manifest = json.loads((here / "columns" / "manifest.json").read_text())
    assert (manifest["roles"], manifest["source"]) == ({"text": ["lang"]}, "text")


def test_seed_chooses_another_sample(here: Path, tmp_path: Path) -> None:
    rows = tmp_path / "many.jsonl"
    rows.write_text("".join(json.dumps({"text": f"text number {n}"}) + "\n" for n in range(200)), encoding="utf-8")
    recipe = tmp_path / "sample.yaml"
    recipe.write_text("seed: 1\nstages:\n  - sample: {count: 20}\n", encoding="utf-8")
    kept = {}
    for name, options in {"none": (), "one": ("--seed", "1"), "zero": ("--seed", "0"), "same": ("--seed", "0")}.items():
        call = jina_data("clean", rows, "-o", tmp_path / name, "-p", recipe, "--workers", "1", *options)
        assert call.returncode == 0, call.stderr
        kept[name] = pq.read_table(tmp_path / name / "data").column("text").to_pylist()
        assert json.loads((tmp_path / name / "manifest.json").read_text())["seed"] == (name in ("none", "one"))
    assert kept["none"] == kept["one"]
    assert kept["zero"] == kept["same"]
    assert kept["one"] != kept["zero"]
    assert {len(texts) for texts in kept.values()} == {20}


def test_format_jsonl(here: Path) -> None:
    call = jina_data(
        "clean", "rows.jsonl", "-o", "lines", "-p", "recipe.yaml", "--workers", "1", "--format", "jsonl", cwd=here
    )
    assert call.returncode == 0, call.stderr
    assert [path.name for path in (here / "lines" / "data").iterdir()] == ["part-00000.jsonl"]
    lines = (here / "lines" / "data" / "part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [ROWS[0], ROWS[4], ROWS[5]]
    assert [path.suffix for path in (here / "lines" / "dropped").iterdir()] == [".parquet"]
    output = jina_data("inspect", "lines", "--row", "rows.jsonl:5", cwd=here).stdout
    assert "ein anderer Text" in output
    output = jina_data("inspect", "lines", "--stage", "exact_dedup", cwd=here).stdout
    assert output.count("the first text") == 1


@pytest.mark.parametrize("options", [("--workers", "2"), ("--batch-rows", "1"), ("--memory-limit", "1GB")])
def test_execution_options_do_not_change_the_result(here: Path, options: tuple[str, str]) -> None:
    expected = cleaned(here, "plain")
    assert cleaned(here, f"how-{options[0].strip('-')}", *options) == expected
    # These options do not change the run, so it is finished.
    assert cleaned(here, "plain", *options) == expected


# ------------------------------------------------------------------------------------------------------------- inspect


def inspected(here: Path, *options: str) -> str:
    call = jina_data("inspect", "run", *options, cwd=here)
    assert (call.returncode, call.stderr) == (0, "")
    return call.stdout


@pytest.mark.usefixtures("finished")
def test_inspect_shows_counts_and_samples_with_partners(here: Path) -> None:
    output = inspected(here)
    for head in (
        "length (stage 0) empty: 1 rows",
        "length (stage 0) too_short: 1 rows",
        "exact_dedup (stage 1) exact_duplicate: 1 rows",
    ):
        assert head in output
    duplicate = output[output.index("exact_dedup") :].splitlines()
    assert duplicate[1:5] == [
        "- rows.jsonl:1",
        '    text: "the  FIRST text "',
        "  partner rows.jsonl:0",
        '    text: "the first text"',
    ]


@pytest.mark.usefixtures("finished")
def test_inspect_by_stage_reason_and_size_of_sample(here: Path) -> None:
    assert "exact_dedup" not in inspected(here, "--stage", "length")
    assert inspected(here, "--reason", "empty").startswith("length (stage 0) empty: 1 rows\n- rows.jsonl:4 (score 0)\n")
    assert inspected(here, "--stage", "length", "--reason", "too_short", "--sample", "0").split("\n", 1)[0] == (
        "length (stage 0) too_short: 1 rows"
    )
    assert "rows.jsonl:" not in inspected(here, "--sample", "0")


@pytest.mark.usefixtures("finished")
def test_inspect_a_kept_row(here: Path) -> None:
    output = inspected(here, "--row", "rows.jsonl:5").splitlines()
    assert output[:3] == ["rows.jsonl:5 (source rows.jsonl)", "kept", '    text: "ein anderer Text"']
    assert any("00-length: " in line and "text.words 3" in line for line in output)


@pytest.mark.usefixtures("finished")
def test_inspect_a_dropped_row(here: Path) -> None:
    output = inspected(here, "--row", "rows.jsonl:3").splitlines()
    assert output[1:3] == ["dropped by length (stage 0): too_short (score 1)", '    text: "short"']
    output = inspected(here, "--row", "rows.jsonl:1").splitlines()
    assert output[1:3] == ["dropped by exact_dedup (stage 1): exact_duplicate", "partner rows.jsonl:0"]
    assert '    text: "the  FIRST text "' in output


@pytest.mark.usefixtures("finished")
def test_inspect_an_unreadable_row(here: Path) -> None:
    output = inspected(here, "--row", "rows.jsonl:2").splitlines()
    assert output[1].startswith("unreadable: line 3, byte ")
    assert "not JSON" in output[1]


@pytest.mark.usefixtures("finished")
def test_inspect_truncates_long_texts(here: Path) -> None:
    assert '"the  FIRST text "' in inspected(here, "--width", "20")
    rows = here / "long.jsonl"
    rows.write_text(json.dumps({"text": "x" * 500}) + "\n", encoding="utf-8")
    jina_data("clean", "long.jsonl", "-o", "long", "-p", "recipe.yaml", "--workers", "1", cwd=here)
    output = jina_data("inspect", "long", "--width", "50", cwd=here).stdout
    assert f'    text: "{"x" * 49}... (502 characters)' in output


def test_inspect_finds_a_file_by_its_name(tmp_path: Path) -> None:
    for folder, name in (("a", "pairs.jsonl"), ("b", "more-pairs.jsonl")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(json.dumps({"text": f"in {folder}"}) + "\n", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    call = jina_data("clean", "a", "b", "-o", "run", "-p", recipe, "--workers", "1", cwd=tmp_path)
    assert call.returncode == 0, call.stderr
    assert '"in a"' in jina_data("inspect", "run", "--row", "pairs.jsonl:0", cwd=tmp_path).stdout
    assert '"in b"' in jina_data("inspect", "run", "--row", "b/more-pairs.jsonl:0", cwd=tmp_path).stdout
    unclear = jina_data("inspect", "run", "--row", "jsonl:0", cwd=tmp_path)
    assert (unclear.returncode, "could be a/pairs.jsonl or b/more-pairs.jsonl" in unclear.stderr) == (2, True)


def test_inspect_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder, state in (("nothing", "no run"), (".", "no run")):
        call = jina_data("inspect", folder, cwd=tmp_path)
        assert call.returncode == 1
        assert f"holds {state}; expected the folder of a finished run" in call.stderr
    (tmp_path / ".work").mkdir()
    assert "holds an unfinished run; " in jina_data("inspect", ".", cwd=tmp_path).stderr


def test_a_run_without_dropped_rows_is_reported(here: Path) -> None:
    cleaned(here, "all", "--where", "lang = 'en'", "-s", "length.min_words=0", "-s", "exact_dedup.fold_case=false")
    jina_data("clean", "long.jsonl", "-o", "none", "-p", "recipe.yaml", "-s", "length.min_words=0", "-q", cwd=here)
    assert "exact_duplicate" not in jina_data("inspect", "all", cwd=here).stdout
    (here / "one.jsonl").write_text('{"text": "two words"}\n', encoding="utf-8")
    jina_data("clean", "one.jsonl", "-o", "one", "-p", "recipe.yaml", "-q", cwd=here)
    assert jina_data("inspect", "one", cwd=here).stdout == "no rows were dropped\n"


def test_a_pipe_that_closes_early_is_no_error(here: Path, finished: Call) -> None:
    command = " ".join(f"'{part}'" for part in JINA_DATA) + " inspect run | head -n 1"
    call = subprocess.run(["sh", "-c", command], cwd=here, capture_output=True, text=True, timeout=60, check=False)
    assert call.stdout.count("\n") == 1
    assert call.stderr == ""
