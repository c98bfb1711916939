"""The stage decontaminate: a slow reference, single cases, complete runs, and overlaps planted in real rows."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import re
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jina_data.errors import InputError, JinaDataError, RecipeError, RunFolderError
from jina_data.kernels.folded_words import word_hashes
from jina_data.kernels.overlap import OverlapIndex
from jina_data.kernels.overlap_search import KINDS
from jina_data.kernels.overlap_seeds import Limits
from jina_data.kernels.words import word_spans
from jina_data.pipeline import Pipeline
from jina_data.stages import Normalize
from jina_data.stages.base import KEEP
from jina_data.stages.decontaminate import Decontaminate
from jina_data.stages.rows import Rows, View
from tests.support.files import write_csv, write_jsonl, write_parquet
from tests.support.signs import signed_words

DEMO = Path(__file__).parents[1] / "data" / "demo"
USUAL = Limits(n_grams=13, min_words=5, min_words_changed=8)
Overlap = tuple[int, Fraction, str] | None
"""The evaluation text, the share of its words, and the kind of overlap."""


# ------------------------------------------------------------------------------------------------ the reference


def words_of(text: str) -> list[str]:
    return list(signed_words(text))


def stands_in(part: list[str], whole: list[str]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def one_edit_away(text: list[str]) -> list[list[str | None]]:
    """Return the texts with one word removed, one replaced by any word (None), or any word added between two."""
    out: list[list[str | None]] = []
    for i in range(len(text)):
        out += [[*text[:i], *text[i + 1 :]], [*text[:i], None, *text[i + 1 :]], [*text[:i], None, *text[i:]]]
    return out


def stands_like(part: list[str | None], whole: list[str]) -> bool:
    spans = (whole[i : i + len(part)] for i in range(len(whole) - len(part) + 1))
    return any(all(want in (None, word) for want, word in zip(part, span, strict=True)) for span in spans)


def longest_run(one: list[str], other: list[str]) -> int:
    best, above = 0, [0] * (len(other) + 1)
    for word in one:
        row = [0] * (len(other) + 1)
        for j, twin in enumerate(other):
            if word == twin:
                row[j + 1] = above[j] + 1
        best, above = max(best, *row), row
    return best


def compare(own: list[str], text: list[str], limits: Limits) -> tuple[Fraction, str] | None:
    """Return the share of the words of the evaluation text that the row contains, and the strictest kind of overlap."""
    size = len(text)
    found: list[tuple[int, int]] = []
    if text and own == text:
        found.append((size, 0))
    if size >= limits.min_words and stands_in(text, own):
        found.append((size, 1))
    if size >= limits.min_words_changed and any(stands_like(near, own) for near in one_edit_away(text)):
        found.append((size - 1, 2))
    if text and (run := longest_run(own, text)) >= limits.n_grams:
        found.append((run, 3))
    if not found:
        return None
    words, kind = min(found, key=lambda one: (-one[0], one[1]))
    return Fraction(words, size), KINDS[kind]


def reference(own: str, texts: Sequence[str], limits: Limits) -> Overlap:
    mine, given_words = words_of(own), [words_of(text) for text in texts]
    best: tuple[Fraction, int, int, str] | None = None
    for number, text in enumerate(given_words):
        if said := compare(mine, text, limits):
            here = (said[0], len(text), -number, said[1])
            best = here if best is None or here[:3] > best[:3] else best
    return None if best is None else (-best[2], best[0], best[3])


def search(own: Sequence[str], texts: Sequence[str], limits: Limits = USUAL) -> list[Overlap]:
    index = OverlapIndex.build([pa.array(texts, pa.large_string())], limits)
    found = index.search(pa.array(own, pa.large_string()))
    out: list[Overlap] = []
    for text, words, kind in zip(*(part.tolist() for part in found), strict=True):
        if text < 0:
            out.append(None)
        else:
            source = int(index.sources[text])
            out.append((source, Fraction(words, len(words_of(texts[source]))), KINDS[kind]))
    return out


def test_words_hash_alike_exactly_when_they_fold_alike() -> None:
    words = [
        "Straße",
        "STRASSE",
        "strasse",
        "ﬁn",
        "fin",
        "FIN",
        "İ",
        "i̇",
        "Ω",
        "ω",
        "ς",
        "Σ",
        "σ",
        "北",
        "京",
        "Ⅷ",
        "ⅷ",
        "don't",
        "DON'T",
        "dont",
        "3.14",
        "ᾳ",
        "αι",
        "ŉ",
        "ʼn",
    ]
    hashes = [tuple(word_hashes(pa.array([word], pa.large_string())).hashes.tolist()) for word in words]
    for one, key in zip(words, hashes, strict=True):
        for other, twin in zip(words, hashes, strict=True):
            assert (key == twin) == (words_of(one) == words_of(other)), (one, other)


def test_every_code_point_folds_as_python_folds_it() -> None:
    chars = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000 and chr(code).isalpha()]
    one = word_hashes(pa.array([f"x{char}" for char in chars], pa.large_string()))
    folded = word_hashes(pa.array([f"x{char}".casefold() for char in chars], pa.large_string()))
    for char, (a, b), (c, d) in zip(
        chars, pairwise(one.offsets.tolist()), pairwise(folded.offsets.tolist()), strict=True
    ):
        mine, python = words_of(f"x{char}"), words_of(f"x{char}".casefold())
        if mine == python:
            assert one.hashes[a:b].tolist() == folded.hashes[c:d].tolist(), f"U+{ord(char):04X}"


VOCABULARY = st.sampled_from(["a", "A", "b", "b,", "c", "ß", "SS", "北"])
TEXTS = st.lists(st.lists(VOCABULARY, max_size=14).map(" ".join), max_size=6)


@st.composite
def limits_of(draw: st.DrawFn) -> Limits:
    least = draw(st.integers(1, 6))
    return Limits(draw(st.integers(2, 9)), least, draw(st.integers(max(4, least), 10)))


@settings(max_examples=600, deadline=None)
@given(TEXTS, TEXTS, limits_of())
def test_search_is_the_reference(own: list[str], texts: list[str], limits: Limits) -> None:
    assert search(own, texts, limits) == [reference(text, texts, limits) for text in own]


@settings(max_examples=300, deadline=None)
@given(st.data(), limits_of())
def test_search_is_the_reference_where_words_are_many(data: st.DataObject, limits: Limits) -> None:
    """Training texts are evaluation texts with few edits, so that every rule is near its limit."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    texts = [" ".join(f"w{rng.randrange(40)}" for _ in range(rng.randrange(1, 40))) for _ in range(5)]
    own = []
    for _ in range(6):
        words = rng.choice(texts).split()
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(words) + 1)
            words[at : at + rng.randrange(2)] = ["new"] * rng.randrange(2)
        cut = rng.randrange(len(words) + 1) if rng.random() < 0.3 else 0
        own.append(" ".join(["x"] * rng.randrange(3) + words[cut:] + ["y"] * rng.randrange(3)))
    assert search(own, texts, limits) == [reference(text, texts, limits) for text in own]


