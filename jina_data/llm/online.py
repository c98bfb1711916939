"""Sends concurrent requests to an OpenAI-compatible server within its limits, with retries.

The openai client sends each request with its own retries off, since they would multiply with the retries here. A failed
request waits in a queue for its next attempt, so it blocks no worker; tenacity would block one for each such request.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

from jina_data.errors import ServerError
from jina_data.llm.completions import make_client, parse_body, read_completion
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Completion, Dialect, Endpoint, Form, Prompt, Request
from jina_data.llm.failures import Failure, RequestOutcome, back_off, classify_error
from jina_data.llm.patience import AnswerWatch, reason_to_stop
from jina_data.llm.rate_limits import Throttle
from jina_data.llm.request_ledger import RequestLedger

GRACE_SECONDS = 5.0
"""Time for requests in flight to finish after a fatal error."""

MAX_FAILED_PROBES = 2
"""Attempts of a first request that ends in status 500, before another form of answers is tried."""

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
class _Job:
    due: float
    number: int
    request: Request = field(compare=False)
    attempts: int = field(default=0, compare=False)
    rate_limited: int = field(default=0, compare=False)


class OnlineClient:
    """Sends prompts to one server. An object serves one call of `ask`."""

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
        self._numbers = count()
        self._waiting: list[_Job] = []
        self._open: set[str] = set()
        """Keys of requests that were started and are neither answered nor given up."""
        self._probed: set[str] = set()
        """Keys of requests that were answered while the dialect was determined."""
        self._sending = 0
        self._idle = 0
        self._requests: Iterator[Request] = iter(())
        self._exhausted = False
        self._failed_in_a_row = 0
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._halted = asyncio.Event()

    async def ask(self, prompts: Iterable[Prompt]) -> RequestOutcome:
        """Request an answer to each prompt that has none, and store the answers.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        async with make_client(self.endpoint, self.api_key, self.config.timeout_seconds) as self.client:
            remaining = iter(prompts)
            dialect = self.ledger.dialect(self.endpoint.model, self.url)
            if dialect is None or (self.config.form or dialect.form) != dialect.form:
                dialect, remaining = await self._probe(remaining)
            elif left_out := [name for name in dialect.left_out if name in self.endpoint.params]:
                self.message(f"{self.url} does not accept {' and '.join(left_out)}; requests are sent without")
            if dialect is not None and self._error is None:
                self.dialect = dialect
                self._requests = (self.endpoint.request(prompt, dialect) for prompt in remaining)
                await self._work_all()
        if self._error is not None:
            raise self._error
        return self.outcome

    # ---------------------------------------------------------------------------------------------- the first request

    async def _probe(self, prompts: Iterator[Prompt]) -> tuple[Dialect | None, Iterator[Prompt]]:
        """Determine the dialect of the server with single requests; return it and the prompts to send.

        A refusal may be due to one prompt, so up to three prompts are tried.
        """
        probes: list[Prompt] = []
        refusal: Failure | None = None
        for prompt in prompts:
            probes.append(prompt)
            dialect, refusal = await self._try_dialects(prompt)
            if dialect is not None or refusal is None:
                return dialect, chain(probes, prompts)
            if len(probes) == 3:
                break
        if refusal is not None and self._error is None:
            hint = "" if self.config.form in (None, "text") else ". --structured auto tries other forms of answers"
            self._error = ServerError(f"{self.url} refuses every request: {refusal.message}{hint}")
        return None, iter(())

    async def _try_dialects(self, prompt: Prompt) -> tuple[Dialect | None, Failure | None]:
        """Return the dialect in which a prompt was answered, or why it was refused; (None, None): the run must stop."""
        dialect: Dialect | None = Dialect.initial_for(self.endpoint.base_url, self.config.form)
        tried_dialects = set()
        changes: list[str] = []
        refusal = None
        while dialect is not None and dialect not in tried_dialects:
            tried_dialects.add(dialect)
            self.dialect = dialect
            request = self.endpoint.request(prompt, dialect)
            refusal = await self._send_until_answered(request)
            if refusal is None:
                if self._error is not None or self.outcome.stopped is not None:
                    return None, None
                self._probed.add(request.key)
                self.ledger.set_dialect(self.endpoint.model, self.url, dialect)
                for change in changes:
                    self.message(change)
                return dialect, None
            self.ledger.record_failure(request.key, refusal.kind, refusal.message, state="declined")
            refused, dialect = dialect, self._after_refusal(dialect, refusal)
            if dialect is not None:
                changes.append(f"{self.url}: {refusal.message}; from now on, {dialect.difference(refused)}")
        return None, refusal

    def _after_refusal(self, dialect: Dialect, refusal: Failure) -> Dialect | None:
        return dialect.fallback(
            refusal.message,
            is_fixed=self.config.form is not None,
            params=self.endpoint.params,
            named=refusal.parameter,
            needs_bound=self.cost_limit is not None,
        )

    async def _send_until_answered(self, request: Request) -> Failure | None:
        """Send one request until it is answered; return the failure if the server refuses it, or fails because of it.

        Servers answer a JSON schema that they cannot handle with status 500, so another form is tried after a retry.
        """
        if self.ledger.is_answered(request.key):
            return None
        has_other_form = self.config.form is None and "response_format" in request.body
        job: _Job | None = _Job(0.0, next(self._numbers), request)
        while job is not None:
            await asyncio.sleep(max(0.0, job.due - time.monotonic()))
            self._sending += 1
            failure = await self._send(job)
            if self._error is not None or self.outcome.stopped is not None or failure is None:
                return None
            next_job = heapq.heappop(self._waiting) if self._waiting else None
            is_failing = failure.kind == "busy" and failure.status == 500 and job.attempts >= MAX_FAILED_PROBES
            if failure.kind == "refused" or (has_other_form and is_failing):
                # This may be due to the dialect, so it does not count as a failed request.
                self.outcome.failed -= next_job is None
                self._failed_in_a_row = 0
                return failure
            if next_job is None:
                hint = (
                    ""
                    if self.config.form in (None, "text")
                    else ". If it has no structured output, use --structured text"
                )
                self._error = ServerError(f"{self.url} does not answer: {failure.message}{hint}")
            job = next_job
        return None

    # -------------------------------------------------------------------------------------------------- many requests

    async def _work_all(self) -> None:
        """Run workers until all requests are answered or given up."""
        workers = [asyncio.create_task(self._work(index)) for index in range(self.config.concurrency)]
        halted = asyncio.create_task(self._halted.wait())
        try:
            await self._until_done(workers, halted)
        finally:
            for task in (*workers, halted):
                task.cancel()  # requests that this interrupts stay "sent" in the ledger; recover() makes them unknown
            results = await asyncio.gather(*workers, halted, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _until_done(self, workers: list[asyncio.Task[None]], halted: asyncio.Task[Any]) -> None:
        """Wait until all workers have ended; after a fatal error, wait a short time for requests in flight."""
        pending: set[asyncio.Task[Any]] = set(workers)
        while pending and not halted.done():
            done, _ = await asyncio.wait({*pending, halted}, return_when=asyncio.FIRST_COMPLETED)
            pending -= done
            if any(task.exception() is not None for task in done):
                return
        if pending:
            await asyncio.wait(pending, timeout=GRACE_SECONDS)

    async def _work(self, index: int) -> None:
        while (job := await self._next(index)) is not None:
            await self._send(job)

    async def _next(self, index: int) -> _Job | None:
        """Return the next request to send; None when all are done, or no more requests may be sent.

        Worker `index` only sends while it is within the current window of concurrent requests.
        """
        while self._error is None and self.outcome.stopped is None:
            if index < max(1, int(self.throttle.window)) and (job := self._pop_ready()) is not None:
                return job
            if self._exhausted and not self._waiting and not self._sending:
                break
            await self._wait()
        self._wake()
        return None

    def _pop_ready(self) -> _Job | None:
        """Return a request that is due for a retry, or a new one; None if there is none now."""
        if self._waiting and self._waiting[0].due <= time.monotonic():
            self._sending += 1
            return heapq.heappop(self._waiting)
        if len(self._waiting) >= 4 * self.config.concurrency:
            return None  # waiting requests are in memory, so their number is limited
        for request in self._requests:
            if request.key in self._open:
                continue  # a second prompt with the same texts uses the same answer
            if self.ledger.is_answered(request.key):
                if request.key not in self._probed:
                    self.outcome.already_answered += 1
                    self.advance(request.prompt.n_items)
                continue
            self._open.add(request.key)
            self._sending += 1
            return _Job(0.0, next(self._numbers), request)
        self._exhausted = True
        return None

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

    # ---------------------------------------------------------------------------------------------------- one request

    async def _send(self, job: _Job) -> Failure | None:
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

    def _settle_failure(self, job: _Job, failure: Failure, headers: Mapping[str, str] | None) -> None:
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

    def _give_up(self, job: _Job, failure: Failure) -> None:
        self._open.discard(job.request.key)
        self.outcome.failed += 1
        self._failed_in_a_row += 1
        self.advance(job.request.prompt.n_items)
        if self._error is None:
            self._error = reason_to_stop(self.url, failure, self.outcome, self._failed_in_a_row)
            if self._error is not None:
                self._halted.set()
