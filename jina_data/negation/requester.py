"""Whom a run asks, and for what money: the model that writes, online or in batches, and the judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from jina_data.llm.batch import BatchClient, BatchSettings
from jina_data.llm.cost import CostLimit, Price, bill, cost_limit_for, price_of, refuse_unknown_price, spent_on
from jina_data.llm.dialect import Endpoint
from jina_data.llm.failures import Outcome
from jina_data.llm.online import ClientConfig, OnlineClient
from jina_data.llm.request_ledger import Received, RequestLedger
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.judge import JUDGE_PROMPT_HASH, LlmJudge
from jina_data.negation.pairs import Answer
from jina_data.negation.prompt import PROMPT_HASH, read_answer
from jina_data.negation.rounds import Rounds, Unanswered
from jina_data.progress import Progress


def check_cost(config: NegateConfig) -> None:
    """Make sure before anything else that a limit of the cost can be kept.

    Raises:
        UsageError: it cannot, or the prices make no sense.
    """
    if config.generator == "rules":
        return
    refuse_unknown_price(config.target, writer_price(config), config.requests.max_cost)
    if config.judge_target is not None:
        refuse_unknown_price(config.judge_target, judge_price(config), config.requests.max_cost)


def writer_price(config: NegateConfig) -> Price | None:
    """Return the price of the model that writes, if it is known."""
    return price_of(
        config.target,
        table=config.requests.prices,
        price_in=config.requests.price_in,
        price_out=config.requests.price_out,
    )


def judge_price(config: NegateConfig) -> Price | None:
    """Return the price of the judge; the one given for the model that writes holds where both are the same."""
    judge, writer = config.judge_target, config.target
    if judge is None:
        return None
    if (judge.model, judge.shown_url) == (writer.model, writer.shown_url):
        return writer_price(config)
    return price_of(judge, table=config.requests.prices)


class Requester:
    """Asks in one session of a run; what was answered is in the ledger."""

    def __init__(
        self,
        ledger: RequestLedger,
        folder: NegationFolder,
        config: NegateConfig,
        progress: Progress,
    ) -> None:
        self.ledger = ledger
        self.folder = folder
        self.config = config
        self.progress = progress

    def ask(self, rounds: Rounds, advance: Callable[[int], None]) -> Outcome:
        """Ask the questions of the next round that have no answer yet.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        config, options = self.config, self.config.requests
        each = config.pairs_per_request
        if options.mode == "batch":
            chosen = BatchSettings(
                poll_seconds=options.poll_seconds, wait=options.wait, attempts=options.attempts, form=config.form
            )
            batches = BatchClient(
                config.target, self.ledger, chosen, scratch=self.folder.batches, api_key=options.api_key,
                cost_limit=self._purse(is_batch=True), advance=lambda n: advance(n * each), message=self.progress.message,
            )  # fmt: skip
            return batches.ask(lambda: rounds.questions(each))
        online = OnlineClient(
            config.target, self.ledger, self._client(), api_key=options.api_key, cost_limit=self._purse(),
            advance=advance, seed=config.seed,
        )  # fmt: skip
        return asyncio.run(online.ask(rounds.questions(each)))

    def answers(self, rounds: Rounds, stopped: str | None) -> Iterator[tuple[int, Answer | Unanswered]]:
        """Yield the answers to the questions of the next round, in the order of the pairs."""
        target = self.config.target
        dialect = self.ledger.dialect(target.model, target.shown_url)
        for question in rounds.questions(self.config.pairs_per_request):
            key = target.request(question, dialect).key if dialect is not None else ""
            received = self.ledger.answer(key)
            if received is None or dialect is None:
                reason, detail = self.ledger.error(key) or ("not_asked", stopped or "")
                for place in question.places:
                    yield place, Unanswered(reason, detail)
                continue
            readings = read_answer(received.content, len(question.pairs), dialect.form)
            for place, pair, reading in zip(question.places, question.pairs, readings, strict=True):
                yield (
                    place,
                    Answer(
                        pair=pair,
                        negative=reading.negative,
                        raw=received.content or "",
                        finish_reason=received.finish_reason,
                        refusal=received.refusal,
                        model=_model_name(received, target.model),
                        prompt_hash=PROMPT_HASH,
                        attempt=rounds.number,
                        schema_error=reading.schema_error,
                    ),
                )

    def judge(self) -> LlmJudge | None:
        """Return the judge of the run; it is asked online whatever the mode is."""
        target, options = self.config.judge_target, self.config.requests
        if target is None:
            return None
        is_same_server = target.shown_url == self.config.target.shown_url
        key = options.judge_api_key or (options.api_key if is_same_server else None)
        cost_limit = self._purse(role="judge")
        return LlmJudge(target, self.ledger, self._client(), api_key=key, cost_limit=cost_limit, seed=self.config.seed)

    def _client(self) -> ClientConfig:
        options = self.config.requests
        return ClientConfig(
            concurrency=options.concurrency, rpm=options.rpm, tpm=options.tpm, attempts=options.attempts,
            timeout_seconds=options.timeout_seconds, form=self.config.form,
        )  # fmt: skip

    def _purse(self, *, is_batch: bool = False, role: str = "") -> CostLimit | None:
        """Return the limit of the cost for one of the two; what the other has spent is gone."""
        config, judge = self.config, self.config.judge_target
        if self.config.requests.max_cost is None:
            return None
        prices = {"": writer_price(config), "judge": judge_price(config)}
        targets: dict[str, Endpoint | None] = {"": config.target, "judge": judge}
        target, other = targets[role], targets["judge" if role == "" else ""]
        assert target is not None
        spent = 0.0
        if other is not None:
            other_role = "judge" if role == "" else ""
            spent = spent_on(bill(self.ledger, other, prices[other_role], role=other_role))
        return cost_limit_for(
            self.ledger, target, prices[role], self.config.requests.max_cost, is_batch=is_batch, role=role, others=spent
        )

    # ------------------------------------------------------------------------------------------------------- accounts

    def requests(self) -> dict[str, Any]:
        """Return what the model that writes was asked, and what it cost."""
        target = self.config.target
        dialect = self.ledger.dialect(target.model, target.shown_url)
        batches = ", ".join(f"{status} {n}" for status, n in self.ledger.batch_counts().items())
        said = {"form": dialect.form if dialect else None, "batches": batches or "none"}
        return {**bill(self.ledger, target, writer_price(self.config)).to_json(), **said}

    def judged(self) -> dict[str, Any] | None:
        """Return what the judge was asked, and what it cost; None without a judge."""
        target = self.config.judge_target
        if target is None:
            return None
        said = {"model": target.model, "base_url": target.shown_url, "prompt": JUDGE_PROMPT_HASH}
        price = judge_price(self.config)
        return {**said, **bill(self.ledger, target, price, role="judge").to_json()}


def _model_name(received: Received, asked: str) -> str:
    return received.served_model or asked
