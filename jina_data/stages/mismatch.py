"""Estimate how many pairs do not belong together, from their ranks among pairs of the same source.

A positive that does not belong to its anchor is no closer to it than the positive of any other pair of the source, so
its rank among them is as likely to be in the farther half as in the nearer one. A pair that does belong together seldom
gets there. So twice the share of ranks in the farther half estimates the share of pairs that do not belong together:
the estimate of true null hypotheses by Storey (2002, J. R. Statist. Soc. B 64, 479), with ranks for p-values. Pairs
that the model knows nothing of count among them, so it estimates from above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import duckdb

AUDITED_SOURCES = 40
"""So many of the largest sources are looked at one by one, the others together."""

PRECISION = 0.75
"""If less than this share of what fell in a source may be unrelated, a report says so."""

_Z = 1.959964
"""A normal variable is within so many standard deviations with a probability of 95 %."""


@dataclass(frozen=True)
class MismatchAudit:
    """What was found in a sample of one source, or (`source` is null) of all but the largest.

    Of `rows` pairs, `far` rank in the farther half of the others, and `over` rank worse than the stage keeps. A source
    that is `spared` loses none.
    """

    source: str | None
    rows: int
    far: int
    over: int
    spared: bool = False

    @property
    def share(self) -> float:
        """The estimated share of pairs that do not belong together."""
        return min(1.0, 2 * self.far / self.rows)

    @property
    def at_most(self) -> float:
        """The upper end of its 95 % interval."""
        return min(1.0, 2 * wilson(self.far, self.rows)[1])

    def falls_short(self, min_precision: float) -> bool:
        """Tell whether less than this share of what the stage would drop may be pairs that do not belong together."""
        return self.at_most < min_precision * self.over / self.rows


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, of which `hits` of `n` were seen (Wilson 1927)."""
    share, scatter = hits / n, _Z * _Z / n
    middle, half = share + scatter / 2, _Z * sqrt(share * (1 - share) / n + scatter / (4 * n))
    return max(0.0, (middle - half) / (1 + scatter)), min(1.0, (middle + half) / (1 + scatter))


def far_ones(
    anchors: npt.NDArray[np.float16],
    positives: npt.NDArray[np.float16],
    anchor_keys: npt.NDArray[np.uint64],
    positive_keys: npt.NDArray[np.uint64],
) -> npt.NDArray[np.bool_]:
    """Tell for which of N pairs more than half of the other positives are closer to the anchor than its own.

    Args:
        anchors: vectors, (N, D); products of half precision are exact in double precision.
        positives: vectors, (N, D).
        anchor_keys: what tells anchors apart, (N, 2); positives of the same anchor are no competitors.
        positive_keys: what tells positives apart, (N, 2); each content counts once.
    """
    _, anchor_of = np.unique(anchor_keys, axis=0, return_inverse=True)
    _, first, content_of = np.unique(positive_keys, axis=0, return_index=True, return_inverse=True)
    is_own = np.zeros((int(anchor_of.max(initial=-1)) + 1, len(first)), np.bool_)
    is_own[anchor_of.reshape(-1), content_of.reshape(-1)] = True
    contents = positives[first].astype(np.float64)
    is_far = np.zeros(len(anchors), np.bool_)
    for start in range(0, len(anchors), 256):
        some = slice(start, start + 256)
        wide = anchors[some].astype(np.float64)
        own = np.einsum("nd,nd->n", wide, positives[some].astype(np.float64))
        is_rival = ~is_own[anchor_of.reshape(-1)[some]]
        n_closer = ((wide @ contents.T > own[:, None]) & is_rival).sum(1)
        is_far[some] = 2 * n_closer > is_rival.sum(1)
    return is_far


def audit(pairs: Iterable[tuple[str | None, bool, bool]], min_precision: float | None) -> list[dict[str, Any]]:
    """Return what a stage notes of some pairs: of each, its source, and whether it is far, and over the limit."""
    found: dict[str | None, tuple[int, int, int]] = {}
    for source, far, over in pairs:
        rows, n_far, n_over = found.get(source, (0, 0, 0))
        found[source] = (rows + 1, n_far + far, n_over + over)
    audits = [MismatchAudit(source, *found[source]) for source in sorted(found, key=lambda name: (name is None, name))]
    return [asdict(one) | {"spared": min_precision is not None and one.falls_short(min_precision)} for one in audits]


@dataclass(frozen=True)
class Mismatch:
    """What a report tells of one source and one stage: of `rows` that reached the stage, `dropped` fell there.

    In a sample of `sampled`, about the share `share` of the pairs does not belong together, at the most `at_most`; the
    stage would drop the share `over`, but from a source that is `spared` it drops nothing. `source` is null for all
    sources but the largest.
    """

    stage: int
    source: str | None
    rows: int
    dropped: int
    sampled: int
    share: float
    at_most: float
    over: float
    spared: bool

    @property
    def is_excessive(self) -> bool:
        """Whether so much was dropped that a good part of it must have been good pairs."""
        return self.at_most * self.rows < PRECISION * self.dropped


def count_mismatches(con: duckdb.DuckDBPyConnection, stage: int, facts: Mapping[str, Any]) -> list[Mismatch]:
    """Return what a stage noted in its facts, with the rows of each source; `con` has the view `ledger`."""
    audits = [MismatchAudit(**one) for one in facts.get("mismatch", ())]
    counted = con.execute(
        "SELECT CASE WHEN list_contains($2, source) THEN source END AS part, "
        "count(*), count(*) FILTER (stage_index = $1) FROM ledger WHERE kept OR stage_index >= $1 GROUP BY part",
        [stage, [one.source for one in audits if one.source is not None]],
    ).fetchall()
    rows = {source: (read, dropped) for source, read, dropped in counted}
    return [
        Mismatch(
            stage,
            one.source,
            *rows[one.source],
            sampled=one.rows,
            share=round(one.share, 4),
            at_most=round(one.at_most, 4),
            over=round(one.over / one.rows, 4),
            spared=one.spared,
        )
        for one in audits
    ]
