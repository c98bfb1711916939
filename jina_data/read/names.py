"""Mends column names that cannot be used: empty, repeated, reserved, or with a NUL character."""

from __future__ import annotations

from collections.abc import Collection, Sequence

RESERVED = frozenset({"_file", "_row", "_stage", "_reason", "_score", "_partner"})
"""The columns that are added to dropped rows."""


def usable_names(names: Sequence[str]) -> list[str]:
    """Return names that can be used, at the same positions: `column_2` for an empty one, `text_2` for a second `text`.

    A reserved name counts as taken, so `_file` becomes `_file_2`. Names that can be used stay as they are.
    """
    taken = set(names)
    usable: list[str] = []
    for position, name in enumerate(names, 1):
        keeps = is_usable(name) and name not in usable
        usable.append(name if keeps else _replacement(name, position, taken.union(usable)))
    return usable


def _replacement(name: str, position: int, taken: Collection[str]) -> str:
    """Return a name that is not taken, for the column at a position (from 1)."""
    base = name.replace("\0", "") or f"column_{position}"
    base = base.lstrip("_") if base.startswith("__row") else base
    if is_usable(base) and base not in taken:
        return base
    number = 2
    while f"{base}_{number}" in taken:
        number += 1
    return f"{base}_{number}"


def is_usable(name: str) -> bool:
    """Return whether a column can have this name."""
    return bool(name) and "\0" not in name and name not in RESERVED and not name.startswith("__row")


def field_names(names: Sequence[str]) -> list[str]:
    """Return the names of the fields of an object inside a column, mended as those of columns; none is reserved."""
    taken = set(names)
    usable: list[str] = []
    for position, name in enumerate(names, 1):
        base = name.replace("\0", "") or f"column_{position}"
        number, mended = 2, base
        while mended in usable or (mended != name and mended in taken):
            mended, number = f"{base}_{number}", number + 1
        usable.append(mended)
    return usable


def replaced_names(names: Sequence[str]) -> list[str]:
    """Return a note for each name that has to be changed."""
    pairs = zip(names, usable_names(names), strict=True)
    return [f"column {old!r} is named {new}" for old, new in pairs if old != new]
