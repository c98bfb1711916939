"""Ranks of pairs by the similarity of vectors, for `consistency`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.stages.base import Context, RemainingRows
from jina_data.stages.consistency_pool import CHUNK, ROLES, Spans, pool_rows, read_excluded, table_keys
from jina_data.stages.pair_ranks import PairRanks, SampleRanks, control_pairs
from jina_data.stages.vector_cache import fetch_vectors

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder, HalfArray
    from jina_data.kernels.keys import KeyArray

POOL = "pool.f16"


@dataclass(frozen=True)
class DenseRanks:
    """Ranks by an embedder; `prompts` are those of anchors and of positives."""

    embedder: Embedder
    prompts: Mapping[str, str]

    def write_pool(self, remaining: RemainingRows, n_pool: int) -> None:
        """Write the vectors of the pool, in the order of ordinals."""
        with (remaining.folder / POOL).open("wb") as sink:
            for start in range(0, n_pool, CHUNK):
                rows = pool_rows(remaining, start, start + CHUNK)
                sink.write(self._fetch(remaining, rows, "positive").tobytes())

    def sample_ranks(
        self,
        remaining: RemainingRows,
        sample: Mapping[str, npt.NDArray[Any]],
        spans: Spans,
        *,
        groups: npt.NDArray[np.int64],
        cap: int | None,
    ) -> SampleRanks:
        """Rank sampled pairs and their control pairs; `groups` (N,) are those in which control pairs are made."""
        anchors, positives = (self._fetch(remaining, sample, role) for role in ROLES)
        keys = table_keys(sample, "anchor")
        control = control_pairs(groups, keys, table_keys(sample, "positive"))
        ranks = self.ranks(anchors, positives, keys, remaining.folder, spans, remaining.context, cap=cap).rank
        chosen = np.flatnonzero(control >= 0)
        of_control = np.zeros(len(ranks), np.int32)
        if cap is None:
            part = spans.take(chosen)
            own = np.ascontiguousarray(anchors[chosen]), np.ascontiguousarray(positives[control[chosen]])
            of_control[chosen] = self.ranks(
                *(*own, keys[chosen], remaining.folder, part, remaining.context), cap=None
            ).rank
        return SampleRanks(ranks, of_control)

    def ranks(
        self,
        anchors: HalfArray,
        positives: HalfArray,
        keys: KeyArray,
        folder: Path,
        spans: Spans,
        context: Context,
        *,
        cap: int | None,
    ) -> PairRanks:
        """Rank N pairs, by their vectors and the keys of their anchors; ranks above `cap` are not counted."""
        from jina_data.kernels.rank import count_ranks, dots

        similarity = dots(anchors, positives)
        rank, best = np.zeros(len(anchors), np.int32), np.full(len(anchors), np.nan)
        excluded = read_excluded(folder, keys)
        pool = partial(_read_pool, folder / POOL, anchors.shape[1])
        for indices, span in spans:
            ranks = count_ranks(
                *(np.ascontiguousarray(anchors[indices]), similarity[indices], pool, excluded.take(indices)),
                span=span,
                cap=cap or span[1] - span[0],
                torch_device="cuda" if context.device == "cuda" else None,
            )
            rank[indices], best[indices] = ranks.rank, ranks.best
        return PairRanks(similarity, similarity - best, rank, {})

    def _fetch(self, remaining: RemainingRows, table: Mapping[str, npt.NDArray[Any]], role: str) -> HalfArray:
        return fetch_vectors(remaining, self.embedder, table, role, self.prompts[role])


def _read_pool(path: Path, dim: int, start: int, stop: int) -> HalfArray:
    # Not memory-mapped, since pages of a mapping would count as memory of this process. A value has two bytes.
    count = (stop - start) * dim
    vectors: HalfArray = np.fromfile(path, np.float16, count=count, offset=2 * start * dim).reshape(-1, dim)
    return vectors
