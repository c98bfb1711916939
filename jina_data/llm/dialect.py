"""Provides endpoints, requests, and the dialect of a server: the form of answers and the names of parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit, urlunsplit

ANSWER_TOKENS, OVERHEAD_TOKENS = 96, 64
"""Token limit of an answer: tokens for each item, plus a constant for the frame around the items."""

MESSAGE_TOKENS = 16
"""Upper bound of the tokens that a server adds to a message for its role and its frame."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of answers that a server supports, and its parameter for the token limit of an answer."""

    form: Form = "schema"
    bound: str = "max_tokens"

    @classmethod
    def initial_for(cls, base_url: str | None, form: Form | None) -> Dialect:
        """Return the dialect to try first with a server."""
        is_openai = base_url is None or (urlsplit(base_url).hostname or "").endswith("api.openai.com")
        return cls(form or "schema", "max_completion_tokens" if is_openai else "max_tokens")

    def fallback(self, message: str, *, is_fixed: bool) -> Dialect | None:
        """Return the dialect to try after a server refused a request as wrong; None if no dialect remains.

        If the message of the server quotes the token limit parameter, its other name is tried. All other refusals are
        attributed to the form. `is_fixed` keeps the form.
        """
        other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[self.bound]
        if f"'{self.bound}'" in message.replace('"', "'").replace("`", "'"):
            return replace(self, bound=other)
        next_form = FORMS.index(self.form) + 1
        return None if is_fixed or next_form == len(FORMS) else replace(self, form=FORMS[next_form])


class Prompt(Protocol):
    """The contents of one request, as a task provides them: messages about one or more items."""

    @property
    def role(self) -> str:
        """Return the role of the model in the run, which separates usage and cost in the ledger; "" is the main one."""
        ...

    @property
    def n_items(self) -> int:
        """Return how many items the request is about; the token limit of the answer grows with it."""
        ...

    def messages(self, form: Form) -> list[dict[str, str]]:
        """Return the messages that request an answer of a form."""
        ...

    def response_format(self, form: Form) -> dict[str, Any] | None:
        """Return the parameter `response_format` for a form; None if only the messages state the form."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent. `key` is a hash of everything that can change the answer."""

    key: str
    prompt: Prompt
    body: Mapping[str, Any]
    max_tokens: int

    @property
    def prompt_bytes(self) -> int:
        """The size of everything the model reads in bytes, including the schema."""
        response_format = self.body.get("response_format")
        n_bytes = sum(len(message["content"].encode()) for message in self.body["messages"])
        return n_bytes + (len(json.dumps(response_format)) if response_format else 0)

    @property
    def max_prompt_tokens(self) -> int:
        """An upper bound for any tokenizer: a token stands for at least one byte, and each message has a frame."""
        return self.prompt_bytes + MESSAGE_TOKENS * len(self.body["messages"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A model at an address, and the parameters of all requests to it."""

    model: str
    base_url: str | None = None
    max_tokens: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def public_url(self) -> str:
        """The address without user, password and query, for messages and files."""
        return public_url(self.base_url)

    def request(self, prompt: Prompt, dialect: Dialect) -> Request:
        """Return the request for a prompt."""
        max_tokens = self.max_tokens or ANSWER_TOKENS * prompt.n_items + OVERHEAD_TOKENS
        body: dict[str, Any] = {"model": self.model, "messages": prompt.messages(dialect.form)}
        response_format = prompt.response_format(dialect.form)
        if response_format is not None:
            body["response_format"] = response_format
        body[dialect.bound] = max_tokens
        body |= self.params
        identity = json.dumps([self.public_url, body], sort_keys=True, ensure_ascii=False)
        # The ledger reads the role of a request from the prefix of its key.
        prefix = f"{prompt.role}-" if prompt.role else ""
        return Request(prefix + hashlib.sha256(identity.encode()).hexdigest()[:32], prompt, body, max_tokens)


def public_url(base_url: str | None) -> str:
    """Return an address without user, password and query, which may be secret."""
    parts = urlsplit(base_url or "https://api.openai.com/v1")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


Form = Literal["schema", "json", "text"]
"""The form of an answer: a JSON schema that the server enforces, any JSON object, or plain lines."""


FORMS: tuple[Form, ...] = get_args(Form)
