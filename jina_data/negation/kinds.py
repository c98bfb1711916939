"""Which kind of negation a pair is asked for: a declared mix, met as near as the texts allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jina_data.english import lexicon
from jina_data.english.cues import KINDS, Kind, negators
from jina_data.english.texts import hash_64, words_of
from jina_data.errors import UsageError

DEFAULT_MIX: Mapping[Kind, float] = {
    "verbal": 0.3,
    "quantifier": 0.1,
    "antonym": 0.45,
    "affix": 0.1,
    "removal": 0.05,
}
"""Nearly half of the negatives get no new negation word, so that such a word does not give the answer away."""

RULES_MIX: Mapping[Kind, float] = {"verbal": 0.0, "quantifier": 0.05, "antonym": 0.8, "affix": 0.1, "removal": 0.05}
"""What rules are asked for: they find an opposite in a fourth to a half of all texts, and negate the verb elsewhere."""

BOUND: tuple[Kind, ...] = ("removal", "affix", "quantifier")
"""Kinds that only some texts can take: drawn first, so often that their share of all pairs comes out right."""


def parse_mix(text: str) -> dict[Kind, float]:
    """Parse `verbal=0.5,antonym=0.5`; kinds that are not named get nothing.

    Raises:
        UsageError: an unknown kind, no number, or nothing that every text can take.
    """
    mix = dict.fromkeys(KINDS, 0.0)
    for part in text.split(","):
        name, _, value = (one.strip() for one in part.partition("="))
        if name not in KINDS:
            raise UsageError(f"mix of kinds {text!r}: no kind is called {name!r}. The kinds: {', '.join(KINDS)}")
        try:
            mix[name] = float(value)
        except ValueError:
            raise UsageError(f"mix of kinds {text!r}: expected a number behind {name}=, got {value!r}") from None
    return checked_mix(mix)


def checked_mix(mix: Mapping[Kind, float]) -> dict[Kind, float]:
    """Return a mix whose shares add up to 1.

    Raises:
        UsageError: a share is negative, or verbal and antonym, the kinds for any text, have none.
    """
    total = sum(mix.values())
    if any(not 0 <= share < float("inf") for share in mix.values()) or not total:
        raise UsageError(f"mix of kinds {dict(mix)}: expected shares of 0 or more, not all 0")
    if not mix.get("verbal", 0) + mix.get("antonym", 0):
        raise UsageError("mix of kinds: give verbal or antonym a share; not every text can take another kind")
    return {kind: mix.get(kind, 0.0) / total for kind in KINDS}


def possible(entailment: str) -> frozenset[Kind]:
    """Return the kinds that a text can take; any text takes verbal and antonym."""
    words = words_of(entailment)
    kinds: set[Kind] = {"verbal", "antonym"}
    if negators(entailment):
        kinds.add("removal")
    if any(word in lexicon.AFFIX_PARTNERS for word in words):
        kinds.add("affix")
    if any(word in lexicon.QUANTIFIERS for word in words) or words[:1] in (["a"], ["an"]) or words[:1] == ["there"]:
        kinds.add("quantifier")
    return frozenset(kinds)


@dataclass(frozen=True)
class KindChooser:
    """Draws the kind of each pair by a seeded hash of its id."""

    mix: Mapping[Kind, float]
    available: Mapping[Kind, float]
    """The share of all pairs that can take each bound kind."""
    seed: int

    def choose(self, pair_id: str, kinds: frozenset[Kind] | Sequence[Kind]) -> Kind:
        """Return the kind of a pair that can take these."""
        for kind in BOUND:
            share = self.mix[kind]
            if kind in kinds and share and draw(self.seed, pair_id, kind) * self.available[kind] < share:
                return kind
        free = self.mix["verbal"] + self.mix["antonym"]
        return "verbal" if draw(self.seed, pair_id, "free") * free < self.mix["verbal"] else "antonym"


def draw(seed: int, *parts: str) -> float:
    """Return a seeded number from 0 up to 1 that depends on texts alone."""
    return hash_64(seed, *parts) / 2**64
