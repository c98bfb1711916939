"""The command jina-data encode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jina_data.cli.options import DEBUG, QUIET, device, input_options

if TYPE_CHECKING:
    from jina_data.read import InputOptions


@click.command(name="encode")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Parquet file to write.",
)
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="M",
    help="Embedding model: static, the folder or Hub name of a model (JinaBERT, jina-data or "
    "sentence-transformers), or onnx:MODEL.",
)
@click.option("--column", metavar="NAME", help="Text column to encode. Default: text, or the only text column.")
@input_options
@click.option(
    "--vector-column", default="vector", show_default=True, metavar="NAME", help="Name of the column of vectors."
)
@click.option(
    "--vectors-only", is_flag=True, help="Write only the column of vectors, without the columns of the input."
)
@click.option(
    "--max-length",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of tokens per text; longer texts are truncated. Default: the limit of the model.",
)
@click.option(
    "--truncate-dim", type=click.IntRange(1), metavar="N", help="Keep only the first N dimensions of each vector."
)
@click.option(
    "--prompt",
    metavar="TEXT",
    help="Prompt to prepend to each text; none: no prompt. Default: the default prompt of the model, if it has one.",
)
@click.option(
    "--prompt-name",
    metavar="NAME",
    help="Prompt of the model by its name, such as query or document, instead of --prompt; none: no prompt.",
)
@click.option("--no-normalize", is_flag=True, help="Do not normalize vectors to length 1.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows.")
@device("the model")
@click.option("--overwrite", is_flag=True, help="Replace FILE or an unfinished run.")
@QUIET
@DEBUG
def command(
    inputs: tuple[str, ...],
    output: Path,
    model: str,
    column: str | None,
    input_options: InputOptions,
    vector_column: str,
    max_length: int | None,
    truncate_dim: int | None,
    prompt: str | None,
    prompt_name: str | None,
    limit: int | None,
    device: str,
    *,
    vectors_only: bool,
    no_normalize: bool,
    overwrite: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Encode a text column into vectors with an embedding model.

    INPUT is anything that clean reads. FILE holds the rows and columns of the input in the same order, with a column
    of vectors after them. --max-length, --truncate-dim and --no-normalize require a JinaBERT or a model saved by
    jina-data. To resume a stopped run, run the same command again.

    \b
    Examples:
      jina-data encode corpus.jsonl -o vectors.parquet -m static
      jina-data encode qa.csv -o vectors.parquet -m trained/model --column answer
    """
    from jina_data.embed.table import EncodeConfig, encode
    from jina_data.embed.vectors import choose_device
    from jina_data.progress import progress_for

    config = EncodeConfig(
        inputs=inputs,
        input=input_options,
        model=model,
        device=choose_device(device, model),
        max_length=max_length,
        truncate_dim=truncate_dim,
        prompt=prompt,
        prompt_name=prompt_name,
        normalize=not no_normalize,
        column=column,
        vector_column=vector_column,
        vectors_only=vectors_only,
        limit=limit,
    )
    report = encode(config, output, overwrite=overwrite, progress=progress_for(quiet=quiet))
    if not quiet:
        click.echo(f"{report.n_rows:,} vectors of {report.dim} dimensions: {report.path}")
