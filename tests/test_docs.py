"""Docs stay true: what they show runs, what exists is documented, and links lead somewhere."""

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
"""Whom the docs may link to."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the comment in front of it, and its text."""

    line: int
    language: str
    comment: str
    text: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def names(pages: Iterable[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def blocks(page: str) -> Iterator[Block]:
    comment, opened, language, held = "", 0, "", list[str]()
    for number, line in enumerate(text_of(page).splitlines(), 1):
        if opened and line.strip() == "```":
            yield Block(opened, language, comment, "\n".join(held) + "\n")
            opened, comment = 0, ""
        elif opened:
            held.append(line)
        elif line.startswith("```"):
            opened, language, held = number, line.removeprefix("```").strip(), []
        elif line.strip():
            comment = line.removeprefix("<!--").removesuffix("-->").strip() if line.startswith("<!--") else ""


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text: str) -> list[list[str]]:
    """Return the cells of the first table in a text, without its head."""
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert found, f"no table in: {text[:200]}"
    lines = [line.replace(r"\|", "\0").strip("|").split("|") for line in found[0].splitlines()[2:]]
    return [[cell.replace("\0", "|").strip() for cell in cells] for cells in lines]


def quoted(cell: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


# ------------------------------------------------------------------------------------------- what is shown runs


def demo_command() -> str:
    """Return what `make demo` runs once the environment is there."""
    target = text_of("Makefile").split("\ndemo:")[1].split("\n\n")[0]
    (command,) = [line.strip() for line in target.splitlines() if line.startswith("\t$(LIGHT)/bin/jina-data")]
    return command.replace("$(LIGHT)/bin/", "")


def as_run(block: Block) -> str:
    """Return the commands of a block, without those that build environments or fetch the project."""
    lines = block.text.replace("make demo", demo_command()).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("make ", "pip ", "git ", "cd ")))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the sample where docs look for it."""
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


def squeezed(text: str) -> str:
    """Return a text without what differs between runs and terminals: times, memory, blanks, rules of tables."""
    text = re.sub(r"[\d,.]+ (s|MiB|rows/s)\b", r"N \1", re.sub("─+", "", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def shows(shown: str, output: str) -> bool:
    """Tell whether an output holds what a page shows of it; `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in squeezed(shown).split("..."))
    return re.search(pattern, squeezed(output), re.DOTALL) is not None


RUNNING = [page for page in names(PAGES) if any(block.language in ("sh", "python") for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNING)
def test_commands_and_python_run(page: str, checkout: Path) -> None:
    output = ""
    for block in blocks(page):
        if block.comment == "not run":
            continue
        if block.language == "sh":
            output = run(["bash", "-euo", "pipefail", "-c", as_run(block)], checkout)
        elif block.language == "python":
            example = checkout / "example.py"
            example.write_text(block.text, encoding="utf-8")
            output = run([sys.executable, str(example)], checkout)
        elif block.comment == "output":
            assert shows(block.text, output), f"{page}, line {block.line}: it prints now:\n{output}"


def test_not_run_is_rare() -> None:
    left_out = [
        f"{page}, line {block.line}" for page in RUNNING for block in blocks(page) if block.comment == "not run"
    ]
    assert len(left_out) <= 4, left_out


@pytest.mark.parametrize("page", names(PAGES))
def test_recipes_in_docs_validate(page: str) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            assert Recipe.parse(block.text, f"{page}, line {block.line}").stages


def test_the_mistake_in_a_recipe_is_told_as_shown() -> None:
    (shown,) = [block.text for block in blocks("docs/recipes.md") if block.text.startswith("Error: my.yaml")]
    with pytest.raises(errors.RecipeError) as raised:
        Recipe.parse("stages:\n  - length: {min_word: 2}\n", "my.yaml")
    assert shows(shown, f"Error: {raised.value}")


@pytest.mark.parametrize(
    ("shown", "output", "fits"),
    [
        ("kept 3; 1.2 s", "a\nkept   3;  0.9 s\nb", True),
        ("kept 3", "kept 4", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "d\nb\na", False),
    ],
)
def test_shows(shown: str, output: str, fits: bool) -> None:
    assert shows(shown, output) is fits


# --------------------------------------------------------------------------------------------- the command line


def option_row(option: click.Option) -> str:
    """Return the row of an option in docs/command-line.md."""
    value = ""
    if not option.is_flag:
        choices = "{" + ",".join(option.type.choices) + "}" if isinstance(option.type, click.Choice) else "N"
        value = f" {option.metavar or choices}"
    *short, long = option.opts
    called = ", ".join(f"`{name}`" for name in (*short, long + value))
    has_default = isinstance(option.default, str | int) and not option.is_flag
    default = "required" if option.required else f"`{option.default}`" if has_default else "–"
    return f"| {called} | {default} | {option.help} |"


def option_table(command: click.Command) -> str:
    rows = [option_row(option) for option in command.params if isinstance(option, click.Option)]
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])


def command_of(name: str) -> click.Command:
    command: click.Command = import_module(f"jina_data.cli.{name}").command
    return command


def commands_of(name: str) -> list[click.Command]:
    """Return a command, or those of a group."""
    command = command_of(name)
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


def test_every_command_is_documented() -> None:
    assert [name for name in sections("docs/command-line.md") if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_documented_as_helped(name: str) -> None:
    for command in commands_of(name):
        if any(isinstance(option, click.Option) for option in command.params):
            expected = option_table(command)
            assert expected in sections("docs/command-line.md")[name], f"put this under ## {name}:\n{expected}"


def test_options_of_all_commands_are_documented() -> None:
    expected = option_table(cli)
    assert expected in text_of("docs/command-line.md"), f"put this on top:\n{expected}"


@pytest.mark.parametrize("page", names(PAGES))
def test_docs_name_no_option_that_is_not_there(page: str) -> None:
    commands = [cli, *(command for name in COMMANDS for command in commands_of(name))]
    known = {name for command in commands for one in command.params for name in one.opts}
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else ():
            if line.startswith("jina-data "):
                used = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", line)))
                assert used <= known | {"--help", "-h"}, line


# --------------------------------------------------------------------------------------------- stages, recipes


def shown_default(stage: str, option: str) -> str:
    """Return how docs/stages.md writes the default of an option: as YAML."""
    field = STAGES[stage].model_fields[option]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def test_every_stage_is_documented() -> None:
    found = sections("docs/stages.md")
    assert list(found) == list(STAGES)
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
    assert rows == [(f"`{option}`", shown_default(name, option)) for option in STAGES[name].model_fields]
    assert set(STAGES[name].reasons) <= set(quoted(section.split("Reasons")[1]))


def test_every_option_and_reason_of_rules_is_documented() -> None:
    known = set(quoted(re.sub(r"```.*?```", "", text_of("docs/rules.md"), flags=re.DOTALL)))
    missing = {*Rules.model_fields, *Rules.reasons} - known
    assert not missing
    told = sections("docs/stages.md")["rules"].partition("Out of the box")[2].partition(".")[0]
    assert set(quoted(told)) == {*Rules().limits(), "identical_pair"}


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
        one.help for one in command_of("clean").params if isinstance(one, click.Option) and "-p" in one.opts
    )
    assert all(name in (help_text or "") for name in shipped_recipes())


def test_roles_are_documented() -> None:
    found = [quoted(cells[0])[0] for cells in table(text_of("docs/roles.md"))]
    assert found == [*ROLE_ORDER, "source"]
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
    assert rows == [(one.name, _argument_default(one)) for one in parameters]


def _argument_default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    return f"`{parameter.default}`" if isinstance(parameter.default, str) else f"`{json.dumps(parameter.default)}`"


def test_errors_are_documented() -> None:
    rows = {quoted(cells[0])[0]: cells[2] for cells in table(sections("docs/python.md")["Errors"])}
    known = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.JinaDataError)]
    assert rows == {one.__name__: str(one.exit_status) for one in known}


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
    shown = [quoted(cells[0])[0].rstrip("/") for cells in table(text_of("docs/run-folder.md"))]
    assert set(shown) == {*CleanFolder.outputs, "cache", "manifest.json", "events.jsonl", ".work"}
    assert {path.name for path in folder_of(finished).iterdir()} == set(shown) - {".work"}


def test_columns_of_ledger_and_dropped_are_documented(finished: CleanReport) -> None:
    ledger = pq.read_schema(folder_of(finished) / "ledger" / "part-00000.parquet")
    assert documented("ledger") == columns_of(LEDGER_SCHEMA) == columns_of(ledger)
    dropped = pq.read_schema(folder_of(finished) / "dropped" / "part-00000.parquet")
    added = columns_of(pa.schema(DROPPED_COLUMNS))
    assert documented("dropped") == added == columns_of(dropped)[-len(added) :]


def test_keys_of_json_files_are_documented(finished: CleanReport) -> None:
    folder = folder_of(finished)
    first = (folder / "unreadable.jsonl").read_text(encoding="utf-8").splitlines()[0]
    report, manifest = (json.loads((folder / name).read_text()) for name in ("report.json", "manifest.json"))
    expected = {"unreadable.jsonl": json.loads(first), "report.json": report, "manifest.json": manifest}
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
    seen: list[dict[str, Any]] = [json.loads(line) for line in lines]
    shown = [event for event, _ in documented("events.jsonl")]
    assert {event["event"] for event in seen} | {"resume"} == set(shown)
    units = {event["unit"].split()[0] for event in seen if "unit" in event}
    section = sections("docs/run-folder.md")["events.jsonl"]
    assert units <= {shown.split()[0] for shown in quoted(section)}


def test_scores_are_documented(finished: CleanReport) -> None:
    for folder in sorted((folder_of(finished) / "scores").iterdir()):
        stage = folder.name.partition("-")[2]
        section = sections("docs/stages.md")[stage]
        for column in pq.read_schema(folder / "part-00000.parquet").names[1:]:
            _, dot, measure = column.partition(".")
            shown = f"`ROLE.{measure}`" if dot else f"`{column}`"
            assert shown in section or (stage == "rules" and measure in Rules.reasons), column


# ------------------------------------------------------------------------------------------------ links, names


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get on the usual hosts."""
    titles = re.findall(r"^#+ (.+)$", prose(str(page.relative_to(ROOT))), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            assert urlsplit(target).hostname in HOSTS, target
            continue
        path, _, anchor = target.partition("#")
        home = (ROOT / page).parent / path if path else ROOT / page
        assert home.exists(), f"{page} links to {target}, which is not there"
        assert home.resolve().is_relative_to(ROOT.resolve()), f"{page} links out of the project: {target}"
        if anchor and home.suffix == ".md":
            assert anchor in anchors(home.resolve()), f"{page} links to {target}, which has no such heading"


def test_every_page_is_on_the_map() -> None:
    targets = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", text_of("docs/index.md"))}
    assert {page.resolve() for page in DOCS.rglob("*.md")} - {(DOCS / "index.md").resolve()} <= targets


@pytest.mark.parametrize("page", names(sorted((DOCS / "decisions").glob("*.md"))))
def test_decisions_have_their_parts(page: str) -> None:
    assert list(sections(page))[:4] == ["Context", "Decision", "Rejected", "What follows"]


def project_files() -> Iterator[tuple[str, str]]:
    """Yield the name and text of every text file of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = listed.stdout.split("\0") if listed.returncode == 0 else names(ROOT.rglob("*.*"))
    for name in filter(None, found):
        # Names with a dot are environments, caches, and what starts the checks and so knows where.
        if name.startswith(".") or not (ROOT / name).is_file():
            continue
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def places() -> list[str]:
    """Return patterns of the places of this machine that no file of the project may name."""
    folders = {ROOT.resolve(), ROOT.resolve().parent, Path(sys.prefix).resolve(), Path.home()} - {Path("/")}
    found = [rf"(?<![\w.-]){re.escape(str(folder))}(?![\w.-])" for folder in sorted(folders)]
    beside = {path.name for path in ROOT.resolve().parent.iterdir()} - {path.name for path in ROOT.iterdir()}
    found += [rf"\.\./{re.escape(name)}(?![\w.-])" for name in sorted(beside - {ROOT.resolve().name})]
    return [*found, "extra-index-ur[l]", "--find-link[s]"]


def test_the_project_names_nobodys_machine() -> None:
    patterns = [re.compile(place) for place in places()]
    for name, text in project_files():
        hits = [found[0] for pattern in patterns if (found := pattern.search(text))]
        assert not hits, f"{name} names a place of this machine: {hits}"
