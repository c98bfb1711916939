"""Tokenizes texts up to a limit, and forms batches of similar lengths within a token budget."""

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

_TRUNCATION = {"direction": "right", "strategy": "longest_first", "stride": 0}
_TRUNCATION_LOCK = threading.Lock()


@dataclass(frozen=True)
class Tokens:
    """The tokens of N texts: `ids` without padding, and which texts were truncated, (N,)."""

    ids: list[npt.NDArray[np.int32]]
    was_cut: npt.NDArray[np.bool_]

    @property
    def n_cut(self) -> int:
        """The number of truncated texts."""
        return int(self.was_cut.sum())

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each text, (N,)."""
        return np.array([len(tokens) for tokens in self.ids], np.int64)


def check_texts(texts: object) -> list[str]:
    """Return one or several texts as a list.

    Raises:
        InputError: a text is not a string; the message names its position.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(f"texts is of type {type(texts).__name__}; expected a string, or a list of strings")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(
                f"text {row} (counted from 0) is of type {type(text).__name__}: {str(text)[:60]!r}; expected a string. "
                "Leave it out, or turn it into one"
            )
    return listed


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Return the tokens of texts, truncated to `max_length` tokens.

    Raises:
        InputError: a text holds an unpaired surrogate, which is not valid Unicode; the message names its position.
    """
    _truncate_at(tokenizer, max_length)
    ids: list[npt.NDArray[np.int32]] = []
    was_cut: list[bool] = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        chunk = list(texts[start : start + _CHUNK_TEXTS])
        try:
            encodings = tokenizer.encode_batch_fast(chunk)
        except TypeError:
            _check_surrogates(chunk, start)
            raise
        for encoding in encodings:
            ids.append(np.array(encoding.ids, np.int32))
            was_cut.append(bool(encoding.overflowing))
    return Tokens(ids, np.array(was_cut, np.bool_))


def _truncate_at(tokenizer: Tokenizer, max_length: int) -> None:
    """Set the truncation of a tokenizer; an unchanged setting is not set again, since other threads may be using it."""
    with _TRUNCATION_LOCK:
        if tokenizer.truncation != {**_TRUNCATION, "max_length": max_length}:
            tokenizer.enable_truncation(max_length)


def _check_surrogates(texts: Sequence[str], first_row: int) -> None:
    for row, text in enumerate(texts, first_row):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {row} (counted from 0) holds {text[error.start]!r} at character {error.start}, an "
                "unpaired surrogate; expected valid Unicode. Decode the source again, or replace the character"
            ) from None


def token_batches(
    lengths: npt.NDArray[np.int64], *, token_budget: int, batch_size: int | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """Split texts into batches of about equal cost, the longest first; yields the positions of the texts.

    Args:
        lengths: number of tokens of each text, (N,).
        token_budget: tokens of a batch, padding included; a longer text is a batch by itself.
        batch_size: maximum number of texts in a batch.
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
    """Return tokens and mask of texts as rows of one length, (B, S) each, on the CPU; by default the longest."""
    width = length or max(1, max(map(len, ids), default=1))
    input_ids = np.full((len(ids), width), pad_id, np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


Ids = Sequence[npt.NDArray[np.int32]]


CHARS_PER_TOKEN = 12
"""Long texts are cut to this many characters per token before tokenization; words are usually shorter."""


def tokenize_start(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Ids:
    """Return the first `max_length` tokens of texts, the same as `tokenize` does, but faster for long texts.

    A long text is first cut at a blank. If the cut text has too few tokens, the full text is tokenized.
    """
    starts = [_start(text, CHARS_PER_TOKEN * max_length) for text in texts]
    tokens = tokenize(tokenizer, starts, max_length)
    short = [
        row
        for row, (start, text) in enumerate(zip(starts, texts, strict=True))
        if len(start) < len(text) and not tokens.was_cut[row]
    ]
    ids = list(tokens.ids)
    for row, text_ids in zip(short, tokenize(tokenizer, [texts[row] for row in short], max_length).ids, strict=True):
        ids[row] = text_ids
    return ids


def _start(text: str, n_chars: int) -> str:
    if len(text) <= n_chars:
        return text
    blank = max(text.rfind(" ", 0, n_chars), text.rfind("\n", 0, n_chars))
    return text[:blank] if blank > 0 else text
