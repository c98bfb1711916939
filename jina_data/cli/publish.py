"""jina-data publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jina_data.cli.options import DEBUG

if TYPE_CHECKING:
    from jina_data.publish.preview import PublishPlan


@click.command(name="publish")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("repo_id", metavar="REPO_ID")
@click.option("--private", is_flag=True, help="Only you, or your organization, can see a repository that is made.")
@click.option(
    "--license",
    "license_id",
    metavar="ID",
    help="The licence of the whole, such as cc-by-4.0. Default: combined from those of the sources.",
)
@click.option("--source-license", "source_licenses", multiple=True, metavar="NAME=ID", help="The licence of a source.")
@click.option("--exclude-source", "excluded", multiple=True, metavar="NAME", help="Leave out the rows of a source.")
@click.option(
    "--test-size", metavar="SIZE", help="Split off a test of this share or number of rows, by groups that share a text."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the test split.")
@click.option(
    "--shard-size", default="500MB", show_default=True, metavar="SIZE", help="About how large a Parquet file may be."
)
@click.option(
    "--revision", metavar="BRANCH", help="The branch to commit to; made where it is not there. Default: main."
)
@click.option("--tag", metavar="NAME", help="Tag the commit.")
@click.option(
    "--dry-run",
    "dry_run",
    type=click.Path(path_type=Path),
    metavar="NEW_DIR",
    help="Write the repository to this folder instead, and send nothing.",
)
@click.option("--overwrite", is_flag=True, help="Replace card and shards of a repository that jina-data did not write.")
@click.option("--no-verify", is_flag=True, help="Do not load the published data back to compare it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings, errors and the address.")
@DEBUG
def command(
    folder: Path,
    repo_id: str,
    license_id: str | None,
    source_licenses: tuple[str, ...],
    excluded: tuple[str, ...],
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
    """Publish a finished run to the Hugging Face Hub.

    DIR is the folder of a finished run, or of a model that sentence-transformers loads; REPO_ID is NAMESPACE/NAME. The
    token is the one of `hf auth login`, or in HF_TOKEN. What goes public is shown first, and must be confirmed. A call
    that was cut off goes on when the same command is given again.
    """
    from jina_data.progress import progress_for
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
    done = publish(
        config,
        repo_id,
        overwrite=overwrite,
        confirm=lambda plan: _confirm(plan, yes=yes, quiet=quiet),
        progress=progress,
    )
    if done is None:
        click.echo("nothing was sent", err=True)
        raise click.exceptions.Exit(1)
    if not quiet:
        state = "published as" if done.is_new else "nothing to send: the Hub holds the same files at"
        click.echo(f"{state} commit {done.commit}", err=True)
    click.echo(done.url)


def _settle_bars(*, quiet: bool) -> None:
    """Leave the bars of the Hub's client to terminals."""
    import os

    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _confirm(plan: PublishPlan, *, yes: bool, quiet: bool) -> bool:
    """Show what will happen, and ask.

    Raises:
        UsageError: there is nobody to ask.
    """
    from jina_data.errors import UsageError
    from jina_data.publish.preview import warning_lines

    for line in warning_lines(plan.repository) if quiet and yes else plan.lines():
        click.echo(line, err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm what is shown above; say yes beforehand with --yes")
    return click.confirm("Publish this?", err=True)
