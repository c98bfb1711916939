"""Rules that negate a verb: "not" behind an auxiliary or a participle, "does not" before a verb, "without"."""

from __future__ import annotations

from jina_data.english import opposites as swaps
from jina_data.english.sentence import Sentence, Verb
from jina_data.english.texts import listed
from jina_data.english.verb_forms import STATIVE_PARTICIPLES, base_of
from jina_data.english.word_classes import CROWDS, DETERMINERS, SAY, SOME, VAGUE_MODALS

NOT_BEHIND_NOT = listed(
    """
    only just merely simply even probably possibly perhaps maybe sometimes mostly mainly partly largely nearly
    almost rarely seldom hardly likely either both about supposed
    """
)
"""Words behind an auxiliary that make "not" say something else."""

ANY = {"some": "any", "something": "anything", "someone": "anyone", "somebody": "anybody", "somewhere": "anywhere"}
"""What "some" becomes behind a negation."""


def negate_verb(sentence: Sentence) -> str | None:
    """Put "not" behind an auxiliary, "does not" before another verb."""
    verb = sentence.main_verb()
    if verb is None or _is_unsafe(sentence, verb):
        return None
    if verb.kind == "auxiliary":
        return _behind_auxiliary(sentence, verb)
    following = sentence.at(verb.at + 1)
    marks = sentence.gap(verb.at + 1) if following else sentence.gap(verb.at - 1)
    is_aside = verb.forms is not None and verb.forms.base in SAY and "," in marks
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
    if at is None or sentence.at(at - 1) in ("be", "that"):
        return None
    if at > CAPTION_START or any(sentence.lower[i] in ("and", "or", "while") for i in range(at)):
        return None
    if any("," in sentence.gap(i) for i in range(at)):
        return None
    return sentence.changed((at, at + 1, f"not {sentence.words[at].text}"))


def _is_stative(sentence: Sentence, at: int) -> bool:
    before, after = sentence.at(at - 1), sentence.at(at + 1)
    if (sentence.lower[at], after) in (("called", "for"), ("made", "to")):
        return False
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
