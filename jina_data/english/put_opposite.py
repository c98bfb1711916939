"""Rules that put an opposite, or a partner by affix, for a word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jina_data.english import opposites as swaps
from jina_data.english.sentence import Sentence
from jina_data.english.texts import listed
from jina_data.english.verb_forms import base_of
from jina_data.english.word_classes import BE, DETERMINERS, PRONOUNS


def swap_opposite(sentence: Sentence) -> str | None:
    """Put its opposite for one word."""
    found = list(_places(sentence, swaps.OPPOSITES)) + list(_phrases(sentence)) + list(_old(sentence))
    if not found:
        return _swap_gender(sentence)
    return _swapped(sentence, *found[sentence.seed % len(found)])


def swap_affix(sentence: Sentence) -> str | None:
    """Put for one word the same with a negative affix, or without."""
    found = list(_places(sentence, swaps.AFFIXES))
    return _swapped(sentence, *found[sentence.seed % len(found)]) if found else None


WEEKDAYS = listed("monday tuesday wednesday thursday friday saturday sunday today yesterday")
LONG = 16
"""A text of more words has so many side remarks that an opposite in it need not contradict the whole."""


def _central(sentence: Sentence) -> range:
    """Return the words an opposite of which contradicts the text: in a long one, those around its main verb."""
    if len(sentence) <= LONG:
        return range(len(sentence))
    verb = sentence.main_verb()
    return range(verb.at, min(verb.at + 6, len(sentence))) if verb else range(0)


def _places(sentence: Sentence, table: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that put one listed word for another, where neither neighbour forbids it."""
    for at in _central(sentence):
        word, before, after = sentence.lower[at], sentence.at(at - 1), sentence.at(at + 1)
        if word not in table or sentence.is_name(at) or table[word] in sentence.lower:
            continue
        if after in swaps.NEXT_FORBIDS.get(word, ()) or before in swaps.BEFORE_FORBIDS.get(word, ()):
            continue
        if word.endswith("ed") and not table[word].endswith("ed") and after in DETERMINERS:
            continue
        if word in swaps.NOUNS_TOO and before in DETERMINERS and not after:
            continue
        if sentence.at(0) == "there" and word in swaps.VALUES:
            continue
        if word == "after" and (after in PRONOUNS or after.endswith("ing")):
            continue
        if word in swaps.SAID_OF_SUBJECTS and before not in swaps.LINKING:
            continue
        if before in swaps.NEVER_BEFORE_FORBIDS or (sentence.is_name(at + 1) and sentence.gap(at + 1) == " "):
            continue
        if (at == 0 and sentence.is_name(1)) or (
            word in ("black", "white") and {"black", "white"} <= set(sentence.lower)
        ):
            continue
        if word in swaps.POSTURES and not swaps.LIVING & set(sentence.lower[:at]):
            continue
        if table is swaps.AFFIXES and not _says_how(sentence, at):
            continue
        yield at, at + 1, table[word]


def _says_how(sentence: Sentence, at: int) -> bool:
    """Tell whether an adjective stands where its partner by affix fits too; verbs and adverbs always do."""
    word, before = sentence.lower[at], sentence.at(at - 1)
    is_adverb = word.endswith("ly") and not word.endswith(("likely", "friendly"))
    if is_adverb or base_of(word) is not None:
        return True
    return before in swaps.LINKING or (word in swaps.BESIDE_NOUNS and before in DETERMINERS)


def _phrases(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that turn a place into its opposite."""
    for at in sorted(set(_central(sentence)) - {0}):
        here = sentence.lower[at : at + 3]
        if here == ["in", "front", "of"]:
            yield at, at + 3, "behind"
        elif here == ["on", "top", "of"]:
            yield at, at + 3, "underneath"
        elif (
            here[:1] == ["behind"]
            and (sentence.at(at - 1).endswith("ing") or sentence.at(at - 1) in BE)
            and sentence.at(at + 1) in ("a", "an", "the", "his", "her", "their", "some")
        ):
            yield at, at + 1, "in front of"
        elif here[:1] in (["rose"], ["fell"]) and here[1:2] and here[1][0].isdigit():
            yield at, at + 1, "fell" if here[0] == "rose" else "rose"
        elif here[:1] == ["died"] and _ends_there(sentence, at):
            yield at, at + 1, "survived"
        elif here[:1] in (["agreed"], ["agrees"], ["agree"]) and here[1:2] == ["to"] and base_of(here[-1]):
            yield at, at + 1, {"agreed": "refused", "agrees": "refuses"}.get(here[0], "refuse")
        elif here[:1] == ["near"] and sentence.at(at + 1) in ("a", "an", "the", "his", "her", "their", "some"):
            yield at, at + 1, "far from"


def _ends_there(sentence: Sentence, at: int) -> bool:
    """Tell whether a verb is said of the subject alone, or with the day: "He has died", "She died Sunday"."""
    is_end = not sentence.at(at + 1) or "," in sentence.gap(at + 1) or sentence.at(at + 1) in WEEKDAYS
    return is_end and sentence.at(at - 1) not in ("who", "that", "which")


def _old(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    """Yield the edit for "old": young people, new things."""
    for at in _central(sentence):
        if (
            sentence.lower[at] != "old"
            or sentence.at(at - 1) in swaps.BEFORE_FORBIDS["old"]
            or sentence.at(at - 1).isdigit()
        ):
            continue
        if sentence.is_name(at) or sentence.is_name(at + 1) or "-" in sentence.gap(at):
            continue
        following = {sentence.at(at + 1), sentence.at(at + 2)}
        if sentence.at(at + 1) in ("school", "fashioned", "time", "enough", "and", "age"):
            continue
        yield at, at + 1, "young" if following & swaps.PEOPLE or sentence.at(at - 1) in BE else "new"


def _swap_gender(sentence: Sentence) -> str | None:
    """Put a woman for a man, or a man for a woman, with the pronouns that go with them."""
    places = [at for at, word in enumerate(sentence.lower) if word in swaps.GENDER]
    if len(places) != 1 or sentence.is_name(places[0]) or sentence.is_name(places[0] + 1):
        return None
    at = places[0]
    male = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
    female = {"she": "he", "herself": "himself", "her": "his"}
    others = [i for i, word in enumerate(sentence.lower) if word in male or word in female]
    table = (
        male
        if sentence.lower[at] in ("man", "men", "boy", "boys", "male", "males", "guy", "guys", "husband")
        else female
    )
    if any(sentence.lower[i] not in table for i in others) or (others and sentence.lower[at] in swaps.KIN):
        return None
    if table is female and any(sentence.lower[i] == "her" and not sentence.at(i + 1) for i in others):
        return None
    edits = [(i, i + 1, table[sentence.lower[i]]) for i in others]
    return sentence.changed((at, at + 1, swaps.GENDER[sentence.lower[at]]), *edits)


def _swapped(sentence: Sentence, first: int, last: int, new: str) -> str:
    """Return the text with one edit, and with the article that the new word asks for."""
    article = sentence.at(first - 1)
    if article in ("a", "an"):
        fitting = "an" if re.match(r"[aeio]|un(?!i)|ugly|urban|hour|honest", new) else "a"
        written = sentence.words[first - 1].text
        return sentence.changed((first - 1, last, f"{fitting.capitalize() if written[0] == 'A' else fitting} {new}"))
    return sentence.changed((first, last, new))
