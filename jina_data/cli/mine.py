"""jina-data mine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, REQUIRED_FOLDER, device


@click.command(name="mine")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@REQUIRED_FOLDER
@click.option(
    "-m",
    "--embedder",
    default="static",
    show_default=True,
    metavar="M",
    help="What finds texts that are close: static, or a model by its name or folder, ours or of sentence-transformers.",
)
@click.option(
    "--corpus",
    multiple=True,
    metavar="INPUT",
    help="More texts that may become negatives, beside the positives. May be given several times.",
)
@COLUMNS
@click.option(
    "--num-negatives", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Negatives of a pair."
)
@click.option(
    "--range-min",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Pass over the N closest candidates: they may be answers.",
)
@click.option(
    "--range-max",
    type=click.IntRange(1),
    metavar="N",
    help="Look only at the N closest texts. Default: as far as needed.",
)
@click.option("--max-score", type=float, metavar="S", help="A negative is at most this close to the anchor.")
@click.option("--min-score", type=float, metavar="S", help="A negative is at least this close to the anchor.")
@click.option(
    "--absolute-margin", type=float, metavar="S", help="A negative is by this much less close than the positive."
)
@click.option(
    "--relative-margin",
    type=float,
    metavar="F",
    help="A negative is by this share of it less close than the positive; 0.05 is a good start.",
)
@click.option(
    "--sampling-strategy",
    type=click.Choice(["top", "random"]),
    default="top",
    show_default=True,
    help="Take the closest candidates, or a seeded sample of them.",
)
@click.option(
    "--cross-encoder",
    metavar="M",
    help="A cross-encoder that reads anchor and candidate together, and refuses what it finds near the positive.",
)
@click.option(
    "--cross-margin",
    type=float,
    default=0.2,
    metavar="S",
    help="By how much the cross-encoder must find a negative worse than the positive, from 0 to 1 (0.2).",
)
@click.option(
    "--output-format",
    type=click.Choice(["triplet", "n-tuple"]),
    default="triplet",
    show_default=True,
    help="A row for each negative, or one for each pair with negative_1, negative_2, ...",
)
@click.option("--query-prompt", default="", metavar="TEXT", help="Put this in front of each anchor.")
@click.option("--corpus-prompt", default="", metavar="TEXT", help="Put this in front of each text of the corpus.")
@click.option(
    "--audit-quantile",
    type=click.FloatRange(0, 1),
    default=0.5,
    metavar="F",
    help="Count negatives as close to the anchor as this share of the positives (0.5).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N pairs.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random sample.")
@device("models and the search run")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in DIR.")
@QUIET
@DEBUG
def command(
    inputs: tuple[str, ...],
    output: Path,
    corpus: tuple[str, ...],
    columns: tuple[str, ...],
    device: str,
    *,
    overwrite: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Mine hard negatives for pairs: texts that are close to the anchor and no answers to it.

    INPUT is what `clean` reads, or the folder of a finished run: rows with an anchor and a positive. DIR/data gets
    anchor, positive and negative; DIR/dropped the pairs without enough of them, DIR/ledger what became of every pair,
    with scores, and DIR/report.html an audit. A run that was stopped goes on when the same command is given again.
    """
    from jina_data.embed.vectors import choose_device
    from jina_data.mining.config import MineConfig
    from jina_data.mining.report import print_report
    from jina_data.mining.run import mine
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles

    settings = MineConfig(
        inputs=inputs,
        corpus=corpus,
        roles=parse_roles(columns),
        device=choose_device(device, options["embedder"]),
        **options,
    )
    report = mine(settings, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        print_report(report)
