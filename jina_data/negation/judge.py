"""Provides an LLM judge, which uses the same client, ledger and cost limit as the writing model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.llm.answer_text import objects_of, without_thoughts
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Completion, Endpoint, Form
from jina_data.llm.online import OnlineClient
from jina_data.llm.request_ledger import RequestLedger
from jina_data.llm.sender import ClientConfig
from jina_data.negation.pairs import Answer, Opinion


class LlmJudge:
    """Asks a model whether negatives contradict their pairs. Answers in the ledger are reused."""

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: RequestLedger,
        config: ClientConfig,
        *,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        message: Callable[[str], None] = lambda _: None,
        seed: int = 0,
    ) -> None:
        self.name = endpoint.model
        self.endpoint = endpoint
        self.ledger = ledger
        self.config = config
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.message = message
        self.seed = seed
        self.stopped: str | None = None
        """Why no more requests are sent, as in RequestOutcome, else None."""
        self.advice = ""

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        """Return N opinions: probability 1 for yes, 0 for no.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        prompts = [JudgePrompt(answer.pair.anchor, answer.pair.entailment, answer.negative or "") for answer in answers]
        if self.stopped is None:
            client = OnlineClient(
                self.endpoint,
                self.ledger,
                self.config,
                api_key=self.api_key,
                cost_limit=self.cost_limit,
                message=self.message,
                seed=self.seed,
            )
            outcome = asyncio.run(client.ask(prompts))
            self.stopped, self.advice = outcome.stopped, outcome.advice
        return [self._stored_opinion(prompt) for prompt in prompts]

    def _stored_opinion(self, prompt: JudgePrompt) -> Opinion:
        dialect = self.ledger.dialect(self.endpoint.model, self.endpoint.public_url)
        key = self.endpoint.request(prompt, dialect).key if dialect is not None else ""
        completion = self.ledger.answer(key)
        if completion is None:
            _, reason = self.ledger.error(key) or ("", self.stopped or "the judge was not asked")
            return Opinion(None, reason, is_answered=False)
        if completion.refusal:
            return Opinion(None, f"it refused: {completion.refusal[:200]}")
        return read_opinion(completion.content)


INSTRUCTIONS = """\
You check training data for a model that must tell a sentence from its negation.

You get an anchor, an entailment, which is true whenever the anchor is, and a negative. They speak of the same \
scene: the same people, things, place and time. Does the negative contradict both, so that it cannot be true together \
with the anchor, nor together with the entailment?

Say no where it may be true together with one of them: where it says the same in other words, speaks of something \
else, is merely less exact, or makes no sense.
"""


ENDINGS: Mapping[bool, str] = {
    False: 'Answer with a JSON object, the reason in a few words: {"reason": "...", "contradicts": true or false}.',
    True: "Answer on one line: yes or no, a colon, and the reason in a few words.",
}


SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "contradicts": {"type": "boolean"}},
    "required": ["reason", "contradicts"],
    "additionalProperties": False,
}


JUDGE_PROMPT_HASH = hashlib.sha256(
    json.dumps([INSTRUCTIONS, list(ENDINGS.values()), SCHEMA], sort_keys=True).encode()
).hexdigest()[:16]
"""The version of the prompt."""


MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """The prompt of one request to a judge: a negative and both texts of its pair."""

    anchor: str
    entailment: str
    negative: str

    @property
    def role(self) -> str:
        """The role of the judge in the ledger."""
        return "judge"

    @property
    def n_items(self) -> int:
        """The number of negatives: always 1."""
        return 1

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that request an answer of a form."""
        item = {"anchor": self.anchor, "entailment": self.entailment, "negative": self.negative}
        return [
            {"role": "system", "content": f"{INSTRUCTIONS}\n{ENDINGS[form == 'text']}"},
            {"role": "user", "content": json.dumps(item, ensure_ascii=False)},
        ]

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return the parameter `response_format` for a form; None if only the messages state the form."""
        if form == "text":
            return None
        if form == "json":
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"name": "opinion", "strict": True, "schema": dict(SCHEMA)}}

    def flaw(self, completion: Completion, form: Form) -> str | None:
        """Return why an answer is no opinion; None if it is one."""
        if completion.refusal or read_opinion(completion.content).probability is not None:
            return None
        return "cut_off" if completion.finish_reason == "length" else "bad_form"


def read_opinion(content: str | None) -> Opinion:
    """Parse the answer of a judge: JSON, or a line that begins with yes or no. Any other answer is no opinion."""
    text = without_thoughts(content or "")
    objects = objects_of(text, ("contradicts", "reason"))
    opinions = {_yes_or_no(item["contradicts"]) for item in objects} - {None}
    if len(opinions) == 1:
        reasons = (item["reason"] for item in objects if isinstance(item.get("reason"), str))
        return Opinion(float(opinions == {True}), _shorten(next(reasons, "")))
    if not objects and (match := re.match(r"\W*(?:answer\W+)?(yes|no)\b\W*(.*)", text, re.IGNORECASE | re.DOTALL)):
        return Opinion(float(match[1].lower() == "yes"), _shorten(match[2]))
    return Opinion(None, f"neither yes nor no: {_shorten(content or 'nothing')}")


def _yes_or_no(value: Any) -> bool | None:
    """Return a value as true or false, also if it is written as a word; None if it is neither."""
    if isinstance(value, bool):
        return value
    match = re.match(r"\W*(yes|true|no|false)\b", value, re.IGNORECASE) if isinstance(value, str) else None
    return match[1].lower() in ("yes", "true") if match else None


def _shorten(text: str) -> str:
    return " ".join(text.split())[:MAX_CHARS]
