"""Provides endpoints, requests, and the dialect of a server: the form of answers and the names of parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit, urlunsplit

from jina_data.llm.refusals import is_about_range, is_about_system_message, is_about_this_text, refused_parameter

ANSWER_TOKENS, OVERHEAD_TOKENS = 96, 64
"""Token limit of an answer: tokens for each item, plus a constant for the frame around the items."""

MESSAGE_TOKENS = 16
"""Upper bound of the tokens that a server adds to a message for its role and its frame."""


BOUNDS = ("max_tokens", "max_completion_tokens")
"""The names of the parameter for the token limit of an answer."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server supports: a form of answers, parameters, and messages of the role system."""

    form: Form = "schema"
    bound: str | None = "max_tokens"
    """The parameter for the token limit of an answer; None if the server accepts none."""
    left_out: tuple[str, ...] = ()
    """Parameters that the server refused."""
    has_system: bool = True
    """Whether the instructions are a message of the role system; else they are part of the first user message."""

    @classmethod
    def initial_for(cls, base_url: str | None, form: Form | None) -> Dialect:
        """Return the dialect to try first with a server."""
        is_openai = base_url is None or (urlsplit(base_url).hostname or "").endswith("api.openai.com")
        return cls(form or "schema", "max_completion_tokens" if is_openai else "max_tokens")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Dialect:
        """Return a dialect from plain data."""
        return cls(**{**value, "left_out": tuple(value.get("left_out", ()))})

    def to_json(self) -> dict[str, Any]:
        """Return the dialect as plain data."""
        return {"form": self.form, "bound": self.bound, "left_out": list(self.left_out), "has_system": self.has_system}

    def fallback(
        self,
        message: str,
        *,
        is_fixed: bool,
        params: Iterable[str] = (),
        named: str | None = None,
        needs_bound: bool = False,
    ) -> Dialect | None:
        """Return the dialect to try after a server refused a request as wrong; None if no dialect remains.

        Args:
            message: the message of the server. A parameter of the request that it names is renamed or left out.
            is_fixed: keep the form. Otherwise a refusal that names no parameter is attributed to the form.
            params: the names of further parameters of the request.
            named: the parameter that a field of the response names.
            needs_bound: do not send requests without a token limit.
        """
        if is_about_this_text(message):
            return None
        format_name = () if self.form == "text" else ("response_format",)
        bound = () if self.bound is None else (self.bound,)
        sent = (*bound, *format_name, *(name for name in params if name not in self.left_out))
        name = refused_parameter(message, sent, named)
        if name is None and self.has_system and is_about_system_message(message):
            return replace(self, has_system=False)
        if name is None or name == "response_format":
            next_form = FORMS.index(self.form) + 1
            return None if is_fixed or next_form == len(FORMS) else replace(self, form=FORMS[next_form])
        return None if is_about_range(message) else self._without(name, needs_bound=needs_bound)

    def _without(self, name: str, *, needs_bound: bool) -> Dialect | None:
        left_out = (*self.left_out, name)
        if name != self.bound:
            return replace(self, left_out=left_out)
        other = next((other for other in BOUNDS if other not in left_out), None)
        return None if other is None and needs_bound else replace(self, bound=other, left_out=left_out)

    def difference(self, other: Dialect) -> str:
        """Describe how requests change from another dialect to this one."""
        words = {"schema": "a JSON schema", "json": "JSON objects", "text": "plain lines of text"}
        changes = [f"answers are requested as {words[self.form]}"] if self.form != other.form else []
        if self.bound != other.bound:
            changes.append(f"the token limit is sent as {self.bound}" if self.bound else "no token limit is sent")
        if dropped := [name for name in self.left_out if name not in (*other.left_out, *BOUNDS)]:
            changes.append(f"{' and '.join(dropped)} {'is' if len(dropped) == 1 else 'are'} not sent")
        if self.has_system != other.has_system:
            changes.append("the instructions are sent in the user message")
        return ", ".join(changes)


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

    def flaw(self, completion: Completion, form: Form) -> str | None:
        """Return why an answer cannot be used, None if it can.

        The reasons: cut_off, bad_form, nothing_written, refused, filtered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a server to a request. Token counts are None if the server sent none."""

    content: str | None
    finish_reason: str
    refusal: str | None
    served_model: str
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None


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

    def token_limit(self, n_items: int) -> int:
        """Return the token limit of an answer about N items."""
        return self.max_tokens or ANSWER_TOKENS * n_items + OVERHEAD_TOKENS

    def request(self, prompt: Prompt, dialect: Dialect) -> Request:
        """Return the request for a prompt."""
        max_tokens = self.token_limit(prompt.n_items)
        messages = prompt.messages(dialect.form)
        body: dict[str, Any] = {"model": self.model, "messages": messages if dialect.has_system else _merged(messages)}
        response_format = prompt.response_format(dialect.form)
        if response_format is not None:
            body["response_format"] = response_format
        if dialect.bound is not None:
            body[dialect.bound] = max_tokens
        body |= {name: value for name, value in self.params.items() if name not in dialect.left_out}
        identity = json.dumps([self.public_url, body], sort_keys=True, ensure_ascii=False)
        # The ledger reads the role of a request from the prefix of its key.
        prefix = f"{prompt.role}-" if prompt.role else ""
        return Request(prefix + hashlib.sha256(identity.encode()).hexdigest()[:32], prompt, body, max_tokens)


def _merged(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return messages without the role system: its text begins the user message."""
    return [{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}]


def public_url(base_url: str | None) -> str:
    """Return an address without user, password and query, which may be secret."""
    parts = urlsplit(base_url or "https://api.openai.com/v1")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


Form = Literal["schema", "json", "text"]
"""The form of an answer: a JSON schema that the server enforces, any JSON object, or plain lines."""


FORMS: tuple[Form, ...] = get_args(Form)
