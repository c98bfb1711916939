"""Options that several commands share, as decorators, and a check of the output folder."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from jina_data.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

COLUMNS = click.option(
    "-c",
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=COLUMN",
    help="Assign a column to a role: text, anchor, positive, negative, sentence1, sentence2 or source. Default: "
    "inferred from the input. Repeatable.",
)
RECIPE_SETTINGS = click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="STAGE.OPTION=VALUE",
    help="Override an option of the recipe, such as length.min_words=3. Repeatable.",
)
REQUIRED_FOLDER = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Output folder of the run."
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
DEBUG = click.option("--debug", is_flag=True, help="Show tracebacks of errors.")


# Not imported from jina_data.read, so that --help loads no other package; a test compares them.
INPUT_FORMATS = ("parquet", "arrow", "jsonl", "json", "csv", "tsv", "text")
TYPES = ("string", "int64", "double", "bool", "json")

_INPUT_OPTIONS = (
    click.option(
        "--input-format",
        "input_format",
        type=click.Choice(INPUT_FORMATS),
        help="Format of the input files. Default: by the suffix of the name.",
    ),
    click.option(
        "--encoding", metavar="NAME", help="Encoding of text files, such as cp1252. Default: UTF-8 or by mark."
    ),
    click.option("--delimiter", metavar="CHAR", help="Delimiter of CSV: a character, or tab. Default: detected."),
    click.option("--quote", metavar="CHAR", help="Quote of CSV: a character, or none. Default: detected."),
    click.option("--escape", metavar="CHAR", help="Escape of CSV: a character, or none. Default: detected."),
    click.option(
        "--header/--no-header", default=None, help="Whether the first record of CSV holds the names. Default: detected."
    ),
    click.option(
        "--skip-rows", type=click.IntRange(0), metavar="N", help="Lines of CSV before the header. Default: detected."
    ),
    click.option("--column-names", metavar="A,B,...", help="Names of the columns of CSV that has no header."),
    click.option(
        "--records", metavar="PATH", help="Path of the records in JSON, such as data[] or data[].paragraphs[].qas[]."
    ),
    click.option("--explode", metavar="COLUMN", help="Make a row of each item of a column of lists."),
    click.option(
        "--type",
        "types",
        multiple=True,
        metavar="COLUMN=TYPE",
        help=f"Type of a column: {', '.join(TYPES)}. Default: inferred. Repeatable.",
    ),
)


def input_options(function: Function) -> Function:
    """Add the options that tell how input files are written; the function gets them as `input_options`."""

    @functools.wraps(function)
    def command(*arguments: Any, **values: Any) -> Any:
        from jina_data.read.options import InputOptions

        set_types = [assignment.rpartition("=") for assignment in values.pop("types")]
        for name, equals, kind in set_types:
            if not (name and equals):
                raise UsageError(f"--type {kind}: expected COLUMN=TYPE, for example --type id=string")
        names = values.pop("column_names")
        values["input_options"] = InputOptions.make(
            format=values.pop("input_format"),
            types={name: kind for name, _, kind in set_types} or None,
            column_names=next(csv.reader([names], skipinitialspace=True)) if names else None,
            **{name: values.pop(name) for name in _SAME_NAMES},
        )
        return function(*arguments, **values)

    for option in reversed(_INPUT_OPTIONS):
        command = option(command)
    return cast(Function, command)


_SAME_NAMES = ("encoding", "delimiter", "quote", "escape", "header", "skip_rows", "records", "explode")


def device(work: str = "models") -> Callable[[Function], Function]:
    """Return a decorator that adds --device; `work` names in the help what runs on the device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help=f"Device for {work}; auto: a GPU if available, else the CPU.",
    )


def run_folder(function: Function) -> Function:
    """Add -o, the output folder of a run, which is optional for a plan."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Output folder of the run. Required unless --plan is given.",
    )(function)


def run_switches(*, overwrite: str, plan: str) -> Callable[[Function], Function]:
    """Return a decorator that adds --overwrite, --plan, --quiet and --debug; the arguments are help texts."""

    def add(function: Function) -> Function:
        # click lists the option that was added last first.
        for option in (
            DEBUG,
            QUIET,
            click.option("--plan", is_flag=True, help=plan),
            click.option("--overwrite", is_flag=True, help=overwrite),
        ):
            function = option(function)
        return function

    return add


def check_output(output: Path | None, *, plan: bool) -> None:
    """Check that an output folder is given, unless only a plan is printed.

    Raises:
        click.MissingParameter: `output` is None and `plan` is false.
    """
    if output is None and not plan:
        raise click.MissingParameter(param_hint="'-o' / '--output'", param_type="option")
