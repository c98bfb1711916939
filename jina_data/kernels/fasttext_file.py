"""Reads fastText model files (.bin and .ftz, versions 11 and 12) as FastText::loadModel does, and checks their sizes.

The runtime does not check the numbers in a file: a wrong number makes it allocate without bound, or read outside of an
array.
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
"""Kinds of output that `kernels.language_id` supports."""

_MAGIC, _SUPERVISED = 793712314, 3
_CENTROIDS = 256

FloatArray = npt.NDArray[np.float32]


class Settings(NamedTuple):
    """The settings that a model was trained with. `maxn` is 0 in a model of version 11, which ignores it."""

    dim: int
    word_ngrams: int
    loss: int
    bucket: int
    minn: int
    maxn: int


class Quantizer(NamedTuple):
    """The position of a product quantizer in the file: centroids at `offset`, for `parts` parts of `width` columns."""

    offset: int
    columns: int
    parts: int
    width: int


class Matrix(NamedTuple):
    """The position of a matrix (rows, columns) in the file: its numbers or codes, and the codes of the rows' norms."""

    offset: int
    rows: int
    columns: int
    codes: Quantizer | None = None
    norms_offset: int = 0
    norms: Quantizer | None = None


@dataclass(frozen=True)
class Model:
    """A classifier of W words and L labels.

    `pruned` (K, 2) maps the hash of an n-gram to its row, counted from the end of the words' rows; None: every hash has
    a row. The vector of input row i is `inputs[i]`; the output of label l is `scales[l]` times the product of the
    hidden vector with `outputs[l]`.
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
    """Return the settings that a model was trained with.

    Raises:
        OSError, ValueError: the file cannot be read or is not valid; the message gives the reason.
    """
    with _open(path) as parser:
        return parser.settings


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return the labels of a valid model, without `__label__`, in the order of the file.

    Raises:
        OSError, ValueError: the file cannot be read or is not valid; the message gives the reason.
    """
    with _open(path) as parser:
        return tuple(label.decode().removeprefix(PREFIX) for label in parser.labels)


def read_label_counts(path: str | Path) -> dict[str, int]:
    """Return the number of training texts of each label of a valid model; see `read_labels`."""
    with _open(path) as parser:
        names = (label.decode().removeprefix(PREFIX) for label in parser.labels)
        return dict(zip(names, parser.label_counts, strict=True))


def read_model(path: str | Path) -> Model:
    """Read a model.

    Raises:
        OSError, ValueError: the file cannot be read or is not valid; the message gives the reason.
    """
    with _open(path) as parser:
        inputs, norms = _decode(parser.content, parser.inputs)
        outputs, scales = _decode(parser.content, parser.outputs)
        # The runtime scales an input row by its norm before it adds the row, but an output product after its sum.
        return Model(
            parser.settings,
            parser.words,
            parser.labels,
            parser.label_counts,
            parser.pruned,
            inputs * norms[:, None] if parser.inputs.norms else inputs,
            outputs,
            scales,
        )


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[_ModelParser]:
    """Parse a file, and keep it open."""
    with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            parser = _ModelParser(content)
        except struct.error:
            raise ValueError("it ends too early") from None
        yield parser


def _decode(content: mmap.mmap, matrix: Matrix) -> tuple[FloatArray, FloatArray]:
    """Return the rows of a matrix, and the factor of each row."""
    offset, rows, columns, codes, norms_offset, norms = matrix
    scales = np.ones(rows, np.float32)
    if codes is None:
        flat = np.frombuffer(content[offset : offset + 4 * rows * columns], "<f4")
        return flat.astype(np.float32, copy=False).reshape(rows, columns), scales
    out = np.empty((rows, columns), np.float32)
    code_rows = np.frombuffer(content[offset : offset + rows * codes.parts], np.uint8).reshape(rows, codes.parts)
    centroids = _centroids(content, codes)
    for part in range(codes.parts):
        start = part * codes.width
        width = min(codes.width, columns - start)
        part_centroids = centroids[_CENTROIDS * start :][: _CENTROIDS * width].reshape(_CENTROIDS, width)
        out[:, start : start + width] = part_centroids[code_rows[:, part]]
    if norms is not None:
        scales = _centroids(content, norms)[np.frombuffer(content[norms_offset : norms_offset + rows], np.uint8)]
    return out, scales


def _centroids(content: mmap.mmap, quantizer: Quantizer) -> FloatArray:
    size = 4 * _CENTROIDS * quantizer.columns
    return np.frombuffer(content[quantizer.offset : quantizer.offset + size], "<f4").astype(np.float32)


