"""The LLM judge: asked once for each negative on which the other checks disagree, with its own account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jina_data.errors import ServerError, UsageError
from jina_data.llm.cost import Price, Rates
from jina_data.negation.config import NegateConfig
from jina_data.negation.forecast import forecast_cost
from jina_data.negation.judge import read_opinion
from jina_data.negation.report import NegateReport
from jina_data.negation.run import negate
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer, ServerSettings
from tests.support.negation import SECRET, make_pairs, options_for, read, settings_for

PAIRS = 12
PRICES = "as_of: '2026-11'\nmodels:\n  tiny: {input: 1, output: 1}\n  judge: {input: 100, output: 100}\n"


def number_of(item: Mapping[str, Any]) -> int:
    return int(str(item["entailment"]).split()[4])


def sleep_or_not(item: Mapping[str, Any]) -> str:
    """Return an opposite that is in no list for two of three pairs, and a negation for the third."""
    word = "not running" if number_of(item) % 3 == 0 else "sleeping"
    return str(item["entailment"]).replace("running", word)


def is_even(item: Mapping[str, Any]) -> bool:
    return number_of(item) % 2 == 0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_pairs(tmp_path_factory.mktemp("pairs") / "pairs.csv", PAIRS)


@pytest.mark.parametrize(
    ("content", "probability", "why"),
    [
        ('{"reason": "it says not", "contradicts": true}', 1.0, "it says not"),
        ('```json\n{"contradicts": false, "reason": "same"}\n```', 0.0, "same"),
        ("Yes: one stands, one sits", 1.0, "one stands, one sits"),
        ("**no** - both may be", 0.0, "both may be"),
        ("<think>yes, well</think> No.", 0.0, ""),
        ('{"contradicts": "Yes, it does", "reason": "x"}', 1.0, "x"),
        ("{'contradicts': False, 'reason': 'isn't',}", 0.0, "isn't"),
        ('{"contradicts": "perhaps"}', None, 'neither yes nor no: {"contradicts": "perhaps"}'),
        (
            '{"contradicts": true} {"contradicts": false}',
            None,
            'neither yes nor no: {"contradicts": true} {"contradicts": false}',
        ),
        ("Thinking ...</think>\n**Answer: yes**", 1.0, ""),
        ("Nobody knows", None, "neither yes nor no: Nobody knows"),
        (None, None, "neither yes nor no: nothing"),
    ],
)
def test_opinions_are_read(content: str | None, probability: float | None, why: str) -> None:
    opinion = read_opinion(content)
    assert (opinion.probability, opinion.reason, opinion.is_answered) == (probability, why, True)


@pytest.mark.parametrize("forms", [("json_schema",), ()])
def test_it_decides_where_no_list_has_the_opposite(source: str, tmp_path: Path, forms: tuple[str, ...]) -> None:
    """One request for each such negative; the writing model gets the reason of a rejection."""
    folder = tmp_path / "run"
    with LlmServer(ServerSettings(forms=forms), answer=sleep_or_not, judge=is_even) as server:
        settings = settings_for(server, source, judge_model="tiny", retries=0)
        report = negate(replace(settings, requests=options_for()), folder)
        assert sorted(map(number_of, server.judged)) == [1, 2, 4, 5, 7, 8, 10, 11]
        assert {tuple(item) for item in server.judged} == {("anchor", "entailment", "negative")}
        again = negate(replace(settings, requests=options_for()), folder, overwrite=True)
        assert len(server.judged) == 8, "what the ledger knows is not asked again"
    assert (report.pairs.accepted, report.pairs.rejected) == (8, 4)
    assert dict(report.reasons) == dict(again.reasons) == {"judged_compatible": 4}
    assert report.flags["judged"] == 4
    assert report.judge is not None
    assert report.requests is not None
    assert (report.judge["model"], report.judge["answered"], report.requests["answered"]) == ("tiny", 8, 12)
    rows = read(folder, "rejected")
    assert {(row["reason"], row["detail"]) for row in rows} == {("judged_compatible", "both may be")}
    assert {row["scores"]["judge_contradiction"] for row in rows} == {0.0}
    assert "<h3>The judge</h3>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_rejected_pair_is_requested_again_with_the_reason(source: str, tmp_path: Path) -> None:
    def better(item: Mapping[str, Any]) -> str:
        reasons = [str(rejection["because"]) for rejection in item.get("rejected", ())]
        return str(item["entailment"]).replace("running", "not running" if reasons else "sleeping")

    with LlmServer(answer=better, judge=lambda _: False) as server:
        report = negate(settings_for(server, source, judge_model="tiny", requests=options_for()), tmp_path / "run")
    assert report.pairs.accepted == PAIRS
    assert report.rounds[0]["reasons"] == {"judged_compatible": PAIRS}
    assert {row["final"] for row in read(tmp_path / "run", "rejected")} == {False}


def test_what_is_no_opinion_is_no_consent(source: str, tmp_path: Path) -> None:
    with LlmServer(answer=sleep_or_not) as server, LlmServer(ServerSettings(model="judge", fault_share=1.0)) as judge:
        judge.settings.faults = ("bad_content",)
        settings = settings_for(server, source, judge_model="judge", judge_base_url=judge.url, retries=0)
        report = negate(replace(settings, requests=options_for()), tmp_path / "run")
    assert dict(report.reasons) == {"unjudged": 8}
    assert all("neither yes nor no: Sure!" in row["detail"] for row in read(tmp_path / "run", "rejected"))


def test_what_was_not_judged_is_judged_later(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with LlmServer(answer=sleep_or_not) as server, LlmServer(ServerSettings(model="judge"), judge=is_even) as judge:
        judge.settings.script = ["ok", "ok", "400", "ok", "400"]
        settings = settings_for(server, source, judge_model="judge", judge_base_url=judge.url, retries=0)
        first = negate(replace(settings, requests=options_for(concurrency=1)), folder)
        assert (first.pairs.rejected, first.pairs.unanswered) == (first.reasons["judged_compatible"], 2)
        assert {row["error"] for row in read(folder, "unanswered")} == {"not_judged"}
        n_written, n_asked = server.n_chats, judge.n_chats
        second = negate(replace(settings, requests=options_for(concurrency=1)), folder)
        assert (server.n_chats, judge.n_chats) == (n_written, n_asked + 2)
    assert (second.pairs.accepted, second.pairs.rejected, second.pairs.unanswered) == (8, 4, 0)
    assert second.judge is not None
    assert second.judge["requests"] == 8


def test_the_key_goes_to_no_other_server(source: str, tmp_path: Path) -> None:
    judge = LlmServer(ServerSettings(model="judge", key=SECRET))
    with LlmServer(ServerSettings(key=SECRET), answer=sleep_or_not) as server, judge:
        settings = settings_for(server, source, judge_model="judge", judge_base_url=judge.url)
        with pytest.raises(ServerError, match="Incorrect API key"):
            negate(replace(settings, requests=options_for()), tmp_path / "run")
        report = negate(replace(settings, requests=options_for(judge_api_key=SECRET)), tmp_path / "run")
        assert report.pairs.accepted == PAIRS
        same = settings_for(server, source, judge_model="tiny")
        assert negate(replace(same, requests=options_for()), tmp_path / "same").pairs.accepted == PAIRS


def test_the_cost_limit_applies_to_both_models(source: str, tmp_path: Path) -> None:
    table, limit = tmp_path / "prices.yaml", 0.2
    table.write_text(PRICES, encoding="utf-8")
    with LlmServer(answer=sleep_or_not) as server, LlmServer(ServerSettings(model="judge")) as judge:
        settings = settings_for(server, source, judge_model="judge", judge_base_url=judge.url)
        report = negate(replace(settings, requests=options_for(prices=table, max_cost=limit)), tmp_path / "run")
    assert report.requests is not None
    assert report.judge is not None
    assert 0 < report.judge["usd"] + report.requests["usd"] <= limit
    assert report.pairs.unanswered > 0
    assert report.pairs.accepted >= 4, "what needs no judge is accepted"
    rates = Rates(100, 100, 100)
    price = Price(rates, rates, "")
    assert report.judge["usd"] == pytest.approx(price.cost(report.judge["tokens_in"], report.judge["tokens_out"]))
    unknown = options_for(price_in=1.0, price_out=1.0, max_cost=limit)
    with pytest.raises(UsageError, match="the price of judge at"):
        negate(replace(settings, requests=unknown), tmp_path / "other")


def test_the_plan_counts_it(source: str) -> None:
    settings = NegateConfig(sources=[source], model="gpt-4o-mini", judge_model="gpt-4o", retries=1)
    judge = forecast_cost(replace(settings, requests=options_for()), None).judge
    assert judge is not None
    assert (judge.model, judge.requests, judge.tokens_out) == ("gpt-4o", 2 * PAIRS, 2 * PAIRS * 256)
    assert judge.cost is not None
    assert judge.tokens_in > 2 * PAIRS * 100
    assert judge.line().startswith("judge:     gpt-4o, up to 24 more requests, ")
    assert forecast_cost(NegateConfig(sources=[source], model="m", requests=options_for()), None).judge is None


def test_the_command_names_it(source: str, tmp_path: Path) -> None:
    with LlmServer(answer=sleep_or_not, judge=is_even) as server:
        call = jina_data(
            "negate", source, "-o", tmp_path / "run", "--base-url", server.url, "--model", "tiny",
            "--judge-model", "tiny", "--retries", "0",
        )  # fmt: skip
    assert call.returncode == 0, call.stderr
    assert "judge tiny: 8 requests sent 8 times" in call.stdout
    assert NegateReport.load(tmp_path / "run").reasons == {"judged_compatible": 4}
    for options, message in (
        (["--generator", "rules", "--judge-model", "tiny"], "a judge would never be asked"),
        (["--model", "tiny", "--base-url", "http://x/v1", "--judge-base-url", "http://y/v1"], "needs a judge"),
    ):
        call = jina_data("negate", source, "-o", tmp_path / "no", *options)
        assert call.returncode == 2
        assert message in call.stderr


def test_another_judge_is_another_run(source: str) -> None:
    def of(**options: Any) -> Any:
        return NegateConfig(sources=[source], model="m", **options).fingerprint()["judge"]

    assert of() is None
    assert of(judge_model="a") != of(judge_model="b")
    assert of(judge_model="a") != of(judge_model="a", judge_base_url="http://x/v1")
    assert "user" not in str(of(judge_model="a", judge_base_url="http://user:pass@x/v1"))
