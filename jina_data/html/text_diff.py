"""Excerpts of texts for HTML pages: the beginning of a text, the part it shares with another, and word differences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

WIDTH, CONTEXT = 400, 80
"""The characters of an excerpt, and of the context before the first difference or the match."""

MATCH_CHARS = 10_000
"""The first characters of a text in which common words are searched: the search can take quadratic time."""

# A letter of a script without spaces is a word of its own.
WORD = re.compile(r"\s+|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|.", re.S)


class Span(NamedTuple):
    """A part of a text, and whether the other text lacks it."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A part of a text, as spans. `n_chars` is the length of the full text."""

    spans: Sequence[Span]
    n_chars: int
    cut_before: bool = False
    cut_after: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether the excerpt has only white space."""
        return not any(span.text.strip() for span in self.spans)


def beginning(text: str) -> Excerpt:
    """Return the beginning of a text."""
    return Excerpt([Span(text[:WIDTH])], len(text), cut_after=len(text) > WIDTH)


def around_common_words(text: str, other: str) -> Excerpt:
    """Return the part of a text around the longest run of words that it shares with another text."""
    words, other_words = (WORD.findall(side[:MATCH_CHARS].lower()) for side in (text, other))
    match = SequenceMatcher(None, words, other_words, autojunk=False).find_longest_match()
    begin = max(0, sum(map(len, words[: match.a])) - CONTEXT)
    return Excerpt([Span(text[begin : begin + WIDTH])], len(text), begin > 0, begin + WIDTH < len(text))


def compare(text: str, other: str) -> tuple[Excerpt, Excerpt]:
    """Return excerpts of two texts from shortly before their first difference; words that the other lacks are marked.

    Both excerpts begin at the same character.
    """
    begin = 0 if text == other else max(0, _first_difference(text, other) - CONTEXT)
    if begin:
        # Begin with a full word.
        space = text.find(" ", begin, begin + CONTEXT)
        begin = space + 1 if space >= 0 else begin
    # Twice the width is compared, so that the end of an excerpt does not look like a difference.
    words, other_words = (WORD.findall(side[begin : begin + 2 * WIDTH]) for side in (text, other))
    spans: tuple[list[Span], list[Span]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, words, other_words, autojunk=False).get_opcodes():
        for side_spans, run in zip(spans, (words[a:b], other_words[c:d]), strict=True):
            if run:
                side_spans.append(Span("".join(run), tag != "equal"))
    first, second = (
        Excerpt(_first_chars(side_spans, WIDTH), len(side), begin > 0, begin + WIDTH < len(side))
        for side_spans, side in zip(spans, (text, other), strict=True)
    )
    return first, second


def _first_chars(spans: Sequence[Span], n_chars: int) -> list[Span]:
    out = []
    for span in spans:
        if n_chars > 0:
            out.append(Span(span.text[:n_chars], span.differs))
        n_chars -= len(span.text)
    return out


def _first_difference(text: str, other: str) -> int:
    """Return the position of the first character in which two texts differ."""
    # Invariant of the bisection: the first `low` characters are equal, and no equal prefix is longer than `high`.
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text[:middle] == other[:middle] else (low, middle - 1)
    return low
