"""The language of pairs of texts, as far as it is certain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.languages.identify import identify
from jina_data.languages.prose import in_lower_case, prose

BEGINNING = 300
"""Characters of a text that are judged."""
MIN_CHARS, MIN_PROBABILITY = 20, 0.6
UNKNOWN = "und"
"""ISO 639 for an undetermined language."""


def pair_languages(anchors: Sequence[str], positives: Sequence[str]) -> pa.StringArray:
    """Return the language of each of N pairs: a label of lid.176, two ("en-de") if the sides differ, or "und".

    Code, addresses, short texts and improbable labels do not count.
    """
    sides = [_certain(texts).to_pylist() for texts in (anchors, positives)]
    return pa.array(
        [
            f"{anchor}-{positive}" if anchor and positive and anchor != positive else anchor or positive or UNKNOWN
            for anchor, positive in zip(*sides, strict=True)
        ],
        pa.string(),
    )


def _certain(texts: Sequence[str]) -> pa.StringArray:
    values = pc.utf8_slice_codeunits(pa.array(texts, pa.large_string()), 0, BEGINNING)
    values = in_lower_case(prose(values))
    labels, probability = identify(values)
    chars = pc.utf8_length(values).to_numpy(zero_copy_only=False)
    is_certain = (chars >= MIN_CHARS) & (np.asarray(probability) >= MIN_PROBABILITY)
    return pc.if_else(pa.array(is_certain), labels, pa.scalar(None, pa.string()))
