"""jina-data encode."""

from __future__ import annotations

from pathlib import Path

import click

from jina_data.cli.options import DEBUG, QUIET, device


@click.command(name="encode")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The Parquet file to write.",
)
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="M",
    help="A folder or a name on the Hub: a JinaBERT, a model that jina-data saved, one of sentence-transformers; or "
    "static.",
)
@click.option("--column", metavar="NAME", help="The column with the texts. Default: text, or the only one with texts.")
@click.option(
    "--vector-column", default="vector", show_default=True, metavar="NAME", help="The column that holds the vectors."
)
@click.option("--vectors-only", is_flag=True, help="Leave the columns of the input out.")
@click.option(
    "--max-length", type=click.IntRange(1), metavar="N", help="Most tokens of a text. Default: what the model says."
)
@click.option("--truncate-dim", type=click.IntRange(1), metavar="N", help="Keep the first N dimensions.")
@click.option("--prompt", metavar="TEXT", help="Put this in front of each text.")
@click.option("--no-normalize", is_flag=True, help="Leave vectors as long as they are; else they get length 1.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows.")
@device("the model runs")
@click.option("--overwrite", is_flag=True, help="Replace FILE, and an unfinished run.")
@QUIET
@DEBUG
def command(
    inputs: tuple[str, ...],
    output: Path,
    model: str,
    column: str | None,
    vector_column: str,
    max_length: int | None,
    truncate_dim: int | None,
    prompt: str | None,
    limit: int | None,
    device: str,
    *,
    vectors_only: bool,
    no_normalize: bool,
    overwrite: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Turn the texts of a table into vectors, with any model.

    INPUT is what `clean` reads. FILE gets its columns, in its order, and a column of vectors behind them. A run that
    was stopped goes on when the same command is given again.
    """
    from jina_data.embed.table import EncodeConfig, encode
    from jina_data.embed.vectors import choose_device
    from jina_data.progress import progress_for

    config = EncodeConfig(
        inputs=inputs,
        model=model,
        device=choose_device(device, model),
        max_length=max_length,
        truncate_dim=truncate_dim,
        prompt=prompt,
        normalize=not no_normalize,
        column=column,
        vector_column=vector_column,
        vectors_only=vectors_only,
        limit=limit,
    )
    report = encode(config, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        click.echo(f"{report.n_rows:,} vectors of {report.dim} dimensions: {report.path}")
