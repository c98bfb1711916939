"""What a run would ask and cost, from a sample of its pairs, before anything is sent."""

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
from jina_data.llm.online import BYTES_PER_TOKEN
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.judge import Case
from jina_data.negation.pairs import Pair
from jina_data.negation.prompt import Question
from jina_data.negation.requester import judge_price
from jina_data.negation.sources import PairCounts, read_pairs, write_pairs
from jina_data.progress import Progress, Quiet

SAMPLE_PAIRS = 500
"""Pairs come in the order of a seeded hash, so the first ones are a sample."""

MESSAGE_FRAME_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class JudgeOutlook:
    """What a judge would take at most: how often the other checks disagree is not known before."""

    model: str
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def line(self) -> str:
        """Return it in words."""
        cost = "cost not known" if self.cost is None else dollars(self.cost)
        return (
            f"judge:     {self.model}, up to {self.requests:,} requests more, {self.tokens_in:,} tokens in, "
            f"{self.tokens_out:,} out, {cost}"
        )


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run would take. Costs are None where the price is not known."""

    pairs: PairCounts
    requests: int
    most_requests: int
    tokens_in: int
    tokens_out: int
    most_tokens_in: int
    most_tokens_out: int
    how: str
    """How tokens were counted: with a tokenizer, by what the server counted before, or estimated."""
    sampled: int
    cost: float | None
    most_cost: float | None
    judge: JudgeOutlook | None
    price: Price | None
    no_price: str
    max_cost: float | None
    mode: str
    recipe: str | None

    def lines(self) -> list[str]:
        """Return it in words."""
        pairs = ", ".join(f"{name} {n:,}" for name, n in self.pairs.pairs.items())
        found = [
            f"pairs:     {sum(self.pairs.pairs.values()):,} ({pairs})",
            f"requests:  {self.requests:,}, up to {self.most_requests:,} if everything is rejected and asked again",
            f"tokens:    {self.tokens_in:,} in, {self.tokens_out:,} out; up to {self.most_tokens_in:,} in, "
            f"{self.most_tokens_out:,} out",
            f"           {self.how}, from a sample of {self.sampled:,} pairs",
        ]
        if self.recipe is not None:
            found.append(f"           before the recipe {self.recipe}, which may drop pairs")
        if self.judge is not None:
            found.append(self.judge.line())
        if self.cost is None or self.most_cost is None or self.price is None:
            found.append(f"cost:      not known: {self.no_price}")
            return found
        how = "Batch API, " if self.mode == "batch" else ""
        found.append(
            f"cost:      {dollars(self.cost)}, up to {dollars(self.most_cost)} ({how}{self.price.origin}: "
            f"${self.price.input:g} in, ${self.price.output:g} out for a million tokens)"
        )
        if self.max_cost is not None and self.cost > self.max_cost:
            share = self.max_cost / self.cost
            found.append(f"           --max-cost {self.max_cost:g} stops the run after about {share:.0%} of the pairs")
        return found


def foresee(
    config: NegateConfig,
    out: Path | None,
    *,
    tokenizer: Path | None = None,
    progress: Progress | None = None,
) -> Outlook:
    """Foresee what a run would ask and cost. Nothing is sent, and nothing is written but to a temporary folder.

    Raises:
        JinaDataError: the sources or the settings are not as they must be.
    """
    config.check()
    if config.generator == "rules":
        raise UsageError("--plan foresees what an LLM is asked; --generator rules asks nobody and costs nothing")
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
            progress=progress or Quiet(),
        )
        sample = [pair for _, pair in zip(range(SAMPLE_PAIRS), read_pairs(path), strict=False)]
    return _outlook(config, counts, sample, _meter(config, out, tokenizer))


@dataclass(frozen=True)
class Meter:
    """Counts tokens in some way. `answer` is what an answer takes where that was measured."""

    how: str
    count: Callable[[str], float]
    answer: float | None = None


def _meter(config: NegateConfig, out: Path | None, tokenizer: Path | None) -> Meter:
    """Choose the best way to count tokens that there is."""
    if tokenizer is not None:
        return Meter(f"counted with {tokenizer.name}", _counter(tokenizer))
    ledger_path = NegationFolder(out).ledger if out is not None else None
    if ledger_path is not None and ledger_path.exists():
        target = config.target
        with RequestLedger(ledger_path) as ledger:
            measured = ledger.ratio(target.model, target.shown_url)
        if measured is not None:
            n_answers, n_bytes, answer = measured
            how = f"by the tokens that the server counted in {n_answers:,} answers"
            return Meter(how, lambda text: len(text.encode()) / n_bytes, answer)
    how = f"estimated at {BYTES_PER_TOKEN:g} bytes a token (--tokenizer FILE counts them)"
    return Meter(how, lambda text: len(text.encode()) / BYTES_PER_TOKEN)


def _counter(path: Path) -> Callable[[str], float]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UsageError(f"--tokenizer {path}: {error}. Expected a tokenizer.json") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _outlook(config: NegateConfig, counts: PairCounts, sample: Sequence[Pair], meter: Meter) -> Outlook:
    each, target = config.pairs_per_request, config.target
    dialect = Dialect.first_for(config.base_url, config.form)
    groups = [tuple(sample[start : start + each]) for start in range(0, len(sample), each)]
    requests = [
        target.request(Question(tuple(range(len(group))), group, tuple(() for _ in group)), dialect) for group in groups
    ]
    n_pairs = sum(counts.pairs.values())
    scale = n_pairs / len(sample)
    tokens_in = round(scale * sum(_prompt_tokens(request, meter) for request in requests))
    answers = [meter.answer or meter.count(_answer_like(group)) for group in groups]
    tokens_out = round(scale * sum(answers))
    tries = 1 + config.retries
    n_requests = math.ceil(n_pairs / each)
    most_out = n_requests * tries * requests[0].max_tokens
    # A question that is asked again holds what was rejected, too: about another answer and its reason.
    most_in = round(tries * tokens_in + config.retries * (tokens_out + 30 * n_pairs))
    price = price_of(
        target, table=config.requests.prices, price_in=config.requests.price_in, price_out=config.requests.price_out
    )
    is_batch = config.requests.mode == "batch"
    return Outlook(
        pairs=counts,
        requests=n_requests,
        most_requests=n_requests * tries,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        most_tokens_in=most_in,
        most_tokens_out=most_out,
        how=meter.how,
        sampled=len(sample),
        cost=None if price is None else price.cost(tokens_in, tokens_out, is_batch=is_batch),
        most_cost=None if price is None else price.cost(most_in, most_out, is_batch=is_batch),
        price=price,
        no_price=NO_PRICE.format(model=target.model, url=target.shown_url),
        judge=_judge_outlook(config, n_pairs, sample, meter),
        max_cost=config.requests.max_cost,
        mode=config.requests.mode,
        recipe=config.recipe,
    )


def _judge_outlook(config: NegateConfig, n_pairs: int, sample: Sequence[Pair], meter: Meter) -> JudgeOutlook | None:
    """Foresee a judge that is asked of every negative; a negative is about as long as its entailment."""
    target = config.judge_target
    if target is None:
        return None
    dialect = Dialect.first_for(target.base_url, config.form)
    cases = [Case(pair.anchor, pair.entailment, f"{pair.entailment} not") for pair in sample]
    tokens = sum(_prompt_tokens(target.request(case, dialect), meter) for case in cases)
    n_requests = n_pairs * (1 + config.retries)
    tokens_in, tokens_out = round(n_requests * tokens / len(sample)), n_requests * (target.max_tokens or 0)
    price = judge_price(config)
    return JudgeOutlook(
        model=target.model,
        requests=n_requests,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=None if price is None else price.cost(tokens_in, tokens_out),
    )


def _prompt_tokens(request: Request, meter: Meter) -> float:
    told: Any = request.body.get("response_format")
    texts = [message["content"] for message in request.body["messages"]] + ([json.dumps(told)] if told else [])
    return sum(meter.count(text) for text in texts) + MESSAGE_FRAME_TOKENS * len(request.body["messages"])


def _answer_like(group: Sequence[Pair]) -> str:
    """Return a text about as long as an answer: a negative is about as long as its entailment."""
    if len(group) == 1:
        return json.dumps({"negative": group[0].entailment + " not"}, ensure_ascii=False)
    items = [{"id": number, "negative": pair.entailment + " not"} for number, pair in enumerate(group, 1)]
    return json.dumps({"negatives": items}, ensure_ascii=False)
