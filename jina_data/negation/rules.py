"""Negatives without a model: a small set of rules for English that leaves what it cannot negate.

The rules take it for granted, as captions and SNLI do, that two texts speak of the same scene: "A man is sitting"
contradicts "A man is not sitting".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jina_data.english.cues import Kind, negators
from jina_data.english.negate_quantifier import negate_subject, negate_there, other_quantifier
from jina_data.english.negate_verb import negate_caption, negate_verb, without_for_with
from jina_data.english.paraphrase import RESTATED, restated_negative
from jina_data.english.put_opposite import swap_affix, swap_opposite
from jina_data.english.remove_negation import remove_negation
from jina_data.english.sentence import Sentence
from jina_data.english.texts import hash_64, sentence_count, word_set
from jina_data.negation.pairs import Answer, Pair

VERSION = 2
"""Raised whenever a rule changes what is written."""

ORDER: tuple[Kind, ...] = ("antonym", "verbal", "quantifier", "affix")
"""The kinds tried where the one that is asked for does not fit, in this order."""

QUESTIONS = word_set("who what how why which whose") | {""}

Rule = Callable[[Sentence], str | None]

RULES: dict[Kind, Sequence[Rule]] = {
    "verbal": (negate_verb, negate_caption, without_for_with),
    "quantifier": (negate_there, negate_subject, other_quantifier),
    "antonym": (swap_opposite,),
    "affix": (swap_affix,),
}
"""The rules of each kind, in the order in which they are tried."""


class RuleGenerator:
    """Writes a negative by rules, of the kind that the pair asks for where one fits, else of another."""

    name = f"rules-{VERSION}"

    def generate(self, pair: Pair) -> Answer:
        """Return the negative of a pair; None, with `finish_reason` none, where no rule fits."""
        negative = None
        if pair.source_id.endswith(RESTATED):
            negative = restated_negative(pair.anchor, pair.entailment)
        if negative is None and (found := negate(pair.entailment, pair.kind, seed=hash_64(0, pair.id))):
            negative = found[0]
        if negative is None:
            return Answer(pair=pair, negative=None, raw="", finish_reason="none", model=self.name)
        return Answer(pair=pair, negative=negative, raw=negative, model=self.name)


def negate(text: str, kind: Kind = "verbal", *, seed: int = 0) -> tuple[str, Kind] | None:
    """Return a text that contradicts another, and by which rule; None where no rule fits.

    Args:
        text: one English sentence or caption.
        kind: the kind to try first. A text that is negated already only ever has its negation removed.
        seed: chooses where several words could be put for their opposites.
    """
    text = " ".join(text.split())
    sentence = Sentence(text, seed)
    if text.endswith("?") or sentence.word_at(0).partition("'")[0] in QUESTIONS or sentence_count(text) > 1:
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
