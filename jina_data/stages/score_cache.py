"""A cache of model scores by content, so that no content is scored twice.

A score is a fixed number of bytes (an embedding in half precision, or a number), stored by model and by the 128-bit key
of the content, with a flag: whether the content was longer than the model reads. Every unit of work writes one file
with the scores that it used, atomically, so another run can reuse the cache (`--reuse`).
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
from jina_data.run.files import atomic_file, remove, write_json

KeyArray = npt.NDArray[np.uint64]
ByteTable = npt.NDArray[np.uint8]
Computed = tuple[ByteTable, npt.NDArray[np.bool_]]
"""The scores of M contents (M, width), and which of these were cut at the limit of the model (M,)."""

READER_FILE = "model.json"
"""The file in a folder of scores that describes their model."""


@dataclass(frozen=True)
class ScoreReader:
    """A model that scores texts, or pairs of texts.

    `model_id` identifies the model and everything that its scores depend on, and is a valid file name. `name` is the
    name in the recipe. The model cuts its input after `max_tokens` (None: it does not cut).
    """

    model_id: str
    name: str
    reads: Literal["texts", "pairs"]
    max_tokens: int | None


@dataclass(frozen=True)
class CutCounts:
    """The number of different texts, or pairs of texts, that a model scored in a run, and the number that it cut."""

    model: str
    reads: str
    max_tokens: int
    count: int
    cut: int


@dataclass
class ScoreCache:
    """The scores of this unit of work, and those in the folders of `indexes`, which are searched in order.

    `flush` writes to `folder`, or nowhere if it is None. `counts` has, by model, how many scores were computed, for how
    many of them the content was cut, and how many scores were reused from an index.
    """

    folder: Path | None = None
    indexes: Sequence[Path] = ()
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _open_indexes: dict[Path, tuple[int, _ScoreIndex]] = field(default_factory=dict)
    _unit_scores: dict[ScoreReader, _UnitScores] = field(default_factory=dict)

    def scores(
        self, reader: ScoreReader, keys: KeyArray, width: int, compute: Callable[[npt.NDArray[np.int64]], Computed]
    ) -> ByteTable:
        """Return the score of each of N contents, (N, width) bytes.

        Args:
            reader: the model.
            keys: (N, 2) the 128-bit keys of the contents.
            width: bytes of a score.
            compute: called with the positions (M,) of contents without a score, each content once; returns their
                scores, (M, width), and which of them were cut.
        """
        model = reader.model_id
        out = np.empty((len(keys), width), np.uint8)
        if not len(keys):
            return out
        _, first, inverse = np.unique(_key_records(keys), return_index=True, return_inverse=True)
        distinct = keys[first]
        values = np.empty((len(first), width + 1), np.uint8)  # the last byte: whether the content was cut
        missing = np.arange(len(first))
        unit_scores = self._unit_scores.setdefault(reader, _UnitScores())
        missing = missing[~unit_scores.fill(distinct, missing, values)]
        for index in self._refresh_indexes(model):
            hit = index.fill(distinct[missing], missing, values)
            if hit.any():
                unit_scores.add(distinct[missing[hit]], values[missing[hit]])
                self._count(model, "reused", int(hit.sum()))
            missing = missing[~hit]
        if len(missing):
            # In the order of the rows: batches of the model then do not depend on the keys.
            missing = missing[np.argsort(first[missing], kind="stable")]
            values[missing, :width], cut = compute(first[missing])
            values[missing, width] = cut
            unit_scores.add(distinct[missing], values[missing])
            self._count(model, "computed", len(missing))
            self._count(model, "cut", int(cut.sum()))
        out[:] = values[inverse.reshape(-1), :width]
        return out

    def flush(self, name: str) -> None:
        """Write the scores that this unit of work computed or reused, one file for each model, and clear them."""
        for reader, unit_scores in self._unit_scores.items():
            table = unit_scores.table()
            if self.folder is not None and len(table):
                write_json(self.folder / reader.model_id / READER_FILE, asdict(reader))
                with atomic_file(self.folder / reader.model_id / f"{name}.npy") as sink:
                    np.save(sink, table)
        self._unit_scores.clear()

    def take_counts(self) -> dict[str, dict[str, int]]:
        """Return the counts and reset them."""
        counts, self.counts = self.counts, {}
        return counts

    def _count(self, model: str, kind: str, number: int) -> None:
        if number:
            of_model = self.counts.setdefault(model, {})
            of_model[kind] = of_model.get(kind, 0) + number

    def _refresh_indexes(self, model: str) -> list[_ScoreIndex]:
        """Return the indexes of a model, opened again if they were rebuilt, which happens while a worker runs."""
        indexes = []
        for path in (folder / model for folder in self.indexes):
            done = path / "files.txt"
            if not done.exists():
                continue
            stamp = done.stat().st_mtime_ns
            if self._open_indexes.get(path, (0, None))[0] != stamp:
                self._open_indexes[path] = (stamp, _ScoreIndex.open(path))
            indexes.append(self._open_indexes[path][1])
        return indexes


class _UnitScores:
    """The scores that one unit of work computed or reused, by content.

    `values` are blocks of scores in the order of `add`, and `starts` the number of the first score of each. `keys` are
    sorted, and `numbers` has the number of the score of each key.
    """

    def __init__(self) -> None:
        self.keys = np.empty(0, _KEY_RECORD)
        self.numbers = np.empty(0, np.int64)
        self.values: list[ByteTable] = []
        self.starts = [0]

    def add(self, keys: KeyArray, values: ByteTable) -> None:
        """Add the scores of contents that are not included yet."""
        numbers = np.concatenate([self.numbers, self.starts[-1] + np.arange(len(keys))])
        records = np.concatenate([self.keys, _key_records(keys)])
        order = np.argsort(records, kind="stable")
        self.keys, self.numbers = records[order], numbers[order]
        self.values.append(values.copy())
        self.starts.append(self.starts[-1] + len(keys))

    def fill(self, keys: KeyArray, positions: npt.NDArray[np.int64], values: ByteTable) -> npt.NDArray[np.bool_]:
        """Copy the scores of those N keys that are included to `values` at `positions` (N,); return which are."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        records = _key_records(keys)
        nearest = np.minimum(np.searchsorted(self.keys, records), len(self.keys) - 1)
        hit: npt.NDArray[np.bool_] = self.keys[nearest] == records
        numbers, targets = self.numbers[nearest[hit]], positions[hit]
        blocks = np.searchsorted(self.starts, numbers, side="right") - 1
        for block in np.unique(blocks).tolist():
            values[targets[blocks == block]] = self.values[block][numbers[blocks == block] - self.starts[block]]
        return hit

    def table(self) -> npt.NDArray[np.void]:
        """Return all scores in the order in which they were added."""
        width = self.values[0].shape[1] - 1 if self.values else 1
        table = np.empty(len(self.keys), _score_record(width))
        table["high"][self.numbers], table["low"][self.numbers] = self.keys["high"], self.keys["low"]
        for start, values in zip(self.starts, self.values, strict=False):
            block = slice(start, start + len(values))
            table["value"][block] = np.ascontiguousarray(values[:, :width]).view(f"V{width}").reshape(-1)
            table["cut"][block] = values[:, width]
        return table


