"""The vectors of many texts on disk, in units: each is one file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jina_data.embed.base import Embedder
from jina_data.errors import ModelError
from jina_data.kernels.rank import HalfArray
from jina_data.mining.pairs import UNIT_ROWS
from jina_data.mining.store import LongArray, Texts
from jina_data.progress import Task
from jina_data.run.folder import Events, whole_file, write_json


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
