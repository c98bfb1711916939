"""Ranks of pairs by the signals of `embedder: hybrid`: vectors of the static model, words and character n-grams.

The pool is written in blocks, each an inverted index of the features of its texts, so that only a block at a time is in
memory. Every text of a block is compared with every anchor: there is no approximate search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jina_data.stages.base import RemainingRows
from jina_data.stages.consistency_pool import CHUNK, KEYS, ROLES, Spans, pool_rows, read_excluded, table_keys
from jina_data.stages.pair_ranks import PairRanks, SampleRanks, control_pairs
from jina_data.stages.vector_cache import fetch_texts, fetch_vectors

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder, HalfArray
    from jina_data.kernels.grams import Features, Postings
    from jina_data.kernels.keys import KeyArray
    from jina_data.kernels.signals import Block, Signals

IDF, ANCHORS = "idf.npy", "anchors.npz"
HUB_ANCHORS, NEAREST = 1000, 3
"""Anchors by which the hubness of positives is measured, and the number of the nearest, after the first."""
MAX_DF = 0.3
"""Words and n-grams that are in more than this share of the texts are left out: they tell little and cost most."""
LEARNING_ROWS = 400
"""Pairs of a source from which its weights are learned."""
_FETCHED = 4 * CHUNK
"""Texts of the pool that are fetched at a time; each fetch reads the rows of the run once."""


@dataclass(frozen=True)
class HybridRanks:
    """Ranks by several signals. `folder` holds the files of the fit."""

    embedder: Embedder
    folder: Path
    threads: Executor | None = None
    """Counts tiles of pairs side by side, with the same result."""

    # --------------------------------------------------------------------------------------------------------- fit

    def write_pool(self, remaining: RemainingRows, parts: Mapping[str, Sequence[int]]) -> None:
        """Write the frequencies of features, a sample of anchors, and the blocks of the pool."""
        from jina_data.kernels.grams import BUCKETS, N_KINDS

        frequency, n_texts = np.zeros((N_KINDS, BUCKETS), np.int64), 0
        for part in sorted(parts):
            first, last = parts[part]
            for start, stop in _steps(first, last, _FETCHED):
                row_ids = pool_rows(remaining, start, stop)["row_id"]
                anchors, positives = fetch_texts(remaining, row_ids, ROLES)
                for texts, is_pool in ((anchors, False), (positives, True)):
                    for at, end in _steps(0, len(texts), CHUNK):
                        features = _features(texts[at:end])
                        for kind, of_kind in enumerate(features):
                            frequency[kind] += np.bincount(of_kind.ids, minlength=BUCKETS)
                        if is_pool:
                            _save_features(self.folder / f"raw-{start + at:09d}.npz", features)
                n_texts += 2 * len(row_ids)
        idf = np.log((n_texts + 1) / (frequency + 0.5))
        # With few texts, a feature of two or three of them is no common one.
        idf[frequency > max(MAX_DF * n_texts, 3)] = 0
        np.save(self.folder / IDF, np.maximum(idf, 0).astype(np.float32))
        self._write_anchors(remaining)
        for part in sorted(parts):
            first, last = parts[part]
            for start, stop in _steps(first, last, CHUNK):
                raw = self.folder / f"raw-{start:09d}.npz"
                self._write_block(remaining, raw, start, stop)
                raw.unlink()

    def _write_anchors(self, remaining: RemainingRows) -> None:
        table = remaining.con.execute(
            f"SELECT row_id, {KEYS} FROM {remaining.name} QUALIFY row_number() OVER "
            f"(PARTITION BY anchor_high, anchor_low ORDER BY pair DESC, row_id) = 1 "
            # The pairs with the smallest hashes are those that are sampled first.
            f"ORDER BY pair DESC, row_id LIMIT {HUB_ANCHORS}"
        ).fetchnumpy()
        (texts,) = fetch_texts(remaining, table["row_id"], ["anchor"])
        vectors = fetch_vectors(remaining, self.embedder, table, "anchor", "")
        _save_block(self.folder / ANCHORS, self._signals(vectors, _features(texts)))

    def _write_block(self, remaining: RemainingRows, raw: Path, start: int, stop: int) -> None:
        from jina_data.kernels.signals import hubness

        vectors = fetch_vectors(remaining, self.embedder, pool_rows(remaining, start, stop), "positive", "")
        signals = self._signals(vectors, _load_features(raw))
        _save_block(self.folder / f"block-{start:09d}.npz", signals, hubness(signals, self._anchors, NEAREST))

    def learn_weights(
        self,
        remaining: RemainingRows,
        sample: Mapping[str, npt.NDArray[Any]],
        rows_of: Mapping[str | None, npt.NDArray[np.int64]],
    ) -> dict[str | None, list[float]]:
        """Return the weights of the signals for each source, from the first of its sampled rows, `rows_of`."""
        from jina_data.kernels.signals import Block as SignalBlock
        from jina_data.kernels.signals import all_signals, learn_weights

        weights: dict[str | None, list[float]] = {}
        for source, of_source in rows_of.items():
            # In the order of the seeded hash of the pair, which is random.
            rows = np.sort(of_source[np.argsort(sample["pair"][of_source], kind="stable")[:LEARNING_ROWS]])
            part = {name: values[rows] for name, values in sample.items()}
            anchors, positives, hubs = self._sampled(remaining, part)
            anchor_keys, keys = (table_keys(part, role)[:, 0] for role in ROLES)
            competes = (anchor_keys[:, None] != anchor_keys[None]) & (keys[:, None] != keys[None])
            learned = learn_weights(all_signals(anchors, SignalBlock.of(positives, hubs)), competes)
            weights[source] = [round(float(weight), 2) for weight in learned]
        return weights

    def sample_ranks(
        self,
        remaining: RemainingRows,
        sample: Mapping[str, npt.NDArray[Any]],
        spans: Spans,
        *,
        groups: npt.NDArray[np.int64],
        weights: npt.NDArray[np.float32],
        cap: int | None,
    ) -> SampleRanks:
        """Rank sampled pairs and their control pairs; `groups` (N,) are those in which control pairs are made."""
        from jina_data.kernels.signals import own_signals

        n_rows = len(sample["row_id"])
        ranks, control = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)
        for start, stop in _steps(0, n_rows, CHUNK):
            rows = slice(start, stop)
            part = {name: values[rows] for name, values in sample.items()}
            anchors, positives, hubs = self._sampled(remaining, part)
            keys = table_keys(part, "anchor")
            here = spans.take(np.arange(start, stop))
            own = own_signals(anchors, positives, hubs)
            ranks[rows] = self._count(anchors, own, weights[rows], keys, here, cap)[0][0]
            if cap is None:
                other = control_pairs(groups[rows], keys, table_keys(part, "positive"))
                chosen = np.flatnonzero(other >= 0)
                of_chosen, others = anchors.take(chosen), other[chosen]
                own = own_signals(of_chosen, positives.take(others), np.ascontiguousarray(hubs[:, others]))
                of_control = self._count(of_chosen, own, weights[rows][chosen], keys[chosen], here.take(chosen), None)
                control[start + chosen] = of_control[0][0]
        return SampleRanks(ranks, control)

    def _sampled(
        self, remaining: RemainingRows, table: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[Signals, Signals, npt.NDArray[np.float32]]:
        """Return anchors and positives of sampled pairs, and the hubness of the positives."""
        from jina_data.kernels.signals import hubness

        texts = fetch_texts(remaining, table["row_id"], ROLES)
        anchors, positives = (
            self._signals(fetch_vectors(remaining, self.embedder, table, role, ""), _features(of_role))
            for role, of_role in zip(ROLES, texts, strict=True)
        )
        return anchors, positives, hubness(positives, self._anchors, NEAREST)

    # ------------------------------------------------------------------------------------------------------- apply

    def ranks(
        self,
        texts: Sequence[Sequence[str]],
        vectors: Sequence[HalfArray],
        keys: KeyArray,
        spans: Spans,
        weights: npt.NDArray[np.float32],
        *,
        cap: int,
    ) -> PairRanks:
        """Rank N pairs: texts and vectors of anchors and of positives, the keys of anchors, and weights (N, 3)."""
        from jina_data.kernels.signals import SIGNALS, hubness, own_signals, weighted

        n_rows = len(keys)
        similarity, best = np.zeros(n_rows), np.full(n_rows, np.nan)
        ranks = np.zeros((1 + len(SIGNALS), n_rows), np.int32)
        for start, stop in _steps(0, n_rows, CHUNK):
            rows = slice(start, stop)
            anchors, positives = (
                self._signals(of_role[rows], _features(texts[k][rows])) for k, of_role in enumerate(vectors)
            )
            own = own_signals(anchors, positives, hubness(positives, self._anchors, NEAREST))
            here = spans.take(np.arange(start, stop))
            ranks[:, rows], best[rows] = self._count(anchors, own, weights[rows], keys[rows], here, cap)
            similarity[rows] = weighted(own, weights[rows])
        by_signal = {f"{name}_rank": ranks[1 + k] for k, name in enumerate(SIGNALS)}
        return PairRanks(similarity, similarity - best, ranks[0], by_signal)

    def _count(
        self,
        anchors: Signals,
        own: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        keys: KeyArray,
        spans: Spans,
        cap: int | None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """Return the ranks (4, N) of pairs in their parts of the pool, and the best competitor of each (N,)."""
        from jina_data.kernels.signals import SignalRanks

        excluded = read_excluded(self.folder, keys)
        ranks, best = np.zeros((4, len(keys)), np.int32), np.full(len(keys), np.nan)
        for indices, (start, stop) in spans:
            state = SignalRanks.start(
                np.ascontiguousarray(own[:, indices]),
                np.ascontiguousarray(weights[indices]),
                cap or stop - start,
                self.threads,
            )
            of_part, without = anchors.take(indices), excluded.take(indices)
            for first, end in _steps(start, stop, CHUNK):
                block = self._block(first, end)
                state.add(of_part, block, without.start, without.stop, without.ordinals, first)
            ranks[:, indices] = state.ranks()
            is_known = (ranks[0, indices] <= state.cap) & np.isfinite(state.best)
            best[indices] = np.where(is_known, state.best, np.nan)
        return ranks, best

    # ------------------------------------------------------------------------------------------------------- files

    @cached_property
    def _idf(self) -> npt.NDArray[np.float32]:
        idf: npt.NDArray[np.float32] = np.load(self.folder / IDF)
        return idf

    @cached_property
    def _anchors(self) -> Block:
        return _load_block(self.folder / ANCHORS)

    def _block(self, first: int, stop: int) -> Block:
        """Return a block of the pool, or its first texts."""
        block = _load_block(self.folder / f"block-{first:09d}.npz")
        return block if len(block) == stop - first else block.head(stop - first)

    def _signals(self, vectors: HalfArray, features: tuple[Features, Features]) -> Signals:
        from jina_data.kernels.grams import CHARS, WORDS, weigh
        from jina_data.kernels.signals import Signals as OfTexts
        from jina_data.kernels.signals import quantize

        words, chars = (weigh(features[kind], self._idf[kind]) for kind in (WORDS, CHARS))
        return OfTexts(*quantize(vectors), words, chars)


def _features(texts: Sequence[str]) -> tuple[Features, Features]:
    from jina_data.kernels.grams import count_features

    return count_features(pc.utf8_lower(pa.array(texts, pa.large_string())))


def _steps(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + step, stop)) for first in range(start, stop, step))


def _save_features(path: Path, features: tuple[Features, Features]) -> None:
    arrays: dict[str, Any] = {
        f"{name}{k}": getattr(part, name) for k, part in enumerate(features) for name in ("ids", "weights", "ends")
    }
    np.savez(path, **arrays)


def _load_features(path: Path) -> tuple[Features, Features]:
    from jina_data.kernels.grams import Features as OfTexts

    with np.load(path) as file:
        words, chars = (OfTexts(file[f"ids{k}"], file[f"weights{k}"], file[f"ends{k}"]) for k in (0, 1))
    return words, chars


def _save_block(path: Path, signals: Signals, hubness: npt.NDArray[np.float32] | None = None) -> None:
    from jina_data.kernels.signals import Block as OfSignals

    block = OfSignals.of(signals, hubness)
    arrays: dict[str, Any] = {"vectors": block.vectors, "scale": block.scale, "hubness": block.hubness}
    for kind in ("words", "chars"):
        postings = getattr(block, kind)
        # Few features of all are in a block.
        counts = np.diff(postings.starts)
        present = np.flatnonzero(counts).astype(np.int32)
        arrays |= {f"{kind}_ids": present, f"{kind}_counts": counts[present].astype(np.int32)}
        arrays |= {f"{kind}_rows": postings.rows.astype(np.uint16), f"{kind}_weights": postings.weights}
    np.savez(path, **arrays)


def _load_block(path: Path) -> Block:
    from jina_data.kernels.signals import Block as OfSignals

    with np.load(path) as file:
        words, chars = (_postings(file, kind) for kind in ("words", "chars"))
        return OfSignals(file["vectors"], file["scale"], words, chars, file["hubness"])


def _postings(file: Mapping[str, Any], kind: str) -> Postings:
    from jina_data.kernels.grams import BUCKETS
    from jina_data.kernels.grams import Postings as OfFeatures

    counts = np.zeros(BUCKETS, np.int32)
    counts[file[f"{kind}_ids"]] = file[f"{kind}_counts"]
    starts = np.concatenate([np.zeros(1, np.int32), np.cumsum(counts, dtype=np.int32)])
    rows = file[f"{kind}_rows"].astype(np.int32)
    return OfFeatures(starts, rows, file[f"{kind}_weights"], len(file["scale"]))
