"""Sends concurrent requests to an OpenAI-compatible server within its limits, with retries.

The openai client sends each request with its own retries off, since they would multiply with the retries here. A failed
request waits in a queue for its next attempt, so it blocks no worker; tenacity would block one for each such request.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any

from jina_data.errors import ServerError
from jina_data.llm.completions import make_client
from jina_data.llm.dialect import Dialect, Prompt, Request
from jina_data.llm.failures import Failure, RequestOutcome
from jina_data.llm.sender import Job, RequestSender

GRACE_SECONDS = 5.0
"""Time for requests in flight to finish after a fatal error."""

MAX_FAILED_PROBES = 2
"""Attempts of a first request that ends in status 500, before another form of answers is tried."""


class OnlineClient(RequestSender):
    """Sends prompts to one server. An object serves one call of `ask`."""

    async def ask(self, prompts: Iterable[Prompt]) -> RequestOutcome:
        """Request an answer to each prompt that has none, and store the answers.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        self._numbers = count()
        self._requests: Iterator[Request] = iter(())
        self._exhausted = False
        self._probed: set[str] = set()
        """Keys of requests that were answered while the dialect was determined."""
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
        job: Job | None = Job(0.0, next(self._numbers), request)
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
                if next_job is None:
                    self.outcome.failed -= 1
                    self.advance(-request.prompt.n_items)
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

    async def _next(self, index: int) -> Job | None:
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

    def _pop_ready(self) -> Job | None:
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
            return Job(0.0, next(self._numbers), request)
        self._exhausted = True
        return None
