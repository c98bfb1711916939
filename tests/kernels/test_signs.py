"""Signs: which characters make two texts different, against a reference in plain Python."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.kernels.folded_words import word_hashes
from tests.support.signs import has_mark, signed_words


def hashes(text: str) -> list[int]:
    found: list[int] = word_hashes(pa.array([text], pa.large_string())).hashes.tolist()
    return found


DIFFERENT = [
    *[("a > b", "a < b"), ("x = y", "x != y"), ("x == y", "x = y"), ("x := 5", "x = 5"), ("A & B", "A | B")],
    *[("a&&b", "a&b"), ("x<<2", "x<2"), ("a -> b", "a <- b"), ("a → b", "a ← b"), ("!x", "x"), ("n! = 5", "n = 5")],
    *[("i++", "i--"), ("i++", "i"), ("i--", "i"), ("5 * 3", "5 3"), ("5*3", "5/3"), ("2**3", "2*3"), ("x^2", "x 2")],
    *[("a ≤ b", "a ≥ b"), ("a ∈ B", "a ∉ B"), ("a ∧ b", "a ∨ b"), ("¬a", "a"), ("∀x", "∃x"), ("P(A|B)", "P(A,B)")],
    *[("-5", "5"), ("it is -5 now", "it is 5 now"), ("it is −5 now", "it is 5 now"), ("it is –5 now", "it is 5 now")],
    *[("12 - 5", "12 5"), ("x - y", "x y"), ("p = -x", "p = x"), ("sin(-x)", "sin(x)"), ("ls -l", "ls l")],
    *[("it is .5 now", "it is 5 now"), ("-.5", "-5"), ("1.5", "15"), ("1/2", "12"), ("½", "¼"), ("m²", "m³")],
    *[("C", "C++"), ("C", "C#"), ("C++", "C#"), ("F# minor", "F minor"), ("A* search", "A search"), ("A-", "A")],
    *[("50 %", "50 €"), ("100‰", "100%"), ("$5", "€5"), ("$5", "5"), ("20 °C", "20 C"), ("5′", "5″"), ("§ 5", "5")],
    *[("温度-5度", "温度5度"), ("上涨5%", "上涨5"), ("１＋１", "１－１"), ("٪٥", "٥"), ("a@b", "a b"), ("a\\b", "a/b")],
    *[("ok 😍", "ok 😡"), ("♥ two", "♠ two"), ("key ♯", "key ♭"), ("note 𝄞", "note 𝄢"), ("press 1️⃣", "press 2️⃣")],
    *[
        ("press #️⃣", "press *️⃣"),
        ("flag 🇩🇪", "flag 🇫🇷"),
        ("ok 👍🏽", "ok 👍🏿"),
        ("ok 👍", "ok 👍🏿"),
        ("👨‍👩‍👧 x", "👨‍👩‍👦 x"),
    ],
    *[("I like it :)", "I like it :("), ("yes :-)", "yes :-("), ("yes ;)", "yes :)"), ("✓ done", "✗ done")],
    *[("☀ today", "☔ today"), ("x ★★★", "x ★★★★"), (".NET code", "NET code"), ("O- blood", "O blood")],
]


@pytest.mark.parametrize(("text", "other"), DIFFERENT)
def test_signs_make_words_different(text: str, other: str) -> None:
    assert hashes(text) != hashes(other)
    assert signed_words(text) != signed_words(other)


EQUAL = [
    *[("Hello, world.", "hello world"), ("Hello!", "hello"), ("“quoted”", "quoted"), ("(a) [b]", "a b")],
    *[("wait…", "wait..."), ("wait...", "wait"), ("one;two", "one two"), ("Quoi ?!", "quoi"), ("¡Hola!", "hola")],
    *[("well-known", "well known"), ("COVID-19", "covid 19"), ("pre- and post-war", "pre and post war")],
    *[
        ("a — b", "a b"),
        ("he came - late", "he came late"),
        ("he came – late", "he came late"),
        ("so -- late", "so late"),
    ],
    *[("Atlanta _ there", "Atlanta there"), ("- item one", "item one"), ("• item one", "item one"), ("■ item", "item")],
    *[("* item one", "item one"), ("# Title", "title"), ("**bold** text", "bold text"), ("**Note:** a b", "note a b")],
    *[("Title\n=====\nText", "title text"), ("a ~~~~~~ b", "a b"), ("a\n____\nb", "a b"), ("Windows®", "windows")],
    *[("x=-5", "x = -5"), ("a!=b", "a != b"), ("5 − 3", "5 - 3"), ("12-5", "12 - 5"), ("12–5", "12-5")],
    *[("I ❤️ it", "i ❤ it"), ("１＋１", "１+１"), ("Ⓐ x", "ⓐ x"), ("你好，世界。", "你好世界"), ("「はい」", "はい")],
    *[(".أحب السلة", "أحب السلة."), ("北京-上海", "北京 上海"), ("1:2", "1 2"), ("a, b", "a b"), ("Tom's", "TOM'S")],
]


@pytest.mark.parametrize(("text", "other"), EQUAL)
def test_ordinary_punctuation_case_and_blanks_do_not_count(text: str, other: str) -> None:
    assert hashes(text) == hashes(other)
    assert signed_words(text) == signed_words(other)


PIECES = st.sampled_from(
    [
        *"aBé5٣½北ก",
        *"+-*/=<>%#&|^~@$_\\!.:;,'\"()[]",
        *"–−＋＃•■™©→€",
        "😍",
        "👍🏽",
        "️",
        "́",
        "🇩",
        "‍",
        *" \t\n",
        "  ",
        "--",
        "----",
        "word",
        ":)",
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join), st.lists(PIECES, max_size=9).map("".join))
def test_words_and_signs_are_those_of_the_reference(text: str, other: str) -> None:
    both = [hashes(text), hashes(other)]
    expected = [signed_words(text), signed_words(other)]
    assert [len(found) for found in both] == [len(words) for words in expected]
    assert (both[0] == both[1]) == (expected[0] == expected[1])
    assert [[hashed % 2 == 1 for hashed in found] for found in both] == [[*map(has_mark, words)] for words in expected]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=9).map("".join), max_size=5))
def test_a_text_does_not_depend_on_its_batch(texts: list[str]) -> None:
    found = word_hashes(pa.array(texts, pa.large_string()))
    assert [found.hashes[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == [
        hashes(text) for text in texts
    ]
