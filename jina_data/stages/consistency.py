"""The stage `consistency`: drop pairs whose positive is not among the texts that an embedder ranks highest."""

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
from jina_data.embed.prompts import NONE, given_prompt, model_prompts, role_prompts_line, with_prompt
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.run.resources import allocate
from jina_data.stages.base import Barrier, Context, FitResult, Outcome, RemainingRows, Threshold
from jina_data.stages.mismatch import AUDITED_SOURCES, audit, find_far_pairs
from jina_data.stages.rows import Rows, View
from jina_data.stages.score_cache import Computed, ScoreCache, ScoreReader

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder, HalfArray
    from jina_data.kernels.rank import Exclusions

ROLES = ("anchor", "positive")
POOL, ANCHOR_HIGH, ANCHOR_LOW, ORDINAL = "pool.f16", "anchor_high.npy", "anchor_low.npy", "ordinal.npy"
_END_OF_PROMPT = "\x1f"
"""Ends the prompt in the key of a text; a model may treat the tokens of its prompt in another way."""
CHUNK = 2**12
"""Number of pool rows, or of excluded pairs, that are processed at a time. Their vectors are scattered over the cache,
and every page that is read there counts as memory of this process."""


class Consistency(Barrier):
    """Keep a pair if few texts of a pool are more similar to the anchor than its positive, as in Jina Embeddings v1
    (arXiv 2307.11224, section 2.1).

    The pool is a seeded sample of `pool_size` contents of the remaining positives (over all sources, or for each
    source). The rank of a pair is 1 + the number of texts in the pool whose dot product with the anchor is larger than
    that of its positive. Texts equal to a positive of the same anchor do not compete. Pairs with a rank up to `top_k`
    are kept.

    From each source, `audit_rows` pairs are ranked among each other, which estimates the share of mismatched pairs.
    With `min_precision`, the stage drops nothing from a source if, at the upper end of the estimate, less than that
    share of what it would drop can be mismatched pairs: then the model cannot separate good pairs from others.
    """

    name: ClassVar[str] = "consistency"
    version: ClassVar[int] = 2
    reasons: ClassVar[tuple[str, ...]] = ("inconsistent",)
    uses_device: ClassVar[bool] = True

    embedder: str = STATIC
    top_k: int = Field(default=2, ge=1)
    pool_size: int = Field(default=1_000_000, ge=1)
    pool_by: Literal["all", "source"] = "all"
    rank_cap: int = Field(default=100, ge=1, le=2**31 - 2)
    audit_rows: int = Field(default=1000, ge=0)
    min_precision: float | None = Field(default=None, ge=0, le=1)
    anchor_prompt: str | None = None
    """Prompt before each anchor; None: that of the model's folder for queries; "" or "none": no prompt."""
    positive_prompt: str | None = None
    """Prompt before each positive; None: that of the model's folder for documents; "" or "none": no prompt."""

    @model_validator(mode="after")
    def _cap(self) -> Self:
        if self.rank_cap < self.top_k:
            raise ValueError(
                f"rank_cap ({self.rank_cap}) must be at least top_k ({self.top_k}), since higher ranks are not counted"
            )
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
    def announcement(self) -> str:
        options = f"{self.name}.anchor_prompt and {self.name}.positive_prompt, or {NONE}"
        line = role_prompts_line(
            model_prompts(self.embedder), self.anchor_prompt, self.positive_prompt, options=options
        )
        return line and f"{self.name}: {line}"

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        keys: dict[str, KeyArray] = {}
        for role in ROLES:
            keys[role] = _content([_texts(rows, role)])
            prompt = self._prompt(role)
            prompted = [f"{prompt}{_END_OF_PROMPT}{text}" if prompt else text for text in _texts(rows, role)]
            keys[f"{role}_text"] = content_keys([pa.array(prompted, pa.large_string())], case=False, whitespace=False)
        # Fills the cache, from which `fit` and `apply` read the vectors.
        exact = np.concatenate([keys[f"{role}_text"] for role in ROLES])
        self._vectors(rows, exact, context, context.cache)
        halves = (("high", 0), ("low", 1))
        out = {f"{name}_{half}": pa.array(key[:, i]) for name, key in keys.items() for half, i in halves}
        texts = [_texts(rows, role) for role in ROLES]
        out |= {"hash": pa.array(_content(texts[1:], context.seed)[:, 0])}
        return out | {"pair": pa.array(_content(texts, context.seed)[:, 0])}

    @override
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        remaining.folder.mkdir(parents=True, exist_ok=True)
        embedder = load.load_embedder(self.embedder, remaining.context.device)
        parts = self._choose_pool(remaining)
        n_pool = max((stop for _, stop in parts.values()), default=0)
        with (remaining.folder / POOL).open("wb") as sink:
            for start in range(0, n_pool, CHUNK):
                sink.write(self._pool_vectors(remaining, embedder, start).tobytes())
        n_excluded = _write_excluded(remaining)
        remaining.con.execute("DROP TABLE pool")
        facts = {"pool": n_pool, "parts": parts, "excluded": n_excluded}
        facts["mismatch"] = self._audit(remaining, embedder, parts) if self.audit_rows and n_pool else []
        prompts = {f"{role}_prompt": prompt for role in ROLES if (prompt := self._prompt(role))}
        return facts | {"model": with_prompt(embedder, "").model_id, "dim": embedder.dim, **prompts}

    @override
    def apply(self, rows: Rows, fit_result: FitResult, context: Context) -> Outcome:
        from jina_data.kernels.rank import count_ranks, dots

        assert rows.keys is not None
        exact = [_keys(rows.keys, f"{role}_text") for role in ROLES]
        # A cache without a folder: the vectors are stored already, and are not written a second time.
        cache = ScoreCache(indexes=context.cache.indexes)
        anchors, positives = np.split(self._vectors(rows, np.concatenate(exact), context, cache), 2)
        similarity = dots(anchors, positives)
        rank, best = np.zeros(len(rows), np.int32), np.full(len(rows), np.nan)
        excluded = _read_excluded(fit_result.folder, _keys(rows.keys, "anchor"))
        pool = partial(_read_pool, fit_result.folder / POOL, anchors.shape[1])
        for indices, span in self._spans(rows.sources.to_pylist(), fit_result.facts["parts"]):
            ranks = count_ranks(
                *(np.ascontiguousarray(anchors[indices]), similarity[indices], pool, excluded.take(indices)),
                span=span,
                cap=self.rank_cap,
                torch_device=_torch_device(context),
            )
            rank[indices], best[indices] = ranks.rank, ranks.best
        outcome = Outcome.keep_all(len(rows))
        outcome.drop((rank > self.top_k) & ~_spared(rows, fit_result), 0, rank.astype(np.float64))
        outcome.scores["similarity"] = pa.array(similarity)
        outcome.scores["margin"] = pa.array(similarity - best, from_pandas=True)
        outcome.scores["rank"] = pa.array(rank)
        return outcome

    def _spans(
        self, sources: Sequence[str], parts: Mapping[str, Sequence[int]]
    ) -> list[tuple[npt.NDArray[np.int64], tuple[int, int]]]:
        """Return the indices of N rows for each part of the pool, with the span [start, stop) of the part."""
        part_of = np.asarray(sources if self.pool_by == "source" else ["*"] * len(sources), object)
        return [(np.flatnonzero(part_of == part), (parts[part][0], parts[part][1])) for part in sorted(set(part_of))]

    def _audit(
        self, remaining: RemainingRows, embedder: Embedder, parts: Mapping[str, Sequence[int]]
    ) -> list[dict[str, Any]]:
        """Count the pairs that look unrelated, and those that the stage would drop, in a sample of each source."""
        sample = self._sample_for_audit(remaining)
        audited_as = [
            source if is_large else None for source, is_large in zip(sample["source"], sample["large"], strict=True)
        ]
        anchors, positives = (self._fetch_vectors(remaining, embedder, sample, role) for role in ROLES)
        keys = [_columns(sample, role) for role in ROLES]
        is_far = np.zeros(len(audited_as), np.bool_)
        for source in set(audited_as):
            indices = np.flatnonzero([name == source for name in audited_as])
            is_far[indices] = find_far_pairs(anchors[indices], positives[indices], *(key[indices] for key in keys))
        is_over = self._is_over(remaining, sample, anchors, positives, parts)
        return audit(zip(audited_as, is_far.tolist(), is_over.tolist(), strict=True), self.min_precision)

    def _is_over(
        self,
        remaining: RemainingRows,
        sample: Mapping[str, npt.NDArray[Any]],
        anchors: HalfArray,
        positives: HalfArray,
        parts: Mapping[str, Sequence[int]],
    ) -> npt.NDArray[np.bool_]:
        """Return which of N sampled pairs have a rank that the stage drops."""
        from jina_data.kernels.rank import count_ranks, dots

        pool = partial(_read_pool, remaining.folder / POOL, anchors.shape[1])
        keys, is_over = _columns(sample, "anchor"), np.zeros(len(anchors), np.bool_)
        for indices, span in self._spans(sample["source"].tolist(), parts):
            similarity = dots(anchors[indices], positives[indices])
            ranks = count_ranks(
                *(anchors[indices], similarity, pool, _read_excluded(remaining.folder, keys[indices])),
                span=span,
                cap=self.top_k,
                torch_device=_torch_device(remaining.context),
            )
            is_over[indices] = ranks.rank > self.top_k
        return is_over

    def _sample_for_audit(self, remaining: RemainingRows) -> dict[str, npt.NDArray[Any]]:
        """Return the keys of up to `audit_rows` pairs of each large source, and of all other sources together."""
        # `pair` is a seeded hash of the texts, so the pairs with the smallest hashes are a random sample that does not
        # depend on the order of rows. Small sources share one partition, with source null.
        query = f"""
            WITH large AS (
                SELECT source FROM {remaining.name} GROUP BY source
                ORDER BY count(*) DESC, source LIMIT {AUDITED_SOURCES}
            ), labelled AS (
                SELECT *, source IN (SELECT source FROM large) AS large FROM {remaining.name}
            ), chosen AS (
                SELECT * FROM labelled QUALIFY row_number() OVER (
                    PARTITION BY CASE WHEN large THEN source END ORDER BY pair, row_id
                ) <= ?
            )
            SELECT row_id, source, large, {_KEYS} FROM chosen ORDER BY row_id
        """
        sample: dict[str, npt.NDArray[Any]] = remaining.con.execute(query, [self.audit_rows]).fetchnumpy()
        return sample

    def _prompt(self, role: str) -> str:
        """Return the prompt before each text of a role, "" for none."""
        given = self.anchor_prompt if role == "anchor" else self.positive_prompt
        if given is not None:
            return given_prompt(given, "")
        of_model = model_prompts(self.embedder)
        return of_model.query if role == "anchor" else of_model.document

    def _vectors(self, rows: Rows, keys: KeyArray, context: Context, cache: ScoreCache) -> HalfArray:
        """Return the vectors of N anchors, then of N positives, (2 N, D), by the keys of their texts."""
        embedder = load.load_embedder(self.embedder, context.device)

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            texts = [(self._prompt(role), text) for role in ROLES for text in _texts(rows, role)]
            return _embed(embedder, [texts[i] for i in positions.tolist()])

        return _cached_vectors(cache, embedder, keys, compute)

    def _choose_pool(self, remaining: RemainingRows) -> dict[str, list[int]]:
        """Create the table `pool`, and return the span [start, stop) of ordinals of each source ("*": of all sources).

        The pool has one row for each content of a part, of which those with the smallest seeded hashes are chosen.
        Ordinals number the rows of the pool by part, so the vectors of a part are contiguous in the file.
        """
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
        return {part: [start, stop] for part, start, stop in remaining.con.execute(query).fetchall()}

    def _pool_vectors(self, remaining: RemainingRows, embedder: Embedder, start: int) -> HalfArray:
        """Return the vectors of up to CHUNK rows of the pool, from an ordinal."""
        pool = remaining.con.execute(
            "SELECT text_high AS positive_text_high, text_low AS positive_text_low, row_id FROM pool "
            "WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal",
            [start, start + CHUNK],
        ).fetchnumpy()
        return self._fetch_vectors(remaining, embedder, pool, "positive")

    def _fetch_vectors(
        self, remaining: RemainingRows, embedder: Embedder, table: Mapping[str, npt.NDArray[Any]], role: str
    ) -> HalfArray:
        """Return the vectors of one role of the rows in a table of ids and keys of texts; most are in the cache."""

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            assert remaining.fetch is not None
            row_ids = table["row_id"][positions]
            texts = [
                (self._prompt(role), text) for rows in remaining.fetch(np.sort(row_ids)) for text in _texts(rows, role)
            ]
            # Rows are fetched by ascending id; the double argsort gives the place of each in that order.
            order = np.argsort(np.argsort(row_ids))
            return _embed(embedder, [texts[i] for i in order.tolist()])

        # A new cache for each chunk, since a cache keeps every vector that it read.
        cache = ScoreCache(indexes=remaining.context.cache.indexes)
        return _cached_vectors(cache, embedder, _columns(table, f"{role}_text"), compute)


