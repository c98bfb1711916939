"""Scores of models, kept by content: what was scored once is never scored again.

A score is a fixed number of bytes (an embedding in half precision, a number) under the name of its model and the
128-bit key of the content. Every unit of work leaves one file with what it needed, whole or not at all, so the cache
of a finished run can be taken over by the next one (`--reuse`).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jina_data.errors import RunFolderError
from jina_data.folder import remove, whole_file

KeyArray = npt.NDArray[np.uint64]
ByteTable = npt.NDArray[np.uint8]


@dataclass
class ScoreCache:
    """The scores that are known: those in some indexed folders, and those that this unit of work has made.

    `folder` is where `flush` writes to; without one, nothing is kept. `known` are opened indexes by model, tried in
    order. `counts` tells how many scores were computed and how many were taken from elsewhere, by model.
    """

    folder: Path | None = None
    indexes: Sequence[Path] = ()
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _known: dict[Path, tuple[int, _Index]] = field(default_factory=dict)
    _fresh: dict[str, _Fresh] = field(default_factory=dict)

    def scores(
        self, model: str, keys: KeyArray, width: int, compute: Callable[[npt.NDArray[np.int64]], ByteTable]
    ) -> ByteTable:
        """Return the score of each of N contents, (N, width) bytes.

        Args:
            model: names the model and all that its scores depend on; a file name.
            keys: (N, 2) the 128-bit keys of the contents.
            width: bytes of a score.
            compute: called with the positions (M,) of contents that are not known, each content once; returns their
                scores, (M, width).
        """
        out = np.empty((len(keys), width), np.uint8)
        if not len(keys):
            return out
        _, first, inverse = np.unique(_pairs(keys), return_index=True, return_inverse=True)
        wanted = keys[first]
        values = np.empty((len(first), width), np.uint8)
        left = np.arange(len(first))
        fresh = self._fresh.setdefault(model, _Fresh())
        left = left[~fresh.fill(wanted, left, values)]
        for index in self._opened(model):
            found = index.fill(wanted[left], left, values)
            if found.any():
                fresh.add(wanted[left[found]], values[left[found]])
                self._count(model, "reused", int(found.sum()))
            left = left[~found]
        if len(left):
            left = left[np.argsort(first[left], kind="stable")]
            values[left] = compute(first[left])
            fresh.add(wanted[left], values[left])
            self._count(model, "computed", len(left))
        out[:] = values[inverse.reshape(-1)]
        return out

    def flush(self, name: str) -> None:
        """Write what this unit of work has made or used, as one file for each model, and forget it."""
        for model, fresh in self._fresh.items():
            table = fresh.table()
            if self.folder is not None and len(table):
                with whole_file(self.folder / model / f"{name}.npy") as sink:
                    np.save(sink, table)
        self._fresh.clear()

    def take_counts(self) -> dict[str, dict[str, int]]:
        """Return the counts since they were last taken."""
        counts, self.counts = self.counts, {}
        return counts

    def _count(self, model: str, what: str, number: int) -> None:
        of_model = self.counts.setdefault(model, {})
        of_model[what] = of_model.get(what, 0) + number

    def _opened(self, model: str) -> list[_Index]:
        """Return the indexes of a model as they are now: they are built anew while a worker lives."""
        found = []
        for path in (folder / model for folder in self.indexes):
            done = path / "files.txt"
            if not done.exists():
                continue
            stamp = done.stat().st_mtime_ns
            if self._known.get(path, (0, None))[0] != stamp:
                self._known[path] = (stamp, _Index.open(path))
            found.append(self._known[path][1])
        return found


class _Fresh:
    """What one unit of work has scored or found, by content."""

    def __init__(self) -> None:
        self.keys = np.empty(0, _PAIR)  # ascending
        self.places = np.empty(0, np.int64)
        self.values: list[ByteTable] = []
        self.starts = [0]

    def add(self, keys: KeyArray, values: ByteTable) -> None:
        """Note the scores of some contents, none of which is here yet."""
        places = np.concatenate([self.places, self.starts[-1] + np.arange(len(keys))])
        pairs = np.concatenate([self.keys, _pairs(keys)])
        order = np.argsort(pairs, kind="stable")
        self.keys, self.places = pairs[order], places[order]
        self.values.append(values.copy())
        self.starts.append(self.starts[-1] + len(keys))

    def fill(self, keys: KeyArray, places: npt.NDArray[np.int64], values: ByteTable) -> npt.NDArray[np.bool_]:
        """Fill `values` at `places` for the keys that are here; tell which are."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        pairs = _pairs(keys)
        at = np.minimum(np.searchsorted(self.keys, pairs), len(self.keys) - 1)
        found: npt.NDArray[np.bool_] = self.keys[at] == pairs
        mine, targets = self.places[at[found]], places[found]
        parts = np.searchsorted(self.starts, mine, side="right") - 1
        for part in np.unique(parts).tolist():
            values[targets[parts == part]] = self.values[part][mine[parts == part] - self.starts[part]]
        return found

    def table(self) -> npt.NDArray[np.void]:
        """Return all of it in the order in which it was added."""
        width = self.values[0].shape[1] if self.values else 1
        table = np.empty(len(self.keys), _record(width))
        table["high"][self.places], table["low"][self.places] = self.keys["high"], self.keys["low"]
        for start, values in zip(self.starts, self.values, strict=False):
            table["value"][start : start + len(values)] = values.view(f"V{width}").reshape(-1)
        return table


