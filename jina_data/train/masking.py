"""Masks whole words of documents, chosen by a hash of seed, step, row and position.

The mask of a document depends on nothing else, in particular not on the process that computes it.

Shapes: T tokens of all documents of a step, concatenated; W words of all documents; V tokens of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.encoder.batches import Ids
from jina_data.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the tokens to predict that become [MASK], or a random token; the others stay unchanged."""

NO_TARGET = -1
"""The target of a token that is not to be predicted."""


@dataclass(frozen=True)
class Vocabulary:
    """The properties of the V tokens of a vocabulary that masking needs."""

    mask_id: int
    is_special: npt.NDArray[np.bool_]
    continues: npt.NDArray[np.bool_]
    """Whether a token continues the previous word, (V,)."""
    ordinary: npt.NDArray[np.int32]
    """The tokens that may replace another token: all but special tokens."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Read the vocabulary of a WordPiece tokenizer.

        Raises:
            ModelError: the tokenizer has no [MASK].
        """
        words = tokenizer.get_vocab()
        if "[MASK]" not in words:
            raise ModelError(
                "the tokenizer has no [MASK]; mlm needs the tokenizer of a BERT, or --tokenizer train:VOCAB"
            )
        size = max(words.values()) + 1
        is_special_V, continues_V = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        for word, number in words.items():
            continues_V[number] = word.startswith("##")
        for number, token in tokenizer.get_added_tokens_decoder().items():
            is_special_V[number] = token.special
        ordinary = np.flatnonzero(~is_special_V).astype(np.int32)
        return cls(words["[MASK]"], is_special_V, continues_V, ordinary)


def mask_words(
    ids: Ids, rows: npt.NDArray[np.int64], vocabulary: Vocabulary, *, share: float, seed: int, step: int
) -> tuple[Ids, Ids]:
    """Mask whole words of documents.

    Args:
        ids: the tokens of each document.
        rows: the row of each document in its batch.
        vocabulary: the properties of the tokens.
        share: the share of the words of each document to mask; at least one word is masked.
        seed: the random seed.
        step: the step, which changes the masks.

    Returns:
        The documents with masked words, and the targets: the original token where it is to be predicted, else -1.
    """
    lengths = np.array([len(tokens) for tokens in ids], np.int64)
    flat_T = np.concatenate([*ids, np.empty(0, np.int32)])
    ends = np.cumsum(lengths)
    document_T = np.repeat(np.arange(len(ids)), lengths)
    position_T = np.arange(len(flat_T)) - np.repeat(ends - lengths, lengths)
    # The key of a token packs its row into the upper 32 bits and its position into the lower 32 bits.
    key_T = _mix(_mix(np.uint64(seed)) ^ np.uint64(step)) ^ (rows[document_T].astype(np.uint64) << np.uint64(32))
    key_T = key_T ^ position_T.astype(np.uint64)

    is_target_T = _choose_words(flat_T, document_T, vocabulary, share, _uniform(key_T, 1))
    draw_T = _uniform(key_T, 2)
    random_T = vocabulary.ordinary[(_uniform(key_T, 3) * len(vocabulary.ordinary)).astype(np.int64)]
    is_random_T = is_target_T & (draw_T >= MASKED_SHARE) & (draw_T < MASKED_SHARE + RANDOM_SHARE)
    masked_T = np.where(is_target_T & (draw_T < MASKED_SHARE), np.int32(vocabulary.mask_id), flat_T)
    masked_T = np.where(is_random_T, random_T, masked_T)
    target_T = np.where(is_target_T, flat_T, np.int32(NO_TARGET))
    return np.split(masked_T, ends[:-1]), np.split(target_T, ends[:-1])


def _choose_words(
    flat_T: npt.NDArray[np.int32],
    document_T: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    share: float,
    draw_T: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Return which tokens belong to a chosen word: in each document, the words with the lowest draws."""
    is_special_T = vocabulary.is_special[flat_T]
    is_first_T = np.ones(len(flat_T), np.bool_)
    is_first_T[1:] = document_T[1:] != document_T[:-1]
    after_special_T = np.zeros(len(flat_T), np.bool_)
    after_special_T[1:] = is_special_T[:-1]
    # A word starts at each token that is not a continuation; special tokens and documents end a word.
    starts_T = ~is_special_T & (~vocabulary.continues[flat_T] | is_first_T | after_special_T)
    word_T = np.cumsum(starts_T) - 1
    draw_W, document_W = draw_T[starts_T], document_T[starts_T]
    n_words = np.bincount(document_W, minlength=int(document_T[-1]) + 1 if len(document_T) else 0)
    n_chosen = np.where(n_words > 0, np.maximum(1, np.rint(n_words * share)), 0).astype(np.int64)
    # Sorted by document and draw, the rank of a word in its document is its position minus the words before it.
    order_W = np.lexsort((draw_W, document_W))
    rank_W = np.empty(len(order_W), np.int64)
    rank_W[order_W] = np.arange(len(order_W)) - np.repeat(np.cumsum(n_words) - n_words, n_words)
    is_chosen_W = rank_W < n_chosen[document_W]
    out_T = np.zeros(len(flat_T), np.bool_)
    out_T[~is_special_T] = is_chosen_W[word_T[~is_special_T]]
    return out_T


def _uniform(key_T: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.float64]:
    """Return a number from 0 to below 1 for each key; each salt gives independent numbers."""
    mixed_T = _mix(key_T + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64))
    return np.asarray((mixed_T >> np.uint64(11)).astype(np.float64) / 2.0**53)


def _mix(key: Any) -> Any:
    """Hash 64-bit numbers with the finalizer of SplitMix64 (Steele et al., OOPSLA 2014); overflow wraps around."""
    with np.errstate(over="ignore"):
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))
