"""The openai client, and chat completions as any server may write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_data.errors import MissingExtraError
from jina_data.llm.dialect import Endpoint
from jina_data.llm.failures import MalformedError
from jina_data.llm.request_ledger import Received

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

NO_CLIENT = "asking an LLM needs the openai client: pip install 'jina-data[llm]'"


def make_client(target: Endpoint, api_key: str | None, timeout_seconds: float) -> AsyncOpenAI:
    """Return the openai client; servers of one's own ask for no key, but the client wants one.

    Raises:
        MissingExtraError: the package is not there.
    """
    try:
        from openai import AsyncOpenAI
    except ImportError:
        raise MissingExtraError(NO_CLIENT) from None
    return AsyncOpenAI(**_arguments(target, api_key, timeout_seconds))


def make_plain_client(target: Endpoint, api_key: str | None, timeout_seconds: float) -> OpenAI:
    """Return the openai client for one call at a time.

    Raises:
        MissingExtraError: the package is not there.
    """
    try:
        from openai import OpenAI
    except ImportError:
        raise MissingExtraError(NO_CLIENT) from None
    return OpenAI(**_arguments(target, api_key, timeout_seconds))


def _arguments(target: Endpoint, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    from openai import Timeout

    return {
        "api_key": api_key or "none",
        "base_url": target.base_url or "https://api.openai.com/v1",
        "max_retries": 0,
        "timeout": Timeout(timeout_seconds, connect=min(15.0, timeout_seconds)),
    }


def read_completion(value: Any) -> Received:
    """Read a chat completion as any server may write it.

    Raises:
        MalformedError: it is not one.
    """
    if not isinstance(value, dict):
        raise MalformedError(f"expected a JSON object, got {type(value).__name__}")
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        said = value.get("error") or f"it has the keys {', '.join(map(str, value))[:100]}"
        raise MalformedError(f"no choices; {said}")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise MalformedError("the first choice has no message")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Received(
        content=_content(message.get("content")),
        finish_reason=str(choices[0].get("finish_reason") or "stop"),
        refusal=message.get("refusal") if isinstance(message.get("refusal"), str) else None,
        served_model=str(value.get("model") or ""),
        tokens_in=_whole(usage.get("prompt_tokens")),
        tokens_cached=_whole(details.get("cached_tokens")) if isinstance(details, dict) else None,
        tokens_out=_whole(usage.get("completion_tokens")),
    )


def _content(value: Any) -> str | None:
    """Return the text of a message; some servers give it in parts."""
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
