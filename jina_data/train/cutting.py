"""Tokens of texts that may be far longer than what is read of them: the end of a document need not be tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jina_data.encoder.batches import tokenize

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = Sequence[npt.NDArray[np.int32]]

CHARS_PER_TOKEN = 12
"""Texts are first cut after so many characters for each token; words of a language are shorter."""


def tokenize_start(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Ids:
    """Return the first tokens of texts, as many as `max_length`: those that `tokenize` gives.

    A long text is cut at a blank first. Where that leaves too few tokens, it is tokenized as a whole.
    """
    starts = [_start(text, CHARS_PER_TOKEN * max_length) for text in texts]
    found = tokenize(tokenizer, starts, max_length)
    short = [
        row
        for row, (start, text) in enumerate(zip(starts, texts, strict=True))
        if len(start) < len(text) and not found.was_cut[row]
    ]
    ids = list(found.ids)
    for row, whole in zip(short, tokenize(tokenizer, [texts[row] for row in short], max_length).ids, strict=True):
        ids[row] = whole
    return ids


def _start(text: str, n_chars: int) -> str:
    if len(text) <= n_chars:
        return text
    blank = max(text.rfind(" ", 0, n_chars), text.rfind("\n", 0, n_chars))
    return text[:blank] if blank > 0 else text
