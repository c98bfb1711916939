"""The static embedder: the mean of token vectors, from the model in wordllama. It needs neither torch nor a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from jina_data.embed.base import STATIC, BoolArray, HalfArray, unit_half
from jina_data.embed.model_files import combined_sha256
from jina_data.errors import ModelError
from jina_data.kernels.token_sums import sum_tokens

BLANK = "▁"
"""The character that the tokenizer writes for a space, and before every text."""

_PARTS = re.compile(f"{BLANK}*[^{BLANK}]+|{BLANK}+")
_CHUNK_TEXTS = 1024
_CACHE_WORDS = 200_000


class _WordIds(dict[str, int]):
    """The id of each word, in order of first occurrence; `untokenized` are the words without tokens yet."""

    def __init__(self) -> None:
        super().__init__()
        self.untokenized: list[str] = []

    def __missing__(self, word: str) -> int:
        self[word] = word_id = len(self)
        self.untokenized.append(word)
        return word_id


class StaticEmbedder:
    """The mean of the token vectors of a text, scaled to length 1: 256 dimensions, a text of any length.

    Texts are lower-cased: the model has different tokens for "Parsing" and "parsing", which would separate titles from
    other texts.

    No token spans a blank, so a text is tokenized word by word, and the tokens of a word are cached. They are the same
    tokens that the tokenizer gives for the whole text.
    """

    def __init__(self, tokenizer: Tokenizer, vectors: npt.NDArray[np.float32], model_id: str) -> None:
        self.name = STATIC
        self.model_id = model_id
        self.dim = int(vectors.shape[1])
        self.max_tokens: int | None = None
        self._vectors = vectors
        self._text_tokenizer = tokenizer
        self._word_tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._word_tokenizer.normalizer = None
        self._specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._can_split = not any(re.search(f"[^{BLANK}]{BLANK}", token) for token in tokenizer.get_vocab())
        self._clear_cache()

    @classmethod
    def load(cls) -> Self:
        """Load the model from the installed wordllama.

        Raises:
            ModelError: its files are missing or broken.
        """
        weights, vocabulary = static_files()
        try:
            from safetensors.numpy import load_file

            vectors = load_file(weights)["embedding.weight"].astype(np.float32)
            tokenizer = Tokenizer.from_file(str(vocabulary))
        except Exception as error:
            raise ModelError(
                f"the static embedder cannot be loaded from {weights.parent.parent}: {error}. "
                "Reinstall wordllama: pip install --force-reinstall wordllama"
            ) from error
        if tokenizer.get_vocab_size() > len(vectors):
            raise ModelError(
                f"{weights} has {len(vectors)} vectors for {tokenizer.get_vocab_size()} tokens; expected one per "
                "token. Reinstall wordllama: pip install --force-reinstall wordllama"
            )
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, vectors, f"static-lower-{combined_sha256([weights, vocabulary])[:32]}")

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, 256); `cut` stays unchanged, since no text is truncated."""
        out = np.empty((len(texts), self.dim), np.float16)
        for start in range(0, len(texts), _CHUNK_TEXTS):
            chunk = texts[start : start + _CHUNK_TEXTS]
            out[start : start + len(chunk)] = self._encode(chunk)
        return out

    def heads(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the start of each text, in lower case, that holds its first `max_tokens` tokens."""
        longest = max(map(len, self._text_tokenizer.get_vocab()))
        heads = []
        for text in map(str.lower, texts):
            # No token spans a blank or is longer than `longest`, so the first max_tokens tokens end before this blank.
            end = text.find(" ", max_tokens * longest)
            head = text if end < 0 else text[:end]
            offsets = self._text_tokenizer.encode(head, add_special_tokens=False).offsets
            heads.append(text if len(offsets) <= max_tokens and head is text else head[: offsets[max_tokens - 1][1]])
        return heads

    def _encode(self, texts: Sequence[str]) -> HalfArray:
        if len(self._words) > _CACHE_WORDS:
            self._clear_cache()
        word_ids: list[int] = []
        ends = np.empty(len(texts), np.int64)
        for row, text in enumerate(texts):
            word_ids += map(self._words.__getitem__, self._split(text.lower()))
            ends[row] = len(word_ids)
        self._tokenize_new_words()
        sums = np.empty((len(texts), self.dim), np.float32)
        sum_tokens(np.asarray(word_ids, np.int64), ends, self._tokens, self._ends, self._vectors, sums)
        return unit_half(sums)

    def _split(self, text: str) -> list[str]:
        """Return the words of a text, each with the blanks before it; a single blank is left out."""
        if not text:
            return []
        if not self._can_split or any(special in text for special in self._specials):
            return [" " + text]  # the space marks a whole text, see _tokenize
        words = text.split(" ")
        if "" not in words and BLANK not in text:
            return words
        return [_strip_single_blank(part) for part in _PARTS.findall(BLANK + text.replace(" ", BLANK))]

    def _clear_cache(self) -> None:
        """Remove all words from the cache, so that its memory stays bounded."""
        self._words = _WordIds()
        # The tokens of word i are _tokens[_ends[i] : _ends[i + 1]].
        self._tokens = np.empty(0, np.int64)
        self._ends = np.zeros(1, np.int64)

    def _tokenize_new_words(self) -> None:
        """Tokenize the words that are not in the cache yet."""
        words, self._words.untokenized = self._words.untokenized, []
        tokens = [np.asarray(ids, np.int64) for ids in self._tokenize(words)]
        lengths = np.array([len(ids) for ids in tokens], np.int64)
        self._tokens = np.concatenate([self._tokens, *tokens])
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])

    def _tokenize(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of words as `_split` writes them: plain, with blanks before them, or a whole text."""
        parts = [BLANK + word if word[0] not in (BLANK, " ") else word for word in words]
        encodings = self._word_tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        return [
            self._text_tokenizer.encode(part[1:], add_special_tokens=False).ids if part[0] == " " else encoding.ids
            for part, encoding in zip(parts, encodings, strict=True)
        ]


def static_files() -> tuple[Path, Path]:
    """Return the files of the static model in wordllama: weights and tokenizer.

    Raises:
        ModelError: wordllama is not installed, or its files are missing.
    """
    # Importing wordllama would set up logging for the whole program; only its folder is needed.
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the static embedder needs wordllama, which is not installed; run: pip install wordllama")
    folder = Path(spec.submodule_search_locations[0])
    weights = folder / "weights" / "l2_supercat_256.safetensors"
    vocabulary = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    for path in (weights, vocabulary):
        if not path.is_file():
            raise ModelError(
                f"{path} is missing; it is part of wordllama. Run: pip install --force-reinstall wordllama"
            )
    return weights, vocabulary


def _strip_single_blank(part: str) -> str:
    """Return a part without its blank if it has exactly one."""
    return part[1:] if len(part) > 1 and part[1] != BLANK else part
