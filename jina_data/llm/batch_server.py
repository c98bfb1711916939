"""Provides the file and batch calls of a server, with retries, and the rows of batch files.

The calls run one at a time, so tenacity handles the retries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jina_data.errors import ServerError
from jina_data.llm.completions import make_plain_client, read_completion
from jina_data.llm.dialect import Completion, Endpoint, Request
from jina_data.llm.error_body import ErrorBody, read_error
from jina_data.llm.failures import FATAL_CODES, MalformedError, ReplyError, classify_error, classify_reply

if TYPE_CHECKING:
    from openai.types import Batch as RemoteBatch

T = TypeVar("T")


class BatchServer:
    """Calls the file and batch API of an endpoint: `with BatchServer(...) as server`."""

    def __init__(self, endpoint: Endpoint, api_key: str | None, *, timeout_seconds: float, attempts: int) -> None:
        self.url = endpoint.public_url
        self.api_key = api_key
        self.attempts = attempts
        self.client = make_plain_client(endpoint, api_key, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def upload(self, path: Path) -> str:
        """Upload the file of a batch; return its id."""
        return self._call(lambda: self._upload(path))

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return the current state of a batch."""
        return self._call(lambda: self.client.batches.retrieve(batch_id))

    def results(self, file_id: str, path: Path) -> Iterator[dict[str, Any]]:
        """Download a file of results to a path, yield its rows, and remove it."""

        def download() -> None:
            with self.client.files.with_streaming_response.content(file_id) as response:
                response.stream_to_file(path)

        self._call(download)
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            for line in lines:
                if line.strip():
                    yield _row(line)
        path.unlink()

    def create(self, name: str, file_id: str, *, may_exist: bool) -> str:
        """Start a batch and return its id.

        If an earlier attempt may have started it and its response was lost, the batch is looked up by its name first.
        """
        attempts = 0

        def create() -> str:
            nonlocal attempts
            attempts += 1
            existing_id = self._find(name) if may_exist or attempts > 1 else None
            if existing_id is not None:
                return existing_id
            batch = self.client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"jina_data": name},
            )
            return batch.id

        return self._call(create)

    def _find(self, name: str) -> str | None:
        for batch in self.client.batches.list(limit=100):
            if (batch.metadata or {}).get("jina_data") == name:
                return batch.id
        return None

    def _upload(self, path: Path) -> str:
        with path.open("rb") as source:
            return self.client.files.create(file=(path.name, source), purpose="batch").id

    def _call(self, function: Callable[[], T]) -> T:
        """Call the server, with retries after increasing pauses on transient errors.

        Raises:
            ServerError: the error is not transient, or all attempts failed.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=0.5, max=60),
            retry=retry_if_exception(self._is_transient),
            reraise=True,
        )
        try:
            return retrying(function)
        except Exception as error:
            if not _is_of_openai(error):
                raise
            raise ServerError(f"{self.url}: {classify_error(error, self.api_key).message}. Nothing is lost") from None

    def _is_transient(self, error: BaseException) -> bool:
        return (
            isinstance(error, Exception) and _is_of_openai(error) and classify_error(error, self.api_key).is_transient
        )


def _row(line: str) -> dict[str, Any]:
    """Return a line of a result file; an empty row if it is broken, so that its request is sent again."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_of_openai(error: Exception) -> bool:
    import openai

    return isinstance(error, openai.APIError)


NOT_RUN = ("batch_expired", "batch_cancelled", "request_timeout")
"""Error codes of rows that were not run and not billed."""


class RowError(Exception):
    """The error in a result row of a batch."""

    def __init__(self, code: str | None, message: str, *, is_transient: bool, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.code = code
        self.message = message
        self.is_transient = is_transient


def read_row(row: dict[str, Any]) -> Completion:
    """Read a result row: a completion in a wrapper, as OpenAI writes it, or the bare completion that vLLM writes.

    Raises:
        RowError: the row contains an error.
        MalformedError: the row contains neither a completion nor an error.
    """
    error, response = row.get("error"), row.get("response")
    if error and not isinstance(response, dict):
        raise _row_error(read_error({"error": error}), None)
    if not isinstance(response, dict):
        raise MalformedError("a row without a response and without an error")
    if "choices" in response:
        return _read_body(response)
    status, body = response.get("status_code"), response.get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            body = {"error": body} if body.strip() else None
    if isinstance(status, int) and status >= 400:
        raise _row_error(read_error(body) if body else ErrorBody("the row has no message"), status)
    return _read_body(body)


def _read_body(body: Any) -> Completion:
    try:
        return read_completion(body)
    except ReplyError as error:
        raise _row_error(error.body, None) from None


def _row_error(body: ErrorBody, status: int | None) -> RowError:
    """Return the error of a row; `status` is the HTTP status of its request, if the row has one."""
    codes = sorted(body.codes, key=lambda code: (code not in FATAL_CODES, code.isdigit(), code))
    code = next((code for code in codes if not code.isdigit()), None)
    kind = classify_reply(replace(body, status=None) if status else body, status, {}, None).kind
    text = " ".join(body.message.split())[:300]
    prefix = f"HTTP {status}: " if status is not None else f"{code}: " if code else ""
    is_transient = code in NOT_RUN or kind in ("rate_limit", "busy") or status == 429
    return RowError(code, f"{prefix}{text}", is_transient=is_transient, parameter=body.parameter)


STATUSES = {
    "completed": ("completed", "complete", "success", "succeeded", "done", "ended", "finished"),
    "failed": ("failed", "failure", "error"),
    "expired": ("expired", "timeout", "timeout_exceeded"),
    "cancelled": ("cancelled", "canceled"),
}
"""The words of servers for each state in which a batch has ended."""


def batch_status(remote: RemoteBatch) -> str:
    """Return the state of a batch in the words of OpenAI."""
    word = str(remote.status).lower()
    return next((status for status, words in STATUSES.items() if word in words), word)


def batch_line(request: Request) -> bytes:
    """Return the line of a request in a batch file."""
    line = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": request.body}
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()
