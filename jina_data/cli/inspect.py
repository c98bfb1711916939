"""The command jina-data inspect."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
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
@click.option(
    "--label",
    "label_stage",
    metavar="STAGE",
    help="Label rows that this stage dropped or kept, and estimate its precision and recall.",
)
@click.option(
    "-n",
    "n_labels",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="Number of rows to label, half of them dropped. 0: report on the stored labels.",
)
@click.option(
    "--near",
    is_flag=True,
    help="Label the rows nearest to the threshold, without estimates. Default: random rows of each band of the score.",
)
@click.option("--show-score", is_flag=True, help="Show the score of each row to label, which can bias the answers.")
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read labels from this JSONL file instead of the keyboard.",
)
@click.option(
    "--write-sample",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the rows to label to this JSONL file, with an empty keep.",
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
    label_stage: str | None,
    n_labels: int,
    labels_file: Path | None,
    write_sample: Path | None,
    *,
    near: bool,
    show_score: bool,
    debug: bool,
) -> None:
    """Show which rows a run dropped and why, or what happened to one row.

    DIR is the folder of a finished run of clean, mine or negate. By default, the command prints the number of dropped
    and unreadable rows per stage and reason, and a sample of them, each with its partner (for a duplicate, the row it
    matched). With --row, it prints whether the row was kept or dropped, its texts and its scores. FILE is a file name
    of the run or a unique ending of one; ROW counts from 0.

    With --label, the command shows dropped and kept rows in random order, and you press y or n for each. The labels are
    stored in DIR/labels. Then it prints how many of the dropped rows should be dropped (precision), and how many of the
    rows that should be dropped were dropped (recall).

    \b
    Examples:
      jina-data inspect cleaned --stage length --sample 10
      jina-data inspect cleaned --reason unreadable
      jina-data inspect cleaned --row corpus.jsonl:17
      jina-data inspect cleaned --label consistency -n 100
    """
    from jina_data.run.inspection import DropQuery

    if label_stage is not None:
        _label(ctx, folder, label_stage)
        return
    _check_without(ctx, LABEL_OPTIONS, "{} needs --label STAGE")
    inspection = _open(folder)
    if row is not None:
        _check_without(ctx, ROW_CONFLICTS, "--row shows one row, so {} has no effect; remove one of the two")
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


def _label(ctx: click.Context, folder: Path, stage: str) -> None:
    """Label rows of a stage, with the keyboard or a file, and print the report; or write the rows to label."""
    from jina_data.cli.label import label_rows
    from jina_data.labels.labelling import Labelling

    _check_without(ctx, LABEL_CONFLICTS, "--label shows rows to label, so {} has no effect; remove one of the two")
    given, written = ctx.params["labels_file"], ctx.params["write_sample"]
    if given is not None:
        _check_without(ctx, DRAW_OPTIONS, "--labels reads labels of rows chosen before, so {} has no effect; remove it")
    labelling = Labelling.open(folder, stage)
    draws = [] if given else labelling.sample(ctx.params["n_labels"], seed=ctx.params["seed"], near=ctx.params["near"])
    if written is not None:
        n_rows = labelling.write_sample(written, draws)
        click.echo(f"{n_rows:,} rows to label are in {written}. Set `keep` to true or false, and read it with --labels")
        return
    if given is not None:
        read = labelling.read(given)
        click.echo(f"{given}: {read.labels:,} labels, {read.new:,} of them new; {read.empty:,} rows without a label")
    else:
        label_rows(labelling, draws, show_score=ctx.params["show_score"])
        click.echo()
    for line in labelling.report().lines(shutil.get_terminal_size().columns):
        click.echo(line)


ROW_CONFLICTS = {"stage": "--stage", "reason": "--reason", "source": "--source", "n_rows": "--sample", "seed": "--seed"}
DRAW_OPTIONS = {
    **{"n_labels": "-n", "near": "--near", "seed": "--seed", "show_score": "--show-score"},
    "write_sample": "--write-sample",
}
LABEL_OPTIONS = {name: option for name, option in DRAW_OPTIONS.items() if name != "seed"} | {"labels_file": "--labels"}
LABEL_CONFLICTS = {name: option for name, option in ROW_CONFLICTS.items() if name != "seed"} | {
    **{"row": "--row", "width": "--width"}
}


def _check_without(ctx: click.Context, options: Mapping[str, str], message: str) -> None:
    """Check that none of the options is given; `message` has a place for its name.

    Raises:
        click.UsageError: one is.
    """
    for name, option in options.items():
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(message.format(option))
