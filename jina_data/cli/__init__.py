"""The command line: one file a command, imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from jina_data.errors import JinaDataError

COMMANDS = {
    "clean": "Clean raw corpora: filter, deduplicate, and account for every row.",
    "inspect": "Look at what a run dropped and why, or at what became of one row.",
    "negate": "Write negations of the entailments of pairs: triplets of anchor, entailment and negative.",
    "mine": "Mine hard negatives for pairs: texts that are close to the anchor and no answers to it.",
    "encode": "Turn the texts of a table into vectors, with any model.",
    "train": "Train an embedding model on clean data: masked words, pairs, triplets.",
    "evaluate": "Measure embedders: what a model gets right, with intervals that say how sure that is.",
    "ablate": "Show what each filter is worth: clean with none, each and all, train the same model, measure.",
    "publish": "Publish a finished run to the Hugging Face Hub.",
    "schema": "Print the JSON Schema of recipes, for editors.",
}


class _Commands(click.Group):
    """Imports a command's module only when that command is called."""

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
    """Training data for embedding models: cleaned, deduplicated, with an account of every row."""
    ctx.obj = {"debug": debug}


def main() -> None:
    """Run the command line and exit: 0 done, 1 it failed, 2 wrong usage."""
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
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_status)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"Error: {type(error).__name__}: {error}\nThis is a defect of jina-data. Call again with --debug for the "
            "traceback, and report it",
            err=True,
        )
        sys.exit(1)
