"""Read fastText model files (.bin and .ftz, versions 11 and 12), as FastText::loadModel does, and check their sizes.

The runtime trusts every number in the file: a wrong one makes it allocate without bound or read elsewhere.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

PREFIX = "__label__"
HIERARCHICAL, SOFTMAX = 1, 3
"""Kinds of output that `kernels.language_id` knows."""

_MAGIC, _SUPERVISED = 793712314, 3
_CENTROIDS = 256

FloatArray = npt.NDArray[np.float32]


class Settings(NamedTuple):
    """What a model was trained with. Version 11 ignores `maxn`, which is 0 here then."""

    dim: int
    word_ngrams: int
    loss: int
    bucket: int
    minn: int
    maxn: int


class Quantizer(NamedTuple):
    """Where a product quantizer stands in the file: parts of so many columns each, and their centroids."""

    at: int
    columns: int
    parts: int
    width: int


class Matrix(NamedTuple):
    """Where a matrix (rows, columns) stands in the file: its numbers, or its codes; and those of the rows' norms."""

    at: int
    rows: int
    columns: int
    codes: Quantizer | None = None
    norms_at: int = 0
    norms: Quantizer | None = None


@dataclass(frozen=True)
class Model:
    """A classifier of W words and L labels.

    `pruned` (K, 2) leads from the hash of an n-gram to its row behind those of the words; None: every hash has a row.
    The vector of input row i is `inputs[i]`; the output of row l is `scales[l]` times its product with `outputs[l]`.
    """

    settings: Settings
    words: list[bytes]
    labels: list[bytes]
    label_counts: list[int]
    pruned: npt.NDArray[np.int32] | None
    inputs: FloatArray
    outputs: FloatArray
    scales: FloatArray


