from __future__ import annotations

import csv
import gzip
import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ftfy.badness import BADNESS_RE
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jina_data.errors import RecipeError
from jina_data.stages.normalize import BLANKS, INVISIBLE, LINE_BREAKS, Normalize
from jina_data.stages.rows import Rows, View

DEMO = Path(__file__).parents[1] / "data" / "demo"


def rows_of(columns: dict[str, pa.Array], roles: dict[str, tuple[str, ...]] | None = None) -> Rows:
    batch = pa.record_batch(columns)
    n = batch.num_rows
    view = View(batch.schema, roles or {name: (name,) for name in columns})
    return Rows(batch, view, pa.array(range(n), pa.uint64()), pa.array(["s"] * n))


def normal(texts: Sequence[str], stage: Normalize | None = None) -> list[str]:
    """Return texts after the stage."""
    rows = rows_of({"text": pa.array(texts, pa.string())})
    outcome = (stage or Normalize()).apply(rows)
    assert (outcome.reason == -1).all()
    result: list[str] = rows.with_columns(outcome.changed).batch.column("text").to_pylist()
    return result


# What becomes of a text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # white space
        *(("", ""), ("   ", ""), (" a ", "a"), ("a  b\t\tc", "a b c"), ("a\u00a0b\u2003c\u3000d", "a b c d")),
        *(("a\nb", "a\nb"), ("a\n\nb", "a\n\nb"), ("a\n\n\n\nb", "a\n\nb")),
        *(("a \n  b", "a\nb"), ("a \n\n \nb", "a\n\nb")),
        *(("a\r\nb", "a\nb"), ("a\rb", "a\nb"), ("a\u2028b\u2029c", "a\nb\nc")),
        *(("a\fb\vc", "a\nb\nc"), ("\n a\n", "a")),
        ("a\x1cb\x1fc", "a b c"),
        # controls and invisible characters
        *(("a\0b", "ab"), ("a\x07\x7fb", "ab"), ("\ufeffabc", "abc"), ("co\u00adoperate", "cooperate")),
        *(("\x1b[1;31mred\x1b[0m", "red"), ("\u202eabc\u202c", "abc"), ("x\u2060y", "xy"), ("שלום\u200f!", "שלום!")),
        # joiners spell
        *(("می\u200cخواهم", "می\u200cخواهم"), ("क्\u200dष", "क्\u200dष"), ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧")),
        ("❤\ufe0f", "❤\ufe0f"),
        # a space of no width divides the words of some scripts, and is dirt elsewhere
        *(("ភាសា\u200bខ្មែរ", "ភាសា\u200bខ្មែរ"), ("ภาษา\u200b\u200bไทย", "ภาษา\u200bไทย")),
        ("los \u200b\u200bdos", "los dos"),
        *(("a\u200bb", "ab"), ("\u200bไทย\u200b", "ไทย"), ("ไทย\u200b ไทย", "ไทย ไทย")),
        # canonical forms
        *(("e\u0301", "é"), ("\u1100\u1161\u11a8", "각"), ("Å", "Å")),
        *(("a\u0323\u0307", "ạ\u0307"), ("a\u0307\u0323", "ạ\u0307")),
        *(("a\u00ad\u0301", "á"), ("ﬁ “ｑ” ²", "ﬁ “ｑ” ²")),
        # mojibake
        *(("schÃ¶n", "schön"), ("itâ€™s", "it’s"), ("voilÃ\xa0 le", "voilà le"), ("l\x92été", "l’été")),
        *(("ä½\xa0å¥½", "你好"), ("Ã\u00adndice", "índice"), ("ÃƒÂ©", "é"), ("schÃ¶n\n中文 “x”", "schön\n中文 “x”")),
        *(("naïve café", "naïve café"), ("“Él”—dijo", "“Él”—dijo")),
        *(("Ünlü Öztürk", "Ünlü Öztürk"), ("&amp; &lt;b&gt;", "&amp; &lt;b&gt;")),
    ],
)  # fmt: skip
def test_defaults(text: str, expected: str) -> None:
    assert normal([text]) == [expected]
    assert normal([expected]) == [expected]


