"""Column names that input may not have."""

from __future__ import annotations

from collections.abc import Sequence

from jina_data.errors import InputError

RESERVED = frozenset({"_file", "_row", "_stage", "_reason", "_score", "_partner"})
"""The columns that dropped rows get."""


def name_problem(name: str) -> str | None:
    """Tell what is wrong with a column's name, None if nothing is."""
    if not name:
        return "the name is empty"
    if "\0" in name:
        return "the name holds a NUL character"
    if name in RESERVED or name.startswith("__row"):
        return "jina-data keeps that name for itself"
    return None


def check_names(file: str, names: Sequence[str]) -> None:
    """Refuse column names that occur twice or that cannot be used.

    Raises:
        InputError: with the file and the name.
    """
    seen: set[str] = set()
    for name in names:
        problem = "it occurs twice" if name in seen else name_problem(name)
        if problem:
            raise InputError(f"{file}: column {name!r}: {problem}. Rename the column in the source.")
        seen.add(name)