_KEYS = ", ".join(f"{role}{suffix}_{half}" for role in ROLES for suffix in ("", "_text") for half in ("high", "low"))


def _torch_device(context: Context) -> str | None:
    return "cuda" if context.device == "cuda" else None


def _spared(rows: Rows, fit_result: FitResult) -> npt.NDArray[np.bool_]:
    """Return which rows belong to a source from which the stage drops nothing."""
    spared = {audited["source"]: audited["spared"] for audited in fit_result.facts["mismatch"]}
    others = spared.get(None, False)
    return np.array([spared.get(source, others) for source in rows.sources.to_pylist()], np.bool_)


def _texts(rows: Rows, role: str) -> list[str]:
    """Return the text of each row; null counts as an empty text."""
    return [text or "" for text in rows.batch.column(rows.view.roles[role][0]).to_pylist()]


def _content(columns: Sequence[list[str]], seed: int | None = None) -> KeyArray:
    """Return the 128-bit keys of texts, ignoring case and white space, (N, 2)."""
    return content_keys(
        [pa.array(texts, pa.large_string()) for texts in columns], case=True, whitespace=True, seed=seed
    )


def _columns(table: Mapping[str, npt.NDArray[Any]], name: str) -> KeyArray:
    """Return the 128-bit keys in two columns of a table, (N, 2)."""
    return np.column_stack([table[f"{name}_{half}"] for half in ("high", "low")])


