"""The command jina-data train: one subcommand per phase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, REQUIRED_FOLDER, device
from jina_data.errors import UsageError


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all phases share."""
    for option in reversed(_SHARED):
        function = option(function)
    return function


_SHARED = [
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    REQUIRED_FOLDER,
    COLUMNS,
    click.option(
        "--tokenizer",
        metavar="T",
        help="Tokenizer of a preset: a tokenizer.json, the folder of a model, or train:VOCAB to train a WordPiece "
        "tokenizer with VOCAB tokens on the input.",
    ),
    click.option("--steps", type=click.IntRange(1), metavar="N", help="Number of training steps, instead of --epochs."),
    click.option("--epochs", type=float, metavar="E", help="Number of passes over all rows (1)."),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=256,
        show_default=True,
        metavar="N",
        help="Rows per step, over all processes.",
    ),
    click.option(
        "--learning-rate",
        type=float,
        metavar="R",
        help="Peak learning rate. Default: 2e-5; 1e-3 for mlm; 0.01 for a static model.",
    ),
    click.option(
        "--schedule",
        type=click.Choice(["linear", "cosine", "constant"]),
        default="linear",
        show_default=True,
        help="Learning-rate schedule after the warmup; linear and cosine end at 0.",
    ),
    click.option(
        "--warmup-steps",
        type=click.IntRange(0),
        metavar="N",
        help="Steps of linear warmup. Default: a tenth of all steps.",
    ),
    click.option("--weight-decay", type=float, metavar="W", help="Weight decay, except for biases and norms (0.01)."),
    click.option("--max-grad-norm", type=float, metavar="G", help="Clip the gradient norm to this value (1.0)."),
    click.option(
        "--average-start",
        type=float,
        metavar="A",
        help="Save A x initial weights + (1 - A) x trained weights, with 0 <= A < 1 (0: off).",
    ),
    click.option(
        "--weights",
        multiple=True,
        metavar="SOURCE=W",
        help="Sampling weight of a source. Sources without a weight are not used. Default: see --source-rates. "
        "Repeatable.",
    ),
    click.option(
        "--source-rates",
        default="size",
        show_default=True,
        metavar="RULE",
        help="How often each source is drawn if --weights is not given: size (proportional to the number of rows n) or "
        "temperature:T (proportional to n to the power 1/T).",
    ),
    click.option(
        "--micro-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="Tokens per micro-batch. Also enables GradCache for pairs and triplets. Default: set by model and device, "
        "without GradCache.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Precision of the computations in the model; weights and losses stay in fp32.",
    ),
    click.option(
        "--gradient-checkpointing", is_flag=True, help="Recompute activations in the backward pass, to save memory."
    ),
    click.option("--compile", is_flag=True, help="Compile parts of the model with torch.compile."),
    click.option(
        "--eval",
        "eval_files",
        multiple=True,
        metavar="FILE",
        help="Table to evaluate on, with the columns sentence1, sentence2 and score; or anchor, positive and "
        "optionally negative. Repeatable.",
    ),
    click.option(
        "--eval-every",
        type=click.IntRange(1),
        metavar="N",
        help="Steps between evaluations. Default: before and after training only.",
    ),
    click.option(
        "--save-every",
        type=click.IntRange(1),
        metavar="N",
        help="Steps between checkpoints. Default: a tenth of all steps.",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Random seed."),
    device("training"),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier run in DIR."),
    QUIET,
    DEBUG,
]

MODEL = click.option(
    "--model",
    required=True,
    metavar="START",
    help="Model to start from: static, a preset with random weights (such as jina-bert-small or t5-base), or the "
    "folder or Hub name of a model. A preset requires --tokenizer.",
)
TEMPERATURE = click.option(
    "--temperature", type=float, metavar="T", help="Temperature of the loss, by which cosines are divided (0.05)."
)
PROMPTS = (
    click.option(
        "--query-prompt",
        metavar="TEXT",
        help="Prompt to prepend to each anchor, saved with the model; none: no prompt. Default: the model's prompt for "
        "queries, if it has one.",
    ),
    click.option(
        "--corpus-prompt",
        metavar="TEXT",
        help="Prompt to prepend to each positive and negative, saved with the model; none: no prompt. Default: the "
        "model's prompt for documents, if it has one.",
    ),
)
NO_IN_BATCH = click.option(
    "--no-in-batch",
    multiple=True,
    metavar="SOURCE",
    help="Source without in-batch negatives, only with hard negatives. Repeatable.",
)
MAX_LENGTH = click.option(
    "--max-length",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    metavar="N",
    help="Maximum number of tokens per text; longer texts are truncated.",
)


