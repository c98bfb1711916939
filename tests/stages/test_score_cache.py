"""The cache of scores: each content is scored once, within a unit, a run, and several runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.errors import RunFolderError
from jina_data.stages.score_cache import CutCounts, KeyArray, ScoreCache, ScoreReader, build_index, count_cut

Bytes = npt.NDArray[np.uint8]
LIMIT = 50
"""Contents with this number or a larger one count as cut."""


def keys_of(*numbers: int) -> KeyArray:
    """Return keys, many of which have the same high half."""
    return np.array([[number % 3, number] for number in numbers], np.uint64).reshape(-1, 2)


class Model:
    """Scores a content by its number, and records the contents that it scored."""

    def __init__(self, keys: KeyArray) -> None:
        self.keys = keys
        self.asked: list[int] = []

    def __call__(self, positions: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        self.asked += self.keys[positions, 1].tolist()
        return values_of(self.keys[positions]), self.keys[positions, 1] >= LIMIT


def values_of(keys: KeyArray) -> Bytes:
    return np.ascontiguousarray(keys[:, 1] * np.uint64(7) + np.uint64(1)).view(np.uint8).reshape(-1, 8)


def ask(cache: ScoreCache, *numbers: int, model: str = "m") -> list[int]:
    """Request the scores of contents, check them, and return the contents that had to be computed."""
    scorer = Model(keys_of(*numbers))
    reader = ScoreReader(model, model.upper(), "texts", LIMIT)
    assert (cache.scores(reader, scorer.keys, 8, scorer) == values_of(scorer.keys)).all()
    return scorer.asked


def test_a_content_is_scored_once_in_the_order_of_rows() -> None:
    cache = ScoreCache()
    assert ask(cache, 5, 2, 5, 9, 2) == [5, 2, 9]
    assert ask(cache, 9, 4) == [4]
    assert ask(cache, 4, model="other") == [4]
    assert ask(cache) == []
    assert cache.take_counts() == {"m": {"computed": 4}, "other": {"computed": 1}}
    assert cache.take_counts() == {}


def test_contents_that_are_cut_are_counted_once(tmp_path: Path) -> None:
    """Over several units with the same content, reused scores, and a unit that was started twice."""
    old = ScoreCache(tmp_path / "old")
    ask(old, 1, LIMIT, LIMIT + 1)
    assert old.take_counts() == {"m": {"computed": 3, "cut": 2}}
    old.flush("unit-1")
    build_index([tmp_path / "old"], tmp_path / "index")
    for unit, numbers in (("unit-1", (1, LIMIT)), ("unit-2", (LIMIT, LIMIT + 2, 3)), ("unit-1", (1, LIMIT))):
        cache = ScoreCache(tmp_path / "cache", (tmp_path / "index",))
        ask(cache, *numbers)
        cache.flush(unit)
    assert count_cut(tmp_path / "cache") == [CutCounts("M", "texts", LIMIT, count=4, cut=2)]
    assert count_cut(tmp_path / "nothing") == []


def test_a_model_without_a_limit_is_not_told(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "cache")
    cache.scores(ScoreReader("m", "m", "pairs", None), keys_of(1, 2), 8, Model(keys_of(1, 2)))
    cache.flush("unit-1")
    assert count_cut(tmp_path / "cache") == []


def test_what_a_unit_left_is_found_by_the_next(tmp_path: Path) -> None:
    first = ScoreCache(tmp_path / "cache", (tmp_path / "index",))
    ask(first, 3, 1, 6)
    first.flush("unit-1")
    ask(first, 8)
    first.flush("unit-2")
    assert ask(first, 3) == [3]  # not indexed yet
    build_index([tmp_path / "cache"], tmp_path / "index")
    second = ScoreCache(tmp_path / "cache", (tmp_path / "index",))
    assert ask(second, 6, 8, 0, 1, 1, 3) == [0]
    assert second.take_counts() == {"m": {"computed": 1, "reused": 4}}
    # What was reused stands in the new file too, so that this cache can be indexed alone.
    second.flush("unit-3")
    assert np.load(tmp_path / "cache" / "m" / "unit-3.npy")["low"].tolist() != []
    assert sorted(np.load(tmp_path / "cache" / "m" / "unit-3.npy")["low"].tolist()) == [0, 1, 3, 6, 8]


def test_an_index_that_is_built_anew_is_seen(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "cache", (tmp_path / "index",))
    ask(cache, 1)
    cache.flush("a")
    build_index([tmp_path / "cache"], tmp_path / "index")
    assert ask(cache, 1, 2) == [2]
    cache.flush("b")
    build_index([tmp_path / "cache"], tmp_path / "index")
    assert ask(cache, 1, 2, 3) == [3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=6))
def test_everything_is_found_and_nothing_twice(units: list[list[int]]) -> None:
    cache = ScoreCache()
    seen: set[int] = set()
    for unit in units:
        assert ask(cache, *unit) == [one for one in dict.fromkeys(unit) if one not in seen]
        seen |= set(unit)


def test_old_caches_come_after_ones_own(tmp_path: Path) -> None:
    for name, numbers in (("old", [1, 2]), ("older", [2, 3])):
        cache = ScoreCache(tmp_path / name)
        ask(cache, *numbers)
        cache.flush("unit")
    build_index([tmp_path / "old", tmp_path / "older", tmp_path / "missing"], tmp_path / "index")
    assert ask(ScoreCache(None, (tmp_path / "index",)), 1, 2, 3, 4) == [4]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache" / "m").mkdir(parents=True)
    (tmp_path / "cache" / "m" / "unit.npy").write_bytes(b"\x93NUMPY no")
    with pytest.raises(RunFolderError, match=r"unit.npy is not a file of scores: .* Delete it; it is only a cache"):
        build_index([tmp_path / "cache"], tmp_path / "index")
