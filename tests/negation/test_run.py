"""A negate run from the sources to the folder: every pair is counted, and the run resumes after any stop."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jina_data.errors import LawError, RunFolderError, ServerError, UsageError
from jina_data.negation import outputs as outputs_module
from jina_data.negation.config import NegateConfig
from jina_data.negation.dataset import FULL_SCHEMA, REJECTED_SCHEMA, SCORES, UNANSWERED_SCHEMA, DatasetWriter
from jina_data.negation.report import NegateReport
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.run import negate
from jina_data.negation.verify import REASONS
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer, ServerSettings, contradict
from tests.support.negation import data_bytes, make_pairs, options_for, read, saved, settings_for

SECRET = "sk-test-1234567890abcdef"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_pairs(tmp_path_factory.mktemp("pairs") / "pairs.csv", 60)


# ------------------------------------------------------------------------------------------------------------ outputs


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, source: str) -> Path:
    """The folder of a run without faults."""
    folder = tmp_path_factory.mktemp("negate") / "run"
    with LlmServer() as server:
        negate(settings_for(server, source, requests=options_for()), folder)
    return folder


def test_the_folder_has_all_outputs(plain: Path) -> None:
    expected = {"data", "rejected", "unanswered", "report.json", "report.html", "manifest.json", "events.jsonl"}
    assert {path.name for path in plain.iterdir()} == expected | {"requests.sqlite"}
    for split in ("train", "test"):
        triplets = pq.read_table(plain / "data" / "triplet" / f"{split}-00000.parquet")
        full = pq.read_table(plain / "data" / "full" / f"{split}-00000.parquet")
        assert triplets.column_names == ["anchor", "entailment", "negative"]
        assert triplets.num_rows > 0
        assert full.select(triplets.column_names).equals(triplets)
        assert set(full.column("generator").to_pylist()) == {"llm"}
        assert set(full.column("model").to_pylist()) == {"tiny"}
    negatives = [row["negative"] for row in read(plain, "data/triplet")]
    assert len(negatives) == len(set(negatives)) == 60
    assert all(" is not running." in negative for negative in negatives)


def test_the_report_and_the_manifest_match_the_files(plain: Path) -> None:
    report = NegateReport.load(plain)
    pairs = report.pairs
    assert (pairs.total, pairs.accepted, pairs.rejected, pairs.unanswered) == (60, 60, 0, 0)
    assert report.splits == dict(Counter(row["split"] for row in with_splits(plain)))
    assert report.kinds["verbal"]["found"] == 60
    assert sum(counts["asked"] for counts in report.kinds.values()) == 60
    assert report.cues["accuracy"] == 1.0
    assert any("100%" in warning for warning in report.warnings)
    assert report.requests is not None
    assert (report.requests["answered"], report.requests["sends"], report.requests["usd"]) == (60, 60, None)
    manifest = json.loads((plain / "manifest.json").read_text())
    assert manifest["kind"] == "negate"
    assert manifest["sources"] == [{"name": "pairs", "license": None, "rows": 60, "pairs": 60}]
    assert manifest["models"] == {"tiny": 60}
    for name, said in manifest["outputs"].items():
        held = (plain / name).read_bytes()
        assert (len(held), hashlib.sha256(held).hexdigest()) == (said["size"], said["sha256"])


def with_splits(folder: Path) -> list[dict[str, str]]:
    return [
        {"split": split}
        for split in ("train", "test")
        for path in (folder / "data" / "full").glob(f"{split}-*.parquet")
        for _ in range(pq.read_metadata(path).num_rows)
    ]


def test_the_page_needs_no_network_and_shows_samples(plain: Path) -> None:
    page = (plain / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|src=|href=\"(?!#)|url\((?!#)", page)
    assert page.count('class="drop"') == 6
    assert "60 negatives for 60 pairs" in page
    assert "a model can learn the words" in page


def test_a_second_call_does_nothing(plain: Path, source: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in plain.rglob("*")}
    begun = json.loads((plain / "manifest.json").read_text())["fingerprint"]
    same = NegateConfig(sources=[source], model="tiny", base_url=begun["base_url"], test_fraction=0.2)
    assert negate(same, plain).pairs.accepted == 60  # the server is gone
    assert {path: path.stat().st_mtime_ns for path in plain.rglob("*")} == before
    other = NegateConfig(sources=[source], model="tiny", base_url=begun["base_url"], test_fraction=0.2, retries=2)
    with pytest.raises(RunFolderError, match="a finished run with another --retries"):
        negate(other, plain)


def test_the_same_answers_give_the_same_bytes(plain: Path, source: str, tmp_path: Path) -> None:
    with LlmServer(ServerSettings(fault_share=0.2, seed=3)) as server:
        negate(settings_for(server, source, requests=options_for(concurrency=3)), tmp_path / "run")
        assert data_bytes(tmp_path / "run") == data_bytes(plain)
        again = negate(settings_for(server, source, requests=options_for()), tmp_path / "run", overwrite=True)
        assert again.pairs.accepted == 60
        assert data_bytes(tmp_path / "run") == data_bytes(plain)
        asked = Counter(entry["name"] for entry in server.log if entry["event"] == "answer" and entry["did"] == "ok")
        assert set(asked.values()) == {1}  # stored answers are not requested again


def test_batches_give_the_same_bytes(plain: Path, source: str, tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["expired"])) as server:
        negate(settings_for(server, source, requests=options_for(mode="batch")), tmp_path / "run")
    assert data_bytes(tmp_path / "run") == data_bytes(plain)


# ---------------------------------------------------------------------------------------------------- bad answers


def forgetful(item: Mapping[str, Any]) -> str:
    """Repeat the entailment until it was rejected."""
    return contradict(item) if "rejected" in item else str(item["entailment"])


@pytest.mark.parametrize("each", [1, 4])
def test_rejected_pairs_are_requested_again_with_the_reason(source: str, tmp_path: Path, each: int) -> None:
    with LlmServer(answer=forgetful) as server:
        report = negate(settings_for(server, source, pairs_per_request=each, requests=options_for()), tmp_path / "run")
    assert (report.pairs.accepted, report.pairs.rejected) == (60, 0)
    assert [(part["asked"], part["accepted"]) for part in report.rounds] == [(60, 0), (60, 60)]
    assert {row["attempt"] for row in read(tmp_path / "run", "data/full")} == {1}
    rejected = read(tmp_path / "run", "rejected")
    assert len(rejected) == 60
    assert {(row["reason"], row["final"], row["attempt"]) for row in rejected} == {("same_as_entailment", False, 0)}
    assert all(row["raw"] and row["negative"] == row["entailment"] for row in rejected)


def test_retries_are_bounded(source: str, tmp_path: Path) -> None:
    with LlmServer(answer=lambda item: str(item["entailment"])) as server:
        report = negate(settings_for(server, source, retries=2, requests=options_for()), tmp_path / "run")
        assert server.n_chats == 180  # each prompt has one more rejection
    assert (report.pairs.accepted, report.pairs.rejected) == (0, 60)
    finals = [row for row in read(tmp_path / "run", "rejected") if row["final"]]
    assert len(finals) == 60
    assert {row["attempt"] for row in finals} == {2}
    assert read(tmp_path / "run", "data/triplet") == []
    assert pq.read_schema(tmp_path / "run/data/triplet/train-00000.parquet").names == [
        "anchor",
        "entailment",
        "negative",
    ]


@pytest.mark.parametrize(
    ("fault", "each", "reason"),
    [
        ("bad_content", 1, "bad_form"),
        ("truncated", 1, "cut_off"),
        ("filtered", 1, "filtered"),
        ("refusal", 1, "refused"),
        ("wrong_count", 5, "bad_form"),
        ("bad_content", 5, "bad_form"),
        ("echo", 5, "same_as_entailment"),
    ],
)
def test_bad_answers_are_rejected_each_with_its_reason(
    source: str, tmp_path: Path, fault: str, each: int, reason: str
) -> None:
    with LlmServer(ServerSettings(script=["ok"] + [fault] * 100)) as server:
        # Fewer answers than those after which a run stops.
        config = settings_for(server, source, pairs_per_request=each, retries=0, limit=45)
        report = negate(replace(config, requests=options_for()), tmp_path / "run")
    assert reason in REASONS
    n_bad = 8 if fault == "wrong_count" else 45 - each  # the items of an incomplete answer count
    assert report.reasons == {reason: n_bad}
    assert report.pairs.accepted == 45 - n_bad
    finals = [row for row in read(tmp_path / "run", "rejected") if row["final"]]
    assert len(finals) == n_bad
    assert all(row["raw"] or fault == "refusal" for row in finals)


# -------------------------------------------------------------------------------------------------- stopped, resumed


def test_a_cost_limit_stops_and_a_higher_one_resumes(plain: Path, source: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with LlmServer() as server:
        config, prices = settings_for(server, source), {"price_in": 10.0, "price_out": 100.0}
        report = negate(replace(config, requests=options_for(max_cost=0.3, **prices)), folder)
        assert report.requests is not None
        assert 0.25 < report.requests["usd"] <= 0.3
        assert 0 < report.pairs.unanswered == 60 - report.pairs.accepted
        assert {row["error"] for row in read(folder, "unanswered")} == {"not_asked"}
        sent = server.n_chats
        report = negate(replace(config, requests=options_for(max_cost=10.0, **prices)), folder)
        assert report.pairs.unanswered == 0
        assert data_bytes(folder) == data_bytes(plain)
        assert server.n_chats == 60 > sent


def test_pairs_with_failed_requests_are_unanswered_and_requested_by_the_next_call(
    plain: Path, source: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with LlmServer(ServerSettings(script=["ok"] * 45 + ["400"] * 15)) as server:
        report = negate(settings_for(server, source, requests=options_for()), folder)
        assert (report.pairs.accepted, report.pairs.unanswered) == (45, 15)
        assert {row["error"] for row in read(folder, "unanswered")} == {"refused"}
        assert all("this text is not allowed" in row["detail"] for row in read(folder, "unanswered"))
        assert negate(settings_for(server, source, requests=options_for()), folder).pairs.accepted == 60
    assert data_bytes(folder) == data_bytes(plain)


def test_a_law_that_does_not_hold_fails_the_run(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Losing(DatasetWriter):
        def add(self, pair: Any, history: Any) -> None:
            if not pair.entailment.endswith("7 is running."):
                super().add(pair, history)

    with LlmServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr(outputs_module, "DatasetWriter", Losing)
            with pytest.raises(LawError, match="the counts of the pairs differ"):
                negate(settings_for(server, source, requests=options_for()), tmp_path / "run")
        assert not (tmp_path / "run" / "manifest.json").exists()
        assert negate(settings_for(server, source, requests=options_for()), tmp_path / "run").pairs.accepted == 60
        assert server.n_chats == 60


def test_other_settings_are_refused_while_a_run_is_unfinished(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with LlmServer(ServerSettings(key="another")) as server:
        with pytest.raises(ServerError):
            negate(settings_for(server, source, requests=options_for()), folder)
        with pytest.raises(RunFolderError, match="unfinished run with another --pairs-per-request"):
            negate(settings_for(server, source, pairs_per_request=2, requests=options_for()), folder)
        with pytest.raises(UsageError, match="--max-cost 1 cannot be enforced: the price of tiny"):
            negate(settings_for(server, source, requests=options_for(max_cost=1.0)), folder)


def test_online_mode_leaves_open_batches(source: str, tmp_path: Path) -> None:
    with LlmServer(ServerSettings(batch_script=["stuck"])) as server:
        call = jina_data(
            "negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url, "--mode", "batch",
            "--no-wait",
        )  # fmt: skip
        assert (call.returncode, call.stderr.count("Error: batches are in progress")) == (1, 1)
        call = jina_data("negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url)
        assert (call.returncode, call.stderr.count("resume with --mode batch")) == (2, 1)


# ------------------------------------------------------------------------------------------------- the command line


def test_the_command_from_start_to_finish(
    plain: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    with LlmServer(ServerSettings(key=SECRET, fault_share=0.1)) as server:
        command: list[str | Path] = [
            "negate", source, "-o", tmp_path / "run", "--model", "tiny", "--base-url", server.url, "--api-key-env",
            "MY_KEY", "--test-fraction", "0.2",
        ]  # fmt: skip
        call = jina_data(*command)
        assert call.returncode == 0, call.stderr
        assert "60 negatives for 60 pairs" in call.stdout
        assert "cost not known" in call.stdout
        again = jina_data(*command)
        assert "nothing to do" in again.stderr
    assert data_bytes(tmp_path / "run") == data_bytes(plain)
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in call.stdout + call.stderr + again.stdout + again.stderr
    with sqlite3.connect(tmp_path / "run" / "requests.sqlite") as con:
        assert SECRET not in "\n".join(con.iterdump())
    con.close()


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_bad_key_is_one_line_without_the_key(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: list[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with LlmServer(ServerSettings(key="another")) as server:
        command: list[str | Path] = ["negate", source, "-o", tmp_path / "run", "--model", "tiny", "-q", *debug]
        command += ["--base-url", server.url]
        if debug:
            with pytest.raises(ServerError) as raised:
                jina_data(*command)
            assert SECRET not in repr(raised.value)
            return
        call = jina_data(*command)
        assert call.returncode == 1
        assert re.fullmatch(r"Error: http://127.0.0.1:\d+/v1: HTTP 401: .*the key is not valid.*\n", call.stderr)
        assert SECRET not in call.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no API key: set the environment variable OPENAI_API_KEY"),
        (["--base-url", "http://x/v1"], "an LLM needs a name: set --model"),
        (["--generator", "rules", "--model", "m"], "--generator rules uses no model"),
        (["--model", "m", "--base-url", "localhost:8000/v1"], "begins with http:// or https://"),
        (["--model", "m", "--base-url", "http://x/v1/chat/completions"], "without /chat/completions"),
        (["--model", "m", "--base-url", "http://x/v1", "--param", "x"], "expected KEY=JSON"),
        (["--model", "m", "--base-url", "http://x/v1", "--param", "n=2"], "--param n: this is set by other options"),
        (
            ["--model", "m", "--base-url", "http://x/v1", "--max-cost", "1"],
            "the price of m at http://x/v1 is not known",
        ),
        (["--model", "m", "--base-url", "http://x/v1", "--price-in", "1"], "belong together"),
        (["--generator", "rules", "--mix", "verbal"], "expected a number"),
        (["--generator", "rules", "--plan"], "costs nothing"),
    ],
)
def test_wrong_usage_is_reported(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    call = jina_data("negate", source, "-o", tmp_path / "run", *options)
    assert call.returncode == 2, call.stderr
    assert message in " ".join(call.stderr.split())
    assert not (tmp_path / "run").exists()


def test_rules_send_no_requests(source: str, tmp_path: Path) -> None:
    call = jina_data("negate", source, "-o", tmp_path / "run", "--generator", "rules")
    assert call.returncode == 0, call.stderr
    assert "written by rules, not by an LLM" in call.stdout
    rows = read(tmp_path / "run", "data/full")
    assert len(rows) > 30
    assert {row["generator"] for row in rows} == {row["model"] for row in rows} == {RuleGenerator.name}
    assert not (tmp_path / "run" / "requests.sqlite").exists()


def test_a_recipe_cleans_the_pairs_first(source: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("stages:\n  - where: {expression: \"anchor LIKE '%dog%'\"}\n", encoding="utf-8")
    report_of = jina_data(
        "negate", source, "-o", tmp_path / "run", "--generator", "rules", "--recipe", recipe, "--limit", "50"
    )
    assert report_of.returncode == 0, report_of.stderr
    report = NegateReport.load(tmp_path / "run")
    assert report.cleaning is not None
    assert report.cleaning["rows"]["read"] == 50
    assert report.pairs.total == report.cleaning["rows"]["kept"] < 10
    assert all("dog" in row["anchor"] for row in read(tmp_path / "run", "data/full"))


def test_a_cross_encoder_rejects(source: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "nli", ["entailment", "neutral", "contradiction"])
    call = jina_data("negate", source, "-o", tmp_path / "run", "--generator", "rules", "--nli", model)
    assert call.returncode == 0, call.stderr
    accepted, rejected = read(tmp_path / "run", "data/full"), read(tmp_path / "run", "rejected")
    assert all(row["scores"]["nli_contradiction"] >= 0.5 for row in accepted)
    judged = [row["scores"]["nli_contradiction"] for row in rejected if row["reason"] == "not_contradiction"]
    assert len(accepted) + len(judged) > 30
    assert all(score < 0.5 for score in judged)


# ----------------------------------------------------------------------------------------------------------- the docs


def test_the_folder_and_its_columns_are_documented(plain: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "negation.md").read_text(encoding="utf-8")
    section = page.split("## What you get")[1]
    assert all(f"`{path.name}" in section for path in plain.iterdir())
    (table,) = re.findall(r"Columns of `data/full`:\n\n((?:\|.*\n)+)", section)
    rows = [row.split("|") for row in table.splitlines()[2:]]
    columns = [(name, row[2].strip()) for row in rows for name in re.findall(r"`(\w+)`", row[1])]
    expected = [(field.name, str(field.type)) for field in FULL_SCHEMA]
    assert columns == [(name, "struct" if name == "scores" else kind) for name, kind in expected]
    for schema in (REJECTED_SCHEMA, UNANSWERED_SCHEMA):
        assert all(f"`{name}`" in section for name in schema.names)
    manifest = json.loads((plain / "manifest.json").read_text())
    assert all(f"`{name}`" in section for name in manifest if not name.startswith("fingerprint"))


def test_scores_have_their_columns() -> None:
    assert {"length_ratio", "token_overlap", "nli_contradiction", "judge_contradiction"} == set(SCORES)
