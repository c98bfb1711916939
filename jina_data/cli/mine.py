"""The command jina-data mine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, REQUIRED_FOLDER, device, input_options

if TYPE_CHECKING:
    from jina_data.read import InputOptions


@click.command(name="mine")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@REQUIRED_FOLDER
@click.option(
    "-m",
    "--embedder",
    default="static",
    show_default=True,
    metavar="M",
    help="Embedding model for the search: static, the folder or Hub name of a model (JinaBERT, jina-data or "
    "sentence-transformers), or onnx:MODEL.",
)
@click.option(
    "--corpus",
    multiple=True,
    metavar="INPUT",
    help="More candidate texts, in addition to the positives; same formats as the main INPUT. Repeatable.",
)
@COLUMNS
@input_options
@click.option(
    "--num-negatives", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Negatives per pair."
)
@click.option(
    "--range-min",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Skip the N most similar candidates, which may be false negatives. Applied after the score limits.",
)
@click.option(
    "--range-max",
    type=click.IntRange(1),
    metavar="N",
    help="Consider only the N most similar texts. Default: as many as needed.",
)
@click.option("--max-score", type=float, metavar="S", help="Maximum cosine similarity of a negative to the anchor.")
@click.option("--min-score", type=float, metavar="S", help="Minimum cosine similarity of a negative to the anchor.")
@click.option(
    "--absolute-margin",
    type=float,
    metavar="S",
    help="Reject candidates whose similarity to the anchor is above that of the positive minus S.",
)
@click.option(
    "--relative-margin",
    type=float,
    metavar="F",
    help="Reject candidates whose similarity to the anchor is above (1 - F) times that of the positive. 0.05 is a good "
    "start.",
)
@click.option(
    "--sampling-strategy",
    type=click.Choice(["top", "random"]),
    default="top",
    show_default=True,
    help="top: use the most similar candidates; random: draw a sample of the candidates.",
)
@click.option(
    "--cross-encoder",
    metavar="M",
    help="Cross-encoder that scores the candidates and rejects those that score close to the positive: folder or Hub "
    "name.",
)
@click.option(
    "--cross-margin",
    type=float,
    default=0.2,
    metavar="S",
    help="Reject candidates whose cross-encoder score, from 0 to 1, is above that of the positive minus S (0.2).",
)
@click.option(
    "--output-format",
    type=click.Choice(["triplet", "n-tuple"]),
    default="triplet",
    show_default=True,
    help="triplet: one row per negative; n-tuple: one row per pair, with negative_1, negative_2, ...",
)
@click.option(
    "--query-prompt",
    metavar="TEXT",
    help="Prompt to prepend to each anchor; none: no prompt. Default: the model's prompt for queries, if it has one.",
)
@click.option(
    "--corpus-prompt",
    metavar="TEXT",
    help="Prompt to prepend to each positive and candidate; none: no prompt. Default: the model's prompt for "
    "documents, if it has one.",
)
@click.option(
    "--audit-quantile",
    type=click.FloatRange(0, 1),
    default=0.5,
    metavar="F",
    help="Report how many negatives reach this quantile of the similarities of the positives (0.5).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N pairs.")
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed of --sampling-strategy random."
)
@device("models and search")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in DIR.")
@QUIET
@DEBUG
def command(
    inputs: tuple[str, ...],
    output: Path,
    corpus: tuple[str, ...],
    columns: tuple[str, ...],
    input_options: InputOptions,
    device: str,
    *,
    overwrite: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Mine hard negatives for pairs: texts close to the anchor that are not its positives.

    INPUT is the folder of a finished run of clean, or anything that clean reads; each row needs an anchor and a
    positive. DIR/data holds anchors, positives and negatives, DIR/dropped the pairs with too few negatives, DIR/ledger
    the outcome and the scores of every pair, and DIR/report.html an audit of possible false negatives. To resume a
    stopped run, run the same command again.

    \b
    Examples:
      jina-data mine cleaned -o mined --relative-margin 0.05
      jina-data mine pairs.csv -o mined --corpus passages.jsonl --num-negatives 5
      jina-data mine cleaned -o mined -m sentence-transformers/all-MiniLM-L6-v2
    """
    from jina_data.embed.vectors import choose_device
    from jina_data.mining.config import MineConfig
    from jina_data.mining.report import print_report
    from jina_data.mining.run import mine
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles

    settings = MineConfig(
        inputs=inputs,
        input=input_options,
        corpus=corpus,
        roles=parse_roles(columns),
        device=choose_device(device, options["embedder"]),
        **options,
    )
    report = mine(settings, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        print_report(report)
