"""When a request is tried again, and when a run stops asking."""

from __future__ import annotations

import random
from dataclasses import dataclass

from jina_data.errors import ServerError
from jina_data.llm.failures import Failure

FIRST, MOST_IN_A_ROW = 10, 25
"""A run stops when half of the first so many requests failed, or later so many one after the other."""


@dataclass
class Outcome:
    """How asking ended."""

    answered: int = 0
    failed: int = 0
    known: int = 0
    """Requests that had an answer already."""
    stopped: str | None = None
    """None: everything was asked. max_cost: the rest would have cost too much."""


def back_off(failure: Failure, times: int, chance: random.Random) -> float:
    """Return how long to wait: as the server says, else longer each time, and never all at the same moment."""
    jitter = 0.5 + chance.random() / 2
    if failure.retry_after_seconds is not None:
        return min(failure.retry_after_seconds, 600.0) + 0.1 * jitter
    first = {"rate_limit": 1.0, "busy": 0.5, "connection": 0.5, "timeout": 1.0, "malformed": 0.1}[failure.kind]
    return float(min(30.0, first * 2 ** (times - 1))) * jitter


def reason_to_stop(url: str, failure: Failure, outcome: Outcome, failed_in_a_row: int) -> ServerError | None:
    """Return why a run must stop asking after a request was given up, None where it goes on."""
    done = outcome.answered + outcome.failed
    if failure.kind == "fatal":
        return ServerError(f"{url}: {failure.message}. What was answered before is kept")
    if FIRST <= done <= 4 * FIRST and 2 * outcome.failed >= done:
        return ServerError(
            f"{outcome.failed} of the first {done} requests to {url} failed, the last with: "
            f"{failure.message}. What was answered is kept; give the same command again when that is mended"
        )
    if failed_in_a_row >= MOST_IN_A_ROW:
        return ServerError(
            f"{failed_in_a_row} requests in a row to {url} failed, the last with: {failure.message}. "
            "What was answered is kept; give the same command again when that is mended"
        )
    return None
