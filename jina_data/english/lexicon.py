"""Hand-written word lists for negation in English: negators, quantifiers, opposites, negative affixes."""

from __future__ import annotations

from collections.abc import Iterable

from jina_data.english.texts import word_set
from jina_data.english.word_lists import read_pairs, read_words

NEGATORS = word_set(
    """
    not no never none nobody nothing nowhere neither nor without cannot ain't aint dont doesnt didnt isnt wasnt
    arent werent cant wont couldnt wouldnt shouldnt havent hasnt
    """
)
"""Words that negate on their own. Contractions with n't also do."""

WEAK_NEGATORS = word_set("hardly barely scarcely rarely seldom lack lacks lacked lacking")
"""Words that nearly negate: they change the polarity of a sentence, but not completely."""

QUANTIFIER_NEGATORS = word_set("no none nobody nothing nowhere neither")
"""Negators that express a quantity."""

QUANTIFIERS = word_set(
    """
    all every each everyone everybody everything both some someone somebody something several many most much few
    multiple various numerous plenty always often sometimes two three four five six seven eight nine ten couple
    lot lots group no none nobody nothing either any anyone anybody anything one
    """
)
"""Words that say how many, how much or how often."""


SAFE_OPPOSITES = read_pairs("opposites.tsv")
"""Pairs of opposites: replacing one by the other contradicts the text."""

AFFIX_PAIRS = read_pairs("affix_pairs.tsv")
"""Pairs of a word and the same word with a negative affix; either one may come first."""

NOT_NEGATIVE = read_words("not_negative.txt")
"""Words that begin or end like a word with a negative affix, but have none."""


def _partners(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    partners: dict[str, set[str]] = {}
    for word, other in pairs:
        partners.setdefault(word, set()).add(other)
        partners.setdefault(other, set()).add(word)
    return {word: frozenset(others) for word, others in partners.items()}


OPPOSITES = _partners(SAFE_OPPOSITES)
"""The opposites of a word, in both directions."""

AFFIX_PARTNERS = _partners(AFFIX_PAIRS)
"""The partners of a word that differ from it by a negative affix, in both directions."""

_NEGATIVE_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "mis")


def has_negative_affix(word: str) -> bool:
    """Tell whether a word has a negative affix: by the list, else by its form (un..., non-..., ...less)."""
    if word in NOT_NEGATIVE:
        return False
    for partner in AFFIX_PARTNERS.get(word, ()):
        if word.startswith(_NEGATIVE_PREFIXES) and any(word == prefix + partner for prefix in _NEGATIVE_PREFIXES):
            return True
        if word.endswith("less") and not partner.endswith("less"):
            return True
    if word.startswith("non-") or (word.startswith("non") and len(word) > 7):
        return True
    if word.endswith("less") and len(word) > 6:
        return True
    is_un = word.startswith("un") and not word.startswith(("under", "uni", "unti"))
    return is_un and len(word) > 5 and word.endswith(_UN_ENDINGS)


_UN_ENDINGS = (
    "ed",
    "able",
    "ible",
    "ful",
    "fully",
    "ing",
    "ly",
    "al",
    "ive",
    "ous",
    "wn",
    "en",
    "y",
    "ic",
    "ent",
    "ant",
)
