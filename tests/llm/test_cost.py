"""Prices of models, the cost limit, and the forecast of a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.types import ModelPrice
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from jina_data.errors import MissingExtraError, UsageError
from jina_data.llm.cost import CostLimit, Price, PriceTable, Rates, dollars, price_of
from jina_data.llm.dialect import Completion, Dialect, Endpoint
from jina_data.negation.forecast import forecast_cost
from jina_data.negation.prompt import Question
from jina_data.negation.run import negate
from tests.support.cli import jina_data
from tests.support.llm_server import LlmServer
from tests.support.negation import make_pair, make_pairs, options_for, settings_for


@pytest.mark.parametrize(
    ("model", "base_url", "expected"),
    [
        ("gpt-4o-mini", None, (0.15, 0.075, 0.60)),
        ("gpt-4o-mini-2024-07-18", "https://api.openai.com/v1", (0.15, 0.075, 0.60)),
        ("gpt-4o-2024-05-13", None, (5.0, 5.0, 15.0)),
        ("gpt-4o-mini", "https://example.openai.azure.com/openai/v1", (0.15, 0.075, 0.60)),
        ("openai/gpt-4o-mini", "https://openrouter.ai/api/v1", (0.15, 0.075, 0.60)),
        ("gpt-4o-mini", "http://localhost:8000/v1", None),
        ("gpt-4o-mini-tuned", None, None),
        ("sonar", "https://api.perplexity.ai", None),  # has a fee for each request
    ],
)
def test_a_published_price_depends_on_model_and_address(
    model: str, base_url: str | None, expected: tuple[float, float, float] | None
) -> None:
    price = price_of(Endpoint(model=model, base_url=base_url))
    rates = None if price is None else (price.online.input, price.online.cached, price.online.output)
    assert rates == expected


def test_published_prices_have_batch_rates_and_a_version() -> None:
    price = price_of(Endpoint(model="gpt-4o"))
    assert price is not None
    assert price.batch == Rates(price.online.input / 2, price.online.output / 2, price.batch.cached)
    assert price.origin == f"genai-prices {genai_prices.__version__}, openai gpt-4o"
    # OpenRouter lists no batch rates, and Azure has none for the models of OpenAI.
    for model, url in (
        ("openai/gpt-4o-mini", "https://openrouter.ai/api/v1"),
        ("gpt-4o-mini", "https://example.openai.azure.com/openai/v1"),
    ):
        price = price_of(Endpoint(model=model, base_url=url))
        assert price is not None
        assert price.batch == price.online


def test_the_highest_price_of_the_day_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices may depend on the hour of the request; a cost limit holds at any hour."""
    calc_price = genai_prices.calc_price

    def cheap_at_night(usage: Any, model: str, **options: Any) -> Any:
        result = calc_price(usage, model, **options)
        moment = options.get("genai_request_timestamp")
        if moment is not None and moment.hour < 6:
            result.model_price = ModelPrice(input_mtok=Decimal("0.01"), output_mtok=Decimal("0.02"))
        return result

    monkeypatch.setattr(genai_prices, "calc_price", cheap_at_night)
    price = price_of(Endpoint(model="gpt-4o-mini"))
    assert price is not None
    assert price.online == Rates(0.15, 0.60, 0.075)


def test_a_price_needs_genai_prices_or_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-data\[llm\]'"):
        price_of(Endpoint(model="gpt-4o-mini"))
    assert price_of(Endpoint(model="gpt-4o-mini"), price_in=1.0, price_out=2.0) is not None


def test_prices_in_options_apply_before_all_others() -> None:
    price = price_of(Endpoint(model="gpt-4o-mini"), price_in=1.0, price_out=2.0)
    assert price == Price(Rates(1.0, 2.0, 1.0), Rates(0.5, 1.0, 0.5), "--price-in and --price-out")
    with pytest.raises(UsageError, match="belong together"):
        price_of(Endpoint(model="gpt-4o-mini"), price_in=1.0)


def test_a_price_table_of_the_user_applies_to_any_server(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("as_of: '2026-11'\nbatch: 0.25\nmodels:\n  mine: {input: 1, output: 2}\n", encoding="utf-8")
    price = price_of(Endpoint(model="mine-2026-11-01", base_url="http://x/v1"), table=table)
    assert price == Price(Rates(1.0, 2.0, 1.0), Rates(0.25, 0.5, 0.25), f"prices of 2026-11 in {table}")
    assert price_of(Endpoint(model="gpt-4o-mini"), table=table) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {m: {input: 1, output: 2}}", "as_of: Field required"),
        ("as_of: x\nmodels: {m: {input: -1, output: 2}}", "models.m.input: "),
        ("as_of: x\nmodels: {m: {in: 1, output: 2}}", "models.m.input: Field required"),
        ("a: [", "the file: "),
    ],
)
def test_an_error_in_a_table_is_reported(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="Expected as_of: DATE") as raised:
        PriceTable.load(table)
    assert message in str(raised.value)
    with pytest.raises(UsageError, match="cannot be read"):
        PriceTable.load(tmp_path / "none.yaml")


