"""jina-data evaluate: one subcommand a measure."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(name="evaluate")
def command() -> None:
    """Measure embedders: what a model gets right, with intervals that say how sure that is."""


@command.command(name="negation")
@click.argument("triplets", metavar="TRIPLETS")
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="M",
    help="An embedder: static, or a sentence-transformers model by its name or folder; LABEL=M names it in the report. "
    "May be given several times.",
)
@click.option("-c", "--column", "columns", multiple=True, metavar="ROLE=COLUMN", help="Which column plays which role.")
@click.option(
    "--split",
    type=click.Choice(["test", "train", "all"]),
    help="Which triplets of a run folder of negate. Default: test where there are any.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N triplets.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as JSON.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), metavar="FILE", help="Draw the scores as PNG.")
@click.option(
    "--resamples",
    type=click.IntRange(100),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples of the triplets for the intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the resamples.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where models run; auto: a GPU where there is one.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def negation(
    triplets: str,
    models: tuple[str, ...],
    columns: tuple[str, ...],
    split: str | None,
    limit: int | None,
    json_path: Path | None,
    plot_path: Path | None,
    resamples: int,
    seed: int,
    device: str,
    *,
    quiet: bool,
    debug: bool,
) -> None:
    """Measure whether models tell a negation from what it negates: EasyNegation and HardNegation.

    TRIPLETS is a file, folder or pattern with the columns anchor, entailment (or positive) and negative (or
    negative_1, negative_2, ...), or the run folder of negate.
    """
    from jina_data.embed.base import load_embedder, settle_device
    from jina_data.evaluate.negation import evaluate_negation, model_labels
    from jina_data.evaluate.negation_shown import plot_negation, print_negation
    from jina_data.evaluate.triplets import TripletReader
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles

    reader = TripletReader.open(triplets, roles=parse_roles(columns), split=split, limit=limit)
    names = [name.partition("=")[2] or name for name in models]
    labels = model_labels([name.partition("=")[0] for name in models])
    where = settle_device(device) if set(names) != {"static"} else "cpu"
    loaded = [load_embedder(name, where) for name in names]
    report = evaluate_negation(
        reader, loaded, labels=labels, seed=seed, resamples=resamples, progress=progress_for(quiet=quiet)
    )
    if json_path is not None:
        report.write(json_path)
    if plot_path is not None:
        plot_negation(report, plot_path)
    if not quiet:
        print_negation(report)
