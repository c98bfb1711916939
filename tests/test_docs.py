"""Tests that the docs are correct: examples run, features are documented, and links have targets."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jina_data
from jina_data import errors
from jina_data.clean.folder import CleanFolder
from jina_data.clean.ledger import LEDGER_SCHEMA
from jina_data.clean.recipe import Recipe, shipped_recipes
from jina_data.clean.report import CleanReport
from jina_data.clean.shards import DROPPED_COLUMNS
from jina_data.cli import COMMANDS, cli
from jina_data.pipeline import Pipeline
from jina_data.roles import GUESSES, ROLE_ORDER
from jina_data.stages import STAGES, Length, Rules
from jina_data.stages.score_cache import CutCounts

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DEMO = ROOT / "tests" / "data" / "demo"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
HOSTS = {
    *("arxiv.org", "creativecommons.org", "duckdb.org", "github.com", "huggingface.co", "jmlr.org"),
    *("keepachangelog.com", "packaging.python.org", "semver.org", "www.unicode.org", "example.com", "example.org"),
}
"""The hosts that the docs may link to."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the comment before it, and its text."""

    line: int
    language: str
    comment: str
    text: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def names(pages: Iterable[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def blocks(page: str) -> Iterator[Block]:
    comment, opened, language, lines = "", 0, "", list[str]()
    for number, line in enumerate(text_of(page).splitlines(), 1):
        if opened and line.strip() == "```":
            yield Block(opened, language, comment, "\n".join(lines) + "\n")
            opened, comment = 0, ""
        elif opened:
            lines.append(line)
        elif line.startswith("```"):
            opened, language, lines = number, line.removeprefix("```").strip(), []
        elif line.strip():
            comment = line.removeprefix("<!--").removesuffix("-->").strip() if line.startswith("<!--") else ""


def sections(page: str) -> dict[str, str]:
    """Return the text below each second-level heading."""
    parts = re.split(r"^## (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text: str) -> list[list[str]]:
    """Return the cells of the first table in a text, without its header."""
    match = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert match, f"no table in: {text[:200]}"
    lines = [line.replace(r"\|", "\0").strip("|").split("|") for line in match[0].splitlines()[2:]]
    return [[cell.replace("\0", "|").strip() for cell in cells] for cells in lines]


def quoted(cell: str) -> list[str]:
    """Return the texts in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


# ------------------------------------------------------------------------------------------------ examples run


def demo_command() -> str:
    """Return what `make demo` runs once the environment is there."""
    target = text_of("Makefile").split("\ndemo:")[1].split("\n\n")[0]
    (command,) = [line.strip() for line in target.splitlines() if line.startswith("\t$(LIGHT)/bin/jina-data")]
    return command.replace("$(LIGHT)/bin/", "")


def runnable(block: Block) -> str:
    """Return the commands of a block, without those that build environments or download the project."""
    lines = block.text.replace("make demo", demo_command()).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("make ", "pip ", "git ", "cd ")))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the sample at the path that the docs use."""
    shutil.copytree(DEMO, tmp_path / "tests" / "data" / "demo")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def normalized(text: str) -> str:
    """Return a text without parts that differ between runs and terminals: times, memory, blanks, table lines."""
    text = re.sub(r"[\d,.]+ (s|MiB|rows/s)\b", r"N \1", re.sub("─+", "", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def matches(excerpt: str, output: str) -> bool:
    """Return whether an output contains the excerpt on a page; `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in normalized(excerpt).split("..."))
    return re.search(pattern, normalized(output), re.DOTALL) is not None


RUNNING = [page for page in names(PAGES) if any(block.language in ("sh", "python") for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNING)
def test_commands_and_python_run(page: str, checkout: Path) -> None:
    output = ""
    for block in blocks(page):
        if block.comment == "not run":
            continue
        if block.language == "sh":
            output = run(["bash", "-euo", "pipefail", "-c", runnable(block)], checkout)
        elif block.language == "python":
            example = checkout / "example.py"
            example.write_text(block.text, encoding="utf-8")
            output = run([sys.executable, str(example)], checkout)
        elif block.comment == "output":
            assert matches(block.text, output), f"{page}, line {block.line}: the output is now:\n{output}"


def test_few_blocks_are_not_run() -> None:
    not_run = [f"{page}, line {block.line}" for page in RUNNING for block in blocks(page) if block.comment == "not run"]
    assert len(not_run) <= 4, not_run


@pytest.mark.parametrize("page", names(PAGES))
def test_recipes_in_docs_validate(page: str) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            assert Recipe.parse(block.text, f"{page}, line {block.line}").stages


def test_the_error_of_a_recipe_is_documented() -> None:
    (excerpt,) = [block.text for block in blocks("docs/recipes.md") if block.text.startswith("Error: my.yaml")]
    with pytest.raises(errors.RecipeError) as raised:
        Recipe.parse("stages:\n  - length: {min_word: 2}\n", "my.yaml")
    assert matches(excerpt, f"Error: {raised.value}")


@pytest.mark.parametrize(
    ("excerpt", "output", "expected"),
    [
        ("kept 3; 1.2 s", "a\nkept   3;  0.9 s\nb", True),
        ("kept 3", "kept 4", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "d\nb\na", False),
    ],
)
def test_matches(excerpt: str, output: str, expected: bool) -> None:
    assert matches(excerpt, output) is expected


# --------------------------------------------------------------------------------------------- the command line


def option_row(option: click.Option) -> str:
    """Return the row of an option in docs/command-line.md."""
    value = ""
    if not option.is_flag:
        choices = "{" + ",".join(option.type.choices) + "}" if isinstance(option.type, click.Choice) else "N"
        value = f" {option.metavar or choices}"
    *short, long = option.opts
    label = ", ".join(f"`{name}`" for name in (*short, long + value))
    has_default = isinstance(option.default, str | int) and not option.is_flag
    default = "required" if option.required else f"`{option.default}`" if has_default else "–"
    return f"| {label} | {default} | {option.help} |"


def option_table(command: click.Command) -> str:
    rows = [option_row(option) for option in command.params if isinstance(option, click.Option)]
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])


def command_of(name: str) -> click.Command:
    command: click.Command = import_module(f"jina_data.cli.{name}").command
    return command


def commands_of(name: str) -> list[click.Command]:
    """Return a command, or the commands of a group."""
    command = command_of(name)
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


def test_every_command_is_documented() -> None:
    assert [name for name in sections("docs/command-line.md") if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_documented_with_their_help(name: str) -> None:
    for command in commands_of(name):
        if any(isinstance(option, click.Option) for option in command.params):
            expected = option_table(command)
            assert expected in sections("docs/command-line.md")[name], f"expected under ## {name}:\n{expected}"


def test_options_of_all_commands_are_documented() -> None:
    expected = option_table(cli)
    assert expected in text_of("docs/command-line.md"), f"expected at the top:\n{expected}"


@pytest.mark.parametrize("page", names(PAGES))
def test_docs_name_only_existing_options(page: str) -> None:
    commands = [cli, *(command for name in COMMANDS for command in commands_of(name))]
    options = {name for command in commands for option in command.params for name in option.opts}
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else ():
            if line.startswith("jina-data "):
                used = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", line)))
                assert used <= options | {"--help", "-h"}, line


# --------------------------------------------------------------------------------------------- stages, recipes


def documented_default(stage: str, option: str) -> str:
    """Return the default of an option as docs/stages.md writes it: as YAML."""
    field = STAGES[stage].model_fields[option]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def test_every_stage_is_documented() -> None:
    assert list(sections("docs/stages.md")) == list(STAGES)
    overview = table(text_of("docs/stages.md"))
    assert [cells[0] for cells in overview] == [f"[{name}](#{name})" for name in STAGES]
    assert [cells[0].partition("]")[0] for cells in table(sections("README.md")["Stages"])] == [f"[{n}" for n in STAGES]
    for name, (*_, reasons) in zip(STAGES, overview, strict=True):
        if name != "rules":
            assert tuple(quoted(reasons)) == STAGES[name].reasons


@pytest.mark.parametrize("name", [name for name in STAGES if name != "rules"])
def test_every_option_and_reason_of_a_stage_is_documented(name: str) -> None:
    section = sections("docs/stages.md")[name]
    rows = [(cells[0], cells[1]) for cells in table(section)]
    assert rows == [(f"`{option}`", documented_default(name, option)) for option in STAGES[name].model_fields]
    assert set(STAGES[name].reasons) <= set(quoted(section.split("Reasons")[1]))


def test_every_option_and_reason_of_rules_is_documented() -> None:
    documented_names = set(quoted(re.sub(r"```.*?```", "", text_of("docs/rules.md"), flags=re.DOTALL)))
    missing = {*Rules.model_fields, *Rules.reasons} - documented_names
    assert not missing
    defaults = sections("docs/stages.md")["rules"].partition("Out of the box")[2].partition(".")[0]
    assert set(quoted(defaults)) == {*Rules().limits(), "identical_pair"}


def test_shipped_recipes_are_documented() -> None:
    rows = {cells[0]: cells for cells in table(sections("docs/recipes.md")["Shipped recipes"])}
    assert list(rows) == [f"`{name}`" for name in shipped_recipes()]
    settings = text_of("docs/recipes.md").split("They differ in their settings:")[1]
    lengths = {cells[0]: cells[1] for cells in table(settings)}
    for name in shipped_recipes():
        recipe = Recipe.load(name)
        assert rows[f"`{name}`"][2] == ", ".join(stage.name for stage in recipe.stages)
        for stage in recipe.stages:
            if isinstance(stage, Length):
                bounds = [value for value in stage.model_dump().values() if isinstance(value, int)]
                assert all(f"{value:,}" in lengths[f"`{name}`"] for value in bounds), lengths
    help_text = next(
        option.help for option in command_of("clean").params if isinstance(option, click.Option) and "-p" in option.opts
    )
    assert all(name in (help_text or "") for name in shipped_recipes())


def test_roles_are_documented() -> None:
    roles = [quoted(cells[0])[0] for cells in table(text_of("docs/roles.md"))]
    assert roles == [*ROLE_ORDER, "source"]
    guesses = [tuple(cells) for cells in table(sections("docs/roles.md")["Guessing"])]
    assert guesses == [(", ".join(guess.values()), ", ".join(guess)) for guess in GUESSES]


# ------------------------------------------------------------------------------------------------------ Python


def test_public_names_are_documented() -> None:
    page = text_of("docs/python.md")
    missing = [name for name in jina_data.__all__ if not re.search(rf"\b{name}\b", page)]
    assert not missing
    stages = [stage.__name__ for stage in STAGES.values()]
    assert set(stages) <= set(jina_data.__all__)


def test_arguments_of_run_are_documented() -> None:
    rows = [(quoted(cells[0])[0], cells[1]) for cells in table(sections("docs/python.md")["Pipeline"])]
    parameters = list(inspect.signature(Pipeline.run).parameters.values())[1:]
    assert rows == [(parameter.name, _argument_default(parameter)) for parameter in parameters]


def _argument_default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    return f"`{parameter.default}`" if isinstance(parameter.default, str) else f"`{json.dumps(parameter.default)}`"


def test_errors_are_documented() -> None:
    rows = {quoted(cells[0])[0]: cells[2] for cells in table(sections("docs/python.md")["Errors"])}
    values = vars(errors).values()
    classes = [value for value in values if inspect.isclass(value) and issubclass(value, errors.JinaDataError)]
    assert rows == {error.__name__: str(error.exit_status) for error in classes}


# ------------------------------------------------------------------------------------------------- run folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> CleanReport:
    """A finished run over the sample."""
    folder = tmp_path_factory.mktemp("docs") / "run"
    pipeline = Pipeline.from_recipe("pairs")
    return pipeline.run([DEMO / "questions.jsonl.gz", DEMO / "commands.csv"], folder, limit=1800)


def folder_of(report: CleanReport) -> Path:
    assert report.path is not None
    return report.path


def columns_of(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]


def documented(section: str) -> list[tuple[str, str]]:
    rows = table(sections("docs/run-folder.md")[section])
    return [(quoted(cells[0])[0], cells[1]) for cells in rows]


def test_outputs_are_documented(finished: CleanReport) -> None:
    outputs = [quoted(cells[0])[0].rstrip("/") for cells in table(text_of("docs/run-folder.md"))]
    assert set(outputs) == {*CleanFolder.outputs, *CleanFolder.side_files, "manifest.json", "events.jsonl", ".work"}
    assert {path.name for path in folder_of(finished).iterdir()} == set(outputs) - {".work", "labels"}


def test_columns_of_ledger_and_dropped_are_documented(finished: CleanReport) -> None:
    ledger = pq.read_schema(folder_of(finished) / "ledger" / "part-00000.parquet")
    assert documented("ledger") == columns_of(LEDGER_SCHEMA) == columns_of(ledger)
    dropped = pq.read_schema(folder_of(finished) / "dropped" / "part-00000.parquet")
    added = columns_of(pa.schema(DROPPED_COLUMNS))
    assert documented("dropped") == added == columns_of(dropped)[-len(added) :]


def test_keys_of_json_files_are_documented(finished: CleanReport) -> None:
    folder = folder_of(finished)
    record = (folder / "unreadable.jsonl").read_text(encoding="utf-8").splitlines()[0]
    report, manifest = (json.loads((folder / name).read_text()) for name in ("report.json", "manifest.json"))
    expected = {"unreadable.jsonl": json.loads(record), "report.json": report, "manifest.json": manifest}
    for section, values in expected.items():
        assert [key for key, _ in documented(section)] == list(values)
    assert report["cut"] == []  # the static model has no limit
    report["cut"] = [{field.name: None for field in dataclasses.fields(CutCounts)}]
    for key, cell in documented("report.json"):
        inner = report[key][0] if isinstance(report[key], list) else report[key]
        if isinstance(inner, Mapping) and key not in ("versions", "sources"):
            assert set(inner) <= set(quoted(cell)), key


def test_events_are_documented(finished: CleanReport) -> None:
    lines = (folder_of(finished) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    names_in_docs = [event for event, _ in documented("events.jsonl")]
    assert {event["event"] for event in events} | {"resume"} == set(names_in_docs)
    units = {event["unit"].split()[0] for event in events if "unit" in event}
    section = sections("docs/run-folder.md")["events.jsonl"]
    assert units <= {unit.split()[0] for unit in quoted(section)}


def test_scores_are_documented(finished: CleanReport) -> None:
    for folder in sorted((folder_of(finished) / "scores").iterdir()):
        stage = folder.name.partition("-")[2]
        section = sections("docs/stages.md")[stage]
        for column in pq.read_schema(folder / "part-00000.parquet").names[1:]:
            _, dot, measure = column.partition(".")
            name = f"`ROLE.{measure}`" if dot else f"`{column}`"
            assert name in section or (stage == "rules" and measure in Rules.reasons), column


# ------------------------------------------------------------------------------------------------ links, names


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(str(page.relative_to(ROOT))), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", names(PAGES))
def test_links_have_targets(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            assert urlsplit(target).hostname in HOSTS, target
            continue
        path, _, anchor = target.partition("#")
        home = (ROOT / page).parent / path if path else ROOT / page
        assert home.exists(), f"{page} links to {target}, which does not exist"
        assert home.resolve().is_relative_to(ROOT.resolve()), f"{page} links out of the project: {target}"
        if anchor and home.suffix == ".md":
            assert anchor in anchors(home.resolve()), f"{page} links to {target}, which has no such heading"


def test_every_page_is_in_the_index() -> None:
    targets = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", text_of("docs/index.md"))}
    assert {page.resolve() for page in DOCS.rglob("*.md")} - {(DOCS / "index.md").resolve()} <= targets


@pytest.mark.parametrize("page", names(sorted((DOCS / "decisions").glob("*.md"))))
def test_decisions_have_all_sections(page: str) -> None:
    assert list(sections(page))[:4] == ["Context", "Decision", "Rejected", "What follows"]


def project_files() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each text file of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    files = listed.stdout.split("\0") if listed.returncode == 0 else names(ROOT.rglob("*.*"))
    for name in filter(None, files):
        # Names that start with a dot are environments, caches and local settings of the checks.
        if name.startswith(".") or not (ROOT / name).is_file():
            continue
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def local_paths() -> list[str]:
    """Return patterns of local paths and package indexes that no file of the project may contain."""
    folders = {ROOT.resolve(), ROOT.resolve().parent, Path(sys.prefix).resolve(), Path.home()} - {Path("/")}
    patterns = [rf"(?<![\w.-]){re.escape(str(folder))}(?![\w.-])" for folder in sorted(folders)]
    siblings = {path.name for path in ROOT.resolve().parent.iterdir()} - {path.name for path in ROOT.iterdir()}
    patterns += [rf"\.\./{re.escape(name)}(?![\w.-])" for name in sorted(siblings - {ROOT.resolve().name})]
    return [*patterns, "extra-index-ur[l]", "--find-link[s]"]


def test_the_project_contains_no_local_path() -> None:
    patterns = [re.compile(path) for path in local_paths()]
    for name, text in project_files():
        hits = [match[0] for pattern in patterns if (match := pattern.search(text))]
        assert not hits, f"{name} contains a local path: {hits}"
