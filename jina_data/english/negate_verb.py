"""Rules that negate a verb: "not" after an auxiliary, before a participle, "does not" before a verb, "without"."""

from __future__ import annotations

from jina_data.english import opposites as swaps
from jina_data.english.sentence import Sentence, Verb
from jina_data.english.texts import word_set
from jina_data.english.verb_forms import STATIVE_PARTICIPLES, base_of
from jina_data.english.word_classes import CROWDS, DETERMINERS, SAY, SOME, VAGUE_MODALS

NO_NOT_BEFORE = word_set(
    """
    only just merely simply even probably possibly perhaps maybe sometimes mostly mainly partly largely nearly
    almost rarely seldom hardly likely either both about supposed
    """
)
"""Words after an auxiliary before which "not" would have another meaning."""

ANY = {"some": "any", "something": "anything", "someone": "anyone", "somebody": "anybody", "somewhere": "anywhere"}
"""Replacements of "some" after a negation."""


def negate_verb(sentence: Sentence) -> str | None:
    """Insert "not" after an auxiliary, or "does not" before another verb."""
    verb = sentence.main_verb()
    if verb is None or _is_unsafe(sentence, verb):
        return None
    if verb.kind == "auxiliary":
        return _after_auxiliary(sentence, verb)
    following = sentence.word_at(verb.position + 1)
    marks = sentence.gap(verb.position + 1) if following else sentence.gap(verb.position - 1)
    is_aside = verb.forms is not None and verb.forms.base in SAY and "," in marks
    if verb.forms is None or is_aside or following in NO_NOT_BEFORE or (verb.forms.base, following) == ("use", "to"):
        return None
    if verb.kind == "past" and _is_stative(sentence, verb.position):
        return sentence.edit((verb.position, verb.position + 1, f"not {sentence.words[verb.position].text}"))
    edits = _do_not(sentence, verb, verb.forms.base)
    if not edits:
        return None
    edits += [(position, position + 1, base) for position, base in sentence.conjoined(verb)]
    return sentence.edit(*edits, *_any_for_some(sentence, verb.position + 1))


ADVERB_BEFORE = {"still": "no longer"} | dict.fromkeys(
    ("always", "often", "usually", "sometimes", "frequently", "normally", "generally"), "never"
)
"""Adverbs before a verb, and their replacements when the verb is negated."""


def _do_not(sentence: Sentence, verb: Verb, base: str) -> list[tuple[int, int, str]]:
    """Return the edit that negates a verb by "do", before its adverb; an empty list if there is none."""
    do = {"third": "does not", "past": "did not", "base": "do not"}[verb.kind]
    adverb = sentence.word_at(verb.position - 1)
    if adverb in ADVERB_BEFORE:
        return [(verb.position - 1, verb.position, ADVERB_BEFORE[adverb])]
    if adverb == "also":
        return [(verb.position - 1, verb.position + 1, f"{do} {base}")]
    if adverb in NO_NOT_BEFORE or adverb == "already":
        return []
    if adverb.endswith("ly") and verb.position > 1 and not sentence.is_name(verb.position - 1):
        return [(verb.position - 1, verb.position + 1, f"{do} {adverb} {base}")]
    return [(verb.position, verb.position + 1, f"{do} {base}")]


def _is_unsafe(sentence: Sentence, verb: Verb) -> bool:
    """Tell whether "not" at the verb may not contradict the text, or the text is not a plain sentence."""
    subject = sentence.lower[: verb.position]
    before = sentence.text[: sentence.words[verb.position].start]
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
    after = set(sentence.lower[verb.position + 1 :])
    return bool(after & {"because", "until", "unless"}) or subject[:1] == ["there"]


ADVERB_TURNS = {"still": "no longer", "already": "not yet", "also": "not", "too": "not"} | dict.fromkeys(
    ("always", "often", "usually"), "never"
)
"""Adverbs after an auxiliary, and their replacements when it is negated."""


def _after_auxiliary(sentence: Sentence, verb: Verb) -> str | None:
    word, position = sentence.lower[verb.position], verb.position
    following = sentence.word_at(position + 1)
    if word in VAGUE_MODALS or following in NO_NOT_BEFORE or position + 1 >= len(sentence):
        return None
    if following in ADVERB_TURNS:
        return sentence.edit(
            (position + 1, position + 2, ADVERB_TURNS[following]), *_any_for_some(sentence, position + 2)
        )
    written, more = sentence.words[position].text, _any_for_some(sentence, position + 1)
    ending = f"'{word.partition(chr(39))[2]}"
    if word == "can":
        return sentence.edit((position, position + 1, "cannot"), *more)
    spelled = {"'ll": "will not", "'ve": "have not"}.get(ending)
    new = f"{written} not" if spelled is None else f"{written[: -len(ending)]} {spelled}"
    return sentence.edit((position, position + 1, new), *more)


def _any_for_some(sentence: Sentence, start: int) -> list[tuple[int, int, str]]:
    """Return the edits that replace "some" by "any" after a negation, up to the next clause."""
    edits = []
    for position in range(start, len(sentence)):
        if sentence.lower[position] in ("who", "which", "that", "because", "but", "while", "so"):
            break
        if sentence.lower[position] in ANY and sentence.word_at(position + 1) != "of":
            edits.append((position, position + 1, ANY[sentence.lower[position]]))
    return edits


MAX_CAPTION_POSITION = 10
"""Maximum position of the participle that is negated in a caption."""


def negate_caption(sentence: Sentence) -> str | None:
    """Insert "not" before the participle of a caption without a verb: "A man not riding a wave"."""
    if sentence.main_verb() is not None or sentence.word_at(0) in SOME | {"there", "all", "both"}:
        return None
    position = sentence.gerund()
    if position is None:
        position = next((i for i in range(1, len(sentence)) if _is_stative(sentence, i)), None)
    if position is None or sentence.word_at(position - 1) in ("be", "that"):
        return None
    if position > MAX_CAPTION_POSITION or any(sentence.lower[i] in ("and", "or", "while") for i in range(position)):
        return None
    if any("," in sentence.gap(i) for i in range(position)):
        return None
    return sentence.edit((position, position + 1, f"not {sentence.words[position].text}"))


def _is_stative(sentence: Sentence, position: int) -> bool:
    before, after = sentence.word_at(position - 1), sentence.word_at(position + 1)
    if (sentence.lower[position], after) in (("called", "for"), ("made", "to")):
        return False
    if sentence.lower[position] not in STATIVE_PARTICIPLES or before in DETERMINERS or "," in sentence.gap(position):
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
    """Replace "with" by "without" where it means "having": "a man with a hat"."""
    verb = sentence.main_verb()
    for position in range(1, verb.position if verb else len(sentence) - 1):
        if sentence.lower[position] != "with" or "," in sentence.gap(position):
            continue
        before, after = sentence.word_at(position - 1), sentence.word_at(position + 1)
        if before in swaps.WITH_FORBIDS or after in swaps.PERSONAL or base_of(before) in swaps.WITH_FORBIDS:
            continue
        if "and" in sentence.lower[:position] or any(word.endswith("ing") for word in sentence.lower[position + 2 :]):
            continue
        return sentence.edit((position, position + 1, "without"), *_any_for_some(sentence, position + 1))
    return None
