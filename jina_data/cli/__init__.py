"""The command line: one module per command, imported when the command is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from jina_data.errors import JinaDataError

COMMANDS = {
    "clean": "Clean training data: filter and deduplicate rows, and record what happened to each row.",
    "inspect": "Show which rows a run dropped and why, or what happened to one row.",
    "negate": "Generate triplets from pairs by writing a negation of each entailment.",
    "mine": "Mine hard negatives for pairs: texts close to the anchor that are not its positives.",
    "encode": "Encode a text column into vectors with an embedding model.",
    "train": "Train an embedding model with masked language modelling, pairs or triplets.",
    "evaluate": "Evaluate embedding models on mteb tasks, local files and negation triplets.",
    "ablate": "Compare cleaning filters: train and evaluate a model without filters, with each, and with all.",
    "publish": "Publish a finished run or a trained model to the Hugging Face Hub.",
    "schema": "Print the JSON Schema of recipes, for editors.",
}


class _Commands(click.Group):
    """A group that imports the module of a command only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"jina_data.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jina-data", prog_name="jina-data")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """Prepare training data for embedding models, and train and evaluate them.

    Run jina-data COMMAND --help for the options of a command.
    """
    ctx.obj = {"debug": debug}


def main() -> None:
    """Run the command line and exit with status 0 (success), 1 (failure) or 2 (wrong usage)."""
    debug = "--debug" in sys.argv[1:]
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Error: stopped", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except JinaDataError as error:
        if debug:
            raise
        click.echo(f"Error: {_plain(str(error))}", err=True)
        sys.exit(error.exit_status)
    except Exception as error:
        if debug:
            raise
        if (problem := _resource_problem(error)) is not None:
            click.echo(f"Error: {problem} and run the same command again", err=True)
            sys.exit(1)
        click.echo(
            f"Error: {type(error).__name__}: {error}\nThis is a bug in jina-data. Run the command again with --debug, "
            "and report it with the traceback",
            err=True,
        )
        sys.exit(1)


def _resource_problem(error: Exception) -> str | None:
    """Return what the machine lacks, such as space on a disk; None for any other error."""
    from jina_data.run.resources import resource_problem

    return resource_problem(error)


def _plain(text: str) -> str:
    """Return a message as valid Unicode; it may name files whose names are not UTF-8."""
    from jina_data.run.names import plain_name

    return plain_name(text)
