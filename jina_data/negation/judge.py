"""An LLM as a judge, asked through the same client, ledger and limit of the cost as the one that writes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Endpoint, Form
from jina_data.llm.online import ClientConfig, OnlineClient
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.pairs import Answer, Opinion
from jina_data.negation.prompt import json_of, without_thoughts


class LlmJudge:
    """Asks a model for each triplet whether the negative contradicts; what the ledger knows is not asked again."""

    def __init__(
        self,
        target: Endpoint,
        ledger: RequestLedger,
        settings: ClientConfig,
        *,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        seed: int = 0,
    ) -> None:
        self.name = target.model
        self.target = target
        self.ledger = ledger
        self.settings = settings
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.seed = seed
        self.stopped: str | None = None
        """Why nothing is asked any more: max_cost, or None."""

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        """Return what the model says of N negatives: 1 where it says yes, 0 where it says no.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        cases = [Case(one.pair.anchor, one.pair.entailment, one.negative or "") for one in answers]
        if self.stopped is None:
            client = OnlineClient(
                self.target,
                self.ledger,
                self.settings,
                api_key=self.api_key,
                cost_limit=self.cost_limit,
                seed=self.seed,
            )
            self.stopped = asyncio.run(client.ask(cases)).stopped
        return [self._opinion(case) for case in cases]

    def _opinion(self, case: Case) -> Opinion:
        """Read what the ledger holds of a case."""
        dialect = self.ledger.dialect(self.target.model, self.target.shown_url)
        key = self.target.request(case, dialect).key if dialect is not None else ""
        received = self.ledger.answer(key)
        if received is None:
            _, why = self.ledger.error(key) or ("", self.stopped or "the judge was not asked")
            return Opinion(None, why, is_answered=False)
        if received.refusal:
            return Opinion(None, f"it refused: {received.refusal[:200]}")
        return read_opinion(received.content)


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


MOST_CHARS = 200


@dataclass(frozen=True, slots=True)
class Case:
    """What one request asks a judge: a negative and both sides of its pair."""

    anchor: str
    entailment: str
    negative: str

    @property
    def role(self) -> str:
        """Whose request it is, in the ledger."""
        return "judge"

    @property
    def n_pairs(self) -> int:
        """How many pairs it asks for."""
        return 1

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that ask it in a form."""
        item = {"anchor": self.anchor, "entailment": self.entailment, "negative": self.negative}
        told = f"{INSTRUCTIONS}\n{ENDINGS[form == 'text']}"
        return [
            {"role": "system", "content": told},
            {"role": "user", "content": json.dumps(item, ensure_ascii=False)},
        ]

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return what a server is told of the form; None where it is told in words alone."""
        if form == "text":
            return None
        if form == "json":
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"name": "opinion", "strict": True, "schema": dict(SCHEMA)}}


def read_opinion(content: str | None) -> Opinion:
    """Read what a judge said: JSON, or a line that begins with yes or no. Else it has no opinion."""
    value = json_of(content or "")
    if value is not None:
        said, why = value.get("contradicts"), value.get("reason")
        why = why if isinstance(why, str) else ""
        if isinstance(said, bool):
            return Opinion(float(said), _short(why))
    elif found := re.match(r"\W*(yes|no)\b\W*(.*)", without_thoughts(content or "").strip(), re.IGNORECASE | re.DOTALL):
        return Opinion(float(found[1].lower() == "yes"), _short(found[2]))
    return Opinion(None, f"neither yes nor no: {_short(content or 'nothing')}")


def _short(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARS]
