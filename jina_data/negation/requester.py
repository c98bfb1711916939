"""Whom a run asks, and for what money: the model that writes, online or in batches, and the judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from jina_data.llm.batch import BatchClient, BatchSettings
from jina_data.llm.cost import Price, Purse, bill, price_of, purse_for, refuse_unknown_price, spent_on
from jina_data.llm.dialect import Target
from jina_data.llm.failures import Outcome
from jina_data.llm.online import ClientSettings, OnlineClient
from jina_data.llm.request_ledger import Received, RequestLedger
from jina_data.negation.config import NegateOptions, NegateSettings
from jina_data.negation.folder import NegationFolder
from jina_data.negation.judge import JUDGE_PROMPT_HASH, LlmJudge
from jina_data.negation.pairs import Answer
from jina_data.negation.prompt import PROMPT_HASH, read_answer
from jina_data.negation.rounds import Rounds, Unanswered
from jina_data.progress import Progress


def check_money(settings: NegateSettings, options: NegateOptions) -> None:
    """Make sure before anything else that a limit of the cost can be kept.

    Raises:
        UsageError: it cannot, or the prices make no sense.
    """
    if settings.generator == "rules":
        return
    refuse_unknown_price(settings.target, writer_price(settings, options), options.max_cost)
    if settings.judge_target is not None:
        refuse_unknown_price(settings.judge_target, judge_price(settings, options), options.max_cost)


def writer_price(settings: NegateSettings, options: NegateOptions) -> Price | None:
    """Return the price of the model that writes, if it is known."""
    return price_of(settings.target, table=options.prices, price_in=options.price_in, price_out=options.price_out)


def judge_price(settings: NegateSettings, options: NegateOptions) -> Price | None:
    """Return the price of the judge; the one given for the model that writes holds where both are the same."""
    judge, writer = settings.judge_target, settings.target
    if judge is None:
        return None
    if (judge.model, judge.shown_url) == (writer.model, writer.shown_url):
        return writer_price(settings, options)
    return price_of(judge, table=options.prices)


class Asking:
    """Asks in one session of a run; what was answered is in the ledger."""

    def __init__(
        self,
        ledger: RequestLedger,
        folder: NegationFolder,
        settings: NegateSettings,
        options: NegateOptions,
        progress: Progress,
    ) -> None:
        self.ledger = ledger
        self.folder = folder
        self.settings = settings
        self.options = options
        self.progress = progress

    def ask(self, rounds: Rounds, advance: Callable[[int], None]) -> Outcome:
        """Ask the questions of the next round that have no answer yet.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        settings, options = self.settings, self.options
        each = settings.pairs_per_request
        if options.mode == "batch":
            chosen = BatchSettings(
                poll_seconds=options.poll_seconds, wait=options.wait, attempts=options.attempts, form=settings.form
            )
            batches = BatchClient(
                settings.target, self.ledger, chosen, scratch=self.folder.batches, api_key=options.api_key,
                purse=self._purse(is_batch=True), advance=lambda n: advance(n * each), say=self.progress.say,
            )  # fmt: skip
            return batches.ask(lambda: rounds.questions(each))
        online = OnlineClient(
            settings.target, self.ledger, self._client(), api_key=options.api_key, purse=self._purse(),
            advance=advance, seed=settings.seed,
        )  # fmt: skip
        return asyncio.run(online.ask(rounds.questions(each)))

    def answers(self, rounds: Rounds, stopped: str | None) -> Iterator[tuple[int, Answer | Unanswered]]:
        """Yield the answers to the questions of the next round, in the order of the pairs."""
        target = self.settings.target
        dialect = self.ledger.dialect(target.model, target.shown_url)
        for question in rounds.questions(self.settings.pairs_per_request):
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
        target, options = self.settings.judge_target, self.options
        if target is None:
            return None
        is_same_server = target.shown_url == self.settings.target.shown_url
        key = options.judge_api_key or (options.api_key if is_same_server else None)
        purse = self._purse(role="judge")
        return LlmJudge(target, self.ledger, self._client(), api_key=key, purse=purse, seed=self.settings.seed)

    def _client(self) -> ClientSettings:
        options = self.options
        return ClientSettings(
            concurrency=options.concurrency, rpm=options.rpm, tpm=options.tpm, attempts=options.attempts,
            timeout_seconds=options.timeout_seconds, form=self.settings.form,
        )  # fmt: skip

    def _purse(self, *, is_batch: bool = False, role: str = "") -> Purse | None:
        """Return the purse for one of the two; what the other has spent is gone."""
        settings, options, judge = self.settings, self.options, self.settings.judge_target
        if options.max_cost is None:
            return None
        prices = {"": writer_price(settings, options), "judge": judge_price(settings, options)}
        targets: dict[str, Target | None] = {"": settings.target, "judge": judge}
        target, other = targets[role], targets["judge" if role == "" else ""]
        assert target is not None
        spent = 0.0
        if other is not None:
            other_role = "judge" if role == "" else ""
            spent = spent_on(bill(self.ledger, other, prices[other_role], role=other_role))
        return purse_for(
            self.ledger, target, prices[role], options.max_cost, is_batch=is_batch, role=role, others=spent
        )

    # ------------------------------------------------------------------------------------------------------- accounts

    def requests(self) -> dict[str, Any]:
        """Return what the model that writes was asked, and what it cost."""
        target = self.settings.target
        dialect = self.ledger.dialect(target.model, target.shown_url)
        batches = ", ".join(f"{status} {n}" for status, n in self.ledger.batch_counts().items())
        said = {"form": dialect.form if dialect else None, "batches": batches or "none"}
        return {**bill(self.ledger, target, writer_price(self.settings, self.options)).to_json(), **said}

    def judged(self) -> dict[str, Any] | None:
        """Return what the judge was asked, and what it cost; None without a judge."""
        target = self.settings.judge_target
        if target is None:
            return None
        said = {"model": target.model, "base_url": target.shown_url, "prompt": JUDGE_PROMPT_HASH}
        price = judge_price(self.settings, self.options)
        return {**said, **bill(self.ledger, target, price, role="judge").to_json()}


def _model_name(received: Received, asked: str) -> str:
    return received.served_model or asked
