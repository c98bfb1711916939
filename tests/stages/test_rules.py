from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jina_data.errors import RecipeError
from jina_data.kernels.characters import CHARACTERS, count_characters
from jina_data.kernels.equal_folded import equal_folded
from jina_data.kernels.keys import fold_text
from jina_data.kernels.lines import LINES, count_lines
from jina_data.kernels.word_sorts import WORDS, count_word_sorts
from jina_data.kernels.words import segments, unicode_ranges
from jina_data.stages.base import KEEP, Outcome
from jina_data.stages.rows import Rows, View
from jina_data.stages.rules import DUPLICATED, GOPHER_STOP_WORDS, PUBLISHED, RULES, SWITCHES, TOP, Rules

DOCS = Path(__file__).parents[2] / "docs" / "rules.md"
BREAK = r"\r\n|\r|\n"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
EVERYTHING = {
    **PUBLISHED["gopher_quality"],
    **PUBLISHED["gopher_repetition"],
    **PUBLISHED["c4"],
    **PUBLISHED["fineweb"],
}

# The reference: the definitions in docs/rules.md, a text at a time.

FIRST = [one.first for one in unicode_ranges()]


def kinds(char: str) -> str:
    """Return the classes of a character in the table of Unicode properties, M for a mark."""
    index = bisect_right(FIRST, ord(char)) - 1
    if index < 0 or unicode_ranges()[index].last < ord(char):
        return ""
    found = unicode_ranges()[index]
    return found.kinds + "M" * (found.word_break in {"Extend", "Format", "ZWJ"})


def is_a(char: str, sorts: str) -> bool:
    return bool(set(kinds(char)) & set(sorts))


def width(text: str) -> int:
    return sum(2 if is_a(char, "W") else 1 for char in text)


def tokens(text: str) -> list[int]:
    runs = groupby(text, key=lambda char: is_a(char, "SU"))
    return [len(list(run)) for cut, run in runs if not cut]


def reference_characters(text: str) -> dict[str, int]:
    sorts = [next((sort for sort in "LNSM" if is_a(char, sort)), "") for char in text]
    return {
        "chars": len(text),
        "blanks": sorts.count("S"),
        "letters": sorts.count("L"),
        "numbers": sorts.count("N"),
        "symbols": sorts.count(""),
        "char_run": max((len(list(run)) for char, run in groupby(text) if not is_a(char, "S")), default=0),
        "longest_token": max(tokens(text), default=0),
        "hashes": text.count("#") + text.count("＃"),
        "ellipses": len(re.findall(r"\.\.\.|…+", text)),
        "curly_brackets": text.count("{"),
        "line_breaks": len(re.findall(BREAK, text)),
    }


def strip(text: str) -> str:
    while text and is_a(text[0], "S"):
        text = text[1:]
    while text and is_a(text[-1], "S"):
        text = text[:-1]
    return text


def is_terminal(char: str) -> bool:
    return is_a(char, "T") or char in "།༎"


def n_sentences(line: str) -> int:
    count, is_open = 0, False
    for char, after in zip(line, [*line[1:], " "], strict=True):
        if is_a(char, "LN"):
            is_open = True
        elif is_terminal(char) and is_open and (ord(char) >= 128 or not is_a(after, "LN")):
            count, is_open = count + 1, False
    return count


def repeats(items: list[str]) -> list[str]:
    return [item for place, item in enumerate(items) if item in items[:place]]


def paragraphs(lines: list[str]) -> list[str]:
    return ["\n".join(run) for full, run in groupby(lines, key=bool) if full]


