"""Stores many texts and their vectors on disk, by number."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import Embedder
from jina_data.errors import ModelError
from jina_data.kernels.rank import HalfArray
from jina_data.progress import Task
from jina_data.run.events import Events
from jina_data.run.files import atomic_file, remove, write_json

LongArray = npt.NDArray[np.int64]

UNIT_ROWS = 4096
"""Pairs, anchors and texts in a unit of work."""


class TextStore:
    """Texts by number, memory-mapped; `row_ids` are the packed ids of the rows where they first occur.

    `bytes` holds the texts one after the other in UTF-8. Text i is the bytes from ends[i] to ends[i + 1]; ends[0] is 0.
    """

    def __init__(self, folder: Path) -> None:
        # An empty file cannot be mapped.
        self._bytes = np.memmap(folder / "bytes", np.uint8, "r") if (folder / "bytes").stat().st_size else np.zeros(0)
        self._ends = np.load(folder / "ends.npy", mmap_mode="r")
        self.row_ids: LongArray = np.load(folder / "places.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.row_ids)

    def __getitem__(self, number: int) -> str:
        return bytes(self._bytes[self._ends[number] : self._ends[number + 1]]).decode("utf-8", "surrogatepass")

    def take(self, numbers: Iterable[int]) -> list[str]:
        """Return the texts with the given numbers."""
        return [self[number] for number in numbers]


class TextSink:
    """Writes the texts of a `TextStore`, in order."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self.ends = [0]
        self.row_ids = [np.zeros(0, np.int64)]

    def add(self, texts: Sequence[str], row_ids: LongArray) -> None:
        """Add texts, each with the packed id of its row."""
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._data.write(data)
            self.ends.append(self.ends[-1] + len(data))
        self.row_ids.append(row_ids)


@contextlib.contextmanager
def write_texts(folder: Path) -> Iterator[TextSink]:
    """Write texts into a folder, which appears only when it is complete."""
    unfinished = folder.with_name(f".{folder.name}.tmp")
    remove(unfinished)
    unfinished.mkdir(parents=True)
    with (unfinished / "bytes").open("wb") as data:
        sink = TextSink(data)
        yield sink
    np.save(unfinished / "ends.npy", np.array(sink.ends, np.int64))
    np.save(unfinished / "places.npy", np.concatenate(sink.row_ids))
    unfinished.replace(folder)


class Vectors:
    """The vectors of texts by number: a file for each unit of `UNIT_ROWS` texts."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim

    def path(self, unit: int) -> Path:
        """The file of a unit."""
        return self.folder / f"part-{unit:06d}.npy"

    def read(self, start: int, stop: int) -> HalfArray:
        """Return the vectors from one number up to another, exclusive, (n, D)."""
        parts = [
            np.load(self.path(unit), mmap_mode="r")[max(start - unit * UNIT_ROWS, 0) : stop - unit * UNIT_ROWS]
            for unit in range(start // UNIT_ROWS, -(-stop // UNIT_ROWS))
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float16), *parts])

    def take(self, numbers: LongArray) -> HalfArray:
        """Return the vectors with the given numbers, (n, D)."""
        out = np.empty((len(numbers), self.dim), np.float16)
        units = numbers // UNIT_ROWS
        for unit in np.unique(units).tolist():
            in_unit = units == unit
            out[in_unit] = np.load(self.path(unit), mmap_mode="r")[numbers[in_unit] - unit * UNIT_ROWS]
        return out


def embed(texts: TextStore, vectors: Vectors, embedder: Embedder, *, kind: str, events: Events, task: Task) -> int:
    """Embed all texts that have no vectors yet; return how many of all texts were truncated by the model.

    Raises:
        ModelError: a vector is not finite.
    """
    n_cut = 0
    for unit in range(-(-len(texts) // UNIT_ROWS)):
        start, stop = unit * UNIT_ROWS, min((unit + 1) * UNIT_ROWS, len(texts))
        # Written after the vectors: a unit is complete when this file exists.
        counts = vectors.path(unit).with_suffix(".json")
        if not counts.exists():
            with events.unit(f"embed {kind} {unit}"):
                cut = np.zeros(stop - start, np.bool_)
                encoded = embedder.encode(texts.take(range(start, stop)), cut=cut)
                if not np.isfinite(encoded).all():
                    raise ModelError(
                        f"the embedder {embedder.name!r} returned vectors that are not finite. Its weights may be "
                        "damaged, or its values too large for half precision: try --device cpu"
                    )
                with atomic_file(vectors.path(unit)) as sink:
                    np.save(sink, np.ascontiguousarray(encoded, np.float16))
                write_json(counts, {"cut": int(cut.sum())})
        n_cut += int(json.loads(counts.read_text(encoding="utf-8"))["cut"])
        task.advance(stop - start)
    return n_cut
