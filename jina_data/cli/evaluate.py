"""The command jina-data evaluate: one subcommand per measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, device


def _measured(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all subcommands share: models, device, --no-prompts, --quiet and --debug."""
    options = (
        click.option(
            "-m",
            "--model",
            "models",
            multiple=True,
            required=True,
            metavar="M",
            help="Embedding model: static, the folder or Hub name of a model (JinaBERT, jina-data or "
            "sentence-transformers), or onnx:MODEL. LABEL=M sets its name in the report. Repeatable.",
        ),
        device(),
        click.option(
            "--no-prompts",
            is_flag=True,
            help="Do not use the prompts of the model folder, nor the instructions of mteb tasks.",
        ),
        QUIET,
        DEBUG,
    )
    for option in reversed(options):
        command = option(command)
    return command


_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Output folder: results in the format of mteb under results/, and report.json. Existing results for the same "
    "model and data are reused.",
)


@click.group(name="evaluate")
def command() -> None:
    """Evaluate embedding models on mteb tasks, local files and negation triplets.

    The subcommands run tasks with mteb, except negation, which has its own measures. All except negation need
    pip install 'jina-data[torch,evaluate]'.

    \b
    Examples:
      jina-data evaluate mteb STS12 -m static -m trained/model -o scores
      jina-data evaluate sts pairs.parquet -m old=static -m new=trained/model
      jina-data evaluate negation negated -m static
    """


@command.command(name="negation")
@click.argument("triplets", metavar="TRIPLETS")
@COLUMNS
@click.option(
    "--split",
    type=click.Choice(["test", "train", "all"]),
    help="Split to read from a run folder of negate. Default: test if it exists, else all.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N triplets.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report to this JSON file.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a plot of the scores to this PNG file.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Number of bootstrap resamples for the confidence intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed of the resamples.")
@_measured
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
    no_prompts: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Evaluate on negation triplets (EasyNegation, HardNegation).

    EasyNegation is the share of negatives less similar to the anchor than the entailment is. HardNegation is the share
    of negatives less similar to the entailment than the anchor is. Both have confidence intervals of 95 %.

    TRIPLETS is the run folder of negate, or a file, folder or glob with the columns anchor, entailment (or positive)
    and negative (or negative_1, negative_2, ...).

    \b
    Example:
      jina-data evaluate negation negated -m static --plot negation.png
    """
    from jina_data.evaluate.negation import evaluate_negation
    from jina_data.evaluate.negation_table import plot_negation, print_negation
    from jina_data.evaluate.output import need_matplotlib, ready_file, writing
    from jina_data.evaluate.run import load_models
    from jina_data.evaluate.triplets import TripletReader
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles

    if plot_path is not None:
        need_matplotlib("--plot")
    for path in (json_path, plot_path):
        if path is not None:
            ready_file(path)
    reader = TripletReader.open(triplets, roles=parse_roles(columns), split=split, limit=limit)
    embedders, labels = load_models(models, device, prompts=not no_prompts)
    report = evaluate_negation(
        reader, embedders, labels=labels, seed=seed, resamples=resamples, progress=progress_for(quiet=quiet)
    )
    if json_path is not None:
        with writing(json_path):
            report.write(json_path)
    if plot_path is not None:
        with writing(plot_path):
            plot_negation(report, plot_path)
    if not quiet:
        print_negation(report)


def _evaluate(tasks: Sequence[str], models: Sequence[str], output: Path | None, *, quiet: bool, **options: Any) -> None:
    """Evaluate the models on the tasks, and print the table."""
    from jina_data.evaluate.run import EvaluateConfig, evaluate
    from jina_data.evaluate.tasks import print_tasks
    from jina_data.progress import progress_for

    config = EvaluateConfig(tasks=tasks, models=models, **options)
    report = evaluate(config, output, progress=progress_for(quiet=quiet))
    if not quiet:
        print_tasks(report)


@command.command(name="mteb")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@click.option(
    "--instruction",
    metavar="TEMPLATE",
    help="Prompt with {instruction}, in whose place a model gets the instruction of each task; none: no instructions. "
    "Default: as mteb has it for the model, or as the prompt for queries in the model folder shows it.",
)
@_OUTPUT
@_measured
def mteb(
    tasks: tuple[str, ...],
    output: Path | None,
    models: tuple[str, ...],
    device: str,
    instruction: str | None,
    *,
    no_prompts: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Evaluate on mteb tasks and benchmarks, and on local files.

    TASK is an mteb task such as STS12, an mteb benchmark such as "MTEB(eng, v2)", or local data: a Parquet file (with
    sentence1, sentence2 and score, for example), a folder of such files, or a prefix of file names, such as NAME for
    NAME.corpus.parquet, NAME.queries.parquet and NAME.qrels.parquet. KIND:PATH sets the kind of local data: sts,
    pair_classification, reranking, summarization, clustering, classification or retrieval.
    """
    _evaluate(tasks, models, output, device=device, quiet=quiet, prompts=not no_prompts, instruction=instruction)


