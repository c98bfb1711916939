"""The rule that removes the only negation of a text."""

from __future__ import annotations

from jina_data.english.cues import negators
from jina_data.english.negate_verb import ANY
from jina_data.english.sentence import Sentence
from jina_data.english.texts import word_set
from jina_data.english.verb_forms import forms_of
from jina_data.english.word_classes import BE, DETERMINERS, HAVE, MODALS, VAGUE_MODALS

SOME_FOR_ANY = {negated: plain for plain, negated in ANY.items()}
NOT_ONLY = word_set("only just merely simply necessarily even until")
CONTRACTED = {"won't": "will", "can't": "can", "cannot": "can", "shan't": "shall"}
DO_NOT = {"don't": "base", "doesn't": "third", "didn't": "past"}
FILLERS = frozenset({"anymore", "either"})


def remove_negation(sentence: Sentence) -> str | None:
    """Remove the only negation of a text; None if it has several, or removing a word is not enough."""
    if len(negators(sentence.text)) != 1:
        return None
    for position, word in enumerate(sentence.lower):
        edits = _without(sentence, position, word)
        if edits is not None:
            rest = [
                (i, i + 1, SOME_FOR_ANY[w]) for i, w in enumerate(sentence.lower) if i > position and w in SOME_FOR_ANY
            ]
            rest += [(i, i + 1, "") for i, w in enumerate(sentence.lower) if i > position and w in FILLERS]
            edited = {i for first, last, _ in edits for i in range(first, last)}
            return sentence.edit(*edits, *[edit for edit in rest if edit[0] not in edited])
    return None


SOME_FOR_NO = {"nobody": "somebody", "nothing": "something", "nowhere": "somewhere", "never": ""}


def _without(sentence: Sentence, position: int, word: str) -> list[tuple[int, int, str]] | None:
    """Return the edits that remove a negator; None if the word is none, or its context does not permit it."""
    before, after = sentence.word_at(position - 1), sentence.word_at(position + 1)
    if before in ("or", "if", "why", "than", "and", "but", "whether") or after in NOT_ONLY:
        return None
    if {"if", "unless", "whether"} & set(sentence.lower[:position]) or "but" in sentence.lower[
        position + 1 : position + 7
    ]:
        return None
    if word == "not" or word in DO_NOT or word.endswith("n't") or word == "cannot":
        return _without_not(sentence, position, word)
    if word == "no":
        return _without_no(sentence, position)
    new = SOME_FOR_NO.get(word)
    if word == "none" and after == "of":
        new = "some"
    if word == "without" and not after.endswith("ing"):
        new = "with"
    return None if new is None or (not new and position == 0) else [(position, position + 1, new)]


def _without_not(sentence: Sentence, position: int, word: str) -> list[tuple[int, int, str]] | None:
    """Remove "not", and the "do" that belongs to it."""
    before = sentence.word_at(position - 1)
    if word == "not" and before not in ("do", "does", "did"):
        is_removable = (
            before in BE | MODALS | HAVE | VAGUE_MODALS or sentence.word_at(position - 2) in BE | HAVE or "'" in before
        )
        return [(position, position + 1, "")] if is_removable else None
    if word in CONTRACTED:
        return [(position, position + 1, CONTRACTED[word])]
    if word != "not" and word not in DO_NOT:
        return [(position, position + 1, word.removesuffix("n't"))]
    kind = {"do": "base", "does": "third", "did": "past"}[before] if word == "not" else DO_NOT[word]
    first = position - 1 if word == "not" else position
    verb_position = position + 1
    while sentence.word_at(verb_position).endswith("ly") or sentence.word_at(verb_position) in (
        "really",
        "also",
        "even",
    ):
        verb_position += 1
    forms = forms_of(sentence.word_at(verb_position))
    is_order = kind == "base" and sentence.word_at(first - 1) in DETERMINERS | {
        "says",
        "say",
        "saying",
        "please",
        "reads",
    }
    if sentence.word_at(verb_position) == "be" or forms is None or first == 0 or is_order:
        return None
    form = {"base": forms.base, "third": forms.third, "past": forms.past}[kind]
    return [(first, position + 1, ""), (verb_position, verb_position + 1, form)]


def _without_no(sentence: Sentence, position: int) -> list[tuple[int, int, str]] | None:
    after = sentence.word_at(position + 1)
    if after == "longer":
        return [(position, position + 2, "still")]
    if after == "one":
        return [(position, position + 2, "someone")]
    if (
        not after
        or after in ("doubt", "matter", "way", "more", "less", "later", "other", "such", "problem", "wonder")
        or after.isdigit()
    ):
        return None
    if "," in sentence.gap(position + 1) or "." in sentence.gap(position + 1):
        return None
    return [(position, position + 1, "some")]
