"""Rules that replace a word by its opposite, or by its partner with or without a negative affix."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jina_data.english import opposites as swaps
from jina_data.english.sentence import Sentence
from jina_data.english.texts import word_set
from jina_data.english.verb_forms import base_of
from jina_data.english.word_classes import BE, DETERMINERS, PRONOUNS


def swap_opposite(sentence: Sentence) -> str | None:
    """Replace a word by its opposite."""
    edits = [*_word_edits(sentence, swaps.OPPOSITES), *_phrase_edits(sentence), *_old_edits(sentence)]
    if not edits:
        return _swap_gender(sentence)
    return _with_article(sentence, *edits[sentence.seed % len(edits)])


def swap_affix(sentence: Sentence) -> str | None:
    """Replace a word by the same word with a negative affix, or without it."""
    edits = list(_word_edits(sentence, swaps.AFFIXES))
    return _with_article(sentence, *edits[sentence.seed % len(edits)]) if edits else None


WEEKDAYS = word_set("monday tuesday wednesday thursday friday saturday sunday today yesterday")
LONG = 16
"""In a text of more words, an opposite anywhere may not contradict the whole text."""


def _central_positions(sentence: Sentence) -> range:
    """Return the positions where an opposite contradicts the text: in a long text, only those after its main verb."""
    if len(sentence) <= LONG:
        return range(len(sentence))
    verb = sentence.main_verb()
    return range(verb.position, min(verb.position + 6, len(sentence))) if verb else range(0)


def _word_edits(sentence: Sentence, table: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that replace a listed word where no neighbour forbids it."""
    for position in _central_positions(sentence):
        word, before, after = sentence.lower[position], sentence.word_at(position - 1), sentence.word_at(position + 1)
        if word not in table or sentence.is_name(position) or table[word] in sentence.lower:
            continue
        if after in swaps.NEXT_FORBIDS.get(word, ()) or before in swaps.PREVIOUS_FORBIDS.get(word, ()):
            continue
        if word.endswith("ed") and not table[word].endswith("ed") and after in DETERMINERS:
            continue
        if word in swaps.ALSO_NOUNS and before in DETERMINERS and not after:
            continue
        if sentence.word_at(0) == "there" and word in swaps.VALUES:
            continue
        if word == "after" and (after in PRONOUNS or after.endswith("ing")):
            continue
        if word in swaps.PREDICATIVE and before not in swaps.LINKING:
            continue
        if before in swaps.ALWAYS_FORBIDDEN_BEFORE or (
            sentence.is_name(position + 1) and sentence.gap(position + 1) == " "
        ):
            continue
        if (position == 0 and sentence.is_name(1)) or (
            word in ("black", "white") and {"black", "white"} <= set(sentence.lower)
        ):
            continue
        if word in swaps.POSTURES and not swaps.LIVING & set(sentence.lower[:position]):
            continue
        if table is swaps.AFFIXES and not _fits_partner(sentence, position):
            continue
        yield position, position + 1, table[word]


def _fits_partner(sentence: Sentence, position: int) -> bool:
    """Tell whether the partner of a word by affix fits at a position; for verbs and adverbs it always does."""
    word, before = sentence.lower[position], sentence.word_at(position - 1)
    is_adverb = word.endswith("ly") and not word.endswith(("likely", "friendly"))
    if is_adverb or base_of(word) is not None:
        return True
    return before in swaps.LINKING or (word in swaps.ATTRIBUTIVE and before in DETERMINERS)


def _phrase_edits(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that replace a phrase of place, or a verb in a certain context, by its opposite."""
    for position in sorted(set(_central_positions(sentence)) - {0}):
        here = sentence.lower[position : position + 3]
        if here == ["in", "front", "of"]:
            yield position, position + 3, "behind"
        elif here == ["on", "top", "of"]:
            yield position, position + 3, "underneath"
        elif (
            here[:1] == ["behind"]
            and (sentence.word_at(position - 1).endswith("ing") or sentence.word_at(position - 1) in BE)
            and sentence.word_at(position + 1) in ("a", "an", "the", "his", "her", "their", "some")
        ):
            yield position, position + 1, "in front of"
        elif here[:1] in (["rose"], ["fell"]) and here[1:2] and here[1][0].isdigit():
            yield position, position + 1, "fell" if here[0] == "rose" else "rose"
        elif here[:1] == ["died"] and _ends_clause(sentence, position):
            yield position, position + 1, "survived"
        elif here[:1] in (["agreed"], ["agrees"], ["agree"]) and here[1:2] == ["to"] and base_of(here[-1]):
            yield position, position + 1, {"agreed": "refused", "agrees": "refuses"}.get(here[0], "refuse")
        elif here[:1] == ["near"] and sentence.word_at(position + 1) in (
            "a",
            "an",
            "the",
            "his",
            "her",
            "their",
            "some",
        ):
            yield position, position + 1, "far from"


def _ends_clause(sentence: Sentence, position: int) -> bool:
    """Tell whether a verb ends the clause, except for a day: "He has died", "She died Sunday"."""
    is_end = (
        not sentence.word_at(position + 1)
        or "," in sentence.gap(position + 1)
        or sentence.word_at(position + 1) in WEEKDAYS
    )
    return is_end and sentence.word_at(position - 1) not in ("who", "that", "which")


def _old_edits(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that replace "old": by "young" for people, by "new" for things."""
    for position in _central_positions(sentence):
        if (
            sentence.lower[position] != "old"
            or sentence.word_at(position - 1) in swaps.PREVIOUS_FORBIDS["old"]
            or sentence.word_at(position - 1).isdigit()
        ):
            continue
        if sentence.is_name(position) or sentence.is_name(position + 1) or "-" in sentence.gap(position):
            continue
        following = {sentence.word_at(position + 1), sentence.word_at(position + 2)}
        if sentence.word_at(position + 1) in ("school", "fashioned", "time", "enough", "and", "age"):
            continue
        yield (
            position,
            position + 1,
            "young" if following & swaps.PEOPLE or sentence.word_at(position - 1) in BE else "new",
        )


def _swap_gender(sentence: Sentence) -> str | None:
    """Swap the gender of the only person, with the pronouns."""
    places = [position for position, word in enumerate(sentence.lower) if word in swaps.GENDER]
    if len(places) != 1 or sentence.is_name(places[0]) or sentence.is_name(places[0] + 1):
        return None
    position = places[0]
    male = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
    female = {"she": "he", "herself": "himself", "her": "his"}
    others = [i for i, word in enumerate(sentence.lower) if word in male or word in female]
    table = (
        male
        if sentence.lower[position] in ("man", "men", "boy", "boys", "male", "males", "guy", "guys", "husband")
        else female
    )
    if any(sentence.lower[i] not in table for i in others) or (others and sentence.lower[position] in swaps.KIN):
        return None
    if table is female and any(sentence.lower[i] == "her" and not sentence.word_at(i + 1) for i in others):
        return None
    edits = [(i, i + 1, table[sentence.lower[i]]) for i in others]
    return sentence.edit((position, position + 1, swaps.GENDER[sentence.lower[position]]), *edits)


def _with_article(sentence: Sentence, first: int, last: int, new: str) -> str:
    """Return the text with one edit, and with the article (a, an) that fits the new word."""
    article = sentence.word_at(first - 1)
    if article in ("a", "an"):
        fitting = "an" if re.match(r"[aeio]|un(?!i)|ugly|urban|hour|honest", new) else "a"
        written = sentence.words[first - 1].text
        return sentence.edit((first - 1, last, f"{fitting.capitalize() if written[0] == 'A' else fitting} {new}"))
    return sentence.edit((first, last, new))
