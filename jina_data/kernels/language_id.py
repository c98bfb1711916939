"""Identifies languages with a fastText model: label and probability of each text, from the UTF-8 of an Arrow array.

The kernel follows the runtime (fastText 0.9.2) step by step, including single precision and the order of additions. So
it gives the same bits, unless the compiler of the runtime fused multiplications with additions.

- The features of a token are the row of the token, if it is in the model, and those of its n-grams
  (`kernels/language_grams`). Tokens that are labels, or begin like one, do not count. `</s>` ends a text, and is
  appended to every text.
- The mean of the rows goes down a Huffman tree of labels (or through a softmax). A path multiplies p + 1e-5 at each
  node, so a probability can exceed 1. The most likely label wins; of equal ones the last.

The runtime handles models with another loss, with n-grams of words, or with values that are NaN or infinite.

The kernels release the GIL and start no threads. Importing this module loads them from numba's cache or
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
    GramWords,
    SmallArray,
    enclose,
    find_word,
    grams_at,
    index_grams,
    index_words,
    is_end,
    is_label,
    resolve_rows,
    rows_of_words,
    separates,
)
from jina_data.kernels.words import BYTES, LONGS, ByteArray, IntArray, Integer, inner, string_buffers

NONE, NAN = -1, -2
"""In place of a label: nothing in the text is in the model, not even `</s>`; an output is not a number."""

_NOT_BUILT = 10**15  # the count of a node of the tree that is not built yet
_EPSILON = 1e-5
_BLOCK = 64  # rows are collected up to this number before they are added up


class Output(NamedTuple):
    """From the mean vector to a label: `rows` (D, L) and `scales` (L,) of the tree's inner nodes, or of the labels.

    `left_children` and `right_children` (2 L - 1,) are the children of each node of the tree, whose first L nodes are
    the labels and whose last is the root. Without a tree both are empty.
    """

    rows: FloatArray
    scales: FloatArray
    left_children: SmallArray
    right_children: SmallArray


class Tables(NamedTuple):
    """The arrays of a model as the kernel needs them.

    The input rows of word w and its n-grams are `word_rows[word_row_ends[w]:word_row_ends[w + 1]]`. The last row of
    `inputs` is zero.
    """

    words: GramWords
    grams: Grams
    word_rows: SmallArray
    word_row_ends: IntArray
    inputs: FloatArray
    output: Output


_FLOATS = types.float32[:, ::1]
_OUTPUT = types.NamedTuple((_FLOATS, types.float32[::1], SMALLS, SMALLS), Output)
_TABLES = types.NamedTuple((WORDS, GRAMS, SMALLS, types.int64[::1], _FLOATS, _OUTPUT), Tables)


def is_supported(settings: Settings) -> bool:
    """Return whether the kernel supports models with these settings."""
    return settings.loss in (HIERARCHICAL, SOFTMAX) and settings.word_ngrams <= 1


def is_finite(model: Model) -> bool:
    """Return whether all numbers of a model are finite, which the kernel requires."""
    return all(bool(np.isfinite(numbers).all()) for numbers in (model.inputs, model.outputs, model.scales))


def build_tables(model: Model) -> Tables:
    """Build the arrays of the kernel for a supported model."""
    words = index_words([*model.words, *model.labels], len(model.words))
    grams, rows_in_order = index_grams(model)
    n_words = len(model.words)
    zeros = np.zeros((1, model.settings.dim), np.float32)
    parts = [model.inputs] if rows_in_order is None else [model.inputs[:n_words], model.inputs[n_words + rows_in_order]]
    return Tables(words, grams, *rows_of_words(words, grams), np.concatenate([*parts, zeros]), _output(model))


def identify(
    tables: Tables, values: pa.LargeStringArray, products: FloatArray | None = None
) -> tuple[SmallArray, npt.NDArray[np.float64]]:
    """Return label and probability of N texts, (N,): an index into the model's labels, or NONE or NAN.

    A null is an empty text. `products` (N, L) gets the products of each text with the output rows, zero without any.
    """
    data, offsets = string_buffers(values)
    longest = int(np.diff(offsets).max(initial=0))
    labels, probability = np.empty(len(values), np.int32), np.empty(len(values), np.float64)
    saved = np.empty((0, 0), np.float32) if products is None else products
    _identify(data, offsets, tables, np.empty(longest + 2, np.uint8), labels, probability, saved)
    return labels, probability


def _output(model: Model) -> Output:
    # With the rows as columns, the products with all of them take hardly longer than with a few.
    columns, scales = np.array(model.outputs.T, order="C"), model.scales.astype(np.float32)
    return Output(columns, scales, *_tree(model.label_counts if model.settings.loss == HIERARCHICAL else []))


def _tree(label_counts: list[int]) -> tuple[SmallArray, SmallArray]:
    """Build the Huffman tree of the labels: their counts descend, so the two smallest are the last labels or nodes."""
    n_labels = len(label_counts)
    counts = [*label_counts, *[_NOT_BUILT] * (n_labels - 1)]
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
def _add_rows(hidden: FloatArray, tables: Tables, rows: SmallArray, n_rows: Integer) -> Integer:
    """Add input rows to `hidden`, eight at a time; move the fewer than eight that remain to the front, return how many.

    Rows are added one after the other, as in the runtime; eight at a time keep the sums in registers. The sum depends
    on the order of `rows` alone, not on where a block ends.
    """
    start, inputs = 0, tables.inputs
    resolve_rows(tables.grams, tables.words.n_words, rows, 0, n_rows)
    while start + 8 <= n_rows:
        a, b, c, d = rows[start], rows[start + 1], rows[start + 2], rows[start + 3]
        e, f, g, h = rows[start + 4], rows[start + 5], rows[start + 6], rows[start + 7]
        for k in range(len(hidden)):
            half_sum = hidden[k] + inputs[a, k] + inputs[b, k] + inputs[c, k] + inputs[d, k]
            hidden[k] = half_sum + inputs[e, k] + inputs[f, k] + inputs[g, k] + inputs[h, k]
        start += 8
    for k in range(start, n_rows):
        rows[k - start] = rows[k]
    return n_rows - start


@inner
def _sum_text(
    data: ByteArray, i: Integer, end: Integer, tables: Tables, token: ByteArray, rows: SmallArray, hidden: FloatArray
) -> Integer:
    """Set `hidden` to the sum of the input rows of a text; return their number.

    `rows[:n_pending]` wait to be added. Before each append n_pending < _BLOCK, and a call of `grams_at` writes at most
    `maxn` entries more; the last block is filled up with at most 7 zero rows. So `rows` (_BLOCK + maxn + 7,) suffices.
    """
    words, grams = tables.words, tables.grams
    n_rows, n_pending, at_end = np.int64(0), np.int64(0), False
    hidden[:] = 0
    while not at_end:
        while i < end and separates(data[i]):
            i += 1
        word, size, at_end = words.end, np.int64(0), i == end
        if not at_end:
            size, h = enclose(data, i, end, token)
            i += size - 2
            word, at_end = find_word(words, h, token, size), is_end(token, size)
        if 0 <= word < words.n_words:
            n_rows += tables.word_row_ends[word + 1] - tables.word_row_ends[word]
            for entry in range(tables.word_row_ends[word], tables.word_row_ends[word + 1]):
                rows[n_pending] = tables.word_rows[entry]
                n_pending += 1
                if n_pending >= _BLOCK:
                    n_pending = _add_rows(hidden, tables, rows, n_pending)
        elif word < 0 and not at_end and not is_label(token, size):
            for start in range(size):
                if token[start] & 0xC0 != 0x80:
                    stop = grams_at(token, start, size, grams, rows, n_pending)
                    n_rows += stop - n_pending
                    n_pending = stop if stop < _BLOCK else _add_rows(hidden, tables, rows, stop)
    for k in range(n_pending, n_pending + 7):
        rows[k] = len(tables.inputs) - 1  # the zero row fills the last block up to eight
    _add_rows(hidden, tables, rows, n_pending + 7)
    return n_rows


@inner
def _log(p: np.float32) -> np.float32:
    return np.float32(math.log(np.float64(p) + _EPSILON))


@inner
def _branch_logs(product: np.float32) -> tuple[np.float32, np.float32]:
    """Return the logarithms of the probabilities of the left and right child."""
    p_right = np.float32(1.0 / np.float64(np.float32(1) + np.float32(math.exp(-product))))
    return _log(np.float32(1.0 - np.float64(p_right))), _log(p_right)


@inner
def _descend(products: FloatArray, output: Output, nodes: SmallArray, scores: FloatArray) -> tuple[Integer, np.float32]:
    """Find the most likely label of a tree, and the logarithm of its probability.

    The runtime visits the left child first and skips nodes below the best score so far, although the epsilon that each
    branch adds could still lift them above it. A first descent along the likelier children gives a bound, lowered by
    more than these surpluses, that skips most nodes early. `nodes[:top]` and `scores[:top]` are the stack of a
    depth-first search. It grows by one at each of the L - 1 inner nodes at most; there is room for 2 L + 1.
    """
    n_labels, root = len(output.rows[0]), len(output.left_children) - 1
    node, bound, depth = np.int64(root), np.float32(0), 0
    while node >= n_labels:
        log_left, log_right = _branch_logs(products[node - n_labels])
        node, bound = (
            (output.left_children[node], bound + log_left)
            if log_left > log_right
            else (output.right_children[node], bound + log_right)
        )
        depth += 1
    bound = max(np.float32(bound - np.float32(0.01) - np.float32(0.0001) * depth), _log(np.float32(0)))
    best_label, best_score = np.int64(NONE), bound
    nodes[0], scores[0], top = root, 0, 1
    while top:
        top -= 1
        node, score = np.int64(nodes[top]), scores[top]
        if score < best_score:
            continue
        if node < n_labels:
            best_label, best_score = node, score
            continue
        log_left, log_right = _branch_logs(products[node - n_labels])
        nodes[top], scores[top] = output.right_children[node], score + log_right
        nodes[top + 1], scores[top + 1] = output.left_children[node], score + log_left
        top += 2
    return best_label, best_score


@inner
def _softmax(products: FloatArray) -> tuple[Integer, np.float32]:
    """Find the most likely label by softmax, of equal ones the last, and the logarithm of its probability."""
    largest, total = products[0], np.float32(0)
    for label in range(len(products)):
        largest = max(largest, products[label])
    for label in range(len(products)):
        products[label] = np.float32(math.exp(np.float32(products[label] - largest)))
        total += products[label]
    best_label, best_score = np.int64(NONE), _log(np.float32(0))
    for label in range(len(products)):
        p = products[label] / total
        if best_label < 0 or p > np.float32(0.9999) * products[best_label] / total:
            score = _log(p)
            if score >= best_score:
                best_label, best_score = np.int64(label), score
    return best_label, best_score


# `token` has room for the longest text and two brackets. `hidden` (D,), `products` (L,), `rows` and the stack of
# `_descend` are scratch, overwritten for each text before they are read, and belong to this call. So the result of a
# text depends neither on the texts around it nor on the thread.
@njit(
    types.void(BYTES, LONGS, _TABLES, types.uint8[::1], types.int32[::1], types.float64[::1], _FLOATS),
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
    saved: FloatArray,
) -> None:
    output = tables.output
    hidden, products = np.empty(len(output.rows), np.float32), np.empty(len(output.rows[0]), np.float32)
    rows = np.empty(_BLOCK + tables.grams.maxn + 7, np.int32)
    nodes, scores = (
        np.empty(len(output.left_children) + 2, np.int32),
        np.empty(len(output.left_children) + 2, np.float32),
    )
    for text in range(len(labels)):
        n_rows = _sum_text(data, offsets[text], offsets[text + 1], tables, token, rows, hidden)
        if n_rows == 0:
            labels[text], probability[text] = NONE, 0.0
            continue
        share = np.float32(1.0 / n_rows)
        products[:] = 0
        for k in range(len(hidden)):
            value = hidden[k] * share
            for label in range(len(products)):
                products[label] += output.rows[k, label] * value
        is_number = True
        for label in range(len(products)):
            products[label] *= output.scales[label]
            is_number &= products[label] == products[label]
        if len(saved):
            saved[text] = products
        if not is_number:
            labels[text], probability[text] = NAN, 0.0
        else:
            best, score = _descend(products, output, nodes, scores) if len(output.left_children) else _softmax(products)
            labels[text], probability[text] = best, np.float64(np.float32(math.exp(score)))
