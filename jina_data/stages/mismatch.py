"""Estimate how many pairs do not belong together, from ranks that are counted to the end.

The positive of a pair that does not belong together is no closer to the anchor than any text of the pool, so its rank
is as likely to be in the farther half of the pool as in the nearer one. A pair that does belong together seldom gets
there. So twice the share of ranks in the farther half estimates the share of pairs that do not belong together: the
estimate of true null hypotheses by Storey (2002, J. R. Statist. Soc. B 64, 479), with ranks for p-values. Pairs that
the model knows nothing of count among them, so it estimates from above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

_Z = 1.959964
"""A normal variable is within so many standard deviations with a probability of 95 %."""


@dataclass(frozen=True)
class Mismatch:
    """What was found in one source: of `rows` sampled pairs, `far` rank in the farther half of their pool."""

    source: str
    rows: int
    far: int

    @property
    def share(self) -> float:
        """The estimated share of pairs that do not belong together."""
        return min(1.0, 2 * self.far / self.rows)

    @property
    def at_most(self) -> float:
        """The upper end of its 95 % interval (Wilson)."""
        return min(1.0, 2 * wilson(self.far, self.rows)[1])

    @classmethod
    def load_all(cls, facts: Mapping[str, Any]) -> list[Mismatch]:
        """Return what a stage noted in its facts."""
        return [cls(**one) for one in facts.get("mismatch", ())]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, of which `hits` of `n` were seen (Wilson 1927)."""
    share, spread = hits / n, _Z * _Z / n
    middle, half = share + spread / 2, _Z * sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def count_far(sources: Sequence[str], is_far: Sequence[bool]) -> list[dict[str, Any]]:
    """Return the facts of some pairs, by source in order of their names."""
    found: dict[str, list[bool]] = {}
    for source, far in zip(sources, is_far, strict=True):
        found.setdefault(source, []).append(bool(far))
    return [{"source": source, "rows": len(fars), "far": sum(fars)} for source, fars in sorted(found.items())]
