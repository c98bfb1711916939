"""Responses with status 200 that are no plain completion: errors, pages, streams, and answers in other fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jina_data.errors import ServerError
from jina_data.llm.completions import parse_body, read_completion
from jina_data.llm.failures import MalformedError, ReplyError
from tests.support.llm_server import LlmServer, ServerSettings
from tests.support.negation import EXPECTED, Bench, questions


def whole(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"message": message, "finish_reason": "stop", **choice}]}


ANSWER = '{"negative": "x"}'


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": ANSWER}, ANSWER),
        ({"content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": ANSWER}]}, ANSWER),
        ({"content": {"negative": "x"}}, ANSWER),
        ({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": ANSWER}}]}, ANSWER),
        ({"content": "", "reasoning_content": f"The verb. {ANSWER}"}, f"The verb. {ANSWER}"),
        ({"content": None, "reasoning": "The verb"}, "<think>The verb</think>"),
        ({"content": ANSWER, "reasoning_content": '{"negative": "y"}'}, ANSWER),
        ({"content": None}, None),
    ],
)
def test_the_answer_may_be_in_another_field(message: dict[str, Any], content: str | None) -> None:
    assert read_completion(whole(message)).content == content


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("content_filter: RECITATION", "content_filter"),
        ("end_turn", "stop"),
        (None, "stop"),
    ],
)
def test_the_reason_of_the_end_in_other_words(word: str | None, reason: str) -> None:
    assert read_completion(whole({"content": "x"}, finish_reason=word)).finish_reason == reason
    if reason == "content_filter":  # such answers may have no message
        assert read_completion({"choices": [{"finish_reason": word}]}).content is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the body of the response is empty"),
        (" \n", "the body of the response is empty"),
        ("<!doctype html><title> Sign\nin </title>", 'an HTML page with the title "Sign in". Check that --base-url'),
        ("<html>", "the server sent an HTML page"),
        ("upstream error", "expected a JSON object, got upstream error"),
        ("data: {broken", "the stream was cut off"),
        ('{"choices": []}', "the list of choices is empty"),
        ('{"choices": null}', "the list of choices is empty"),
        ('{"id": 1}', "no choices; it has the keys id"),
        ("[1, 2]", "expected a JSON object, got list"),
    ],
)
def test_what_is_no_completion_is_described(text: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message.replace(".", "[.]")):
        read_completion(parse_body(text))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no", "choices": None}, "no"),
        ({"object": "error", "message": "no", "code": 400}, "no"),
        ({"detail": "no"}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": None}, "no"),
        ({"choices": [{"error": {"message": "no"}, "message": {"content": ""}}]}, "no"),
    ],
)
def test_an_error_with_status_200_has_its_message(body: Any, message: str) -> None:
    with pytest.raises(ReplyError, match=message):
        read_completion(body)


# ---------------------------------------------------------------------------------------------------- with the server


@pytest.mark.parametrize(
    "fault", ["empty_body", "login", "null_choices", "busy_200", "rate_200", "base_resp", "error_choice"]
)
def test_each_is_retried(tmp_path: Path, fault: str) -> None:
    with LlmServer(ServerSettings(script=["ok", fault, "ok", fault])) as server:
        bench = Bench(tmp_path, server)
        outcome = bench.ask(questions(8))
        assert (outcome.answered, outcome.failed) == (8, 0)
        assert bench.negatives(8) == EXPECTED[:8]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("login", 'does not answer: .*an HTML page with the title "Sign in". Check that --base-url'),
        ("empty_body", "does not answer: .*the body of the response is empty"),
        ("busy_200", "does not answer: an error with HTTP status 200: The model is overloaded"),
        ("key_200", "an error with HTTP status 200: Invalid API key .the key is missing or not valid"),
    ],
)
def test_what_stays_is_reported_in_one_line(tmp_path: Path, fault: str, message: str) -> None:
    with LlmServer(ServerSettings(script=[fault] * 20)) as server:
        with pytest.raises(ServerError, match=message) as raised:
            Bench(tmp_path, server).ask(questions(5), attempts=2)
        assert "\n" not in str(raised.value)
        assert server.n_chats <= 2


def test_an_answer_that_is_streamed_anyway_is_joined(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(script=["stream"] * 4)) as server:
        bench = Bench(tmp_path, server)
        bench.ask(questions(4))
        assert bench.negatives(4) == EXPECTED[:4]
        assert bench.ledger.usage("tiny", server.url).uncounted == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: f"<think>{text.replace('not ', '')}</think>{text}",
        lambda text: f"Sure, in {{braces}}:\n```json\n{text[:-1]},}}\n```",
        lambda text: {"content": None, "reasoning_content": text},
        lambda text: {"content": None, "tool_calls": [{"function": {"arguments": text}}]},
        lambda text: {"content": text + "\n\nNote that" * 9, "finish_reason": "length"},
        json.dumps,
    ],
)
def test_a_chatty_model_is_asked_once(tmp_path: Path, wrap: Any) -> None:
    with LlmServer(wrap=wrap) as server:
        bench = Bench(tmp_path, server)
        assert bench.ask(questions(8)).stopped is None
        assert bench.negatives(8) == EXPECTED[:8]
        assert server.n_chats == 8
