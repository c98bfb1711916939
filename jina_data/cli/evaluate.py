"""jina-data evaluate: one subcommand a measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jina_data.cli.options import COLUMNS, DEBUG, QUIET, device

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder


def _measured(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all measures share: which models, where they run, what is said."""
    options = (
        click.option(
            "-m",
            "--model",
            "models",
            multiple=True,
            required=True,
            metavar="M",
            help="An embedder: static, or a model by its name or folder, ours or of sentence-transformers; LABEL=M "
            "names it in the report. May be given several times.",
        ),
        device(),
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
    help="Keep results here: each in mteb's format under results/, and report.json. What is there is not run again.",
)


def _load(models: Sequence[str], device: str) -> tuple[list[Embedder], list[str]]:
    """Return the embedders that were named, and what they are called."""
    from jina_data.embed.base import STATIC
    from jina_data.embed.device import settle_device
    from jina_data.embed.load import load_embedder
    from jina_data.evaluate.output import model_labels

    given, names = zip(*map(_named, models), strict=True)
    labels = model_labels(given)
    where = settle_device(device) if set(names) != {STATIC} else "cpu"
    return [load_embedder(name, where) for name in names], labels


def _named(given: str) -> tuple[str, str]:
    """Return what a model is called, and its name: LABEL=M, or M for both."""
    from jina_data.errors import UsageError

    label, equals, name = given.partition("=")
    if not equals or Path(given).exists():
        return given, given
    if not label or not name:
        raise UsageError(f"--model {given}: expected M, or LABEL=M")
    return label, name


@click.group(name="evaluate")
def command() -> None:
    """Measure embedders: what a model gets right, with intervals that say how sure that is."""


@command.command(name="negation")
@click.argument("triplets", metavar="TRIPLETS")
@COLUMNS
@click.option(
    "--split",
    type=click.Choice(["test", "train", "all"]),
    help="Which triplets of a run folder of negate. Default: test where there are any.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N triplets.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report as JSON.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the scores as PNG.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples of the triplets for the intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the resamples.")
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
    quiet: bool,
    debug: bool,
) -> None:
    """Measure whether models tell a negation from what it negates: EasyNegation and HardNegation.

    TRIPLETS is a file, folder or pattern with the columns anchor, entailment (or positive) and negative (or
    negative_1, negative_2, ...), or the run folder of negate.
    """
    from jina_data.evaluate.negation import evaluate_negation
    from jina_data.evaluate.negation_table import plot_negation, print_negation
    from jina_data.evaluate.output import ready_file, writing
    from jina_data.evaluate.triplets import TripletReader
    from jina_data.progress import progress_for
    from jina_data.roles import parse_roles

    for path in (json_path, plot_path):
        if path is not None:
            ready_file(path)
    reader = TripletReader.open(triplets, roles=parse_roles(columns), split=split, limit=limit)
    loaded, labels = _load(models, device)
    report = evaluate_negation(
        reader, loaded, labels=labels, seed=seed, resamples=resamples, progress=progress_for(quiet=quiet)
    )
    if json_path is not None:
        with writing(json_path):
            report.write(json_path)
    if plot_path is not None:
        with writing(plot_path):
            plot_negation(report, plot_path)
    if not quiet:
        print_negation(report)


def _evaluate(tasks: Any, models: Sequence[str], device: str, output: Path | None, *, quiet: bool) -> None:
    """Run the models on the tasks that `tasks()` gives, write the report, print the table."""
    from jina_data.evaluate.mteb_tasks import need_mteb
    from jina_data.evaluate.output import writing
    from jina_data.evaluate.tasks import evaluate_tasks, print_tasks
    from jina_data.progress import progress_for

    need_mteb("jina-data evaluate")
    chosen = tasks()
    loaded, labels = _load(models, device)
    report = evaluate_tasks(chosen, loaded, labels=labels, folder=output, progress=progress_for(quiet=quiet))
    if output is not None:
        with writing(output):
            report.write(output / "report.json")
    if not quiet:
        print_tasks(report)


