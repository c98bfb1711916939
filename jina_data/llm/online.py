"""Ask an OpenAI-compatible server online: many requests at once, within its limits, each until it is answered.

The openai client does the talking, with its own retries off: they would multiply with those here. A request that
failed waits in a queue for its next try, so no worker sleeps with it; that is why tenacity has no part in this.
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
from jina_data.llm.completions import make_client, read_completion
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Dialect, Endpoint, Form, Prompt, Request
from jina_data.llm.failures import Failure, MalformedError, Outcome, back_off, failure_of, reason_to_stop
from jina_data.llm.rate_limits import Throttle
from jina_data.llm.request_ledger import Received, RequestLedger

GRACE_SECONDS = 5.0

MAX_RATE_LIMITED = 60
"""So often a single request may be told to come later."""

BYTES_PER_TOKEN = 4.0
"""What a token of English is about, where nothing better is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How a server is asked. None of it changes an answer."""

    concurrency: int = 16
    rpm: float | None = None
    tpm: float | None = None
    timeout_seconds: float = 120.0
    attempts: int = 6
    form: Form | None = None


@dataclass(order=True)
class _Job:
    due: float
    number: int
    request: Request = field(compare=False)
    tries: int = field(default=0, compare=False)
    rate_limited: int = field(default=0, compare=False)


class OnlineClient:
    """Asks questions of one server. One object for one round of questions."""

    def __init__(
        self,
        target: Endpoint,
        ledger: RequestLedger,
        settings: ClientConfig,
        *,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        advance: Callable[[int], None] = lambda _: None,
        seed: int = 0,
    ) -> None:
        self.target = target
        self.url = target.shown_url
        self.ledger = ledger
        self.settings = settings
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.advance = advance
        self.throttle = Throttle(settings.concurrency, rpm=settings.rpm, tpm=settings.tpm)
        self.outcome = Outcome()
        self._random = random.Random(seed)
        self._numbers = count()
        self._waiting: list[_Job] = []
        self._open: set[str] = set()
        """Requests that were taken and are neither answered nor given up."""
        self._probed: set[str] = set()
        """Requests that were answered while the dialect was found out."""
        self._sending = 0
        self._idle = 0
        self._requests: Iterator[Request] = iter(())
        self._exhausted = False
        self._failed_in_a_row = 0
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._halted = asyncio.Event()

    async def ask(self, questions: Iterable[Prompt]) -> Outcome:
        """Ask all questions that have no answer yet, and store what comes back.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        async with make_client(self.target, self.api_key, self.settings.timeout_seconds) as self.client:
            rest = iter(questions)
            dialect = self.ledger.dialect(self.target.model, self.url)
            if dialect is None or (self.settings.form or dialect.form) != dialect.form:
                dialect, rest = await self._probe(rest)
            if dialect is not None and self._error is None:
                self._requests = (self.target.request(question, dialect) for question in rest)
                await self._work_all()
        if self._error is not None:
            raise self._error
        return self.outcome

    # ---------------------------------------------------------------------------------------------- the first request

    async def _probe(self, questions: Iterator[Prompt]) -> tuple[Dialect | None, Iterator[Prompt]]:
        """Find out with single requests how the server wants to be spoken to; return it, and what is left to ask."""
        held: list[Prompt] = []
        refusal: Failure | None = None
        for question in questions:
            held.append(question)
            dialect, refusal = await self._try_dialects(question)
            if dialect is not None or refusal is None:
                return dialect, chain(held, questions)
            if len(held) == 3:
                break
        if refusal is not None and self._error is None:
            self._error = ServerError(f"{self.url} refuses every request: {refusal.message}")
        return None, iter(())

    async def _try_dialects(self, question: Prompt) -> tuple[Dialect | None, Failure | None]:
        """Return the dialect in which a question was answered, or why it was not; (None, None): the run must stop."""
        dialect: Dialect | None = Dialect.first_for(self.target.base_url, self.settings.form)
        tried = set()
        refusal = None
        while dialect is not None and dialect not in tried:
            tried.add(dialect)
            request = self.target.request(question, dialect)
            refusal = await self._insist(request)
            if refusal is None:
                if self._error is None and self.outcome.stopped is None:
                    self._probed.add(request.key)
                    self.ledger.set_dialect(self.target.model, self.url, dialect)
                    return dialect, None
                return None, None
            self.ledger.failed(request.key, refusal.kind, refusal.message, state="declined")
            dialect = dialect.after(refusal.message, is_fixed=self.settings.form is not None)
        return None, refusal

    async def _insist(self, request: Request) -> Failure | None:
        """Send one request until it is answered; return why the server refuses it, if it does."""
        if self.ledger.is_answered(request.key):
            return None
        job: _Job | None = _Job(0.0, next(self._numbers), request)
        while job is not None:
            await asyncio.sleep(max(0.0, job.due - time.monotonic()))
            self._sending += 1
            failure = await self._send(job)
            if self._error is not None or self.outcome.stopped is not None or failure is None:
                return None
            if failure.kind == "refused":
                self._take_back_failure()
                return failure
            job = heapq.heappop(self._waiting) if self._waiting else None
            if job is None:
                self._error = ServerError(f"{self.url} does not answer: {failure.message}")
        return None

    def _take_back_failure(self) -> None:
        self.outcome.failed -= 1
        self._failed_in_a_row = 0

    # -------------------------------------------------------------------------------------------------- many requests

    async def _work_all(self) -> None:
        """Let workers send until all is done."""
        workers = [asyncio.create_task(self._work(index)) for index in range(self.settings.concurrency)]
        halted = asyncio.create_task(self._halted.wait())
        try:
            await self._until_done(workers, halted)
        finally:
            for task in (*workers, halted):
                task.cancel()  # what is cut off here is marked as unknown
            ends = await asyncio.gather(*workers, halted, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _until_done(self, workers: list[asyncio.Task[None]], halted: asyncio.Task[Any]) -> None:
        """Wait until all workers have ended; after a fatal error, what is under way gets a moment to end."""
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
        """Return what to send next; None when all is done, or nothing may be sent any more."""
        while self._error is None and self.outcome.stopped is None:
            if index < max(1, int(self.throttle.window)) and (job := self._take()) is not None:
                return job
            if self._exhausted and not self._waiting and not self._sending:
                break
            await self._wait()
        self._wake()
        return None

    def _take(self) -> _Job | None:
        """Take a request whose time for another try has come, or a new one."""
        if self._waiting and self._waiting[0].due <= time.monotonic():
            self._sending += 1
            return heapq.heappop(self._waiting)
        if len(self._waiting) >= 4 * self.settings.concurrency:
            return None  # what waits is held in memory
        for request in self._requests:
            if request.key in self._open:
                continue  # the same texts occur twice; one answer serves both
            if self.ledger.is_answered(request.key):
                if request.key not in self._probed:
                    self.outcome.known += 1
                    self.advance(request.question.n_pairs)
                continue
            self._open.add(request.key)
            self._sending += 1
            return _Job(0.0, next(self._numbers), request)
        self._exhausted = True
        return None

    async def _wait(self) -> None:
        """Wait until something changed, or the next try is due."""
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
        """Send a request once; return what went wrong, if anything did."""
        request = job.request
        try:
            if not await self._permitted(request):
                return None
            self.ledger.sending(request, self.target.model, self.url)
            try:
                received, headers = await self._exchange(request)
            except Exception as error:
                failure = failure_of(error, self.api_key)
                self._settle_failure(job, failure, getattr(getattr(error, "response", None), "headers", None))
                return failure
            self._settle_answer(request, received, headers)
            return None
        finally:
            self._sending -= 1
            if self._idle:
                self._wake()

    async def _permitted(self, request: Request) -> bool:
        """Wait until limits and money allow a request; False where it must not be sent any more."""
        prompt_tokens = int(request.prompt_bytes / BYTES_PER_TOKEN)
        await self.throttle.permit(prompt_tokens + request.max_tokens)
        while self._error is None and self.outcome.stopped is None:
            if self.cost_limit is None or self.cost_limit.reserve(request):
                return True
            if not self.cost_limit.reserved:
                self.outcome.stopped = "max_cost"
                break
            await self._wait()  # what is under way may turn out cheaper
        return False

    async def _exchange(self, request: Request) -> tuple[Received, Mapping[str, str]]:
        body = dict(request.body)
        model, messages = body.pop("model"), body.pop("messages")
        raw = await self.client.chat.completions.with_raw_response.create(
            model=model, messages=messages, extra_body=body
        )
        try:
            value = raw.http_response.json()
        except ValueError as error:
            raise MalformedError(str(error)) from None
        return read_completion(value), raw.headers

    def _settle_answer(self, request: Request, received: Received, headers: Mapping[str, str]) -> None:
        self.ledger.received(request.key, received)
        self.throttle.succeeded(headers)
        if self.cost_limit is not None:
            self.cost_limit.settle(request.key, received)
        self._open.discard(request.key)
        self.outcome.answered += 1
        self._failed_in_a_row = 0
        self.advance(request.question.n_pairs)

    def _settle_failure(self, job: _Job, failure: Failure, headers: Mapping[str, str] | None) -> None:
        """Write a failure down, and queue the request for another try, give it up, or stop the run."""
        if self.cost_limit is not None:
            self.cost_limit.settle(job.request.key, None, is_unknown=failure.is_unknown)
        if failure.kind == "rate_limit" or failure.status == 503:
            self.throttle.refused(failure, headers)
        if failure.kind == "rate_limit":
            job.rate_limited += 1
        else:
            job.tries += 1
        goes_on = failure.is_transient and job.tries < self.settings.attempts and job.rate_limited < MAX_RATE_LIMITED
        self.ledger.failed(
            job.request.key,
            failure.kind,
            failure.message,
            is_unknown=failure.is_unknown,
            state="waiting" if goes_on else "failed",
        )
        if goes_on:
            times = job.rate_limited if failure.kind == "rate_limit" else job.tries
            job.due = time.monotonic() + back_off(failure, times, self._random)
            heapq.heappush(self._waiting, job)
            self._wake()
        else:
            self._give_up(job, failure)

    def _give_up(self, job: _Job, failure: Failure) -> None:
        self._open.discard(job.request.key)
        self.outcome.failed += 1
        self._failed_in_a_row += 1
        self.advance(job.request.question.n_pairs)
        if self._error is None:
            self._error = reason_to_stop(self.url, failure, self.outcome, self._failed_in_a_row)
            if self._error is not None:
                self._halted.set()
