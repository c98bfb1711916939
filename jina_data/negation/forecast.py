"""Forecasts the requests, tokens and cost of a run from a sample of its pairs, without sending anything."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jina_data.errors import UsageError
from jina_data.llm.cost import NO_PRICE, Price, dollars, price_of
from jina_data.llm.dialect import Dialect, Request
from jina_data.llm.request_ledger import RequestLedger
from jina_data.llm.sender import BYTES_PER_TOKEN
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.judge import JudgePrompt
from jina_data.negation.pairs import Pair
from jina_data.negation.prompt import Question
from jina_data.negation.requester import judge_price
from jina_data.negation.sources import SourceCounts, read_pairs, write_pairs
from jina_data.progress import Progress, SilentProgress

SAMPLE_PAIRS = 500
"""Pairs are ordered by a seeded hash, so the first ones are a random sample."""

MESSAGE_FRAME_TOKENS = 4
"""Tokens that a server typically adds to a message for its role and its frame."""


@dataclass(frozen=True, kw_only=True)
class JudgeForecast:
    """The maximum requests, tokens and cost of a judge. How often the other checks disagree is not known in advance."""

    model: str
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def line(self) -> str:
        """Return the forecast as one line."""
        cost = "cost not known" if self.cost is None else dollars(self.cost)
        return (
            f"judge:     {self.model}, up to {self.requests:,} more requests, {self.tokens_in:,} tokens in, "
            f"{self.tokens_out:,} out, {cost}"
        )


@dataclass(frozen=True, kw_only=True)
class CostForecast:
    """The expected and maximum requests, tokens and cost of a run. Costs are None if the price is not known."""

    pairs: SourceCounts
    requests: int
    max_requests: int
    tokens_in: int
    tokens_out: int
    max_tokens_in: int
    max_tokens_out: int
    method: str
    """How tokens were counted: with a tokenizer, by earlier counts of the server, or estimated."""
    n_sampled: int
    cost: float | None
    max_cost: float | None
    judge: JudgeForecast | None
    price: Price | None
    no_price: str
    cost_limit: float | None
    mode: str
    recipe: str | None

    def lines(self) -> list[str]:
        """Return the forecast as lines of text."""
        pairs = ", ".join(f"{name} {n:,}" for name, n in self.pairs.pairs.items())
        lines = [
            f"pairs:     {sum(self.pairs.pairs.values()):,} ({pairs})",
            f"requests:  {self.requests:,}, up to {self.max_requests:,} if all negatives are rejected and retried",
            f"tokens:    {self.tokens_in:,} in, {self.tokens_out:,} out; up to {self.max_tokens_in:,} in, "
            f"{self.max_tokens_out:,} out",
            f"           {self.method}, from a sample of {self.n_sampled:,} pairs",
        ]
        if self.recipe is not None:
            lines.append(f"           before the recipe {self.recipe}, which may drop pairs")
        if self.judge is not None:
            lines.append(self.judge.line())
        if self.cost is None or self.max_cost is None or self.price is None:
            lines.append(f"cost:      not known: {self.no_price}")
            return lines
        mode = "Batch API, " if self.mode == "batch" else ""
        lines.append(
            f"cost:      {dollars(self.cost)}, up to {dollars(self.max_cost)} ({mode}{self.price.origin}: "
            f"${self.price.online.input:g} in, ${self.price.online.output:g} out per million tokens)"
        )
        if self.cost_limit is not None and self.cost > self.cost_limit:
            share = self.cost_limit / self.cost
            lines.append(
                f"           --max-cost {self.cost_limit:g} stops the run after about {share:.0%} of the pairs"
            )
        return lines


def forecast_cost(
    config: NegateConfig,
    out: Path | None,
    *,
    tokenizer: Path | None = None,
    progress: Progress | None = None,
) -> CostForecast:
    """Forecast the requests and the cost of a run. Nothing is sent; only a temporary folder is written.

    Raises:
        JinaDataError: the sources or the settings are not valid.
    """
    config.check()
    if config.generator == "rules":
        raise UsageError("--plan forecasts requests to an LLM; --generator rules sends no requests and costs nothing")
    with tempfile.TemporaryDirectory(prefix="jina-data-plan-") as scratch:
        path = Path(scratch) / "pairs.parquet"
        counts = write_pairs(
            config.sources,
            path,
            seed=config.seed,
            limit=config.limit,
            test_fraction=config.test_fraction,
            mix=config.shares,
            restate=config.restate,
            progress=progress or SilentProgress(),
        )
        sample = [pair for _, pair in zip(range(SAMPLE_PAIRS), read_pairs(path), strict=False)]
    return _make_forecast(config, counts, sample, _token_meter(config, out, tokenizer))


@dataclass(frozen=True)
class TokenMeter:
    """Counts the tokens of a text. `answer_tokens` is the average size of an answer, if the ledger has answers."""

    method: str
    count: Callable[[str], float]
    answer_tokens: float | None = None


def _token_meter(config: NegateConfig, out: Path | None, tokenizer: Path | None) -> TokenMeter:
    """Return the most accurate meter: the tokenizer, else the token counts in the ledger, else an estimate."""
    if tokenizer is not None:
        return TokenMeter(f"counted with {tokenizer.name}", _counter(tokenizer))
    ledger_path = NegationFolder(out).ledger if out is not None else None
    if ledger_path is not None and ledger_path.exists():
        endpoint = config.endpoint
        with RequestLedger(ledger_path) as ledger:
            measured = ledger.token_ratio(endpoint.model, endpoint.public_url)
        if measured is not None:
            n_answers, bytes_per_token, answer_tokens = measured
            method = f"by the token counts of the server in {n_answers:,} answers"
            return TokenMeter(method, lambda text: len(text.encode()) / bytes_per_token, answer_tokens)
    method = f"estimated at {BYTES_PER_TOKEN:g} bytes per token (--tokenizer FILE counts them)"
    return TokenMeter(method, lambda text: len(text.encode()) / BYTES_PER_TOKEN)


def _counter(path: Path) -> Callable[[str], float]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UsageError(f"--tokenizer {path}: {error}. Expected a tokenizer.json") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _make_forecast(
    config: NegateConfig, counts: SourceCounts, sample: Sequence[Pair], meter: TokenMeter
) -> CostForecast:
    pairs_per_request, endpoint = config.pairs_per_request, config.endpoint
    dialect = Dialect.initial_for(config.base_url, config.form)
    starts = range(0, len(sample), pairs_per_request)
    groups = [tuple(sample[start : start + pairs_per_request]) for start in starts]
    requests = [
        endpoint.request(Question(tuple(range(len(group))), group, tuple(() for _ in group)), dialect)
        for group in groups
    ]
    n_pairs = sum(counts.pairs.values())
    scale = n_pairs / len(sample)
    tokens_in = round(scale * sum(_prompt_tokens(request, meter) for request in requests))
    answers = [meter.answer_tokens or meter.count(_typical_answer(group)) for group in groups]
    tokens_out = round(scale * sum(answers))
    n_rounds = 1 + config.retries
    n_requests = math.ceil(n_pairs / pairs_per_request)
    max_out = n_requests * n_rounds * requests[0].max_tokens
    # A retry also contains the rejected negative and the reason: about one more answer and 30 tokens for each pair.
    max_in = round(n_rounds * tokens_in + config.retries * (tokens_out + 30 * n_pairs))
    price = price_of(
        endpoint, table=config.requests.prices, price_in=config.requests.price_in, price_out=config.requests.price_out
    )
    is_batch = config.requests.mode == "batch"
    return CostForecast(
        pairs=counts,
        requests=n_requests,
        max_requests=n_requests * n_rounds,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        max_tokens_in=max_in,
        max_tokens_out=max_out,
        method=meter.method,
        n_sampled=len(sample),
        cost=None if price is None else price.cost(tokens_in, tokens_out, is_batch=is_batch),
        max_cost=None if price is None else price.cost(max_in, max_out, is_batch=is_batch),
        price=price,
        no_price=NO_PRICE.format(model=endpoint.model, url=endpoint.public_url),
        judge=_judge_forecast(config, n_pairs, sample, meter),
        cost_limit=config.requests.max_cost,
        mode=config.requests.mode,
        recipe=config.recipe,
    )


def _judge_forecast(
    config: NegateConfig, n_pairs: int, sample: Sequence[Pair], meter: TokenMeter
) -> JudgeForecast | None:
    """Forecast a judge that is asked about every negative; a negative is about as long as its entailment."""
    endpoint = config.judge_endpoint
    if endpoint is None:
        return None
    dialect = Dialect.initial_for(endpoint.base_url, config.form)
    prompts = [JudgePrompt(pair.anchor, pair.entailment, f"{pair.entailment} not") for pair in sample]
    tokens = sum(_prompt_tokens(endpoint.request(prompt, dialect), meter) for prompt in prompts)
    n_requests = n_pairs * (1 + config.retries)
    tokens_in, tokens_out = round(n_requests * tokens / len(sample)), n_requests * (endpoint.max_tokens or 0)
    price = judge_price(config)
    return JudgeForecast(
        model=endpoint.model,
        requests=n_requests,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=None if price is None else price.cost(tokens_in, tokens_out),
    )


def _prompt_tokens(request: Request, meter: TokenMeter) -> float:
    schema: Any = request.body.get("response_format")
    texts = [message["content"] for message in request.body["messages"]] + ([json.dumps(schema)] if schema else [])
    return sum(meter.count(text) for text in texts) + MESSAGE_FRAME_TOKENS * len(request.body["messages"])


def _typical_answer(group: Sequence[Pair]) -> str:
    """Return a text about as long as an answer: a negative is about as long as its entailment."""
    if len(group) == 1:
        return json.dumps({"negative": group[0].entailment + " not"}, ensure_ascii=False)
    items = [{"id": number, "negative": pair.entailment + " not"} for number, pair in enumerate(group, 1)]
    return json.dumps({"negatives": items}, ensure_ascii=False)
