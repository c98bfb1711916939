"""What loading and feeding transformers has in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_NO_LIMIT = 10**9  # transformers names a number far beyond where a tokenizer has none


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars of its own."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def known_limit(max_length: int) -> int | None:
    """Return the most tokens that a model takes; None for those that have no limit, or tell none."""
    return max_length if 0 < max_length < _NO_LIMIT else None


def were_cut(tokens: Any) -> npt.NDArray[np.bool_]:
    """Tell which of N tokenized texts, or pairs of texts, were cut at the limit given to the tokenizer, (N,)."""
    return np.array([bool(one.overflowing) for one in tokens.encodings], np.bool_)


def padded(
    tokenizer: Any,
    tokens: Mapping[str, Sequence[Sequence[int]]],
    positions: npt.NDArray[np.int64],
    *,
    length: int,
    n_rows: int,
    device: str,
) -> dict[str, Any]:
    """Return the features of some of N tokenized texts, padded to (n_rows, length): the last fills the batch up."""
    rows = [*positions.tolist(), *[int(positions[-1])] * (n_rows - len(positions))]
    features = tokenizer.pad(
        {name: [values[row] for row in rows] for name, values in tokens.items()},
        padding="max_length",
        max_length=length,
        return_tensors="pt",
    )
    return {name: values.to(device) for name, values in features.items()}