def _keys(batch: pa.RecordBatch, name: str) -> KeyArray:
    return np.column_stack([batch.column(f"{name}_{half}").to_numpy() for half in ("high", "low")])


def _cached_vectors(
    cache: ScoreCache,
    embedder: Embedder,
    keys: KeyArray,
    compute: Callable[[npt.NDArray[np.int64]], Computed],
) -> HalfArray:
    # The keys are those of texts with their prompts, so the id is that of the model alone.
    bare = with_prompt(embedder, "")
    model = ScoreReader(bare.model_id, embedder.name, "texts", embedder.max_tokens)
    return cache.scores(model, keys, 2 * embedder.dim, compute).view(np.float16)


def _embed(embedder: Embedder, texts: Sequence[tuple[str, str]]) -> Computed:
    """Return the vectors of texts, each given with its prompt, and which texts were cut."""
    vectors, cut = np.empty((len(texts), embedder.dim), np.float16), np.zeros(len(texts), np.bool_)
    for prompt in sorted({prompt for prompt, _ in texts}):
        chosen = np.array([other == prompt for other, _ in texts])
        was_cut = np.zeros(int(chosen.sum()), np.bool_)
        of_prompt = [text for other, text in texts if other == prompt]
        vectors[chosen] = with_prompt(embedder, prompt).encode(of_prompt, cut=was_cut)
        cut[chosen] = was_cut
    return vectors.view(np.uint8), cut


