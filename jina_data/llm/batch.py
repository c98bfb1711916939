"""Ask through OpenAI's Batch API: half the price, an answer within a day, and another process may fetch it.

Every step is in the ledger before the next begins, so a kill at any point loses nothing: requests and file first, then
the id of the file, then the id of the batch, then the results.
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
from jina_data.llm.batch_server import BatchServer, RowError, batch_line, read_row
from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Dialect, Endpoint, Form, Request
from jina_data.llm.failures import FATAL_CODES, MalformedError, Outcome
from jina_data.llm.request_ledger import Batch, RequestLedger
from jina_data.negation.prompt import Question
from jina_data.run.files import whole_path

if TYPE_CHECKING:
    from openai.types import Batch as RemoteBatch

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How batches are cut and waited for. None of it changes an answer."""

    max_lines: int = 50_000
    max_bytes: int = 200 * 10**6
    poll_seconds: float = 30.0
    wait: bool = True
    attempts: int = 6
    timeout_seconds: float = 600.0
    form: Form | None = None


class BatchClient:
    """Asks questions in batches. What it is in the middle of is in the ledger and in `scratch`."""

    def __init__(
        self,
        target: Endpoint,
        ledger: RequestLedger,
        settings: BatchSettings,
        *,
        scratch: Path,
        api_key: str | None = None,
        cost_limit: CostLimit | None = None,
        advance: Callable[[int], None] = lambda _: None,
        message: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.target = target
        self.url = target.shown_url
        self.ledger = ledger
        self.settings = settings
        self.scratch = scratch
        self.api_key = api_key
        self.cost_limit = cost_limit
        self.advance = advance
        self.message = message
        self.outcome = Outcome()
        self.dialect = ledger.dialect(target.model, self.url) or Dialect.first_for(target.base_url, settings.form)
        self.most_lines = settings.max_lines
        self._tries: Counter[str] = Counter()
        self._n_back = 0
        """Rows that were put back since something was handed in."""
        self._given_up: set[str] = set()
        self._refusal = ""

    def ask(self, questions: Callable[[], Iterable[Question]]) -> Outcome:
        """Ask all questions that have no answer yet, and store what comes back.

        With `wait` off, batches are handed in and what is done is fetched; the outcome then says `batches` where some
        are still under way.

        Raises:
            ServerError: no request can succeed.
        """
        timeout, attempts = self.settings.timeout_seconds, self.settings.attempts
        with BatchServer(self.target, self.api_key, timeout_seconds=timeout, attempts=attempts) as self.server:
            if self.cost_limit is not None:
                for key, most_in, most_out in self.ledger.batched():
                    self.cost_limit.hold(key, most_in, most_out)
            is_new = True
            while True:
                if is_new:
                    self._hand_in(questions())
                open_batches = self.ledger.open_batches()
                if not open_batches:
                    break
                is_new = self._look(open_batches)
                if is_new or not self.ledger.open_batches():
                    continue
                if not self.settings.wait:
                    self.outcome.stopped = "batches"
                    break
                time.sleep(self.settings.poll_seconds)
        if self.outcome.failed and not self.outcome.answered and self._refusal and not self._has_answers():
            raise ServerError(f"{self.url} refuses every request: {self._refusal}")
        return self.outcome

    def _has_answers(self) -> bool:
        return self.ledger.usage(self.target.model, self.url).answered > 0

    # ------------------------------------------------------------------------------------------------------ handing in

    def _hand_in(self, questions: Iterable[Question]) -> None:
        """Hand in what an earlier session prepared, then all questions that are neither answered nor under way."""
        self._n_back = 0
        self.outcome.stopped = None
        for batch in self.ledger.open_batches():
            if batch.state != "created":
                self._start(batch)
        requests = (self.target.request(question, self.dialect) for question in questions)
        left = (request for request in requests if self._is_to_ask(request))
        while self.outcome.stopped is None and (number := self._prepare(left)) is not None:
            (batch,) = [one for one in self.ledger.open_batches() if one.number == number]
            self._start(batch)

    def _is_to_ask(self, request: Request) -> bool:
        return request.key not in self._given_up and self.ledger.state(request.key) not in ("answered", "batched")

    def _prepare(self, requests: Iterator[Request]) -> int | None:
        """Write the next batch down: its rows in the ledger and its file, both or neither. None: nothing is left."""
        n_rows = n_bytes = 0
        with self.ledger.transaction():
            number = self.ledger.new_batch(uuid.uuid4().hex)
            with whole_path(self._file(number)) as temporary, temporary.open("wb") as sink:
                # The next row is only taken from `requests` where it fits whatever its size.
                while n_rows < self.most_lines and n_bytes < self.settings.max_bytes - 2**20:
                    request = next(requests, None)
                    if request is None:
                        break
                    if self.cost_limit is not None and not self.cost_limit.reserve(request):
                        self.outcome.stopped = "max_cost"
                        break
                    self.ledger.sending(request, self.target.model, self.url)
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

    def _start(self, batch: Batch) -> None:
        """Upload a batch and start it, from wherever an earlier session stopped."""
        if batch.file_id is None and not self._file(batch.number).exists():
            self._put_back(batch, "lost", "the file of the batch is gone")
            self.ledger.update_batch(batch.number, state="read", status="lost")
            return
        file_id = batch.file_id
        if file_id is None:
            file_id = self.server.upload(self._file(batch.number))
            self.ledger.update_batch(batch.number, state="uploaded", file_id=file_id)
        batch_id = self.server.create(batch.name, file_id, may_exist=batch.file_id is not None)
        self.ledger.update_batch(batch.number, state="created", batch_id=batch_id, status="created")
        self._file(batch.number).unlink(missing_ok=True)
        self.message(f"batch {batch_id}: handed in with {batch.n_requests:,} requests")

    # ------------------------------------------------------------------------------------------------------- results

    def _look(self, batches: Iterable[Batch]) -> bool:
        """Read the results of batches that have ended; tell whether there is something to hand in again."""
        is_new = False
        held_back: list[Batch] = []
        for batch in batches:
            if batch.batch_id is None:
                continue
            remote = self.server.retrieve(batch.batch_id)
            self.ledger.update_batch(batch.number, status=remote.status)
            if remote.status not in ENDED:
                continue
            if _is_over_limit(remote):
                held_back.append(batch)
                continue
            self._read(batch, remote)
            is_new = is_new or self._n_back > 0 or self._has_money_left()
        others = len(self.ledger.open_batches()) - len(held_back)
        if held_back and not others:
            # Nothing else is under way there, so it is this one that is too large.
            self.most_lines = max(1, min(batch.n_requests for batch in held_back) // 2)
            self.message(f"too many tokens at once for this account: batches of {self.most_lines:,} from here on")
            for batch in held_back:
                if batch.n_requests == 1:
                    raise ServerError(f"{self.url}: one request has more tokens than this account may enqueue")
                self._put_back(batch, "token_limit_exceeded", "too many tokens enqueued")
                self.ledger.update_batch(batch.number, state="read")
        return is_new or bool(held_back and not others)

    def _read(self, batch: Batch, remote: RemoteBatch) -> None:
        """Read what a batch gave, and put back what it did not give."""
        before = self.outcome.answered
        for file_id in (remote.output_file_id, remote.error_file_id):
            if file_id is not None:
                for line in self.server.results(file_id, self.scratch / "results.jsonl"):
                    self._take(batch, line)
        if remote.status == "failed" and remote.output_file_id is None and remote.error_file_id is None:
            data = remote.errors.data if remote.errors and remote.errors.data else []
            said = "; ".join(f"{one.message}" for one in data[:3]) or "no reason given"
            self._put_back(batch, "failed", said)
            self.ledger.update_batch(batch.number, state="read", status="failed", error=said, ended_at=time.time())
            raise ServerError(f"{self.url} refuses batch {batch.batch_id}: {said}")
        self._put_back(batch, f"batch_{remote.status}", "the batch ended without a result for this row")
        self._decline(batch)
        self.ledger.update_batch(batch.number, state="read", ended_at=time.time())
        n_answered = self.outcome.answered - before
        self.message(f"batch {batch.batch_id}: {remote.status}, {n_answered:,} of {batch.n_requests:,} answered")

    def _has_money_left(self) -> bool:
        """Tell whether answers were so much cheaper than they might have been that another batch pays."""
        if self.outcome.stopped != "max_cost" or self.cost_limit is None:
            return False
        return self.cost_limit.limit - self.cost_limit.spent - self.cost_limit.under_way > 0.05 * self.cost_limit.limit

    def _take(self, batch: Batch, row: dict[str, Any]) -> None:
        """Write down what a row says; rows of others, and rows that were read before, are passed over."""
        key = str(row.get("custom_id"))
        if not self.ledger.is_in_batch(key, batch.number):
            return
        try:
            received = read_row(row)
        except RowError as error:
            self._refuse(key, error)
        except MalformedError as error:
            self._again(key, "malformed", str(error), is_unknown=True)
        else:
            self.ledger.received(key, received, "batch")
            if self.cost_limit is not None:
                self.cost_limit.settle(key, received)
            self.outcome.answered += 1
            self.advance(1)
            if self.ledger.dialect(self.target.model, self.url) is None:
                self.ledger.set_dialect(self.target.model, self.url, self.dialect)

    def _refuse(self, key: str, error: RowError) -> None:
        if error.code in FATAL_CODES:
            self.ledger.failed(key, "fatal", error.message)
            raise ServerError(f"{self.url}: {error.message} ({FATAL_CODES[error.code]}). What was answered is kept")
        if error.is_transient:
            self._again(key, error.code or "busy", error.message)
            return
        self._refusal = error.message
        self._fail(key, "refused", error.message)

    def _fail(self, key: str, kind: str, message: str) -> None:
        self._given_up.add(key)
        self._tries.pop(key, None)
        self.outcome.failed += 1
        self.ledger.failed(key, kind, message)
        if self.cost_limit is not None:
            self.cost_limit.settle(key, None)

    def _again(self, key: str, kind: str, message: str, *, is_unknown: bool = False) -> None:
        """Put a row back, to be handed in again, unless it was so often enough."""
        self._tries[key] += 1
        if self._tries[key] >= self.settings.attempts:
            self._fail(key, kind, message)
            return
        self._n_back += 1
        self.ledger.failed(key, kind, message, is_unknown=is_unknown, state="waiting")
        if self.cost_limit is not None:
            self.cost_limit.settle(key, None, is_unknown=is_unknown)

    def _put_back(self, batch: Batch, kind: str, message: str) -> None:
        """Put back all rows of a batch that got no result."""
        for key in [key for key, _, _ in self.ledger.batched(batch.number)]:
            self._again(key, kind, message)

    def _decline(self, batch: Batch) -> None:
        """Speak to the server in another way, if it refused all rows and never answered any."""
        if not self._refusal or self._has_answers() or len(self._given_up) < batch.n_requests:
            return
        other = self.dialect.after(self._refusal, is_fixed=self.settings.form is not None)
        if other is None:
            return
        for key in self._given_up:
            self.ledger.failed(key, "refused", self._refusal, state="declined")
        self.outcome.failed -= len(self._given_up)
        self._given_up.clear()
        self._refusal = ""
        self.dialect = other
        self.ledger.set_dialect(self.target.model, self.url, other)
        self._n_back += 1


def _is_over_limit(remote: RemoteBatch) -> bool:
    """Tell whether a batch failed because too many tokens are under way at once."""
    data = remote.errors.data if remote.errors and remote.errors.data else []
    return remote.status == "failed" and any(one.code == "token_limit_exceeded" for one in data)
