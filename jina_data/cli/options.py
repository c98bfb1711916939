"""Options that several commands share, as decorators, and a check of the output folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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
