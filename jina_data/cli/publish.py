"""The command jina-data publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jina_data.cli.options import DEBUG

if TYPE_CHECKING:
    from jina_data.publish.preview import PublishPreview


@click.command(name="publish")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("repo_id", metavar="REPO_ID")
@click.option("--private", is_flag=True, help="Create the repository as private.")
@click.option(
    "--license",
    "license_id",
    metavar="ID",
    help="License of the repository, such as cc-by-4.0. Default: combined from the licenses of the sources.",
)
@click.option(
    "--source-license",
    "source_licenses",
    multiple=True,
    metavar="NAME=ID",
    help="License of a source, such as snli=cc-by-sa-4.0. Repeatable.",
)
@click.option(
    "--exclude-source", "excluded", multiple=True, metavar="NAME", help="Leave out the rows of a source. Repeatable."
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    metavar="CODE",
    help="Language of the texts for the card, such as en. Default: those of the stage language. Repeatable.",
)
@click.option(
    "--test-size",
    metavar="SIZE",
    help="Create a test split with this fraction (0.05) or number (1000) of rows. Rows that share a text other than "
    "a negative stay in one split.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed of the test split.")
@click.option(
    "--shard-size",
    default="500MB",
    show_default=True,
    metavar="SIZE",
    help="Approximate maximum size of a Parquet file.",
)
@click.option("--revision", metavar="BRANCH", help="Branch to commit to; created if it does not exist. Default: main.")
@click.option("--tag", metavar="NAME", help="Tag to create for the commit.")
@click.option(
    "--dry-run",
    "dry_run",
    type=click.Path(path_type=Path),
    metavar="NEW_DIR",
    help="Write the repository to this new folder, and send nothing.",
)
@click.option("--overwrite", is_flag=True, help="Replace the card and shards of a repository not written by jina-data.")
@click.option("--no-verify", is_flag=True, help="Do not load and compare the data after publishing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings, errors and the URL only.")
@DEBUG
def command(
    folder: Path,
    repo_id: str,
    license_id: str | None,
    source_licenses: tuple[str, ...],
    excluded: tuple[str, ...],
    languages: tuple[str, ...],
    test_size: str | None,
    seed: int,
    shard_size: str,
    revision: str | None,
    tag: str | None,
    dry_run: Path | None,
    *,
    private: bool,
    overwrite: bool,
    no_verify: bool,
    yes: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Publish a finished run or a trained model to the Hugging Face Hub.

    DIR is the folder of a finished run, or of a model that sentence-transformers loads; REPO_ID is NAMESPACE/NAME. The
    token is that of hf auth login, or HF_TOKEN. The command prints what it will publish and asks for confirmation. To
    resume an interrupted upload, run the same command again.

    \b
    Examples:
      jina-data publish cleaned me/my-pairs --license cc-by-4.0 --dry-run preview
      jina-data publish cleaned me/my-pairs --license cc-by-4.0 --private
    """
    from jina_data.progress import progress_for
    from jina_data.publish.card import check_languages
    from jina_data.publish.flow import PublishConfig, publish, write_repository
    from jina_data.publish.licenses import parse_source_licenses
    from jina_data.publish.preview import size_lines, warning_lines
    from jina_data.publish.split import parse_test_size
    from jina_data.run.memory import parse_bytes

    config = PublishConfig(
        folder=folder,
        license=license_id,
        source_licenses=parse_source_licenses(source_licenses),
        excluded_sources=excluded,
        languages=check_languages(languages),
        test_size=parse_test_size(test_size) if test_size is not None else None,
        seed=seed,
        shard_bytes=parse_bytes(shard_size),
        private=private,
        revision=revision,
        tag=tag,
        verify=not no_verify,
    )
    progress = progress_for(quiet=quiet)
    if dry_run is not None:
        repository = write_repository(config, repo_id, dry_run, progress=progress)
        for line in (*size_lines(repository), *warning_lines(repository)):
            click.echo(line, err=True)
        click.echo(str(dry_run))
        return
    _settle_bars(quiet=quiet)
    published = publish(
        config,
        repo_id,
        overwrite=overwrite,
        confirm=lambda preview: _confirm(preview, yes=yes, quiet=quiet),
        progress=progress,
    )
    if published is None:
        click.echo("cancelled; nothing was sent", err=True)
        raise click.exceptions.Exit(1)
    if not quiet:
        state = "published as" if published.is_new else "nothing to send: the Hub holds the same files at"
        click.echo(f"{state} commit {published.commit}", err=True)
    click.echo(published.url)


def _settle_bars(*, quiet: bool) -> None:
    """Turn off the progress bars of the Hub client with --quiet or outside a terminal."""
    import os

    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _confirm(preview: PublishPreview, *, yes: bool, quiet: bool) -> bool:
    """Print the preview and ask for confirmation; with `yes`, do not ask.

    Raises:
        UsageError: standard input is not a terminal, so confirmation is not possible.
    """
    from jina_data.errors import UsageError
    from jina_data.publish.preview import warning_lines

    for line in warning_lines(preview.repository) if quiet and yes else preview.lines():
        click.echo(line, err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "cannot ask for confirmation: standard input is not a terminal. To confirm the above, add --yes"
        )
    return click.confirm("Publish this?", err=True)
