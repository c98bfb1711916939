"""The stage `consistency`: drop pairs whose positive is not among the texts most similar to the anchor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator
from typing_extensions import override

from jina_data.embed import load
from jina_data.embed.base import HYBRID, STATIC
from jina_data.embed.prompts import NONE, given_prompt, model_prompts, role_prompts_line, with_prompt
from jina_data.kernels.keys import KeyArray, content_keys
from jina_data.languages.pairs import pair_languages
from jina_data.run.resources import available_cores
from jina_data.stages.base import Barrier, Context, FitResult, Outcome, RemainingRows, Threshold
from jina_data.stages.competence import Judgement, Sampled, judge, levels
from jina_data.stages.consistency_pool import (
    KEYS,
    ROLES,
    Spans,
    choose_pool,
    contents,
    row_keys,
    texts_of,
    write_excluded,
)
from jina_data.stages.dense_ranks import DenseRanks
from jina_data.stages.hybrid_ranks import HybridRanks
from jina_data.stages.pair_ranks import PairRanks, SampleRanks
from jina_data.stages.rows import Rows, View
from jina_data.stages.score_cache import Computed, ScoreCache
from jina_data.stages.vector_cache import cached_vectors, embed

if TYPE_CHECKING:
    from jina_data.embed.base import HalfArray

_END_OF_PROMPT = "\x1f"
"""Ends the prompt in the key of a text; a model may treat the tokens of its prompt in another way."""
AUDITED_SOURCES = 40
"""Number of the largest sources that are judged separately; all other sources are judged together."""
AUDIT_POOL = 10_000
"""Texts of a part of the pool among which sampled pairs are ranked to the end."""
CONTROL_ROWS = 4000
"""Control pairs of a source and language."""
_WHOLE_POOL_ROWS = 2000
"""Sampled pairs of a source that are also ranked in the whole pool, if it is larger."""


class Consistency(Barrier):
    """Keep a pair if few texts of a pool are more similar to the anchor than its positive, as in Jina Embeddings v1
    (arXiv 2307.11224, section 2.1).

    The pool is a seeded sample of `pool_size` contents of the remaining positives (over all sources, or for each
    source). The rank of a pair is 1 + the number of texts in the pool that are more similar to the anchor than its
    positive. Texts equal to a positive of the same anchor do not compete. Pairs with a rank up to `top_k` are kept.

    The similarity is that of vectors of an embedder, or, with `embedder: hybrid`, a sum of three signals whose weights
    are learned from the pairs of each source: vectors of the static model, words, and character n-grams.

    From each source, up to `audit_rows` pairs are ranked to the end, and compared with the ranks of anchors and
    positives of different pairs. With `min_precision`, a source is judged only in languages in which the ranks separate
    the pairs from such control pairs. Then `top_k` of `pool_size` is a share of control pairs, and the limit of a
    language is the rank below which this share of its control pairs is; or twice, four times ... this share, up to
    `rank_cap`. The stage uses the lowest limit with which at least the share `min_precision` of the dropped pairs are
    mismatched, with 95 % confidence. Without such a limit, it drops nothing from the source. See
    `jina_data.stages.competence`.
    """

    name: ClassVar[str] = "consistency"
    version: ClassVar[int] = 3
    reasons: ClassVar[tuple[str, ...]] = ("inconsistent",)
    uses_device: ClassVar[bool] = True

    embedder: str = HYBRID
    top_k: int = Field(default=2, ge=1)
    pool_size: int = Field(default=1_000_000, ge=1)
    pool_by: Literal["all", "source"] = "all"
    rank_cap: int = Field(default=100, ge=1, le=2**31 - 2)
    audit_rows: int = Field(default=20_000, ge=0)
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
        if self.min_precision is None:
            return {"rank": (Threshold(float(self.top_k), "below", self.reasons[0]),)}
        return {"rank_of_limit": (Threshold(1.0, "below", self.reasons[0]),)}

    @override
    def prepare(self) -> None:
        if self.embedder == HYBRID:
            import jina_data.kernels.signals
        else:
            import jina_data.kernels.rank  # noqa: F401
        pair_languages([""], [""])
        load.load_embedder(self._model)

    @override
    def process_bytes(self) -> int:
        # A block of the pool and the features of a batch, for texts of some thousand characters.
        return load.process_bytes(self._model) + (200 * 2**20 if self.embedder == HYBRID else 0)

    @override
    def model_hashes(self) -> dict[str, str]:
        return load.model_hashes(self._model)

    @override
    def announcement(self) -> str:
        options = f"{self.name}.anchor_prompt and {self.name}.positive_prompt, or {NONE}"
        line = role_prompts_line(model_prompts(self._model), self.anchor_prompt, self.positive_prompt, options=options)
        return line and f"{self.name}: {line}"

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        keys: dict[str, KeyArray] = {}
        texts = [texts_of(rows, role) for role in ROLES]
        for role, of_role in zip(ROLES, texts, strict=True):
            keys[role] = contents([of_role])
            prompt = self._prompt(role)
            prompted = [f"{prompt}{_END_OF_PROMPT}{text}" if prompt else text for text in of_role]
            keys[f"{role}_text"] = content_keys([pa.array(prompted, pa.large_string())], case=False, whitespace=False)
        # Fills the cache, from which `fit` and `apply` read the vectors.
        exact = np.concatenate([keys[f"{role}_text"] for role in ROLES])
        self._vectors(rows, exact, context, context.cache)
        halves = (("high", 0), ("low", 1))
        out = {f"{name}_{half}": pa.array(key[:, i]) for name, key in keys.items() for half, i in halves}
        out |= {"hash": pa.array(contents(texts[1:], context.seed)[:, 0])}
        out |= {"pair": pa.array(contents(texts, context.seed)[:, 0])}
        return out | ({"language": pair_languages(*texts)} if self.audit_rows else {})

    @override
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        remaining.folder.mkdir(parents=True, exist_ok=True)
        embedder = load.load_embedder(self._model, remaining.context.device)
        parts = choose_pool(remaining, self.pool_size, by_source=self.pool_by == "source")
        n_pool = max((stop for _, stop in parts.values()), default=0)
        dense = DenseRanks(embedder, {role: self._prompt(role) for role in ROLES})
        with ThreadPoolExecutor(available_cores()) as threads:
            hybrid = HybridRanks(embedder, remaining.folder, threads) if self.embedder == HYBRID else None
            if hybrid is None:
                dense.write_pool(remaining, n_pool)
            elif n_pool:
                hybrid.write_pool(remaining, parts)
            n_excluded = write_excluded(remaining)
            remaining.con.execute("DROP TABLE pool")
            facts: dict[str, Any] = {"pool": n_pool, "parts": parts, "excluded": n_excluded}
            facts |= {"groups": [], "counts": [], "weights": []}
            if n_pool and (self.audit_rows or hybrid):
                facts |= self._audit(remaining, dense, hybrid, parts)
        prompts = {f"{role}_prompt": prompt for role in ROLES if (prompt := self._prompt(role))}
        return facts | {"model": with_prompt(embedder, "").model_id, "dim": embedder.dim, **prompts}

    @override
    def apply(self, rows: Rows, fit_result: FitResult, context: Context) -> Outcome:
        assert rows.keys is not None
        sources = rows.sources.to_pylist()
        ranks = self._ranks(rows, sources, fit_result, context)
        limit = self._limits(rows, sources, fit_result)
        outcome = Outcome.keep_all(len(rows))
        outcome.drop((limit >= 0) & (ranks.rank > limit), 0, ranks.rank.astype(np.float64))
        outcome.scores["similarity"] = pa.array(ranks.similarity)
        outcome.scores["margin"] = pa.array(ranks.margin, from_pandas=True)
        outcome.scores["rank"] = pa.array(ranks.rank)
        for name, of_signal in ranks.by_signal.items():
            outcome.scores[name] = pa.array(of_signal)
        if self.audit_rows:
            outcome.scores["limit"] = pa.array(limit, mask=limit < 0)
        if self.min_precision is not None:
            outcome.scores["rank_of_limit"] = pa.array(ranks.rank / np.maximum(limit, 1), mask=limit < 0)
        return outcome

    def _ranks(self, rows: Rows, sources: Sequence[str], fit_result: FitResult, context: Context) -> PairRanks:
        assert rows.keys is not None
        exact = [row_keys(rows.keys, f"{role}_text") for role in ROLES]
        # A cache without a folder: the vectors are stored already, and are not written a second time.
        cache = ScoreCache(indexes=context.cache.indexes)
        vectors = np.split(self._vectors(rows, np.concatenate(exact), context, cache), 2)
        keys, spans = row_keys(rows.keys, "anchor"), self._spans(sources, fit_result.facts["parts"])
        embedder = load.load_embedder(self._model, context.device)
        if self.embedder == HYBRID:
            weights = _weights_of(sources, fit_result.facts["weights"])
            texts = [texts_of(rows, role) for role in ROLES]
            hybrid = HybridRanks(embedder, fit_result.folder)
            return hybrid.ranks(texts, vectors, keys, spans, weights, cap=self.rank_cap)
        dense = DenseRanks(embedder, {})
        anchors, positives = vectors
        return dense.ranks(anchors, positives, keys, fit_result.folder, spans, context, cap=self.rank_cap)

    def _spans(self, sources: Sequence[str], parts: Mapping[str, Sequence[int]], most: int | None = None) -> Spans:
        names = np.asarray(sources if self.pool_by == "source" else ["*"] * len(sources), object)
        return Spans(names, parts, most)

    def _limits(self, rows: Rows, sources: Sequence[str], fit_result: FitResult) -> npt.NDArray[np.int64]:
        """Return the highest rank that is kept for each of N rows, -1 where nothing is dropped."""
        if self.min_precision is None:
            return np.full(len(rows), self.top_k, np.int64)
        assert rows.keys is not None
        limit_of = {(group["source"], group["language"]): group["limit"] or -1 for group in fit_result.facts["groups"]}
        own = {source for source, _ in limit_of}
        out = np.full(len(rows), -1, np.int64)
        for i, (source, language) in enumerate(zip(sources, rows.keys.column("language").to_pylist(), strict=True)):
            group = source if source in own else None
            out[i] = limit_of.get((group, language), -1)
        return out

    def _audit(
        self,
        remaining: RemainingRows,
        dense: DenseRanks,
        hybrid: HybridRanks | None,
        parts: Mapping[str, Sequence[int]],
    ) -> dict[str, Any]:
        """Rank a sample of each source, and decide what may be dropped from it."""
        sample = self._sample(remaining)
        names = sample["source"].tolist()
        sources = [source if is_large else None for source, is_large in zip(names, sample["large"], strict=True)]
        rows_of = _rows_by(sources)
        facts: dict[str, Any] = {}
        weights = np.zeros((len(sources), 3), np.float32)
        if hybrid is not None:
            learned = hybrid.learn_weights(remaining, sample, rows_of)
            facts["weights"] = [[source, weights] for source, weights in learned.items()]
            weights = _weights_of(sources, facts["weights"])
        if not self.audit_rows:
            return facts
        languages = sample["language"].tolist()

        def ranked(rows: npt.NDArray[np.int64], *, most: int | None, cap: int | None) -> SampleRanks:
            part = {name: values[rows] for name, values in sample.items()}
            spans = self._spans([names[i] for i in rows.tolist()], parts, most)
            groups = _control_groups([(sources[i], languages[i]) for i in rows.tolist()])
            if hybrid is not None:
                return hybrid.sample_ranks(remaining, part, spans, groups=groups, weights=weights[rows], cap=cap)
            return dense.sample_ranks(remaining, part, spans, groups=groups, cap=cap)

        everyone = np.arange(len(sources))
        ranks, control = ranked(everyone, most=AUDIT_POOL, cap=None)
        whole = ranks.astype(np.int64)
        size_of = {part: stop - start for part, (start, stop) in parts.items()}
        sizes = np.array([size_of[name if self.pool_by == "source" else "*"] for name in names], np.int64)
        if sizes.max() > AUDIT_POOL:
            whole = np.full(len(sources), -1, np.int64)
            some = np.concatenate([rows[:_WHOLE_POOL_ROWS] for rows in rows_of.values()])
            some = np.sort(some)
            whole[some] = ranked(some, most=None, cap=self.rank_cap).ranks
        groups: list[Judgement] = []
        for source, rows in rows_of.items():
            of_control = rows[control[rows] > 0]
            pool = int(sizes[rows].max())
            sampled = Sampled(
                ranks[rows].astype(np.int64),
                [languages[i] for i in rows.tolist()],
                control[of_control].astype(np.int64),
                [languages[i] for i in of_control.tolist()],
                whole[rows],
                pool,
                min(pool, AUDIT_POOL),
            )
            rank_cap = self.top_k if self.min_precision is None else self.rank_cap
            candidates = levels(self.top_k, rank_cap, self.pool_size)
            groups += judge(source, sampled, candidates, self.min_precision or 0.0, seed=remaining.seed)
        facts["groups"] = [group.to_json() for group in groups]
        query = f"SELECT source, language, count(*) FROM {remaining.name} GROUP BY ALL ORDER BY ALL"
        facts["counts"] = [list(row) for row in remaining.con.execute(query).fetchall()]
        return facts

    def _sample(self, remaining: RemainingRows) -> dict[str, npt.NDArray[Any]]:
        """Return keys of up to `audit_rows` pairs of each large source, and of all other sources together.

        Sorted by source and language, so that the pairs of a group follow one another.
        """
        # `pair` is a seeded hash of the texts, so the pairs with the smallest hashes are a random sample that does not
        # depend on the order of rows. Small sources share one partition, with source null.
        language = "language, " if self.audit_rows else ""
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
            SELECT row_id, source, large, pair, {language}{KEYS} FROM chosen
            ORDER BY large, CASE WHEN large THEN source END, {language}pair, row_id
        """
        n_rows = self.audit_rows if self.min_precision is not None else min(self.audit_rows, _WHOLE_POOL_ROWS)
        sample: dict[str, npt.NDArray[Any]] = remaining.con.execute(query, [n_rows or _WHOLE_POOL_ROWS]).fetchnumpy()
        return sample

    @property
    def _model(self) -> str:
        """The embedder whose vectors are used."""
        return STATIC if self.embedder == HYBRID else self.embedder

    def _prompt(self, role: str) -> str:
        """Return the prompt before each text of a role, "" for none."""
        given = self.anchor_prompt if role == "anchor" else self.positive_prompt
        if given is not None:
            return given_prompt(given, "")
        of_model = model_prompts(self._model)
        return of_model.query if role == "anchor" else of_model.document

    def _vectors(self, rows: Rows, keys: KeyArray, context: Context, cache: ScoreCache) -> HalfArray:
        """Return the vectors of N anchors, then of N positives, (2 N, D), by the keys of their texts."""
        embedder = load.load_embedder(self._model, context.device)

        def compute(positions: npt.NDArray[np.int64]) -> Computed:
            texts = [(self._prompt(role), text) for role in ROLES for text in texts_of(rows, role)]
            return embed(embedder, [texts[i] for i in positions.tolist()])

        return cached_vectors(cache, embedder, keys, compute)


