"""Writes negatives without a model: a small set of rules for English, which skips texts that they cannot negate.

As in SNLI and in captions, the rules assume that two texts describe the same scene: "A man is sitting" contradicts
"A man is not sitting".
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

VERSION = 3
"""Increased with every change of a rule that changes negatives."""

ORDER: tuple[Kind, ...] = ("antonym", "verbal", "quantifier", "affix")
"""The kinds to try, in this order, if the requested kind does not fit."""

QUESTIONS = word_set("who what how why which whose") | {""}

Rule = Callable[[Sentence], str | None]

RULES: dict[Kind, Sequence[Rule]] = {
    "verbal": (negate_verb, negate_caption, without_for_with),
    "quantifier": (negate_there, negate_subject, other_quantifier),
    "antonym": (swap_opposite,),
    "affix": (swap_affix,),
}
"""The rules of each kind, in the order of the attempts."""


class RuleGenerator:
    """Writes a negative by rules: of the requested kind if it fits, else of another kind."""

    name = f"rules-{VERSION}"

    def generate(self, pair: Pair) -> Answer:
        """Return the negative of a pair; None, with `finish_reason` none, if no rule fits."""
        negative = None
        if pair.source_id.endswith(RESTATED):
            negative = restated_negative(pair.anchor, pair.entailment)
        if negative is None and (result := negate(pair.entailment, pair.kind, seed=hash_64(0, pair.id))):
            negative = result[0]
        if negative is None:
            return Answer(pair=pair, negative=None, raw="", finish_reason="none", model=self.name)
        return Answer(pair=pair, negative=negative, raw=negative, model=self.name)


def negate(text: str, kind: Kind = "verbal", *, seed: int = 0) -> tuple[str, Kind] | None:
    """Return a text that contradicts `text`, and the kind of its rule; None if no rule fits.

    Args:
        text: one English sentence or caption.
        kind: the kind to try first. From a text with a negation, the negation is removed for any kind.
        seed: selects among several words that have an opposite.
    """
    text = " ".join(text.split())
    sentence = Sentence(text, seed)
    if text.endswith("?") or sentence.word_at(0).partition("'")[0] in QUESTIONS or sentence_count(text) > 1:
        return None
    if negators(text):
        without = remove_negation(sentence)
        return (without, "removal") if without else None
    for candidate_kind in dict.fromkeys((kind, *ORDER)):
        for rule in RULES.get(candidate_kind, ()):
            negative = rule(sentence)
            if negative and negative != text:
                return negative, candidate_kind
    return None