def _read_pool(path: Path, dim: int, start: int, stop: int) -> HalfArray:
    # Not memory-mapped, since pages of a mapping would count as memory of this process. A value has two bytes.
    count = (stop - start) * dim
    vectors: HalfArray = np.fromfile(path, np.float16, count=count, offset=2 * start * dim).reshape(-1, dim)
    return vectors


def _write_excluded(remaining: RemainingRows) -> int:
    """Write the (anchor, pool ordinal) of all texts of the pool that are positives of an anchor; return the count.

    Three arrays in parallel, sorted by anchor and ordinal, so that `_read_excluded` can search them in place.
    """
    con = remaining.con
    con.execute(f"""
        CREATE TEMP TABLE excluded AS
        SELECT DISTINCT anchor_high, anchor_low, ordinal
        FROM {remaining.name} JOIN pool USING (positive_high, positive_low)
    """)
    total = int(con.execute("SELECT count(*) FROM excluded").fetchall()[0][0])
    columns = {ANCHOR_HIGH: np.uint64, ANCHOR_LOW: np.uint64, ORDINAL: np.int64}
    sinks = [_open_sink(remaining.folder / name, kind, total) for name, kind in columns.items()]
    written = 0
    for batch in con.sql("SELECT * FROM excluded ORDER BY ALL").to_arrow_reader(CHUNK):
        for sink, column in zip(sinks, batch.columns, strict=True):
            sink[written : written + len(batch)] = column.to_numpy()
        written += len(batch)
    for sink in sinks:
        sink.flush()
    con.execute("DROP TABLE excluded")
    return total


def _open_sink(path: Path, kind: npt.DTypeLike, total: int) -> Any:
    """Map a new array of N numbers into memory, with its space on the disk reserved."""
    sink = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(total,))
    with path.open("r+b") as file:
        allocate(file, path.stat().st_size)
    return sink


def _read_excluded(folder: Path, anchors: KeyArray) -> Exclusions:
    """Return the texts of the pool that do not compete for each of N anchors."""
    from jina_data.kernels.rank import Exclusions, find_runs

    high, low, ordinals = (np.load(folder / name, mmap_mode="r") for name in (ANCHOR_HIGH, ANCHOR_LOW, ORDINAL))
    start, stop = np.empty(len(anchors), np.int64), np.empty(len(anchors), np.int64)
    anchor_high, anchor_low = np.ascontiguousarray(anchors.T)
    find_runs(np.asarray(high), np.asarray(low), anchor_high, anchor_low, start, stop)
    return Exclusions(start, stop, np.asarray(ordinals))