def reference_lines(text: str, *, short_width: int, min_words: int, max_word_length: int) -> dict[str, int]:
    every = [strip(line) for line in re.split(BREAK, text)]
    lines, paras = [line for line in every if line], paragraphs(every)
    ellipsis = [line for line in lines if line.endswith(("...", "…"))]
    ended = [line for line in lines if is_terminal(line[-1]) or line[-1] in "\"'”’»›」』"]
    dashed = [line for line in lines if line[0] in "-*·–—+" and len(line) > 1 and is_a(line[1], "S")]
    script = [line for line in lines if "javascript" in lower(line)]
    policy = [line for line in lines if any(phrase in lower(line) for phrase in POLICY)]
    retained = [
        line
        for line in lines
        if line in ended and line not in [*ellipsis, *script, *policy]
        if max(tokens(line), default=0) <= max_word_length and len(words(line)) >= min_words
    ]
    return {
        "lines": len(lines),
        "line_chars": sum(map(len, lines)),
        "bullets": len(dashed) + sum(line[0] in "•‣⁃◦▪▫●○■□◆◇►▶・∙" for line in lines),
        "ellipsis_ends": len(ellipsis),
        "terminal_ends": len([line for line in lines if line in ended or line in ellipsis]),
        "short_lines": sum(width(line) <= short_width for line in lines),
        "dup_lines": len(repeats(lines)),
        "dup_line_chars": sum(map(len, repeats(lines))),
        "paragraphs": len(paras),
        "dup_paras": len(repeats(paras)),
        "dup_para_chars": sum(len(para.replace("\n", "")) for para in repeats(paras)),
        "sentences": sum(map(n_sentences, retained)),
        "line_letters": sum(is_a(char, "L") for char in text),
        "thai_letters": sum(is_a(char, "L") and "\u0e00" <= char < "\u0f00" for char in text),
        "javascript_lines": len(script),
        "policy_lines": len(policy),
    }