class _ModelParser:
    """The content of a model file, except for the matrices: of these, the positions in the file.

    `position` is the offset of the next byte to parse; nothing is read past the end of the file.
    """

    def __init__(self, content: mmap.mmap) -> None:
        """Parse; raise ValueError or struct.error where the file is not valid."""
        self.content = content
        self.position = 0
        self.words: list[bytes] = []
        self.labels: list[bytes] = []
        self.label_counts: list[int] = []
        self.pruned: npt.NDArray[np.int32] | None = None
        self.settings = self._settings()
        n_pruned = self._dictionary()
        quantised = self._flag()
        _expect(quantised or n_pruned < 0, "it is pruned but not quantised; this old format is not supported")
        n_grams = self.settings.bucket if n_pruned < 0 else n_pruned
        self.inputs = self._matrix(len(self.words) + n_grams, quantised=quantised)
        quantised_output = self._flag()
        self.outputs = self._matrix(len(self.labels), quantised=quantised and quantised_output)

    def _settings(self) -> Settings:
        if len(self.content) < 8 or self._numbers("<ii")[0] != _MAGIC:
            raise ValueError("it is not a fastText model: its first bytes differ")
        self.position = 4
        (version,) = self._numbers("<i")
        _expect(version in (11, 12), f"its format version is {version}; expected 11 or 12")
        dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _, _ = self._numbers("<12id")
        _expect(kind == _SUPERVISED, "it holds word vectors, not a classifier")
        # Version 11 classifiers ignore maxn.
        hashes = word_ngrams > 1 or (version == 12 and maxn > 0)
        sound = dim > 0 and loss in (1, 2, 3, 4) and minn >= 0 and maxn >= 0 and bucket >= (1 if hashes else 0)
        _expect(sound, "its settings are out of range")
        return Settings(dim, word_ngrams, loss, bucket, minn, maxn if version == 12 else 0)

    def _dictionary(self) -> int:
        """Read words and labels; return the number of n-grams that pruning kept (-1: not pruned)."""
        size, n_words, n_labels, _, n_pruned = self._numbers("<iiiqq")
        _expect(n_words >= 0 and n_labels > 0 and size == n_words + n_labels, "its dictionary does not add up")
        for entry in range(size):
            end = self.content.find(b"\0", self.position)
            _expect(end >= 0, "its dictionary ends in the middle of a word")
            word, self.position = self.content[self.position : end], end + 1
            count, kind = self._numbers("<qb")
            _expect(
                kind == (0 if entry < n_words else 1) and 0 <= count < 10**15, "an entry of its dictionary is invalid"
            )
            if kind == 1:
                self.labels.append(word)
                self.label_counts.append(count)
            else:
                self.words.append(word)
        if n_pruned >= 0:
            start = self.position
            self._skip(8 * n_pruned)
            self.pruned = np.frombuffer(self.content[start : self.position], "<i4").astype(np.int32).reshape(-1, 2)
            sound = (self.pruned[:, 1] >= 0) & (self.pruned[:, 1] < n_pruned)
            _expect(bool(sound.all()), "its n-gram index is out of range")
        return int(n_pruned)

    def _matrix(self, rows: int, *, quantised: bool) -> Matrix:
        """Skip a matrix of `rows` rows; return its position."""
        columns = self.settings.dim
        if not quantised:
            _expect(self._numbers("<qq") == (rows, columns), "a matrix has the wrong shape")
            start = self.position
            self._skip(4 * rows * columns)
            return Matrix(start, rows, columns)
        normed = self._flag()
        m, n, n_codes = self._numbers("<qqi")
        _expect((m, n) == (rows, columns), "a matrix has the wrong shape")
        start = self.position
        self._skip(n_codes)
        codes = self._quantizer(columns)
        _expect(n_codes == rows * codes.parts, "a quantised matrix has the wrong size")
        if not normed:
            return Matrix(start, rows, columns, codes)
        norms_offset = self.position
        self._skip(rows)
        return Matrix(start, rows, columns, codes, norms_offset, self._quantizer(1))

    def _quantizer(self, columns: int) -> Quantizer:
        """Skip a product quantizer; return its position."""
        dim, parts, width, last = self._numbers("<4i")
        sound = parts > 0 and 0 < last <= width and (parts - 1) * width + last == dim == columns
        _expect(sound, "a quantizer has the wrong shape")
        start = self.position
        self._skip(4 * _CENTROIDS * dim)
        return Quantizer(start, columns, parts, width)

    def _numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.position)
        self.position += struct.calcsize(form)
        return values

    def _flag(self) -> bool:
        (value,) = self._numbers("<B")
        _expect(value in (0, 1), "a flag is neither 0 nor 1")
        return bool(value)

    def _skip(self, count: int) -> None:
        _expect(0 <= count <= len(self.content) - self.position, "it ends too early")
        self.position += count


def _expect(sound: bool, reason: str) -> None:
    if not sound:
        raise ValueError(reason)