_KEY_RECORD = np.dtype([("high", "<u8"), ("low", "<u8")])


def _key_records(keys: KeyArray) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(keys, np.uint64).view(_KEY_RECORD).reshape(-1)


def _score_record(width: int) -> list[tuple[str, str]]:
    return [("high", "<u8"), ("low", "<u8"), ("value", f"V{width}"), ("cut", "?")]


@dataclass
class _ScoreIndex:
    """The scores of one model in several files, by key; all arrays are memory-mapped.

    `high` are the high halves of all keys, sorted, and `packed_row` says where each is: (file << 40) + row in the file.
    """

    high: npt.NDArray[np.uint64]
    packed_row: npt.NDArray[np.uint64]
    files: list[npt.NDArray[np.void]]

    @classmethod
    def open(cls, path: Path) -> _ScoreIndex:
        names = (path / "files.txt").read_text(encoding="utf-8").splitlines()
        return cls(
            np.load(path / "high.npy", mmap_mode="r"),
            np.load(path / "place.npy", mmap_mode="r"),
            [np.load(name, mmap_mode="r") for name in names],
        )

    def fill(self, keys: KeyArray, positions: npt.NDArray[np.int64], values: ByteTable) -> npt.NDArray[np.bool_]:
        """Copy the scores of those N keys that are included to `values` at `positions` (N,); return which are."""
        hit = np.zeros(len(keys), np.bool_)
        if not len(self.high):
            return hit
        starts = np.searchsorted(self.high, keys[:, 0])
        # Keys with the same high half are adjacent. Two are rare; five do not occur in practice.
        for step in range(4):
            candidates = starts + step
            pending = ~hit & (candidates < len(self.high))
            candidates = np.where(pending, candidates, 0)
            same_high = pending & (self.high[candidates] == keys[:, 0])
            if not same_high.any():
                break
            selected = np.flatnonzero(same_high)
            self._fill_candidates(keys, positions, values, hit, selected, self.packed_row[candidates[selected]])
        return hit

    def _fill_candidates(
        self,
        keys: KeyArray,
        positions: npt.NDArray[np.int64],
        values: ByteTable,
        hit: npt.NDArray[np.bool_],
        selected: npt.NDArray[np.int64],
        packed_rows: npt.NDArray[np.uint64],
    ) -> None:
        """Copy the scores of the `selected` keys if the low half of their candidate row is also equal; update `hit`."""
        numbers = (packed_rows >> np.uint64(40)).astype(np.int64)
        rows = (packed_rows & np.uint64(2**40 - 1)).astype(np.int64)
        for number in np.unique(numbers).tolist():
            in_file = selected[numbers == number]
            records = self.files[number][rows[numbers == number]]
            equal = records["low"] == keys[in_file, 1]
            if equal.any():
                raw = np.ascontiguousarray(records["value"][equal]).view(np.uint8).reshape(int(equal.sum()), -1)
                values[positions[in_file[equal]]] = np.column_stack([raw, records["cut"][equal]])
                hit[in_file[equal]] = True
            _release_pages(self.files[number])


