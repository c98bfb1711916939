"""Rules that negate by a quantifier: "There is no", "No man", "None of", "Not all", "fewer than"."""

from __future__ import annotations

import re

from jina_data.english.sentence import Sentence
from jina_data.english.texts import word_set
from jina_data.english.verb_forms import verbs
from jina_data.english.word_classes import BE, CROWDS, DETERMINERS, NUMBERS, PRONOUNS, SOME

COLLECTIVE = word_set(
    """
    group bunch pair couple lot number row set variety series majority team crowd herd flock
    """
)
NOT_COUNTED = word_set(
    "few little lot couple number picture photo photograph view close close-up closeup image shot scene aerial "
    "overhead drawing painting bit"
)


def negate_there(sentence: Sentence) -> str | None:
    """Replace "There is a" by "There is no"."""
    if sentence.word_at(0) not in ("there", "there's", "there're"):
        return None
    position = 1 if "'" in sentence.word_at(0) else 2
    if position == 2 and sentence.word_at(1) not in BE:
        return None
    word, after = sentence.word_at(position), sentence.word_at(position + 1)
    if word in (
        "only",
        "just",
        "the",
        "also",
        "still",
        "something",
        "someone",
        "this",
        "that",
        "now",
        "one",
        "at",
        "very",
        "little",
        "so",
        "too",
        "his",
        "her",
        "my",
        "your",
        "their",
        "been",
    ):
        return None
    end = position
    if word in ("a", "an") and after in ("few", "couple", "lot", "number"):
        end = position + 2 + (sentence.word_at(position + 2) == "of")
    elif word in ("lots", "plenty"):
        end = position + 1 + (after == "of")
    elif word in SOME or word in ("a", "an", "another", "more", "any") or word.isdigit():
        end = position + 1
    if sentence.word_at(end) in ("of", "than") or end >= len(sentence):
        return None
    new = f"no {sentence.words[end].text}"
    return sentence.edit((position, end + 1, new))


def negate_subject(sentence: Sentence) -> str | None:
    """Replace the quantifier at the beginning: "No man", "None of the men", "Not all men"."""
    first, second, third = sentence.word_at(0), sentence.word_at(1), sentence.word_at(2)
    if first in ("all", "every", "each") and second not in (
        "of",
        "the",
        "about",
        "over",
        "around",
        "other",
        "day",
        "year",
    ):
        new = "Not all" if first == "all" else "Not every"
        return sentence.edit((0, 1, new))
    replacements = {"everyone": "No one", "everybody": "Nobody", "everything": "Nothing"}
    replacements |= {"someone": "No one", "somebody": "Nobody", "something": "Nothing"}
    if first in replacements:
        return sentence.edit((0, 1, replacements[first]))
    if first == "most" and second not in ("of", "recently", "notably", "likely", "the"):
        return sentence.edit((0, 1, "Few"))
    if (first, second) == ("at", "least") and (third.isdigit() or third in NUMBERS):
        return sentence.edit((0, 2, "Fewer than"))
    counted = first in SOME or first in ("all", "most", "one", "both")
    if counted and second == "of" and third in ("the", "these", "those", "them", "his", "her", "their", "its", "us"):
        return sentence.edit((0, 1, "Neither" if first == "both" else "None"))
    return _no_subject(sentence)


def _no_subject(sentence: Sentence) -> str | None:
    """Replace "A", "Two", "Some" by "No" before a subject that is not joined to another."""
    verb = sentence.main_verb()
    stop = verb.position if verb else (sentence.gerund() or len(sentence))
    joined = {"and", "or"} & set(sentence.lower[1:stop]) or any("," in sentence.gap(i) for i in range(stop))
    end = _counted(sentence)
    if joined or not end or re.search(r", (and|but|so|while) ", sentence.text) or stop <= end:
        return None
    return sentence.edit((0, end, "No"))


def _counted(sentence: Sentence) -> int:
    """Return the number of words of the quantifier at the beginning ("A", "Two", "A lot of"); 0 if there is none."""
    first, second = sentence.word_at(0), sentence.word_at(1)
    if first in ("a", "an") and second in ("few", "couple", "lot"):
        end = 2 + (sentence.word_at(2) == "of")
        return 0 if sentence.word_at(end) in DETERMINERS else end
    if (first == "lots" or first in CROWDS) and second == "of":
        return 0 if sentence.word_at(2) in DETERMINERS else 2
    if first in ("a", "an") and second not in NOT_COUNTED | COLLECTIVE:
        return 1
    not_things = DETERMINERS | BE | {"of", "and", "more", "or", "times", "years", "days"}
    is_noun = second not in verbs() or second.endswith("s")
    return int(first in SOME and second not in not_things and is_noun)


def other_quantifier(sentence: Sentence) -> str | None:
    """Replace a quantifier inside the sentence."""
    for position in range(len(sentence)):
        word, after = sentence.lower[position], sentence.word_at(position + 1)
        if word in ("always", "sometimes", "often") and not (
            word == "often" and sentence.word_at(position - 1) in ("more", "most")
        ):
            return sentence.edit((position, position + 1, "never" if word != "often" else "rarely"))
        if word == "more" and after == "than":
            is_count = sentence.word_at(position + 2).isdigit() or sentence.word_at(position + 2) in NUMBERS
            return sentence.edit((position, position + 1, "fewer" if is_count else "less"))
        if (
            word == "many"
            and after != "times"
            and sentence.word_at(position - 1) not in ("so", "how", "too", "as", "a", "very")
        ):
            return sentence.edit((position, position + 1, "few"))
        is_object = word in ("everyone", "everybody", "everything") and position > 0 and after not in PRONOUNS
        if is_object and sentence.main_verb() is not None:
            return sentence.edit(
                (position, position + 1, {"everyone": "no one", "everybody": "nobody"}.get(word, "nothing"))
            )
    return None