_PAIR = np.dtype([("high", "<u8"), ("low", "<u8")])


def _pairs(keys: KeyArray) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(keys, np.uint64).view(_PAIR).reshape(-1)


def _record(width: int) -> list[tuple[str, str]]:
    return [("high", "<u8"), ("low", "<u8"), ("value", f"V{width}")]


@dataclass
class _Index:
    """The scores of one model in some files, found by key: all memory-mapped."""

    high: npt.NDArray[np.uint64]
    place: npt.NDArray[np.uint64]
    files: list[npt.NDArray[np.void]]

    @classmethod
    def open(cls, path: Path) -> _Index:
        names = (path / "files.txt").read_text(encoding="utf-8").splitlines()
        return cls(
            np.load(path / "high.npy", mmap_mode="r"),
            np.load(path / "place.npy", mmap_mode="r"),
            [np.load(name, mmap_mode="r") for name in names],
        )

    def fill(self, keys: KeyArray, places: npt.NDArray[np.int64], values: ByteTable) -> npt.NDArray[np.bool_]:
        """Fill `values` at `places` for the keys that are here; tell which are."""
        found = np.zeros(len(keys), np.bool_)
        starts = np.searchsorted(self.high, keys[:, 0])
        for step in range(4):  # two contents that agree in 64 bits are rare, five are not to be had
            at = starts + step
            inside = ~found & (at < len(self.high))
            at = np.where(inside, at, 0)
            if not len(self.high):
                break
            same = inside & (self.high[at] == keys[:, 0])
            if not same.any():
                break
            self._fill_same(keys, places, values, found, np.flatnonzero(same), at)
        return found

    def _fill_same(
        self,
        keys: KeyArray,
        places: npt.NDArray[np.int64],
        values: ByteTable,
        found: npt.NDArray[np.bool_],
        same: npt.NDArray[np.int64],
        at: npt.NDArray[np.int64],
    ) -> None:
        where = self.place[at[same]]
        numbers, rows = (where >> np.uint64(40)).astype(np.int64), (where & np.uint64(2**40 - 1)).astype(np.int64)
        for number in np.unique(numbers).tolist():
            mine = same[numbers == number]
            records = self.files[number][rows[numbers == number]]
            hit = records["low"] == keys[mine, 1]
            if hit.any():
                raw = np.ascontiguousarray(records["value"][hit]).view(np.uint8).reshape(int(hit.sum()), -1)
                values[places[mine[hit]]] = raw
                found[mine[hit]] = True
            _let_go(self.files[number])


def _let_go(mapped: npt.NDArray[np.void]) -> None:
    """Give back the pages of a mapped file, which would count as memory of this process; the system keeps them."""
    inner = getattr(mapped, "_mmap", None)
    if inner is not None and hasattr(mmap, "MADV_DONTNEED"):
        inner.madvise(mmap.MADV_DONTNEED)


def build_index(folders: Sequence[Path], target: Path) -> None:
    """Index all scores in some cache folders, model by model, under `target`, in place of what is there.

    Raises:
        RunFolderError: a file of the cache is broken.
    """
    remove(target)
    for model in sorted({path.name for folder in folders for path in _subfolders(folder)}):
        done = target / model / "files.txt"
        names = [name for folder in folders for name in sorted((folder / model).glob("*.npy"))]
        highs, places = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for number, name in enumerate(names):
            high = np.array(_load(name)["high"])
            highs.append(high)
            places.append(np.arange(len(high), dtype=np.uint64) + (np.uint64(number) << np.uint64(40)))
        high = np.concatenate(highs)
        order = np.argsort(high, kind="stable")
        for part, values in (("high.npy", high[order]), ("place.npy", np.concatenate(places)[order])):
            with whole_file(target / model / part) as sink:
                np.save(sink, values)
        with whole_file(done, "w") as sink:
            sink.write("".join(f"{name.resolve()}\n" for name in names))


def _load(path: Path) -> npt.NDArray[np.void]:
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is no file of scores: {error}. Delete it: it is only a cache") from None


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else iter(())
