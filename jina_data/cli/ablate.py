"""jina-data ablate."""

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
    help="What to measure: a file, a prefix of files, or a task of mteb, as evaluate mteb takes it. May be given "
    "several times.",
)
@click.option(
    "-p",
    "--pipeline",
    "recipe",
    default="pairs",
    show_default=True,
    metavar="RECIPE",
    help="The filters: a shipped recipe or a YAML file.",
)
@COLUMNS
@RECIPE_SETTINGS
@click.option(
    "-m",
    "--model",
    default="static",
    show_default=True,
    metavar="START",
    help="Where every training starts, as train takes it.",
)
@click.option("--tokenizer", metavar="T", help="The tokenizer of a preset, as train takes it.")
@click.option(
    "--phase", type=click.Choice(["pairs", "triplets"]), default="pairs", show_default=True, help="What to train on."
)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, metavar="N", help="Steps of each.")
@click.option(
    "--batch-size", type=click.IntRange(2), default=256, show_default=True, metavar="N", help="Rows of a step."
)
@click.option("--learning-rate", type=float, metavar="X", help="Its peak. Default: that of train.")
@click.option(
    "--max-length", type=click.IntRange(1), default=128, show_default=True, metavar="N", help="Most tokens of a text."
)
@click.option(
    "--seeds", type=click.IntRange(2), default=3, show_default=True, metavar="N", help="Trainings of each variant."
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Worker processes of clean.")
@click.option("--memory-limit", metavar="SIZE", help="What clean may hold, such as 4GB.")
@device()
@click.option("--keep-models", is_flag=True, help="Keep what was trained; else only the scores stay.")
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
    """Show what each filter is worth: clean with none, each and all, train the same model, measure.

    INPUT is what clean takes. Every variant is trained from the same start, for as many steps of the same size, with
    the same seeds. The table is printed and in DIR/report.json, the plot in DIR/plot.png. An ablation that was stopped
    goes on when the same command is given again.
    """
    from jina_data.clean.recipe import Recipe
    from jina_data.clean.run import default_workers
    from jina_data.evaluate.ablation import AblateConfig, ablate
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles
    from jina_data.run.memory import machine_bytes, parse_bytes

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
        memory_limit_bytes=parse_bytes(memory_limit) if memory_limit else machine_bytes() // 2,
        keep_models=keep_models,
    )
    report = ablate(config, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        report.print()
