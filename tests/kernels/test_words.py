from __future__ import annotations

import gzip
import os
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.kernels.words import (
    LETTER,
    NUMBER,
    UNSPACED,
    count_chars,
    count_words,
    segments,
    string_buffers,
    unicode_ranges,
    word_spans,
    word_table,
)
from tests.support import make_unicode_words

OFFICIAL = Path(__file__).parents[1] / "data" / "unicode" / "WordBreakTest-15.0.0.txt.gz"

# The reference: UAX #29 rule by rule, a position at a time, on code points.

FIRST = [codepoints.first for codepoints in unicode_ranges()]
LETTERS = {"ALetter", "Hebrew_Letter"}
MARKS = {"Extend", "Format", "ZWJ"}
NEWLINES = {"CR", "LF", "Newline"}


def properties(char: str, *, tailored: bool) -> tuple[str, str]:
    """Return Word_Break and kinds of a character."""
    index = bisect_right(FIRST, ord(char)) - 1
    if index < 0 or unicode_ranges()[index].last < ord(char):
        return "Other", ""
    codepoints = unicode_ranges()[index]
    return ("Other" if tailored and "U" in codepoints.kinds else codepoints.word_break), codepoints.kinds


class Bases:
    """The characters around a position that are no marks (WB4)."""

    def __init__(self, breaks: list[str], position: int) -> None:
        left = [i for i in range(position) if breaks[i] not in MARKS or i == 0 or breaks[i - 1] in NEWLINES]
        right = [i for i in range(position, len(breaks)) if breaks[i] not in MARKS]
        self.left, self.right, self.breaks = left, right, breaks

    def __getitem__(self, step: int) -> str:
        """Return the class of the character `step` places to the right (1, 2) or the left (-1, -2)."""
        side = self.right if step > 0 else self.left[::-1]
        return self.breaks[side[abs(step) - 1]] if len(side) >= abs(step) else ""

    def flags(self) -> int:
        """Count the regional indicators directly to the left."""
        count = 0
        while self[-1 - count] == "Regional_Indicator":
            count += 1
        return count


def reference_break(text: str, breaks: list[str], position: int) -> bool:
    before, after = breaks[position - 1], breaks[position]
    if before in NEWLINES or after in NEWLINES:  # WB3, 3a, 3b
        return not (before == "CR" and after == "LF")
    if before == "ZWJ" and "P" in properties(text[position], tailored=False)[1]:  # WB3c
        return False
    if before == after == "WSegSpace":  # WB3d
        return False
    if after in MARKS:  # WB4
        return False
    near = Bases(breaks, position)
    one, two = near[-1], near[1]
    quotes = {"MidLetter", "MidNumLet", "Single_Quote"}
    joined = (
        (one in LETTERS and two in LETTERS)  # WB5
        or (one in LETTERS and two in quotes and near[2] in LETTERS)  # WB6
        or (near[-2] in LETTERS and one in quotes and two in LETTERS)  # WB7
        or (one == "Hebrew_Letter" and two == "Single_Quote")  # WB7a
        or (one == "Hebrew_Letter" and two == "Double_Quote" and near[2] == "Hebrew_Letter")  # WB7b
        or (near[-2] == "Hebrew_Letter" and one == "Double_Quote" and two == "Hebrew_Letter")  # WB7c
        or (one in {"Numeric", *LETTERS} and two in {"Numeric", *LETTERS})  # WB8, 9, 10
        or (near[-2] == "Numeric" and one in {"MidNum", *quotes} - {"MidLetter"} and two == "Numeric")  # WB11
        or (one == "Numeric" and two in {"MidNum", *quotes} - {"MidLetter"} and near[2] == "Numeric")  # WB12
        or (one == two == "Katakana")  # WB13
        or (one in {*LETTERS, "Numeric", "Katakana", "ExtendNumLet"} and two == "ExtendNumLet")  # WB13a
        or (one == "ExtendNumLet" and two in {*LETTERS, "Numeric", "Katakana"})  # WB13b
        or (two == "Regional_Indicator" and near.flags() % 2 == 1)  # WB15, 16
    )
    return not joined


def reference_segments(text: str, *, tailored: bool) -> list[str]:
    breaks = [properties(char, tailored=tailored)[0] for char in text]
    cuts = [0, *(i for i in range(1, len(text)) if reference_break(text, breaks, i)), len(text)]
    return [text[i:j] for i, j in pairwise(cuts) if i < j]


def reference_words(text: str) -> list[str]:
    pieces = reference_segments(text, tailored=True)
    return [piece for piece in pieces if any(set(properties(char, tailored=True)[1]) & {"L", "N"} for char in piece)]


