"""Texts to batches of tokens: cut at the limit and counted, sorted by length, as many as a budget of tokens holds."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jina_data.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHUNK_TEXTS = 1024

_CUT_BEHIND = {"direction": "right", "strategy": "longest_first", "stride": 0}
_TRUNCATING = threading.Lock()


@dataclass(frozen=True)
class Tokens:
    """The tokens of N texts: `ids` without padding, and which texts were cut, (N,)."""

    ids: list[npt.NDArray[np.int32]]
    was_cut: npt.NDArray[np.bool_]

    @property
    def n_cut(self) -> int:
        """How many texts were cut."""
        return int(self.was_cut.sum())

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each text, (N,)."""
        return np.array([len(one) for one in self.ids], np.int64)


def check_texts(texts: object) -> list[str]:
    """Return texts as a list: a single one, or several. Refuse what is not a string.

    Raises:
        InputError: a text is something else; the message says which.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(f"texts is of type {type(texts).__name__}; expected a string or several. Put them into a list")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(
                f"text {row} (counted from 0) is of type {type(text).__name__}: {str(text)[:60]!r}; expected a string. "
                "Leave it out, or turn it into one"
            )
    return listed


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Return the tokens of texts; those with more than `max_length` are cut there.

    Raises:
        InputError: a text holds half of a surrogate pair, which no encoding has; the message says which.
    """
    _truncate_at(tokenizer, max_length)
    ids: list[npt.NDArray[np.int32]] = []
    was_cut: list[bool] = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        some = list(texts[start : start + _CHUNK_TEXTS])
        try:
            encoded = tokenizer.encode_batch_fast(some)
        except TypeError:
            _name_half_pair(some, start)
            raise
        for one in encoded:
            ids.append(np.array(one.ids, np.int32))
            was_cut.append(bool(one.overflowing))
    return Tokens(ids, np.array(was_cut, np.bool_))


def _truncate_at(tokenizer: Tokenizer, max_length: int) -> None:
    """Let a tokenizer cut texts at a length; it is touched only if it does not yet, since threads may be using it."""
    with _TRUNCATING:
        if tokenizer.truncation != {**_CUT_BEHIND, "max_length": max_length}:
            tokenizer.enable_truncation(max_length)


def _name_half_pair(texts: Sequence[str], first_row: int) -> None:
    for row, text in enumerate(texts, first_row):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {row} (counted from 0) holds {text[error.start]!r} at character {error.start}, half of a "
                "surrogate pair; expected Unicode. Decode its source anew, or replace it"
            ) from None


def token_batches(
    lengths: npt.NDArray[np.int64], *, token_budget: int, batch_size: int | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """Cut texts into batches of about equal cost, the longest first; yields the positions of their texts.

    Args:
        lengths: tokens of each text, (N,).
        token_budget: tokens of a batch, padding counted; a text that is longer has a batch of its own.
        batch_size: most texts of a batch.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        n_rows = max(1, token_budget // longest)
        stop = start + min(n_rows, batch_size or n_rows)
        yield order[start:stop]
        start = stop


def padded(ids: Sequence[npt.NDArray[np.int32]], pad_id: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Return tokens and mask of some texts as rows of one length, (B, S) each, on the CPU; by default the longest."""
    width = length or max(1, max(map(len, ids), default=1))
    input_ids = np.full((len(ids), width), pad_id, np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    for row, one in enumerate(ids):
        input_ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


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
