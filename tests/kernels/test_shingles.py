"""The number of elements of texts whose characters fold to several characters."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jina_data.kernels.shingles import CHAR_NGRAMS, Shingling, text_elements


@pytest.mark.parametrize("char", ["\u0390", "\u03b0", "\u00df", "\ufb03", "a"])
@pytest.mark.parametrize("chars", [1, 4])
def test_the_character_n_grams_of_folded_characters_have_room(char: str, chars: int) -> None:
    values = pa.array([char * 1000, "", char * 3], pa.large_string())
    elements = text_elements(values, Shingling(short=CHAR_NGRAMS, chars=chars), "tag")
    n_chars = len(char.casefold())
    expected = [max(1, count * n_chars - chars + 1) if count else 0 for count in (1000, 0, 3)]
    assert (elements.offsets[1:] - elements.offsets[:-1]).tolist() == expected
    assert len(elements.values) == sum(expected)