# ----------------------------------------------------------------------------------------------- case by case

TEN = "One two three, four five: six seven eight nine ten."
LONG = " ".join(f"w{i}" for i in range(30))

CASES: list[tuple[str, str, Overlap]] = [
    ("yes", "Yes!", (0, Fraction(1), "equal")),
    ("oh yes", "Yes!", None),
    ("!!", "?!", None),
    ("", "", None),
    ("one TWO three four five", "One two three, four five.", (0, Fraction(1), "equal")),
    ("so one TWO three four five six", "One two three, four five.", (0, Fraction(1), "contained")),
    ("so one TWO three four five", "One two three four", None),
    ("one two three four five six seven eight nine ten", TEN, (0, Fraction(1), "equal")),
    ("one two three four FIVE six seven ate nine ten", TEN, (0, Fraction(9, 10), "changed")),
    ("one two three four five six seven nine ten", TEN, (0, Fraction(9, 10), "changed")),
    ("one two three four five six and seven eight nine ten", TEN, (0, Fraction(9, 10), "changed")),
    ("x two three four five six seven eight nine ten", TEN, (0, Fraction(9, 10), "changed")),
    ("two three four five six seven eight nine ten", TEN, (0, Fraction(9, 10), "changed")),
    ("one two three four five six seven eight nine", TEN, (0, Fraction(9, 10), "changed")),
    ("one two x four five six seven ate nine ten", TEN, None),
    ("three four five six seven eight nine ten", TEN, None),
    ("one two three four five six x", "one two three four five six seven", None),
    ("one two three four five six seven x", "one two three four five six seven eight", (0, Fraction(7, 8), "changed")),
    (LONG, LONG.upper(), (0, Fraction(1), "equal")),
    (LONG.replace("w3 ", "x "), LONG, (0, Fraction(29, 30), "changed")),
    (LONG.replace("w3 ", "x ").replace("w20", "y"), LONG, (0, Fraction(16, 30), "run")),
    (" ".join(LONG.split()[9:22]), LONG, (0, Fraction(13, 30), "run")),
    (" ".join(LONG.split()[9:21]), LONG, None),
    ("我爱北京天安门", "我爱北京天安门。", (0, Fraction(1), "equal")),
    ("今天我爱北京天安门上", "我爱北京天安门。", (0, Fraction(1), "contained")),
    ("Is 5 > 3?", "Is 5 < 3?", None),
    ("Is 5 > 3?", "is (5>3)", (0, Fraction(1), "equal")),
    ("What is C++?", "What is C?", None),
    ("so one two three four five % and", "One two three four five %", (0, Fraction(1), "contained")),
    ("one two three four five six seven eight > nine ten", TEN, (0, Fraction(9, 10), "changed")),
]