def _release_pages(mapped: npt.NDArray[np.void]) -> None:
    """Release the pages of a mapped file, which count as memory of this process; the system cache keeps them."""
    inner = getattr(mapped, "_mmap", None)
    if inner is not None and hasattr(mmap, "MADV_DONTNEED"):
        inner.madvise(mmap.MADV_DONTNEED)


def build_index(folders: Sequence[Path], target: Path) -> None:
    """Index all scores in cache folders, by model, and replace the folder `target` with the index.

    Raises:
        RunFolderError: a file of the cache is broken.
    """
    remove(target)
    for model in sorted({path.name for folder in folders for path in _subfolders(folder)}):
        done = target / model / "files.txt"
        names = [name for folder in folders for name in sorted((folder / model).glob("*.npy"))]
        highs, packed_rows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for number, name in enumerate(names):
            high = np.array(_load(name)["high"])
            highs.append(high)
            packed_rows.append(np.arange(len(high), dtype=np.uint64) + (np.uint64(number) << np.uint64(40)))
        high = np.concatenate(highs)
        order = np.argsort(high, kind="stable")
        for part, values in (("high.npy", high[order]), ("place.npy", np.concatenate(packed_rows)[order])):
            with atomic_file(target / model / part) as sink:
                np.save(sink, values)
        # Written last: an index without this file counts as missing.
        with atomic_file(done, "w") as sink:
            sink.write("".join(f"{name.resolve()}\n" for name in names))


def count_cut(folder: Path) -> list[CutCounts]:
    """Count, for each model with a limit, the different contents in a cache folder, and those that it cut.

    Several units may have stored the same content, and a unit that was killed is stored again, so different contents
    are counted.
    """
    counts = []
    for path in sorted(_subfolders(folder)):
        reader = ScoreReader(**json.loads((path / READER_FILE).read_text(encoding="utf-8")))
        if reader.max_tokens is None:
            continue
        tables = [_load(name) for name in sorted(path.glob("*.npy"))]
        keys = np.concatenate([np.column_stack([table["high"], table["low"]]) for table in tables])
        cut = np.concatenate([np.array(table["cut"]) for table in tables])
        n_contents, n_cut = len(np.unique(_key_records(keys))), len(np.unique(_key_records(keys[cut])))
        counts.append(CutCounts(reader.name, reader.reads, reader.max_tokens, n_contents, n_cut))
    return counts


def _load(path: Path) -> npt.NDArray[np.void]:
    try:
        table: npt.NDArray[np.void] = np.load(path, mmap_mode="r")
        if table.dtype.names != ("high", "low", "value", "cut"):
            raise ValueError(f"its columns are {table.dtype.names}, expected high, low, value, cut")
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is not a file of scores: {error}. Delete it; it is only a cache") from None
    return table


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else iter(())
