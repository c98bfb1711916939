"""Paraphrases by a negated opposite: "The door is not closed" for "The door is open".

Negatives that only add a negation teach a model that "not" always moves a text far away. These pairs teach the
complement: a negation plus an opposite keeps the meaning (antonym substitution, Vahtola, Creutz and
Tiedemann, BlackboxNLP 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jina_data.english.antonyms import CONTESTS, FORBIDDEN_NEXT, PREDICATES, PRIZES, VERBS
from jina_data.english.cues import negators
from jina_data.english.negate_verb import negate_verb
from jina_data.english.sentence import Sentence
from jina_data.english.texts import hash_64, sentence_count, word_set
from jina_data.english.verb_forms import forms_of
from jina_data.english.word_classes import BE

VERSION = 1
"""Increased whenever a change produces other paraphrases."""

RESTATED = "#restated"
"""Suffix of the source id of a paraphrase pair."""

MAX_WORDS = 20
"""Maximum number of words; in a longer text the predicate is only a small part of the meaning."""

LOOKS = word_set("seem appear look feel sound taste smell")
"""Verbs that link a subject and an adjective, as forms of "be" do."""

ALLOWED_NEXT = word_set(
    "in on at to for with about that during when if because while before after but today now here there this"
)
"""Words that may follow an adjective that is the whole predicate."""

PARTICLES = word_set("to of on up out off in that")
"""Words after a verb that change its meaning."""


class Paraphrase(NamedTuple):
    """Four texts with two opposites A and B: the first two have the same meaning, the others contradict both."""

    plain: str
    """X is A: the text itself."""
    turned: str
    """X is not B."""
    opposite: str
    """X is B."""
    negated: str
    """X is not A."""


def antonym_paraphrase(text: str) -> Paraphrase | None:
    """Paraphrase a text by the negated opposite of its predicate; None if no rule fits.

    If a word has several opposites, a hash of the text chooses one, so the result depends on the text alone.

    Args:
        text: one English sentence without a negation.
    """
    text = " ".join(text.split())
    if text.endswith("?") or negators(text) or sentence_count(text) > 1:
        return None
    sentence = Sentence(text)
    negated = negate_verb(sentence) if len(sentence) <= MAX_WORDS else None
    opposites = list(_opposites(sentence)) if negated else []
    if negated is None or not opposites:
        return None
    opposite = opposites[hash_64(0, text) % len(opposites)]
    turned = negate_verb(Sentence(opposite))
    if turned is None or len({text, turned, opposite, negated}) < 4:
        return None
    return Paraphrase(text, turned, opposite, negated)


def restated_negative(anchor: str, entailment: str) -> str | None:
    """Return a text that contradicts both texts of a paraphrase pair, in either order; None if they are no such pair.

    A hash chooses between the opposite and the negated text; the pair in reverse order gets the remaining one.
    """
    is_turned = bool(negators(entailment))
    paraphrase = antonym_paraphrase(anchor if is_turned else entailment)
    if paraphrase is None or {paraphrase.plain, paraphrase.turned} != {anchor, entailment}:
        return None
    return paraphrase.negated if (hash_64(1, paraphrase.plain) + is_turned) % 2 else paraphrase.opposite


def _opposites(sentence: Sentence) -> Iterator[str]:
    """Yield the text with its predicate replaced by each of its opposites."""
    verb = sentence.main_verb()
    if verb is None:
        return
    position = verb.position + 1
    is_copula = (
        sentence.lower[verb.position].rpartition("'")[2] in ("s", "re", "m") or sentence.lower[verb.position] in BE
    )
    if sentence.word_at(verb.position) == "will" and sentence.word_at(position) == "be":
        is_copula, position = True, position + 1
    is_look = verb.forms is not None and verb.forms.base in LOOKS
    if (is_copula or is_look) and _is_whole_predicate(sentence, position):
        for word in PREDICATES.get(sentence.word_at(position), ()):
            yield sentence.edit((position, position + 1, word))
        return
    if verb.forms is None or sentence.gap(position) != " " or sentence.word_at(position) in PARTICLES:
        return
    rest = set(sentence.lower[position:])
    if verb.forms.base == "win" and (not CONTESTS & rest or PRIZES & rest):
        return
    for base in VERBS.get(verb.forms.base, ()):
        forms = forms_of(base)
        if forms is None:
            continue
        form = {"third": forms.third, "past": forms.past, "base": forms.base}.get(verb.kind)
        if form:
            yield sentence.edit((verb.position, verb.position + 1, form))


def _is_whole_predicate(sentence: Sentence, position: int) -> bool:
    """Tell whether an adjective is the whole predicate: "is open at night", not "is open and free"."""
    word, following = sentence.word_at(position), sentence.word_at(position + 1)
    if word not in PREDICATES or sentence.is_name(position) or "-" in sentence.gap(position + 1):
        return False
    if not following or any(mark in sentence.gap(position + 1) for mark in ".!"):
        return True
    if following in FORBIDDEN_NEXT.get(word, ()):
        return False
    if "," in sentence.gap(position + 1):
        return following in ("but", "because", "so", "as", "which", "according")
    return following in ALLOWED_NEXT
