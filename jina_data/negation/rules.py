"""Negatives without a model: a small set of rules for English that leaves what it cannot negate.

The rules take it for granted, as captions and SNLI do, that two texts speak of the same scene: "A man is sitting"
contradicts "A man is not sitting".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from jina_data.negation import swaps
from jina_data.negation.base import Answer, Kind, Pair
from jina_data.negation.cues import negators
from jina_data.negation.kinds import hash_64
from jina_data.negation.sentences import BE, DETERMINERS, HAVE, MODALS, PRONOUNS, SAY, VAGUE_MODALS, Sentence, Verb
from jina_data.negation.texts import listed, sentence_count
from jina_data.negation.verbs import STATIVE_PARTICIPLES, base_of, forms_of, verbs

VERSION = 1
"""Raised whenever a rule changes what is written."""

ORDER: tuple[Kind, ...] = ("antonym", "verbal", "quantifier", "affix")
"""The kinds tried where the one that is asked for does not fit, in this order."""

NUMBERS = listed("two three four five six seven eight nine ten")
SOME = listed("some several many various multiple numerous few") | NUMBERS
NOT_BEHIND_NOT = listed(
    """
    only just merely simply even probably possibly perhaps maybe sometimes mostly mainly partly largely nearly
    almost rarely seldom hardly likely either both about supposed
    """
)
"""Words behind an auxiliary that make "not" say something else."""

COLLECTIVE = listed(
    """
    group bunch pair couple lot number row set variety series majority team crowd herd flock
    """
)
NOT_COUNTED = listed(
    "few little lot couple number picture photo photograph view close close-up closeup image shot scene aerial "
    "overhead drawing painting bit"
)
ANY = {"some": "any", "something": "anything", "someone": "anyone", "somebody": "anybody", "somewhere": "anywhere"}
SOME_AGAIN = {any_: some for some, any_ in ANY.items()}
NOT_ONLY = listed("only just merely simply necessarily even until")
CONTRACTED = {"won't": "will", "can't": "can", "cannot": "can", "shan't": "shall"}
DO_NOT = {"don't": "base", "doesn't": "third", "didn't": "past"}
QUESTIONS = listed("who what how why which whose") | {""}
CROWDS = listed("hundreds thousands millions dozens tens scores")
FILLERS = frozenset({"anymore", "either"})

Rule = Callable[[Sentence], str | None]


class RuleGenerator:
    """Writes a negative by rules, of the kind that the pair asks for where one fits, else of another."""

    name = f"rules-{VERSION}"

    def generate(self, pair: Pair) -> Answer:
        """Return the negative of a pair; None, with `finish_reason` none, where no rule fits."""
        found = negate(pair.entailment, pair.kind, seed=hash_64(0, pair.id))
        if found is None:
            return Answer(pair=pair, negative=None, raw="", finish_reason="none", model=self.name)
        return Answer(pair=pair, negative=found[0], raw=found[0], model=self.name)


def negate(text: str, kind: Kind = "verbal", *, seed: int = 0) -> tuple[str, Kind] | None:
    """Return a text that contradicts another, and by which rule; None where no rule fits.

    Args:
        text: one English sentence or caption.
        kind: the kind to try first. A text that is negated already only ever has its negation removed.
        seed: chooses where several words could be put for their opposites.
    """
    text = " ".join(text.split())
    sentence = Sentence(text, seed)
    if text.endswith("?") or sentence.at(0).partition("'")[0] in QUESTIONS or sentence_count(text) > 1:
        return None
    if negators(text):
        without = remove_negation(sentence)
        return (without, "removal") if without else None
    for one in dict.fromkeys((kind, *ORDER)):
        for rule in RULES.get(one, ()):
            found = rule(sentence)
            if found and found != text:
                return found, one
    return None


# ------------------------------------------------------------------------------------------------ negated verbs


def negate_verb(sentence: Sentence) -> str | None:
    """Put "not" behind an auxiliary, "does not" before another verb."""
    verb = sentence.main_verb()
    if verb is None or _is_unsafe(sentence, verb):
        return None
    if verb.kind == "auxiliary":
        return _behind_auxiliary(sentence, verb)
    following = sentence.at(verb.at + 1)
    is_aside = verb.forms is not None and verb.forms.base in SAY and "," in sentence.gap(verb.at + 1)
    if verb.forms is None or is_aside or following in NOT_BEHIND_NOT or (verb.forms.base, following) == ("use", "to"):
        return None
    if verb.kind == "past" and _is_stative(sentence, verb.at):
        return sentence.changed((verb.at, verb.at + 1, f"not {sentence.words[verb.at].text}"))
    edits = _do_not(sentence, verb, verb.forms.base)
    if not edits:
        return None
    edits += [(at, at + 1, base) for at, base in sentence.conjoined(verb)]
    return sentence.changed(*edits, *_any_for_some(sentence, verb.at + 1))


ADVERB_BEFORE = {"still": "no longer"} | dict.fromkeys(
    ("always", "often", "usually", "sometimes", "frequently", "normally", "generally"), "never"
)
"""Adverbs before a verb, and what stands there when it is negated."""


def _do_not(sentence: Sentence, verb: Verb, base: str) -> list[tuple[int, int, str]]:
    """Return the edit that negates a verb by "do", in front of an adverb before it; none where it cannot."""
    do = {"third": "does not", "past": "did not", "base": "do not"}[verb.kind]
    adverb = sentence.at(verb.at - 1)
    if adverb in ADVERB_BEFORE:
        return [(verb.at - 1, verb.at, ADVERB_BEFORE[adverb])]
    if adverb == "also":
        return [(verb.at - 1, verb.at + 1, f"{do} {base}")]
    if adverb in NOT_BEHIND_NOT or adverb == "already":
        return []
    if adverb.endswith("ly") and verb.at > 1 and not sentence.is_name(verb.at - 1):
        return [(verb.at - 1, verb.at + 1, f"{do} {adverb} {base}")]
    return [(verb.at, verb.at + 1, f"{do} {base}")]


def _is_unsafe(sentence: Sentence, verb: Verb) -> bool:
    """Tell whether "not" before a verb would not contradict, or where the text is no plain sentence."""
    subject = sentence.lower[: verb.at]
    before = sentence.text[: sentence.words[verb.at].start]
    if any(mark in before for mark in ('"', ":", ";", "--", "“", "(")):
        return True
    if set(subject[:3]) & (SOME | {"most", "all", "every", "each", "everyone", "everybody", "someone", "somebody"}):
        return True
    if (
        subject[:2] == ["at", "least"]
        or subject[:1] in (["nearly"], ["more"], ["less"], ["fewer"])
        or set(subject[:1]) & CROWDS
    ):
        return True
    if subject[:1] in (["any"], ["anyone"], ["both"], ["either"], ["lots"], ["half"], ["only"]):
        return True
    after = set(sentence.lower[verb.at + 1 :])
    return bool(after & {"because", "until", "unless"}) or subject[:1] == ["there"]


ADVERB_TURNS = {"still": "no longer", "already": "not yet", "also": "not", "too": "not"} | dict.fromkeys(
    ("always", "often", "usually"), "never"
)
"""Adverbs behind an auxiliary, and what stands there when it is negated."""


def _behind_auxiliary(sentence: Sentence, verb: Verb) -> str | None:
    word, at = sentence.lower[verb.at], verb.at
    following = sentence.at(at + 1)
    if word in VAGUE_MODALS or following in NOT_BEHIND_NOT or at + 1 >= len(sentence):
        return None
    if following in ADVERB_TURNS:
        return sentence.changed((at + 1, at + 2, ADVERB_TURNS[following]), *_any_for_some(sentence, at + 2))
    written, more = sentence.words[at].text, _any_for_some(sentence, at + 1)
    ending = f"'{word.partition(chr(39))[2]}"
    if word == "can":
        return sentence.changed((at, at + 1, "cannot"), *more)
    spelled = {"'ll": "will not", "'ve": "have not"}.get(ending)
    new = f"{written} not" if spelled is None else f"{written[: -len(ending)]} {spelled}"
    return sentence.changed((at, at + 1, new), *more)


def _any_for_some(sentence: Sentence, start: int) -> list[tuple[int, int, str]]:
    """Return the edits that turn "some" into "any" behind a negation, up to the next clause."""
    edits = []
    for at in range(start, len(sentence)):
        if sentence.lower[at] in ("who", "which", "that", "because", "but", "while", "so"):
            break
        if sentence.lower[at] in ANY and sentence.at(at + 1) != "of":
            edits.append((at, at + 1, ANY[sentence.lower[at]]))
    return edits


CAPTION_START = 10
"""A participle that stands further behind is not what a caption turns on."""


def negate_caption(sentence: Sentence) -> str | None:
    """Put "not" before the participle of a caption without a verb: "A man not riding a wave"."""
    if sentence.main_verb() is not None or sentence.at(0) in SOME | {"there", "all", "both"}:
        return None
    at = sentence.gerund()
    if at is None:
        at = next((i for i in range(1, len(sentence)) if _is_stative(sentence, i)), None)
    if at is None or at > CAPTION_START or any(sentence.lower[i] in ("and", "or", "while") for i in range(at)):
        return None
    if any("," in sentence.gap(i) for i in range(at)):
        return None
    return sentence.changed((at, at + 1, f"not {sentence.words[at].text}"))


def _is_stative(sentence: Sentence, at: int) -> bool:
    before, after = sentence.at(at - 1), sentence.at(at + 1)
    if sentence.lower[at] not in STATIVE_PARTICIPLES or before in DETERMINERS or "," in sentence.gap(at):
        return False
    return after in (
        "in",
        "on",
        "with",
        "by",
        "at",
        "next",
        "near",
        "to",
        "along",
        "outside",
        "inside",
        "under",
        "up",
    ) or (after in ("together", "around", "for", "into", "from", "behind", "over", "against"))


def without_for_with(sentence: Sentence) -> str | None:
    """Put "without" for "with" where it says what somebody has: "a man with a hat"."""
    verb = sentence.main_verb()
    for at in range(1, verb.at if verb else len(sentence) - 1):
        if sentence.lower[at] != "with" or "," in sentence.gap(at):
            continue
        before, after = sentence.at(at - 1), sentence.at(at + 1)
        if before in swaps.WITH_FORBIDS or after in swaps.PERSONAL or base_of(before) in swaps.WITH_FORBIDS:
            continue
        if "and" in sentence.lower[:at] or any(word.endswith("ing") for word in sentence.lower[at + 2 :]):
            continue
        return sentence.changed((at, at + 1, "without"), *_any_for_some(sentence, at + 1))
    return None


# -------------------------------------------------------------------------------------------------- quantifiers


def negate_there(sentence: Sentence) -> str | None:
    """Say "There is no" for "There is a"."""
    if sentence.at(0) not in ("there", "there's", "there're"):
        return None
    at = 1 if "'" in sentence.at(0) else 2
    if at == 2 and sentence.at(1) not in BE:
        return None
    word, after = sentence.at(at), sentence.at(at + 1)
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
    end = at
    if word in ("a", "an") and after in ("few", "couple", "lot", "number"):
        end = at + 2 + (sentence.at(at + 2) == "of")
    elif word in ("lots", "plenty"):
        end = at + 1 + (after == "of")
    elif word in SOME or word in ("a", "an", "another", "more", "any") or word.isdigit():
        end = at + 1
    if sentence.at(end) in ("of", "than") or end >= len(sentence):
        return None
    new = f"no {sentence.words[end].text}"
    return sentence.changed((at, end + 1, new))


def negate_subject(sentence: Sentence) -> str | None:
    """Say "No man", "None of the men", "Not all men" for what the sentence begins with."""
    first, second, third = sentence.at(0), sentence.at(1), sentence.at(2)
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
        return sentence.changed((0, 1, new))
    whole = {"everyone": "No one", "everybody": "Nobody", "everything": "Nothing"}
    whole |= {"someone": "No one", "somebody": "Nobody", "something": "Nothing"}
    if first in whole:
        return sentence.changed((0, 1, whole[first]))
    if first == "most" and second not in ("of", "recently", "notably", "likely", "the"):
        return sentence.changed((0, 1, "Few"))
    if (first, second) == ("at", "least") and (third.isdigit() or third in NUMBERS):
        return sentence.changed((0, 2, "Fewer than"))
    counted = first in SOME or first in ("all", "most", "one", "both")
    if counted and second == "of" and third in ("the", "these", "those", "them", "his", "her", "their", "its", "us"):
        return sentence.changed((0, 1, "Neither" if first == "both" else "None"))
    return _no_subject(sentence)


def _no_subject(sentence: Sentence) -> str | None:
    """Say "No" for "A", "Two", "Some" in front of a subject that stands alone."""
    verb = sentence.main_verb()
    stop = verb.at if verb else (sentence.gerund() or len(sentence))
    joined = {"and", "or"} & set(sentence.lower[1:stop]) or any("," in sentence.gap(i) for i in range(stop))
    end = _counted(sentence)
    if joined or not end or re.search(r", (and|but|so|while) ", sentence.text) or stop <= end:
        return None
    return sentence.changed((0, end, "No"))


def _counted(sentence: Sentence) -> int:
    """Return how many words at the beginning say how many, as "A", "Two" and "A lot of" do; 0 for none."""
    first, second = sentence.at(0), sentence.at(1)
    if first in ("a", "an") and second in ("few", "couple", "lot"):
        end = 2 + (sentence.at(2) == "of")
        return 0 if sentence.at(end) in DETERMINERS else end
    if (first == "lots" or first in CROWDS) and second == "of":
        return 0 if sentence.at(2) in DETERMINERS else 2
    if first in ("a", "an") and second not in NOT_COUNTED | COLLECTIVE:
        return 1
    not_things = DETERMINERS | BE | {"of", "and", "more", "or", "times", "years", "days"}
    is_noun = second not in verbs() or second.endswith("s")
    return int(first in SOME and second not in not_things and is_noun)


def other_quantifier(sentence: Sentence) -> str | None:
    """Put another quantifier for one inside the sentence."""
    for at in range(len(sentence)):
        word, after = sentence.lower[at], sentence.at(at + 1)
        if word in ("always", "sometimes", "often") and not (
            word == "often" and sentence.at(at - 1) in ("more", "most")
        ):
            return sentence.changed((at, at + 1, "never" if word != "often" else "rarely"))
        if word == "more" and after == "than":
            is_count = sentence.at(at + 2).isdigit() or sentence.at(at + 2) in NUMBERS
            return sentence.changed((at, at + 1, "fewer" if is_count else "less"))
        if word == "many" and after != "times" and sentence.at(at - 1) not in ("so", "how", "too", "as", "a", "very"):
            return sentence.changed((at, at + 1, "few"))
        is_object = word in ("everyone", "everybody", "everything") and at > 0 and after not in PRONOUNS
        if is_object and sentence.main_verb() is not None:
            return sentence.changed((at, at + 1, {"everyone": "no one", "everybody": "nobody"}.get(word, "nothing")))
    return None


# --------------------------------------------------------------------------------------- opposites and affixes


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
        elif here[:1] == ["near"] and sentence.at(at + 1) in ("a", "an", "the", "his", "her", "their", "some"):
            yield at, at + 1, "far from"


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
    if any(sentence.lower[i] not in table for i in others):
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


# ------------------------------------------------------------------------------------------------------ removal


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


RULES: dict[Kind, Sequence[Rule]] = {
    "verbal": (negate_verb, negate_caption, without_for_with),
    "quantifier": (negate_there, negate_subject, other_quantifier),
    "antonym": (swap_opposite,),
    "affix": (swap_affix,),
}
"""The rules of each kind, in the order in which they are tried."""
