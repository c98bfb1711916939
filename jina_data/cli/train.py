"""jina-data train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, REQUIRED_FOLDER, device
from jina_data.errors import UsageError


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all phases have."""
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
        help="Of a preset: a tokenizer.json, the folder of a model, or train:VOCAB to learn WordPiece from the input.",
    ),
    click.option("--steps", type=click.IntRange(1), metavar="N", help="Steps to train. Default: --epochs."),
    click.option("--epochs", type=float, metavar="E", help="How often all rows are seen. Default: once."),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=256,
        show_default=True,
        metavar="N",
        help="Rows of a step, over all processes.",
    ),
    click.option("--learning-rate", type=float, metavar="R", help="Its peak. Default: 2e-5, for mlm 1e-3."),
    click.option(
        "--schedule",
        type=click.Choice(["linear", "cosine", "constant"]),
        default="linear",
        show_default=True,
        help="How the learning rate comes down.",
    ),
    click.option(
        "--warmup-steps", type=click.IntRange(0), metavar="N", help="Steps to the peak. Default: a tenth of all."
    ),
    click.option("--weight-decay", type=float, metavar="W", help="Of matrices; biases and norms have none (0.01)."),
    click.option("--max-grad-norm", type=float, metavar="G", help="Longer gradients are cut to this length (1.0)."),
    click.option(
        "--average-start",
        type=float,
        metavar="A",
        help="Average the trained weights with those of the start, which weigh A (0).",
    ),
    click.option("--weights", multiple=True, metavar="SOURCE=W", help="How often a source is drawn, in proportion."),
    click.option(
        "--source-rates",
        default="size",
        show_default=True,
        metavar="RULE",
        help="How often sources are drawn: size, or temperature:T for size to the power 1/T.",
    ),
    click.option(
        "--micro-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="Tokens that go through the model at a time; turns GradCache on for pairs and triplets.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Of the model's computations; weights and losses stay in fp32.",
    ),
    click.option("--gradient-checkpointing", is_flag=True, help="Save memory: compute layers twice."),
    click.option("--compile", is_flag=True, help="Let torch.compile fuse parts of the model."),
    click.option(
        "--eval",
        "eval_files",
        multiple=True,
        metavar="FILE",
        help="Evaluate on a table: sentence1, sentence2, score; or anchor, positive and maybe negative.",
    ),
    click.option("--eval-every", type=click.IntRange(1), metavar="N", help="Steps between evaluations."),
    click.option(
        "--save-every", type=click.IntRange(1), metavar="N", help="Steps between checkpoints. Default: a tenth of all."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Of all choices."),
    device("the model is trained"),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier run in DIR."),
    QUIET,
    DEBUG,
]

MODEL = click.option(
    "--model",
    required=True,
    metavar="START",
    help="What training starts from: a preset (jina-bert-small, t5-base ...), static, the folder of a model or of a "
    "run, or a name on the Hub.",
)
TEMPERATURE = click.option("--temperature", type=float, metavar="T", help="Cosines are divided by it (0.05).")
NO_IN_BATCH = click.option(
    "--no-in-batch", multiple=True, metavar="SOURCE", help="A source whose rows are no negatives of each other."
)
MAX_LENGTH = click.option(
    "--max-length",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    metavar="N",
    help="Most tokens of a text; more are cut off.",
)


@click.group(name="train")
def command() -> None:
    """Train an embedding model on clean data: masked words, pairs, triplets.

    INPUT is a run folder of clean, mine or negate, a Parquet file, folder or pattern, or anything else that clean
    reads. A run that was stopped goes on to the same weights when the same command is given again. Several GPUs:
    torchrun --nproc-per-node N -m jina_data train ...
    """


@command.command()
@shared
@click.option(
    "--preset",
    type=click.Choice(["tiny", "small", "base", "large"]),
    help="The size of a JinaBERT to start, with --tokenizer.",
)
@click.option("--model", metavar="START", help="Or a JinaBERT to go on with: the folder of a model or of a run.")
@click.option(
    "--max-length",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Most tokens of a document; more are cut off.",
)
@click.option("--mask-share", type=float, metavar="S", help="The share of words that are hidden (0.3).")
def mlm(preset: str | None, model: str | None, **options: Any) -> None:
    """Pre-train a JinaBERT: guess the words hidden in documents."""
    if (preset is None) == (model is None):
        raise UsageError("name either --preset, to start a JinaBERT, or --model, to go on with one")
    _train("mlm", model=model or f"jina-bert-{preset}", **options)


@command.command()
@shared
@MODEL
@MAX_LENGTH
@TEMPERATURE
@NO_IN_BATCH
def pairs(**options: Any) -> None:
    """Train on pairs: each text finds its partner among those of the batch."""
    _train("pairs", **options)


@command.command()
@shared
@MODEL
@MAX_LENGTH
@TEMPERATURE
@NO_IN_BATCH
@click.option(
    "--loss",
    type=click.Choice(["v1", "v2"]),
    default="v2",
    show_default=True,
    help="v1: with a margin between positive and negative; v2: hard negatives in InfoNCE alone.",
)
@click.option("--margin", type=float, metavar="M", help="The margin of v1 (0.05).")
def triplets(**options: Any) -> None:
    """Train on triplets: anchors, positives, and one or more hard negatives each."""
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
    """Turn options into settings, train, and print the report."""
    from jina_data.progress import progress_for
    from jina_data.train import TrainConfig, Trainer

    given = {name: value for name, value in options.items() if value is not None}
    config = TrainConfig(phase=phase, weights=dict(map(_weight, weights)), **given)
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
