"""The cache of scores: each content is scored once, in a unit, in a run, and over runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.cache import KeyArray, ScoreCache, build_index
from jina_data.errors import RunFolderError

Bytes = npt.NDArray[np.uint8]


def keys_of(*numbers: int) -> KeyArray:
    """Keys of which many agree in their high half."""
    return np.array([[number % 3, number] for number in numbers], np.uint64).reshape(-1, 2)


class Model:
    """Scores a content by its own number, and remembers what it was asked."""

    def __init__(self, keys: KeyArray) -> None:
        self.keys = keys
        self.asked: list[int] = []

    def __call__(self, positions: npt.NDArray[np.int64]) -> Bytes:
        self.asked += self.keys[positions, 1].tolist()
        return values_of(self.keys[positions])


def values_of(keys: KeyArray) -> Bytes:
    return np.ascontiguousarray(keys[:, 1] * np.uint64(7) + np.uint64(1)).view(np.uint8).reshape(-1, 8)


def ask(cache: ScoreCache, *numbers: int, model: str = "m") -> list[int]:
    """Ask for some contents, check the answers, and return what had to be computed."""
    scorer = Model(keys_of(*numbers))
    assert (cache.scores(model, scorer.keys, 8, scorer) == values_of(scorer.keys)).all()
    return scorer.asked


def test_a_content_is_scored_once_in_the_order_of_rows() -> None:
    cache = ScoreCache()
    assert ask(cache, 5, 2, 5, 9, 2) == [5, 2, 9]
    assert ask(cache, 9, 4) == [4]
    assert ask(cache, 4, model="other") == [4]
    assert ask(cache) == []
    assert cache.take_counts() == {"m": {"computed": 4}, "other": {"computed": 1}}
    assert cache.take_counts() == {}


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
    with pytest.raises(RunFolderError, match=r"unit.npy is no file of scores: .* Delete it: it is only a cache"):
        build_index([tmp_path / "cache"], tmp_path / "index")
