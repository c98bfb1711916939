"""The command jina-data clean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jina_data.cli.options import (
    COLUMNS,
    RECIPE_SETTINGS,
    check_output,
    device,
    input_options,
    run_folder,
    run_switches,
)

if TYPE_CHECKING:
    from jina_data.read import InputOptions


@click.command(name="clean")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@run_folder
@click.option(
    "-p",
    "--pipeline",
    "recipe",
    metavar="RECIPE",
    help="Shipped recipe (documents, sentences, pairs, triplets, jina-v1-pairs, jina-v1-triplets) or a YAML file. "
    "Default: one of the first four, chosen by the roles of the columns.",
)
@COLUMNS
@input_options
@RECIPE_SETTINGS
@click.option(
    "--where",
    metavar="EXPR",
    help="Keep only rows for which this DuckDB expression is true. Applied before all other stages.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows.")
@click.option(
    "--max-unreadable",
    type=click.FloatRange(0, 1),
    default=0.5,
    metavar="SHARE",
    help="Stop if more than this share of the records of a file cannot be read (0.5).",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Number of worker processes. Default: one per CPU core, fewer for small files.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Memory target for all processes together, such as 4GB or 512MiB. Default: half of the machine's memory.",
)
@click.option(
    "--batch-rows",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    metavar="N",
    help="Rows passed to a stage at a time; does not change the result.",
)
@click.option("--seed", type=int, metavar="N", help="Random seed. Default: the seed of the recipe, else 0.")
@click.option(
    "--format",
    "out_format",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    show_default=True,
    help="File format of the kept rows in DIR/data.",
)
@device()
@click.option(
    "--reuse",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="OLD_DIR",
    help="Reuse the model scores of an earlier run, so that only new texts are scored. Repeatable.",
)
@run_switches(
    overwrite="Replace an earlier run in DIR.",
    plan="Print an estimate of rows, time, memory and disk use from a sample, and write nothing.",
)
def command(
    inputs: tuple[str, ...],
    output: Path | None,
    recipe: str | None,
    columns: tuple[str, ...],
    input_options: InputOptions,
    settings: tuple[str, ...],
    where: str | None,
    limit: int | None,
    max_unreadable: float,
    workers: int | None,
    memory_limit: str | None,
    batch_rows: int,
    seed: int | None,
    out_format: str,
    device: str,
    reuse: tuple[Path, ...],
    *,
    overwrite: bool,
    plan: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Clean training data: filter and deduplicate rows, and record what happened to each row.

    INPUT is a file, folder or glob (parquet, jsonl, json, csv, tsv; plain, .gz or .zst), a URL, or datasets:ID.
    DIR/data holds the kept rows, DIR/dropped the dropped rows with their reasons, DIR/ledger the outcome of every row,
    and DIR/report.html a report. To resume a stopped run, run the same command again.

    \b
    Examples:
      jina-data clean corpus.jsonl -o cleaned
      jina-data clean qa.csv -o cleaned -c anchor=question -c positive=answer
      jina-data clean corpus.jsonl -o cleaned --plan
    """
    from jina_data.clean.funnel import print_funnel
    from jina_data.clean.run import CleanConfig, RecipeChoice, clean, default_workers
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles
    from jina_data.run.memory import memory_limit_bytes

    check_output(output, plan=plan)
    choice, roles = RecipeChoice(recipe, settings, where, seed), parse_roles(columns)
    config = CleanConfig(
        recipe=choice,
        inputs=inputs,
        input=input_options,
        columns=roles,
        out_format=out_format,
        limit=limit,
        max_unreadable=max_unreadable,
        device=device,
        workers=workers or default_workers(inputs),
        memory_limit_bytes=memory_limit_bytes(memory_limit),
        batch_rows=batch_rows,
        reuse=reuse,
    )
    progress = progress_for(quiet=quiet)
    if plan:
        from jina_data.forecast.forecast import forecast
        from jina_data.forecast.table import print_forecast

        print_forecast(forecast(config, output, overwrite=overwrite, progress=progress))
        return
    assert output is not None
    report = clean(config, output, overwrite=overwrite, progress=progress)
    if not quiet:
        print_funnel(report)
