"""Money: prices that are known or not, the limit of the cost, and the forecast of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from jina_data.errors import UsageError
from jina_data.llm.cost import CostLimit, Price, PriceTable, dollars, price_of
from jina_data.llm.dialect import Dialect, Endpoint
from jina_data.llm.request_ledger import Completion
from jina_data.negation.forecast import forecast_cost
from jina_data.negation.prompt import Question
from jina_data.negation.run import negate
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer
from tests.support.negation import make_pair, make_pairs, options_for, settings_for


def test_the_table_that_ships_is_dated_and_sane() -> None:
    table = PriceTable.load(None)
    assert table.as_of == "2025-09"
    assert table.batch == 0.5
    for price in table.models.values():
        assert 0 < price.input < price.output
        assert price.cached is None or price.cached <= price.input


@pytest.mark.parametrize(
    ("model", "base_url", "expected"),
    [
        ("gpt-4o-mini", None, (0.15, 0.075, 0.60)),
        ("gpt-4o-mini-2024-07-18", "https://api.openai.com/v1", (0.15, 0.075, 0.60)),
        ("gpt-4o-2024-05-13", None, (5.0, 5.0, 15.0)),
        ("gpt-4o-mini", "http://localhost:8000/v1", None),
        ("gpt-4o-mini-tuned", None, None),
    ],
)
def test_a_price_is_known_or_not_but_never_guessed(
    model: str, base_url: str | None, expected: tuple[float, float, float] | None
) -> None:
    price = price_of(Endpoint(model=model, base_url=base_url))
    assert (None if price is None else (price.input, price.cached, price.output)) == expected


def test_a_table_of_ones_own_holds_for_any_server(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("as_of: '2026-11'\nmodels:\n  mine: {input: 1, output: 2}\n", encoding="utf-8")
    price = price_of(Endpoint(model="mine", base_url="http://x/v1"), table=table)
    assert price == Price(1.0, 2.0, 1.0, 1.0, f"prices of 2026-11 in {table}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {m: {input: 1, output: 2}}", "as_of: Field required"),
        ("as_of: x\nmodels: {m: {input: -1, output: 2}}", "models.m.input: "),
        ("as_of: x\nmodels: {m: {in: 1, output: 2}}", "models.m.input: Field required"),
        ("a: [", "the file: "),
    ],
)
def test_a_mistake_in_a_table_is_told(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="Expected as_of: DATE") as raised:
        PriceTable.load(table)
    assert message in str(raised.value)
    with pytest.raises(UsageError, match="cannot be read"):
        PriceTable.load(tmp_path / "none.yaml")


def test_costs_count_cached_tokens_and_batches() -> None:
    price = Price(2.0, 8.0, 0.5, 0.5, "a test")
    assert price.cost(1_000_000, 500_000) == pytest.approx(6.0)
    assert price.cost(1_000_000, 500_000, 400_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert price.cost(1_000_000, 500_000, is_batch=True) == pytest.approx(3.0)
    assert [dollars(value) for value in (1234.5, 0.00012)] == ["$1,234.50", "$0.0001"]


def test_a_purse_counts_what_is_under_way_and_what_is_unknown() -> None:
    request = Endpoint(model="m").request(Question((0,), (make_pair(0),), ((),)), Dialect())
    price = Price(1.0, 1.0, 1.0, 1.0, "a test")
    most = price.cost(request.max_prompt_tokens, request.max_tokens)
    cost_limit = CostLimit(price, 1.5 * most, 0.0)
    assert cost_limit.reserve(request)
    assert not cost_limit.reserve(request)
    cost_limit.settle(request.key, Completion("x", "stop", None, "m", 10, 0, 5))
    assert cost_limit.spent == pytest.approx(price.cost(10, 5))
    assert cost_limit.under_way == 0
    assert cost_limit.reserve(request)
    cost_limit.settle(request.key, None)
    assert cost_limit.spent == pytest.approx(price.cost(10, 5))
    assert cost_limit.reserve(request)
    cost_limit.settle(request.key, None, is_unknown=True)
    assert cost_limit.spent == pytest.approx(price.cost(10, 5) + most)
    uncounted = CostLimit(price, 10 * most, 0.0)
    assert uncounted.reserve(request)
    uncounted.settle(request.key, Completion("x", "stop", None, "m"))
    assert uncounted.spent == pytest.approx(most)


def test_the_bound_on_a_prompt_holds_for_any_tokenizer() -> None:
    request = Endpoint(model="m").request(Question((0,), (make_pair(0),), ((),)), Dialect())
    n_bytes = sum(len(message["content"].encode()) for message in request.body["messages"])
    assert request.max_prompt_tokens > n_bytes  # a token stands for a byte at least


# ------------------------------------------------------------------------------------------------------------ --plan


def test_the_plan_says_how_it_counted(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 20)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet))  # a token is a byte
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with LlmServer() as server:
        given = settings_for(server, source)
        estimated = forecast_cost(replace(given, requests=options_for()), None)
        counted = forecast_cost(replace(given, requests=options_for()), None, tokenizer=tmp_path / "tokenizer.json")
        assert server.n_chats == 0
        report = negate(replace(given, requests=options_for()), tmp_path / "run")
        measured = forecast_cost(replace(given, requests=options_for()), tmp_path / "run")
    assert (estimated.requests, estimated.max_requests) == (20, 40)
    assert "estimated at 4 bytes" in estimated.how
    assert "counted with tokenizer.json" in counted.how
    assert "in 20 answers" in measured.how
    assert 3.5 < counted.tokens_in / estimated.tokens_in < 4.1
    assert report.requests is not None
    # The server here counts a token for four characters, the schema left out.
    assert measured.tokens_in == pytest.approx(report.requests["tokens_in"], rel=0.05)
    assert measured.tokens_out == pytest.approx(report.requests["tokens_out"], rel=0.05)
    assert estimated.cost is None
    assert any("not known" in line for line in estimated.lines())


def test_the_plan_tells_the_cost_before_anything_is_sent(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 20)
    command: list[str | Path] = ["negate", source, "--model", "gpt-4o-mini", "--plan", "-o", tmp_path / "run"]
    call = jina_data(*command, "--price-in", "1000", "--price-out", "0", "--max-cost", "1")
    assert call.returncode == 0, call.stderr
    assert "requests:  20, up to 40" in call.stdout
    assert "--max-cost 1 stops the run after about 11% of the pairs" in call.stdout
    assert not (tmp_path / "run").exists()
    online, batch = (foresee_cost(source, mode) for mode in ("online", "batch"))
    assert batch == pytest.approx(online / 2)


def foresee_cost(source: str, mode: str) -> float:
    from jina_data.negation.config import NegateConfig, RequestConfig

    given = NegateConfig(sources=[source], model="gpt-4o-mini")
    options = RequestConfig(mode="batch" if mode == "batch" else "online")
    cost = forecast_cost(replace(given, requests=options), None).cost
    assert cost is not None
    return cost
