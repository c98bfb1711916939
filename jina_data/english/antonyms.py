"""Words whose negated opposite means nearly the same: "not closed" and "open". Hand-written, for English.

Most pairs are complementary: nothing lies between alive and dead. Graded pairs (happy, sad) leave a middle that neither
word covers; there, "not sad" is a paraphrase in everyday use, but not in strict logic. Comparatives ("not higher" may
be equal) and postures ("not standing" may be lying) are not included.
"""

from __future__ import annotations

from jina_data.english.texts import word_set
from jina_data.english.word_lists import read_neighbours, read_replacements


def _opposites(name: str) -> dict[str, tuple[str, ...]]:
    """Return the words of a file with all their opposites, in order."""
    opposites: dict[str, list[str]] = {}
    for word, opposite in read_replacements(name):
        opposites.setdefault(word, []).append(opposite)
    return {word: tuple(dict.fromkeys(partners)) for word, partners in opposites.items()}


PREDICATES = _opposites("predicates.txt")
"""Predicates after "is", with their opposites."""

VERBS = _opposites("opposite_verbs.txt")
"""Base forms of verbs, with their opposites."""

CONTESTS = word_set(
    """
    game games match matches race races war wars election elections battle battles case fight fights final finals
    series set round bet contest contests vote debate lawsuit appeal toss duel game's
    """
)
"""Things that can be won or lost."""

PRIZES = word_set(
    "medal medals prize prizes award awards title titles place honor honors honour gold silver bronze spot"
)
"""Things that can be won, but are not lost if they are not won."""

FORBIDDEN_NEXT = read_neighbours("predicate_next_forbids.tsv")
"""For a predicate, the next words that give it another meaning."""
