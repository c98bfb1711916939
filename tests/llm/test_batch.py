"""The Batch API: splits, both result files, expired and failed rows, and processes that end at any step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jina_data.errors import ServerError
from jina_data.llm.batch import BatchClient, BatchConfig
from jina_data.llm.batch_server import BatchServer, RowError, read_row
from jina_data.llm.cost import CostLimit, Price, Rates, cost_limit_for, cost_so_far
from jina_data.llm.failures import MalformedError, RequestOutcome
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer, ServerSettings
from tests.support.negation import EXPECTED, SECRET, Bench, make_pairs, questions, read


class BatchBench(Bench):
    """Sends questions in batches."""

    def __init__(self, folder: Path, server: LlmServer, **endpoint: Any) -> None:
        super().__init__(folder, server, **endpoint)
        self.scratch = folder / "scratch"

    def client(self, cost_limit: CostLimit | None = None, **settings: Any) -> BatchClient:
        config = BatchConfig(**{"poll_seconds": 0.01, **settings})
        return BatchClient(
            self.endpoint,
            self.ledger,
            config,
            scratch=self.scratch,
            api_key=SECRET,
            cost_limit=cost_limit,
            message=self.messages.append,
        )

    def batch(
        self, n_pairs: int, *, each: int = 1, cost_limit: CostLimit | None = None, **settings: Any
    ) -> RequestOutcome:
        return self.client(cost_limit, **settings).ask(lambda: questions(n_pairs, each))

    def events(self) -> Counter[str]:
        return Counter(entry["event"] for entry in self.server.log)


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("each", [1, 5])
def test_a_batch_answers_every_pair_in_any_order(tmp_path: Path, each: int) -> None:
    with LlmServer() as server:
        bench = BatchBench(tmp_path, server)
        outcome = bench.batch(50, each=each)
        assert (outcome.answered, outcome.failed, outcome.stopped) == (50 // each, 0, None)
        assert bench.negatives(50, each) == EXPECTED[:50]
        assert bench.events()["batch"] == 1
        assert list(bench.scratch.iterdir()) == []
        assert bench.batch(50, each=each).answered == 0
        assert bench.events()["batch"] == 1


def test_a_batch_is_split_at_lines_and_at_bytes(tmp_path: Path) -> None:
    with LlmServer() as server:
        bench = BatchBench(tmp_path, server)
        assert bench.batch(50, max_lines=20).answered == 50
        assert [entry["lines"] for entry in server.log if entry["event"] == "upload"] == [20, 20, 10]
    with LlmServer() as server:
        bench = BatchBench(make_folder(tmp_path / "bytes"), server)
        assert bench.batch(50, max_bytes=2**20 + 40_000).answered == 50
        sizes = [entry["size"] for entry in server.log if entry["event"] == "upload"]
        assert len(sizes) > 2
        assert max(sizes) <= 2**20 + 40_000
    assert BatchConfig().max_lines == 50_000
    assert BatchConfig().max_bytes == 200_000_000


@pytest.mark.parametrize("script", ["expired", "cancelled", "partly_failed", "all_failed", "lost", "unwrapped"])
def test_rows_without_an_answer_are_submitted_again(tmp_path: Path, script: str) -> None:
    with LlmServer(ServerSettings(batch_script=[script])) as server:
        bench = BatchBench(tmp_path, server)
        outcome = bench.batch(21)
        assert (outcome.answered, outcome.failed) == (21, 0)
        assert bench.negatives(21) == EXPECTED[:21]
        sizes = [entry["keys"] for entry in server.log if entry["event"] == "batch"]
        assert sizes == {"all_failed": [21, 21], "unwrapped": [21]}.get(script, [21, 11])


@pytest.mark.parametrize(
    ("script", "error", "detail"),
    [
        ("all_failed", "server_error", "HTTP 500: The server had an error"),
        ("empty", "no_result", "the batch ended without a result for this request"),
        ("strange", "no_result", "this request; 2 results are broken or have ids that were not sent"),
    ],
)
def test_pairs_without_an_answer_in_any_batch_have_the_reason_of_the_server(
    tmp_path: Path, script: str, error: str, detail: str
) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 6)
    with LlmServer(ServerSettings(batch_script=[script] * 20)) as server:
        call = jina_data(
            "negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url, "--mode", "batch",
            "--poll-seconds", "0", "--attempts", "3", "--structured", "schema",
        )  # fmt: skip
        assert [entry["keys"] for entry in server.log if entry["event"] == "batch"] == [6, 6, 6]
    assert call.returncode == 1
    assert f"Error: no negative was accepted for 6 pairs: {error} 6" in call.stderr
    rows = read(tmp_path / "run", "unanswered")
    assert len(rows) == 6
    assert {row["error"] for row in rows} == {error}
    assert all(detail in row["detail"] for row in rows)


def test_a_form_at_which_whole_batches_fail_is_left(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["all_failed", "all_failed"])) as server:
        bench = BatchBench(tmp_path, server)
        assert bench.batch(8).answered == 8
        dialect = bench.ledger.dialect("tiny", server.url)
        assert dialect is not None
        assert dialect.form == "json"
        assert any("HTTP 500: The server had an error; from now on, answers are" in text for text in bench.messages)
        assert bench.ledger.usage("tiny", server.url).requests == 8


def test_rows_that_fail_again_and_again_are_given_up(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["partly_failed"] + ["all_failed"] * 9)) as server:
        bench = BatchBench(tmp_path, server)
        outcome = bench.batch(20, attempts=3)
        assert (outcome.answered, outcome.failed) == (10, 10)
        assert bench.events()["batch"] == 3
        usage = bench.ledger.usage("tiny", server.url)
        assert (usage.answered, usage.failed) == (10, 10)


@pytest.mark.parametrize(("forms", "form"), [(("json_object",), "json"), ((), "text")])
def test_a_form_that_all_rows_are_refused_for_is_left(tmp_path: Path, forms: tuple[str, ...], form: str) -> None:
    with LlmServer(ServerSettings(forms=forms)) as server:
        bench = BatchBench(tmp_path, server)
        outcome = bench.batch(8)
        assert (outcome.answered, outcome.failed) == (8, 0)
        assert bench.negatives(8) == EXPECTED[:8]
        dialect = bench.ledger.dialect("tiny", server.url)
        assert dialect is not None
        assert dialect.form == form


def test_too_many_tokens_at_once_halves_the_batches(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["token_limit"])) as server:
        bench = BatchBench(tmp_path, server)
        assert bench.batch(20).answered == 20
        assert [entry["keys"] for entry in server.log if entry["event"] == "batch"] == [20, 10, 10]


def test_a_refused_batch_is_reported(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["failed"])) as server:
        bench = BatchBench(tmp_path, server)
        with pytest.raises(ServerError, match="refuses batch batch-0: it failed: invalid_json_line"):
            bench.batch(4)
        assert bench.batch(4).answered == 4


# ---------------------------------------------------------------------------------------------------- other processes


def test_another_process_fetches_submitted_batches(tmp_path: Path) -> None:
    with LlmServer() as server:
        outcome = BatchBench(tmp_path, server).batch(30, wait=False)
        assert (outcome.answered, outcome.stopped) == (0, "batches")
        while outcome.stopped == "batches":
            outcome = BatchBench(tmp_path, server).batch(30, wait=False)
        assert outcome.answered == 30
        assert BatchBench(tmp_path, server).negatives(30) == EXPECTED[:30]
        assert BatchBench(tmp_path, server).events()["batch"] == 1


class Killed(BaseException):
    """Simulates the end of a process at a certain point: nothing catches it."""


STEPS = [
    (BatchServer, "_upload"),
    (BatchServer, "create"),
    *((BatchClient, name) for name in ("_read_finished", "_read", "_read_result", "_requeue_open_rows")),
]


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize(("owner", "step"), STEPS)
def test_a_process_that_dies_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, is_after: bool
) -> None:
    done: Callable[..., Any] = getattr(owner, step)

    def dying(*arguments: Any, **named: Any) -> Any:
        if is_after:
            done(*arguments, **named)
        raise Killed

    with LlmServer(ServerSettings(batch_script=["expired"])) as server:
        bench = BatchBench(tmp_path, server)
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, dying)
            with pytest.raises(Killed):
                bench.batch(20)
        bench.ledger.con.close()
        again = BatchBench(tmp_path, server)
        again.ledger.recover()
        again.batch(20)
        assert again.negatives(20) == EXPECTED[:20]
        # One batch with all requests, and one with the half that expired, whichever step was interrupted.
        assert [entry["keys"] for entry in server.log if entry["event"] == "batch"] == [20, 10]
        assert again.ledger.usage("tiny", server.url).answered == 20


def test_a_batch_whose_creation_was_cut_off_is_found_again(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["cut_create"])) as server:
        bench = BatchBench(tmp_path, server)
        assert bench.batch(10).answered == 10
        assert bench.events()["batch"] == 1


# -------------------------------------------------------------------------------------------------------------- money


def test_a_batch_costs_half_and_stops_before_the_limit(tmp_path: Path) -> None:
    price = Price(Rates(10.0, 100.0, 10.0), Rates(5.0, 50.0, 5.0), "a test")
    with LlmServer() as server:
        bench = BatchBench(tmp_path, server)
        cost_limit = cost_limit_for(bench.ledger, bench.endpoint, price, 0.2, is_batch=True)
        outcome = bench.batch(200, cost_limit=cost_limit)
        assert outcome.stopped == "max_cost"
        spent = cost_so_far(bench.ledger, bench.endpoint, price)
        assert spent.cost is not None
        assert 0.18 < spent.cost <= 0.2
        usage = bench.ledger.usage("tiny", server.url)
        assert spent.cost == pytest.approx((usage.tokens_in * 10 + usage.tokens_out * 100) / 2e6)
        assert cost_limit is not None
        assert cost_limit.spent == pytest.approx(spent.cost)


# --------------------------------------------------------------------------------------------------------------- rows

WHOLE = {"model": "m", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "row",
    [
        {"response": {"status_code": 200, "body": WHOLE}, "error": None},
        {"response": {"status_code": 200, "body": json.dumps(WHOLE)}},
        {"response": WHOLE, "error": None},
    ],
)
def test_rows_are_read_wrapped_and_bare(row: dict[str, Any]) -> None:
    assert read_row(row).content == "x"


@pytest.mark.parametrize(
    ("row", "code", "is_transient"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "x"}}, "batch_expired", True),
        ({"response": None, "error": {"code": "invalid_request", "message": "x"}}, "invalid_request", False),
        ({"response": None, "error": "it failed"}, None, True),
        ({"response": {"status_code": 200, "body": {"error": {"message": "rate limit"}}}, "error": None}, None, True),
        ({"response": {"status_code": 400, "body": '{"error": {"code": "bad"}}'}}, "bad", False),
        ({"response": {"status_code": 500, "body": None}}, None, True),
        ({"response": {"status_code": 429, "body": {"error": {"code": "rate_limit_exceeded"}}}},
         "rate_limit_exceeded", True),
        ({"response": {"status_code": 429, "body": {"error": {"type": "insufficient_quota", "code": "x"}}}},
         "insufficient_quota", True),
        ({"response": {"status_code": 400, "body": {"error": {"message": "no"}}}}, None, False),
    ],
)  # fmt: skip
def test_rows_with_errors(row: dict[str, Any], code: str | None, is_transient: bool) -> None:
    with pytest.raises(RowError) as raised:
        read_row(row)
    assert (raised.value.code, raised.value.is_transient) == (code, is_transient)


@pytest.mark.parametrize("row", [{}, {"response": None, "error": None}, {"response": {"status_code": 200}}])
def test_rows_with_nothing(row: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        read_row(row)


def test_the_key_is_in_no_file_of_a_batch(tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["stuck"])) as server:
        bench = BatchBench(tmp_path, server)
        bench.batch(4, wait=False)
        assert all(SECRET not in line for line in bench.messages)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
