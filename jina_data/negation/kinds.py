"""Chooses the kind of negation of each pair, so that the kinds come as close to a given mix as the texts allow."""

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
"""Nearly half of the negatives get no new negation word, so that such a word does not reveal the negative."""

RULES_MIX: Mapping[Kind, float] = {"verbal": 0.0, "quantifier": 0.05, "antonym": 0.8, "affix": 0.1, "removal": 0.05}
"""The mix for rules: they find an opposite in a quarter to a half of all texts, and negate the verb in the others."""

BOUND: tuple[Kind, ...] = ("removal", "affix", "quantifier")
"""Kinds that only some texts allow. They are drawn first, so often that their share of all pairs is right."""


def parse_mix(text: str) -> dict[Kind, float]:
    """Parse `verbal=0.5,antonym=0.5`; kinds that are not listed get the share 0.

    Raises:
        UsageError: a kind is unknown, a share is not a number, or the mix is not valid (see `checked_mix`).
    """
    mix = dict.fromkeys(KINDS, 0.0)
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in KINDS:
            raise UsageError(f"mix of kinds {text!r}: unknown kind {name!r}. The kinds: {', '.join(KINDS)}")
        try:
            mix[name] = float(value)
        except ValueError:
            raise UsageError(f"mix of kinds {text!r}: expected a number after {name}=, got {value!r}") from None
    return checked_mix(mix)


def checked_mix(mix: Mapping[Kind, float]) -> dict[Kind, float]:
    """Return a mix with all kinds, scaled so that the shares add up to 1.

    Raises:
        UsageError: a share is negative or infinite, all are 0, or verbal and antonym are both 0.
    """
    total = sum(mix.values())
    if any(not 0 <= share < float("inf") for share in mix.values()) or not total:
        raise UsageError(f"mix of kinds {dict(mix)}: expected shares of 0 or more, not all 0")
    if not mix.get("verbal", 0) + mix.get("antonym", 0):
        raise UsageError("mix of kinds: give verbal or antonym a share; not every text allows another kind")
    return {kind: mix.get(kind, 0.0) / total for kind in KINDS}


def possible_kinds(entailment: str) -> frozenset[Kind]:
    """Return the kinds that a text allows; every text allows verbal and antonym."""
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
    """Chooses the kind of each pair by a seeded hash of its id."""

    mix: Mapping[Kind, float]
    available: Mapping[Kind, float]
    """The share of all pairs that allow each bound kind."""
    seed: int

    def choose(self, pair_id: str, kinds: frozenset[Kind] | Sequence[Kind]) -> Kind:
        """Return the kind of a pair that allows the given kinds."""
        for kind in BOUND:
            share = self.mix[kind]
            # Only the share `available` of all pairs allows the kind; each of them takes it with share / available.
            if kind in kinds and share and seeded_fraction(self.seed, pair_id, kind) * self.available[kind] < share:
                return kind
        free = self.mix["verbal"] + self.mix["antonym"]
        return "verbal" if seeded_fraction(self.seed, pair_id, "free") * free < self.mix["verbal"] else "antonym"


def seeded_fraction(seed: int, *parts: str) -> float:
    """Return a seeded pseudo-random number in [0, 1) that depends only on the texts."""
    return hash_64(seed, *parts) / 2**64