def read_settings(path: str | Path) -> Settings:
    """Return what a model was trained with.

    Raises:
        OSError, ValueError: it cannot be read, or is not sound; the message says why.
    """
    with _open(path) as walk:
        return walk.settings


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return the labels of a sound model, without `__label__`, in the order of the file.

    Raises:
        OSError, ValueError: it cannot be read, or is not sound; the message says why.
    """
    with _open(path) as walk:
        return tuple(label.decode().removeprefix(PREFIX) for label in walk.labels)


def read_model(path: str | Path) -> Model:
    """Read a model.

    Raises:
        OSError, ValueError: it cannot be read, or is not sound; the message says why.
    """
    with _open(path) as walk:
        inputs, norms = _decode(walk.content, walk.inputs)
        outputs, scales = _decode(walk.content, walk.outputs)
        # The runtime multiplies a row by its norm as it adds it, but a product with a row after all is added up.
        return Model(
            walk.settings,
            walk.words,
            walk.labels,
            walk.label_counts,
            walk.pruned,
            inputs * norms[:, None] if walk.inputs.norms else inputs,
            outputs,
            scales,
        )


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[_Walk]:
    """Walk through a file, and keep it open."""
    with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            walk = _Walk(content)
        except struct.error:
            raise ValueError("it ends too early") from None
        yield walk


def _decode(content: mmap.mmap, matrix: Matrix) -> tuple[FloatArray, FloatArray]:
    """Return the rows of a matrix, and what each is to be multiplied by."""
    at, rows, columns, codes, norms_at, norms = matrix
    scales = np.ones(rows, np.float32)
    if codes is None:
        flat = np.frombuffer(content[at : at + 4 * rows * columns], "<f4")
        return flat.astype(np.float32, copy=False).reshape(rows, columns), scales
    out = np.empty((rows, columns), np.float32)
    picked = np.frombuffer(content[at : at + rows * codes.parts], np.uint8).reshape(rows, codes.parts)
    centroids = _centroids(content, codes)
    for part in range(codes.parts):
        first = part * codes.width
        width = min(codes.width, columns - first)
        some = centroids[_CENTROIDS * first :][: _CENTROIDS * width].reshape(_CENTROIDS, width)
        out[:, first : first + width] = some[picked[:, part]]
    if norms is not None:
        scales = _centroids(content, norms)[np.frombuffer(content[norms_at : norms_at + rows], np.uint8)]
    return out, scales


def _centroids(content: mmap.mmap, quantizer: Quantizer) -> FloatArray:
    size = 4 * _CENTROIDS * quantizer.columns
    return np.frombuffer(content[quantizer.at : quantizer.at + size], "<f4").astype(np.float32)


class _Walk:
    """One walk through a file: what it holds, and where the matrices stand."""

    def __init__(self, content: mmap.mmap) -> None:
        """Walk; raise ValueError or struct.error where the file is not sound."""
        self.content = content
        self.at = 0
        self.words: list[bytes] = []
        self.labels: list[bytes] = []
        self.label_counts: list[int] = []
        self.pruned: npt.NDArray[np.int32] | None = None
        self.settings = self._settings()
        n_pruned = self._dictionary()
        quantised = self._flag()
        _expect(quantised or n_pruned < 0, "it is pruned but not quantised: its format is too old")
        n_grams = self.settings.bucket if n_pruned < 0 else n_pruned
        self.inputs = self._matrix(len(self.words) + n_grams, quantised=quantised)
        quantised_output = self._flag()
        self.outputs = self._matrix(len(self.labels), quantised=quantised and quantised_output)

    def _settings(self) -> Settings:
        if len(self.content) < 8 or self._numbers("<ii")[0] != _MAGIC:
            raise ValueError("it does not begin like a fastText model")
        self.at = 4
        (version,) = self._numbers("<i")
        _expect(version in (11, 12), f"its format version is {version}, known are 11 and 12")
        dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _, _ = self._numbers("<12id")
        _expect(kind == _SUPERVISED, "it holds word vectors, not a classifier")
        # Version 11 classifiers ignore maxn.
        hashes = word_ngrams > 1 or (version == 12 and maxn > 0)
        sound = dim > 0 and loss in (1, 2, 3, 4) and minn >= 0 and maxn >= 0 and bucket >= (1 if hashes else 0)
        _expect(sound, "its settings are out of range")
        return Settings(dim, word_ngrams, loss, bucket, minn, maxn if version == 12 else 0)

    def _dictionary(self) -> int:
        """Read words and labels; return the number of n-grams left by pruning (-1: not pruned)."""
        size, n_words, n_labels, _, n_pruned = self._numbers("<iiiqq")
        _expect(n_words >= 0 and n_labels > 0 and size == n_words + n_labels, "its dictionary does not add up")
        for entry in range(size):
            end = self.content.find(b"\0", self.at)
            _expect(end >= 0, "its dictionary has no end")
            word, self.at = self.content[self.at : end], end + 1
            count, kind = self._numbers("<qb")
            _expect(kind == (0 if entry < n_words else 1) and 0 <= count < 10**15, "its dictionary is garbled")
            if kind == 1:
                self.labels.append(word)
                self.label_counts.append(count)
            else:
                self.words.append(word)
        if n_pruned >= 0:
            start = self.at
            self._skip(8 * n_pruned)
            self.pruned = np.frombuffer(self.content[start : self.at], "<i4").astype(np.int32).reshape(-1, 2)
            sound = (self.pruned[:, 1] >= 0) & (self.pruned[:, 1] < n_pruned)
            _expect(bool(sound.all()), "its n-gram index is out of range")
        return int(n_pruned)

    def _matrix(self, rows: int, *, quantised: bool) -> Matrix:
        """Step over a matrix of so many rows."""
        columns = self.settings.dim
        if not quantised:
            _expect(self._numbers("<qq") == (rows, columns), "a matrix has the wrong shape")
            start = self.at
            self._skip(4 * rows * columns)
            return Matrix(start, rows, columns)
        normed = self._flag()
        m, n, n_codes = self._numbers("<qqi")
        _expect((m, n) == (rows, columns), "a matrix has the wrong shape")
        start = self.at
        self._skip(n_codes)
        codes = self._quantizer(columns)
        _expect(n_codes == rows * codes.parts, "a quantised matrix has the wrong size")
        if not normed:
            return Matrix(start, rows, columns, codes)
        norms_at = self.at
        self._skip(rows)
        return Matrix(start, rows, columns, codes, norms_at, self._quantizer(1))

    def _quantizer(self, columns: int) -> Quantizer:
        """Step over a product quantizer."""
        dim, parts, width, last = self._numbers("<4i")
        sound = parts > 0 and 0 < last <= width and (parts - 1) * width + last == dim == columns
        _expect(sound, "a quantizer has the wrong shape")
        start = self.at
        self._skip(4 * _CENTROIDS * dim)
        return Quantizer(start, columns, parts, width)

    def _numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return values

    def _flag(self) -> bool:
        (value,) = self._numbers("<B")
        _expect(value in (0, 1), "it is garbled")
        return bool(value)

    def _skip(self, count: int) -> None:
        _expect(0 <= count <= len(self.content) - self.at, "it ends too early")
        self.at += count


def _expect(sound: bool, reason: str) -> None:
    if not sound:
        raise ValueError(reason)
