"""Sends the requests of a run within its cost limit: to the writing model, online or in batches, and to the judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from jina_data.llm.batch import BatchClient, BatchConfig
from jina_data.llm.cost import CostLimit, Price, cost_limit_for, cost_so_far, price_of, refuse_unknown_price
from jina_data.llm.dialect import Dialect, Endpoint
from jina_data.llm.failures import RequestOutcome
from jina_data.llm.online import OnlineClient
from jina_data.llm.patience import AnswerWatch
from jina_data.llm.request_ledger import RequestLedger
from jina_data.llm.sender import ClientConfig
from jina_data.negation.answers import read_answer
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.judge import JUDGE_PROMPT_HASH, LlmJudge
from jina_data.negation.pairs import Answer
from jina_data.negation.prompt import PROMPT_HASH
from jina_data.negation.rounds import MissingAnswer, Rounds
from jina_data.progress import Progress


def check_cost(config: NegateConfig) -> None:
    """Check that a cost limit can be enforced.

    Raises:
        UsageError: it cannot, because a price is not known, or the price options are not valid.
    """
    if config.generator == "rules":
        return
    refuse_unknown_price(config.endpoint, writer_price(config), config.requests.max_cost)
    if config.judge_endpoint is not None:
        refuse_unknown_price(config.judge_endpoint, judge_price(config), config.requests.max_cost)


def writer_price(config: NegateConfig) -> Price | None:
    """Return the price of the writing model, None if it is not known."""
    return price_of(
        config.endpoint,
        table=config.requests.prices,
        price_in=config.requests.price_in,
        price_out=config.requests.price_out,
    )


def judge_price(config: NegateConfig) -> Price | None:
    """Return the price of the judge, None if it is not known. `--price-in` applies if it is the writing model, too."""
    judge, writer = config.judge_endpoint, config.endpoint
    if judge is None:
        return None
    if (judge.model, judge.public_url) == (writer.model, writer.public_url):
        return writer_price(config)
    return price_of(judge, table=config.requests.prices)


STOPPED = {
    "max_cost": "the run stopped before --max-cost would be exceeded",
    "unusable": "the run stopped because too many answers could not be used",
}
"""Why a pair was not asked about, by the reason of the stop."""


class Requester:
    """Sends the requests of one session of a run. The answers are in the ledger."""

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

    def ask(self, rounds: Rounds, advance: Callable[[int], None]) -> RequestOutcome:
        """Send the prompts of the next round that have no answer yet.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        config, options = self.config, self.config.requests
        pairs_per_request = config.pairs_per_request
        if options.mode == "batch":
            batch_config = BatchConfig(
                poll_seconds=options.poll_seconds, wait=options.wait, attempts=options.attempts, form=config.form
            )
            batches = BatchClient(
                config.endpoint, self.ledger, batch_config, scratch=self.folder.batches, api_key=options.api_key,
                cost_limit=self._cost_limit(is_batch=True), advance=lambda n: advance(n * pairs_per_request),
                message=self.progress.message,
            )  # fmt: skip
            return batches.ask(lambda: rounds.questions(pairs_per_request))
        # The later rounds ask about the pairs that the model found hardest, so more of their answers cannot be used.
        client_config = self._client_config(watches_answers=rounds.number == 0)
        online = OnlineClient(
            config.endpoint, self.ledger, client_config, api_key=options.api_key, cost_limit=self._cost_limit(),
            advance=advance, message=self.progress.message, seed=config.seed,
        )  # fmt: skip
        return asyncio.run(online.ask(rounds.questions(pairs_per_request)))

    def answers(self, rounds: Rounds, stopped: str | None) -> Iterator[tuple[int, Answer | MissingAnswer]]:
        """Yield the position of each pair of the next round and its answer, in the order of the pairs."""
        endpoint = self.config.endpoint
        dialect = self.ledger.dialect(endpoint.model, endpoint.public_url, with_tried=True)
        for question in rounds.questions(self.config.pairs_per_request):
            key = endpoint.request(question, dialect).key if dialect is not None else ""
            completion = self.ledger.answer(key)
            if completion is None or dialect is None:
                reason, detail = self.ledger.error(key) or ("not_asked", STOPPED.get(stopped or "", ""))
                for position in question.positions:
                    yield position, MissingAnswer(reason, detail)
                continue
            parsed_answers = read_answer(completion.content, len(question.pairs), dialect.form)
            for position, pair, parsed in zip(question.positions, question.pairs, parsed_answers, strict=True):
                yield (
                    position,
                    Answer(
                        pair=pair,
                        negative=parsed.negative,
                        raw=completion.content or "",
                        finish_reason=completion.finish_reason,
                        refusal=completion.refusal,
                        model=completion.served_model or endpoint.model,
                        prompt_hash=PROMPT_HASH,
                        attempt=rounds.number,
                        schema_error=parsed.schema_error,
                        is_closed=parsed.is_closed,
                    ),
                )

    def advice(self, watch: AnswerWatch) -> str:
        """Return what to do if the answers cannot be used."""
        endpoint = self.config.endpoint
        dialect = self.ledger.dialect(endpoint.model, endpoint.public_url) or Dialect()
        max_tokens = endpoint.token_limit(self.config.pairs_per_request)
        return watch.advice(endpoint.public_url, max_tokens=max_tokens, form=dialect.form)

    def make_judge(self) -> LlmJudge | None:
        """Return the judge of the run, None if it has none. Its requests are online in both modes."""
        endpoint, options = self.config.judge_endpoint, self.config.requests
        if endpoint is None:
            return None
        is_same_server = endpoint.public_url == self.config.endpoint.public_url
        key = options.judge_api_key or (options.api_key if is_same_server else None)
        cost_limit = self._cost_limit(role="judge")
        return LlmJudge(
            endpoint, self.ledger, self._client_config(), api_key=key, cost_limit=cost_limit,
            message=self.progress.message, seed=self.config.seed,
        )  # fmt: skip

    def _client_config(self, *, watches_answers: bool = True) -> ClientConfig:
        options = self.config.requests
        return ClientConfig(
            concurrency=options.concurrency, rpm=options.rpm, tpm=options.tpm, attempts=options.attempts,
            timeout_seconds=options.timeout_seconds, form=self.config.form, watches_answers=watches_answers,
        )  # fmt: skip

    def _cost_limit(self, *, is_batch: bool = False, role: str = "") -> CostLimit | None:
        """Return the cost limit for a role, reduced by the cost of the other role; None if there is no limit."""
        config, max_cost = self.config, self.config.requests.max_cost
        if max_cost is None:
            return None
        prices = {"": writer_price(config), "judge": judge_price(config)}
        endpoints: dict[str, Endpoint | None] = {"": config.endpoint, "judge": config.judge_endpoint}
        other_role = "judge" if role == "" else ""
        endpoint, other_endpoint = endpoints[role], endpoints[other_role]
        assert endpoint is not None
        spent = 0.0
        if other_endpoint is not None:
            spent = cost_so_far(self.ledger, other_endpoint, prices[other_role], role=other_role).upper_bound
        return cost_limit_for(
            self.ledger, endpoint, prices[role], max_cost, is_batch=is_batch, role=role, spent_elsewhere=spent
        )

    # ------------------------------------------------------------------------------------------------------- accounts

    def writer_account(self) -> dict[str, Any]:
        """Return the requests to the writing model and their cost, as in report.json."""
        endpoint = self.config.endpoint
        dialect = self.ledger.dialect(endpoint.model, endpoint.public_url)
        batches = ", ".join(f"{status} {n}" for status, n in self.ledger.batch_counts().items())
        left_out = [name for name in dialect.left_out if name in endpoint.params] if dialect else []
        details = {"form": dialect.form if dialect else None, "left_out": left_out, "batches": batches or "none"}
        return {**cost_so_far(self.ledger, endpoint, writer_price(self.config)).to_json(), **details}

    def judge_account(self) -> dict[str, Any] | None:
        """Return the requests to the judge and their cost, as in report.json; None without a judge."""
        endpoint = self.config.judge_endpoint
        if endpoint is None:
            return None
        identity = {"model": endpoint.model, "base_url": endpoint.public_url, "prompt": JUDGE_PROMPT_HASH}
        price = judge_price(self.config)
        return {**identity, **cost_so_far(self.ledger, endpoint, price, role="judge").to_json()}
