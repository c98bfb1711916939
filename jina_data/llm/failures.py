"""What can go wrong between here and a server, by kind: what is fatal, what is tried again, what may be billed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jina_data.errors import ServerError

Kind = Literal["fatal", "rate_limit", "busy", "timeout", "connection", "malformed", "refused"]
"""fatal: no request can succeed. rate_limit, busy: the server says later. timeout, connection, malformed: nothing
whole came back. refused: this one request is wrong in the server's eyes."""

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
    """What went wrong with a request. `message` holds no key."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after_seconds: float | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the server may have done the work, and bill it."""
        return self.kind in ("timeout", "connection", "malformed")

    @property
    def is_transient(self) -> bool:
        """Whether another try may succeed."""
        return self.kind not in ("fatal", "refused")


class MalformedError(Exception):
    """A server answered 200 with something that is not a chat completion."""


def failure_of(error: Exception, secret: str | None) -> Failure:
    """Tell the kind of an error of the openai client, or of a malformed answer."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _of_status(error, secret)
    said = _clean(_root(error), secret)
    if isinstance(error, openai.APITimeoutError):
        return Failure("timeout", f"no answer in time: {said}")
    if isinstance(error, openai.APIConnectionError):
        return Failure("connection", f"the connection failed: {said}")
    return Failure("malformed", f"the answer is not a chat completion: {said}")


def _of_status(error: Any, secret: str | None) -> Failure:
    status: int = error.status_code
    codes = {str(error.code), str(error.type)} & FATAL_CODES.keys()
    said = _clean(_message(error.body) or error.message, secret)
    message = f"HTTP {status}: {said}"
    if codes or status in (401, 402, 403, 404):
        known = FATAL_CODES.get(min(codes), "") if codes else _FATAL_STATUS[status]
        return Failure("fatal", f"{message} ({known})", status)
    wait = retry_after_seconds(error.response.headers)
    if status == 429:
        return Failure("rate_limit", message, status, wait)
    refuses = error.response.headers.get("x-should-retry") == "false"
    if (status >= 500 or status in (408, 409, 425)) and not refuses:
        return Failure("busy", message, status, wait)
    return Failure("refused", message, status)


_FATAL_STATUS = {
    401: "the key is missing or not valid",
    402: "the account has no credit",
    403: "the key may not do this",
    404: "there is no such model, or --base-url is not that of an API: it usually ends in /v1",
}


def _message(body: object) -> str | None:
    """Return the words of an error body; servers put them in different places."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        told = inner.get("message") or inner.get("detail") if isinstance(inner, Mapping) else inner
        if told is None:
            told = body.get("detail")
        if told is not None:
            return told if isinstance(told, str) else json.dumps(told)
    return None


def _root(error: BaseException) -> str:
    """Return the words of what lies below an error; "Connection error." alone helps nobody."""
    said = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        said = str(error) or type(error).__name__
    return said


def _clean(message: str, secret: str | None) -> str:
    """Return a message on one line, without the key: whole, or as a server may quote it with its middle hidden."""
    line = " ".join(message.split())
    if secret:
        line = line.replace(secret, "***")
    line = re.sub(r"(?i)\bbearer\s+\S+", "Bearer ***", line)
    line = re.sub(r"\b(sk|pk|gsk|xai|hf)[-_][A-Za-z0-9_*-]{6,}", "***", line)
    return line[:300]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to wait: retry-after-ms, or retry-after as seconds or as a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / scale)
        except ValueError:
            pass
        seconds = _until(value)
        if seconds is not None:
            return seconds
    return None


def _until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def duration_seconds(text: str) -> float | None:
    """Read a duration as rate headers write it, such as 12ms, 1s, 6m0s or 1h2m3s."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        return sum(float(number) * units[unit] for number, unit in parts)
    except ValueError:
        return None


FIRST, MOST_IN_A_ROW = 10, 25
"""A run stops when half of the first so many requests failed, or later so many one after the other."""


@dataclass
class Outcome:
    """How asking ended."""

    answered: int = 0
    failed: int = 0
    known: int = 0
    """Requests that had an answer already."""
    stopped: str | None = None
    """None: everything was asked. max_cost: the rest would have cost too much."""


def back_off(failure: Failure, times: int, chance: random.Random) -> float:
    """Return how long to wait: as the server says, else longer each time, and never all at the same moment."""
    jitter = 0.5 + chance.random() / 2
    if failure.retry_after_seconds is not None:
        return min(failure.retry_after_seconds, 600.0) + 0.1 * jitter
    first = {"rate_limit": 1.0, "busy": 0.5, "connection": 0.5, "timeout": 1.0, "malformed": 0.1}[failure.kind]
    return float(min(30.0, first * 2 ** (times - 1))) * jitter


def reason_to_stop(url: str, failure: Failure, outcome: Outcome, failed_in_a_row: int) -> ServerError | None:
    """Return why a run must stop asking after a request was given up, None where it goes on."""
    done = outcome.answered + outcome.failed
    if failure.kind == "fatal":
        return ServerError(f"{url}: {failure.message}. What was answered before is kept")
    if FIRST <= done <= 4 * FIRST and 2 * outcome.failed >= done:
        return ServerError(
            f"{outcome.failed} of the first {done} requests to {url} failed, the last with: "
            f"{failure.message}. What was answered is kept; give the same command again when that is mended"
        )
    if failed_in_a_row >= MOST_IN_A_ROW:
        return ServerError(
            f"{failed_in_a_row} requests in a row to {url} failed, the last with: {failure.message}. "
            "What was answered is kept; give the same command again when that is mended"
        )
    return None
