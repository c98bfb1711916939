"""Drop pairs whose positive is not among those that an embedder finds closest to the anchor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator
from typing_extensions import override

from jina_data.embed import load
from jina_data.embed.base import STATIC
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.stages.base import Barrier, Context, FitResult, Outcome, RemainingRows, Threshold
from jina_data.stages.mismatch import AUDITED_SOURCES, audit, far_ones
from jina_data.stages.rows import Rows, View
from jina_data.stages.score_cache import Computed, Reader, ScoreCache

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder, HalfArray
    from jina_data.kernels.rank import Exclusions

ROLES = ("anchor", "positive")
POOL, ANCHOR_HIGH, ANCHOR_LOW, ORDINAL = "pool.f16", "anchor_high.npy", "anchor_low.npy", "ordinal.npy"
CHUNK = 2**12
"""Rows of the pool, or pairs that do not compete, that are held at a time: their vectors lie all over the cache, and
every page that is touched there counts as memory of this process."""


class Consistency(Barrier):
    """Keep a pair if few positives of a pool are closer to its anchor than its own: as Jina Embeddings v1 does
    (arXiv 2307.11224, section 2.1).

    The pool is a seeded sample of `pool_size` contents of the positives that get here (of all of them, or of each
    source for itself). The rank of a pair is 1 + the number of texts in the pool whose product with the anchor is
    larger than that of its own positive; texts equal to a positive of the same anchor are no competitors. Pairs with
    a rank up to `top_k` stay.

    Of each source, `audit_rows` pairs are ranked among each other: how many are far away there estimates how many do
    not belong together. With `min_precision`, a source stays whole if, at the estimate's upper end, less than that
    share of what the stage would drop can be such pairs: then the model cannot tell its good pairs from others.
    """

    name: ClassVar[str] = "consistency"
    reasons: ClassVar[tuple[str, ...]] = ("inconsistent",)
    uses_device: ClassVar[bool] = True

    embedder: str = STATIC
    top_k: int = Field(default=2, ge=1)
    pool_size: int = Field(default=1_000_000, ge=1)
    pool_by: Literal["all", "source"] = "all"
    rank_cap: int = Field(default=100, ge=1, le=2**31 - 2)
    audit_rows: int = Field(default=1000, ge=0)
    min_precision: float | None = Field(default=None, ge=0, le=1)
    anchor_prompt: str = ""
    positive_prompt: str = ""

    @model_validator(mode="after")
    def _cap(self) -> Self:
        if self.rank_cap < self.top_k:
            raise ValueError(f"rank_cap ({self.rank_cap}) must be at least top_k ({self.top_k}): ranks end there")
        if self.min_precision is not None and not self.audit_rows:
            raise ValueError("min_precision needs audit_rows: the precision is estimated from them")
        return self

    @override
    def after(self, view: View) -> View:
        for role in view.chosen(ROLES, self.name):
            view.one_text(role, self.name)
        return view

    @override
    def thresholds(self, view: View) -> dict[str, tuple[Threshold, ...]]:
        return {"rank": (Threshold(float(self.top_k), "below", self.reasons[0]),)}

    @override
    def prepare(self) -> None:
        import jina_data.kernels.rank  # noqa: F401 - importing compiles the kernels

        load.load_embedder(self.embedder)

    @override
    def process_bytes(self) -> int:
        return load.process_bytes(self.embedder)

    @override
    def model_hashes(self) -> dict[str, str]:
        return load.model_hashes(self.embedder)

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        found: dict[str, KeyArray] = {}
        for role in ROLES:
            found[role] = _content([_texts(rows, role)])
            prompted = pa.array(self._prompted(rows, role), pa.large_string())
            found[f"{role}_text"] = content_keys([prompted], case=False, whitespace=False)
        # This fills the cache: `look` and `apply` find the vectors there.
        exact = np.concatenate([found[f"{role}_text"] for role in ROLES])
        self._vectors(rows, exact, context, context.cache)
        halves = (("high", 0), ("low", 1))
        out = {f"{name}_{half}": pa.array(keys[:, at]) for name, keys in found.items() for half, at in halves}
        texts = [_texts(rows, role) for role in ROLES]
        out |= {"hash": pa.array(_content(texts[1:], context.seed)[:, 0])}
        return out | {"pair": pa.array(_content(texts, context.seed)[:, 0])}

    @override
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        remaining.folder.mkdir(parents=True, exist_ok=True)
        embedder = load.load_embedder(self.embedder, remaining.context.device)
        parts = self._choose_pool(remaining)
        n_pool = max((behind for _, behind in parts.values()), default=0)
        with (remaining.folder / POOL).open("wb") as sink:
            for first in range(0, n_pool, CHUNK):
                sink.write(self._pool_vectors(remaining, embedder, first).tobytes())
        n_excluded = _write_excluded(remaining)
        remaining.con.execute("DROP TABLE pool")
        facts = {"pool": n_pool, "parts": parts, "excluded": n_excluded}
        facts["mismatch"] = self._audit(remaining, embedder, parts) if self.audit_rows and n_pool else []
        return facts | {"model": embedder.model_id, "dim": embedder.dim}

    @override
    def apply(self, rows: Rows, seen: FitResult, context: Context) -> Outcome:
        from jina_data.kernels.rank import count_ranks, dots

        assert rows.keys is not None
        exact = [_keys(rows.keys, f"{role}_text") for role in ROLES]
        # What is read here is in the cache already: another file of it would be too much.
        known = ScoreCache(indexes=context.cache.indexes)
        anchors, positives = np.split(self._vectors(rows, np.concatenate(exact), context, known), 2)
        own = dots(anchors, positives)
        rank, best = np.zeros(len(rows), np.int32), np.full(len(rows), np.nan)
        excluded = _read_excluded(seen.folder, _keys(rows.keys, "anchor"))
        pool = partial(_read_pool, seen.folder / POOL, anchors.shape[1])
        for mine, span in self._spans(rows.sources.to_pylist(), seen.facts["parts"]):
            ranks = count_ranks(
                *(np.ascontiguousarray(anchors[mine]), own[mine], pool, excluded.take(mine)),
                span=span,
                cap=self.rank_cap,
                torch_device=_torch_device(context),
            )
            rank[mine], best[mine] = ranks.rank, ranks.best
        outcome = Outcome.keep_all(len(rows))
        outcome.drop((rank > self.top_k) & ~_spared(rows, seen), 0, rank.astype(np.float64))
        outcome.scores["similarity"] = pa.array(own)
        outcome.scores["margin"] = pa.array(own - best, from_pandas=True)
        outcome.scores["rank"] = pa.array(rank)
        return outcome

    def _spans(
        self, sources: Sequence[str], parts: Mapping[str, Sequence[int]]
    ) -> list[tuple[npt.NDArray[np.int64], tuple[int, int]]]:
        """Return which of N rows meet which part of the pool."""
        named = np.asarray(sources if self.pool_by == "source" else ["*"] * len(sources), object)
        return [(np.flatnonzero(named == one), (parts[one][0], parts[one][1])) for one in sorted(set(named))]

    def _audit(
        self, remaining: RemainingRows, embedder: Embedder, parts: Mapping[str, Sequence[int]]
    ) -> list[dict[str, Any]]:
        """Note of a seeded sample of each source how many pairs look unrelated, and how many the stage would drop."""
        sample = self._audited(remaining)
        named = [source if large else None for source, large in zip(sample["source"], sample["large"], strict=True)]
        everyone = np.arange(len(named))
        anchors, positives = (self._fetched(remaining, embedder, sample, everyone, role) for role in ROLES)
        keys = [_columns(sample, role) for role in ROLES]
        is_far = np.zeros(len(named), np.bool_)
        for source in set(named):
            mine = np.flatnonzero([one == source for one in named])
            is_far[mine] = far_ones(anchors[mine], positives[mine], *(one[mine] for one in keys))
        is_over = self._over(remaining, sample, anchors, positives, parts)
        return audit(zip(named, is_far.tolist(), is_over.tolist(), strict=True), self.min_precision)

    def _over(
        self,
        remaining: RemainingRows,
        sample: Mapping[str, npt.NDArray[Any]],
        anchors: HalfArray,
        positives: HalfArray,
        parts: Mapping[str, Sequence[int]],
    ) -> npt.NDArray[np.bool_]:
        """Tell which of N sampled pairs rank worse than the stage keeps."""
        from jina_data.kernels.rank import count_ranks, dots

        pool = partial(_read_pool, remaining.folder / POOL, anchors.shape[1])
        keys, is_over = _columns(sample, "anchor"), np.zeros(len(anchors), np.bool_)
        for mine, span in self._spans(sample["source"].tolist(), parts):
            excluded = _read_excluded(remaining.folder, keys[mine])
            own = dots(anchors[mine], positives[mine])
            device = _torch_device(remaining.context)
            ranks = count_ranks(anchors[mine], own, pool, excluded, span=span, cap=self.top_k, torch_device=device)
            is_over[mine] = ranks.rank > self.top_k
        return is_over

    def _audited(self, remaining: RemainingRows) -> dict[str, npt.NDArray[Any]]:
        """Return keys of up to `audit_rows` pairs of each large source, and of all others together: those with the
        smallest seeded hashes."""
        query = f"""
            WITH large AS (
                SELECT source FROM {remaining.name} GROUP BY source
                ORDER BY count(*) DESC, source LIMIT {AUDITED_SOURCES}
            ), named AS (
                SELECT *, source IN (SELECT source FROM large) AS large FROM {remaining.name}
            ), chosen AS (
                SELECT * FROM named QUALIFY row_number() OVER (
                    PARTITION BY CASE WHEN large THEN source END ORDER BY pair, row_id
                ) <= ?
            )
            SELECT row_id, source, large, {_KEYS} FROM chosen ORDER BY row_id
        """
        found: dict[str, npt.NDArray[Any]] = remaining.con.execute(query, [self.audit_rows]).fetchnumpy()
        return found

    def _prompted(self, rows: Rows, role: str) -> list[str]:
        prompt = self.anchor_prompt if role == "anchor" else self.positive_prompt
        return [prompt + text for text in _texts(rows, role)]

    def _vectors(self, rows: Rows, keys: KeyArray, context: Context, cache: ScoreCache) -> HalfArray:
        """Return the vectors of N anchors, then of N positives, (2 N, D), by the keys of their texts."""
        embedder = load.load_embedder(self.embedder, context.device)

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            texts = [text for role in ROLES for text in self._prompted(rows, role)]
            return _embedded(embedder, [texts[at] for at in positions.tolist()])

        return _cached(cache, embedder, keys, compute)

    def _choose_pool(self, remaining: RemainingRows) -> dict[str, list[int]]:
        """Make the table `pool`, and return where the part of each source begins and ends ("*": of all)."""
        part = "source" if self.pool_by == "source" else "'*'"
        remaining.con.execute(
            f"""
            CREATE TEMP TABLE pool AS
            WITH contents AS (
                SELECT {part} AS part, positive_high, positive_low, min(hash) AS hash, min(row_id) AS row_id,
                       arg_min(positive_text_high, row_id) AS text_high, arg_min(positive_text_low, row_id) AS text_low
                FROM {remaining.name} GROUP BY part, positive_high, positive_low
            ), chosen AS (
                SELECT * FROM contents QUALIFY row_number() OVER (PARTITION BY part ORDER BY hash, row_id) <= ?
            )
            SELECT row_number() OVER (ORDER BY part, hash, row_id) - 1 AS ordinal, * FROM chosen ORDER BY ordinal
            """,
            [self.pool_size],
        )
        query = "SELECT part, min(ordinal), max(ordinal) + 1 FROM pool GROUP BY part ORDER BY part"
        return {part: [first, behind] for part, first, behind in remaining.con.execute(query).fetchall()}

    def _pool_vectors(self, remaining: RemainingRows, embedder: Embedder, first: int) -> HalfArray:
        """Return the vectors of the pool from an ordinal on, CHUNK at most."""
        found = remaining.con.execute(
            "SELECT text_high AS positive_text_high, text_low AS positive_text_low, row_id FROM pool "
            "WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal",
            [first, first + CHUNK],
        ).fetchnumpy()
        return self._fetched(remaining, embedder, found, np.arange(len(found["row_id"])), "positive")

    def _fetched(
        self,
        remaining: RemainingRows,
        embedder: Embedder,
        found: Mapping[str, npt.NDArray[Any]],
        some: npt.NDArray[np.int64],
        role: str,
    ) -> HalfArray:
        """Return the vectors of one role of some rows, whose ids and keys of texts were found: mostly in the cache."""

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            assert remaining.fetch is not None
            row_ids = found["row_id"][some][positions]
            texts: list[str] = []
            for rows in remaining.fetch(np.sort(row_ids)):
                texts += self._prompted(rows, role)
            back = np.argsort(np.argsort(row_ids))
            return _embedded(embedder, [texts[at] for at in back.tolist()])

        # A cache of its own, for each chunk, does not hold on to what it read.
        cache = ScoreCache(indexes=remaining.context.cache.indexes)
        return _cached(cache, embedder, _columns(found, f"{role}_text")[some], compute)


_KEYS = ", ".join(f"{role}{what}_{half}" for role in ROLES for what in ("", "_text") for half in ("high", "low"))


def _torch_device(context: Context) -> str | None:
    return "cuda" if context.device == "cuda" else None


def _spared(rows: Rows, seen: FitResult) -> npt.NDArray[np.bool_]:
    """Tell which rows are of a source from which nothing is dropped."""
    spared = {one["source"]: one["spared"] for one in seen.facts["mismatch"]}
    others = spared.get(None, False)
    return np.array([spared.get(source, others) for source in rows.sources.to_pylist()], np.bool_)


def _texts(rows: Rows, role: str) -> list[str]:
    """Return the text of each row; null counts as the empty one."""
    return [text or "" for text in rows.batch.column(rows.view.roles[role][0]).to_pylist()]


def _content(columns: Sequence[list[str]], seed: int | None = None) -> KeyArray:
    """Return what tells texts apart, but for case and white space, (N, 2)."""
    return content_keys(
        [pa.array(texts, pa.large_string()) for texts in columns], case=True, whitespace=True, seed=seed
    )


def _columns(found: Mapping[str, npt.NDArray[Any]], name: str) -> KeyArray:
    """Return the 128-bit keys of a table of numbers, (N, 2)."""
    return np.column_stack([found[f"{name}_{half}"] for half in ("high", "low")])


def _keys(batch: pa.RecordBatch, name: str) -> KeyArray:
    return np.column_stack([batch.column(f"{name}_{half}").to_numpy() for half in ("high", "low")])


def _cached(
    cache: ScoreCache,
    embedder: Embedder,
    keys: KeyArray,
    compute: Callable[[npt.NDArray[np.int64]], Computed],
) -> HalfArray:
    model = Reader(embedder.model_id, embedder.name, "texts", embedder.max_tokens)
    return cache.scores(model, keys, 2 * embedder.dim, compute).view(np.float16)


def _embedded(embedder: Embedder, texts: list[str]) -> Computed:
    cut = np.zeros(len(texts), np.bool_)
    return embedder.encode(texts, cut=cut).view(np.uint8), cut


def _read_pool(path: Path, dim: int, first: int, behind: int) -> HalfArray:
    # Not memory-mapped: what was read would stay in the memory of this process.
    count = (behind - first) * dim
    vectors: HalfArray = np.fromfile(path, np.float16, count=count, offset=2 * first * dim).reshape(-1, dim)
    return vectors


def _write_excluded(remaining: RemainingRows) -> int:
    """Write which texts of the pool are positives of which anchor, sorted by anchor; return how many there are."""
    con = remaining.con
    con.execute(f"""
        CREATE TEMP TABLE excluded AS
        SELECT DISTINCT anchor_high, anchor_low, ordinal
        FROM {remaining.name} JOIN pool USING (positive_high, positive_low)
    """)
    total = int(con.execute("SELECT count(*) FROM excluded").fetchall()[0][0])
    columns = {ANCHOR_HIGH: np.uint64, ANCHOR_LOW: np.uint64, ORDINAL: np.int64}
    sinks = [
        np.lib.format.open_memmap(remaining.folder / name, mode="w+", dtype=kind, shape=(total,))
        for name, kind in columns.items()
    ]
    at = 0
    for batch in con.sql("SELECT * FROM excluded ORDER BY ALL").to_arrow_reader(CHUNK):
        for sink, column in zip(sinks, batch.columns, strict=True):
            sink[at : at + len(batch)] = column.to_numpy()
        at += len(batch)
    for sink in sinks:
        sink.flush()
    con.execute("DROP TABLE excluded")
    return total


def _read_excluded(folder: Path, anchors: KeyArray) -> Exclusions:
    """Return which texts of the pool are no competitors for each of N anchors."""
    from jina_data.kernels.rank import Exclusions, find_runs

    high, low, ordinals = (np.load(folder / name, mmap_mode="r") for name in (ANCHOR_HIGH, ANCHOR_LOW, ORDINAL))
    start, stop = np.empty(len(anchors), np.int64), np.empty(len(anchors), np.int64)
    wanted_high, wanted_low = np.ascontiguousarray(anchors.T)
    find_runs(np.asarray(high), np.asarray(low), wanted_high, wanted_low, start, stop)
    return Exclusions(start, stop, np.asarray(ordinals))