@command.command(name="sts")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_OUTPUT
@_measured
def sts(
    files: tuple[str, ...],
    output: Path | None,
    models: tuple[str, ...],
    device: str,
    *,
    no_prompts: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Evaluate on sentence pairs with similarity scores (Spearman).

    The score is Spearman's correlation of the cosine similarities and the scores in the file. FILE is a Parquet file
    with the columns sentence1, sentence2 and score.
    """
    _evaluate([f"sts:{name}" for name in files], models, output, device=device, quiet=quiet, prompts=not no_prompts)


@command.command(name="retrieval")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@_OUTPUT
@_measured
def retrieval(
    prefixes: tuple[str, ...],
    output: Path | None,
    models: tuple[str, ...],
    device: str,
    *,
    no_prompts: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Evaluate retrieval over a corpus (nDCG@10).

    PREFIX is the common prefix of the files PREFIX.corpus.parquet (doc_id, title, text), PREFIX.queries.parquet
    (query_id, text) and PREFIX.qrels.parquet (query_id, doc_id, score), or a folder with such files.
    """
    _evaluate(
        [f"retrieval:{name}" for name in prefixes], models, output, device=device, quiet=quiet, prompts=not no_prompts
    )


@command.command(name="length")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@click.option(
    "--lengths",
    default="128,256,512,1024,2048,4096,8192",
    show_default=True,
    metavar="N,...",
    help="Maximum tokens per text, special tokens included, as a comma-separated list. Lengths above the limit of a "
    "model are skipped.",
)
@_OUTPUT
@_measured
def length(
    prefixes: tuple[str, ...],
    lengths: str,
    output: Path | None,
    models: tuple[str, ...],
    device: str,
    *,
    no_prompts: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Evaluate retrieval at several maximum text lengths (nDCG@10).

    Texts are truncated to each length with the tokenizer of the model. PREFIX is the same as for evaluate retrieval.
    With -o, a plot is written to DIR/length.png.
    """
    from jina_data.errors import UsageError
    from jina_data.evaluate.length import evaluate_length, plot_length, print_length
    from jina_data.evaluate.local import read_retrieval
    from jina_data.evaluate.mteb_tasks import need_mteb
    from jina_data.evaluate.output import need_matplotlib, writing
    from jina_data.evaluate.run import load_models
    from jina_data.progress import progress_for

    need_mteb("jina-data evaluate")
    if output is not None:
        need_matplotlib("the plot of evaluate length")
    try:
        token_counts = [int(length) for length in lengths.split(",")]
    except ValueError:
        raise UsageError(f"--lengths {lengths}: expected numbers separated by commas, such as 128,512") from None
    tasks = [data for prefix in prefixes for data in read_retrieval(prefix)]
    embedders, labels = load_models(models, device, prompts=not no_prompts)
    report = evaluate_length(
        tasks, embedders, lengths=token_counts, labels=labels, folder=output, progress=progress_for(quiet=quiet)
    )
    if output is not None:
        with writing(output):
            report.write(output / "report.json")
            plot_length(report, output / "length.png")
    if not quiet:
        print_length(report)
