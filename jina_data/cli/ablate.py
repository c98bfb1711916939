"""The command jina-data ablate."""

from __future__ import annotations

from pathlib import Path

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, RECIPE_SETTINGS, REQUIRED_FOLDER, device


@click.command(name="ablate")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@REQUIRED_FOLDER
@click.option(
    "-t",
    "--task",
    "tasks",
    multiple=True,
    required=True,
    metavar="TASK",
    help="Evaluation task: a file, a prefix of files, or an mteb task, as for evaluate mteb. Repeatable.",
)
@click.option(
    "-p",
    "--pipeline",
    "recipe",
    default="pairs",
    show_default=True,
    metavar="RECIPE",
    help="Recipe with the filters to compare: a shipped recipe or a YAML file.",
)
@COLUMNS
@RECIPE_SETTINGS
@click.option(
    "-m",
    "--model",
    default="static",
    show_default=True,
    metavar="START",
    help="Model that every training run starts from, as for train.",
)
@click.option("--tokenizer", metavar="T", help="Tokenizer of a preset, as for train.")
@click.option(
    "--phase", type=click.Choice(["pairs", "triplets"]), default="pairs", show_default=True, help="Training phase."
)
@click.option(
    "--steps", type=click.IntRange(1), default=300, show_default=True, metavar="N", help="Steps per training run."
)
@click.option(
    "--batch-size", type=click.IntRange(2), default=256, show_default=True, metavar="N", help="Rows per step."
)
@click.option(
    "--learning-rate",
    type=float,
    metavar="X",
    help="Peak learning rate. Default: 2e-5; 0.01 for a static model.",
)
@click.option(
    "--max-length",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    metavar="N",
    help="Maximum number of tokens per text; longer texts are truncated.",
)
@click.option(
    "--seeds",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of training runs per variant, each with its own random seed.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Number of worker processes for cleaning. Default: one per CPU core, fewer for small files.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Memory target for cleaning, such as 4GB or 512MiB. Default: half of the machine's memory.",
)
@device()
@click.option("--keep-models", is_flag=True, help="Keep the trained models, not only their scores.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier ablation in DIR.")
@QUIET
@DEBUG
def command(
    inputs: tuple[str, ...],
    output: Path,
    tasks: tuple[str, ...],
    recipe: str,
    columns: tuple[str, ...],
    settings: tuple[str, ...],
    model: str,
    tokenizer: str | None,
    phase: str,
    steps: int,
    batch_size: int,
    learning_rate: float | None,
    max_length: int,
    seeds: int,
    workers: int | None,
    memory_limit: str | None,
    device: str,
    *,
    keep_models: bool,
    overwrite: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Compare cleaning filters: train and evaluate a model without filters, with each, and with all.

    INPUT is anything that clean reads. All training runs use the same start model, number of steps, batch size and
    seeds. The table of scores is printed and written to DIR/report.json; DIR/plot.png is a plot of it. To resume a
    stopped ablation, run the same command again.

    \b
    Example:
      jina-data ablate pairs.jsonl -o ablation -t STS12 --learning-rate 0.01
    """
    from jina_data.clean.recipe import Recipe
    from jina_data.clean.run import default_workers
    from jina_data.evaluate.ablation import AblateConfig, ablate
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles
    from jina_data.run.memory import memory_limit_bytes

    config = AblateConfig(
        recipe=Recipe.load(recipe, settings),
        inputs=inputs,
        columns=parse_roles(columns),
        tasks=tasks,
        model=model,
        tokenizer=tokenizer,
        phase="triplets" if phase == "triplets" else "pairs",
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        seeds=seeds,
        device=device,
        workers=workers or default_workers(inputs),
        memory_limit_bytes=memory_limit_bytes(memory_limit),
        keep_models=keep_models,
    )
    report = ablate(config, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        report.print()