@command.command(name="mteb")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@_OUTPUT
@_measured
def mteb(
    tasks: tuple[str, ...], output: Path | None, models: tuple[str, ...], device: str, *, quiet: bool, debug: bool
) -> None:
    """Run tasks and benchmarks of mteb by their names, and local tasks.

    TASK is a task of mteb such as STS12, a benchmark such as "MTEB(eng, v2)", or files of yours: a Parquet file with
    sentence1, sentence2 and score, for example, a folder with such files, or what the names of several files begin
    with, such as NAME of NAME.corpus.parquet, NAME.queries.parquet and NAME.qrels.parquet. KIND:PATH says what files
    are: sts, pair_classification, reranking, summarization, clustering, classification or retrieval.
    """

    def named() -> Any:
        from jina_data.evaluate.mteb_tasks import tasks_named

        return tasks_named(tasks)

    _evaluate(named, models, device, output, quiet=quiet)


@command.command(name="sts")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_OUTPUT
@_measured
def sts(
    files: tuple[str, ...], output: Path | None, models: tuple[str, ...], device: str, *, quiet: bool, debug: bool
) -> None:
    """Measure whether models find alike what people find alike: Spearman's correlation over pairs of sentences.

    FILE is a Parquet file with the columns sentence1, sentence2 and score.
    """

    def named() -> Any:
        from jina_data.evaluate.mteb_tasks import tasks_named

        return tasks_named([f"sts:{name}" for name in files])

    _evaluate(named, models, device, output, quiet=quiet)


@command.command(name="retrieval")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@_OUTPUT
@_measured
def retrieval(
    prefixes: tuple[str, ...], output: Path | None, models: tuple[str, ...], device: str, *, quiet: bool, debug: bool
) -> None:
    """Measure what models find: nDCG@10 of a search over a corpus.

    PREFIX is what the files PREFIX.corpus.parquet (doc_id, title, text), PREFIX.queries.parquet (query_id, text) and
    PREFIX.qrels.parquet (query_id, doc_id, score) begin with, or a folder with such files.
    """

    def named() -> Any:
        from jina_data.evaluate.mteb_tasks import tasks_named

        return tasks_named([f"retrieval:{name}" for name in prefixes])

    _evaluate(named, models, device, output, quiet=quiet)


@command.command(name="length")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@click.option(
    "--lengths",
    default="128,256,512,1024,2048,4096,8192",
    show_default=True,
    metavar="N,...",
    help="How many tokens of a text are read, by the model's own tokenizer.",
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
    quiet: bool,
    debug: bool,
) -> None:
    """Measure what models find when they read only the first tokens of a text: nDCG@10 at several lengths.

    PREFIX is that of `evaluate retrieval`. With -o, DIR/length.png shows it.
    """
    from jina_data.errors import UsageError
    from jina_data.evaluate.length import evaluate_length, plot_length, print_length
    from jina_data.evaluate.local import read_retrieval
    from jina_data.evaluate.mteb_tasks import need_mteb
    from jina_data.evaluate.output import writing
    from jina_data.progress import progress_for

    need_mteb("jina-data evaluate")
    try:
        chosen = [int(one) for one in lengths.split(",")]
    except ValueError:
        raise UsageError(f"--lengths {lengths}: expected numbers with commas between, such as 128,512") from None
    tasks = [data for prefix in prefixes for data in read_retrieval(prefix)]
    loaded, labels = _load(models, device)
    report = evaluate_length(
        tasks, loaded, lengths=chosen, labels=labels, folder=output, progress=progress_for(quiet=quiet)
    )
    if output is not None:
        with writing(output):
            report.write(output / "report.json")
            plot_length(report, output / "length.png")
    if not quiet:
        print_length(report)
