"""What numbers of a configuration must be: one line that names the key, what it holds and what was expected.

This file is saved with every JinaBERT; it imports nothing.
"""

from __future__ import annotations


def check_whole(name: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Refuse what is not a whole number from `least` to `most`.

    Raises:
        ValueError: it is something else.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= (value if most is None else most):  # type: ignore[operator]
        expected = f"a whole number above {least - 1}" if most is None else f"a whole number from {least} to {most}"
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def check_number(name: str, value: object, *, least: float = 0.0, most: float | None = None) -> None:
    """Refuse what is not a finite number from `least` to `most`.

    Raises:
        ValueError: it is something else.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    limit = float("inf") if most is None else most
    if not is_number or not least <= value <= limit or value == float("inf"):  # type: ignore[operator]
        expected = f"a number of at least {least:g}" if most is None else f"a number from {least:g} to {most:g}"
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def check_choice(name: str, value: object, known: list[str]) -> None:
    """Refuse what is not one of some names.

    Raises:
        ValueError: it is something else.
    """
    if value not in known:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