@pytest.mark.parametrize(("own", "text", "expected"), CASES)
def test_cases(own: str, text: str, expected: Overlap) -> None:
    assert search([own], [text]) == [expected]
    assert reference(own, [text], USUAL) == expected


def test_the_best_has_the_greatest_share_then_the_most_words_then_stands_first() -> None:
    texts = ["two three four five six", TEN, "one two three four five six", TEN.upper(), "x " + TEN]
    own = ["One two three four five six seven eight nine ten", "one two three four five six seven", "no"]
    expected: list[Overlap] = [(1, Fraction(1), "equal"), (2, Fraction(1), "contained"), None]
    assert search(own, texts) == expected


def test_no_text_at_all() -> None:
    assert search(["a b c", ""], []) == [None, None]
    assert search([], ["a b c"]) == []


def test_long_texts_and_texts_without_end() -> None:
    rng = random.Random(3)
    meeting = " ".join(f"word{rng.randrange(5000)}" for _ in range(26_000))
    page = " ".join(f"word{rng.randrange(5000, 9000)}" for _ in range(150_000))
    piece = " ".join(meeting.split()[7_000:7_040])
    halves = page[:500_001].rstrip(), page[500_001:]
    started = time.perf_counter()
    found = search(
        [page, f"{halves[0]} {piece} {halves[1]}", meeting + " more", "la " * 300_000], [meeting, "la " * 20_000]
    )
    assert found[:2] == [None, (0, Fraction(40, 26_000), "run")]
    assert found[2:] == [(0, Fraction(1), "contained"), (1, Fraction(1), "contained")]
    assert time.perf_counter() - started < 60


# ------------------------------------------------------------------------------------------------- the stage


def stage_of(files: str | Path | Sequence[str | Path], **options: Any) -> Decontaminate:
    """Make a stage as a recipe does: a single name counts as a list of one."""
    return Decontaminate.model_validate({"files": files, **options})


def rows_of(columns: dict[str, list[Any]], roles: dict[str, tuple[str, ...]]) -> Rows:
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    n = batch.num_rows
    return Rows(batch, View(batch.schema, roles), pa.array(range(n), pa.uint64()), pa.array(["s"] * n, pa.string()))


