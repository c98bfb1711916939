"""Decides when a run stops early: too many requests fail, or too many answers cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from jina_data.errors import ServerError
from jina_data.llm.failures import Failure, RequestOutcome

FIRST_REQUESTS, MAX_FAILURES_IN_A_ROW = 10, 25
"""A run stops if half of its first requests (10 to 40) fail, or later if 25 requests in a row fail."""

FIRST_ANSWERS, MORE_ANSWERS, MAX_UNUSABLE_SHARE, MAX_UNUSABLE_IN_A_ROW = 20, 50, 0.9, 50
"""A run stops if none of its first 20 answers can be used, if more than 90 % of its first 50 cannot, or later if 50 in
a row cannot."""

ADVICE: Mapping[str, str] = {
    "cut_off": "the answers reach the token limit before they end. Raise it, such as --max-tokens {more}; a model that "
    "thinks first needs room for its thoughts, or fewer of them, such as --param reasoning_effort=low",
    "bad_form": "the answers do not have the requested form. Set another one with --structured {form}, or use another "
    "model",
    "nothing_written": "the answers are empty. Check the chat template and the settings of the server, or raise "
    "--max-tokens",
    "refused": "the model refuses. Use another model",
    "filtered": "a content filter stops the answers. Use another model, or change the filter of the server",
}
"""What to do about answers that cannot be used, by the reason."""


def reason_to_stop(url: str, failure: Failure, outcome: RequestOutcome, failed_in_a_row: int) -> ServerError | None:
    """Return the error that stops the run after a request was given up; None if the run continues."""
    n_done = outcome.answered + outcome.failed
    if failure.kind == "fatal":
        return ServerError(f"{url}: {failure.message}. All answers so far are kept")
    if FIRST_REQUESTS <= n_done <= 4 * FIRST_REQUESTS and 2 * outcome.failed >= n_done:
        return ServerError(
            f"{outcome.failed} of the first {n_done} requests to {url} failed, the last with: "
            f"{failure.message}. All answers so far are kept; run the same command again when the server works"
        )
    if failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
        return ServerError(
            f"{failed_in_a_row} requests in a row to {url} failed, the last with: {failure.message}. "
            "All answers so far are kept; run the same command again when the server works"
        )
    return None


@dataclass
class AnswerWatch:
    """Counts the answers that cannot be used."""

    n_answers: int = 0
    in_a_row: int = 0
    flaws: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, flaw: str | None, content: str | None) -> None:
        """Count an answer; `flaw` is the reason why it cannot be used, None if it can."""
        self.n_answers += 1
        self.in_a_row = self.in_a_row + 1 if flaw else 0
        if flaw:
            self.flaws[flaw] += 1
            self.example = " ".join((content or "").split())[:100]

    @property
    def is_mostly_unusable(self) -> bool:
        """Whether more than 90 % of the answers cannot be used."""
        return self.flaws.total() > MAX_UNUSABLE_SHARE * self.n_answers

    @property
    def is_hopeless(self) -> bool:
        """Whether so few answers can be used that more requests would be wasted."""
        if self.n_answers == FIRST_ANSWERS and self.in_a_row == FIRST_ANSWERS:
            return True
        if self.n_answers == MORE_ANSWERS and self.is_mostly_unusable:
            return True
        return self.in_a_row >= MAX_UNUSABLE_IN_A_ROW

    def advice(self, url: str, *, max_tokens: int, form: str) -> str:
        """Describe the problem, and what to do about it."""
        flaw, _ = self.flaws.most_common(1)[0]
        counts = ", ".join(f"{name} {n:,}" for name, n in self.flaws.most_common())
        forms = {"schema": "text", "json": "text", "text": "json"}
        words = ADVICE[flaw].format(more=max(1024, 8 * max_tokens), form=forms[form])
        example = f". The last one begins: {self.example}" if self.example else ""
        return (
            f"{self.flaws.total():,} of {self.n_answers:,} answers of {url} cannot be used ({counts}): {words}{example}"
        )
