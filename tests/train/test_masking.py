"""Masking: whole words, in the given shares, and the same masks in any process."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tokenizers import Tokenizer

from jina_data.encoder import train_wordpiece
from jina_data.encoder.batches import Ids, tokenize
from jina_data.errors import ModelError
from jina_data.train.masking import Vocabulary, mask_words
from tests.support.train_inputs import questions


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([answer for _, answer in questions(300)], vocab_size=600)


@pytest.fixture(scope="module")
def ids(tokenizer: Tokenizer) -> Ids:
    return tokenize(tokenizer, [answer for _, answer in questions(300)], 256).ids


def masked(ids: Ids, tokenizer: Tokenizer, *, step: int = 0, seed: int = 0, share: float = 0.3) -> tuple[Ids, Ids]:
    rows = np.arange(len(ids))
    return mask_words(ids, rows, Vocabulary.of(tokenizer), share=share, seed=seed, step=step)


def words_of(ids: np.ndarray, tokenizer: Tokenizer) -> list[list[int]]:
    """Return the positions of each word of a document, without special tokens."""
    tokens = [str(tokenizer.id_to_token(int(number))) for number in ids]
    words: list[list[int]] = []
    for place, token in enumerate(tokens):
        if token in ("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"):
            continue
        if token.startswith("##") and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words


def test_whole_words_are_hidden_and_nothing_else_changes(ids: Ids, tokenizer: Tokenizer) -> None:
    hidden, targets = masked(ids, tokenizer)
    for document, shown, wanted in zip(ids, hidden, targets, strict=True):
        guessed = wanted >= 0
        assert np.array_equal(wanted[guessed], document[guessed])
        assert np.array_equal(shown[~guessed], document[~guessed])
        words = words_of(document, tokenizer)
        assert all(len({bool(guessed[place]) for place in word}) == 1 for word in words)
        n_drawn = sum(bool(guessed[word[0]]) for word in words)
        assert n_drawn == (max(1, round(0.3 * len(words))) if words else 0)
        assert guessed.sum() == sum(len(word) for word in words if guessed[word[0]])


def test_eighty_ten_ten(ids: Ids, tokenizer: Tokenizer) -> None:
    before, shown, wanted = (np.concatenate(one) for one in (ids, *masked(ids, tokenizer)))
    guessed = wanted >= 0
    n = guessed.sum()
    is_mask = shown[guessed] == tokenizer.token_to_id("[MASK]")
    is_same = shown[guessed] == before[guessed]
    shares = np.array([is_mask.sum(), (~is_mask & ~is_same).sum(), is_same.sum()]) / n
    # A few random tokens are the original ones by chance.
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 4 * np.sqrt(0.8 * 0.2 / n) + 0.002


def test_no_special_token_is_hidden_or_stands_in(ids: Ids, tokenizer: Tokenizer) -> None:
    hidden, targets = masked(ids, tokenizer, share=0.9)
    mask, *specials = (tokenizer.get_vocab()[name] for name in ("[MASK]", "[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    for document, shown, wanted in zip(ids, hidden, targets, strict=True):
        assert not np.isin(wanted, [*specials, mask]).any()
        assert np.array_equal(np.isin(shown, specials), np.isin(document, specials))


def test_every_word_is_hidden_about_equally_often(tokenizer: Tokenizer) -> None:
    ids = tokenize(tokenizer, ["the heart of a patient with high blood pressure"], 64).ids
    times = np.sum([masked(ids, tokenizer, step=step)[1][0] >= 0 for step in range(600)], axis=0)
    firsts = [word[0] for word in words_of(ids[0], tokenizer)]
    share = round(0.3 * len(firsts)) / len(firsts)
    assert np.abs(times[firsts] / 600 - share).max() < 4 * np.sqrt(share * (1 - share) / 600)


def test_the_mask_of_a_row_does_not_depend_on_its_neighbours(ids: Ids, tokenizer: Tokenizer) -> None:
    hidden, targets = masked(ids[:20], tokenizer, step=7)
    rows = np.array([3, 11, 17])
    masked_ids, wanted = mask_words(
        [ids[row] for row in rows], rows, Vocabulary.of(tokenizer), share=0.3, seed=0, step=7
    )
    for row, document, target in zip(rows, masked_ids, wanted, strict=True):
        assert np.array_equal(document, hidden[row])
        assert np.array_equal(target, targets[row])


@pytest.mark.parametrize("other", [{"step": 1}, {"seed": 1}])
def test_other_steps_and_seeds_hide_other_words(other: dict[str, int], ids: Ids, tokenizer: Tokenizer) -> None:
    first, second = masked(ids, tokenizer)[1], masked(ids, tokenizer, **other)[1]
    differing = sum(not np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert differing > 0.9 * len(ids)


def test_empty_documents_have_nothing_to_guess(tokenizer: Tokenizer) -> None:
    ids = tokenize(tokenizer, ["", "word", ""], 16).ids
    _, targets = masked(ids, tokenizer)
    assert [(target >= 0).any() for target in targets] == [False, True, False]


def test_a_tokenizer_without_a_mask_is_told(tokenizer: Tokenizer) -> None:
    from tokenizers.models import WordPiece

    with pytest.raises(ModelError, match=r"has no \[MASK\]"):
        Vocabulary.of(Tokenizer(WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]")))
