"""Many texts on disk, found by their numbers: bytes, where each ends, and where each came from."""

from __future__ import annotations

import contextlib
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
from jina_data.run.files import remove, whole_file, write_json

LongArray = npt.NDArray[np.int64]


class Texts:
    """Texts by number, memory-mapped; `places` are of the rows where they first occurred."""

    def __init__(self, folder: Path) -> None:
        self._bytes = np.memmap(folder / "bytes", np.uint8, "r") if (folder / "bytes").stat().st_size else np.zeros(0)
        self._ends = np.load(folder / "ends.npy", mmap_mode="r")
        self.places: LongArray = np.load(folder / "places.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> str:
        return bytes(self._bytes[self._ends[number] : self._ends[number + 1]]).decode("utf-8", "surrogatepass")

    def take(self, numbers: Iterable[int]) -> list[str]:
        """Return some of the texts."""
        return [self[number] for number in numbers]


class TextSink:
    """Takes texts, in order."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self.ends = [0]
        self.places = [np.zeros(0, np.int64)]

    def add(self, texts: Sequence[str], places: LongArray) -> None:
        """Take some texts, each with the place of its row."""
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._data.write(data)
            self.ends.append(self.ends[-1] + len(data))
        self.places.append(places)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[TextSink]:
    """Write texts into a folder, which appears whole or not at all."""
    half = folder.with_name(f".{folder.name}.tmp")
    remove(half)
    half.mkdir(parents=True)
    with (half / "bytes").open("wb") as data:
        sink = TextSink(data)
        yield sink
    np.save(half / "ends.npy", np.array(sink.ends, np.int64))
    np.save(half / "places.npy", np.concatenate(sink.places))
    half.replace(folder)


UNIT_ROWS = 4096
"""Pairs, anchors and texts go in units of so many."""


class Vectors:
    """The vectors of texts, by number."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim

    def path(self, unit: int) -> Path:
        """The file of a unit."""
        return self.folder / f"part-{unit:06d}.npy"

    def read(self, first: int, stop: int) -> HalfArray:
        """Return the vectors from one number to before another, (n, D)."""
        parts = [
            np.load(self.path(unit), mmap_mode="r")[max(first - unit * UNIT_ROWS, 0) : stop - unit * UNIT_ROWS]
            for unit in range(first // UNIT_ROWS, -(-stop // UNIT_ROWS))
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float16), *parts])

    def take(self, numbers: LongArray) -> HalfArray:
        """Return some of the vectors, (n, D)."""
        out = np.empty((len(numbers), self.dim), np.float16)
        units = numbers // UNIT_ROWS
        for unit in np.unique(units).tolist():
            mine = units == unit
            out[mine] = np.load(self.path(unit), mmap_mode="r")[numbers[mine] - unit * UNIT_ROWS]
        return out


def embed(
    texts: Texts, vectors: Vectors, embedder: Embedder, *, prompt: str, kind: str, events: Events, task: Task
) -> int:
    """Embed all texts that have no vectors yet; return how many texts were longer than the model reads.

    Raises:
        ModelError: a vector is not finite.
    """
    n_cut = 0
    for unit in range(-(-len(texts) // UNIT_ROWS)):
        first, stop = unit * UNIT_ROWS, min((unit + 1) * UNIT_ROWS, len(texts))
        said = vectors.path(unit).with_suffix(".json")
        if not said.exists():
            with events.unit(f"embed {kind} {unit}"):
                cut = np.zeros(stop - first, np.bool_)
                found = embedder.encode([prompt + text for text in texts.take(range(first, stop))], cut=cut)
                if not np.isfinite(found).all():
                    raise ModelError(
                        f"the embedder {embedder.name!r} gave vectors that are not finite. Its weights may be damaged, "
                        "or its numbers too large for half precision: try --device cpu"
                    )
                with whole_file(vectors.path(unit)) as sink:
                    np.save(sink, np.ascontiguousarray(found, np.float16))
                write_json(said, {"cut": int(cut.sum())})
        n_cut += _cut_of(said)
        task.advance(stop - first)
    return n_cut


def _cut_of(path: Path) -> int:
    import json

    return int(json.loads(path.read_text(encoding="utf-8"))["cut"])