@pytest.mark.parametrize(
    ("setting", "text", "expected"),
    [
        ({"unicode": "NFKC"}, "ﬁ ｑ ² … ½", "fi q 2 ... 1⁄2"),
        ({"unicode": "NFKC"}, "a\u00b4", "a \u0301"),
        ({"unicode": None}, "e\u0301  x", "e\u0301 x"),
        ({"whitespace": False}, " a\t\tb\r\n\n\n\nc ", " a\t\tb\r\n\n\n\nc "),
        ({"whitespace": False}, "    return\0 x\n", "    return x\n"),
        ({"control_chars": False}, "a\0  b\u00ad\ufeff", "a\0 b\u00ad\ufeff"),
        ({"mojibake": False}, "schÃ¶n  ", "schÃ¶n"),
        (
            {"unicode": None, "whitespace": False, "control_chars": False, "mojibake": False},
            " e\u0301\0Ã¶ ",
            " e\u0301\0Ã¶ ",
        ),
    ],
)
def test_each_step_can_be_turned_off(setting: dict[str, Any], text: str, expected: str) -> None:
    assert normal([text], Normalize.model_validate(setting)) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Hello <b>wor</b>ld</p><p class='x'>and\nmore</p>", "Hello world\n\nand\nmore"),
        ("one<br/>two<BR>three", "one\ntwo\nthree"),
        ("<ul><li>a</li>\n  <li>b</li></ul>", "a\nb"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1 2"),
        ('<a href="x>y" title=\'>\'>link</a>', "link"),
        ("a<script type='x'>if (a<b) {}</script>b<style>p {}</style>c<!-- d -->e", "abce"),
        ("<!DOCTYPE html><html><head><title>T</title></head><body>B</body></html>", "T\n\nB"),
        ("a<!-- never closed", "a"),
        ("AT&amp;T &eacute; &#233; &#xE9; &nbsp; x", "AT&T é é é x"),
        ("&Atilde;&para;l", "öl"),
        ("<p>One &amp; two.</p>\n<p>Three.</p><div>a</div><div>b</div>", "One & two.\n\nThree.\n\na\nb"),
        ("<h1>Title</h1>Text<br />\nmore", "Title\n\nText\nmore"),
        ("<p>first\n<p>second", "first\n\nsecond"),
        ("<p>Use <code>List<String></code>:</p><pre>if (a<b && b>c)\nx &lt; y</pre>",
         "Use List<String>:\n\nif (a<b && b>c)\nx < y"),
        ("H<sub>2</sub>O &copy;", "H2O ©"),
        ('<img src="cat.png" alt="a cat">a cat', "a cat"),
        # what is no HTML stays
        ("if (a<b && b>c) i<b and b>i", "if (a<b && b>c) i<b and b>i"),
        ("Set<a> x; Map<String, List<A>> y", "Set<a> x; Map<String, List<A>> y"),
        ("`<input type='file' />` and `&lt;a&gt;`", "`<input type='file' />` and `&lt;a&gt;`"),
        ("<p>", "<p>"),
        ("the <p> element, the <b> tag and the <script> tag", "the <p> element, the <b> tag and the <script> tag"),
        ("AT&T, R&D, x &lt y, a&b", "AT&T, R&D, x &lt y, a&b"),
        ("a < b and c > d", "a < b and c > d"),
        ("std::vector<int> v; {{<path>}}", "std::vector<int> v; {{<path>}}"),
        ("<https://x.org> <user@host>", "<https://x.org> <user@host>"),
        ("AT&T; &nosuch; ?a=1&copy=2 &", "AT&T; &nosuch; ?a=1&copy=2 &"),
        ("<b unclosed", "<b unclosed"),
        # decoded once: this text is about a tag
        ("the &lt;b&gt; tag, written &amp;lt;b&amp;gt;", "the <b> tag, written &lt;b&gt;"),
    ],
)  # fmt: skip
def test_markup(text: str, expected: str) -> None:
    assert normal([text], Normalize(markup=True)) == [expected]


