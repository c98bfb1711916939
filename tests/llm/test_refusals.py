"""Parameters, forms and roles that a server refuses, in the words of many servers: requests are adapted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jina_data.errors import ServerError
from jina_data.llm.cost import Price, Rates, cost_limit_for
from jina_data.llm.dialect import Dialect
from jina_data.llm.error_body import read_error
from jina_data.llm.refusals import is_about_range, is_about_system_message, refused_parameter
from tests.support.llm_server import LlmServer, ServerSettings
from tests.support.negation import EXPECTED, Bench, questions

SENT = ("max_tokens", "response_format", "temperature", "seed", "store", "n", "logprobs", "reasoning_effort")

WORDINGS = [
    ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
     "max_tokens"),
    ("Unknown parameter max_tokens", "max_tokens"),
    ("Unrecognized request argument supplied: store", "store"),
    ("Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
     "temperature"),
    ("litellm.UnsupportedParamsError: azure_ai does not support parameters: ['seed', 'store'], for model=x. To drop "
     "these, set `litellm.drop_params=True`", "seed"),
    ("litellm.UnsupportedParamsError: gpt-5-nano doesn't support temperature=0.1 while reasoning is active.",
     "temperature"),
    ("[{'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted', 'input': True}]",
     "store"),
    ("body.seed: Extra inputs are not permitted", "seed"),
    ("body -> n\n  Extra inputs are not permitted (type=extra_forbidden)", "n"),
    ("seed: Extra inputs are not permitted", "seed"),
    ("Invalid JSON payload received. Unknown name \"logprobs\": Cannot find field.", "logprobs"),
    ("unknown field: parameter 'store' is not a valid field", "store"),
    ("property 'store' is unsupported", "store"),
    ("unknown field `seed`, expected one of `model`, `messages`, `max_tokens`, `temperature`", "seed"),
    ("`temperature` is deprecated for this model.", "temperature"),
    ('"qwen2.5" does not support thinking', "reasoning_effort"),
    ("response_format.type: unknown variant `json_schema`, expected `text` or `json_object`", "response_format"),
    ("'response_format.type' must be 'json_schema'", "response_format"),
    ("The model does not support this request in the store of the names", None),  # ordinary words
    ("failed to parse grammar", None),
]  # fmt: skip


@pytest.mark.parametrize(("message", "name"), WORDINGS)
def test_the_refused_parameter_is_found_in_the_message(message: str, name: str | None) -> None:
    assert refused_parameter(message, SENT) == name


def test_a_field_of_the_response_names_it() -> None:
    assert refused_parameter("Bad request", SENT, "body.seed") == "seed"
    assert refused_parameter("Bad request", SENT, "response_format.json_schema") == "response_format"
    assert refused_parameter("Bad request", SENT, "messages[0].role") is None


BODIES: list[tuple[Any, str, str | None]] = [
    ({"error": {"message": "no", "param": "seed", "code": None}}, "no", "seed"),
    ([{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}], "Unknown name", None),
    ({"detail": [{"loc": ["body", "store"], "msg": "Extra inputs are not permitted"}]},
     "body.store: Extra inputs are not permitted", None),
    ({"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}}, "body.seed: extra", None),
    ({"error": "model not loaded"}, "model not loaded", None),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": "no seed"}}},
     "Provider returned error: no seed", None),
    ("plain text", "plain text", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message", "parameter"), BODIES)
def test_error_bodies(body: Any, message: str, parameter: str | None) -> None:
    error = read_error(body)
    assert (error.message, error.parameter) == (message, parameter)


@pytest.mark.parametrize(
    ("message", "is_range"),
    [
        ("max_tokens is too large: 100000. This model supports at most 4096 completion tokens", True),
        ("temperature: Input should be less than or equal to 2", True),
        ("Unsupported value: 'temperature' does not support 0.7 with this model", False),
        ("invalid temperature: only 1 is allowed for this model", False),
    ],
)
def test_a_value_out_of_range_is_no_unknown_parameter(message: str, is_range: bool) -> None:
    assert is_about_range(message) == is_range


@pytest.mark.parametrize(
    ("message", "is_system"),
    [
        ("System role not supported", True),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", True),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", True),
        ("Conversation roles must alternate user/assistant/user/assistant/...", True),
        ("The operating system is out of memory", False),
    ],
)
def test_a_refused_system_message(message: str, is_system: bool) -> None:
    assert is_about_system_message(message) == is_system


# ---------------------------------------------------------------------------------------------------- with the server

PARAMS: dict[str, Any] = {"temperature": 0.7, "seed": 1, "store": False}


def answers(folder: Path, server: LlmServer, **config: Any) -> tuple[Bench, Dialect]:
    bench = Bench(folder, server, params=PARAMS)
    assert bench.ask(questions(6), **config).failed == 0
    assert bench.negatives(6) == EXPECTED[:6]
    dialect = bench.ledger.dialect("tiny", server.url)
    assert dialect is not None
    return bench, dialect


@pytest.mark.parametrize("status", [400, 422, 500, 404])
def test_refused_parameters_are_left_out_and_reported_once(tmp_path: Path, status: int) -> None:
    refused = {
        "temperature": "Unsupported value: 'temperature' does not support 0.7 with this model.",
        "store": {"detail": [{"type": "extra", "loc": ["body", "store"], "msg": "Extra inputs are not permitted"}]},
        "max_tokens": "Unknown parameter max_tokens",
    }
    with LlmServer(ServerSettings(refused=refused, refusal_status=status)) as server:
        bench, dialect = answers(tmp_path, server)
        assert dialect == Dialect("schema", "max_completion_tokens", dialect.left_out)
        assert set(dialect.left_out) == set(refused)
        assert server.n_chats == 6 + 3
    assert len(bench.messages) == 3
    assert any("temperature is not sent" in message for message in bench.messages)
    assert any("the token limit is sent as max_completion_tokens" in message for message in bench.messages)


def test_both_names_of_the_token_limit_may_be_refused(tmp_path: Path) -> None:
    refused = {name: f"property '{name}' is unsupported" for name in ("max_tokens", "max_completion_tokens")}
    with LlmServer(ServerSettings(refused=refused)) as server:
        bench, dialect = answers(tmp_path, server)
        assert dialect.bound is None
        assert "no token limit is sent" in bench.messages[1]
    (folder := tmp_path / "limited").mkdir()
    with LlmServer(ServerSettings(refused=refused)) as server:
        bench = Bench(folder, server)
        rates = Rates(1.0, 1.0, 1.0)
        cost_limit = cost_limit_for(bench.ledger, bench.endpoint, Price(rates, rates, "a test"), 10.0)
        with pytest.raises(ServerError, match=r"refuses every request: .*max_completion_tokens"):
            bench.ask(questions(6), cost_limit)  # a limit of the cost needs a limit of the tokens


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_without_schemas_is_asked_without(tmp_path: Path, status: int) -> None:
    settings = ServerSettings(refused={"json_schema": "failed to parse grammar"}, refusal_status=status)
    with LlmServer(settings) as server:
        bench, dialect = answers(tmp_path, server)
        assert dialect.form == "json"
        (message,) = bench.messages
        assert f"HTTP {status}: failed to parse grammar; from now on, answers are requested as JSON objects" in message
        assert server.n_chats == 6 + (2 if status == 500 else 1)
        other = Bench(tmp_path, server, params=PARAMS)
        other.ask(questions(8))
        assert other.messages == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [(500, r"grammar error.*--structured text"), (400, r"error\. --structured auto tries other forms")],
)
def test_a_fixed_form_is_kept_with_a_hint(tmp_path: Path, status: int, hint: str) -> None:
    settings = ServerSettings(refused={"json_schema": "grammar error"}, refusal_status=status)
    with LlmServer(settings) as server, pytest.raises(ServerError, match=hint):
        Bench(tmp_path, server).ask(questions(3), form="schema", attempts=2)


def test_a_server_that_fails_at_everything_is_reported(tmp_path: Path) -> None:
    refused = {"model": "out of memory"}
    with LlmServer(ServerSettings(refused=refused, refusal_status=500)) as server:
        with pytest.raises(ServerError, match="does not answer: HTTP 500: out of memory"):
            Bench(tmp_path, server).ask(questions(3), attempts=3)
        assert server.n_chats == 2 + 2 + 3


def test_the_instructions_go_into_the_user_message(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(refused={"system": "System role not supported"})) as server:
        bench, dialect = answers(tmp_path, server)
        assert (dialect.has_system, dialect.form) == (False, "schema")
        assert "the instructions are sent in the user message" in bench.messages[0]


def test_a_value_out_of_range_is_reported_and_kept(tmp_path: Path) -> None:
    refused = {"temperature": "temperature: Input should be less than or equal to 2"}
    with LlmServer(ServerSettings(refused=refused)) as server:
        with pytest.raises(ServerError, match="less than or equal to 2"):
            Bench(tmp_path, server, params={"temperature": 7}).ask(questions(3))
        assert server.n_chats == 3  # one for each of the first prompts


def test_parameters_that_are_left_out_are_reported_in_the_next_session(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(refused={"seed": "Unrecognized request argument supplied: seed"})) as server:
        answers(tmp_path, server)
        again = Bench(tmp_path, server, params=PARAMS)
        again.ask(questions(8))
        assert again.messages == [f"{server.url} does not accept seed; requests are sent without"]
