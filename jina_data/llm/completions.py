"""Creates openai clients, and reads chat completions as OpenAI-compatible servers write them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jina_data.errors import MissingExtraError
from jina_data.llm.dialect import Completion, Endpoint
from jina_data.llm.error_body import has_error, page_title, read_error
from jina_data.llm.failures import MalformedError, ReplyError

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


FINISH_REASONS = {
    "length": ("length", "max_tokens", "model_length", "max_output_tokens", "token_limit", "max_length"),
    "content_filter": ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "refusal",
                       "sensitive"),
    "error": ("error", "abort", "insufficient_system_resource", "network_error", "server_error"),
}  # fmt: skip
"""The words of servers for each reason why an answer ended. Any other word is `stop`."""


def parse_body(text: str) -> Any:
    """Parse the body of a response with status 200, also if the server streams it although it was not asked to.

    Raises:
        MalformedError: the body is empty, an HTML page, or otherwise not JSON.
    """
    if not text.strip():
        raise MalformedError("the body of the response is empty")
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text.lstrip().startswith("data:"):
        return _joined_stream(text)
    if page := page_title(text):
        raise MalformedError(
            f"the server sent {page}. Check that --base-url is the address of an API, which usually ends in /v1, and "
            "that no login page or proxy is in front of it"
        )
    raise MalformedError(f"expected a JSON object, got {' '.join(text.split())[:100]}")


def _joined_stream(text: str) -> Any:
    """Return the completion of a stream of events, `data: {...}`."""
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    try:
        chunks = [json.loads(line) for line in lines if line and line != "[DONE]"]
    except ValueError:
        raise MalformedError("the server streams its answer, and the stream was cut off") from None
    chunks = [chunk for chunk in chunks if isinstance(chunk, dict)]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or () if isinstance(choice, dict)]
    deltas = [delta for choice in choices if isinstance(delta := choice.get("delta"), dict)]
    if not choices:
        return chunks[-1] if chunks else {}
    message = {
        key: "".join(str(delta[key]) for delta in deltas if delta.get(key)) or None
        for key in ("content", "reasoning_content", "reasoning", "refusal")
    }
    finish = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    whole = {key: value for chunk in chunks for key, value in chunk.items() if value is not None}
    return {**whole, "choices": [{"message": message, "finish_reason": finish}]}


def read_completion(value: Any) -> Completion:
    """Read a chat completion. Fields that some servers omit or misuse become None.

    Raises:
        ReplyError: the value is an error, which the server sent with status 200.
        MalformedError: the value is not a chat completion.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise MalformedError(f"expected a JSON object, got {type(value).__name__}")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        if has_error(value):
            raise ReplyError(read_error(value))
        raise MalformedError(
            "the list of choices is empty" if "choices" in value else f"no choices; it has {_names(value)}"
        )
    finish_reason = _finish_reason(choice.get("finish_reason"))
    if choice.get("error") or finish_reason == "error":
        raise ReplyError(read_error({"error": choice.get("error") or f"finish_reason is {choice['finish_reason']}"}))
    message = choice.get("message")
    if not isinstance(message, dict):
        if not isinstance(choice.get("text"), str) and finish_reason == "stop":
            raise MalformedError("the first choice has no message")
        message = {"content": choice.get("text")}
    return Completion(
        content=_content(message),
        finish_reason=finish_reason,
        refusal=message["refusal"] if isinstance(message.get("refusal"), str) and message["refusal"] else None,
        served_model=str(value.get("model") or ""),
        **_token_counts(value.get("usage")),
    )


def _names(value: dict[str, Any]) -> str:
    return f"the keys {', '.join(map(str, value))[:100]}" if value else "no keys"


def _finish_reason(value: Any) -> str:
    word = re.split(r"[:\s]", str(value or "stop").lower())[0]
    return next((reason for reason, words in FINISH_REASONS.items() if word in words), "stop")


def _content(message: dict[str, Any]) -> str | None:
    """Return the text of a message, which some servers put into a list of parts, a tool call or the thoughts."""
    value = message.get("content")
    if isinstance(value, list):
        parts = [part if isinstance(part, dict) else {"text": part} for part in value]
        value = "".join(
            str(part.get("text") or "") for part in parts if part.get("type") not in ("thinking", "reasoning")
        )
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.strip():
        return value
    return _tool_arguments(message) or _answer_in_thoughts(message) or (value if isinstance(value, str) else None)


def _tool_arguments(message: dict[str, Any]) -> str | None:
    """Return the arguments of a tool call: some proxies replace a JSON schema by a tool."""
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls and isinstance(calls[0], dict) else message
    function = call.get("function") or call.get("function_call")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments or None


def _answer_in_thoughts(message: dict[str, Any]) -> str | None:
    """Return the thoughts of a message without content: marked as thoughts, unless they end with a JSON object.

    Some servers put a structured answer into the field of the thoughts.
    """
    thoughts = next((message[key] for key in ("reasoning_content", "reasoning", "thinking") if message.get(key)), None)
    if not isinstance(thoughts, str):
        return None
    return thoughts if re.search(r"\}\s*(?:```)?\s*\Z", thoughts) else f"<think>{thoughts}</think>"


def _token_counts(usage: Any) -> dict[str, int | None]:
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return {
        "tokens_in": _token_count(usage.get("prompt_tokens")),
        "tokens_cached": _token_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
        "tokens_out": _token_count(usage.get("completion_tokens")),
    }


def _token_count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