def test_one_text_of_a_row_suffices_and_the_best_speaks_for_it(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [{"query": "how do I boil an egg", "id": "why not"}, {"query": None}])
    second = write_parquet(
        tmp_path / "b.parquet", [{"title": "Egg", "text": TEN}, {"title": "", "text": "Soft boiled"}]
    )
    rows = rows_of(
        {
            "q": ["egg", "how do i boil an egg ?", "why not", None, "ok"],
            "d": [["x", "SOFT BOILED!"], [TEN.replace("three", "3")], [], None, [f"he said {TEN}", "egg"]],
        },
        {"anchor": ("q",), "negative": ("d",)},
    )
    stage = stage_of((str(first), str(second)))
    assert stage.after(rows.view) is rows.view
    outcome = stage.apply(rows)
    assert outcome.partner is not None
    assert outcome.partner.to_pylist() == [f"{second}:1", f"{first}:0", None, None, f"{second}:0"]
    assert outcome.reason.tolist() == [0, 0, KEEP, KEEP, 0]
    assert outcome.scores["overlap"].to_pylist() == [1.0, 1.0, None, None, 1.0]
    assert outcome.scores["kind"].to_pylist() == ["equal", "equal", None, None, "contained"]
    only = stage_of((str(first), str(second)), roles=("anchor",)).apply(rows)
    assert only.partner is not None
    assert only.partner.to_pylist() == [f"{second}:0", f"{first}:0", None, None, None]


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        ({"_id": "a b", "title": "t", "text": "x", "metadata": {"url": "u"}}, "title text"),
        ({"sentence1": "a", "sentence2": "b", "score": 1.5, "entailment": "NEUTRAL"}, "sentence1 sentence2"),
        (
            {"anchor": "a", "entailment": "b", "negative_1": "c", "negative_2": "d"},
            "anchor entailment negative_1 negative_2",
        ),
        ({"query": "a", "positives": ["b"], "split": "test"}, "query positives"),
        ({"Question": "a", "source": "s", "label": "x", "Answer": "b"}, "Question Answer"),
        ({"text": 3, "sentence": "a"}, "sentence"),
        ({"query1": "a", "neg_2": "b", "query_id": "c", "2": "d"}, "query1 neg_2"),
    ],
)
def test_text_columns_are_known_by_their_names(row: dict[str, Any], taken: str, tmp_path: Path) -> None:
    name = write_parquet(tmp_path / "a.parquet", [row])
    (file,) = stage_of(str(name))._resolve()
    assert " ".join(stage_of(str(name))._columns_of(file)) == taken


TRAIN = View(pa.schema([("text", pa.string())]), {"text": ("text",)})


def bind(**options: Any) -> None:
    stage = Decontaminate(**options)
    stage.after(TRAIN)
    stage.prepare()


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    qrels = write_parquet(tmp_path / "qrels.parquet", [{"query_id": "1", "score": 1}])
    corpus = write_parquet(tmp_path / "corpus.parquet", [{"doc_id": "1", "text": "a", "year": 1999}])
    blank = write_jsonl(tmp_path / "blank.jsonl", [{"text": ""}])
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text("")
    broken = write_jsonl(tmp_path / "broken.jsonl", [{"text": "a"}, '{"text": "b', {"text": "c"}])
    cases: list[tuple[type[JinaDataError], str, dict[str, Any]]] = [
        (
            RecipeError,
            f"{qrels} has no text column with a usual name; its columns are query_id (string), score (int64). Give",
            {"files": qrels},
        ),
        (
            RecipeError,
            f"{corpus} has none of the columns body; its columns are doc_id (string), text (string)",
            {"files": corpus, "columns": "body"},
        ),
        (
            RecipeError,
            f"column 'year' of {corpus} is int64; expected text",
            {"files": corpus, "columns": ("text", "year")},
        ),
        (RecipeError, f"{qrels} has none of the columns text", {"files": (corpus, qrels), "columns": ("text",)}),
        (InputError, f"{nothing} is empty; expected evaluation texts", {"files": nothing}),
        (InputError, f"{blank} has no text (columns text)", {"files": blank}),
        (InputError, f"{broken}: row 1 cannot be read", {"files": broken}),
        (InputError, "no such file", {"files": tmp_path / "gone.parquet"}),
        (RecipeError, "has no role 'anchor'", {"files": corpus, "roles": "anchor"}),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind, match=re.escape(message)):
            bind(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"files": ()}, "the list is empty"),
        ({"files": "x", "columns": []}, "the list is empty"),
        ({"files": "x", "min_words": 9}, r"min_words_changed \(8\) is below min_words \(9\)"),
        ({"files": "x", "n_grams": 1}, "greater than or equal to 2"),
    ],
)
def test_wrong_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decontaminate(**options)


# ------------------------------------------------------------------------------------------------ whole runs