def lower(text: str) -> str:
    """Return a text with the case of ASCII letters folded."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def words(text: str) -> list[str]:
    pieces = segments(text, tailored=True)
    return [piece for piece in pieces if any(is_a(char, "LN") for char in piece)]


def weight(word: str) -> int:
    if not is_a(word[0], "U"):
        return 4
    return 2 if is_a(word[0], "W") else 1


def n_grams(found: list[str], n: int) -> list[tuple[str, ...]]:
    """Return, for each word, the shortest run of words from it with a weight of n, if there is one."""
    out = []
    for start in range(len(found)):
        stops = (stop for stop in range(start, len(found) + 1) if sum(map(weight, found[start:stop])) >= 4 * n)
        stop = next(stops, None)
        if stop is None:
            break
        out.append(tuple(lower(word) for word in found[start:stop]))
    return out


def covered(grams: list[tuple[str, ...]]) -> int:
    """Return the characters that the most frequent n-gram covers, without overlaps, if it occurs twice."""
    count, free_from = dict[tuple[str, ...], int](), dict[tuple[str, ...], int]()
    for place, gram in enumerate(grams):
        if place >= free_from.get(gram, 0):
            count[gram] = count.get(gram, 0) + 1
            free_from[gram] = place + len(gram)
    most = max(count.values(), default=0)
    sizes = [sum(map(len, gram)) for gram in count if count[gram] == most]
    return most * max(sizes) if most > 1 else 0


def repeated(grams: list[tuple[str, ...]]) -> int:
    seen, place, total = set[tuple[str, ...]](), 0, 0
    while place < len(grams):
        gram = grams[place]
        if gram in seen:
            total += sum(map(len, gram))
        place += len(gram) if gram in seen else 1
        seen.add(gram)
    return total


def reference_word_sorts(text: str, *, min_weight: int) -> dict[str, int]:
    found = words(text)
    spaced = [word for word in found if not any(is_a(char, "U") for char in word)]
    stops = {stop for stop in GOPHER_STOP_WORDS if stop in [lower(word) for word in found]}
    total = sum(map(weight, found))
    grams = {n: n_grams(found, n) for n in (*TOP, *DUPLICATED)}
    counts = {f"top_{n}": covered(grams[n]) for n in TOP} | {f"duplicated_{n}": repeated(grams[n]) for n in DUPLICATED}
    return {
        "words": len(found),
        "spaced_words": len(spaced),
        "spaced_width": sum(map(width, spaced)),
        "letter_words": sum(any(is_a(char, "L") for char in word) for word in found),
        "stop_words": len(stops),
        "word_chars": sum(map(len, found)),
        "weight": total,
    } | {name: count if total >= min_weight else -1 for name, count in counts.items()}


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def check_counts(texts: list[str], *, min_weight: int) -> None:
    values = large(texts)
    counted = count_characters(values)
    assert tuple(counted) == CHARACTERS
    assert columns(counted, len(texts)) == [reference_characters(text) for text in texts]
    counted = count_lines(values, short_width=30, min_words=3, max_word_length=40, c4=True)
    assert tuple(counted) == LINES
    expected = [reference_lines(text, short_width=30, min_words=3, max_word_length=40) for text in texts]
    assert columns(counted, len(texts)) == expected
    counted = count_word_sorts(
        values, stop_words=GOPHER_STOP_WORDS, top=TOP, duplicated=DUPLICATED, min_weight=min_weight
    )
    assert tuple(counted)[: len(WORDS)] == WORDS
    assert columns(counted, len(texts)) == [reference_word_sorts(text, min_weight=min_weight) for text in texts]


def columns(counted: Mapping[str, np.ndarray[tuple[int], np.dtype[np.int64]]], n_texts: int) -> list[dict[str, int]]:
    return [{name: int(values[text]) for name, values in counted.items()} for text in range(n_texts)]


PIECES = [
    *("the", "The", "cat", "sat", "to", "be", "a²", "don't", "3.14", "x_y", "北", "京", "北京", "ก", "า", "한국", "ﾊﾟ"),
    *(" ", " ", " ", "\n", "\n", "\n\n", "\r\n", "\r", "\t", "\u3000", "\u2028", "", "- ", "* ", "-", "•", "・"),
    *(".", ". ", "...", "…", "……", "!", "?\n", "。", "।", "།", '"', "”\n", ")", "#", "{", "\u0301", "👍", "\u200d"),
    *("javascript", "JavaScript ", "Use Cookies", "terms of use", "privacy policy ", "a" * 45, "ー" * 45, "\0"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.sampled_from(["a", "b", "c", "a b c d e f", "北", "\n"]), max_size=60).map(" ".join),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "ignore").decode()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.sampled_from([0, 40]))
def test_counts_are_the_references(texts: list[str], min_weight: int) -> None:
    check_counts(texts, min_weight=min_weight)


@pytest.mark.corpora
def test_counts_of_real_rows_are_the_references() -> None:
    for name, column, step in (
        ("corpus_commonvoice_sentences", "text", 2000),
        ("corpus_tldr_pages_multilingual", "text", 400),
        ("corpus_afrisenti_tweets", "text", 900),
        ("pairs_medquad", "positive", 400),
        ("pairs_acl_title_abstract", "positive", 1500),
    ):
        check_counts([text[:3000] for text in corpus(name, column)[::step]], min_weight=80)


def corpus(name: str, column: str) -> list[str]:
    if "JINA_DATA_CORPORA" not in os.environ:
        pytest.skip("JINA_DATA_CORPORA does not name the folder of the real corpora")
    path = Path(os.environ["JINA_DATA_CORPORA"]) / "train" / f"{name}.parquet"
    texts: list[str] = pq.read_table(path, columns=[column])[column].to_pylist()
    return texts


FOLDED = st.text(alphabet="aA bB\t\n\x1c\x85\u00a0\u3000ßẞſKk漢ıİ", max_size=6)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(FOLDED, FOLDED), max_size=5))
def test_folded_texts_are_equal_as_in_python(pairs: list[tuple[str, str]]) -> None:
    left, right = large([one for one, _ in pairs]), large([two for _, two in pairs])
    assert equal_folded(left, right).tolist() == [fold_text(one) == fold_text(two) for one, two in pairs]


def run(rules: Rules, **columns: object) -> Outcome:
    """Apply rules to a table whose column names are its roles."""
    batch = pa.record_batch(columns)
    view = rules.after(View(batch.schema, {name: (name,) for name in columns}))
    ids = pa.array(range(len(batch)), pa.uint64())
    return rules.apply(Rows(batch, view, ids, pa.array([""] * len(batch))))


def reasons(outcome: Outcome) -> list[str | None]:
    return [None if code == KEEP else Rules.reasons[code] for code in outcome.reason]


ENGLISH = [
    "The station was built in 1901 and stands to the north of the old town.",
    "Most visitors have come by train since then, although a road was added later.",
    "It is known for a clock that has never shown the right time.",
    "In winter, the hall is heated with wood from the forests that surround it.",
    "A small museum tells how people have lived with the railway for a century!",
    "Would you like to see it?",
]
DOCUMENT = "\n".join(ENGLISH)
ALL_GROUPS: dict[str, object] = dict.fromkeys(PUBLISHED, True)


ANSWERS = (
    *("8", "1937", "x = 7", "3.14", "-5", "100 °C", "$12.50", "08:45", "+49 221", "3:1", "3/4", "42 %", "3.5 kg", "½"),
    *(
        "👍",
        "😀",
        "❤️",
        "🇩🇪",
        "✓",
        "→",
        ":)",
        "+",
        "%",
        "&",
        "!=",
        "<=",
        "->",
        "++",
        "&&",
        "€",
        "π",
        "∞",
        "°C",
        "Å",
        "?",
        ":",
        ".",
    ),
    *("2024-01-05", "05.01.2024", "978-3-16-148410-0", "E = mc²", "H₂O", "C", "C++", "x", "yes", "no", "true", "false"),
    *("是", "二", "你好", "١٢", "१२", "네", "ใช่", "はい", "да", "ja", "oui", "Ⅳ", "①"),
    # words that look like placeholders
    *("Null", "Na", "Nan", "Todo", "none of these", "None.", "null pointer", "Lorem ipsum is filler text"),
)
PUNCTUATION = (
    "",
    "...",
    "…",
    "???",
    "!!!",
    "()",
    '""',
    "。。。",
    "· · ·",
    "- - -",
    "=====",
    "*****",
    "____",
    "\ufffd\ufffd",
)
PLACEHOLDERS = (
    *("NULL", "null", "n/a", "N/A", " N/A ", "-", "—", "none", "None", "nan", "NaN", "undefined", "TODO", "TBD"),
    *("lorem ipsum", "Lorem ipsum dolor sit amet, consectetur", "[deleted]", "[removed]", "(no answer)", "#REF!"),
    *("k. A.", "keine Angabe", "non disponible", "no aplica", "não se aplica", "нет данных", "Н/Д", "暂无", "該当なし"),
    *("해당 없음", "غير متوفر", "brak danych", "उपलब्ध नहीं", "[gelöscht]", "[已删除]"),
)
CASES: list[tuple[dict[str, object], str, str | None]] = [
    *(({}, answer, None) for answer in ANSWERS),
    *(({}, junk, "only_punctuation") for junk in PUNCTUATION),
    *(({}, text, "placeholder") for text in PLACEHOLDERS),
    ({"only_punctuation": False, "placeholder": False}, "...", None),
    ({"only_punctuation": False, "placeholder": False}, "N/A", None),
    ({"no_letters": True}, "12 + 30 = 42", "no_letters"),
    ({"no_letters": True}, "👍🏽 !!", "no_letters"),
    ({"no_letters": True, "only_punctuation": False}, "", "no_letters"),
    ({}, "好", None),
    ({}, "ok", None),
    ({"no_letters": False}, "42", None),
    ({"max_digit_ratio": 0.5}, "tel 0123456", "too_many_digits"),
    ({"max_digit_ratio": 0.5}, "room 12", None),
    ({"max_symbol_ratio": 0.5}, "=== 1) ===", "too_many_symbols"),
    ({"max_symbol_ratio": 0.5}, "=== a) ===", "too_many_symbols"),
    ({"max_symbol_ratio": 0.5}, "हिन्दी में।", None),
    ({"max_char_run": 5}, "sooooooo good", "char_run"),
    ({"max_char_run": 5}, "a      b", None),
    ({"gopher_min_doc_words": 4}, "only three words", "gopher_short_doc"),
    ({"gopher_min_doc_words": 4}, "四个汉字", None),
    ({"gopher_max_doc_words": 2}, "only three words", "gopher_long_doc"),
    ({"gopher_min_avg_word_length": 3}, "a b c de", "gopher_below_avg_threshold"),
    ({"gopher_min_avg_word_length": 3}, "a b 汉字汉字", None),
    ({"gopher_min_avg_word_length": 3}, "나는 집에 간다", None),
    ({"gopher_max_avg_word_length": 10}, "incomprehensibilities", "gopher_above_avg_threshold"),
    ({"gopher_max_symbol_word_ratio": 0.1}, "#one #two", "gopher_too_many_hashes"),
    ({"gopher_max_symbol_word_ratio": 0.1}, "and so on…… and on...", "gopher_too_many_ellipsis"),
    ({"gopher_max_bullet_lines_ratio": 0.9}, "- one\n• two\n* three", "gopher_too_many_bullets"),
    ({"gopher_max_bullet_lines_ratio": 0.9}, "-5 degrees\n* three", None),
    ({"gopher_max_ellipsis_lines_ratio": 0.3}, "read more...\nand\nmore…", "gopher_too_many_end_ellipsis"),
    ({"gopher_min_alpha_words_ratio": 0.8}, "1 2 3 a", "gopher_below_alpha_threshold"),
    ({"gopher_min_stop_words": 2}, "THE the cat", "gopher_enough_stop_words"),
    ({"gopher_min_stop_words": 2}, "The cat and dog", None),
    ({"gopher_min_stop_words": 1, "gopher_stop_words": ("и",)}, "И вот", None),
    ({"gopher_dup_para_frac": 0.3}, "a\nb\n\na\nb\n \nc", "dup_para_frac"),
    ({"gopher_dup_para_char_frac": 0.2}, "long text\n\nlong text\n\nb\n\nc\n\nd", "dup_para_char_frac"),
    ({"gopher_dup_line_frac": 0.3}, "a\n  a \nb", "dup_line_frac"),
    ({"gopher_dup_line_char_frac": 0.2}, "same words\nb\nc\nsame words", "dup_line_char_frac"),
    ({"gopher_top_2_gram": 0.2}, "good morning " * 30, "top_2_gram"),
    ({"gopher_top_2_gram": 0.2}, "to be or not to be", None),
    ({"gopher_top_2_gram": 0.2, "gopher_n_gram_min_words": 5}, "to be or not to be", "top_2_gram"),
    ({"gopher_duplicated_5_n_grams": 0.15}, f"{DOCUMENT} {DOCUMENT}", "duplicated_5_n_grams"),
    ({"gopher_duplicated_10_n_grams": 0.1}, f"{DOCUMENT} {DOCUMENT}", "duplicated_10_n_grams"),
    ({"gopher_duplicated_5_n_grams": 0.15}, DOCUMENT, None),
    ({"c4_filter_lorem_ipsum": True}, "the text Lorem Ipsum dolor sit amet", "lorem_ipsum"),
    ({}, "the text Lorem Ipsum dolor sit amet", None),
    ({"c4_filter_curly_bracket": True}, "f() { return }", "curly_bracket"),
    ({"c4_max_word_length": 20}, "see data:aGVsbG8gd29ybGQhIGhlbGxv", "too_long_word"),
    ({"c4_max_word_length": 20}, "没有空格的句子也可以写得很长很长很长很长很长很长", None),
    ({"c4_max_javascript_lines_ratio": 0.5}, "Please enable JavaScript.", "javascript"),
    ({"c4_max_javascript_lines_ratio": 0.5}, "Enable JavaScript.\nText.", None),
    ({"c4_max_policy_lines_ratio": 0.5}, "This site uses cookies", "policy"),
    ({"c4_min_num_sentences": 5}, "One of them. Two of them! Three?", "too_few_sentences"),
    ({"c4_min_num_sentences": 2}, "今天天气很好。我们去公园吧！", None),
    ({"c4_min_num_sentences": 2}, "Version 3.14 is e.g. here", "too_few_sentences"),
    ({"c4_min_num_sentences": 2}, "วันนี้อากาศดีมาก เราไปสวนกันเถอะ", None),
    ({"fineweb_line_punct_thr": 0.12}, "a menu\nof entries", "line_punct_ratio"),
    ({"fineweb_line_punct_thr": 0.12, "fineweb_line_punct_exclude_zero": True}, "a menu\nof entries", None),
    ({"fineweb_line_punct_thr": 0.12}, "जीवन सुंदर है।", None),
    ({"fineweb_short_line_thr": 0.67}, "Home\nAbout\nContact", "short_line_ratio"),
    ({"fineweb_short_line_thr": 0.67}, "这一行中文虽然只有二十个字却说了不少的话", None),
    ({"fineweb_char_duplicates_ratio": 0.01}, f"{DOCUMENT}\n{ENGLISH[0]}", "char_dup_ratio"),
    ({"fineweb_new_line_ratio": 0.3}, "one\ntwo\nthree four", "list_ratio"),
    ({"fineweb_new_line_ratio": 0.3}, "", "only_punctuation"),
    (ALL_GROUPS, DOCUMENT, None),
    ({**ALL_GROUPS, "gopher_min_stop_words": 2}, DOCUMENT, None),
    (ALL_GROUPS, "too short", "gopher_short_doc"),
    ({**ALL_GROUPS, "gopher_min_doc_words": None}, "too short", "too_few_sentences"),
]


@pytest.mark.parametrize(("options", "text", "expected"), CASES)
def test_case(options: dict[str, object], text: str, expected: str | None) -> None:
    assert reasons(run(Rules.model_validate(options), text=[text])) == [expected]


def test_every_reason_has_a_case() -> None:
    assert {expected for _, _, expected in CASES} | {None, *OTHER_N_GRAMS} >= {rule.reason for rule in RULES}


OTHER_N_GRAMS = {"top_3_gram", "top_4_gram", *(f"duplicated_{n}_n_grams" for n in (6, 7, 8, 9))}


@pytest.mark.parametrize("reason", sorted(OTHER_N_GRAMS))
def test_other_n_grams(reason: str) -> None:
    options = {f"gopher_{reason}": 0.1}
    assert reasons(run(Rules.model_validate(options), text=["buy cheap watches right now! " * 30])) == [reason]


# One passage of six or more different sentences in scripts of all sorts: none may fall to what suits English.
FAIR = {
    "zh": "车站建于一九零一年，位于老城区的北面。从那以后，大多数游客都乘火车来到这里，后来才修了一条公路。"
    "这里最出名的是一座从来没有走准过的大钟。冬天的时候，大厅用附近森林里的木柴取暖。"
    "小小的博物馆讲述着一百年来人们怎样与铁路一起生活。你想去看看吗？欢迎随时来访！",
    "ja": "駅は一九〇一年に建てられ、旧市街の北にあります。それ以来、ほとんどの人が列車で訪れるようになりました。"
    "一度も正しい時刻を示したことのない時計で知られています。冬になると、広間は周りの森の薪で暖められます。"
    "小さな博物館では、人々が鉄道とともにどう暮らしてきたかがわかります。ぜひ見に来ませんか？お待ちしています！",
    "th": "สถานีนี้สร้างขึ้นในปีหนึ่งพันเก้าร้อยเอ็ดและตั้งอยู่ทางเหนือของเมืองเก่า "
    "ตั้งแต่นั้นมานักท่องเที่ยวส่วนใหญ่เดินทางด้วยรถไฟ "
    "แม้ว่าจะมีถนนเพิ่มเข้ามาในภายหลัง ที่นี่มีชื่อเสียงเรื่องนาฬิกาที่ไม่เคยบอกเวลาถูกต้อง ในฤดูหนาวห้องโถงจะอบอุ่นด้วยฟืนจากป่ารอบข้าง",
    "ko": "이 역은 천구백일 년에 세워졌고 구시가지의 북쪽에 있습니다. 그 뒤로 대부분의 손님은 기차를 타고 왔습니다. "
    "도로는 나중에야 생겼습니다. 한 번도 맞은 적이 없는 시계로 널리 알려져 있습니다. "
    "겨울에는 주변 숲에서 난 나무로 대합실을 데웁니다. "
    "작은 박물관은 사람들이 백 년 동안 철도와 어떻게 살아왔는지 보여 줍니다. "
    "한번 보러 오시겠습니까? "
    "봄에는 마당에 꽃이 피고 여름에는 아이들이 뛰어놉니다. 가을이면 멀리서 사진가들이 찾아와 오래 머물다 갑니다. "
    "역장은 모든 손님의 이름을 기억하려고 애씁니다. 그래서 다시 찾는 이가 많습니다.",
    "hi": "यह स्टेशन उन्नीस सौ एक में बना था और पुराने शहर के उत्तर में है। तब से अधिकतर यात्री रेलगाड़ी से आते हैं, "
    "हालाँकि बाद में एक सड़क भी बनी। यह उस घड़ी के लिए प्रसिद्ध है जिसने कभी सही समय नहीं बताया। सर्दियों में हॉल को "
    "आसपास के जंगल की लकड़ी से गरम किया जाता है। छोटा संग्रहालय बताता है कि लोग सौ साल से रेल के साथ कैसे जीते आए हैं। "
    "क्या आप इसे देखना चाहेंगे?",
    "my": "ဘူတာရုံကို တစ်ထောင့်ကိုးရာတစ်ခုနှစ်တွင် ဆောက်လုပ်ခဲ့ပြီး မြို့ဟောင်း၏ မြောက်ဘက်တွင် တည်ရှိသည်။ ထိုအချိန်မှစ၍ ခရီးသည်အများစုမှာ ရထားဖြင့် "
    "လာကြသည်။ နောက်ပိုင်းတွင် လမ်းတစ်ခု ဖောက်ခဲ့သည်။ ဆောင်းရာသီတွင် ခန်းမကို သစ်တောမှ ထင်းဖြင့် နွေးစေသည်။ ပြတိုက်ငယ်တစ်ခုလည်း ရှိသည်။ သင်လာကြည့်ချင်ပါသလား။",
}


@pytest.mark.parametrize("language", FAIR)
def test_scripts_fare_alike(language: str) -> None:
    outcome = run(Rules.model_validate(ALL_GROUPS), text=[FAIR[language]])
    assert reasons(outcome) == [None], {name: values[0] for name, values in outcome.scores.items()}


@pytest.mark.parametrize("language", FAIR)
def test_repetition_is_seen_in_every_script(language: str) -> None:
    rules = Rules(gopher_duplicated_5_n_grams=0.15)
    assert reasons(run(rules, text=[FAIR[language] * 2])) == ["duplicated_5_n_grams"]


def test_scores_of_the_rules_switched_on_only() -> None:
    outcome = run(
        Rules(no_letters=True, placeholder=False, only_punctuation=False, max_char_run=3), text=["aaaa", "b", None]
    )
    assert list(outcome.scores) == ["text.no_letters", "text.char_run"]
    assert outcome.scores["text.char_run"].to_pylist() == [4, 1, None]
    assert outcome.scores["text.no_letters"].to_pylist() == [4, 1, None]
    assert reasons(outcome) == ["char_run", None, None]
    assert outcome.score[0] == 4


def test_first_rule_in_order_gives_reason_and_score() -> None:
    outcome = run(Rules(gopher_max_doc_words=1, max_digit_ratio=0.05), text=["7 is a number"])
    assert reasons(outcome) == ["too_many_digits"]
    assert outcome.score[0] == pytest.approx(1 / 10)


def test_worst_text_of_a_row_decides() -> None:
    negatives = [["fine", "a"], ["fine", "also"], [], None, ["汉字", "b"]]
    outcome = run(Rules(gopher_min_avg_word_length=3), negative=pa.array(negatives, pa.list_(pa.string())))
    assert reasons(outcome) == ["gopher_below_avg_threshold", None, None, None, "gopher_below_avg_threshold"]
    assert outcome.scores["negative.gopher_below_avg_threshold"].to_pylist() == [1, 4, None, None, 1]


def test_roles_are_chosen() -> None:
    table = {"anchor": ["42", "fine"], "positive": ["fine", "42"]}
    assert reasons(run(Rules(no_letters=True), **table)) == ["no_letters", "no_letters"]
    assert reasons(run(Rules(no_letters=True, roles=("anchor",)), **table)) == ["no_letters", None]
    with pytest.raises(RecipeError, match="no role 'query'"):
        run(Rules(roles=("query",)), **table)


@pytest.mark.parametrize(("left", "right"), [("anchor", "positive"), ("sentence1", "sentence2")])
def test_identical_pairs(left: str, right: str) -> None:
    ones = ["Straße nach  Rom", "a b", "one", None, "same\u3000text", "tail "]
    others = ["STRASSE NACH ROM\n", "a c", None, None, " SAME text", "tail"]
    expected = ["identical_pair", None, None, None, "identical_pair", "identical_pair"]
    assert reasons(run(Rules(), **{left: ones, right: others})) == expected
    assert reasons(run(Rules(identical_pair=False), **{left: ones, right: others})) == [None] * 6
    assert reasons(run(Rules(roles=(left,)), **{left: ones, right: others})) == [None] * 6


def test_identical_pair_among_several_positives() -> None:
    positives = pa.array([["b", "A"], ["b", "c"], []], pa.list_(pa.string()))
    assert reasons(run(Rules(), anchor=["a", "a", "a"], positive=positives)) == ["identical_pair", None, None]


def test_batches_do_not_matter() -> None:
    texts = [DOCUMENT, "good morning " * 30, "", "42", *FAIR.values(), "a\n" * 20, "{}"]
    rules = Rules.model_validate(ALL_GROUPS)
    whole = run(rules, text=texts)
    parts = [run(rules, text=[text]) for text in texts]
    assert reasons(whole) == [reasons(part)[0] for part in parts]
    for name, values in whole.scores.items():
        assert values.to_pylist() == [part.scores[name][0].as_py() for part in parts]


@pytest.mark.parametrize("group", PUBLISHED)
def test_groups_fill_in_published_limits(group: str) -> None:
    rules = Rules.model_validate({group: True})
    assert rules.model_dump().items() >= PUBLISHED[group].items()
    assert Rules.model_validate(rules.model_dump()) == rules
    off = Rules.model_validate({group: True} | dict.fromkeys(PUBLISHED[group], None) | LEFT_ON)
    assert off.limits() == Rules().limits()
    assert Rules.model_validate({group: "no"}) == Rules()


LEFT_ON: dict[str, object] = {"c4_filter_lorem_ipsum": False, "c4_filter_curly_bracket": False}


def test_one_limit_of_a_group_changes() -> None:
    limits = Rules(gopher_repetition=True, gopher_top_2_gram=0.5, gopher_top_3_gram=None).limits()
    assert limits["top_2_gram"] == ("above", 0.5)
    assert "top_3_gram" not in limits
    assert limits["top_4_gram"] == ("above", 0.16)


@pytest.mark.parametrize("wrong", [{"c5": True}, {"max_digit_ratio": 2}, {"gopher_min_doc_words": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rules.model_validate(wrong)


def test_no_text_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no text"):
        Rules().after(View(pa.schema([]), {}))


def test_docs_define_every_option_and_reason() -> None:
    page = DOCS.read_text(encoding="utf-8")
    missing = [name for name in (*Rules.model_fields, *Rules.reasons) if f"`{name}`" not in page]
    assert missing == []
    for rule in RULES:
        row = next(line for line in page.splitlines() if f"| `{rule.reason}` |" in line)
        limit = EVERYTHING.get(rule.option) if rule.option not in SWITCHES else None
        assert f"`{rule.option}`" in row
        assert rule.side in row or rule.option in SWITCHES
        assert limit is None or f"{limit:g}" in row.replace(",", "")
