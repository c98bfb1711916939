"""Decides from which sources, and at which rank, `consistency` may drop pairs.

In a mismatched pair, the positive is no more similar to the anchor than that of any other pair of the source. So
mismatched pairs have the ranks of control pairs, which are an anchor and the positive of another pair of the same
source and language. Good pairs have low ranks, with a tail that thins out towards high ranks. Let the level of a rank
be the share of control pairs below it. From a sample of a source:

- `share`: the share of pairs at levels above 0.3, divided by 0.7, estimates the share of mismatched pairs (Storey 2002,
  J. R. Statist. Soc. B 64, 479). The tail of good pairs adds to it. Where this tail is still thinning out, pairs are
  denser at levels from 0.1 to 0.3 than above; a quarter of the difference is subtracted (decision 0022).
- `precision` of a level: the mismatched pairs above it (the share, times 1 - level), divided by all pairs above it.

The burden of proof lies with dropping. A language of a source is judged only if, with 95 % confidence, more than half
of its pairs are at levels below 0.1: otherwise the scorer cannot tell good pairs from others, or most pairs are wrong,
and ranks cannot tell which. The source gets the lowest level whose precision is at least the required one with 95 %
confidence (bootstrap); without such a level, nothing is dropped. The limit of a language is the rank of its control
pairs at this level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_ROWS = 100
"""Sources with fewer sampled pairs are not judged by themselves."""
MIN_LANGUAGE_ROWS = 20
NEAR = 0.1
"""Pairs below this level are near."""
MAX_SHARE = 0.5
"""A larger share of mismatched pairs is not believed."""

_Z = 1.959964
"""A normal variable is within this number of standard deviations of its mean with a probability of 95 %."""
_DRAWS = 400
_FAR, _TAIL = 0.3, 0.1
"""Pairs are far above the first of these levels, and in the tail between them."""
_THINNING = 0.25

RankArray = npt.NDArray[np.int64]

UNKNOWN, IMPRECISE, FEW = "cannot separate", "not precise enough", "too few pairs"


@dataclass(frozen=True)
class Sampled:
    """Ranks of a sample of pairs of one source, and of its control pairs, in the same part of the pool.

    `ranks` (N,) and `languages` (N,) are those of the pairs, `control` (M,) and `control_languages` (M,) those of the
    control pairs. `whole` (N,) are ranks in the whole pool, up to its cap; -1: not known. The pool has `pool` texts, of
    which `part` were ranked to the end.
    """

    ranks: RankArray
    languages: Sequence[str]
    control: RankArray
    control_languages: Sequence[str]
    whole: RankArray
    pool: int
    part: int


@dataclass(frozen=True)
class Judgement:
    """The decision about the pairs of a source in one language; `language` is null for all other languages.

    `source` is null for all sources but the largest. `limit` is the highest rank that is kept; null: nothing is
    dropped, for the reason `why`. Of the pairs of the source, about the share `share` is mismatched. Of those that the
    limit drops, at least the share `precision` is mismatched, with 95 % confidence.
    """

    source: str | None
    language: str | None
    sampled: int
    share: float
    precision: float
    limit: int | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the judgement as JSON."""
        return asdict(self)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, given `hits` among `n` (Wilson 1927)."""
    share, scatter = hits / n, _Z * _Z / n
    middle, half = share + scatter / 2, _Z * sqrt(share * (1 - share) / n + scatter / (4 * n))
    return max(0.0, (middle - half) / (1 + scatter)), min(1.0, (middle + half) / (1 + scatter))


def levels(top_k: int, rank_cap: int, pool_size: int) -> list[float]:
    """Return the levels that are tried: `top_k` of `pool_size`, doubled up to `rank_cap`."""
    found = [top_k]
    while 2 * found[-1] <= rank_cap:
        found.append(2 * found[-1])
    return [rank / pool_size for rank in found]


def judge(
    source: str | None, sampled: Sampled, candidates: Sequence[float], min_precision: float, *, seed: int
) -> list[Judgement]:
    """Judge a source: return a judgement for each of its languages, and one for all others."""
    few = Judgement(source, None, len(sampled.ranks), 0.0, 0.0, None, FEW)
    if len(sampled.ranks) < MIN_ROWS or len(sampled.control) < MIN_ROWS // 2:
        return [few]
    languages, of_control = np.asarray(sampled.languages, object), np.asarray(sampled.control_languages, object)
    known, judged = [], []
    for language in sorted(set(sampled.languages)):
        rows = np.flatnonzero(languages == language)
        if len(rows) < MIN_LANGUAGE_ROWS:
            continue
        control = sampled.control[of_control == language]
        part = _Language(language, rows, np.sort(control if len(control) >= MIN_LANGUAGE_ROWS else sampled.control))
        n_near = int((part.levels(sampled.ranks[rows]) < NEAR).sum())
        if wilson(n_near, len(rows))[0] > MAX_SHARE:
            known.append(part)
        else:
            judged.append(Judgement(source, language, len(rows), 0.0, 0.0, None, UNKNOWN))
    if sum(len(part.rows) for part in known) < MIN_ROWS:
        return [*judged, *(Judgement(source, part.name, len(part.rows), 0.0, 0.0, None, FEW) for part in known), few]
    share, level, precision = _choose_level(sampled, known, candidates, min_precision, seed=seed)
    why = IMPRECISE if level is None else ""
    for part in known:
        limit = None if level is None else part.limit(level, sampled)
        judged.append(Judgement(source, part.name, len(part.rows), share, precision, limit, why))
    return [*judged, few]


@dataclass(frozen=True)
class _Language:
    """The sampled rows of a language that is judged, and the ranks of its control pairs, ascending."""

    name: str
    rows: npt.NDArray[np.int64]
    control: RankArray

    def levels(self, ranks: RankArray) -> npt.NDArray[np.float64]:
        """Return the level of each rank: the share of control pairs below it, where equal ranks count half."""
        below = np.searchsorted(self.control, ranks, "left") + np.searchsorted(self.control, ranks, "right")
        return below / (2 * len(self.control))

    def limit(self, level: float, sampled: Sampled) -> int:
        """Return the rank in the whole pool at a level, at least 1."""
        if level * sampled.part < 1:
            return max(1, round(level * sampled.pool))
        rank = int(np.quantile(self.control, level, method="lower"))
        return max(1, rank * sampled.pool // sampled.part)


def _choose_level(
    sampled: Sampled, known: Sequence[_Language], candidates: Sequence[float], min_precision: float, *, seed: int
) -> tuple[float, float | None, float]:
    """Return the share of mismatched pairs, and the lowest level that is precise enough, with its precision."""
    at = np.concatenate([part.levels(sampled.ranks[part.rows]) for part in known])
    whole = np.concatenate([sampled.whole[part.rows] for part in known])
    limit = np.concatenate(
        [np.tile([part.limit(level, sampled) for level in candidates], (len(part.rows), 1)) for part in known]
    )
    is_over = (whole[:, None] > limit)[whole >= 0]
    share = mismatched_share(at)
    generator, precisions = np.random.default_rng(seed), np.empty((_DRAWS, len(candidates)))
    for draw in range(_DRAWS):
        rows = generator.integers(len(at), size=len(at))
        # The same rows, where the ranks are those in the whole pool.
        drawn = rows if len(is_over) == len(at) else generator.integers(len(is_over), size=len(is_over))
        over = np.maximum(is_over[drawn].mean(0), 1e-9)
        precisions[draw] = np.minimum(1.0, mismatched_share(at[rows]) * (1 - np.asarray(candidates)) / over)
    low = np.quantile(np.where(is_over.any(0), precisions, 0.0), 0.05, axis=0)
    if share > MAX_SHARE or low.max() < min_precision:
        return round(share, 4), None, round(float(low.max()), 4)
    k = int(np.flatnonzero(low >= min_precision)[0])
    return round(share, 4), candidates[k], round(float(low[k]), 4)


def mismatched_share(at: npt.NDArray[np.float64]) -> float:
    """Estimate the share of mismatched pairs, from 0 to 1, from the levels of N pairs."""
    far = (at > _FAR).mean() / (1 - _FAR)
    tail = ((at > _TAIL) & (at <= _FAR)).mean() / (_FAR - _TAIL)
    return float(min(1.0, max(0.0, far - _THINNING * max(0.0, tail - far))))