def _control_groups(groups: Sequence[tuple[str | None, str]]) -> npt.NDArray[np.int64]:
    """Return a number for each group, and -1 for its pairs after the first CONTROL_ROWS, without control pairs."""
    numbers: dict[tuple[str | None, str], int] = {}
    counts: dict[int, int] = {}
    out = np.full(len(groups), -1, np.int64)
    for row, group in enumerate(groups):
        number = numbers.setdefault(group, len(numbers))
        counts[number] = counts.get(number, 0) + 1
        if counts[number] <= CONTROL_ROWS:
            out[row] = number
    return out


def _rows_by(sources: Sequence[str | None]) -> dict[str | None, npt.NDArray[np.int64]]:
    """Return the rows of each source."""
    rows: dict[str | None, list[int]] = {}
    for row, source in enumerate(sources):
        rows.setdefault(source, []).append(row)
    return {source: np.array(found, np.int64) for source, found in rows.items()}


def _weights_of(
    sources: Sequence[str | None], learned: Sequence[tuple[str | None, list[float]]]
) -> npt.NDArray[np.float32]:
    """Return the weights of the signals for each of N rows, (N, 3)."""
    weights = dict(learned)
    others = weights.get(None, [1 / 3] * 3)
    return np.array([weights.get(source, others) for source in sources], np.float32).reshape(-1, 3)
