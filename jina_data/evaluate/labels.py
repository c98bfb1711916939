"""What models are called in reports."""

from __future__ import annotations

from collections.abc import Sequence

from jina_data.errors import UsageError


def model_labels(names: Sequence[str]) -> list[str]:
    """Return a short label for each model: the last part of its name, the whole where two would be alike.

    Raises:
        UsageError: no model, or the same twice.
    """
    if not names:
        raise UsageError("no model is named. Name one or more: --model static")
    if len(set(names)) < len(names):
        raise UsageError(f"a model is named twice among {', '.join(names)}. Name each once")
    short = [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    return short if len(set(short)) == len(short) else list(names)
