"""How a server wants to be spoken to: the form of answers, and the names of parameters. Found out once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit, urlunsplit

ANSWER_TOKENS, OVERHEAD_TOKENS = 96, 64
"""Tokens that an answer may have: so many for each pair, and so many on top for the frame around them."""

MESSAGE_TOKENS = 16
"""What a server may add to a message for its role and its frame; generous."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of answers that a server knows, and how it calls the bound on an answer's tokens."""

    form: Form = "schema"
    bound: str = "max_tokens"

    @classmethod
    def first_for(cls, base_url: str | None, form: Form | None) -> Dialect:
        """Return what to try first with a server."""
        at_openai = base_url is None or (urlsplit(base_url).hostname or "").endswith("api.openai.com")
        return cls(form or "schema", "max_completion_tokens" if at_openai else "max_tokens")

    def after(self, message: str, *, is_fixed: bool) -> Dialect | None:
        """Return what to try after a server refused a request as wrong; None where there is nothing left.

        A server that names the bound wants the other name for it; all else is laid at the form's door.
        """
        other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[self.bound]
        if f"'{self.bound}'" in message.replace('"', "'").replace("`", "'"):
            return replace(self, bound=other)
        place = FORMS.index(self.form) + 1
        return None if is_fixed or place == len(FORMS) else replace(self, form=FORMS[place])


class Prompt(Protocol):
    """What a request asks: negatives of the model that writes, or an opinion of the judge."""

    @property
    def role(self) -> str:
        """Return whose request it is, in the ledger: judge, or "" for the model that writes."""
        ...

    @property
    def n_pairs(self) -> int:
        """Return how many pairs it asks for."""
        ...

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that ask it in a form."""
        ...

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return what a server is told of the form; None where it is told in words alone."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent. `key` stands for all that can change its answer."""

    key: str
    question: Prompt
    body: Mapping[str, Any]
    max_tokens: int

    @property
    def prompt_bytes(self) -> int:
        """The bytes of all that a model reads, the schema too."""
        told = self.body.get("response_format")
        n_bytes = sum(len(message["content"].encode()) for message in self.body["messages"])
        return n_bytes + (len(json.dumps(told)) if told else 0)

    @property
    def most_prompt_tokens(self) -> int:
        """An upper bound: a token stands for a byte at least, and each message has a small frame."""
        return self.prompt_bytes + MESSAGE_TOKENS * len(self.body["messages"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Whom requests go to, and what goes with each of them."""

    model: str
    base_url: str | None = None
    max_tokens: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown_url(self) -> str:
        """The address as it may be shown and stored: without a user, a password or a query."""
        return shown_url(self.base_url)

    def request(self, question: Prompt, dialect: Dialect) -> Request:
        """Return the request that asks a question."""
        bound = self.max_tokens or ANSWER_TOKENS * question.n_pairs + OVERHEAD_TOKENS
        body: dict[str, Any] = {"model": self.model, "messages": question.messages(dialect.form)}
        told = question.response_format(dialect.form)
        if told is not None:
            body["response_format"] = told
        body[dialect.bound] = bound
        body |= self.params
        named = json.dumps([self.shown_url, body], sort_keys=True, ensure_ascii=False)
        role = f"{question.role}-" if question.role else ""
        return Request(role + hashlib.sha256(named.encode()).hexdigest()[:32], question, body, bound)


def shown_url(base_url: str | None) -> str:
    """Return an address without what may be secret in it."""
    parts = urlsplit(base_url or "https://api.openai.com/v1")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


Form = Literal["schema", "json", "text"]
"""How an answer is asked for: held to a JSON schema by the server, as any JSON object, or as plain lines."""


FORMS: tuple[Form, ...] = get_args(Form)
