"""Vectors as the mean of token vectors: the model that wordllama carries. No torch, no network."""

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
"""What the tokenizer writes for a space, and in front of every text."""

_PARTS = re.compile(f"{BLANK}*[^{BLANK}]+|{BLANK}+")
_CHUNK_TEXTS = 1024
_CACHE_WORDS = 200_000


class _Words(dict[str, int]):
    """Numbers words as they are first seen; `fresh` are those without tokens yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self.fresh.append(word)
        return number


class StaticEmbedder:
    """The mean of the token vectors of a text, scaled to length 1: 256 dimensions, a text of any length.

    Texts are lower-cased: the model has other tokens for "Parsing" than for "parsing", which sets titles apart.

    The tokenizer never joins letters across a blank, so a text is tokenized word by word, and words that occurred
    before are looked up. The tokens are those that the tokenizer gives for the whole text.
    """

    def __init__(self, tokenizer: Tokenizer, vectors: npt.NDArray[np.float32], model_id: str) -> None:
        self.name = STATIC
        self.model_id = model_id
        self.dim = int(vectors.shape[1])
        self.max_tokens: int | None = None
        self._vectors = vectors
        self._whole = tokenizer
        self._parts = Tokenizer.from_str(tokenizer.to_str())
        self._parts.normalizer = None
        self._specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._splits = not any(re.search(f"[^{BLANK}]{BLANK}", token) for token in tokenizer.get_vocab())
        self._forget()

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
                "Install wordllama anew: pip install --force-reinstall wordllama"
            ) from error
        if tokenizer.get_vocab_size() > len(vectors):
            raise ModelError(f"{weights} has {len(vectors)} vectors for {tokenizer.get_vocab_size()} tokens")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, vectors, f"static-lower-{combined_sha256([weights, vocabulary])[:32]}")

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, 256); none is ever `cut`."""
        out = np.empty((len(texts), self.dim), np.float16)
        for start in range(0, len(texts), _CHUNK_TEXTS):
            chunk = texts[start : start + _CHUNK_TEXTS]
            out[start : start + len(chunk)] = self._encode(chunk)
        return out

    def beginnings(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return of each text, in lower case, what its first tokens are of."""
        longest = max(map(len, self._whole.get_vocab()))
        found = []
        for text in map(str.lower, texts):
            # Tokens never cross a blank, so what lies behind the next one need not be looked at.
            end = text.find(" ", max_tokens * longest)
            head = text if end < 0 else text[:end]
            offsets = self._whole.encode(head, add_special_tokens=False).offsets
            found.append(text if len(offsets) <= max_tokens and head is text else head[: offsets[max_tokens - 1][1]])
        return found

    def _encode(self, texts: Sequence[str]) -> HalfArray:
        if len(self._words) > _CACHE_WORDS:
            self._forget()
        numbers: list[int] = []
        ends = np.empty(len(texts), np.int64)
        for row, text in enumerate(texts):
            numbers += map(self._words.__getitem__, self._split(text.lower()))
            ends[row] = len(numbers)
        self._learn()
        sums = np.empty((len(texts), self.dim), np.float32)
        sum_tokens(np.asarray(numbers, np.int64), ends, self._tokens, self._ends, self._vectors, sums)
        return unit_half(sums)

    def _split(self, text: str) -> list[str]:
        """Return the words of a text, each with the blanks before it but for a single one."""
        if not text:
            return []
        if not self._splits or any(special in text for special in self._specials):
            return [" " + text]  # told from a word by the space, see _tokenize
        words = text.split(" ")
        if "" not in words and BLANK not in text:
            return words
        return [_bare(part) for part in _PARTS.findall(BLANK + text.replace(" ", BLANK))]

    def _forget(self) -> None:
        """Start with no words: what was seen must not pile up."""
        self._words = _Words()
        self._tokens = np.empty(0, np.int64)
        self._ends = np.zeros(1, np.int64)

    def _learn(self) -> None:
        """Tokenize the words that are new."""
        fresh, self._words.fresh = self._words.fresh, []
        found = [np.asarray(ids, np.int64) for ids in self._tokenize(fresh)]
        lengths = np.array([len(ids) for ids in found], np.int64)
        self._tokens = np.concatenate([self._tokens, *found])
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])

    def _tokenize(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of words as `_split` writes them: bare, with blanks in front, or a whole text."""
        parts = [BLANK + word if word[0] not in (BLANK, " ") else word for word in words]
        found = self._parts.encode_batch_fast(parts, add_special_tokens=False)
        return [
            self._whole.encode(part[1:], add_special_tokens=False).ids if part[0] == " " else encoded.ids
            for part, encoded in zip(parts, found, strict=True)
        ]


def static_files() -> tuple[Path, Path]:
    """Return the files of the static model: weights and tokenizer, as wordllama carries them.

    Raises:
        ModelError: wordllama is not installed, or lacks them.
    """
    # Importing wordllama would set up logging for the whole program; only its folder is needed.
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the static embedder comes with wordllama, which is missing; run: pip install wordllama")
    folder = Path(spec.submodule_search_locations[0])
    weights = folder / "weights" / "l2_supercat_256.safetensors"
    vocabulary = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    for path in (weights, vocabulary):
        if not path.is_file():
            raise ModelError(
                f"{path} is missing: it belongs to wordllama; run: pip install --force-reinstall wordllama"
            )
    return weights, vocabulary


def _bare(part: str) -> str:
    """Write a word behind one blank without it."""
    return part[1:] if len(part) > 1 and part[1] != BLANK else part