def test_costs_count_cached_tokens_and_batches() -> None:
    price = Price(Rates(2.0, 8.0, 0.5), Rates(1.0, 4.0, 0.25), "a test")
    assert price.cost(1_000_000, 500_000) == pytest.approx(6.0)
    assert price.cost(1_000_000, 500_000, 400_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert price.cost(1_000_000, 500_000, is_batch=True) == pytest.approx(3.0)
    assert [dollars(value) for value in (1234.5, 0.00012)] == ["$1,234.50", "$0.0001"]


def test_a_cost_limit_counts_requests_in_flight_and_unknown_ones() -> None:
    request = Endpoint(model="m").request(Question((0,), (make_pair(0),), ((),)), Dialect())
    price = Price(Rates(1.0, 1.0, 1.0), Rates(1.0, 1.0, 1.0), "a test")
    max_cost = price.cost(request.max_prompt_tokens, request.max_tokens)
    cost_limit = CostLimit(price, 1.5 * max_cost, 0.0)
    assert cost_limit.reserve(request)
    assert not cost_limit.reserve(request)
    cost_limit.settle(request.key, Completion("x", "stop", None, "m", 10, 0, 5))
    assert cost_limit.spent == pytest.approx(price.cost(10, 5))
    assert cost_limit.reserved_cost == 0
    assert cost_limit.reserve(request)
    cost_limit.settle(request.key, None)
    assert cost_limit.spent == pytest.approx(price.cost(10, 5))
    assert cost_limit.reserve(request)
    cost_limit.settle(request.key, None, is_unknown=True)
    assert cost_limit.spent == pytest.approx(price.cost(10, 5) + max_cost)
    uncounted = CostLimit(price, 10 * max_cost, 0.0)
    assert uncounted.reserve(request)
    uncounted.settle(request.key, Completion("x", "stop", None, "m"))
    assert uncounted.spent == pytest.approx(max_cost)


def test_the_bound_on_a_prompt_holds_for_any_tokenizer() -> None:
    request = Endpoint(model="m").request(Question((0,), (make_pair(0),), ((),)), Dialect())
    n_bytes = sum(len(message["content"].encode()) for message in request.body["messages"])
    assert request.max_prompt_tokens > n_bytes  # a token stands for at least one byte


# ------------------------------------------------------------------------------------------------------------ --plan


def test_the_plan_reports_how_it_counted(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 20)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet))  # a token is a byte
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with LlmServer() as server:
        config = settings_for(server, source)
        estimated = forecast_cost(replace(config, requests=options_for()), None)
        counted = forecast_cost(replace(config, requests=options_for()), None, tokenizer=tmp_path / "tokenizer.json")
        assert server.n_chats == 0
        report = negate(replace(config, requests=options_for()), tmp_path / "run")
        measured = forecast_cost(replace(config, requests=options_for()), tmp_path / "run")
    assert (estimated.requests, estimated.max_requests) == (20, 40)
    assert "estimated at 4 bytes" in estimated.method
    assert "counted with tokenizer.json" in counted.method
    assert "in 20 answers" in measured.method
    assert 3.5 < counted.tokens_in / estimated.tokens_in < 4.1
    assert report.requests is not None
    # The test server counts one token for four characters, without the schema.
    assert measured.tokens_in == pytest.approx(report.requests["tokens_in"], rel=0.05)
    assert measured.tokens_out == pytest.approx(report.requests["tokens_out"], rel=0.05)
    assert estimated.cost is None
    assert any("not known" in line for line in estimated.lines())


def test_the_plan_reports_the_cost_before_anything_is_sent(tmp_path: Path) -> None:
    source = make_pairs(tmp_path / "pairs.csv", 20)
    command: list[str | Path] = ["negate", source, "--model", "gpt-4o-mini", "--plan", "-o", tmp_path / "run"]
    call = jina_data(*command, "--price-in", "1000", "--price-out", "0", "--max-cost", "1")
    assert call.returncode == 0, call.stderr
    assert "requests:  20, up to 40" in call.stdout
    assert "--max-cost 1 stops the run after about 11% of the pairs" in call.stdout
    assert not (tmp_path / "run").exists()
    online, batch = (planned_cost(source, mode) for mode in ("online", "batch"))
    assert batch == pytest.approx(online / 2)


def planned_cost(source: str, mode: str) -> float:
    from jina_data.negation.config import NegateConfig, RequestConfig

    config = NegateConfig(sources=[source], model="gpt-4o-mini")
    options = RequestConfig(mode="batch" if mode == "batch" else "online")
    cost = forecast_cost(replace(config, requests=options), None).cost
    assert cost is not None
    return cost
