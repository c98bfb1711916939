"""The rows of the files that go to a Batch API and come back from it."""

from __future__ import annotations

import json
from typing import Any

from jina_data.llm.completions import read_completion
from jina_data.llm.dialect import Request
from jina_data.llm.failures import FATAL_CODES, MalformedError
from jina_data.llm.request_ledger import Received

NOT_RUN = ("batch_expired", "batch_cancelled", "request_timeout")
"""What a row says that was not run, and not billed."""


class RowError(Exception):
    """What a row of a batch says went wrong."""

    def __init__(self, code: str | None, message: str, *, is_transient: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_transient = is_transient


def read_row(row: dict[str, Any]) -> Received:
    """Read a row of results: wrapped as OpenAI writes it, or the bare completion that vLLM writes.

    Raises:
        RowError: it holds an error.
        MalformedError: it holds neither.
    """
    error, response = row.get("error"), row.get("response")
    if isinstance(error, dict) and not isinstance(response, dict):
        said = str(error.get("code"))
        raise RowError(said, f"{said}: {str(error.get('message'))[:300]}", is_transient=said in NOT_RUN)
    if not isinstance(response, dict):
        raise MalformedError("a row without a response and without an error")
    if "choices" in response:
        return read_completion(response)
    status, body = response.get("status_code"), response.get("body")
    if isinstance(status, int) and status >= 400:
        inner = body.get("error") if isinstance(body, dict) else None
        inner = inner if isinstance(inner, dict) else {}
        message = f"HTTP {status}: {str(inner.get('message') or body)[:300]}"
        codes = [str(inner.get(name)) for name in ("code", "type") if inner.get(name)]
        fatal = [code for code in codes if code in FATAL_CODES]
        code = next(iter(fatal or codes), None)
        raise RowError(code, message, is_transient=status in (408, 409, 429) or status >= 500)
    return read_completion(body)


def batch_line(request: Request) -> bytes:
    """Return the line that asks a request in the file of a batch."""
    line = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": request.body}
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()
