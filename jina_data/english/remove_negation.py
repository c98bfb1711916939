"""The rule that takes the one negation of a text away."""

from __future__ import annotations

from jina_data.english.cues import negators
from jina_data.english.negate_verb import ANY
from jina_data.english.sentence import Sentence
from jina_data.english.texts import listed
from jina_data.english.verb_forms import forms_of
from jina_data.english.word_classes import BE, DETERMINERS, HAVE, MODALS, VAGUE_MODALS

SOME_AGAIN = {any_: some for some, any_ in ANY.items()}
NOT_ONLY = listed("only just merely simply necessarily even until")
CONTRACTED = {"won't": "will", "can't": "can", "cannot": "can", "shan't": "shall"}
DO_NOT = {"don't": "base", "doesn't": "third", "didn't": "past"}
FILLERS = frozenset({"anymore", "either"})


def remove_negation(sentence: Sentence) -> str | None:
    """Take the one negation of a text away; None where it has several, or one that goes deeper than a word."""
    if len(negators(sentence.text)) != 1:
        return None
    for at, word in enumerate(sentence.lower):
        edits = _without(sentence, at, word)
        if edits is not None:
            rest = [(i, i + 1, SOME_AGAIN[w]) for i, w in enumerate(sentence.lower) if i > at and w in SOME_AGAIN]
            rest += [(i, i + 1, "") for i, w in enumerate(sentence.lower) if i > at and w in FILLERS]
            taken = {i for first, last, _ in edits for i in range(first, last)}
            return sentence.changed(*edits, *[edit for edit in rest if edit[0] not in taken])
    return None


SOME_FOR_NO = {"nobody": "somebody", "nothing": "something", "nowhere": "somewhere", "never": ""}


def _without(sentence: Sentence, at: int, word: str) -> list[tuple[int, int, str]] | None:
    """Return the edits that take a negator away, None where the word is none, or stands where that goes wrong."""
    before, after = sentence.at(at - 1), sentence.at(at + 1)
    if before in ("or", "if", "why", "than", "and", "but", "whether") or after in NOT_ONLY:
        return None
    if {"if", "unless", "whether"} & set(sentence.lower[:at]) or "but" in sentence.lower[at + 1 : at + 7]:
        return None
    if word == "not" or word in DO_NOT or word.endswith("n't") or word == "cannot":
        return _without_not(sentence, at, word)
    if word == "no":
        return _without_no(sentence, at)
    new = SOME_FOR_NO.get(word)
    if word == "none" and after == "of":
        new = "some"
    if word == "without" and not after.endswith("ing"):
        new = "with"
    return None if new is None or (not new and at == 0) else [(at, at + 1, new)]


def _without_not(sentence: Sentence, at: int, word: str) -> list[tuple[int, int, str]] | None:
    """Take "not" away, and with it the "do" that was there for its sake."""
    before = sentence.at(at - 1)
    if word == "not" and before not in ("do", "does", "did"):
        known = before in BE | MODALS | HAVE | VAGUE_MODALS or sentence.at(at - 2) in BE | HAVE or "'" in before
        return [(at, at + 1, "")] if known else None
    if word in CONTRACTED:
        return [(at, at + 1, CONTRACTED[word])]
    if word != "not" and word not in DO_NOT:
        return [(at, at + 1, word.removesuffix("n't"))]
    kind = {"do": "base", "does": "third", "did": "past"}[before] if word == "not" else DO_NOT[word]
    first = at - 1 if word == "not" else at
    place = at + 1
    while sentence.at(place).endswith("ly") or sentence.at(place) in ("really", "also", "even"):
        place += 1
    forms = forms_of(sentence.at(place))
    is_order = kind == "base" and sentence.at(first - 1) in DETERMINERS | {"says", "say", "saying", "please", "reads"}
    if sentence.at(place) == "be" or forms is None or first == 0 or is_order:
        return None
    form = {"base": forms.base, "third": forms.third, "past": forms.past}[kind]
    return [(first, at + 1, ""), (place, place + 1, form)]


def _without_no(sentence: Sentence, at: int) -> list[tuple[int, int, str]] | None:
    after = sentence.at(at + 1)
    if after == "longer":
        return [(at, at + 2, "still")]
    if after == "one":
        return [(at, at + 2, "someone")]
    if (
        not after
        or after in ("doubt", "matter", "way", "more", "less", "later", "other", "such", "problem", "wonder")
        or after.isdigit()
    ):
        return None
    if "," in sentence.gap(at + 1) or "." in sentence.gap(at + 1):
        return None
    return [(at, at + 1, "some")]
