"""Paraphrases by a negated opposite: "The door is not closed" for "The door is open".

A negative that only has a negation more than its entailment teaches a model that "not" moves a text far away. These
pairs teach the other half: a negation and an opposite together bring it back (antonym substitution, Vahtola, Creutz and
Tiedemann, BlackboxNLP 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jina_data.english.antonyms import CONTESTS, FORBIDDEN_NEXT, PREDICATES, PRIZES, VERBS
from jina_data.english.cues import negators
from jina_data.english.negate_verb import negate_verb
from jina_data.english.sentence import Sentence
from jina_data.english.texts import hash_64, listed, sentence_count
from jina_data.english.verb_forms import forms_of
from jina_data.english.word_classes import BE

VERSION = 1
"""Raised whenever another paraphrase is written."""

RESTATED = "#restated"
"""What the source id of such a pair ends with."""

LONGEST = 20
"""Words of a text; in a longer one the predicate is a small part of what is said."""

LOOKS = listed("seem appear look feel sound taste smell")
"""Verbs that say how something is, as a form of be does."""

BEHIND = listed(
    "in on at to for with about that during when if because while before after but today now here there this"
)
"""Words that may follow an adjective that is all the predicate says."""

PARTICLES = listed("to of on up out off in that")
"""Words behind a verb that make another of it."""


class Paraphrase(NamedTuple):
    """Four texts on two opposites A and B: the first two say the same, the others contradict both."""

    plain: str
    """X is A: the text itself."""
    turned: str
    """X is not B."""
    opposite: str
    """X is B."""
    negated: str
    """X is not A."""


def antonym_paraphrase(text: str) -> Paraphrase | None:
    """Say a text by the negated opposite of its predicate; None where no rule fits.

    Where a word has several opposites, a hash of the text chooses, so that the same text always gives the same.

    Args:
        text: one English sentence without a negation.
    """
    text = " ".join(text.split())
    if text.endswith("?") or negators(text) or sentence_count(text) > 1:
        return None
    sentence = Sentence(text)
    negated = negate_verb(sentence) if len(sentence) <= LONGEST else None
    opposites = list(_opposites(sentence)) if negated else []
    if negated is None or not opposites:
        return None
    opposite = opposites[hash_64(0, text) % len(opposites)]
    turned = negate_verb(Sentence(opposite))
    if turned is None or len({text, turned, opposite, negated}) < 4:
        return None
    return Paraphrase(text, turned, opposite, negated)


def restated_negative(anchor: str, entailment: str) -> str | None:
    """Return a text that contradicts both of a pair of plain and turned text, in either order.

    A hash chooses the opposite or the negated one, and the other for the pair in the other order. None: the two are no
    such pair.
    """
    is_turned = bool(negators(entailment))
    found = antonym_paraphrase(anchor if is_turned else entailment)
    if found is None or {found.plain, found.turned} != {anchor, entailment}:
        return None
    return found.negated if (hash_64(1, found.plain) + is_turned) % 2 else found.opposite


def _opposites(sentence: Sentence) -> Iterator[str]:
    """Yield the text with an opposite for its predicate."""
    verb = sentence.main_verb()
    if verb is None:
        return
    at = verb.at + 1
    is_copula = sentence.lower[verb.at].rpartition("'")[2] in ("s", "re", "m") or sentence.lower[verb.at] in BE
    if sentence.at(verb.at) == "will" and sentence.at(at) == "be":
        is_copula, at = True, at + 1
    is_look = verb.forms is not None and verb.forms.base in LOOKS
    if (is_copula or is_look) and _is_all_said(sentence, at):
        for word in PREDICATES.get(sentence.at(at), ()):
            yield sentence.changed((at, at + 1, word))
        return
    if verb.forms is None or sentence.gap(at) != " " or sentence.at(at) in PARTICLES:
        return
    rest = set(sentence.lower[at:])
    if verb.forms.base == "win" and (not CONTESTS & rest or PRIZES & rest):
        return
    for base in VERBS.get(verb.forms.base, ()):
        forms = forms_of(base)
        if forms is None:
            continue
        form = {"third": forms.third, "past": forms.past, "base": forms.base}.get(verb.kind)
        if form:
            yield sentence.changed((verb.at, verb.at + 1, form))


def _is_all_said(sentence: Sentence, at: int) -> bool:
    """Tell whether the adjective there is the whole predicate: "is open at night", not "is open and free"."""
    word, following = sentence.at(at), sentence.at(at + 1)
    if word not in PREDICATES or sentence.is_name(at) or "-" in sentence.gap(at + 1):
        return False
    if not following or any(mark in sentence.gap(at + 1) for mark in ".!"):
        return True
    if following in FORBIDDEN_NEXT.get(word, ()):
        return False
    if "," in sentence.gap(at + 1):
        return following in ("but", "because", "so", "as", "which", "according")
    return following in BEHIND
