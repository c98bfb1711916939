"""What a fastText model says of texts: label and probability of each, straight from the UTF-8 of an Arrow array.

It follows the runtime (fastText 0.9.2) step by step, single precision and order of additions included, so that it
gives the same bits, unless the compiler of the runtime fused multiplications with additions.

- A token counts as itself, if the model knows it, and as its n-grams (`kernels/language_grams`). Those that are labels,
  or begin like one, do not count. `</s>` ends a text, and stands behind every text.
- The mean of their vectors goes down a Huffman tree of labels (or through a softmax). A path multiplies p + 1e-5 at
  each turn, so a probability can exceed 1. The likeliest label wins; of equal ones the last.

Models with another loss, with n-grams of words, or with numbers that are none are left to the runtime.

Kernels here release the GIL and use no threads of their own. Importing this module loads them from numba's cache, or
compiles them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.fasttext_file import HIERARCHICAL, SOFTMAX, FloatArray, Model, Settings
from jina_data.kernels.language_grams import (
    GRAMS,
    SMALLS,
    WORDS,
    Grams,
    SmallArray,
    Words,
    enclose,
    find_word,
    grams_at,
    index_grams,
    index_words,
    is_end,
    is_label,
    known_rows,
    separates,
    settle,
)
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner, string_buffers

NONE, NAN = -1, -2
"""Instead of a label: the model knows nothing in the text, not even its end; a sum is not a number."""

_UNKNOWN = 10**15  # the count of a node of the tree that is not there yet
_SLIGHT = 1e-5
_BLOCK = 64  # so many rows are noted before they are added up


class Output(NamedTuple):
    """From the mean vector to a label: `rows` (D, L) and `scales` (L,) of the tree's inner nodes, or of the labels.

    `left` and `right` (2 L - 1,) are the children of each node of the tree, whose first L nodes are the labels. Without
    a tree both are empty.
    """

    rows: FloatArray
    scales: FloatArray
    left: SmallArray
    right: SmallArray


class Tables(NamedTuple):
    """A model, ready for the kernel: `known` holds the input rows of word w, itself and its n-grams, from
    `known_ends[w]` to `known_ends[w + 1]`. The last input row is zero."""

    words: Words
    grams: Grams
    known: SmallArray
    known_ends: IntArray
    inputs: FloatArray
    output: Output


_FLOATS = types.float32[:, ::1]
_OUTPUT = types.NamedTuple((_FLOATS, types.float32[::1], SMALLS, SMALLS), Output)
_TABLES = types.NamedTuple((WORDS, GRAMS, SMALLS, types.int64[::1], _FLOATS, _OUTPUT), Tables)


def is_supported(settings: Settings) -> bool:
    """Tell whether the kernel knows models with these settings."""
    return settings.loss in (HIERARCHICAL, SOFTMAX) and settings.word_ngrams <= 1


def is_finite(model: Model) -> bool:
    """Tell whether all numbers of a model are numbers; the kernel looks after nothing else."""
    return all(bool(np.isfinite(part).all()) for part in (model.inputs, model.outputs, model.scales))


def build_tables(model: Model) -> Tables:
    """Make a supported model ready for the kernel."""
    words = index_words([*model.words, *model.labels], len(model.words))
    grams, order = index_grams(model)
    n_words = len(model.words)
    zeros = np.zeros((1, model.settings.dim), np.float32)
    parts = [model.inputs] if order is None else [model.inputs[:n_words], model.inputs[n_words + order]]
    return Tables(words, grams, *known_rows(words, grams), np.concatenate([*parts, zeros]), _output(model))


def identify(tables: Tables, values: pa.LargeStringArray) -> tuple[SmallArray, npt.NDArray[np.float64]]:
    """Return label and probability of N texts, (N,): an index into the model's labels, or NONE or NAN.

    A null is an empty text.
    """
    data, offsets = string_buffers(values)
    longest = int(np.diff(offsets).max(initial=0))
    labels, probability = np.empty(len(values), np.int32), np.empty(len(values), np.float64)
    _identify(data, offsets, tables, np.empty(longest + 2, np.uint8), labels, probability)
    return labels, probability


def _output(model: Model) -> Output:
    # Products with all rows at once, which stand as columns, take hardly longer than with a few.
    columns, scales = np.array(model.outputs.T, order="C"), model.scales.astype(np.float32)
    return Output(columns, scales, *_tree(model.label_counts if model.settings.loss == HIERARCHICAL else []))


def _tree(label_counts: list[int]) -> tuple[SmallArray, SmallArray]:
    """Build the Huffman tree of the labels: their counts descend, so the two smallest are the last labels or nodes."""
    n_labels = len(label_counts)
    counts = [*label_counts, *[_UNKNOWN] * (n_labels - 1)]
    children = np.full((2, len(counts)), -1, np.int32)
    leaf, node = n_labels - 1, n_labels
    for parent in range(n_labels, len(counts)):
        for side in range(2):
            if leaf >= 0 and counts[leaf] < counts[node]:
                children[side, parent], leaf = leaf, leaf - 1
            else:
                children[side, parent], node = node, node + 1
        counts[parent] = sum(counts[child] for child in children[:, parent])
    return children[0], children[1]


@inner
def _add_rows(hidden: FloatArray, tables: Tables, rows: SmallArray, found: Integer) -> Integer:
    """Add up the first `found` rows but for the last few, which move to the front; return how many those are.

    One is added after the other, as the runtime does; eight at a time, so that sums stay in registers.
    """
    at, inputs = 0, tables.inputs
    settle(tables.grams, tables.words.n_words, rows, 0, found)
    while at + 8 <= found:
        a, b, c, d = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
        e, f, g, h = rows[at + 4], rows[at + 5], rows[at + 6], rows[at + 7]
        for k in range(len(hidden)):
            four = hidden[k] + inputs[a, k] + inputs[b, k] + inputs[c, k] + inputs[d, k]
            hidden[k] = four + inputs[e, k] + inputs[f, k] + inputs[g, k] + inputs[h, k]
        at += 8
    for k in range(at, found):
        rows[k - at] = rows[k]
    return found - at


@inner
def _sum_text(
    data: ByteArray, i: Integer, end: Integer, tables: Tables, token: ByteArray, rows: SmallArray, hidden: FloatArray
) -> Integer:
    """Add up the rows of a text; return how many there are."""
    words, grams = tables.words, tables.grams
    n_rows, found, is_over = np.int64(0), np.int64(0), False
    hidden[:] = 0
    while not is_over:
        while i < end and separates(data[i]):
            i += 1
        word, size, is_over = words.end, np.int64(0), i == end
        if not is_over:
            size, h = enclose(data, i, end, token)
            i += size - 2
            word, is_over = find_word(words, h, token, size), is_end(token, size)
        if 0 <= word < words.n_words:
            n_rows += tables.known_ends[word + 1] - tables.known_ends[word]
            for at in range(tables.known_ends[word], tables.known_ends[word + 1]):
                rows[found] = tables.known[at]
                found += 1
                if found >= _BLOCK:
                    found = _add_rows(hidden, tables, rows, found)
        elif word < 0 and not is_over and not is_label(token, size):
            for first in range(size):
                if token[first] & 0xC0 != 0x80:
                    behind = grams_at(token, first, size, grams, rows, found)
                    n_rows += behind - found
                    found = behind if behind < _BLOCK else _add_rows(hidden, tables, rows, behind)
    for k in range(found, found + 7):
        rows[k] = len(tables.inputs) - 1  # zeros: what is left is filled up to eight
    _add_rows(hidden, tables, rows, found + 7)
    return n_rows


@inner
def _log(p: np.float32) -> np.float32:
    return np.float32(math.log(np.float64(p) + _SLIGHT))


@inner
def _turns(product: np.float32) -> tuple[np.float32, np.float32]:
    """Return the logarithms of the probabilities of going left and right."""
    right = np.float32(1.0 / np.float64(np.float32(1) + np.float32(math.exp(-product))))
    return _log(np.float32(1.0 - np.float64(right))), _log(right)


@inner
def _descend(products: FloatArray, output: Output, nodes: SmallArray, scores: FloatArray) -> tuple[Integer, np.float32]:
    """Find the likeliest label of a tree, and the logarithm of its probability.

    The runtime goes left first, and leaves out what is below the best so far, although the slight surplus of each turn
    could still lift it above. Going to any label at first tells what need not be looked at, with room for that.
    """
    n_labels, root = len(output.rows[0]), len(output.left) - 1
    node, bound, depth = np.int64(root), np.float32(0), 0
    while node >= n_labels:
        left, right = _turns(products[node - n_labels])
        node, bound = (output.left[node], bound + left) if left > right else (output.right[node], bound + right)
        depth += 1
    bound = max(np.float32(bound - np.float32(0.01) - np.float32(0.0001) * depth), _log(np.float32(0)))
    best, best_score = np.int64(NONE), bound
    nodes[0], scores[0], top = root, 0, 1
    while top:
        top -= 1
        node, score = np.int64(nodes[top]), scores[top]
        if score < best_score:
            continue
        if node < n_labels:
            best, best_score = node, score
            continue
        left, right = _turns(products[node - n_labels])
        nodes[top], scores[top] = output.right[node], score + right
        nodes[top + 1], scores[top + 1] = output.left[node], score + left
        top += 2
    return best, best_score


@inner
def _soften(products: FloatArray) -> tuple[Integer, np.float32]:
    """Find the likeliest label by softmax, of equal ones the last, and the logarithm of its probability."""
    most, total = products[0], np.float32(0)
    for k in range(len(products)):
        most = max(most, products[k])
    for k in range(len(products)):
        products[k] = np.float32(math.exp(np.float32(products[k] - most)))
        total += products[k]
    best, best_score = np.int64(NONE), _log(np.float32(0))
    for k in range(len(products)):
        p = products[k] / total
        if best < 0 or p > np.float32(0.9999) * products[best] / total:
            score = _log(p)
            if score >= best_score:
                best, best_score = np.int64(k), score
    return best, best_score


@njit(
    types.void(BYTES, LONGS, _TABLES, types.uint8[::1], types.int32[::1], types.float64[::1]),
    nogil=True,
    cache=True,
)
def _identify(
    data: ByteArray,
    offsets: IntArray,
    tables: Tables,
    token: ByteArray,
    labels: SmallArray,
    probability: npt.NDArray[np.float64],
) -> None:
    output = tables.output
    hidden, products = np.empty(len(output.rows), np.float32), np.empty(len(output.rows[0]), np.float32)
    rows = np.empty(_BLOCK + tables.grams.maxn + 7, np.int32)
    nodes, scores = np.empty(len(output.left) + 2, np.int32), np.empty(len(output.left) + 2, np.float32)
    for text in range(len(labels)):
        n_rows = _sum_text(data, offsets[text], offsets[text + 1], tables, token, rows, hidden)
        if n_rows == 0:
            labels[text], probability[text] = NONE, 0.0
            continue
        share = np.float32(1.0 / n_rows)
        products[:] = 0
        for k in range(len(hidden)):
            part = hidden[k] * share
            for one in range(len(products)):
                products[one] += output.rows[k, one] * part
        sound = True
        for one in range(len(products)):
            products[one] *= output.scales[one]
            sound &= products[one] == products[one]
        if not sound:
            labels[text], probability[text] = NAN, 0.0
        else:
            best, score = _descend(products, output, nodes, scores) if len(output.left) else _soften(products)
            labels[text], probability[text] = best, np.float64(np.float32(math.exp(score)))
