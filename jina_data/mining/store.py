"""Many texts on disk, found by their numbers: bytes, where each ends, and where each came from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from jina_data.run.folder import remove

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
