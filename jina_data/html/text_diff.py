"""."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

WIDTH, BEFORE = 400, 80
"""Characters shown of a text, and of what stands in front of the first difference."""


MATCH_CHARS = 10_000
"""So far into a text a common run of words is looked for."""


# A letter of a script without spaces is a word of its own.
WORD = re.compile(r"\s+|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|.", re.S)


class Span(NamedTuple):
    """A part of a text, and whether the other text lacks it."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Shown:
    """What is shown of a text: a window on it, cut into spans. `n_chars` is the length of all of it."""

    spans: Sequence[Span]
    n_chars: int
    cut_before: bool = False
    cut_behind: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to see."""
        return not any(span.text.strip() for span in self.spans)


def _around(text: str, other: str) -> Shown:
    """Show a text around the longest run of words that another one has as well."""
    one, two = (WORD.findall(some[:MATCH_CHARS].lower()) for some in (text, other))
    match = SequenceMatcher(None, one, two, autojunk=False).find_longest_match()
    begin = sum(map(len, one[: match.a]))
    begin = 0 if begin <= BEFORE else begin - BEFORE
    return Shown([Span(text[begin : begin + WIDTH])], len(text), begin > 0, begin + WIDTH < len(text))


def _start(text: str | None) -> Shown | None:
    """Show the beginning of a text."""
    return None if text is None else Shown([Span(text[:WIDTH])], len(text), cut_behind=len(text) > WIDTH)


def compare(left: str, right: str) -> tuple[Shown, Shown]:
    """Show two texts around their first difference; words that the other lacks are marked."""
    begin = _difference(left, right)
    begin = 0 if left == right or begin <= BEFORE else begin - BEFORE
    if begin:
        # The window begins with a word.
        space = left.find(" ", begin, begin + BEFORE)
        begin = space + 1 if space >= 0 else begin
    # What is compared reaches further than what is shown, so that the cut itself does not look like a difference.
    one, two = (WORD.findall(text[begin : begin + 2 * WIDTH]) for text in (left, right))
    marks: tuple[list[Span], list[Span]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        for spans, words in zip(marks, (one[a:b], two[c:d]), strict=True):
            if words:
                spans.append(Span("".join(words), tag != "equal"))
    shown = [
        Shown(_first_chars(spans, WIDTH), len(text), begin > 0, begin + WIDTH < len(text))
        for spans, text in zip(marks, (left, right), strict=True)
    ]
    return shown[0], shown[1]


def _first_chars(spans: Sequence[Span], n_chars: int) -> list[Span]:
    out = []
    for span in spans:
        if n_chars > 0:
            out.append(Span(span.text[:n_chars], span.differs))
        n_chars -= len(span.text)
    return out


def _difference(left: str, right: str) -> int:
    """Return the place of the first character in which two texts differ."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle - 1)
    return low
