"""A run stops early if the answers cannot be used, and does not ask for all of them twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jina_data.llm.patience import ADVICE, AnswerWatch
from jina_data.negation.report import NegateReport
from jina_data.negation.run import negate
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer, ServerSettings
from tests.support.negation import Bench, make_pairs, options_for, questions, read, settings_for


def watched(flaws: str) -> int | None:
    """Return after how many answers a run stops; x is an answer that cannot be used."""
    watch = AnswerWatch()
    for number, letter in enumerate(flaws, 1):
        watch.add("bad_form" if letter == "x" else None, "some text")
        if watch.is_hopeless:
            return number
    return None


@pytest.mark.parametrize(
    ("flaws", "stop"),
    [
        ("x" * 100, 20),
        ("." + "x" * 100, 50),
        ("xxxx." * 40, None),
        ("." * 20 + "x" * 60, 70),
        ("xxxxxxxxx." * 10, None),  # exactly 90 %
        ("x" * 19 + ".", None),
    ],
)
def test_when_a_run_stops(flaws: str, stop: int | None) -> None:
    assert watched(flaws) == stop


CUT = {"content": "<think>The verb is", "finish_reason": "length"}


@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (lambda _: CUT, "cut_off 20.*--max-tokens 1280.*reasoning_effort"),
        (lambda _: "Certainly, I negate it.", "bad_form 20.*--structured text.*begins: Certainly"),
        (lambda _: {"content": "", "refusal": None}, "nothing_written 20.*answers are empty"),
        (lambda _: {"content": None, "refusal": "No."}, "refused 20"),
        (lambda text: {"content": text, "finish_reason": "content_filter"}, "filtered 20.*content filter"),
    ],
)
def test_it_stops_after_twenty_with_advice(tmp_path: Path, wrap: Any, advice: str) -> None:
    with LlmServer(wrap=wrap) as server:
        outcome = Bench(tmp_path, server).ask(questions(200), concurrency=4)
        assert outcome.stopped == "unusable"
        assert server.n_chats <= 24
        with pytest.raises(AssertionError, match=advice):
            raise AssertionError(outcome.advice)
        again = Bench(tmp_path, server).ask(questions(200), concurrency=4)
        assert again.already_answered == outcome.answered
        assert server.n_chats <= 48


def test_every_reason_has_advice() -> None:
    assert set(ADVICE) == {"cut_off", "bad_form", "nothing_written", "refused", "filtered"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_pairs(tmp_path_factory.mktemp("pairs") / "pairs.csv", 60)


def test_a_command_stops_fails_and_resumes(source: str, tmp_path: Path) -> None:
    with LlmServer(wrap=lambda _: CUT) as server:
        command: list[str | Path] = ["negate", source, "-o", tmp_path / "run", "--model", "tiny", "--concurrency", "4"]
        command += ["--base-url", server.url]
        call = jina_data(*command)
        assert call.returncode == 1
        assert "Error: 20 of 20 answers of" in call.stderr
        assert "--max-tokens" in call.stderr
        assert server.n_chats <= 24
        report = NegateReport.load(tmp_path / "run")
        assert report.stopped == "unusable"
        assert report.pairs.rejected + report.pairs.unanswered == 60
        assert {row["reason"] for row in read(tmp_path / "run", "rejected")} == {"cut_off"}
        assert all("could not be used" in row["detail"] for row in read(tmp_path / "run", "unanswered"))
        server.wrap = lambda text: text
        call = jina_data(*command)
        assert call.returncode == 0, call.stderr
        assert NegateReport.load(tmp_path / "run").pairs.accepted == 60


@pytest.mark.parametrize("mode", ["online", "batch"])
def test_useless_answers_are_not_paid_twice(source: str, tmp_path: Path, mode: str) -> None:
    with LlmServer(wrap=lambda text: text[:-4]) as server:
        settings = settings_for(server, source, retries=2, requests=options_for(mode=mode, concurrency=60))
        report = negate(settings, tmp_path / "run")
        assert report.failure is not None
        assert "bad_form" in report.failure
        assert len(report.rounds) == 1
        usage = report.requests
        assert usage is not None
        assert usage["answered"] <= 60


def test_few_hard_pairs_do_not_stop_a_run(source: str, tmp_path: Path) -> None:
    """The second round asks only about pairs that failed, so all of its answers may fail."""

    def wrap(text: str) -> str:
        return text[:-4] if any(f"picture {number} " in text for number in range(30)) else text

    with LlmServer(wrap=wrap) as server:
        report = negate(settings_for(server, source, requests=options_for()), tmp_path / "run")
    assert (report.pairs.accepted, report.pairs.rejected, report.stopped) == (30, 30, None)
    assert report.failure is None


def test_a_small_run_gets_the_advice_too(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 5)
    with LlmServer(wrap=lambda _: CUT) as server:
        call = jina_data("negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url)
        assert server.n_chats == 10  # asked again once, as --retries says
    assert call.returncode == 1
    assert "Error: no negative was accepted for 5 pairs: cut_off 5. 5 of 5 answers of" in call.stderr
    assert "--max-tokens 1280" in call.stderr


@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_run_without_negatives_fails_with_its_reasons(tmp_path: Path, is_quiet: bool) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 5)
    with LlmServer(answer=lambda item: str(item["entailment"])) as server:
        call = jina_data(
            "negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url,
            *(["-q"] if is_quiet else []),
        )  # fmt: skip
    assert call.returncode == 1
    assert "Error: no negative was accepted for 5 pairs: same_as_entailment 5" in call.stderr
    assert (tmp_path / "run" / "report.json").exists()


def test_a_run_of_rules_without_negatives_fails(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("anchor,entailment\nWho is there now?,Who is it?\n")
    call = jina_data("negate", f"pairs={tmp_path / 'pairs.csv'}", "-o", tmp_path / "run", "--generator", "rules")
    assert call.returncode == 1
    assert "no negative was accepted for 1 pairs: nothing_written 1" in call.stderr


def test_a_judge_without_opinions_stops(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 40)
    judge = LlmServer(ServerSettings(model="judge"), wrap=lambda _: "Well, perhaps")
    with LlmServer(answer=lambda item: str(item["entailment"]).replace("running", "sleeping")) as server, judge:
        settings = settings_for(server, source, judge_model="judge", judge_base_url=judge.url, retries=0)
        report = negate(replace(settings, requests=options_for(concurrency=2)), tmp_path / "run")
        assert judge.n_chats <= 22
    assert report.stopped == "unusable"
    assert report.pairs.unanswered > 10
