"""The prompt: what an LLM is asked for a negative, in which form, and how its answer is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.english.cues import Kind
from jina_data.llm.dialect import Form
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
"""What a model is told of a rejection; a reason that is not here is told by its name."""


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
"""The version of the prompt: it changes with every word that a model may get to read beside the texts."""

PREAMBLE = INSTRUCTIONS.format(kinds="\n".join(f"- {kind}: {words}" for kind, words in KIND_WORDS.items()))


MOST_CHARS = 400
"""So much of a rejected negative is shown to the model; gibberish can be long."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A negative that was refused, as the next prompt tells of it."""

    negative: str | None
    reason: str
    detail: str = ""

    def to_json(self) -> dict[str, str]:
        """Return what the model reads."""
        because = REASON_WORDS.get(self.reason, self.reason.replace("_", " "))
        shown = (self.negative or "")[:MOST_CHARS]
        return {"negative": shown, "because": f"{because} ({self.detail})" if self.detail else because}


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks: pairs by their place in the run, and what was rejected of each before."""

    places: tuple[int, ...]
    pairs: tuple[Pair, ...]
    rejected: tuple[tuple[Rejection, ...], ...]

    @property
    def role(self) -> str:
        """Whose request it is, in the ledger: that of the model that writes."""
        return ""

    @property
    def n_pairs(self) -> int:
        """How many pairs it asks for."""
        return len(self.pairs)

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that ask it in a form."""
        return messages_for(self, form)

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return what a server is told of the form; None where it is told in words alone."""
        return response_format(self.n_pairs, form)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer holds for one pair: a negative, or what was wrong with the form."""

    negative: str | None
    schema_error: str | None = None


def messages_for(question: Question, form: Form) -> list[dict[str, str]]:
    """Return the messages that ask a question in a form."""
    many = len(question.pairs) > 1
    ending = ENDINGS[("text_" if form == "text" else "") + ("many" if many else "one")]
    items = [
        _item(pair, rejected, number if many else None)
        for number, (pair, rejected) in enumerate(zip(question.pairs, question.rejected, strict=True), 1)
    ]
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    return [{"role": "system", "content": f"{PREAMBLE}\n{ending}"}, {"role": "user", "content": lines}]


def _item(pair: Pair, rejected: Sequence[Rejection], number: int | None) -> dict[str, Any]:
    item: dict[str, Any] = {} if number is None else {"id": number}
    item |= {"anchor": pair.anchor, "entailment": pair.entailment, "kind": pair.kind}
    if rejected:
        item["rejected"] = [one.to_json() for one in rejected]
    return item


def response_format(n_pairs: int, form: Form) -> dict[str, Any] | None:
    """Return what a server is told of the form; None where it is told in words alone."""
    if form == "text":
        return None
    if form == "json":
        return {"type": "json_object"}
    schema = ONE_SCHEMA if n_pairs == 1 else MANY_SCHEMA
    return {"type": "json_schema", "json_schema": {"name": "negatives", "strict": True, "schema": schema}}


# -------------------------------------------------------------------------------------------------- reading answers


def read_answer(content: str | None, n_pairs: int, form: Form) -> list[Reading]:
    """Read what a model said, one reading for each pair. JSON is taken in every form, lines in `text` alone."""
    if not content or not content.strip():
        return [Reading(None, "the answer is empty")] * n_pairs
    value = json_of(content)
    if value is None:
        if form == "text":
            return _read_lines(content, n_pairs)
        return [Reading(None, "not a JSON object")] * n_pairs
    return [_read_one(value)] if n_pairs == 1 else _read_many(value, n_pairs)


def without_thoughts(content: str) -> str:
    """Return an answer without the thoughts that some models put in front of it."""
    return re.sub(r"^\s*<think>.*?</think>", "", content, flags=re.DOTALL)


def json_of(content: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or is wrapped around in a fence or a few words."""
    text = without_thoughts(content)
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_one(value: Mapping[str, Any]) -> Reading:
    if "negative" not in value:
        return Reading(None, f"no key negative; it has {_keys(value)}")
    negative = value["negative"]
    if not isinstance(negative, str):
        return Reading(None, f"negative is {type(negative).__name__}, not a string")
    return Reading(negative.strip() or None, None if negative.strip() else "negative is empty")


def _read_many(value: Mapping[str, Any], n_pairs: int) -> list[Reading]:
    """Read numbered items. An item is taken by its number alone: an answer must not land at another pair."""
    items = value.get("negatives")
    if not isinstance(items, list):
        return [Reading(None, f"no list negatives; it has {_keys(value)}")] * n_pairs
    found: dict[int, Reading] = {}
    twice = set()
    for item in items:
        number = item.get("id") if isinstance(item, dict) else None
        if isinstance(number, int) and not isinstance(number, bool):
            twice |= {number} & found.keys()
            found[number] = _read_one(item)
    return [_numbered(found, twice, number, n_pairs, len(items)) for number in range(1, n_pairs + 1)]


def _numbered(found: Mapping[int, Reading], twice: set[int], number: int, n_pairs: int, n_items: int) -> Reading:
    if number in twice:
        return Reading(None, f"two items with id {number}")
    return found.get(number) or Reading(None, f"no item with id {number}; {n_items} items for {n_pairs} pairs")


def _read_lines(content: str, n_pairs: int) -> list[Reading]:
    text = without_thoughts(content)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if n_pairs == 1:
        # Lines that are no answer must not be dropped here: verification tells of more than one sentence.
        return [Reading(_bare(" ".join(lines)) or None, None if lines else "the answer is empty")]
    numbered = [match for line in lines if (match := re.match(r"(\d{1,4})[.):]\s*(.*)", line))]
    numbers = [int(match[1]) for match in numbered]
    found = {int(match[1]): Reading(_bare(match[2]) or None) for match in numbered}
    twice = {number for number in found if numbers.count(number) > 1}
    return [_numbered(found, twice, number, n_pairs, len(numbered)) for number in range(1, n_pairs + 1)]


def _bare(line: str) -> str:
    """Return a line without a label or quotes around all of it."""
    line = re.sub(r"^\s*(negative|answer)\s*:\s*", "", line, flags=re.IGNORECASE).strip()
    quotes = {'"': '"', "“": "”", "'": "'"}
    if len(line) > 1 and quotes.get(line[0]) == line[-1] and line[0] not in line[1:-1]:
        line = line[1:-1].strip()
    return line


def _keys(value: Mapping[str, Any]) -> str:
    names = ", ".join(sorted(map(str, value))[:5])
    return names[:80] or "no keys"
