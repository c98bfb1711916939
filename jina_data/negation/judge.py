"""An LLM as a judge, asked through the same client, ledger and purse as the one that writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jina_data.llm.cost import Purse
from jina_data.llm.dialect import Target
from jina_data.llm.online import ClientSettings, OnlineClient
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.judge_prompt import Case, read_opinion
from jina_data.negation.pairs import Answer, Opinion


class LlmJudge:
    """Asks a model for each triplet whether the negative contradicts; what the ledger knows is not asked again."""

    def __init__(
        self,
        target: Target,
        ledger: RequestLedger,
        settings: ClientSettings,
        *,
        api_key: str | None = None,
        purse: Purse | None = None,
        seed: int = 0,
    ) -> None:
        self.name = target.model
        self.target = target
        self.ledger = ledger
        self.settings = settings
        self.api_key = api_key
        self.purse = purse
        self.seed = seed
        self.stopped: str | None = None
        """Why nothing is asked any more: max_cost, or None."""

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        """Return what the model says of N negatives: 1 where it says yes, 0 where it says no.

        Raises:
            ServerError: no request can succeed, or too many fail.
        """
        cases = [Case(one.pair.anchor, one.pair.entailment, one.negative or "") for one in answers]
        if self.stopped is None:
            client = OnlineClient(
                self.target, self.ledger, self.settings, api_key=self.api_key, purse=self.purse, seed=self.seed
            )
            self.stopped = asyncio.run(client.ask(cases)).stopped
        return [self._opinion(case) for case in cases]

    def _opinion(self, case: Case) -> Opinion:
        """Read what the ledger holds of a case."""
        dialect = self.ledger.dialect(self.target.model, self.target.shown_url)
        key = self.target.request(case, dialect).key if dialect is not None else ""
        received = self.ledger.answer(key)
        if received is None:
            _, why = self.ledger.error(key) or ("", self.stopped or "the judge was not asked")
            return Opinion(None, why, is_answered=False)
        if received.refusal:
            return Opinion(None, f"it refused: {received.refusal[:200]}")
        return read_opinion(received.content)
