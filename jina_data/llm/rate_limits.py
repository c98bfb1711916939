"""Limits requests to a server: requests and tokens per minute, concurrent requests, and pauses.

The rates are leaky buckets of aiolimiter. This module adds rates that are learned from response headers (a bucket of
aiolimiter has a fixed rate, so a new rate takes a new bucket), a pause of all requests when a server asks for it, and a
number of concurrent requests that shrinks on refusals and grows with success.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jina_data.errors import UsageError
from jina_data.llm.failures import Failure, duration_seconds

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

BURST_SECONDS = 0.25
"""A burst may use the amount that this time refills; timers are not precise enough for smaller steps."""

HEADROOM = 0.99
"""Share of a limit that is used: requests that are sent at even intervals arrive less evenly."""

MAX_PAUSE_SECONDS = 600.0

RATE_LIMIT_SHRINK, OVERLOAD_SHRINK, GROWTH = 0.7, 0.9, 2.0
"""Factors of the window of concurrent requests after "too many requests" and after "overloaded", and the number of
requests by which it grows after one window of answers. Halving, as TCP does, keeps only five requests in flight if one
in fifteen answers is a refusal for other reasons than our rate."""


class RateLimit:
    """A limit of an amount in any minute; without `per_minute` there is no limit.

    `max_amount` is the largest amount of a single request: a bucket must hold at least that.
    """

    def __init__(self, per_minute: float | None, max_amount: float = 1.0) -> None:
        self.per_minute = per_minute
        self.max_amount = max_amount
        self.bucket = self._make_bucket()

    def _make_bucket(self) -> AsyncLimiter | None:
        from aiolimiter import AsyncLimiter

        if self.per_minute is None:
            return None
        usable = self.per_minute * HEADROOM
        burst = max(self.max_amount, usable * BURST_SECONDS / 60)
        # In the worst minute a full burst comes on top of the even flow, so the flow is reduced by the burst.
        # Single requests (a burst of 1) are spaced evenly and need no reduction.
        flow = usable if burst <= 1 else max(usable - burst, usable / 2)
        return AsyncLimiter(burst, 60 * burst / flow)

    def learn(self, per_minute: float) -> None:
        """Adopt a limit that the server reports if it is lower than the current one."""
        if per_minute > 0 and (self.per_minute is None or per_minute < self.per_minute):
            self.per_minute = per_minute
            self.bucket = self._make_bucket()

    async def acquire(self, amount: float = 1.0) -> None:
        """Wait until the limit allows an amount."""
        if amount > self.max_amount:
            self.max_amount = amount
            self.bucket = self._make_bucket()
        if self.bucket is not None:
            await self.bucket.acquire(amount)


class Throttle:
    """Shared limits of all workers: they wait for it before a request and report the result to it."""

    def __init__(self, concurrency: int, *, rpm: float | None = None, tpm: float | None = None) -> None:
        self.concurrency = concurrency
        self.window = float(concurrency)
        self.requests = RateLimit(rpm)
        self.tokens = RateLimit(tpm)
        self.resume_at = 0.0
        self.paused_seconds = 0.0
        self.rate_limited = 0
        self._shrunk_at = 0.0

    async def permit(self, tokens: int) -> None:
        """Wait until a request with the given number of tokens, including those of its answer, may be sent.

        Raises:
            UsageError: the request has more tokens than the limit per minute.
        """
        if self.tokens.per_minute is not None and tokens > self.tokens.per_minute:
            raise UsageError(
                f"one request takes up to {tokens:,} tokens, more than the limit of {self.tokens.per_minute:,.0f} per "
                "minute; raise --tpm, or lower --max-tokens or --pairs-per-request"
            )
        while True:
            while (seconds := self.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(seconds)
            await self.tokens.acquire(tokens)
            await self.requests.acquire()
            if self.resume_at <= time.monotonic():
                return
            # A pause began in the meantime. The acquired amount counts for this minute, so acquire again after it.

    def record_success(self, headers: Mapping[str, str]) -> None:
        """Grow the window after an answer, and adopt the limits in its headers."""
        if self.window < self.concurrency:
            self.window = min(self.concurrency, self.window + GROWTH / self.window)
        self._learn(headers)

    def record_refusal(self, failure: Failure, headers: Mapping[str, str] | None = None) -> None:
        """Slow down after a refusal: shrink the window, and pause for as long as the server asks."""
        if headers is not None:
            self._learn(headers)
        now = time.monotonic()
        if failure.kind == "rate_limit":
            self.rate_limited += 1
        if failure.retry_after_seconds is not None:
            self._pause(failure.retry_after_seconds, now)
        if now - self._shrunk_at > 1.0:  # the answers to one burst count once
            self._shrunk_at = now
            shrink = RATE_LIMIT_SHRINK if failure.kind == "rate_limit" else OVERLOAD_SHRINK
            self.window = max(1.0, self.window * shrink)

    def _pause(self, seconds: float, now: float) -> None:
        until = now + min(seconds, MAX_PAUSE_SECONDS)
        if until > self.resume_at:
            self.paused_seconds += until - max(now, self.resume_at)
            self.resume_at = until

    def _learn(self, headers: Mapping[str, str]) -> None:
        """Adopt the limits in the headers of a server. Local servers send none, and some send 0 or -1."""
        for name, rate in (("requests", self.requests), ("tokens", self.tokens)):
            limit, remaining = (_number(headers.get(f"x-ratelimit-{part}-{name}")) for part in ("limit", "remaining"))
            if limit is None or limit <= 0:
                continue
            rate.learn(limit)
            reset = duration_seconds(headers.get(f"x-ratelimit-reset-{name}", ""))
            if remaining is not None and remaining <= 0 and reset is not None:
                # The limit is used up. The bucket of the server refills evenly, so the next request needs less time
                # than the full reset.
                self._pause(min(reset, 60.0 / limit if name == "requests" else 1.0), time.monotonic())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
