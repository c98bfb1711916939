"""Vectors of texts for `consistency`, by way of the score cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.prompts import with_prompt
from jina_data.kernels.keys import KeyArray
from jina_data.stages.base import RemainingRows
from jina_data.stages.consistency_pool import table_keys, texts_of
from jina_data.stages.score_cache import Computed, ScoreCache, ScoreReader

if TYPE_CHECKING:
    from jina_data.embed.base import Embedder, HalfArray


def cached_vectors(
    cache: ScoreCache,
    embedder: Embedder,
    keys: KeyArray,
    compute: Callable[[npt.NDArray[np.int64]], Computed],
) -> HalfArray:
    """Return the vectors of N texts (N, D) by the keys of texts with their prompts; `compute` makes those that lack."""
    # The keys are those of texts with their prompts, so the id is that of the model alone.
    bare = with_prompt(embedder, "")
    model = ScoreReader(bare.model_id, embedder.name, "texts", embedder.max_tokens)
    return cache.scores(model, keys, 2 * embedder.dim, compute).view(np.float16)


def embed(embedder: Embedder, texts: Sequence[tuple[str, str]]) -> Computed:
    """Return the vectors of texts, each given with its prompt, and which texts were cut."""
    vectors, cut = np.empty((len(texts), embedder.dim), np.float16), np.zeros(len(texts), np.bool_)
    for prompt in sorted({prompt for prompt, _ in texts}):
        chosen = np.array([other == prompt for other, _ in texts])
        was_cut = np.zeros(int(chosen.sum()), np.bool_)
        of_prompt = [text for other, text in texts if other == prompt]
        vectors[chosen] = with_prompt(embedder, prompt).encode(of_prompt, cut=was_cut)
        cut[chosen] = was_cut
    return vectors.view(np.uint8), cut


def fetch_texts(remaining: RemainingRows, row_ids: npt.NDArray[np.uint64], roles: Sequence[str]) -> list[list[str]]:
    """Return the texts of rows, in the order of `row_ids`, which may repeat, for each role."""
    assert remaining.fetch is not None
    unique, place = np.unique(row_ids, return_inverse=True)
    found: list[list[str]] = [[] for _ in roles]
    for rows in remaining.fetch(unique):
        for of_role, role in zip(found, roles, strict=True):
            of_role.extend(texts_of(rows, role))
    return [[texts[i] for i in place.reshape(-1).tolist()] for texts in found]


def fetch_vectors(
    remaining: RemainingRows,
    embedder: Embedder,
    table: Mapping[str, npt.NDArray[Any]],
    role: str,
    prompt: str,
) -> HalfArray:
    """Return the vectors of one role of the rows in a table of ids and keys of texts; most are in the cache."""

    def compute(positions: npt.NDArray[np.int64]) -> Computed:
        (texts,) = fetch_texts(remaining, table["row_id"][positions], [role])
        return embed(embedder, [(prompt, text) for text in texts])

    # A new cache for each chunk, since a cache keeps every vector that it read.
    cache = ScoreCache(indexes=remaining.context.cache.indexes)
    return cached_vectors(cache, embedder, table_keys(table, f"{role}_text"), compute)
