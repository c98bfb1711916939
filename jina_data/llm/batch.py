"""Sends requests through the OpenAI Batch API: half the price, answers within 24 hours, fetched by any process.

Each step is recorded in the ledger before the next one starts: requests and file, the id of the file, the id of the
batch, the results. A process that is killed at any point loses nothing.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_data.errors import ServerError
from jina_data.llm.batch_server import STATUSES, BatchServer, RowError, batch_line, batch_status, read_row
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Dialect, Endpoint, Form, Prompt, Request
from jina_data.llm.failures import FATAL_CODES, MalformedError, RequestOutcome
from jina_data.llm.request_ledger import RequestBatch, RequestLedger
from jina_data.run.files import atomic_path

if TYPE_CHECKING:
    from openai.types import Batch as RemoteBatch

MAX_FAILED_BATCHES = 2
"""Batches in which every request ends in status 500, before another form of answers is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """Sizes of batches and how to wait for them. No setting changes an answer."""

    max_lines: int = 50_000
    max_bytes: int = 200 * 10**6
    poll_seconds: float = 30.0
    wait: bool = True
    attempts: int = 6
    timeout_seconds: float = 600.0
    form: Form | None = None


class BatchClient:
    """Sends prompts in batches. The state of the work is in the ledger and in `scratch`."""

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: RequestLedger,
        config: BatchConfig,
        *,
        scratch: Path,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        advance: Callable[[int], None] = lambda _: None,
        message: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.endpoint = endpoint
        self.url = endpoint.public_url
        self.ledger = ledger
        self.config = config
        self.scratch = scratch
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.advance = advance
        self.message = message
        self.outcome = RequestOutcome()
        stored = ledger.dialect(endpoint.model, self.url, with_tried=True)
        self.dialect = stored or Dialect.initial_for(endpoint.base_url, config.form)
        self.max_lines = config.max_lines
        self._attempts: Counter[str] = Counter()
        self._n_requeued = 0
        """Requests to send again since the last submission."""
        self._given_up: set[str] = set()
        self._refusal = ""
        self._last_error = ""
        self._refused_parameter: str | None = None
        self._n_failed_batches = 0
        """Batches in a row without an answer, in which a request ended in status 500."""

    def ask(self, prompts: Callable[[], Iterable[Prompt]]) -> RequestOutcome:
        """Request an answer to each prompt that has none, and store the answers.

        Without `wait`, batches are submitted and the results of finished ones are fetched. The outcome then has
        `stopped="batches"` while batches are in progress.

        Raises:
            ServerError: no request can succeed.
        """
        timeout, attempts = self.config.timeout_seconds, self.config.attempts
        with BatchServer(self.endpoint, self.api_key, timeout_seconds=timeout, attempts=attempts) as self.server:
            if self.cost_limit is not None:
                for key, max_tokens_in, max_tokens_out in self.ledger.batched_requests():
                    self.cost_limit.reserve_sent(key, max_tokens_in, max_tokens_out)
            has_more = True
            while True:
                if has_more:
                    self._submit(prompts())
                open_batches = self.ledger.open_batches()
                if not open_batches:
                    break
                has_more = self._read_finished(open_batches)
                if has_more or not self.ledger.open_batches():
                    continue
                if not self.config.wait:
                    self.outcome.stopped = "batches"
                    break
                time.sleep(self.config.poll_seconds)
        if self.outcome.failed and not self.outcome.answered and self._refusal and not self._has_answers():
            raise ServerError(f"{self.url} refuses every request: {self._refusal}")
        return self.outcome

    def _has_answers(self) -> bool:
        return self.ledger.usage(self.endpoint.model, self.url).answered > 0

    # ------------------------------------------------------------------------------------------------------- submitting

    def _submit(self, prompts: Iterable[Prompt]) -> None:
        """Submit the batches that an earlier session prepared, then all prompts without an answer or a batch."""
        self._n_requeued = 0
        self.outcome.stopped = None
        for batch in self.ledger.open_batches():
            if batch.state != "created":
                self._start(batch)
        self.ledger.set_dialect(self.endpoint.model, self.url, self.dialect, is_tried=True)
        requests = (self.endpoint.request(prompt, self.dialect) for prompt in prompts)
        remaining = (request for request in requests if self._is_open(request))
        while self.outcome.stopped is None and (number := self._prepare(remaining)) is not None:
            (prepared,) = [batch for batch in self.ledger.open_batches() if batch.number == number]
            self._start(prepared)

    def _is_open(self, request: Request) -> bool:
        return request.key not in self._given_up and self.ledger.state(request.key) not in ("answered", "batched")

    def _prepare(self, requests: Iterator[Request]) -> int | None:
        """Write the next batch to the ledger and to its file, both or neither; return its number.

        Returns:
            None if no request is left, or the cost limit allows none.
        """
        n_rows = n_bytes = 0
        with self.ledger.transaction():
            number = self.ledger.new_batch(uuid.uuid4().hex)
            with atomic_path(self._file(number)) as temporary, temporary.open("wb") as sink:
                # A request that was taken from the iterator cannot be put back, so a margin of 1 MiB remains for it.
                while n_rows < self.max_lines and n_bytes < self.config.max_bytes - 2**20:
                    request = next(requests, None)
                    if request is None:
                        break
                    if self.cost_limit is not None and not self.cost_limit.reserve(request):
                        self.outcome.stopped = "max_cost"
                        break
                    self.ledger.record_sending(request, self.endpoint.model, self.url)
                    self.ledger.put_into_batch(number, request.key)
                    n_rows, n_bytes = n_rows + 1, n_bytes + sink.write(batch_line(request))
            self.ledger.update_batch(number, n_requests=n_rows, **({} if n_rows else {"state": "read"}))
        if not n_rows:
            self.ledger.con.execute("DELETE FROM batches WHERE number = ?", [number])
            self._file(number).unlink()
            return None
        return number

    def _file(self, number: int) -> Path:
        return self.scratch / f"batch-{number:05d}.jsonl"

    def _start(self, batch: RequestBatch) -> None:
        """Upload a batch and start it, or resume at the step where an earlier session stopped."""
        if batch.file_id is None and not self._file(batch.number).exists():
            self._requeue_open_rows(batch, "lost", "the file of the batch does not exist")
            self.ledger.update_batch(batch.number, state="read", status="lost")
            return
        file_id = batch.file_id
        if file_id is None:
            file_id = self.server.upload(self._file(batch.number))
            self.ledger.update_batch(batch.number, state="uploaded", file_id=file_id)
        batch_id = self.server.create(batch.name, file_id, may_exist=batch.file_id is not None)
        self.ledger.update_batch(batch.number, state="created", batch_id=batch_id, status="created")
        self._file(batch.number).unlink(missing_ok=True)
        self.message(f"batch {batch_id}: submitted with {batch.n_requests:,} requests")

    # ------------------------------------------------------------------------------------------------------- results

    def _read_finished(self, batches: Iterable[RequestBatch]) -> bool:
        """Read the results of batches that have ended; return whether there are requests to submit."""
        has_more = False
        over_limit: list[RequestBatch] = []
        for batch in batches:
            if batch.batch_id is None:
                continue
            remote = self.server.retrieve(batch.batch_id)
            status = batch_status(remote)
            self.ledger.update_batch(batch.number, status=status)
            if status not in STATUSES:
                continue
            if _is_over_limit(remote):
                over_limit.append(batch)
                continue
            self._read(batch, remote)
            has_more = has_more or self._n_requeued > 0 or self._has_money_left()
        n_others = len(self.ledger.open_batches()) - len(over_limit)
        if over_limit and not n_others:
            # No other batch is in progress, so waiting cannot help: the batch itself is too large.
            self.max_lines = max(1, min(batch.n_requests for batch in over_limit) // 2)
            self.message(f"too many enqueued tokens for this account; reducing batches to {self.max_lines:,} requests")
            for batch in over_limit:
                if batch.n_requests == 1:
                    raise ServerError(f"{self.url}: one request has more tokens than this account may enqueue")
                self._requeue_open_rows(batch, "token_limit_exceeded", "too many tokens enqueued")
                self.ledger.update_batch(batch.number, state="read")
        return has_more or bool(over_limit and not n_others)

    def _read(self, batch: RequestBatch, remote: RemoteBatch) -> None:
        """Read the results of a batch, and requeue the requests without a result."""
        n_answered_before, n_strange = self.outcome.answered, 0
        keys = [key for key, _, _ in self.ledger.batched_requests(batch.number)]
        for file_id in (remote.output_file_id, remote.error_file_id):
            if file_id is not None:
                for line in self.server.results(file_id, self.scratch / "results.jsonl"):
                    n_strange += self.ledger.state(str(line.get("custom_id"))) is None
                    self._read_result(batch, line)
        status, reason = batch_status(remote), _reason_of(remote)
        if status == "failed" and remote.output_file_id is None and remote.error_file_id is None:
            reason = reason or "no reason given"
            self._requeue_open_rows(batch, "failed", reason)
            self.ledger.update_batch(batch.number, state="read", status="failed", error=reason, ended_at=time.time())
            raise ServerError(f"{self.url} refuses batch {batch.batch_id}: {reason}")
        strange = f"; {n_strange:,} results are broken or have ids that were not sent" if n_strange else ""
        details = f"the batch ended without a result for this request{strange}{f': {reason}' if reason else ''}"
        self._requeue_open_rows(batch, "no_result" if status == "completed" else f"batch_{status}", details)
        self._change_dialect(batch, keys, has_answers=self.outcome.answered > n_answered_before)
        self.ledger.update_batch(batch.number, state="read", ended_at=time.time())
        n_answered = self.outcome.answered - n_answered_before
        last = f"; the last error: {self._last_error}" if self._last_error and not n_answered else ""
        self.message(f"batch {batch.batch_id}: {status}, {n_answered:,} of {batch.n_requests:,} answered{last}")

    def _has_money_left(self) -> bool:
        """Return whether more than 5 % of the limit became free because answers cost less than reserved."""
        if self.outcome.stopped != "max_cost" or self.cost_limit is None:
            return False
        return (
            self.cost_limit.limit - self.cost_limit.spent - self.cost_limit.reserved_cost > 0.05 * self.cost_limit.limit
        )

    def _read_result(self, batch: RequestBatch, row: dict[str, Any]) -> None:
        """Record a result row; skip rows of other runs and rows that were read before."""
        key = str(row.get("custom_id"))
        if not self.ledger.is_in_batch(key, batch.number):
            return
        try:
            completion = read_row(row)
        except RowError as error:
            self._refuse(key, error)
        except MalformedError as error:
            self._requeue(key, "malformed", str(error), is_unknown=True)
        else:
            self.ledger.record_answer(key, completion, "batch")
            if self.cost_limit is not None:
                self.cost_limit.settle(key, completion)
            self.outcome.answered += 1
            self.advance(1)
            if self.ledger.dialect(self.endpoint.model, self.url) is None:
                self.ledger.set_dialect(self.endpoint.model, self.url, self.dialect)

    def _refuse(self, key: str, error: RowError) -> None:
        if error.code in FATAL_CODES:
            self.ledger.record_failure(key, "fatal", error.message)
            raise ServerError(f"{self.url}: {error.message} ({FATAL_CODES[error.code]}). All answers so far are kept")
        if error.is_transient:
            self._requeue(key, error.code or "busy", error.message)
            return
        self._refusal, self._refused_parameter = error.message, error.parameter
        self._give_up(key, "refused", error.message)

    def _give_up(self, key: str, kind: str, message: str) -> None:
        self._given_up.add(key)
        self._attempts.pop(key, None)
        self.outcome.failed += 1
        self.ledger.record_failure(key, kind, message)
        if self.cost_limit is not None:
            self.cost_limit.settle(key, None)

    def _requeue(self, key: str, kind: str, message: str, *, is_unknown: bool = False) -> None:
        """Mark a request to be submitted again, or give it up after the maximum number of attempts."""
        self._attempts[key] += 1
        self._last_error = message
        if self._attempts[key] >= self.config.attempts:
            self._give_up(key, kind, message)
            return
        self._n_requeued += 1
        self.ledger.record_failure(key, kind, message, is_unknown=is_unknown, state="waiting")
        if self.cost_limit is not None:
            self.cost_limit.settle(key, None, is_unknown=is_unknown)

    def _requeue_open_rows(self, batch: RequestBatch, kind: str, message: str) -> None:
        """Requeue all requests of a batch that have no result."""
        for key in [key for key, _, _ in self.ledger.batched_requests(batch.number)]:
            self._requeue(key, kind, message)

    def _change_dialect(self, batch: RequestBatch, keys: list[str], *, has_answers: bool) -> None:
        """Try another dialect if the server never answered, and refused all requests or failed at all of them twice."""
        is_failing = not has_answers and self._last_error.startswith("HTTP 500")
        self._n_failed_batches = self._n_failed_batches + 1 if is_failing else 0
        is_refused = bool(self._refusal) and len(self._given_up) >= batch.n_requests
        if self._has_answers() or not (is_refused or self._n_failed_batches >= MAX_FAILED_BATCHES):
            return
        message = self._refusal or self._last_error
        other = self.dialect.fallback(
            message,
            is_fixed=self.config.form is not None,
            params=self.endpoint.params,
            named=self._refused_parameter,
            needs_bound=self.cost_limit is not None,
        )
        if other is None:
            return
        self.message(f"{self.url}: {message}; from now on, {other.difference(self.dialect)}")
        for key in {*self._given_up, *keys}:
            self.ledger.record_failure(key, "refused", message, state="declined")
        self.outcome.failed -= len(self._given_up)
        self._given_up.clear()
        self._refusal = self._last_error = ""
        self._n_failed_batches = 0
        self.dialect = other
        self._n_requeued += 1


def _reason_of(remote: RemoteBatch) -> str:
    """Return the errors that a server states for a whole batch."""
    data = remote.errors.data if remote.errors and remote.errors.data else []
    return "; ".join(" ".join(str(error.message).split())[:200] for error in data[:3])


def _is_over_limit(remote: RemoteBatch) -> bool:
    """Return whether a batch failed because the account has too many tokens in its queue."""
    data = remote.errors.data if remote.errors and remote.errors.data else []
    return batch_status(remote) == "failed" and any(error.code == "token_limit_exceeded" for error in data)