def prompts(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the prompts."""
    for option in reversed(PROMPTS):
        function = option(function)
    return function


@click.group(name="train")
def command() -> None:
    """Train an embedding model with masked language modelling, pairs or triplets.

    INPUT of each phase is a run folder of clean, mine or negate, a Parquet file, folder or glob, or anything else that
    clean reads. DIR/model holds the trained model. To resume a stopped run, run the same command again; on a CPU, the
    weights are the same as without the stop.

    \b
    Examples:
      jina-data train pairs cleaned -o trained --model static --learning-rate 0.01
      jina-data train triplets mined -o tuned --model trained
      torchrun --nproc-per-node 2 -m jina_data train pairs cleaned -o trained ...
    """


@command.command()
@shared
@click.option(
    "--preset",
    type=click.Choice(["tiny", "small", "base", "large"]),
    help="Size of a new JinaBERT with random weights. Requires --tokenizer.",
)
@click.option(
    "--model", metavar="START", help="JinaBERT to continue with, instead of --preset: folder of a model or run."
)
@click.option(
    "--max-length",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Maximum number of tokens per document; longer documents are truncated.",
)
@click.option("--mask-share", type=float, metavar="S", help="Share of the words to mask (0.3).")
def mlm(preset: str | None, model: str | None, **options: Any) -> None:
    """Pre-train a JinaBERT with masked language modelling.

    INPUT is described in jina-data train --help. It needs the role text, or anchor and positive, each of which is then
    a document. Give either --preset or --model.

    \b
    Example:
      jina-data train mlm cleaned -o words --preset tiny --tokenizer train:8000
    """
    if (preset is None) == (model is None):
        raise UsageError("give either --preset, to start a new JinaBERT, or --model, to continue with an existing one")
    _train("mlm", model=model or f"jina-bert-{preset}", **options)


@command.command()
@shared
@MODEL
@MAX_LENGTH
@TEMPERATURE
@prompts
def pairs(**options: Any) -> None:
    """Train on pairs with in-batch negatives (InfoNCE).

    INPUT is described in jina-data train --help. It needs the roles anchor and positive.

    \b
    Example:
      jina-data train pairs cleaned -o trained --model words
    """
    _train("pairs", **options)


@command.command()
@shared
@MODEL
@MAX_LENGTH
@TEMPERATURE
@prompts
@NO_IN_BATCH
@click.option(
    "--loss",
    type=click.Choice(["v1", "v2"]),
    default="v2",
    show_default=True,
    help="v1: InfoNCE with hard negatives, plus a margin term; v2: InfoNCE with hard negatives.",
)
@click.option("--margin", type=float, metavar="M", help="Margin of --loss v1, in cosine similarity (0.05).")
def triplets(**options: Any) -> None:
    """Train on triplets with hard and in-batch negatives.

    INPUT is described in jina-data train --help. It needs the roles anchor, positive and negative; a row has one or
    more negatives.

    \b
    Example:
      jina-data train triplets mined negated -o tuned --model trained
    """
    _train("triplets", **options)


def _train(
    phase: Any,
    *,
    output: Path,
    weights: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Make settings of the options, train, and print the report."""
    from jina_data.progress import progress_for
    from jina_data.train import TrainConfig, Trainer

    settings = {name: value for name, value in options.items() if value is not None}
    config = TrainConfig(phase=phase, weights=dict(map(_weight, weights)), **settings)
    report = Trainer(config, output, overwrite=overwrite, progress=progress_for(quiet=quiet)).run()
    if not quiet:
        for line in report.lines():
            click.echo(line)


def _weight(assignment: str) -> tuple[str, float]:
    source, _, number = assignment.rpartition("=")
    try:
        return source, float(number)
    except ValueError:
        raise UsageError(f"--weights {assignment}: expected SOURCE=W, for example --weights snli=2") from None
