"""Estimates the share of mismatched pairs of a source, from their ranks among the pairs of the same source.

In a mismatched pair, the positive is no more similar to the anchor than the positive of any other pair of the source.
Its rank among them is as likely to be in the lower half as in the upper half. The positive of a matching pair is seldom
in the lower half. So twice the share of ranks in the lower half estimates the share of mismatched pairs: the estimate
of true null hypotheses by Storey (2002, J. R. Statist. Soc. B 64, 479), with ranks as p-values. Pairs that the model
cannot judge count as mismatched, so the estimate is an upper one.
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
"""Number of the largest sources that are audited separately; all other sources are audited together."""

PRECISION = 0.75
"""If less than this share of the dropped rows of a source can be mismatched, the report warns."""

_Z = 1.959964
"""A normal variable is within this number of standard deviations of its mean with a probability of 95 %."""


@dataclass(frozen=True)
class MismatchAudit:
    """Counts from a sample of one source, or (`source` is null) of all sources except the largest.

    Of `rows` pairs, `far` rank in the lower half of the other pairs, and `over` have a rank that the stage drops. From
    a source that is `spared`, the stage drops nothing.
    """

    source: str | None
    rows: int
    far: int
    over: int
    spared: bool = False

    @property
    def share(self) -> float:
        """The estimated share of mismatched pairs."""
        return min(1.0, 2 * self.far / self.rows)

    @property
    def upper_bound(self) -> float:
        """The upper end of the 95 % interval of `share`."""
        return min(1.0, 2 * wilson(self.far, self.rows)[1])

    def falls_short(self, min_precision: float) -> bool:
        """Return whether less than this share of what the stage would drop can be mismatched pairs."""
        return self.upper_bound < min_precision * self.over / self.rows


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, given `hits` among `n` (Wilson 1927)."""
    share, scatter = hits / n, _Z * _Z / n
    middle, half = share + scatter / 2, _Z * sqrt(share * (1 - share) / n + scatter / (4 * n))
    return max(0.0, (middle - half) / (1 + scatter)), min(1.0, (middle + half) / (1 + scatter))


def find_far_pairs(
    anchors: npt.NDArray[np.float16],
    positives: npt.NDArray[np.float16],
    anchor_keys: npt.NDArray[np.uint64],
    positive_keys: npt.NDArray[np.uint64],
) -> npt.NDArray[np.bool_]:
    """Return for which of N pairs more than half of the other positives are more similar to the anchor than its own.

    Args:
        anchors: vectors, (N, D); products of half precision are exact in double precision.
        positives: vectors, (N, D).
        anchor_keys: keys of the contents of anchors, (N, 2); positives of the same anchor do not compete.
        positive_keys: keys of the contents of positives, (N, 2); each content counts once.
    """
    _, anchor_of = np.unique(anchor_keys, axis=0, return_inverse=True)
    _, first, content_of = np.unique(positive_keys, axis=0, return_index=True, return_inverse=True)
    is_own = np.zeros((int(anchor_of.max(initial=-1)) + 1, len(first)), np.bool_)
    is_own[anchor_of.reshape(-1), content_of.reshape(-1)] = True
    contents = positives[first].astype(np.float64)
    is_far = np.zeros(len(anchors), np.bool_)
    for start in range(0, len(anchors), 256):
        chunk = slice(start, start + 256)
        wide = anchors[chunk].astype(np.float64)
        own_product = np.einsum("nd,nd->n", wide, positives[chunk].astype(np.float64))
        is_competitor = ~is_own[anchor_of.reshape(-1)[chunk]]
        n_closer = ((wide @ contents.T > own_product[:, None]) & is_competitor).sum(1)
        is_far[chunk] = 2 * n_closer > is_competitor.sum(1)
    return is_far


def audit(pairs: Iterable[tuple[str | None, bool, bool]], min_precision: float | None) -> list[dict[str, Any]]:
    """Return the audits of all sources as JSON. A pair is (its source, whether it is far, whether it is over)."""
    counts: dict[str | None, tuple[int, int, int]] = {}
    for source, is_far, is_over in pairs:
        n_rows, n_far, n_over = counts.get(source, (0, 0, 0))
        counts[source] = (n_rows + 1, n_far + is_far, n_over + is_over)
    sources = sorted(counts, key=lambda name: (name is None, name))
    audits = [MismatchAudit(source, *counts[source]) for source in sources]
    return [
        asdict(source_audit) | {"spared": min_precision is not None and source_audit.falls_short(min_precision)}
        for source_audit in audits
    ]


@dataclass(frozen=True)
class Mismatch:
    """The numbers of the report for one source and stage: `rows` reached the stage, which dropped `dropped` of them.

    From a sample of `sampled` pairs: about the share `share` is mismatched, at most `at_most`, and the stage would drop
    the share `over`. From a source that is `spared`, it drops nothing. `source` is null for all sources except the
    largest.
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
        """Whether the share of mismatched pairs among the dropped rows is below PRECISION even at its upper bound."""
        return self.at_most * self.rows < PRECISION * self.dropped


def count_mismatches(con: duckdb.DuckDBPyConnection, stage: int, facts: Mapping[str, Any]) -> list[Mismatch]:
    """Return the audits in the facts of a stage, with the rows of each source; `con` has the view `ledger`."""
    audits = [MismatchAudit(**values) for values in facts.get("mismatch", ())]
    # Sources without an audit of their own are counted together, as null. Rows reached the stage if no earlier stage
    # dropped them.
    counted = con.execute(
        "SELECT CASE WHEN list_contains($2, source) THEN source END AS part, "
        "count(*), count(*) FILTER (stage_index = $1) FROM ledger WHERE kept OR stage_index >= $1 GROUP BY part",
        [stage, [audited.source for audited in audits if audited.source is not None]],
    ).fetchall()
    rows = {source: (read, dropped) for source, read, dropped in counted}
    return [
        Mismatch(
            stage,
            audited.source,
            *rows[audited.source],
            sampled=audited.rows,
            share=round(audited.share, 4),
            at_most=round(audited.upper_bound, 4),
            over=round(audited.over / audited.rows, 4),
            spared=audited.spared,
        )
        for audited in audits
    ]
