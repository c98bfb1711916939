"""Sends single requests within the limits, records every answer and failure, and puts retries into a queue."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_data.llm.completions import parse_body, read_completion
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Completion, Dialect, Endpoint, Form, Request
from jina_data.llm.failures import Failure, RequestOutcome, back_off, classify_error
from jina_data.llm.patience import AnswerWatch, reason_to_stop
from jina_data.llm.rate_limits import Throttle
from jina_data.llm.request_ledger import RequestLedger

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_RATE_LIMITED = 60
"""Maximum number of rate limit errors for a single request."""

BYTES_PER_TOKEN = 4.0
"""Approximate bytes of a token of English text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How requests are sent. No setting changes an answer."""

    concurrency: int = 16
    rpm: float | None = None
    tpm: float | None = None
    timeout_seconds: float = 120.0
    attempts: int = 6
    form: Form | None = None
    watches_answers: bool = True
    """Stop if too many answers cannot be used."""


@dataclass(order=True)
class Job:
    """A request that is to be sent, and how often it has failed."""

    due: float
    number: int
    request: Request = field(compare=False)
    attempts: int = field(default=0, compare=False)
    rate_limited: int = field(default=0, compare=False)


class RequestSender:
    """Sends single requests to one server, and records their answers and failures."""

    client: AsyncOpenAI

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: RequestLedger,
        config: ClientConfig,
        *,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        advance: Callable[[int], None] = lambda _: None,
        message: Callable[[str], None] = lambda _: None,
        seed: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self.url = endpoint.public_url
        self.ledger = ledger
        self.config = config
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.advance = advance
        self.message = message
        self.watch = AnswerWatch()
        self.dialect = Dialect.initial_for(endpoint.base_url, config.form)
        self.throttle = Throttle(config.concurrency, rpm=config.rpm, tpm=config.tpm)
        self.outcome = RequestOutcome()
        self._random = random.Random(seed)
        self._waiting: list[Job] = []
        self._open: set[str] = set()
        """Keys of requests that were started and are neither answered nor given up."""
        self._sending = 0
        """Requests in flight, or about to be."""
        self._idle = 0
        self._failed_in_a_row = 0
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._halted = asyncio.Event()

    async def _wait(self) -> None:
        """Wait until another worker calls `_wake`, or the next retry is due."""
        seconds = max(0.0, self._waiting[0].due - time.monotonic()) if self._waiting else None
        self._idle += 1
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._idle -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _send(self, job: Job) -> Failure | None:
        """Send a request once; return the failure, if there was one."""
        request = job.request
        try:
            if not await self._acquire(request):
                return None
            self.ledger.record_sending(request, self.endpoint.model, self.url)
            try:
                completion, headers = await self._exchange(request)
            except Exception as error:
                failure = classify_error(error, self.api_key)
                self._settle_failure(job, failure, getattr(getattr(error, "response", None), "headers", None))
                return failure
            self._settle_answer(request, completion, headers)
            return None
        finally:
            self._sending -= 1
            if self._idle:
                self._wake()

    async def _acquire(self, request: Request) -> bool:
        """Wait until the rate limits and the cost limit allow a request; return False if it must not be sent."""
        prompt_tokens = int(request.prompt_bytes / BYTES_PER_TOKEN)
        await self.throttle.permit(prompt_tokens + request.max_tokens)
        while self._error is None and self.outcome.stopped is None:
            if self.cost_limit is None or self.cost_limit.reserve(request):
                return True
            if not self.cost_limit.reserved:
                self.outcome.stopped = "max_cost"
                break
            await self._wait()  # requests in flight may cost less than reserved
        return False

    async def _exchange(self, request: Request) -> tuple[Completion, Mapping[str, str]]:
        body = dict(request.body)
        model, messages = body.pop("model"), body.pop("messages")
        raw = await self.client.chat.completions.with_raw_response.create(
            model=model, messages=messages, extra_body=body
        )
        return read_completion(parse_body(raw.http_response.text)), raw.headers

    def _settle_answer(self, request: Request, completion: Completion, headers: Mapping[str, str]) -> None:
        self.ledger.record_answer(request.key, completion)
        self.throttle.record_success(headers)
        if self.cost_limit is not None:
            self.cost_limit.settle(request.key, completion)
        self._open.discard(request.key)
        self.outcome.answered += 1
        self._failed_in_a_row = 0
        self.advance(request.prompt.n_items)
        if self.config.watches_answers:
            self._watch(request, completion)

    def _watch(self, request: Request, completion: Completion) -> None:
        """Stop sending if too many answers cannot be used."""
        self.watch.add(request.prompt.flaw(completion, self.dialect.form), completion.content)
        if self.outcome.stopped is None and self.watch.is_hopeless:
            self.outcome.stopped = "unusable"
            self.outcome.advice = self.watch.advice(self.url, max_tokens=request.max_tokens, form=self.dialect.form)

    def _settle_failure(self, job: Job, failure: Failure, headers: Mapping[str, str] | None) -> None:
        """Record a failure, and queue the request for a retry, give it up, or stop the run."""
        if self.cost_limit is not None:
            self.cost_limit.settle(job.request.key, None, is_unknown=failure.is_unknown)
        if failure.kind == "rate_limit" or failure.status == 503:
            self.throttle.record_refusal(failure, headers)
        if failure.kind == "rate_limit":
            job.rate_limited += 1
        else:
            job.attempts += 1
        is_retried = (
            failure.is_transient and job.attempts < self.config.attempts and job.rate_limited < MAX_RATE_LIMITED
        )
        self.ledger.record_failure(
            job.request.key,
            failure.kind,
            failure.message,
            is_unknown=failure.is_unknown,
            state="waiting" if is_retried else "failed",
        )
        if is_retried:
            n_failed = job.rate_limited if failure.kind == "rate_limit" else job.attempts
            job.due = time.monotonic() + back_off(failure, n_failed, self._random)
            heapq.heappush(self._waiting, job)
            self._wake()
        else:
            self._give_up(job, failure)

    def _give_up(self, job: Job, failure: Failure) -> None:
        self._open.discard(job.request.key)
        self.outcome.failed += 1
        self._failed_in_a_row += 1
        self.advance(job.request.prompt.n_items)
        if self._error is None:
            self._error = reason_to_stop(self.url, failure, self.outcome, self._failed_in_a_row)
            if self._error is not None:
                self._halted.set()
