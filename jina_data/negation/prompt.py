"""Provides the prompt of the writing model for each form of answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.english.cues import Kind
from jina_data.llm.dialect import Completion, Form
from jina_data.negation.answers import read_answer
from jina_data.negation.pairs import Pair

KIND_WORDS: Mapping[Kind, str] = {
    "verbal": "negate the main verb, with an auxiliary or a copula (is not, does not, never)",
    "quantifier": "change who or how many, to none or few (no, nobody, none of, neither)",
    "antonym": "put the opposite in place of one word (open and closed, inside and outside), without a negation word",
    "affix": "negate a word with a prefix or a suffix (unhappy, impossible, useless)",
    "removal": "take away a negation that the text has, and add no other",
}

INSTRUCTIONS = """\
You write training data for a model that must tell a sentence from its negation.

You get an anchor and an entailment, a sentence that is true whenever the anchor is true. Write a negative: one \
sentence that cannot be true when the anchor is true, and that contradicts the entailment as well.

- Stay close to the entailment: keep its words and their order, and change only what the contradiction needs.
- Contradict it, do not merely change the subject, weaken it or leave something out.
- Write fluent, correct language, in the language of the entailment, and about as long.
- Do not begin with "It is not true that", "It is false that" or a bare "Not". Do not negate twice.
- Contradict in the kind that is asked for; if the entailment does not allow that kind, choose what is most natural.

The kinds:
{kinds}

Where "rejected" is given, these negatives were tried and refused for the reasons told. Write another that mends them.
"""

ENDINGS: Mapping[str, str] = {
    "one": 'Answer with a JSON object: {"negative": "..."}.',
    "many": 'Answer with a JSON object with one item for each numbered pair: {"negatives": [{"id": 1, "negative": '
    '"..."}, ...]}.',
    "text_one": "Answer with the negative alone, on one line: no quotes, no label, no explanation.",
    "text_many": "Answer with one line for each numbered pair, its number, a full stop and the negative, such as "
    '"1. The shop is closed." Write nothing else.',
}

REASON_WORDS: Mapping[str, str] = {
    "nothing_written": "no negative was given",
    "cut_off": "the answer was cut off; be brief",
    "filtered": "the answer was filtered; choose other words",
    "refused": "no negative was given; the texts are harmless captions and news sentences",
    "bad_form": "the answer did not have the form that was asked for",
    "prompt_echo": "it repeated words of the instructions",
    "several_sentences": "it was more than one sentence",
    "wrong_language": "it was in another language than the entailment",
    "same_as_anchor": "it was the anchor itself",
    "same_as_entailment": "it was the entailment itself",
    "duplicate_negative": "the same negative was already given for another pair; choose other words",
    "length_ratio": "it was much longer or shorter than the entailment",
    "low_overlap": "it shared too few words with the entailment",
    "reordered": "it only put the words of the entailment in another order",
    "trivial_prefix": "it negated the whole sentence from outside instead of within",
    "no_opposition": "nothing in it contradicted the entailment",
    "double_turn": "it turned the meaning twice, which says the same as the entailment",
    "reworded_negation": "it negated and changed another word besides, which may say the same; change one thing",
    "not_contradiction": "it can be true together with the anchor or the entailment",
    "judged_compatible": "it can be true together with the anchor or the entailment",
    "unjudged": "it is not clear whether it contradicts the anchor and the entailment",
}
"""How a prompt describes the reason of a rejection; other reasons are named as they are."""


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


ONE_SCHEMA = _object({"negative": {"type": "string"}})
MANY_SCHEMA = _object(
    {"negatives": {"type": "array", "items": _object({"id": {"type": "integer"}, "negative": {"type": "string"}})}}
)

PROMPT_HASH = hashlib.sha256(
    json.dumps([INSTRUCTIONS, KIND_WORDS, ENDINGS, REASON_WORDS, ONE_SCHEMA, MANY_SCHEMA], sort_keys=True).encode()
).hexdigest()[:16]
"""The version of the prompt: it changes with every text that a model may read, apart from the pairs."""

PREAMBLE = INSTRUCTIONS.format(kinds="\n".join(f"- {kind}: {words}" for kind, words in KIND_WORDS.items()))


MAX_CHARS = 400
"""Maximum length of a rejected negative in a prompt; meaningless output can be long."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected negative, as it appears in the next prompt."""

    negative: str | None
    reason: str
    detail: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the object that the model reads."""
        because = REASON_WORDS.get(self.reason, self.reason.replace("_", " "))
        negative = (self.negative or "")[:MAX_CHARS]
        return {"negative": negative, "because": f"{because} ({self.detail})" if self.detail else because}


@dataclass(frozen=True, slots=True)
class Question:
    """The prompt of one request: pairs with their positions in the run, and the earlier rejections of each."""

    positions: tuple[int, ...]
    pairs: tuple[Pair, ...]
    rejected: tuple[tuple[Rejection, ...], ...]

    @property
    def role(self) -> str:
        """The role of the writing model in the ledger."""
        return ""

    @property
    def n_items(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that request an answer of a form."""
        return messages_for(self, form)

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return the parameter `response_format` for a form; None if only the messages state the form."""
        return response_format(self.n_items, form)

    def flaw(self, completion: Completion, form: Form) -> str | None:
        """Return why an answer has no usable negative, as a reason of the checks; None if it has one."""
        parsed = read_answer(completion.content, self.n_items, form)
        is_cut_off = completion.finish_reason == "length"
        if completion.finish_reason == "content_filter":
            return "filtered"
        if any(answer.negative and (answer.is_closed or not is_cut_off) for answer in parsed):
            return None
        if is_cut_off:
            return "cut_off"
        if completion.refusal:
            return "refused"
        return "bad_form" if (completion.content or "").strip() else "nothing_written"


def messages_for(question: Question, form: Form) -> list[dict[str, str]]:
    """Return the messages of a question that request an answer of a form."""
    has_many = len(question.pairs) > 1
    ending = ENDINGS[("text_" if form == "text" else "") + ("many" if has_many else "one")]
    items = [
        _item(pair, rejected, number if has_many else None)
        for number, (pair, rejected) in enumerate(zip(question.pairs, question.rejected, strict=True), 1)
    ]
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    return [{"role": "system", "content": f"{PREAMBLE}\n{ending}"}, {"role": "user", "content": lines}]


def _item(pair: Pair, rejected: Sequence[Rejection], number: int | None) -> dict[str, Any]:
    item: dict[str, Any] = {} if number is None else {"id": number}
    item |= {"anchor": pair.anchor, "entailment": pair.entailment, "kind": pair.kind}
    if rejected:
        item["rejected"] = [rejection.to_json() for rejection in rejected]
    return item


def response_format(n_pairs: int, form: Form) -> dict[str, Any] | None:
    """Return the parameter `response_format` for a form; None if only the messages state the form."""
    if form == "text":
        return None
    if form == "json":
        return {"type": "json_object"}
    schema = ONE_SCHEMA if n_pairs == 1 else MANY_SCHEMA
    return {"type": "json_schema", "json_schema": {"name": "negatives", "strict": True, "schema": schema}}