@pytest.mark.parametrize(
    "piece", ["<!--", '<a "', "<p ", "<script>", " <p>", "&#x", "\n ", "Ã", "\u200b", "<p\t", "â€™ "]
)
def test_time_is_linear_in_hostile_text(piece: str) -> None:
    # Each of these takes minutes where the time is quadratic.
    assert isinstance(normal([piece * 200_000], Normalize(markup=True))[0], str)


# Laws

STEPS = st.fixed_dictionaries(
    {
        "unicode": st.sampled_from(["NFC", "NFKC", None]),
        "whitespace": st.booleans(),
        "control_chars": st.booleans(),
        "mojibake": st.booleans(),
    }
)
MESSY = st.lists(
    st.one_of(
        st.text(max_size=4),
        st.text(st.sampled_from(" \n\t\r" + BLANKS + LINE_BREAKS + INVISIBLE + "\u200b"), max_size=4),
        st.text(st.characters(min_codepoint=0x80, max_codepoint=0x17F), max_size=4),
        st.text(st.characters(categories=["Mn", "Mc"]), max_size=3),
        st.text(st.sampled_from("ไทยខមျ\u200b\u200c\u200d각ᅡᆨaeo ´¨"), max_size=5),
        st.text(max_size=5).map(lambda text: text.encode().decode("latin-1")),
        st.from_regex(BADNESS_RE),
    ),
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSY, max_size=5), STEPS)
def test_a_second_run_changes_nothing(texts: list[str], steps: dict[str, Any]) -> None:
    stage = Normalize.model_validate(steps)
    once = normal(texts, stage)
    assert normal(once, stage) == once


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSY, max_size=5), STEPS, st.booleans())
def test_the_look_misses_no_text_that_changes(texts: list[str], steps: dict[str, Any], markup: bool) -> None:
    stage = Normalize.model_validate(steps | {"markup": markup})
    assert stage.rewrite(pa.array(texts, pa.large_string())).to_pylist() == normal(texts, stage)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSY, max_size=5))
def test_what_the_result_promises(texts: list[str]) -> None:
    for text in normal(texts):
        assert unicodedata.is_normalized("NFC", text)
        assert text == text.strip(" \n")
        assert not set(text) & (set(BLANKS + LINE_BREAKS + INVISIBLE) - {" ", "\n"})
        assert not any(run in text for run in ("  ", " \n", "\n ", "\n\n\n"))


def test_neighbours_do_not_change_a_text() -> None:
    texts = [text for text in demo_texts() if len(text) < 500][:500]
    assert [normal([text])[0] for text in texts] == normal(texts)


# Columns


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_types_and_nulls_stay(kind: pa.DataType) -> None:
    texts = pa.array(["x", " a  b ", None, "ok", "c\u00a0d"], kind)
    (changed,) = Normalize().apply(rows_of({"text": texts[1:]})).changed.values()
    assert changed.type == kind
    assert changed.to_pylist() == ["a b", None, "ok", "c d"]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.field("text", pa.string_view()))]
)
def test_lists_of_texts(kind: pa.DataType) -> None:
    lists = pa.array([["x "], [" a ", "b", None], None, [], ["c\u00add"]], kind)
    (changed,) = Normalize().apply(rows_of({"text": lists[1:]})).changed.values()
    changed.validate(full=True)
    assert changed.type == kind
    assert changed.to_pylist() == [["a", "b", None], None, [], ["cd"]]


def test_lists_of_one_size() -> None:
    kind = pa.list_(pa.string(), 2)
    lists = pa.array([["a ", "b"], None, ["c", None]], kind)
    (changed,) = Normalize().apply(rows_of({"text": lists})).changed.values()
    assert changed.type == kind
    assert changed.to_pylist() == [["a", "b"], None, ["c", None]]


def test_only_columns_that_change_are_returned() -> None:
    columns = {name: pa.array([f"{name}{space}"]) for name, space in (("a", " "), ("b", ""), ("c", " "), ("d", " "))}
    rows = rows_of(columns, {"anchor": ("a",), "negative": ("b", "c"), "other": ("d",)})
    assert set(Normalize().apply(rows).changed) == {"a", "c", "d"}
    assert set(Normalize(roles=("anchor", "negative")).apply(rows).changed) == {"a", "c"}
    assert Normalize().apply(rows.with_columns(Normalize().apply(rows).changed)).changed == {}


