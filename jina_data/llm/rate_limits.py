"""How fast a server may be asked: requests and tokens a minute, how many at once, and when to hold still.

The rates are leaky buckets of aiolimiter. What they lack is done here: rates that are learned while at work (its
buckets have a fixed one, so a new rate takes a new bucket), a pause for all when a server says so, and a number of
requests at once that shrinks on refusals and grows with success.
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
"""A bucket may be emptied at once as far as so much time refills it: finer steps than timers can keep are lost."""

HEADROOM = 0.99
"""The share of a limit that is used: what leaves evenly does not arrive quite so evenly."""

MAX_PAUSE_SECONDS = 600.0

LESS, SLIGHTLY_LESS, GROWTH = 0.7, 0.9, 2.0
"""What is left of the requests under way after "too many requests" and after "overloaded", and how many more there may
be after as many answers as are under way. Halving, as TCP does, keeps only five under way where one in fifteen answers
is such a refusal for reasons that have nothing to do with us."""


class Rate:
    """A bound on an amount a minute, such that no minute sees more; None: no bound is known."""

    def __init__(self, per_minute: float | None, largest: float = 1.0) -> None:
        self.per_minute = per_minute
        self.largest = largest
        self.bucket = self._bucket()

    def _bucket(self) -> AsyncLimiter | None:
        from aiolimiter import AsyncLimiter

        if self.per_minute is None:
            return None
        usable = self.per_minute * HEADROOM
        burst = max(self.largest, usable * BURST_SECONDS / 60)
        # What may come at once is taken off the even flow, so that no minute holds more than both. One at a time are
        # spaced evenly, and need nothing taken off.
        flow = usable if burst <= 1 else max(usable - burst, usable / 2)
        return AsyncLimiter(burst, 60 * burst / flow)

    def learn(self, per_minute: float) -> None:
        """Take a lower bound over; a higher one than is set is not a reason to go faster."""
        if per_minute > 0 and (self.per_minute is None or per_minute < self.per_minute):
            self.per_minute = per_minute
            self.bucket = self._bucket()

    async def acquire(self, amount: float = 1.0) -> None:
        """Wait until so much may be taken."""
        if amount > self.largest:
            self.largest = amount
            self.bucket = self._bucket()
        if self.bucket is not None:
            await self.bucket.acquire(amount)


class Throttle:
    """What all workers ask before they send, and tell of what came back."""

    def __init__(self, concurrency: int, *, rpm: float | None = None, tpm: float | None = None) -> None:
        self.concurrency = concurrency
        self.window = float(concurrency)
        self.requests = Rate(rpm)
        self.tokens = Rate(tpm)
        self.resume_at = 0.0
        self.paused_seconds = 0.0
        self.rate_limited = 0
        self._shrunk_at = 0.0

    async def permit(self, tokens: int) -> None:
        """Wait until a request with so many tokens, those of its answer included, may go out.

        Raises:
            UsageError: it has more tokens than a minute may see.
        """
        if self.tokens.per_minute is not None and tokens > self.tokens.per_minute:
            raise UsageError(
                f"one request takes up to {tokens:,} tokens, more than the {self.tokens.per_minute:,.0f} that a "
                "minute may see; raise --tpm, or lower --max-tokens or --pairs-per-request"
            )
        while True:
            while (left := self.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(left)
            await self.tokens.acquire(tokens)
            await self.requests.acquire()
            if self.resume_at <= time.monotonic():
                return
            # A pause began meanwhile. What was acquired for now must not go out with what is acquired for later.

    def succeeded(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer."""
        if self.window < self.concurrency:
            self.window = min(self.concurrency, self.window + GROWTH / self.window)
        self._learn(headers)

    def refused(self, failure: Failure, headers: Mapping[str, str] | None = None) -> None:
        """Slow down after a server said that it was too much: send fewer at once, hold still as told."""
        if headers is not None:
            self._learn(headers)
        now = time.monotonic()
        if failure.kind == "rate_limit":
            self.rate_limited += 1
        if failure.retry_after_seconds is not None:
            self._pause(failure.retry_after_seconds, now)
        if now - self._shrunk_at > 1.0:  # the answers to one burst count once
            self._shrunk_at = now
            self.window = max(1.0, self.window * (LESS if failure.kind == "rate_limit" else SLIGHTLY_LESS))

    def _pause(self, seconds: float, now: float) -> None:
        until = now + min(seconds, MAX_PAUSE_SECONDS)
        if until > self.resume_at:
            self.paused_seconds += until - max(now, self.resume_at)
            self.resume_at = until

    def _learn(self, headers: Mapping[str, str]) -> None:
        """Take over the limits that a server tells; local servers tell none, and some tell 0 or -1."""
        for name, rate in (("requests", self.requests), ("tokens", self.tokens)):
            limit, left = (_number(headers.get(f"x-ratelimit-{part}-{name}")) for part in ("limit", "remaining"))
            if limit is None or limit <= 0:
                continue
            rate.learn(limit)
            reset = duration_seconds(headers.get(f"x-ratelimit-reset-{name}", ""))
            if left is not None and left <= 0 and reset is not None:
                # All is used up. The bucket there refills evenly, so a little of the time brings the next request.
                self._pause(min(reset, 60.0 / limit if name == "requests" else 1.0), time.monotonic())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
