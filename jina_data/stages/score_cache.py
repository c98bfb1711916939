"""Scores of models, kept by content: what was scored once is never scored again.

A score is a fixed number of bytes (an embedding in half precision, a number) under the name of its model and the
128-bit key of the content; beside it stands whether the content was longer than the model reads. Every unit of work
leaves one file with what it needed, whole or not at all, so the cache of a finished run can be taken over by the next
one (`--reuse`).
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from jina_data.errors import RunFolderError
from jina_data.run.files import remove, whole_file, write_json

KeyArray = npt.NDArray[np.uint64]
ByteTable = npt.NDArray[np.uint8]
Computed = tuple[ByteTable, npt.NDArray[np.bool_]]
"""The scores of some contents (M, width), and which of these were cut at the limit of the model (M,)."""

READER = "model.json"
"""Says in the folder of a model's scores who made them."""


@dataclass(frozen=True)
class Reader:
    """A model that reads texts, or pairs of texts: `model_id` names it and all that its scores depend on, and is fit
    for a file name; `name` is what the recipe calls it, `max_tokens` where it cuts what it reads (None: nowhere)."""

    model_id: str
    name: str
    reads: Literal["texts", "pairs"]
    max_tokens: int | None


@dataclass(frozen=True)
class CutCounts:
    """How many different texts, or pairs of texts, a model had to read in a run, and how many of them it cut."""

    model: str
    reads: str
    max_tokens: int
    count: int
    cut: int


@dataclass
class ScoreCache:
    """The scores that are known: those in some indexed folders, and those that this unit of work has made.

    `folder` is where `flush` writes to; without one, nothing is kept. `known` are opened indexes by model, tried in
    order. `counts` tells how many scores were computed (and for how many of them the content was cut), and how many
    were taken from elsewhere, by model.
    """

    folder: Path | None = None
    indexes: Sequence[Path] = ()
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _known: dict[Path, tuple[int, _Index]] = field(default_factory=dict)
    _fresh: dict[Reader, _Fresh] = field(default_factory=dict)

    def scores(
        self, reader: Reader, keys: KeyArray, width: int, compute: Callable[[npt.NDArray[np.int64]], Computed]
    ) -> ByteTable:
        """Return the score of each of N contents, (N, width) bytes.

        Args:
            reader: the model.
            keys: (N, 2) the 128-bit keys of the contents.
            width: bytes of a score.
            compute: called with the positions (M,) of contents that are not known, each content once; returns their
                scores, (M, width), and which of them were cut.
        """
        model = reader.model_id
        out = np.empty((len(keys), width), np.uint8)
        if not len(keys):
            return out
        _, first, inverse = np.unique(_pairs(keys), return_index=True, return_inverse=True)
        wanted = keys[first]
        values = np.empty((len(first), width + 1), np.uint8)  # the last byte: whether the content was cut
        left = np.arange(len(first))
        fresh = self._fresh.setdefault(reader, _Fresh())
        left = left[~fresh.fill(wanted, left, values)]
        for index in self._opened(model):
            found = index.fill(wanted[left], left, values)
            if found.any():
                fresh.add(wanted[left[found]], values[left[found]])
                self._count(model, "reused", int(found.sum()))
            left = left[~found]
        if len(left):
            left = left[np.argsort(first[left], kind="stable")]
            values[left, :width], cut = compute(first[left])
            values[left, width] = cut
            fresh.add(wanted[left], values[left])
            self._count(model, "computed", len(left))
            self._count(model, "cut", int(cut.sum()))
        out[:] = values[inverse.reshape(-1), :width]
        return out

    def flush(self, name: str) -> None:
        """Write what this unit of work has made or used, as one file for each model, and forget it."""
        for reader, fresh in self._fresh.items():
            table = fresh.table()
            if self.folder is not None and len(table):
                write_json(self.folder / reader.model_id / READER, asdict(reader))
                with whole_file(self.folder / reader.model_id / f"{name}.npy") as sink:
                    np.save(sink, table)
        self._fresh.clear()

    def take_counts(self) -> dict[str, dict[str, int]]:
        """Return the counts since they were last taken."""
        counts, self.counts = self.counts, {}
        return counts

    def _count(self, model: str, what: str, number: int) -> None:
        if number:
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
        width = self.values[0].shape[1] - 1 if self.values else 1
        table = np.empty(len(self.keys), _record(width))
        table["high"][self.places], table["low"][self.places] = self.keys["high"], self.keys["low"]
        for start, values in zip(self.starts, self.values, strict=False):
            own = slice(start, start + len(values))
            table["value"][own] = np.ascontiguousarray(values[:, :width]).view(f"V{width}").reshape(-1)
            table["cut"][own] = values[:, width]
        return table


_PAIR = np.dtype([("high", "<u8"), ("low", "<u8")])


def _pairs(keys: KeyArray) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(keys, np.uint64).view(_PAIR).reshape(-1)


def _record(width: int) -> list[tuple[str, str]]:
    return [("high", "<u8"), ("low", "<u8"), ("value", f"V{width}"), ("cut", "?")]


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
                values[places[mine[hit]]] = np.column_stack([raw, records["cut"][hit]])
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


def count_cut(folder: Path) -> list[CutCounts]:
    """Count the different contents in a cache folder that each model with a limit read, and those that it cut.

    Units that read the same text each kept it, and what a killed unit left is kept anew by the next; so contents are
    counted, not units.
    """
    found = []
    for path in sorted(_subfolders(folder)):
        reader = Reader(**json.loads((path / READER).read_text(encoding="utf-8")))
        if reader.max_tokens is None:
            continue
        tables = [_load(name) for name in sorted(path.glob("*.npy"))]
        keys = np.concatenate([np.column_stack([table["high"], table["low"]]) for table in tables])
        cut = np.concatenate([np.array(table["cut"]) for table in tables])
        counts = len(np.unique(_pairs(keys))), len(np.unique(_pairs(keys[cut])))
        found.append(CutCounts(reader.name, reader.reads, reader.max_tokens, *counts))
    return found


def _load(path: Path) -> npt.NDArray[np.void]:
    try:
        table: npt.NDArray[np.void] = np.load(path, mmap_mode="r")
        if table.dtype.names != ("high", "low", "value", "cut"):
            raise ValueError(f"its columns are {table.dtype.names}, expected high, low, value, cut")
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is no file of scores: {error}. Delete it: it is only a cache") from None
    return table


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else iter(())