def run(
    stage: Decontaminate, source: Path, out: Path, **options: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the ledger and dropped/ of a run."""
    report = Pipeline(Normalize(), stage, columns=options.pop("columns", None)).run(source, out, **options)
    assert report.rows.read == report.rows.kept + report.rows.dropped
    return pq.read_table(out / "ledger").to_pylist(), pq.read_table(out / "dropped").to_pylist()


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """Return a folder with two evaluation files."""
    folder = tmp_path / "eval"
    folder.mkdir()
    write_jsonl(folder / "queries.jsonl", [{"text": TEN}, {"text": "What is a cat?"}])
    write_csv(folder / "pairs.csv", [{"sentence1": "A man is playing a guitar.", "sentence2": LONG}])
    return folder


def test_a_run_names_the_partner_and_resumes_only_with_the_same_files(tmp_path: Path, held_out: Path) -> None:
    texts = [
        "fine",
        "what is a  CAT",
        "a man is playing a guitar in the park",
        f"{LONG[:60]} and so on",
        "what is a dog",
    ]
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": text} for text in texts])
    stage = stage_of(str(held_out))
    ledger, dropped = run(stage, source, tmp_path / "out")
    partners = [None, f"{held_out / 'queries.jsonl'}:1", *[f"{held_out / 'pairs.csv'}:0"] * 2, None]
    assert [row["partner"] for row in ledger] == partners
    assert [row["kept"] for row in ledger] == [partner is None for partner in partners]
    assert [row["_partner"] for row in dropped] == partners[1:4]
    assert [row["_reason"] for row in dropped] == ["contaminated"] * 3
    words = len(words_of(LONG[:60])) - 1  # the last is cut
    assert [row["_score"] for row in dropped] == [1.0, 1.0, words / 30]
    scores = pq.read_table(next((tmp_path / "out" / "scores").glob("*decontaminate"))).to_pylist()
    assert [(row["overlap"], row["kind"]) for row in scores] == [
        (1.0, "equal"),
        (1.0, "contained"),
        (words / 30, "run"),
    ]
    with (held_out / "queries.jsonl").open("a") as sink:
        sink.write(json.dumps({"text": "fine"}) + "\n")
    with pytest.raises(RunFolderError, match="other files to compare with"):
        run(stage, source, tmp_path / "out")
    ledger, _ = run(stage, source, tmp_path / "out", overwrite=True)
    assert ledger[0]["partner"] == f"{held_out / 'queries.jsonl'}:2"


def test_a_run_folder_stands_for_its_kept_rows(tmp_path: Path, held_out: Path) -> None:
    Pipeline(Normalize()).run(held_out / "queries.jsonl", tmp_path / "clean")
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": "what is a cat"}])
    ledger, _ = run(stage_of(tmp_path / "clean"), source, tmp_path / "out")
    assert ledger[0]["partner"] == f"{tmp_path / 'clean' / 'data' / 'part-00000.parquet'}:1"


def test_batches_do_not_matter(tmp_path: Path) -> None:
    with (DEMO / "commands.csv").open(encoding="utf-8", newline="") as lines:
        questions = [row["question"] for row in csv.DictReader(lines)]
    held_out = write_jsonl(tmp_path / "held.jsonl", [{"question": text} for text in questions[::20]])
    stage = stage_of(held_out, n_grams=6)
    seen = [
        run(stage, DEMO / "commands.csv", tmp_path / str(rows), batch_rows=rows, columns={"text": "question"})
        for rows in (7, 4096)
    ]
    assert seen[0] == seen[1]
    assert len(questions) / 20 <= len(seen[0][1]) < len(questions) / 2


# ------------------------------------------------------------------------------------------ planted in real rows


def changed(text: str, rng: random.Random) -> str:
    """Replace, remove or add one word; the words around it do not change."""
    raw, words = text.encode(), words_of(text)
    spans = word_spans(pa.array([text], pa.large_string()))
    while True:
        at = rng.randrange(len(words))
        start, end = int(spans.starts[at]), int(spans.ends[at])
        new, stop, left = rng.choice([(b"zyzzyva", end, 1), (b" ", end, 1), (b"Zyzzyva ", start, 0)])
        out = (raw[:start] + new + raw[stop:]).decode()
        # A word that is left out may join its neighbours: 3.14.15
        if words_of(out) == [*words[:at], *words_of(new.decode()), *words[at + left :]]:
            return out


def re_cased(text: str, rng: random.Random) -> str:
    """Return a text in another case, unless that gives another word, as for the Turkish i."""
    others = [text.upper(), text.title(), text.lower(), text.swapcase()]
    return rng.choice([other for other in others if words_of(other) == words_of(text)] or [text])


def plant(text: str, host: str, kind: str, rng: random.Random) -> str:
    """Make a training text with an evaluation text in it: unchanged, in another case, or with a changed word."""
    manner, _, inside = kind.partition(" ")
    if manner == "re-cased":
        text = re_cased(text, rng)
    elif manner == "changed":
        text = changed(text, rng)
    if not inside:
        return text
    at = rng.choice([0, len(host), *(found.start() for found in re.finditer(" ", host))])
    return f"{host[:at]} {text} {host[at:]}"


MANNERS = ("exact", "re-cased", "changed", "exact inside", "re-cased inside", "changed inside")


def demo_texts() -> tuple[list[str], list[str]]:
    """Return sentences in twelve languages as an evaluation file, and answers in which to plant them."""
    sentences = pq.read_table(DEMO / "sentences.parquet").column("text").to_pylist()
    with gzip.open(DEMO / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.startswith('{"') and line.rstrip().endswith("}")]
    return sentences, [row["answer"] for row in rows if isinstance(row.get("answer"), str) and row["answer"].isascii()]


@pytest.mark.parametrize("kind", MANNERS)
def test_planted_overlaps_are_found_and_nothing_else(kind: str) -> None:
    rng = random.Random(MANNERS.index(kind))
    sentences, hosts = demo_texts()
    least = 8 if "changed" in kind else 5 if "inside" in kind else 1
    some = [i for i, text in enumerate(sentences) if len(words_of(text)) >= least]
    chosen = rng.choices(some, k=150)
    own = [plant(sentences[i], rng.choice(hosts), kind, rng) for i in chosen]
    found = search(own, sentences)
    for text, source, hit in zip(own, chosen, found, strict=True):
        assert hit is not None, text
        assert hit[0] == source or reference(text, sentences, USUAL) == hit
    share = sum(hit is not None and hit[0] == source for hit, source in zip(found, chosen, strict=True)) / len(chosen)
    assert share > 0.95
    clean = rng.sample(hosts, 100)
    assert search(clean, sentences) == [None] * 100
    assert [reference(text, sentences, USUAL) for text in sorted(clean, key=len)[:3]] == [None] * 3


@pytest.mark.corpora
def test_search_is_the_reference_on_real_rows(corpora: Path) -> None:
    def column(name: str, column: str, start: int, rows: int) -> list[str]:
        texts: list[str] = pq.read_table(corpora / name, columns=[column]).column(column).to_pylist()
        return texts[start : start + rows]

    given_texts = column("eval/sick_r.parquet", "sentence1", 0, 400) + column(
        "eval/stsb.test.parquet", "sentence2", 0, 400
    )
    given_texts += column("eval/scifact.corpus.parquet", "title", 0, 50)
    own = column("train/nli_sick_train_trial.parquet", "hypothesis", 0, 60)
    own += column("train/captions_multi30k_task2.parquet", "caption", 0, 60)
    found = search(own, given_texts)
    assert found == [reference(text, given_texts, USUAL) for text in own]
    assert 20 < sum(hit is not None for hit in found) < len(own)


@pytest.mark.corpora
def test_sick_is_found_in_its_own_training_part(corpora: Path, tmp_path: Path) -> None:
    stage = stage_of(str(corpora / "eval" / "sick_r.parquet"))
    columns = {"anchor": "premise", "positive": "hypothesis"}
    out = tmp_path / "out"
    Pipeline(stage, columns=columns).run(corpora / "train" / "nli_sick_train_trial.parquet", out)
    ledger = pq.read_table(out / "ledger").to_pylist()
    assert all(row["reason"] == "contaminated" and row["score"] == 1.0 for row in ledger)


def test_the_clock_of_a_file_counts(tmp_path: Path) -> None:
    """A changed file with the same name and size is indexed again when a run is bound."""
    name = write_jsonl(tmp_path / "a.jsonl", [{"text": "one"}])
    stage, rows = stage_of(str(name)), rows_of({"text": ["one", "two"]}, {"text": ("text",)})
    stage.after(rows.view)
    assert stage.apply(rows).reason.tolist() == [0, KEEP]
    write_jsonl(name, [{"text": "two"}])
    os.utime(name, (1, 1))
    stage.after(rows.view)
    assert stage.apply(rows).reason.tolist() == [KEEP, 0]
