"""The command jina-data inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jina_data.cli.options import DEBUG

if TYPE_CHECKING:
    from jina_data.run.inspection import RunInspection


@click.command(name="inspect")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--stage", metavar="S", help="Show only rows dropped by this stage; read stands for rows that could not be read."
)
@click.option("--reason", metavar="R", help="Show only rows dropped for this reason, such as too_short or unreadable.")
@click.option("--source", metavar="NAME", help="Show only rows of this source.")
@click.option(
    "--sample",
    "n_rows",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of dropped rows to show per reason.",
)
@click.option(
    "--row",
    metavar="FILE:ROW",
    help="Show what happened to one row of the input. For a run of negate, the id of a pair.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed of the sample.")
@click.option(
    "--width",
    type=click.IntRange(20),
    default=300,
    show_default=True,
    metavar="N",
    help="Maximum number of characters to show per text.",
)
@DEBUG
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    stage: str | None,
    reason: str | None,
    source: str | None,
    n_rows: int,
    row: str | None,
    seed: int,
    width: int,
    *,
    debug: bool,
) -> None:
    """Show which rows a run dropped and why, or what happened to one row.

    DIR is the folder of a finished run of clean, mine or negate. By default, the command prints the number of dropped
    and unreadable rows per stage and reason, and a sample of them, each with its partner (for a duplicate, the row it
    matched). With --row, it prints whether the row was kept or dropped, its texts and its scores. FILE is a file name
    of the run or a unique ending of one; ROW counts from 0.

    \b
    Examples:
      jina-data inspect cleaned --stage length --sample 10
      jina-data inspect cleaned --reason unreadable
      jina-data inspect cleaned --row corpus.jsonl:17
    """
    from jina_data.run.inspection import DropQuery

    inspection = _open(folder)
    if row is not None:
        _check_alone(ctx)
        click.echo(inspection.row_text(row, width=width))
        return
    for line in inspection.drop_lines(DropQuery(stage, reason, source, n_rows, seed, width)):
        click.echo(line)


def _open(folder: Path) -> RunInspection:
    """Open a run by the kind in its manifest; `clean` also reports what is wrong with a folder without a run."""
    from jina_data.clean.inspection import Inspection
    from jina_data.run.folder import RunFolder

    manifest = RunFolder(folder).manifest
    kind = RunFolder(folder).read_json(manifest).get("kind") if manifest.is_file() else None
    if kind == "mine":
        from jina_data.mining.inspection import MineInspection

        return MineInspection.open(folder)
    if kind == "negate":
        from jina_data.negation.inspection import NegateInspection

        return NegateInspection.open(folder)
    return Inspection.open(folder)


def _check_alone(ctx: click.Context) -> None:
    """Check that --row comes without options about samples.

    Raises:
        click.UsageError: it does not.
    """
    for name, option in (
        ("stage", "--stage"),
        ("reason", "--reason"),
        ("source", "--source"),
        ("n_rows", "--sample"),
        ("seed", "--seed"),
    ):
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--row shows one row, so {option} has no effect; remove one of the two")
