"""Options that commands share, each a decorator, and the check that goes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

COLUMNS = click.option(
    "-c", "--column", "columns", multiple=True, metavar="ROLE=COLUMN", help="Which column plays which role."
)
RECIPE_SETTINGS = click.option(
    "-s", "--set", "settings", multiple=True, metavar="STAGE.OPTION=VALUE", help="Change an option of the recipe."
)
REQUIRED_FOLDER = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The run folder."
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
DEBUG = click.option("--debug", is_flag=True, help="Show tracebacks of errors.")


def device(what: str = "models run") -> Callable[[Function], Function]:
    """Add --device, with what it is that runs there."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help=f"Where {what}; auto: a GPU where there is one.",
    )


def run_folder(function: Function) -> Function:
    """Add -o, the folder of a run."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The run folder. Required, but for --plan.",
    )(function)


def run_switches(*, overwrite: str, plan: str) -> Callable[[Function], Function]:
    """Add --overwrite, --plan, --quiet and --debug, with what the first two do."""

    def add(function: Function) -> Function:
        # The last one that is added comes first in the help.
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
    """Make sure that a run has a folder.

    Raises:
        click.MissingParameter: it has none, and more than a plan is wanted.
    """
    if output is None and not plan:
        raise click.MissingParameter(param_hint="'-o' / '--output'", param_type="option")