@pytest.mark.parametrize("texts", [[], [None, None], ["", None], ["plain"]])
def test_nothing_to_change(texts: list[str | None]) -> None:
    for kind, values in ((pa.string(), texts), (pa.list_(pa.string()), [None, [], texts])):
        assert Normalize().apply(rows_of({"text": pa.array(values, kind)})).changed == {}


def test_settings() -> None:
    assert Normalize().model_dump() == {
        "unicode": "NFC",
        "whitespace": True,
        "control_chars": True,
        "mojibake": True,
        "markup": False,
        "write_original": False,
        "roles": None,
    }
    with pytest.raises(ValidationError, match="unicode"):
        Normalize.model_validate({"unicode": "NFD"})
    with pytest.raises(RecipeError, match="no role 'anchor'"):
        Normalize(roles=("anchor",)).after(View(pa.schema([("text", pa.string())]), {"text": ("text",)}))


# Real text


def demo_rows(file: str) -> list[dict[str, Any] | None]:
    """Return the rows of a file of the demo data; None for a line that is not a row."""
    if file == "commands.csv":
        with (DEMO / file).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    rows: list[dict[str, Any] | None] = []
    for line in gzip.decompress((DEMO / file).read_bytes()).decode().split("\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        rows.append(row if isinstance(row, dict) else None)
    return rows


def demo_texts() -> list[str]:
    rows = [*demo_rows("questions.jsonl.gz"), *demo_rows("commands.csv")]
    pairs = [(row["question"], row["answer"]) for row in rows if row is not None]
    return [text for pair in pairs for text in pair if isinstance(text, str)]


def planted(kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Yield the planted rows of a kind, and their original rows."""
    rows = {file: demo_rows(file) for file in ("questions.jsonl.gz", "commands.csv")}
    for line in (DEMO / "planted.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == kind:
            row = rows[entry["file"]][entry["row"]]
            assert row is not None
            yield row, None if entry["of"] is None else rows[entry["file"]][entry["of"]]


def test_planted_mojibake_is_repaired() -> None:
    found = [row["question"] + " " + row["answer"] for row, _ in planted("mojibake")]
    assert len(found) == 32
    for before, after in zip(found, normal(found), strict=True):
        assert "Ã" in before or "â€" in before
        assert "Ã" not in after
        assert "â€" not in after


def test_respaced_copies_equal_their_originals() -> None:
    pairs = list(planted("respaced"))
    assert len(pairs) == 22
    for copy, original in pairs:
        assert original is not None
        for role in ("question", "answer"):
            assert copy[role] != original[role]
            assert normal([copy[role]]) == normal([original[role]])


def test_clean_sentences_of_twelve_languages_keep_their_letters() -> None:
    sentences: list[str] = pq.read_table(DEMO / "sentences.parquet")["text"].to_pylist()
    for before, after in zip(sentences, normal(sentences), strict=True):
        letters = [
            c for c in unicodedata.normalize("NFC", before) if c not in BLANKS + LINE_BREAKS + INVISIBLE + "\u200b"
        ]
        assert [c for c in after if c not in " \n"] == letters


@pytest.mark.corpora
@pytest.mark.full
def test_laws_on_corpora(corpora: Path) -> None:
    for file, column in (
        ("corpus_commonvoice_sentences", "text"),
        ("corpus_tldr_pages_multilingual", "text"),
        ("corpus_afrisenti_tweets", "text"),
        ("pairs_medquad", "positive"),
        ("pairs_acl_title_abstract", "positive"),
    ):
        texts = pq.read_table(corpora / f"train/{file}.parquet")[column].combine_chunks().cast(pa.large_string())
        for stage in (Normalize(), Normalize(unicode="NFKC")):
            once = stage.rewrite(texts)
            rows = rows_of({"text": texts})
            assert rows.with_columns(stage.apply(rows).changed).batch.column("text").equals(once)
            assert stage.rewrite(once).equals(once)
