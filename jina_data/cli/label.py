"""Asks a person about rows, one key for each answer. Part of the command jina-data inspect."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from jina_data.errors import StoppedError, UsageError
from jina_data.labels.labelling import Labelling, ShownRow
from jina_data.labels.strata import Draw
from jina_data.run.names import plain_name

MAX_LINES = 5
"""The number of lines to show of each text."""

QUESTIONS = {"consistency": "Do these texts belong together?"}
"""The question of each stage; y means that the row should be kept."""
PARTNER_QUESTION = "Keep this row as well as its partner?"
QUESTION = "Should this row be kept?"
KEYS = "[y]es [n]o [s]kip [u]ndo [q]uit"


def label_rows(labelling: Labelling, draws: Sequence[Draw], *, show_score: bool) -> None:
    """Ask about each row without a label, and store each answer at once.

    Raises:
        UsageError: there are questions, but no terminal.
        StoppedError: the user pressed Ctrl-C; the labels so far are stored.
    """
    rows = labelling.unlabelled(draws)
    if not rows:
        return
    if not has_keyboard():
        raise UsageError(
            f"{len(rows):,} rows have no label, and there is no keyboard (stdin is not a terminal). Write them to a "
            "file with --write-sample FILE, fill in `keep`, and read it with --labels FILE. -n 0 reports on the labels "
            "so far"
        )
    click.echo(f"{labelling.stage.name}: {len(rows):,} rows to label; each answer is stored in {labelling.file.path}")
    try:
        _ask_all(labelling, draws, show_score=show_score)
    except (KeyboardInterrupt, EOFError, click.Abort):
        click.echo()
        raise StoppedError(
            f"stopped; the labels so far are in {labelling.file.path}. Run the same command again to label the others"
        ) from None


def has_keyboard() -> bool:
    """Return whether a person can press keys."""
    return sys.stdin.isatty()


def _ask_all(labelling: Labelling, draws: Sequence[Draw], *, show_score: bool) -> None:
    question = PARTNER_QUESTION if labelling.stage.has_partners else QUESTIONS.get(labelling.stage.stage, QUESTION)
    labels, asked, position = labelling.file.load(), list[int](), 0
    while position < len(draws):
        draw = draws[position]
        if labelling.reuse(draw, labels):
            position += 1
            continue
        width = shutil.get_terminal_size().columns
        click.echo(f"\n[{position + 1:,} of {len(draws):,}] {plain_name(draw.file)}:{draw.row}")
        for line in _row_lines(labelling.shown(draw), draw, width, show_score=show_score):
            click.echo(line)
        key = _ask(question, can_undo=bool(asked))
        if key == "q":
            return
        if key == "u":
            position = asked.pop()
            labelling.file.remove(draws[position].row_id)
            continue
        if key in "yn":
            labelling.add(draw, keep=key == "y")
        asked.append(position)
        position += 1


def _ask(question: str, *, can_undo: bool) -> str:
    """Return the first of the keys y, n, s, u, q that is pressed."""
    click.echo(f"{question} {KEYS}: ", nl=False)
    while True:
        characters = click.getchar()
        if not characters:  # the terminal is gone
            raise EOFError
        key = _pressed(characters)
        if key == "u" and not can_undo:
            click.echo("(there is no answer to undo) ", nl=False)
        elif key:
            click.echo(key)
            return key


def _pressed(characters: str) -> str:
    """Return the first valid key, "" for none. Later keys that arrive with it are not for this row."""
    if characters.startswith("\x1b"):  # an arrow or function key
        return ""
    if "\x03" in characters:
        raise KeyboardInterrupt
    return next((character for character in characters.lower() if character in "ynsuq"), "")


def _row_lines(row: ShownRow, draw: Draw, width: int, *, show_score: bool) -> Iterator[str]:
    """Yield the lines about a row."""
    if draw.source != draw.file:
        yield from _wrapped("source", draw.source, width)
    if row.languages:
        yield from _wrapped("language", ", ".join(f"{role} {name}" for role, name in row.languages.items()), width)
    if show_score and row.score is not None:
        yield from _wrapped("score", row.score, width)
    yield from _text_lines(row.texts, width)
    if row.partner is not None:
        yield from _wrapped("partner", row.partner, width)
        yield from _text_lines(row.partner_texts, width)


def _text_lines(texts: Mapping[str, Any], width: int) -> Iterator[str]:
    for name, value in texts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        yield from _wrapped(name, text, width)


def _wrapped(name: str, text: str, width: int) -> list[str]:
    """Return a text in a few lines that fit the terminal, with its name before the first."""
    label = f"{name}: "
    inner = max(20, width - 4)
    cut = _plain(label + text[: MAX_LINES * inner * 2])
    lines = [line.plain.rstrip() for line in Text(cut).wrap(Console(width=inner), inner)]
    if len(lines) > MAX_LINES or len(text) > MAX_LINES * inner * 2:
        lines = [*lines[:MAX_LINES], f"... ({len(text):,} characters)"]
    return [lines[0], *(f"    {line}" for line in lines[1:])]


def _plain(text: str) -> str:
    """Return a text in one line, without characters that control the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))
