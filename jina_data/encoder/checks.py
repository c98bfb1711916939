"""Checks of configuration values; a message names the key, its value and what was expected.

This file is saved with every JinaBERT and imports nothing.
"""

from __future__ import annotations


def check_whole(name: str, value: object, *, minimum: int = 1, maximum: int | None = None) -> None:
    """Check that a value is a whole number from `minimum` to `maximum`.

    Raises:
        ValueError: it is not.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not minimum <= value <= (value if maximum is None else maximum):  # type: ignore[operator]
        limits = f"above {minimum - 1}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{name} is {value!r}; expected a whole number {limits}")


def check_number(name: str, value: object, *, minimum: float = 0.0, maximum: float | None = None) -> None:
    """Check that a value is a finite number from `minimum` to `maximum`.

    Raises:
        ValueError: it is not.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    limit = float("inf") if maximum is None else maximum
    if not is_number or not minimum <= value <= limit or value == float("inf"):  # type: ignore[operator]
        limits = f"of at least {minimum:g}" if maximum is None else f"from {minimum:g} to {maximum:g}"
        raise ValueError(f"{name} is {value!r}; expected a number {limits}")


def check_choice(name: str, value: object, choices: list[str]) -> None:
    """Check that a value is one of the choices.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
