"""What requests cost: prices, a limit of the cost that is never overdrawn, and the sum in the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jina_data.errors import UsageError
from jina_data.llm.dialect import Endpoint, Request
from jina_data.llm.request_ledger import Received, RequestLedger, Usage

MILLION = 1_000_000


class ModelPrice(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    output: float = Field(ge=0)


class PriceTable(BaseModel):
    """A table of prices, with its date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str
    source: str | None = None
    batch: float = Field(1.0, ge=0, le=1)
    models: dict[str, ModelPrice]

    @classmethod
    def load(cls, path: Path | None) -> PriceTable:
        """Load a table; None: the one that ships.

        Raises:
            UsageError: there is no such file, or it is no such table.
        """
        source = resources.files("jina_data.llm") / "prices.yaml" if path is None else path
        try:
            return cls.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
        except OSError as error:
            raise UsageError(f"--prices {path} cannot be read: {error.strerror}") from None
        except (ValidationError, yaml.YAMLError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            place = ".".join(map(str, first["loc"])) if first else "the file"
            said = first["msg"] if first else str(error).splitlines()[0]
            raise UsageError(
                f"--prices {path}: {place}: {said}. Expected as_of: DATE and models: {{NAME: {{input: USD, output: "
                "USD}}, for a million tokens"
            ) from None


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model, and where it is from."""

    input: float
    output: float
    cached: float
    batch: float
    origin: str

    def cost(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0, *, is_batch: bool = False) -> float:
        """Return US dollars for so many tokens; the cached ones are among those in."""
        online = (tokens_in - tokens_cached) * self.input + tokens_cached * self.cached + tokens_out * self.output
        return online * (self.batch if is_batch else 1.0) / MILLION


def price_of(
    target: Endpoint, *, table: Path | None = None, price_in: float | None = None, price_out: float | None = None
) -> Price | None:
    """Return the price of a model; None where nobody said it. Nothing is guessed.

    The table that ships holds for the address that it names alone; a user's own holds wherever the model is.

    Raises:
        UsageError: one of the two prices is missing, or the table cannot be read.
    """
    if (price_in is None) != (price_out is None):
        raise UsageError("--price-in and --price-out belong together: give both, in dollars for a million tokens")
    prices = PriceTable.load(table)
    if price_in is not None and price_out is not None:
        return Price(price_in, price_out, price_in, prices.batch, "--price-in and --price-out")
    if table is None and target.shown_url != "https://api.openai.com/v1":
        return None
    found = prices.models.get(target.model) or prices.models.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", target.model))
    if found is None:
        return None
    cached = found.input if found.cached is None else found.cached
    origin = f"prices of {prices.as_of}" + ("" if table is None else f" in {table}")
    return Price(found.input, found.output, cached, prices.batch, origin)


NO_PRICE = (
    "the price of {model} at {url} is not known. Give it with --price-in and --price-out (dollars for a million "
    "tokens; 0 for a server of your own), or in a table with --prices"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the requests of a run took. Costs are None where the price is not known."""

    usage: Usage
    cost: float | None
    most_in_doubt: float | None
    """The most that may have been billed on top: requests that are unknown, answers without a count of tokens."""
    origin: str | None

    def to_json(self) -> dict[str, Any]:
        """Return it as report.json has it."""
        counts = {name: getattr(self.usage, name) for name in Usage.__slots__}
        rounded = {
            "usd": None if self.cost is None else round(self.cost, 6),
            "usd_in_doubt": None if self.most_in_doubt is None else round(self.most_in_doubt, 6),
        }
        return {**counts, **rounded, "price": self.origin}


def bill(ledger: RequestLedger, target: Endpoint, price: Price | None, *, role: str = "") -> Cost:
    """Add up what was spent on a model in a role, by the ledger."""
    usage = ledger.usage(target.model, target.shown_url, role=role)
    if price is None:
        return Cost(usage, None, None, None)
    cost = 0.0
    for via in ("online", "batch"):
        part = ledger.usage(target.model, target.shown_url, via, role=role)
        cost += price.cost(part.tokens_in, part.tokens_out, part.tokens_cached, is_batch=via == "batch")
    doubt = price.cost(*ledger.doubts(target.model, target.shown_url, role=role))
    return Cost(usage, cost, doubt, price.origin)


class CostLimit:
    """Money that is never overdrawn: what is under way counts with the most that it can cost."""

    def __init__(self, price: Price, limit: float, spent: float, *, is_batch: bool = False) -> None:
        self.price = price
        self.limit = limit
        self.spent = spent
        self.is_batch = is_batch
        self.reserved: dict[str, float] = {}
        self.under_way = 0.0

    def most(self, request: Request) -> float:
        """Return the most that a request can cost."""
        return self.price.cost(request.most_prompt_tokens, request.max_tokens, is_batch=self.is_batch)

    def reserve(self, request: Request) -> bool:
        """Set the most that a request can cost aside; False where that is not left."""
        most = self.most(request)
        if self.spent + self.under_way + most > self.limit:
            return False
        self.reserved[request.key] = most
        self.under_way += most
        return True

    def hold(self, key: str, most_in: int, most_out: int) -> None:
        """Set aside what a request may cost that an earlier session has sent."""
        self.reserved[key] = self.price.cost(most_in, most_out, is_batch=self.is_batch)
        self.under_way += self.reserved[key]

    def settle(self, key: str, received: Received | None, *, is_unknown: bool = False) -> None:
        """Turn what was set aside into what it cost; unknown counts in full."""
        most = self.reserved.pop(key, 0.0)
        self.under_way = sum(self.reserved.values()) if len(self.reserved) < 16 else self.under_way - most
        if received is None:
            self.spent += most if is_unknown else 0.0
        elif received.tokens_in is None or received.tokens_out is None:
            self.spent += most
        else:
            counted = (received.tokens_in, received.tokens_out, received.tokens_cached or 0)
            self.spent += self.price.cost(*counted, is_batch=self.is_batch)


def refuse_unknown_price(target: Endpoint, price: Price | None, limit: float | None) -> None:
    """Refuse a limit of the cost where the price is not known.

    Raises:
        UsageError: there is a limit, and no price.
    """
    if limit is not None and price is None:
        said = NO_PRICE.format(model=target.model, url=target.shown_url)
        raise UsageError(f"--max-cost {limit:g} cannot be kept: {said}")


def spent_on(bill: Cost) -> float:
    """Return the most that was spent, what is in doubt included."""
    return (bill.cost or 0.0) + (bill.most_in_doubt or 0.0)


def cost_limit_for(
    ledger: RequestLedger,
    target: Endpoint,
    price: Price | None,
    limit: float | None,
    *,
    is_batch: bool = False,
    role: str = "",
    others: float = 0.0,
) -> CostLimit | None:
    """Return the cost limit of a run; None where nothing limits what it may cost. `others` was spent in other roles.

    Raises:
        UsageError: there is a limit, and no price.
    """
    refuse_unknown_price(target, price, limit)
    if limit is None or price is None:
        return None
    spent = others + spent_on(bill(ledger, target, price, role=role))
    return CostLimit(price, limit, spent, is_batch=is_batch)


def dollars(value: float) -> str:
    """Write an amount: cents are enough, but for small ones."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"
