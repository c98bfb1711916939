"""Which words of a document the model has to guess: whole words, drawn by a hash of seed, step, row and place.

So the mask of a document depends on nothing else, whichever process draws it.

Shapes: T tokens of all documents of a step, end to end.
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

HIDDEN, RANDOM = 0.8, 0.1
"""Of the words that are to be guessed: how many tokens become [MASK], how many another one; the rest stay."""

NOTHING = -1
"""The target of a token that is not to be guessed."""


@dataclass(frozen=True)
class Vocabulary:
    """What masking knows of the tokens: V of them."""

    mask_id: int
    is_special: npt.NDArray[np.bool_]
    continues: npt.NDArray[np.bool_]
    """Whether a token goes on with the word before it, (V,)."""
    ordinary: npt.NDArray[np.int32]
    """The tokens that may stand in for another."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Read it from a tokenizer of WordPiece.

        Raises:
            ModelError: it has no [MASK].
        """
        words = tokenizer.get_vocab()
        if "[MASK]" not in words:
            raise ModelError(
                "the tokenizer has no [MASK]; masked words need that of a BERT, or --tokenizer train:VOCAB"
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
    """Hide whole words of documents.

    Args:
        ids: the tokens of each document.
        rows: the number of each document in its batch.
        vocabulary: what is known of the tokens.
        share: of the words of each document; at least one is hidden.
        seed: of all choices.
        step: for other masks at each step.

    Returns:
        The documents with words hidden, and the targets: the token where it is to be guessed, else -1.
    """
    lengths = np.array([len(one) for one in ids], np.int64)
    flat_T = np.concatenate([*ids, np.empty(0, np.int32)])
    ends = np.cumsum(lengths)
    document_T = np.repeat(np.arange(len(ids)), lengths)
    place_T = np.arange(len(flat_T)) - np.repeat(ends - lengths, lengths)
    key_T = _mixed(_mixed(np.uint64(seed)) ^ np.uint64(step)) ^ (rows[document_T].astype(np.uint64) << np.uint64(32))
    key_T = key_T ^ place_T.astype(np.uint64)

    is_guessed_T = _chosen_words(flat_T, document_T, vocabulary, share, _uniform(key_T, 1))
    fate_T = _uniform(key_T, 2)
    other_T = vocabulary.ordinary[(_uniform(key_T, 3) * len(vocabulary.ordinary)).astype(np.int64)]
    hidden_T = np.where(is_guessed_T & (fate_T < HIDDEN), np.int32(vocabulary.mask_id), flat_T)
    hidden_T = np.where(is_guessed_T & (fate_T >= HIDDEN) & (fate_T < HIDDEN + RANDOM), other_T, hidden_T)
    target_T = np.where(is_guessed_T, flat_T, np.int32(NOTHING))
    return np.split(hidden_T, ends[:-1]), np.split(target_T, ends[:-1])


def _chosen_words(
    flat_T: npt.NDArray[np.int32],
    document_T: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    share: float,
    chance_T: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Tell which tokens are of a word that is drawn: in each document the words with the lowest chances."""
    is_special_T = vocabulary.is_special[flat_T]
    is_first_T = np.ones(len(flat_T), np.bool_)
    is_first_T[1:] = document_T[1:] != document_T[:-1]
    after_special_T = np.zeros(len(flat_T), np.bool_)
    after_special_T[1:] = is_special_T[:-1]
    starts_T = ~is_special_T & (~vocabulary.continues[flat_T] | is_first_T | after_special_T)
    word_T = np.cumsum(starts_T) - 1
    chance_W, document_W = chance_T[starts_T], document_T[starts_T]
    n_words = np.bincount(document_W, minlength=int(document_T[-1]) + 1 if len(document_T) else 0)
    n_drawn = np.where(n_words > 0, np.maximum(1, np.rint(n_words * share)), 0).astype(np.int64)
    order_W = np.lexsort((chance_W, document_W))
    rank_W = np.empty(len(order_W), np.int64)
    rank_W[order_W] = np.arange(len(order_W)) - np.repeat(np.cumsum(n_words) - n_words, n_words)
    is_drawn_W = rank_W < n_drawn[document_W]
    out_T = np.zeros(len(flat_T), np.bool_)
    out_T[~is_special_T] = is_drawn_W[word_T[~is_special_T]]
    return out_T


def _uniform(key_T: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.float64]:
    """Return a number from 0 to below 1 for each key."""
    mixed_T = _mixed(key_T + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64))
    return np.asarray((mixed_T >> np.uint64(11)).astype(np.float64) / 2.0**53)


def _mixed(key: Any) -> Any:
    """Scramble 64-bit numbers: the last steps of SplitMix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))
