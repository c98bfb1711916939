"""A tokenizer that is learned from the texts of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jina_data.encoder.tokenizer import train_wordpiece
from jina_data.errors import UsageError
from jina_data.train.models import TRAIN_TOKENIZER
from jina_data.train.sources import Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def learn_tokenizer(sources: Sequence[Source], asked: str) -> Tokenizer:
    """Learn WordPiece from all texts of all sources; `asked` is train:VOCAB.

    Raises:
        UsageError: VOCAB is no number of words.
    """
    size = asked.removeprefix(TRAIN_TOKENIZER)
    if not size.isdigit() or int(size) < 100:
        raise UsageError(f"--tokenizer {asked}: expected {TRAIN_TOKENIZER}VOCAB with a number of words, 100 or more")
    return train_wordpiece(_texts(sources), vocab_size=int(size))


def _texts(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for unit in source.units:
            table = source.read(unit)
            for name in table.column_names:
                values = table[name].combine_chunks()
                flat = values.flatten() if name == "negatives" else values
                for start in range(0, len(flat), 4096):
                    yield from (text for text in flat.slice(start, 4096).to_pylist() if text)
