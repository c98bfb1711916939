"""Reads the word lists in `data/`.

An entry is a line; lines that start with # are comments. The order of the entries is kept: where a word has several
partners, or occurs in several entries, results depend on it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def read_lines(name: str) -> tuple[str, ...]:
    """Return the entries of a file."""
    text = (resources.files("jina_data.english") / "data" / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def read_words(name: str) -> frozenset[str]:
    """Return the words of a file with one word a line."""
    return frozenset(read_lines(name))


def read_pairs(name: str) -> list[tuple[str, str]]:
    """Return the pairs of a file with two words a line, separated by a tab."""
    return [(word, partner) for word, partner in (line.split("\t") for line in read_lines(name))]


def read_neighbours(name: str) -> dict[str, frozenset[str]]:
    """Return words with their neighbours: a line is a word, a tab, and any number of words separated by spaces."""
    lines = (line.partition("\t") for line in read_lines(name))
    return {word: frozenset(neighbours.split()) for word, _, neighbours in lines}


def read_replacements(name: str) -> list[tuple[str, str]]:
    """Return pairs of a word and its replacement, in order.

    A line `a>b` replaces a by b; `a/b` stands for both directions, and gives (b, a) before (a, b).
    """
    replacements: list[tuple[str, str]] = []
    for line in read_lines(name):
        word, sign, replacement = line.partition(">")
        if not sign:
            word, _, replacement = line.partition("/")
            replacements.append((replacement, word))
        replacements.append((word, replacement))
    return replacements
