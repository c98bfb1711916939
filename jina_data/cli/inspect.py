"""jina-data inspect."""

from __future__ import annotations

from pathlib import Path

import click

from jina_data.cli.options import DEBUG


@click.command(name="inspect")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--stage", metavar="S", help="Only what this stage dropped.")
@click.option("--reason", metavar="R", help="Only what was dropped for this reason.")
@click.option(
    "--sample",
    "n_rows",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Dropped rows to show for each reason.",
)
@click.option("--row", metavar="FILE:ROW", help="What became of one row of the input.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample.")
@click.option("--width", type=click.IntRange(20), default=300, show_default=True, help="Characters to show of a text.")
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
    """Look at what a run dropped and why, or at what became of one row.

    DIR is the folder of a finished run. Shown are counts, and a seeded sample with partners. With --row, what became
    of one row: FILE as the run names it (its end is enough where that is clear), ROW counted from 0.
    """
    from jina_data.clean.inspection import Inspection

    inspection = Inspection.open(folder)
    if row is not None:
        click.echo(inspection.row_text(row, width=width))
        return
    for line in inspection.drops_text(stage=stage, reason=reason, n_rows=n_rows, seed=seed, width=width):
        click.echo(line)
