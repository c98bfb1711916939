"""Online requests: faults are retried or reported in one line, limits are kept, no request is repeated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jina_data.errors import ServerError, UsageError
from jina_data.llm.cost import Price, Rates, cost_limit_for, cost_so_far, price_of
from jina_data.llm.dialect import Dialect
from jina_data.llm.failures import duration_seconds, retry_after_seconds
from tests.support.llm_server import MIXED, LlmServer, ServerSettings
from tests.support.negation import EXPECTED, SECRET, Bench, most_in, questions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# ------------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("forms", [("json_schema", "json_object"), ("json_object",), ()])
def test_every_pair_gets_its_own_answer_in_every_form(folder: Path, forms: tuple[str, ...], each: int) -> None:
    with LlmServer(ServerSettings(forms=forms)) as server:
        bench = Bench(folder, server)
        outcome = bench.ask(questions(30, each))
        assert outcome.failed == 0
        assert bench.negatives(30, each) == EXPECTED[:30]
        dialect = bench.ledger.dialect("tiny", server.url)
        assert dialect is not None
        assert dialect.form == {2: "schema", 1: "json", 0: "text"}[len(forms)]
        assert bench.did()["400_form"] == 2 - len(forms)  # determined once


def test_the_form_is_remembered_by_the_next_process(folder: Path) -> None:
    with LlmServer(ServerSettings(forms=())) as server:
        Bench(folder, server).ask(questions(3))
        again = Bench(folder, server)
        again.ask(questions(6))
        assert again.did() == {"400_form": 2, "ok": 6}
        assert again.ledger.usage("tiny", server.url).requests == 6


def test_the_other_name_of_the_token_limit_is_tried(folder: Path) -> None:
    with LlmServer(ServerSettings(bounds=("max_completion_tokens",))) as server:
        bench = Bench(folder, server)
        bench.ask(questions(3))
        assert bench.did() == {"400_bound": 1, "ok": 3}


def test_identical_questions_are_asked_once(folder: Path) -> None:
    with LlmServer() as server:
        bench = Bench(folder, server)
        outcome = bench.ask([*questions(5), *questions(5)])
        assert (outcome.answered, bench.did()["ok"]) == (5, 5)


def test_a_stored_answer_is_never_asked_again(folder: Path) -> None:
    with LlmServer() as server:
        Bench(folder, server).ask(questions(20))
        bench = Bench(folder, server)
        assert bench.ask(questions(20)).already_answered == 20
        assert server.n_chats == 20


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("fault", [*MIXED, "broken_json", "hang"])
def test_each_fault_is_survived(folder: Path, fault: str) -> None:
    with LlmServer(ServerSettings(script=["ok", fault, fault, "ok", fault])) as server:
        bench = Bench(folder, server)
        outcome = bench.ask(questions(20), timeout_seconds=2.0 if fault == "hang" else 60.0)
        assert (outcome.answered, outcome.failed) == (20, 0)
        assert bench.negatives(20) == EXPECTED[:20]
        assert bench.did()[fault] == (0 if fault == "hang" else 3)
        usage = bench.ledger.usage("tiny", server.url)
        assert usage.unknown == (
            3 if fault in ("cut", "cut_body", "not_json", "no_choices", "broken_json", "hang") else 0
        )
        assert usage.sends == (20 if fault == "slow" else 23)


def test_many_pairs_under_mixed_faults(folder: Path) -> None:
    with LlmServer(ServerSettings(fault_share=0.2)) as server:
        bench = Bench(folder, server)
        outcome = bench.ask(questions(150), concurrency=16)
        assert (outcome.answered, outcome.failed) == (150, 0)
        assert bench.negatives(150) == EXPECTED[:150]
        did = bench.did()
        assert len(did) > 7
        assert did["ok"] + did["slow"] == 150


def test_retry_after_is_obeyed(folder: Path) -> None:
    with LlmServer(ServerSettings(script=["ok", "429_after"])) as server:
        bench = Bench(folder, server)
        bench.ask(questions(2), concurrency=1)
        arrivals = [entry["time"] for entry in server.log if entry["event"] == "arrive"]
        assert arrivals[2] - arrivals[1] >= 0.15


def test_a_refused_request_is_given_up_and_the_others_continue(folder: Path) -> None:
    with LlmServer(ServerSettings(script=["ok"] * 12 + ["400"])) as server:
        bench = Bench(folder, server)
        outcome = bench.ask(questions(30), concurrency=2)
        assert (outcome.answered, outcome.failed) == (29, 1)
        assert server.n_chats == 30


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "150", "retry-after": "1"}, 0.15),  # the finer of the two
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("12ms", 0.012), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3s", 3723.0), ("-1", None), ("", None)]
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(
    ("settings", "script", "message"),
    [
        ({"key": "another"}, [], "HTTP 401: .*the key is not valid"),
        ({"model": "big"}, [], "HTTP 404: The model tiny does not exist .*no such model"),
        ({"quota": 0}, [], "HTTP 429: You exceeded your current quota .*no quota left"),
        ({}, ["400"] * 9, "refuses every request: HTTP 400: this text is not allowed"),
        ({"quota": 30}, [], "HTTP 429: You exceeded your current quota"),
    ],
)
def test_a_fatal_error_stops_at_once_in_one_line(
    folder: Path, settings: dict[str, Any], script: list[str], message: str
) -> None:
    with LlmServer(ServerSettings(**settings, script=script)) as server:
        bench = Bench(folder, server)
        started = time.monotonic()
        with pytest.raises(ServerError, match=message) as raised:
            bench.ask(questions(100))
        assert time.monotonic() - started < 60  # no request hangs
        assert "\n" not in str(raised.value)
        assert SECRET not in str(raised.value)
        assert server.n_chats <= (9 if script else settings.get("quota", 0) + 8)


def test_a_missing_server_is_reported(folder: Path) -> None:
    with LlmServer() as server:
        bench = Bench(folder, server)
    with pytest.raises(ServerError, match=r"does not answer: the connection failed: .*"):
        bench.ask(questions(5), attempts=2)


def test_a_run_stops_when_half_of_the_first_requests_fail(folder: Path) -> None:
    with LlmServer(ServerSettings(script=["ok"] + ["400", "ok", "400"] * 40)) as server:
        bench = Bench(folder, server)
        with pytest.raises(ServerError, match=r"of the first 1. requests .* failed"):
            bench.ask(questions(200), concurrency=2)
        assert server.n_chats < 30


def test_a_server_that_dies_later_stops_the_run(folder: Path) -> None:
    with LlmServer(ServerSettings(script=["ok"] * 60 + ["500"] * 1000)) as server:
        bench = Bench(folder, server)
        with pytest.raises(ServerError, match="requests in a row"):
            bench.ask(questions(300), attempts=1)
        assert server.n_chats < 110


# ------------------------------------------------------------------------------------------------------------- limits


def test_a_rate_that_is_set_is_kept_by_the_log_of_the_server(folder: Path) -> None:
    with LlmServer() as server:
        Bench(folder, server).ask(questions(40), rpm=1200, concurrency=20)
        arrivals = [entry["time"] for entry in server.log if entry["event"] == "arrive"]
        assert arrivals[-1] - arrivals[0] > 1.5
        assert most_in(arrivals, 1.0) <= 1200 / 60 + 1200 * 0.25 / 60 + 1


def test_a_rate_limit_of_the_server_is_adopted(folder: Path) -> None:
    with LlmServer(ServerSettings(rpm=1200)) as server:
        server._level = 1190.0  # the bucket of the server is nearly used up
        bench = Bench(folder, server)
        outcome = bench.ask(questions(60), concurrency=20)
        assert outcome.answered == 60
        assert bench.did()["429_after"] <= 25  # a burst before the first headers
        arrivals = [entry["time"] for entry in server.log if entry["event"] == "arrive"]
        assert arrivals[-1] - arrivals[0] > 2


def test_tokens_a_minute_are_kept(folder: Path) -> None:
    with LlmServer() as server:
        bench = Bench(folder, server, max_tokens=100)
        (question,) = questions(1)
        each = bench.endpoint.request(question, Dialect()).prompt_bytes // 4 + 100
        bench.ask(questions(30), tpm=each * 600, concurrency=20)
        arrivals = [entry["time"] for entry in server.log if entry["event"] == "arrive"]
        assert arrivals[-1] - arrivals[0] > 1.5
        with pytest.raises(UsageError, match="raise --tpm"):
            Bench(folder, server).ask(questions(31), tpm=50)


# -------------------------------------------------------------------------------------------------------------- money

PRICE = Price(Rates(10.0, 100.0, 10.0), Rates(5.0, 50.0, 5.0), "a test")


def test_the_cost_limit_is_never_exceeded(folder: Path) -> None:
    with LlmServer(ServerSettings(latency_seconds=0.01, fault_share=0.2)) as server:
        bench = Bench(folder, server)
        cost_limit = cost_limit_for(bench.ledger, bench.endpoint, PRICE, 0.5)
        assert cost_limit is not None
        outcome = bench.ask(questions(300), cost_limit)
        assert outcome.stopped == "max_cost"
        assert 0 < outcome.answered < 300
        spent = cost_so_far(bench.ledger, bench.endpoint, PRICE)
        assert spent.cost is not None
        assert spent.max_in_doubt is not None
        assert 0.4 < spent.upper_bound <= 0.5
        assert cost_limit.spent == pytest.approx(spent.cost + spent.max_in_doubt)
        sent = server.n_chats
        assert bench.ask(questions(300), cost_limit_for(bench.ledger, bench.endpoint, PRICE, 0.5)).answered == 0
        assert server.n_chats == sent


def test_without_a_price_a_limit_is_refused(folder: Path) -> None:
    with LlmServer() as server:
        bench = Bench(folder, server)
        assert price_of(bench.endpoint) is None
        with pytest.raises(UsageError, match=r"--max-cost 1 cannot be enforced: the price of tiny at .*--price-in"):
            cost_limit_for(bench.ledger, bench.endpoint, None, 1.0)


# ------------------------------------------------------------------------------------------------------------ secrets


def test_the_key_is_in_no_ledger_and_no_error(folder: Path) -> None:
    with LlmServer(ServerSettings(key="another")) as server:
        bench = Bench(folder, server, base_url=server.url.replace("//", "//user:hunter2@"))
        with pytest.raises(ServerError) as raised:
            bench.ask(questions(3))
        assert SECRET not in str(raised.value)
        assert "hunter2" not in str(raised.value)
    for path in folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
        assert b"hunter2" not in path.read_bytes(), path
