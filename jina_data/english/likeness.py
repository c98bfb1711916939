"""How a negative stands to its entailment by their words: how much they share, and whether the meaning turned."""

from __future__ import annotations

import re

from jina_data.english.cues import Turn, same_stem
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


def turned_twice(turn: Turn) -> str | None:
    """Tell how a meaning was turned and turned back, None where it was not."""
    swapped = [f"{left} to {right}" for left, right in (*turn.opposites, *turn.affixes)]
    cues = [f"+{cue.word}" for cue in turn.added] + [f"-{cue.word}" for cue in turn.removed]
    if cues and swapped:
        return f"{', '.join(cues)} and {', '.join(swapped)}"
    if turn.added and len(turn.added) == len(turn.removed):
        return ", ".join(cues)
    return None


def reworded_too(turn: Turn) -> str | None:
    """Tell which word was put for another beside a negation that came or went, None where none was."""
    pairs = [f"{left} to {right}" for left, right in turn.replaced if left and right]
    return ", ".join(pairs) if pairs and (turn.added or turn.removed) else None


def token_overlap(entailment: str, text: str) -> float:
    """Return the share of the entailment's words that the text has too, in any form."""
    ours, theirs = parts_of(entailment), parts_of(text)
    left = list(theirs)
    shared = 0
    for word in ours:
        found = next((other for other in left if other == word), None) or next(
            (other for other in left if same_stem(word, other)), None
        )
        if found is not None:
            left.remove(found)
            shared += 1
    return shared / len(ours) if ours else 0.0


def parts_of(text: str) -> list[str]:
    """Return the words of a text with contractions taken apart."""
    found: list[str] = []
    for word in words_of(text):
        if word in _SPECIAL:
            found += _SPECIAL[word]
            continue
        ending = next((one for one in _PARTS if word.endswith(one) and word != one), None)
        found += [word] if ending is None else [word.removesuffix(ending), _PARTS[ending]]
    return found


def trivial_prefix(text: str, entailment: str) -> str | None:
    """Return what was put in front of a text to negate it whole; "Not all" and the like are no such prefix."""
    if (found := _PREFIX.search(text)) and not _PREFIX.search(entailment):
        return found[0]
    words = words_of(text)
    if words[:1] == ["not"] and words_of(entailment)[:1] != ["not"] and (words[1:2] or [""])[0] not in QUANTIFIERS:
        return words[0]
    return None
