"""The protocol of engines: where the units of work of a run are executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jina_data.clean.plan import Plan

Work = Callable[..., Any]
"""A function that takes a worker and the arguments of one unit."""


class Engine(Protocol):
    """Runs units of work somewhere. The results do not depend on the engine."""

    def set_plan(self, plan: Plan) -> None:
        """Set the plan for new workers, and end the workers that have an earlier plan."""
        ...

    def map(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Run `work(worker, *unit)` for every unit; yield each unit with its result when it ends, in any order."""
        ...

    def close(self) -> None:
        """End the workers, even in the middle of a unit: a unit writes its output atomically."""
        ...
