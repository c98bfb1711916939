"""jina-data clean."""

from __future__ import annotations

from pathlib import Path

import click

from jina_data.cli.options import COLUMNS, RECIPE_SETTINGS, check_output, device, run_folder, run_switches


@click.command(name="clean")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@run_folder
@click.option(
    "-p",
    "--pipeline",
    "recipe",
    metavar="RECIPE",
    help="A shipped recipe (documents, sentences, pairs, triplets, jina-v1-pairs, jina-v1-triplets) or a YAML file. "
    "Default: by the roles of the columns.",
)
@COLUMNS
@RECIPE_SETTINGS
@click.option("--where", metavar="EXPR", help="Keep only rows for which this DuckDB expression is true; comes first.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Worker processes. Default: one for each core, fewer where there is little to read.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="What all processes together may hold, such as 4GB. Default: half of the machine's memory.",
)
@click.option(
    "--batch-rows",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    metavar="N",
    help="Rows that stages are handed at a time.",
)
@click.option("--seed", type=int, metavar="N", help="Seed of all choices. Default: the recipe's, else 0.")
@click.option(
    "--format",
    "out_format",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    show_default=True,
    help="Format of data/.",
)
@device()
@click.option(
    "--reuse",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="OLD_DIR",
    help="Take the scores of models over from an earlier run; only new texts are scored.",
)
@run_switches(
    overwrite="Replace an earlier run in DIR.",
    plan="Forecast rows, time, memory and disk from a sample; write nothing.",
)
def command(
    inputs: tuple[str, ...],
    output: Path | None,
    recipe: str | None,
    columns: tuple[str, ...],
    settings: tuple[str, ...],
    where: str | None,
    limit: int | None,
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
    """Clean raw corpora: filter, deduplicate, and account for every row.

    INPUT is a file, folder or glob (parquet, jsonl, json, csv, tsv; plain, .gz or .zst), a URL, or datasets:ID. The
    kept rows are in DIR/data, the dropped ones with their reasons in DIR/dropped, what became of every row in
    DIR/ledger, and a report in DIR/report.html. A run that was stopped goes on when the same command is given again.
    With --plan, a forecast of all this is printed instead.
    """
    from jina_data.clean.funnel import print_funnel
    from jina_data.clean.run import CleanConfig, RecipeChoice, clean, default_workers
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles
    from jina_data.run.memory import machine_bytes, parse_bytes

    check_output(output, plan=plan)
    choice, roles = RecipeChoice(recipe, settings, where, seed), parse_roles(columns)
    config = CleanConfig(
        recipe=choice,
        inputs=inputs,
        columns=roles,
        out_format=out_format,
        limit=limit,
        device=device,
        workers=workers or default_workers(inputs),
        memory_limit_bytes=parse_bytes(memory_limit) if memory_limit else machine_bytes() // 2,
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
