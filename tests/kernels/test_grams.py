"""The features of texts against a plain implementation, and their products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.kernels import grams
from jina_data.kernels.grams import (
    BUCKETS,
    CHARS,
    WORDS,
    Features,
    all_products,
    concatenate,
    count_features,
    invert,
    products,
    weigh,
)
from jina_data.kernels.words import LETTER, NUMBER, UNSPACED, word_table

# The reference: the words and n-grams of a text as strings, in the order in which they end; hashed at the end.

BLANKS = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
MARKS = (18, 19, 20)
"""Word_Break Extend, Format and ZWJ in the table of classes."""


def reference(text: str) -> tuple[list[str], list[str]]:
    """Return the words and the character n-grams of a text."""
    words, chars = [], []
    word, before, token = "", "", ""
    for char in text + " ":
        kind = int(word_table()[ord(char)])
        is_mark = kind & 31 in MARKS
        is_counted = kind & (LETTER | NUMBER) and not kind & UNSPACED
        if is_counted or (is_mark and word):
            word += char
        elif word:
            words.append(word)
            word = ""
        if kind & UNSPACED:
            words += [char, before + char] if before else [char]
            chars += [before + char] if before else []
        # A mark between two letters of such a script does not separate them.
        before = char if kind & UNSPACED else before if is_mark and not word else ""
        is_blank = ord(char) <= 32 or char in BLANKS
        if not token and is_blank:
            continue
        token = (token or " ") + (" " if is_blank else char)
        chars += [token[-n:] for n in (3, 4) if len(token) >= n]
        token = "" if is_blank else token
    return words, chars


def bucket(feature: str) -> int:
    mask = 2**64 - 1
    state = 0xCBF29CE484222325
    for char in feature:
        state = (state ^ (ord(char) + 1)) * 0x9E3779B97F4A7C15 & mask
    return ((state ^ state >> 32) * 0x9E3779B97F4A7C15 & mask) >> (64 - grams.BITS)


def of_text(features: Features, row: int) -> list[tuple[int, float]]:
    span = slice(features.ends[row], features.ends[row + 1])
    return list(zip(features.ids[span].tolist(), features.weights[span].tolist(), strict=True))


def counted(strings: Sequence[str]) -> list[tuple[int, float]]:
    counts: dict[int, int] = {}
    for string in strings:
        counts[bucket(string)] = counts.get(bucket(string), 0) + 1
    return [(one, float(count)) for one, count in counts.items()]


def array(texts: Sequence[str | None]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def check(texts: Sequence[str | None]) -> None:
    features = count_features(array(texts))
    for kind in (WORDS, CHARS):
        assert len(features[kind]) == len(texts)
        assert features[kind].ends[0] == 0
        for row, text in enumerate(texts):
            assert of_text(features[kind], row) == counted(reference(text or "")[kind]), (kind, text)


# --------------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("text", "words", "chars"),
    [
        pytest.param("", "", "", id="empty"),
        pytest.param(" \t\n\u3000", "", "", id="white space"),
        pytest.param("a", "a", " a_", id="one letter"),
        pytest.param("ab", "ab", " ab|ab_| ab_", id="two letters"),
        pytest.param("abc d", "abc|d", " ab|abc| abc|bc_|abc_| d_", id="two tokens"),
        pytest.param("a-b", "a|b", " a-|a-b| a-b|-b_|a-b_", id="a hyphen"),
        pytest.param("ab\u202fcd", "ab|cd", " ab|ab_| ab_| cd|cd_| cd_", id="a narrow no-break space"),
        pytest.param("3.14", "3|14", " 3.|3.1| 3.1|.14|3.14|14_|.14_", id="digits"),
        pytest.param("a1", "a1", " a1|a1_| a1_", id="letter and digit"),
        pytest.param("!?", "", " !?|!?_| !?_", id="no word"),
        pytest.param("北京", "北|京|北京", "北京| 北京|北京_| 北京_", id="no spaces"),
        pytest.param("हिन्दी", "हिन्दी", None, id="Hindi: marks belong to the word"),
        pytest.param("ที่นี่", "ท|น|ทน", None, id="Thai: marks between letters do not count"),
        pytest.param("北 京", "北|京", " 北_| 京_", id="a blank separates"),
        pytest.param("x北京2024年", "x|北|京|北京|2024|年", None, id="mixed"),
        pytest.param("\u0301a", "a", None, id="a mark before the first letter"),
    ],
)
def test_features_of_small_texts(text: str, words: str, chars: str | None) -> None:
    found = count_features(array([text]))
    assert sorted(of_text(found[WORDS], 0)) == sorted(counted([one for one in words.split("|") if one]))
    if chars is not None:
        expected = [one.replace("_", " ") for one in chars.split("|") if one]
        assert sorted(of_text(found[CHARS], 0)) == sorted(counted(expected))
    check([text])


def test_occurrences_are_counted_in_the_order_of_the_first() -> None:
    (words, _) = count_features(array(["b a b c b a"]))
    assert of_text(words, 0) == [(bucket("b"), 3), (bucket("a"), 2), (bucket("c"), 1)]


def test_nulls_and_slices() -> None:
    texts = ["one two", None, "", "three", None, "one"]
    check(texts)
    whole, part = count_features(array(texts)), count_features(array(["x y", *texts, "z"])[1:7])
    for kind in (WORDS, CHARS):
        np.testing.assert_array_equal(whole[kind].ids, part[kind].ids)
        np.testing.assert_array_equal(whole[kind].ends, part[kind].ends)
    assert [len(one) for one in count_features(array([]))] == [0, 0]
    assert [len(one) for one in count_features(array([None]))] == [1, 1]


LETTERS = st.sampled_from([*"abé1 \t\n.-'_\u0301\u200d\u00ad\u202f\u3000", *"北京ที่กहिन्दीカー٣한글\U00020000\U0001f600"])
TEXTS = st.one_of(st.text(max_size=60), st.text(LETTERS, max_size=40), st.none())


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=3))
def test_features_are_as_the_reference_has_them(texts: list[str | None]) -> None:
    check(texts)


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=20), st.integers(1, 5))
def test_the_batch_does_not_matter(texts: list[str | None], size: int) -> None:
    whole = count_features(array(texts))
    parts = [count_features(array(texts[at : at + size])) for at in range(0, len(texts), size)]
    for kind in (WORDS, CHARS):
        joined = concatenate([part[kind] for part in parts])
        for name in ("ids", "weights", "ends"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(whole[kind], name))


def test_more_texts_than_a_chunk() -> None:
    texts = [f"text {n} of {n // 7} 北京{'x' * (n % 50)}" for n in range(700)]
    check(texts)


# --------------------------------------------------------------------------------------------------------- products

SOME = [
    *("the cat sat on the mat", "a cat on a mat", "the dog", "", "dogs bark at night at night", "北京是中国的首都"),
    *("中国的首都是北京", "the the the the", "!?", "mat", "rain falls in spring on the mat"),
] * 3


@cache
def some_idf() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(3)
    idf = rng.random(BUCKETS, np.float32) * 5
    idf[rng.random(BUCKETS) < 0.2] = 0
    return idf


def weighed(texts: Sequence[str], kind: int) -> Features:
    return weigh(count_features(array(texts))[kind], some_idf())


@pytest.mark.parametrize("kind", [WORDS, CHARS])
def test_weights(kind: int) -> None:
    features = count_features(array(SOME))[kind]
    idf = np.random.default_rng(1).random(BUCKETS, np.float32) * 5
    idf[features.ids[::3]] = 0
    found = weigh(features, idf)
    assert len(found) == len(SOME)
    assert (idf[found.ids] > 0).all()
    for row in range(len(SOME)):
        raw = [(one, (1 + np.log(count)) * float(idf[one])) for one, count in of_text(features, row) if idf[one] > 0]
        length = sum(weight**2 for _, weight in raw) ** 0.5
        got = of_text(found, row)
        assert [one for one, _ in got] == [one for one, _ in raw]
        np.testing.assert_allclose([weight for _, weight in got], [weight / length for _, weight in raw], rtol=1e-6)
        if got:
            assert sum(weight**2 for _, weight in got) == pytest.approx(1, abs=1e-6)


def test_weights_without_features() -> None:
    features = count_features(array(SOME))[WORDS]
    none = weigh(features, np.zeros(BUCKETS, np.float32))
    assert (len(none), len(none.ids)) == (len(SOME), 0)
    assert (products(none, none) == 0).all()
    assert (all_products(none, invert(none)) == 0).all()


def table(anchors: Features, positives: Features) -> npt.NDArray[np.float32]:
    """Return the products of all pairs of texts, each by `products`."""
    n, m = len(anchors), len(positives)
    rows, columns = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    return products(anchors.take(rows), positives.take(columns)).reshape(n, m)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.lists(TEXTS, min_size=1, max_size=9), st.data())
def test_products_have_the_same_bits_in_any_block(
    left: list[str | None], right: list[str | None], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(right)))
    for kind in (WORDS, CHARS):
        anchors = weighed([text or "" for text in left + right], kind)
        positives = weighed([text or "" for text in right + SOME[:5]], kind)
        expected = table(anchors, positives)
        blocks = [np.arange(cut), np.arange(cut, len(positives))]
        found = [all_products(anchors, invert(positives.take(block))) for block in blocks]
        np.testing.assert_array_equal(np.concatenate(found, axis=1).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", [WORDS, CHARS])
def test_products_are_cosines(kind: int) -> None:
    features = weighed(SOME, kind)
    weights = [dict(of_text(features, row)) for row in range(len(SOME))]
    found = all_products(features, invert(features))
    expected = [[sum(one[k] * other.get(k, 0) for k in one) for other in weights] for one in weights]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    has_any = np.diff(features.ends) > 0
    np.testing.assert_allclose(np.diag(found), has_any.astype(np.float32), atol=1e-6)


@pytest.mark.parametrize("size", [0, 1, 7, len(SOME)])
def test_head(size: int) -> None:
    features = weighed(SOME, CHARS)
    head, expected = invert(features).head(size), invert(features.take(np.arange(size)))
    assert head.size == expected.size == size
    for name in ("starts", "rows", "weights"):
        found, wanted = getattr(head, name), getattr(expected, name)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_take_may_repeat_and_reorder() -> None:
    features = weighed(SOME, WORDS)
    rows = np.array([5, 0, 0, 3, 7])
    taken = features.take(rows)
    assert [of_text(taken, at) for at in range(5)] == [of_text(features, row) for row in rows.tolist()]
    assert len(features.take(np.empty(0, np.int64))) == 0
    assert len(concatenate([])) == 0
