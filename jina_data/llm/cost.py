"""Provides the prices of models, a cost limit that a run does not exceed, and the total cost of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jina_data.errors import MissingExtraError, UsageError
from jina_data.llm.dialect import Completion, Endpoint, Request
from jina_data.llm.request_ledger import RequestLedger, Usage

MILLION = 1_000_000

BATCH_SHARE = 0.5
"""Share of the online price that the OpenAI Batch API charges; used with --price-in and --price-out."""

EXTRA_FEES = ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok")
"""Fees in the data of genai-prices that the token counts of an answer do not cover."""


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens."""

    input: float
    output: float
    cached: float

    def cost(self, tokens_in: int, tokens_out: int, tokens_cached: int) -> float:
        """Return the cost in US dollars. `tokens_in` includes the cached tokens."""
        uncached = (tokens_in - tokens_cached) * self.input
        return (uncached + tokens_cached * self.cached + tokens_out * self.output) / MILLION

    def scaled(self, share: float) -> Rates:
        """Return the rates multiplied by a share."""
        return Rates(self.input * share, self.output * share, self.cached * share)


@dataclass(frozen=True, slots=True)
class Price:
    """The rates of a model, online and in batches, and their source."""

    online: Rates
    batch: Rates
    origin: str

    def cost(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0, *, is_batch: bool = False) -> float:
        """Return the cost in US dollars. `tokens_in` includes the cached tokens."""
        return (self.batch if is_batch else self.online).cost(tokens_in, tokens_out, tokens_cached)


class ModelPrice(BaseModel):
    """One model in a price table: US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    output: float = Field(ge=0)


class PriceTable(BaseModel):
    """A price table as `--prices` reads it, with its date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str
    source: str | None = None
    batch: float = Field(1.0, ge=0, le=1)
    models: dict[str, ModelPrice]

    @classmethod
    def load(cls, path: Path) -> PriceTable:
        """Load a table from a YAML file.

        Raises:
            UsageError: the file cannot be read, or it is not a price table.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UsageError(f"--prices {path} cannot be read: {error.strerror}") from None
        except (ValidationError, yaml.YAMLError) as error:
            details = error.errors()[0] if isinstance(error, ValidationError) else None
            location = ".".join(map(str, details["loc"])) if details else "the file"
            reason = details["msg"] if details else str(error).splitlines()[0]
            raise UsageError(
                f"--prices {path}: {location}: {reason}. Expected as_of: DATE and models: {{NAME: {{input: USD, "
                "output: USD}}, per million tokens"
            ) from None

    def price_of(self, model: str, path: Path) -> Price | None:
        """Return the price of a model, under its name with or without the date at its end; None if it is not listed."""
        entry = self.models.get(model) or self.models.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
        if entry is None:
            return None
        rates = Rates(entry.input, entry.output, entry.input if entry.cached is None else entry.cached)
        return Price(rates, rates.scaled(self.batch), f"prices of {self.as_of} in {path}")


def price_of(
    endpoint: Endpoint, *, table: Path | None = None, price_in: float | None = None, price_out: float | None = None
) -> Price | None:
    """Return the price of a model; None if it is unknown. Prices are not guessed.

    The prices in the options apply first, then those of the table. Without either, the price comes from genai-prices,
    and only if the address belongs to a provider that genai-prices lists.

    Raises:
        UsageError: one of the two prices is missing, or the table cannot be read.
        MissingExtraError: the price is neither in the options nor in a table, and genai-prices is not installed.
    """
    if (price_in is None) != (price_out is None):
        raise UsageError("--price-in and --price-out belong together: give both, in dollars per million tokens")
    prices = None if table is None else PriceTable.load(table)
    if price_in is not None and price_out is not None:
        rates = Rates(price_in, price_out, price_in)
        share = BATCH_SHARE if prices is None else prices.batch
        return Price(rates, rates.scaled(share), "--price-in and --price-out")
    if prices is not None and table is not None:
        return prices.price_of(endpoint.model, table)
    return _published_price(endpoint)


def _published_price(endpoint: Endpoint) -> Price | None:
    """Return today's price by the data that genai-prices bundles, None if it has none. Nothing is downloaded.

    The address selects the provider, the name selects the model.
    """
    try:
        import genai_prices
    except ImportError:
        raise MissingExtraError("prices of models need genai-prices: pip install 'jina-data[llm]'") from None
    try:
        model = genai_prices.calc_price(genai_prices.Usage(), endpoint.model, provider_api_url=endpoint.public_url)
    except LookupError:
        return None
    online, batch = _rates_today(endpoint, {}), _rates_today(endpoint, {"processing": "batch"})
    if online is None or batch is None:
        return None
    return Price(online, batch, f"genai-prices {genai_prices.__version__}, {model.provider.id} {model.model.id}")


def _rates_today(endpoint: Endpoint, context: dict[str, str]) -> Rates | None:
    """Return the highest rates of today; None if the model has no price for each token, or other fees.

    Some providers charge less at some hours. The highest rate is used, so that a cost limit holds at any hour.
    """
    import genai_prices
    from genai_prices.types import TieredPrices

    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    highest = Rates(0.0, 0.0, 0.0)
    for hour in range(24):
        price = genai_prices.calc_price(
            genai_prices.Usage(),
            endpoint.model,
            provider_api_url=endpoint.public_url,
            genai_request_timestamp=midnight.replace(hour=hour),
            price_context=context,
        ).model_price
        if price.input_mtok is None or price.output_mtok is None or any(getattr(price, fee) for fee in EXTRA_FEES):
            return None
        rates = [price.input_mtok, price.output_mtok, price.cache_read_mtok]
        # Tiers apply to prompts of tens of thousands of tokens; the base rate is the one of shorter prompts.
        values = [float(rate.base if isinstance(rate, TieredPrices) else rate) for rate in rates if rate is not None]
        cached = values[2] if len(values) > 2 else values[0]
        highest = Rates(max(highest.input, values[0]), max(highest.output, values[1]), max(highest.cached, cached))
    return highest


NO_PRICE = (
    "the price of {model} at {url} is not known. Set it with --price-in and --price-out (dollars per million tokens; "
    "0 for your own server), or in a table with --prices"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """The usage and the cost of the requests of a run. Costs are None if the price is not known."""

    usage: Usage
    cost: float | None
    max_in_doubt: float | None
    """Maximum that may have been billed in addition: requests without a known end, answers without token counts."""
    origin: str | None

    @property
    def upper_bound(self) -> float:
        """The maximum cost in US dollars, including what is in doubt."""
        return (self.cost or 0.0) + (self.max_in_doubt or 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the cost as it is written to report.json."""
        counts = {name: getattr(self.usage, name) for name in Usage.__slots__}
        rounded = {
            "usd": None if self.cost is None else round(self.cost, 6),
            "usd_in_doubt": None if self.max_in_doubt is None else round(self.max_in_doubt, 6),
        }
        return {**counts, **rounded, "price": self.origin}


