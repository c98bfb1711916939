"""The command jina-data inspect."""

from __future__ import annotations

from pathlib import Path

import click

from jina_data.cli.options import DEBUG


@click.command(name="inspect")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--stage", metavar="S", help="Show only rows dropped by this stage.")
@click.option("--reason", metavar="R", help="Show only rows dropped for this reason.")
@click.option(
    "--sample",
    "n_rows",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of dropped rows to show per reason.",
)
@click.option("--row", metavar="FILE:ROW", help="Show what happened to one row of the input.")
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
def command(
    folder: Path,
    stage: str | None,
    reason: str | None,
    n_rows: int,
    row: str | None,
    seed: int,
    width: int,
    *,
    debug: bool,
) -> None:
    """Show which rows a run dropped and why, or what happened to one row.

    DIR is the folder of a finished run of clean. By default, the command prints the number of dropped rows per stage
    and reason, and a sample of them, each with its partner (for a duplicate, the row it matched). With --row, it
    prints whether the row was kept or dropped, its texts and its scores. FILE is a file name of the run or a unique
    ending of one; ROW counts from 0.

    \b
    Examples:
      jina-data inspect cleaned --stage length --sample 10
      jina-data inspect cleaned --row corpus.jsonl:17
    """
    from jina_data.clean.inspection import Inspection

    inspection = Inspection.open(folder)
    if row is not None:
        click.echo(inspection.row_text(row, width=width))
        return
    for line in inspection.drops_text(stage=stage, reason=reason, n_rows=n_rows, seed=seed, width=width):
        click.echo(line)
