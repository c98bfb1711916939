"""Compares a negative with its entailment by words: shared words, double negation, rewording, trivial prefixes."""

from __future__ import annotations

import re

from jina_data.english.cues import NegationDiff, same_stem
from jina_data.english.lexicon import QUANTIFIERS
from jina_data.english.texts import words_of

_PREFIX = re.compile(
    r"^(?:it(?:'s| is| was) (?:not (?:true|the case|correct|a fact)|false|untrue|incorrect|wrong|a lie)\b"
    r"|it isn't (?:true|the case)|that(?:'s| is) (?:not|false)|no[,:;]|false[,:;]|contrary to\b|there is no truth"
    r"|the opposite\b|nobody (?:says|believes|claims) that)",
    re.IGNORECASE,
)
_PARTS = {"n't": "not", "'re": "are", "'s": "'s", "'m": "am", "'ve": "have", "'ll": "will", "'d": "'d"}
_SPECIAL = {"cannot": ["can", "not"], "can't": ["can", "not"], "won't": ["will", "not"], "shan't": ["shall", "not"]}


def double_turn(diff: NegationDiff) -> str | None:
    """Return the changes that invert the meaning and restore it again, None if there are none."""
    swapped = [f"{old} to {new}" for old, new in (*diff.opposites, *diff.affixes)]
    cues = [f"+{cue.word}" for cue in diff.added] + [f"-{cue.word}" for cue in diff.removed]
    if cues and swapped:
        return f"{', '.join(cues)} and {', '.join(swapped)}"
    if diff.added and len(diff.added) == len(diff.removed):
        return ", ".join(cues)
    return None


def reworded_negation(diff: NegationDiff) -> str | None:
    """Return the words replaced in addition to an added or removed negation, None if there are none."""
    pairs = [f"{old} to {new}" for old, new in diff.replaced if old and new]
    return ", ".join(pairs) if pairs and (diff.added or diff.removed) else None


def token_overlap(entailment: str, text: str) -> float:
    """Return the share of the entailment's words that the text also has, in any form; each word is matched once."""
    words, unmatched = parts_of(entailment), parts_of(text)
    shared = 0
    for word in words:
        match = next((other for other in unmatched if other == word), None) or next(
            (other for other in unmatched if same_stem(word, other)), None
        )
        if match is not None:
            unmatched.remove(match)
            shared += 1
    return shared / len(words) if words else 0.0


def parts_of(text: str) -> list[str]:
    """Return the words of a text with contractions split."""
    parts: list[str] = []
    for word in words_of(text):
        if word in _SPECIAL:
            parts += _SPECIAL[word]
            continue
        ending = next((suffix for suffix in _PARTS if word.endswith(suffix) and word != suffix), None)
        parts += [word] if ending is None else [word.removesuffix(ending), _PARTS[ending]]
    return parts


def trivial_prefix(text: str, entailment: str) -> str | None:
    """Return the prefix that negates the whole text, None if there is none; "Not all" and the like do not count."""
    if (match := _PREFIX.search(text)) and not _PREFIX.search(entailment):
        return match[0]
    words = words_of(text)
    if words[:1] == ["not"] and words_of(entailment)[:1] != ["not"] and (words[1:2] or [""])[0] not in QUANTIFIERS:
        return words[0]
    return None