def cost_so_far(ledger: RequestLedger, endpoint: Endpoint, price: Price | None, *, role: str = "") -> Cost:
    """Return the cost of all requests to a model in a role, from the ledger."""
    usage = ledger.usage(endpoint.model, endpoint.public_url, role=role)
    if price is None:
        return Cost(usage, None, None, None)
    cost = 0.0
    for via in ("online", "batch"):
        part = ledger.usage(endpoint.model, endpoint.public_url, via, role=role)
        cost += price.cost(part.tokens_in, part.tokens_out, part.tokens_cached, is_batch=via == "batch")
    in_doubt = price.cost(*ledger.unconfirmed_tokens(endpoint.model, endpoint.public_url, role=role))
    return Cost(usage, cost, in_doubt, price.origin)


class CostLimit:
    """A limit that a run does not exceed: a request in flight counts with its maximum cost."""

    def __init__(self, price: Price, limit: float, spent: float, *, is_batch: bool = False) -> None:
        self.price = price
        self.limit = limit
        self.spent = spent
        self.is_batch = is_batch
        self.reserved: dict[str, float] = {}
        self.reserved_cost = 0.0

    def max_cost(self, request: Request) -> float:
        """Return the maximum cost of a request."""
        return self.price.cost(request.max_prompt_tokens, request.max_tokens, is_batch=self.is_batch)

    def reserve(self, request: Request) -> bool:
        """Reserve the maximum cost of a request; return False, and reserve nothing, if it exceeds the limit."""
        max_cost = self.max_cost(request)
        if self.spent + self.reserved_cost + max_cost > self.limit:
            return False
        self.reserved[request.key] = max_cost
        self.reserved_cost += max_cost
        return True

    def reserve_sent(self, key: str, max_tokens_in: int, max_tokens_out: int) -> None:
        """Reserve the maximum cost of a request that an earlier session has sent."""
        self.reserved[key] = self.price.cost(max_tokens_in, max_tokens_out, is_batch=self.is_batch)
        self.reserved_cost += self.reserved[key]

    def settle(self, key: str, completion: Completion | None, *, is_unknown: bool = False) -> None:
        """Replace the reserved cost of a request by its actual cost; an unknown cost counts in full."""
        max_cost = self.reserved.pop(key, 0.0)
        # Adding up a few costs removes the rounding errors that repeated subtraction leaves.
        self.reserved_cost = sum(self.reserved.values()) if len(self.reserved) < 16 else self.reserved_cost - max_cost
        if completion is None:
            self.spent += max_cost if is_unknown else 0.0
        elif completion.tokens_in is None or completion.tokens_out is None:
            self.spent += max_cost
        else:
            counts = (completion.tokens_in, completion.tokens_out, completion.tokens_cached or 0)
            self.spent += self.price.cost(*counts, is_batch=self.is_batch)


def refuse_unknown_price(endpoint: Endpoint, price: Price | None, limit: float | None) -> None:
    """Refuse a cost limit if the price is not known.

    Raises:
        UsageError: there is a limit but no price.
    """
    if limit is not None and price is None:
        reason = NO_PRICE.format(model=endpoint.model, url=endpoint.public_url)
        raise UsageError(f"--max-cost {limit:g} cannot be enforced: {reason}")


def cost_limit_for(
    ledger: RequestLedger,
    endpoint: Endpoint,
    price: Price | None,
    limit: float | None,
    *,
    is_batch: bool = False,
    role: str = "",
    spent_elsewhere: float = 0.0,
) -> CostLimit | None:
    """Return the cost limit of a run; None without a limit. `spent_elsewhere` is what the other roles have spent.

    Raises:
        UsageError: there is a limit but no price.
    """
    refuse_unknown_price(endpoint, price, limit)
    if limit is None or price is None:
        return None
    spent = spent_elsewhere + cost_so_far(ledger, endpoint, price, role=role).upper_bound
    return CostLimit(price, limit, spent, is_batch=is_batch)


def dollars(value: float) -> str:
    """Format an amount: with cents from one dollar on, with four decimals below."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"
