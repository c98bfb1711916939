"""Creates openai clients, and reads chat completions as OpenAI-compatible servers write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_data.errors import MissingExtraError
from jina_data.llm.dialect import Endpoint
from jina_data.llm.failures import MalformedError
from jina_data.llm.request_ledger import Completion

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

NO_CLIENT = "asking an LLM needs the openai client: pip install 'jina-data[llm]'"


def make_client(endpoint: Endpoint, api_key: str | None, timeout_seconds: float) -> AsyncOpenAI:
    """Return the asynchronous openai client.

    The client requires a key even if the server does not, so a placeholder is used without one.

    Raises:
        MissingExtraError: openai is not installed.
    """
    try:
        from openai import AsyncOpenAI
    except ImportError:
        raise MissingExtraError(NO_CLIENT) from None
    return AsyncOpenAI(**_arguments(endpoint, api_key, timeout_seconds))


def make_plain_client(endpoint: Endpoint, api_key: str | None, timeout_seconds: float) -> OpenAI:
    """Return the synchronous openai client.

    Raises:
        MissingExtraError: openai is not installed.
    """
    try:
        from openai import OpenAI
    except ImportError:
        raise MissingExtraError(NO_CLIENT) from None
    return OpenAI(**_arguments(endpoint, api_key, timeout_seconds))


def _arguments(endpoint: Endpoint, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    from openai import Timeout

    return {
        "api_key": api_key or "none",
        "base_url": endpoint.base_url or "https://api.openai.com/v1",
        "max_retries": 0,
        "timeout": Timeout(timeout_seconds, connect=min(15.0, timeout_seconds)),
    }


def read_completion(value: Any) -> Completion:
    """Read a chat completion. Fields that some servers omit or misuse become None.

    Raises:
        MalformedError: the value is not a chat completion.
    """
    if not isinstance(value, dict):
        raise MalformedError(f"expected a JSON object, got {type(value).__name__}")
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        details = value.get("error") or f"it has the keys {', '.join(map(str, value))[:100]}"
        raise MalformedError(f"no choices; {details}")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise MalformedError("the first choice has no message")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    token_details = usage.get("prompt_tokens_details")
    return Completion(
        content=_content(message.get("content")),
        finish_reason=str(choices[0].get("finish_reason") or "stop"),
        refusal=message.get("refusal") if isinstance(message.get("refusal"), str) else None,
        served_model=str(value.get("model") or ""),
        tokens_in=_token_count(usage.get("prompt_tokens")),
        tokens_cached=_token_count(token_details.get("cached_tokens")) if isinstance(token_details, dict) else None,
        tokens_out=_token_count(usage.get("completion_tokens")),
    )


def _content(value: Any) -> str | None:
    """Return the text of a message; some servers send a list of parts."""
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else None


def _token_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
