"""Classifies the errors of requests: which are fatal, which are retried, and which may have been billed."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from jina_data.llm.error_body import ErrorBody, page_title, read_error
from jina_data.llm.refusals import is_about_parameters, is_about_this_text

FailureKind = Literal["fatal", "rate_limit", "busy", "timeout", "connection", "malformed", "refused"]
"""fatal: no request can succeed. rate_limit, busy: the server asks to retry later. timeout, connection, malformed: no
complete answer arrived. refused: the server rejects this request."""

FATAL_CODES = {
    "insufficient_quota": "the account has no quota left: add credit, or use another key",
    "billing_hard_limit_reached": "the account has reached its spending limit: raise it, or use another key",
    "billing_not_active": "billing is not active for this account",
    "account_deactivated": "the account is not active",
    "invalid_api_key": "the key is not valid",
    "model_not_found": "there is no such model, or the key may not use it",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a request. `message` does not contain the API key."""

    kind: FailureKind
    message: str
    status: int | None = None
    retry_after_seconds: float | None = None
    parameter: str | None = None
    """The parameter of the request that a field of the response names."""

    @property
    def is_unknown(self) -> bool:
        """Whether the server may have processed and billed the request."""
        return self.kind in ("timeout", "connection", "malformed")

    @property
    def is_transient(self) -> bool:
        """Whether a retry may succeed."""
        return self.kind not in ("fatal", "refused")


class MalformedError(Exception):
    """The server answered with status 200, but not with a chat completion."""


class ReplyError(Exception):
    """The server sent an error with status 200."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.message)
        self.body = body


def classify_error(error: Exception, secret: str | None) -> Failure:
    """Classify an error of the openai client, or a malformed answer. `secret` is removed from the message."""
    import openai

    if isinstance(error, openai.APIStatusError):
        body = replace(read_error(error.body), status=None) if error.body else ErrorBody(error.message)
        page = page_title(body.message)
        body = replace(body, message=f"the server sent {page}") if page else body
        return classify_reply(body, error.status_code, error.response.headers, secret)
    if isinstance(error, ReplyError):
        return classify_reply(error.body, None, {}, secret)
    reason = _clean(_root_message(error), secret)
    if isinstance(error, openai.APITimeoutError):
        return Failure("timeout", f"no answer in time: {reason}")
    if isinstance(error, openai.APIConnectionError):
        return Failure("connection", f"the connection failed: {reason}")
    return Failure("malformed", f"the answer is not a chat completion: {reason}")


def classify_reply(body: ErrorBody, status: int | None, headers: Mapping[str, str], secret: str | None) -> Failure:
    """Classify the error that a server sent; `status` None: with status 200."""
    text = _clean(body.message, secret)
    message = f"HTTP {status}: {text}" if status is not None else f"an error with HTTP status 200: {text}"
    code = status or body.likely_status
    kind = _kind(code, body, headers)
    if kind == "fatal":
        codes = body.codes & FATAL_CODES.keys()
        message = f"{message} ({FATAL_CODES[min(codes)] if codes else _FATAL_STATUS[code]})"
    wait = retry_after_seconds(headers) if kind in ("rate_limit", "busy") else None
    return Failure(kind, message, code, wait, body.parameter)


def _kind(status: int, body: ErrorBody, headers: Mapping[str, str]) -> FailureKind:
    if body.codes & FATAL_CODES.keys():
        return "fatal"
    if status in (403, 404, 500, 501, 502) and is_about_parameters(body.message):
        return "refused"  # proxies send the refusal of a parameter with any status
    if status == 403 and is_about_this_text(body.message):
        return "refused"
    if status in _FATAL_STATUS:
        return "fatal"
    if status == 429:
        return "rate_limit"
    is_final = headers.get("x-should-retry") == "false" or status == 501
    return "busy" if (status >= 500 or status in (408, 409, 425)) and not is_final else "refused"


_FATAL_STATUS = {
    401: "the key is missing or not valid",
    402: "the account has no credit",
    403: "the key may not do this",
    404: "there is no such model, or --base-url is not the address of an API, which usually ends in /v1",
}


def _root_message(error: BaseException) -> str:
    """Return the message of the root cause; the error itself may only say "Connection error."."""
    message = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        message = str(error) or type(error).__name__
    return message


def _clean(message: str, secret: str | None) -> str:
    """Return a message on one line without keys, both complete and with a masked middle as servers quote them."""
    line = " ".join(message.split())
    if secret:
        line = line.replace(secret, "***")
    line = re.sub(r"(?i)\bbearer\s+\S+", "Bearer ***", line)
    line = re.sub(r"\b(sk|pk|gsk|xai|hf)[-_][A-Za-z0-9_*-]{6,}", "***", line)
    return line[:300]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to wait: from retry-after-ms, or from retry-after in seconds or as a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / scale)
        except ValueError:
            pass
        seconds = _seconds_until(value)
        if seconds is not None:
            return seconds
    return None


def _seconds_until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def duration_seconds(text: str) -> float | None:
    """Parse a duration as in rate limit headers, such as 12ms, 1s, 6m0s or 1h2m3s; None if it is not one."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        return sum(float(number) * units[unit] for number, unit in parts)
    except ValueError:
        return None


@dataclass
class RequestOutcome:
    """Counts of the requests of one call, and why it stopped early."""

    answered: int = 0
    failed: int = 0
    already_answered: int = 0
    """Requests that had a stored answer before."""
    stopped: str | None = None
    """None: all requests were made. max_cost: more would exceed the limit. batches: batches are in progress.
    unusable: the answers cannot be used."""
    advice: str = ""
    """What to do about answers that cannot be used."""


def back_off(failure: Failure, attempts: int, rng: random.Random) -> float:
    """Return how many seconds to wait before a retry: as the server asks, or else with exponential backoff and jitter.

    `attempts` counts the failed attempts so far.
    """
    jitter = 0.5 + rng.random() / 2
    if failure.retry_after_seconds is not None:
        return min(failure.retry_after_seconds, 600.0) + 0.1 * jitter
    base = {"rate_limit": 1.0, "busy": 0.5, "connection": 0.5, "timeout": 1.0, "malformed": 0.1}[failure.kind]
    return float(min(30.0, base * 2 ** (attempts - 1))) * jitter
