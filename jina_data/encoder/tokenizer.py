"""Loads tokenizers of models, and trains WordPiece tokenizers on a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_data.errors import InputError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""The special tokens of WordPiece, in the order of their ids."""
ALPHABET = 1000
"""Maximum number of letters in a trained vocabulary; rarer ones become [UNK]."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a model folder from tokenizer.json, or for WordPiece from vocab.txt.

    It neither pads nor truncates.

    Raises:
        ModelError: there is no tokenizer, or it is broken.
    """
    from tokenizers import Tokenizer

    path = folder / FILE
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        elif (folder / "vocab.txt").is_file():
            tokenizer = _from_vocabulary(folder / "vocab.txt")
        else:
            raise ModelError(
                f"{folder} has no tokenizer: expected {FILE} or vocab.txt. Copy it from the model of the weights, or "
                "save the model with its tokenizer"
            )
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} cannot be read as a tokenizer: {error}. Copy it again") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def copy_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return an independent copy that neither pads nor truncates."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _from_vocabulary(path: Path) -> Tokenizer:
    words = path.read_text(encoding="utf-8").split("\n")
    if not any(words):
        raise ModelError(f"{path} is empty; expected one word per line. Copy it again")
    words = words if words[-1] else words[:-1]
    return _bert_tokenizer({word: number for number, word in enumerate(words)})


def train_wordpiece(
    texts: Iterable[str], *, vocab_size: int = 30_522, min_frequency: int = 2, lowercase: bool = True
) -> Tokenizer:
    """Train a WordPiece tokenizer on texts, with the normalization and splitting of bert-base-uncased.

    The special tokens come first: [PAD] is 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4. A small corpus may give a smaller
    vocabulary than `vocab_size`. The texts are read twice (an iterator is read into memory first), and the same texts
    always give the same vocabulary.

    Args:
        texts: a corpus; it is read once and may be larger than memory.
        vocab_size: maximum vocabulary size, special tokens included.
        min_frequency: minimum frequency of a pair of pieces to be merged.
        lowercase: lower-case texts and strip accents.

    Raises:
        InputError: there are no words, or a text is not a string.
    """
    from tokenizers.trainers import WordPieceTrainer

    texts = list(_strings(texts)) if isinstance(texts, Iterator) else texts
    tokenizer = _bert_tokenizer({}, lowercase=lowercase)
    letters, later_letters = _letters(texts, tokenizer)
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        # The trainer numbers letters inside of words, and chooses between rare letters, in an order that changes from
        # run to run; both decide ties. So both are given.
        special_tokens=[*SPECIALS.values(), *(f"##{letter}" for letter in later_letters)],
        initial_alphabet=letters,
        limit_alphabet=ALPHABET,
        show_progress=False,
        continuing_subword_prefix="##",
    )
    tokenizer.train_from_iterator(_strings(texts), trainer)
    if tokenizer.get_vocab_size() <= len(SPECIALS):
        raise InputError("the corpus has no words to train a vocabulary on; expected texts")
    return _bert_tokenizer(tokenizer.get_vocab(), lowercase=lowercase)


def _letters(texts: Iterable[str], tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """Return the most frequent letters of texts, and those of them that occur after the first letter of a word."""
    counts, pairs = Counter[str](), set[tuple[str, str]]()
    for text in _strings(texts):
        normal = tokenizer.normalizer.normalize_str(text)
        counts.update(normal)
        pairs.update(pairwise(normal))
    frequent = sorted((-count, letter) for letter, count in counts.items() if not letter.isspace())[:ALPHABET]
    letters = sorted(letter for _, letter in frequent)
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    joined = {second for first, second in pairs if len(split(first + second)) == 1 and not second.isspace()}
    return letters, sorted(joined & set(letters))


def _strings(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str):
        raise InputError("texts is a string; expected an iterable of strings, such as a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {row} (counted from 0) is of type {type(text).__name__}; expected a string")
        yield text


def _bert_tokenizer(vocabulary: dict[str, int], *, lowercase: bool = True) -> Tokenizer:
    """Return a WordPiece tokenizer that normalizes and splits texts as BERT does, and adds [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    missing = [token for token in SPECIALS.values() if vocabulary and token not in vocabulary]
    if missing:
        raise ModelError(f"the vocabulary lacks {', '.join(missing)}; expected the vocabulary of a BERT")
    words = vocabulary or {token: number for number, token in enumerate(SPECIALS.values())}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, words[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIALS.values()))
    return tokenizer


def tokenizer_settings(tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    """Return the contents of tokenizer_config.json, which transformers reads with tokenizer.json."""
    vocabulary = tokenizer.get_vocab()
    if all(token in vocabulary for token in SPECIALS.values()):
        names = dict(SPECIALS)
    else:
        t5_names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        names = {name: token for name, token in t5_names.items() if token in vocabulary}
    inputs = ["input_ids", "attention_mask"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": inputs,
        **names,
    }