def words(values: pa.LargeStringArray) -> list[list[str]]:
    spans = word_spans(values)
    texts = [(value or "").encode() for value in values.to_pylist()]
    return [
        [text[spans.starts[w] : spans.ends[w]].decode() for w in range(spans.row_offsets[i], spans.row_offsets[i + 1])]
        for i, text in enumerate(texts)
    ]


def large(texts: list[str] | list[str | None]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


LITERALS: dict[str, list[str]] = {
    "": [],
    "Don't panic, it's o'clock.": ["Don't", "panic", "it's", "o'clock"],
    "l’été s'achève": ["l’été", "s'achève"],
    "'quoted' words'": ["quoted", "words"],
    "a well-known state-of-the-art": ["a", "well", "known", "state", "of", "the", "art"],
    "pi is 3.14, not 1,000.5; 7.": ["pi", "is", "3.14", "not", "1,000.5", "7"],
    "v2.0a and 4x4 at 10:30": ["v2.0a", "and", "4x4", "at", "10", "30"],
    "mail jane.doe@example.com now": ["mail", "jane.doe", "example.com", "now"],
    "snake_case __init__ _": ["snake_case", "__init__"],
    "U.S.A. e.g. this": ["U.S.A", "e.g", "this"],
    "北京大学。": ["北", "京", "大", "学"],
    "2024年3月": ["2024", "年", "3", "月"],
    "二〇二四": ["二", "〇", "二", "四"],
    "私はコーヒーを飲む": ["私", "は", "コ", "ー", "ヒ", "ー", "を", "飲", "む"],
    "ﾊﾟﾝ": ["ﾊﾟ", "ﾝ"],
    "が": ["が"],
    "ㄅㄆ": ["ㄅ", "ㄆ"],
    "ซื้อน้ำ ๑๒๓": ["ซื้", "อ", "น้", "ำ", "๑๒๓"],
    "ສະບາຍດີ": ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"],
    "សួស្តី": ["សួ", "ស្", "តី"],
    "မြန်မာ": ["မြ", "န်", "မာ"],
    "한국어는 재미있다.": ["한국어는", "재미있다"],
    "צה\"ל ג'ירפה ארה״ב": ['צה"ל', "ג'ירפה", "ארה״ב"],
    "السَّلامُ عليكم ١٢٣": ["السَّلامُ", "عليكم", "١٢٣"],
    "हिन्दी में लिखें।": ["हिन्दी", "में", "लिखें"],
    "བོད་སྐད།": ["བོད", "སྐད"],
    "እንኳን፡ደህና": ["እንኳን", "ደህና"],
    "👩‍👩‍👧 👍🏽 🇩🇪🇫🇷": [],
    "love❤️you 1️⃣": ["love", "you", "1️⃣"],
    "a\0b\0": ["a", "b"],
    "one\r\ntwo\u2028three": ["one", "two", "three"],
    "zero\u200dwidth soft\u00adhyphen": ["zero\u200dwidth", "soft\u00adhyphen"],
    "zero\u200bspace": ["zero", "space"],
    "!?… --- \n\t ()": [],
    "\u0301a": ["a"],
    "x² ½ Ⅳ": ["x", "²", "½", "Ⅳ"],
    "𝒳𐐷 𠀀𠀁": ["𝒳𐐷", "𠀀", "𠀁"],
}


@pytest.mark.parametrize(("text", "expected"), LITERALS.items(), ids=[ascii(text) for text in LITERALS])
def test_literal(text: str, expected: list[str]) -> None:
    assert words(large([text])) == [expected]
    assert reference_words(text) == expected


def official_cases() -> list[list[str]]:
    with gzip.open(OFFICIAL, "rt", encoding="utf-8") as lines:
        cases = [line.split("#")[0].strip() for line in lines]
    pieces = [case.strip("÷ ").split("÷") for case in cases if case]
    return [["".join(chr(int(code, 16)) for code in one.replace("×", " ").split()) for one in case] for case in pieces]


def test_every_official_case() -> None:
    cases = official_cases()
    assert len(cases) == 1823
    # U+2701 (scissors) was Extended_Pictographic in Unicode 15, and no longer is in the Unicode of the table.
    changed = [["\u2701\u200d\u2701"], ["a\u200d\u2701"]]
    assert [case for case in cases if segments("".join(case)) != case] == changed
    assert [case for case in cases if reference_segments("".join(case), tailored=False) != case] == changed


def test_official_cases_tailored() -> None:
    for case in official_cases():
        text = "".join(case)
        assert segments(text, tailored=True) == reference_segments(text, tailored=True)


AWKWARD = "aZ9_'\".,:;# \r\n\u00e9\u0301\u200d\u200b\u00ad\u05d0\u05f3\u05f4\u2028\u3000\u0600\0"
AWKWARD += "アー゛ﾞ漢のกำ๑ក្ခ한ᄀेक😀©ℹⓂ🇦🏽٬٫_﹏Ⅷ〇²"
TEXTS = st.one_of(st.text(), st.text(alphabet=AWKWARD), st.text(alphabet="ab1'.,: -_"))


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_segments_are_the_references(text: str) -> None:
    for tailored in (False, True):
        assert segments(text, tailored=tailored) == reference_segments(text, tailored=tailored)


@settings(max_examples=500, deadline=None)
@given(st.lists(TEXTS.filter(lambda text: text.isprintable() or "\ud800" not in text), max_size=5))
def test_words_are_the_references(texts: list[str]) -> None:
    values = large([text.encode("utf-8", "ignore").decode() for text in texts])
    expected = [reference_words(text) for text in values.to_pylist()]
    assert words(values) == expected
    assert count_words(values).tolist() == [len(found) for found in expected]
    assert count_chars(values).tolist() == [len(text) for text in values.to_pylist()]


@pytest.mark.corpora
def test_words_of_real_rows_are_the_references() -> None:
    if "JINA_DATA_CORPORA" not in os.environ:
        pytest.skip("JINA_DATA_CORPORA does not name the folder of the real corpora")
    folder = Path(os.environ["JINA_DATA_CORPORA"]) / "train"
    spoken = pq.read_table(folder / "corpus_commonvoice_sentences.parquet", columns=["text", "lang"])
    of_language: dict[str, list[str]] = {}
    for text, language in zip(spoken["text"].to_pylist(), spoken["lang"].to_pylist(), strict=True):
        of_language.setdefault(language, []).append(text)
    texts = [text for found in of_language.values() for text in found[:4]]
    for name in ("corpus_afrisenti_tweets", "corpus_tldr_pages_multilingual"):
        table = pq.read_table(folder / f"{name}.parquet", columns=["text"])
        texts += [text[:600] for text in table["text"].to_pylist()[:: len(table) // 60]]
    assert len(texts) > 450
    assert words(large(texts)) == [reference_words(text) for text in texts]


def test_nulls_slices_and_empty_arrays() -> None:
    values = large(["left out", "two words", None, "", "北京", "one"])
    assert words(values.slice(1, 4)) == [["two", "words"], [], [], ["北", "京"]]
    assert count_words(values.slice(2)).tolist() == [0, 0, 2, 1]
    assert count_chars(values.slice(2)).tolist() == [0, 0, 2, 3]
    for empty in (large([]), values.slice(6), pa.nulls(2, pa.large_string())):
        assert count_words(empty).tolist() == [0] * len(empty)
        assert word_spans(empty).row_offsets.tolist() == [0] * (len(empty) + 1)


def test_hidden_bytes_of_nulls_are_not_read() -> None:
    offsets, data = np.array([0, 3, 6], np.int64), b"onetwo"
    null_first = pa.py_buffer(bytes([0b10]))
    values = pa.LargeStringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(data), null_first)
    assert words(values) == [[], ["two"]]


def test_buffers_are_not_copied() -> None:
    values = large(["alpha", "beta", "gamma"]).slice(1)
    data, offsets = string_buffers(values)
    assert bytes(data[offsets[0] : offsets[2]]) == b"betagamma"
    assert data.ctypes.data == values.buffers()[2].address


@pytest.mark.parametrize("broken", [b"\xf4", b"ab\xe5\x8c", b"\xff\xff\xff\xff", b"a'\xc3", b"\x80\x80a"])
def test_broken_utf8_stays_inside(broken: bytes) -> None:
    buffers = [pa.py_buffer(np.array([0, len(broken)], np.int64)), pa.py_buffer(broken + b"beyond")]
    spans = word_spans(pa.LargeStringArray.from_buffers(1, *buffers))
    assert all(0 <= start < end <= len(broken) for start, end in zip(spans.starts, spans.ends, strict=True))


def test_flags_of_the_table() -> None:
    table = word_table()
    flags = {char: int(table[ord(char)]) & (LETTER | NUMBER | UNSPACED) for char in "a7漢ーก๑〇ﾞ!"}
    assert flags == {
        "a": LETTER,
        "7": NUMBER,
        "漢": LETTER | UNSPACED,
        "ー": LETTER | UNSPACED,
        "ก": LETTER | UNSPACED,
        "๑": NUMBER,
        "〇": NUMBER | UNSPACED,
        "ﾞ": 0,
        "!": 0,
    }


def test_table_is_what_the_generator_writes() -> None:
    written = make_unicode_words.TABLE.read_text(encoding="utf-8")
    version = make_unicode_words.unicode_version()
    if f"Unicode {version}:" not in written.splitlines()[0]:
        pytest.skip(f"the installed regex has Unicode {version}, the table another")
    assert make_unicode_words.table() == written
