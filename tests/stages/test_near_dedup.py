"""near_dedup against a brute force in plain Python: string shingles, true Jaccard, rows in order.

Only the keys of bands come from the stage; that they agree as often as MinHash promises is a test of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.errors import RecipeError
from jina_data.kernels.shingles import KEEP, Shingling, text_elements
from jina_data.pipeline import Pipeline
from jina_data.stages import NearDedup
from jina_data.stages.base import Context, RemainingRows
from jina_data.stages.near_dedup import _mapped, choose_bands
from jina_data.stages.rows import Rows, View
from tests.support.files import write_jsonl, write_parquet
from tests.support.memory import resident_bytes
from tests.support.signs import has_mark, signed_words

DEMO = Path(__file__).parents[1] / "data" / "demo"

Element = tuple[str, str | tuple[str, ...]]
Set = frozenset[Element]
Drop = tuple[float, Any]
"""The score of a dropped row, and its partner: a row id, or the name of a reference row."""


# -------------------------------------------------------------------------------------------------- the reference


def words_of(text: str) -> list[str]:
    return list(signed_words(text))


def set_of(texts: Sequence[str | None], stage: NearDedup) -> Set:
    """Return the elements of the texts of a role, as the documentation defines them."""
    out: set[Element] = set()
    for text in texts:
        words = words_of(text or "")
        n = stage.n_grams
        if len(words) >= n and stage.threshold == 1:
            out.add(("content", tuple(words)))
            continue
        if len(words) >= n:
            out |= {("words", tuple(words[i : i + n])) for i in range(len(words) - n + 1)}
            ends = [part for k in range(1, n) for part in (("first", words[:k]), ("last", words[-k:]))]
            out |= {(name, tuple(part)) for name, part in ends if any(map(has_mark, part))}
            continue
        folded = " ".join((text or "").split()).casefold()
        if not folded or stage.short_text == "keep":
            continue
        if stage.short_text == "exact" or stage.threshold == 1:
            out.add(("text", folded))
        else:
            size = stage.char_n_grams
            out |= {("chars", folded[i : i + size]) for i in range(max(1, len(folded) - size + 1))}
    return frozenset(out)


def jaccard(left: Set, right: Set) -> float:
    return len(left & right) / len(left | right) if left or right else 1.0


def texts_of(rows: Rows, role: str) -> list[list[str | None]]:
    """Return the texts of a role for every row, read from the batch itself."""
    out: list[list[str | None]] = [[] for _ in range(len(rows))]
    for column in rows.view.roles[role]:
        for row, value in enumerate(rows.batch.column(column).to_pylist()):
            out[row] += value if isinstance(value, list) else [value]
    return out


@dataclass
class Known:
    """A row in the reference implementation: its name, its set for each role, and its bands."""

    name: Any
    sets: list[Set]
    bands: list[tuple[str, int]]
    outside: bool = False
    alone: bool = False

    def near(self, other: Known) -> float:
        return min(jaccard(mine, its) for mine, its in zip(self.sets, other.sets, strict=True))


def is_alone(texts: Sequence[str | None], stage: NearDedup) -> bool:
    """Return whether a role has texts, but none of them is compared."""
    has_text = any((text or "").split() for text in texts)
    return stage.short_text == "keep" and has_text and not set_of(texts, stage)


def known_rows(rows: Rows, stage: NearDedup, names: Sequence[Any] = (), *, outside: bool = False) -> list[Known]:
    roles = stage.roles or tuple(rows.view.roles)
    texts = list(zip(*(texts_of(rows, role) for role in roles), strict=True))
    sets = [[set_of(own, stage) for own in row] for row in texts]
    alone = [any(is_alone(own, stage) for own in row) for row in texts]
    keys = stage.keys(rows, Context())
    bands = [name for name in keys if name.startswith("b")]
    assert len(bands) == stage.bands[0]
    columns = zip(*(keys[name].to_pylist() for name in bands), strict=True)
    out = []
    for name, own, apart, key in zip(names or rows.row_ids.to_pylist(), sets, alone, columns, strict=True):
        assert (key[0] is None) == (apart or not any(own))
        of = [] if key[0] is None else list(zip(bands, key, strict=True))
        out.append(Known(name, own, of, outside, apart))
    return out


def brute_force(rows: Sequence[Known], threshold: float) -> dict[Any, Drop]:
    """Return the dropped rows by the definition: compare with earlier kept rows that share a band, in row order."""
    kept: dict[tuple[str, int], list[int]] = defaultdict(list)
    out: dict[Any, Drop] = {}
    for i, row in enumerate(rows):
        earlier = sorted({j for band in row.bands for j in kept[band]})
        near = ((rows[j].near(row), rows[j].name) for j in earlier if not rows[j].alone)
        found = None if row.outside or row.alone else next((one for one in near if one[0] >= threshold), None)
        if found:
            out[row.name] = found
        else:
            for band in row.bands:
                kept[band].append(i)
    return out


# ------------------------------------------------------------------------------------------------------- the stage


def make_rows(columns: Mapping[str, Sequence[Any]], roles: Mapping[str, Sequence[str]] | None = None) -> Rows:
    batch = pa.record_batch({name: as_text(values) for name, values in columns.items()})
    named = roles or {name: (name,) for name in columns}
    view = View(batch.schema, {role: tuple(names) for role, names in named.items()})
    n = batch.num_rows
    return Rows(batch, view, pa.array(range(n), pa.uint64()), pa.array(["s"] * n, pa.string()))


def as_text(values: Sequence[Any]) -> pa.Array:
    nested = any(isinstance(value, list) for value in values)
    return pa.array(values, pa.list_(pa.string()) if nested else pa.string())


@dataclass
class Answer:
    dropped: dict[Any, Drop]
    facts: dict[str, Any] = field(default_factory=dict)


def run_stage(rows: Rows, stage: NearDedup, folder: Path, batch_rows: int = 997) -> Answer:
    """Run the stage on rows without a pipeline."""
    spans = range(0, max(1, len(rows)), batch_rows)
    keys = pa.concat_tables(pa.table(stage.keys(part(rows, start, batch_rows), Context())) for start in spans)
    table = keys.append_column("row_id", pa.chunked_array([rows.row_ids])).append_column("source", [rows.sources])

    def fetch(row_ids: np.ndarray[Any, np.dtype[np.uint64]]) -> Iterator[Rows]:
        assert (np.diff(row_ids.astype(np.int64)) > 0).all()
        for start in range(0, len(row_ids), batch_rows):
            yield rows.take(np.isin(rows.row_ids.to_numpy(), row_ids[start : start + batch_rows]))

    with duckdb.connect(config={"threads": 1, "preserve_insertion_order": False}) as con:
        con.register("survivors", table)
        survivors = RemainingRows(con, "survivors", fetch=fetch, folder=folder / "near")
        found = stage.decide(survivors).fetchall()
    assert all(reason == 0 and partner is None for _, reason, _, partner, _ in found)
    assert len({row_id for row_id, *_ in found}) == len(found)
    json.dumps(survivors.facts)
    return Answer({row_id: (score, other) for row_id, _, score, _, other in found}, survivors.facts)


def part(rows: Rows, start: int, n_rows: int) -> Rows:
    span = slice(start, start + n_rows)
    return Rows(rows.batch.slice(start, n_rows), rows.view, rows.row_ids[span], rows.sources[span])


def check(rows: Rows, stage: NearDedup, folder: Path) -> Answer:
    """Check that the stage and the reference agree."""
    answer = run_stage(rows, stage, folder)
    assert answer.dropped == brute_force(known_rows(rows, stage), stage.threshold)
    return answer


# ---------------------------------------------------------------------------------- cases whose answers are literals


SEVEN = "one two three four five six seven"
POLICIES = {
    "exact": {1: (1.0, 0), 3: (1.0, 2), 10: (1.0, 9)},
    "char_ngrams": {1: (1.0, 0), 3: (1.0, 2), 10: (1.0, 9)},
    "keep": {1: (1.0, 0)},
}


@pytest.mark.parametrize("policy", POLICIES)
def test_short_texts(tmp_path: Path, policy: Any) -> None:
    lines = [SEVEN, "One  two, three four five six SEVEN!", "C", " c\n", "C++", "", None, " \t", "c sharp", "STRASSE 1"]
    rows = make_rows({"text": [*lines, "straße\u2003 1"]})
    assert check(rows, NearDedup(short_text=policy), tmp_path).dropped == POLICIES[policy]


@pytest.mark.parametrize(
    ("policy", "dropped"),
    [("exact", {4: 1.0, 6: 1.0, 7: 1.0}), ("char_ngrams", {4: 1.0, 6: 1.0, 7: 1.0}), ("keep", {6: 1.0})],
)
def test_a_short_text_beside_another_role(tmp_path: Path, policy: Any, dropped: dict[int, float]) -> None:
    """With keep, rows with short texts are not dropped even if all else is equal; empty texts equal each other."""
    anchors = ["Mac", "Linux", "", SEVEN, "linux", "  mac now", "\u3000", SEVEN.upper()]
    rows = make_rows({"anchor": anchors, "positive": [*[SEVEN] * 3, "Mac", *[SEVEN] * 3, "mac"]})
    answer = check(rows, NearDedup(short_text=policy), tmp_path)
    assert {row: score for row, (score, _) in answer.dropped.items()} == dropped
    listed = make_rows({"anchor": [[SEVEN, "Mac"], [SEVEN, "Linux"], ["Linux", None]], "positive": [SEVEN] * 3})
    fallen = check(listed, NearDedup(short_text=policy), tmp_path).dropped
    assert fallen == ({1: (1.0, 0)} if policy == "keep" else {})


def test_short_texts_may_be_near_by_their_characters(tmp_path: Path) -> None:
    rows = make_rows({"text": ["restart the server", "restart the servers", "restart a server", "ab", "AB", "abc"]})
    stage = NearDedup(short_text="char_ngrams", threshold=0.6)
    assert check(rows, stage, tmp_path).dropped == {1: (15 / 16, 0), 4: (1.0, 3)}


def test_kinds_of_elements_never_meet() -> None:
    text = pa.array(["one two three four five"], pa.large_string())
    kinds = [Shingling(5), Shingling(6), Shingling(6, short=2, chars=99), Shingling(6, short=KEEP)]
    found = [text_elements(text, kind, tag).values.tolist() for kind in kinds for tag in ("anchor", "positive")]
    assert [len(values) for values in found] == [1, 1, 1, 1, 1, 1, 0, 0]
    assert len({value for values in found for value in values}) == 6


def test_no_chain_is_closed_over(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(60)]
    rows = make_rows({"text": [" ".join(words[i : i + 40]) for i in range(10)]})
    stage = NearDedup(n_grams=1, threshold=0.8, num_buckets=100, hashes_per_bucket=1)
    shift = {i: (40 - i % 5) / (40 + i % 5) for i in range(10)}
    expected = {i: (shift[i], i - i % 5) for i in range(10) if i % 5}
    assert check(rows, stage, tmp_path).dropped == expected


def test_every_role_must_be_near(tmp_path: Path) -> None:
    long = " ".join(f"w{i}x" for i in range(50))
    columns: dict[str, list[str | None]] = {
        "anchor": [SEVEN, SEVEN, SEVEN, None, None, SEVEN, "x", "x"],
        "positive": [long, long + " x", "other", long, long + " x", None, None, ""],
    }
    near = 46 / 47
    assert check(make_rows(columns), NearDedup(), tmp_path).dropped == {1: (near, 0), 4: (near, 3), 7: (1.0, 6)}
    only = check(make_rows(columns), NearDedup(roles=("anchor",)), tmp_path).dropped
    assert only == {1: (1.0, 0), 2: (1.0, 0), 5: (1.0, 0), 7: (1.0, 6)}


def test_roles_do_not_meet(tmp_path: Path) -> None:
    columns = {"anchor": [SEVEN, "x"], "positive": ["x", SEVEN]}
    assert check(make_rows(columns), NearDedup(threshold=0.01), tmp_path).dropped == {}


def test_several_texts_of_a_role_are_one_set(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "a": [["x", SEVEN], [SEVEN, "X", "x"], [], None, ["y"]],
        "b": ["z", None, "z", "y", None],
    }
    rows = make_rows(columns, {"negative": ("a", "b")})
    assert check(rows, NearDedup(threshold=0.8), tmp_path).dropped == {1: (0.8, 0), 4: (1.0, 3)}


SIGNS = [
    "Compute 12 + 5 * 3 and show all of the steps in between.",
    "Compute 12 - 5 / 3 and show all of the steps in between.",
    "if (a > b) { return the first of the two values to the caller }",
    "if (a < b) { return the first of the two values to the caller }",
    "if (a == b) { return the first of the two values to the caller }",
    "if (a != b) { return the first of the two values to the caller }",
    "The temperature is -5 degrees in the town on the hill today",
    "The temperature is 5 degrees in the town on the hill today",
    "The temperature is +5 degrees in the town on the hill today",
    "Write a program in C that prints all of the prime numbers below ten",
    "Write a program in C++ that prints all of the prime numbers below ten",
    "Write a program in C# that prints all of the prime numbers below ten",
    "I love the new phone that they gave me for my birthday last week on Monday 😍",
    "I love the new phone that they gave me for my birthday last week on Monday 😡",
    "In the end the share that the state had to pay for it all was close to 50 %",
    "In the end the share that the state had to pay for it all was close to 50 €",
    "Nobody has told me that they close at noon on the days before a feast :)",
    "Nobody has told me that they close at noon on the days before a feast :(",
    "Farm to Market Road lies in the south of the state and its number in the list is 1506.",
    "Farm to Market Road lies in the south of the state and its number in the list is 1507.",
]


@pytest.mark.parametrize("threshold", [0.8, 0.9, 1.0])
def test_sentences_that_differ_in_a_sign_or_a_number_are_kept(tmp_path: Path, threshold: float) -> None:
    assert check(make_rows({"text": SIGNS}), NearDedup(threshold=threshold), tmp_path).dropped == {}
    same = ["I love the new phone, that they gave me", "“I love the NEW phone that they gave me.”"]
    assert check(make_rows({"text": same}), NearDedup(threshold=threshold), tmp_path).dropped == {1: (1.0, 0)}


@pytest.mark.parametrize(("threshold", "dropped"), [(0.99, {1: (1.0, 0), 3: (1.0, 2)}), (1.0, {3: (1.0, 2)})])
def test_at_threshold_one_the_content_is_equal(tmp_path: Path, threshold: float, dropped: dict[int, Drop]) -> None:
    """A repeated passage gives no new n-grams, but other content."""
    verse = "row row row row row row"
    lines = [verse, verse + " row", "one two three four five six", "One, two: three; four -- five (six)!"]
    assert check(make_rows({"text": lines}), NearDedup(threshold=threshold), tmp_path).dropped == dropped


def test_at_threshold_one_short_texts_are_equal_character_by_character(tmp_path: Path) -> None:
    rows = make_rows({"text": ["ababab ab", "abababab ab", "Yes.", "yes.", "Yes!"]})
    stage = NearDedup(threshold=1.0, short_text="char_ngrams", char_n_grams=2)
    assert check(rows, stage, tmp_path).dropped == {3: (1.0, 2)}


def test_case_folds_by_character(tmp_path: Path) -> None:
    lines = [
        "GROSSE STRASSE am kalten Fluß hier",
        "große straße AM KALTEN FLUSS HIER",
        "ΣΊΣΥΦΟΣ α β γ δ",
        "σίσυφος Α Β Γ Δ",
    ]
    kelvin = ["300 \u212a water is not so cold", "300 k water IS NOT so cold"]
    rows = make_rows({"text": [*lines, *kelvin]})
    assert check(rows, NearDedup(), tmp_path).dropped == {1: (1.0, 0), 3: (1.0, 2), 5: (1.0, 4)}


def test_texts_without_spaces(tmp_path: Path) -> None:
    chinese = "自然语言处理是计算机科学领域与人工智能领域中的一个重要方向它研究能实现人与计算机之间用自然语言通信"
    thai = "ประเทศไทยมีชื่ออย่างเป็นทางการว่าราชอาณาจักรไทยเป็นรัฐชาติอันตั้งอยู่ในภูมิภาคเอเชียตะวันออกเฉียงใต้"
    rows = make_rows({"text": [chinese, thai, chinese + "。另外", thai + " 1", "我", "我", "我们"]})
    assert set(check(rows, NearDedup(), tmp_path).dropped) == {2, 3, 5}


def test_facts_name_the_largest_buckets(tmp_path: Path) -> None:
    lines = ["a", SEVEN, "b", "a", SEVEN + " eight", "b", "a", SEVEN, None]
    facts = check(make_rows({"text": lines}), NearDedup(threshold=0.7), tmp_path).facts
    n_bands, n_hashes = choose_bands(0.7)
    assert facts == {
        **{"threshold": 0.7, "num_buckets": n_bands, "hashes_per_bucket": n_hashes, "n_grams": 5, "rows": 9},
        **{"candidates": 2, "compared": 1, "identical": 4},
        "largest_buckets": [{"rows": 3, "row_id": 0}, {"rows": 3, "row_id": 1}, {"rows": 2, "row_id": 2}],
    }


@pytest.mark.parametrize("columns", [{"text": []}, {"text": [None, ""]}, {"text": ["a"]}, {"text": ["a", "b"]}])
def test_nothing_to_drop(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    answer = check(make_rows(columns), NearDedup(), tmp_path)
    assert answer.dropped == {}
    assert answer.facts["candidates"] == answer.facts["compared"] == 0


# --------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("threshold", "bands"),
    [(0.8, (14, 8)), (0.3, (56, 2)), (0.5, (37, 3)), (0.95, (5, 19)), (1.0, (1, 112)), (0.01, (112, 1))],
)
def test_threshold_chooses_bands(threshold: float, bands: tuple[int, int]) -> None:
    assert choose_bands(threshold) == bands
    assert NearDedup(threshold=threshold).bands == bands
    assert NearDedup(threshold=threshold, num_buckets=3, hashes_per_bucket=2).bands == (3, 2)


def test_role_is_another_name_of_roles() -> None:
    for options in ({"role": "anchor"}, {"roles": "anchor"}, {"roles": ["anchor"]}, {"role": ["anchor"]}):
        assert NearDedup.model_validate(options).roles == ("anchor",)
    (stage,) = Recipe.parse("stages: [near_dedup: {role: anchor, against: old}]", "r.yaml").stages
    assert stage == NearDedup(roles=("anchor",), against=("old",))
    assert stage.reference_files() == ("old",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "anchor", "roles": ["anchor"]}, "two names of the same option"),
        ({"num_buckets": 3}, "together, or neither"),
        ({"hashes_per_bucket": 3}, "together, or neither"),
        ({"threshold": 0}, "greater than 0"),
        ({"threshold": 1.01}, "less than or equal to 1"),
        ({"n_grams": 0}, "greater than or equal to 1"),
        ({"short_text": "drop"}, "'exact', 'char_ngrams' or 'keep'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NearDedup.model_validate(options)


def test_role_that_is_not_there() -> None:
    rows = make_rows({"text": ["a"]})
    with pytest.raises(RecipeError, match="no role 'anchor'"):
        NearDedup(roles=("anchor",)).after(rows.view)


# ------------------------------------------------------------------------------------------------------- real texts


def changed(text: str, rng: random.Random) -> str:
    """Return a text with a few words removed, doubled or replaced, from nearly the same to a different text."""
    words = text.split()
    for _ in range(rng.choice([0, 1, 1, 2, 3, 6])):
        if words:
            place = rng.randrange(len(words))
            words[place : place + 1] = rng.choice([[], [words[place]] * 2, ["other"], [words[place].upper()]])
    return rng.choice([" ", "  ", "\n"]).join(words)


def with_copies(texts: Sequence[str | None], seed: int, share: float = 0.5) -> list[str | None]:
    """Insert changed copies of texts among them, including copies of copies."""
    rng = random.Random(seed)
    out = list(texts)
    for _ in range(int(share * len(texts))):
        text = rng.choice(out)
        out.insert(rng.randrange(len(out) + 1), None if text is None else changed(text, rng))
    return out


def demo_texts() -> dict[str, list[str | None]]:
    """Return the texts of the demo data: questions and their answers, sentences."""
    with gzip.open(DEMO / "questions.jsonl.gz", "rt", encoding="utf-8") as source:
        records = [json.loads(line) for line in source if line.startswith("{") and line.rstrip().endswith("}")]
    pairs = [one for one in records if isinstance(one.get("question"), str) and isinstance(one.get("answer"), str)]
    return {
        "questions": [one["question"] for one in pairs],
        "answers": [one["answer"] for one in pairs],
        "sentences": pq.read_table(DEMO / "sentences.parquet").column("text").to_pylist(),
    }


@pytest.mark.parametrize("policy", ["exact", "char_ngrams", "keep"])
@pytest.mark.parametrize("name", ["questions", "sentences"])
def test_demo_texts(tmp_path: Path, name: str, policy: Any) -> None:
    texts = with_copies([*demo_texts()[name][:1500], None, "", "!?", "C", "C++", "你好", "สวัสดี", "你好"], 1)
    stage = NearDedup(threshold=0.6, n_grams=3, short_text=policy)
    answer = check(make_rows({"text": texts}), stage, tmp_path)
    assert len(answer.dropped) > 100
    assert answer.facts["compared"] > 100


def test_demo_pairs(tmp_path: Path) -> None:
    demo = demo_texts()
    rng = random.Random(3)
    pairs = list(zip(demo["questions"], demo["answers"], strict=True))[:400]
    for anchor, positive in rng.sample(pairs, 300):
        pairs.insert(rng.randrange(len(pairs)), (changed(anchor or "", rng), changed(positive or "", rng)))
    columns = {"anchor": [one for one, _ in pairs], "positive": [one for _, one in pairs]}
    for roles in (None, ("positive",)):
        answer = check(make_rows(columns), NearDedup(roles=roles, threshold=0.5), tmp_path)
        assert len(answer.dropped) > 50


CORPORA = {
    "pairs_simplification": ({"anchor": "anchor", "positive": "positive"}, 4000),
    "pairs_medquad": ({"anchor": "anchor", "positive": "positive"}, 1500),
    "pairs_tldr_description_command": ({"anchor": "anchor", "positive": "positive"}, 6000),
    "corpus_tldr_pages_multilingual": ({"text": "text"}, 3000),
}


@pytest.mark.corpora
@pytest.mark.parametrize("policy", ["exact", "char_ngrams", "keep"])
@pytest.mark.parametrize("name", CORPORA)
def test_corpora(corpora: Path, tmp_path: Path, name: str, policy: Any) -> None:
    roles, n_rows = CORPORA[name]
    table = pq.read_table(corpora / "train" / f"{name}.parquet", columns=list(roles.values()))
    start = table.num_rows // 3
    rows = make_rows({role: table.column(column).slice(start, n_rows).to_pylist() for role, column in roles.items()})
    stages = NearDedup(short_text=policy), NearDedup(roles=(next(iter(roles)),), threshold=0.5, short_text=policy)
    dropped = [check(rows, stage, tmp_path).dropped for stage in stages]
    assert any(dropped) or policy == "keep"


def sketch_curve(pairs: Sequence[tuple[str, str]], stage: NearDedup) -> list[tuple[float, float, float, int]]:
    """Return for each decile of the true similarity: the measured and the expected share of pairs that share a band,
    the standard error, and the number of pairs."""
    keys = [stage.keys(make_rows({"text": [pair[side] for pair in pairs]}), Context()) for side in (0, 1)]
    names = [name for name in keys[0] if name.startswith("b")]
    left, right = (np.array([one[name].to_numpy(zero_copy_only=False) for name in names]) for one in keys)
    shared = (left == right).any(axis=0)
    true = np.array([jaccard(set_of([a], stage), set_of([b], stage)) for a, b in pairs])
    n_bands, n_hashes = stage.bands
    promised = 1 - (1 - true**n_hashes) ** n_bands
    out = []
    for decile in range(10):
        of = (true > decile / 10) & (true <= (decile + 1) / 10) & (true < 1)
        if of.sum() >= 50:
            error = np.sqrt((promised[of] * (1 - promised[of])).sum()) / of.sum()
            out.append((float(shared[of].mean()), float(promised[of].mean()), float(error), int(of.sum())))
    return out


@pytest.mark.corpora
@pytest.mark.parametrize("bands", [(14, 8), (28, 4), (56, 2), (8, 14)])
def test_pairs_share_a_band_as_often_as_promised(corpora: Path, bands: tuple[int, int]) -> None:
    table = pq.read_table(corpora / "train" / "pairs_simplification.parquet")
    rng = random.Random(5)
    both = table.column("anchor").to_pylist() + table.column("positive").to_pylist()
    texts = [text for text in dict.fromkeys(both) if len(text.split()) > 12]
    pairs = [(text, changed(changed(text, rng), rng)) for text in rng.sample(texts, 12_000)]
    stage = NearDedup(n_grams=2, num_buckets=bands[0], hashes_per_bucket=bands[1])
    curve = sketch_curve(pairs, stage)
    assert sum(n for *_, n in curve) > 5000
    assert len(curve) >= 7
    for found, promised, error, n_pairs in curve:
        # Some thirty comparisons: one beyond three standard errors is no surprise.
        assert abs(found - promised) <= 4 * error + 1e-9, (found, promised, error, n_pairs)


# ------------------------------------------------------------------------------------------------------- properties


LETTERS = st.text(alphabet="abß ", max_size=30)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(LETTERS | st.none(), LETTERS), max_size=25), st.integers(1, 9), st.sampled_from([0.2, 0.5, 1])
)
def test_any_rows_in_any_batches(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str | None, str]], batch_rows: int, threshold: float
) -> None:
    rows = make_rows({"anchor": [one for one, _ in pairs], "positive": [one for _, one in pairs]})
    options = {"threshold": threshold, "n_grams": 2, "short_text": "char_ngrams", "char_n_grams": 2}
    stage = NearDedup.model_validate({**options, "num_buckets": 6, "hashes_per_bucket": 2})
    expected = brute_force(known_rows(rows, stage), threshold)
    folder = tmp_path_factory.mktemp("near")
    assert run_stage(rows, stage, folder, batch_rows).dropped == expected
    assert run_stage(rows, stage, folder).dropped == expected


# ------------------------------------------------------------------------------------------------- whole pipelines


def ledger_of(report: CleanReport) -> dict[int, tuple[float, str]]:
    """Return the score and the partner of every dropped row of the first input, by its row."""
    assert report.path is not None
    table = pq.read_table(report.path / "ledger").to_pylist()
    return {one["row"]: (one["score"], one["partner"]) for one in table if not one["kept"]}


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    texts = with_copies(demo_texts()["sentences"][:600], 7)
    return write_jsonl(tmp_path / "own.jsonl", [{"text": text} for text in texts])


def own_texts(path: Path) -> list[str | None]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("workers", "batch_rows"), [(1, 4096), (1, 17), (2, 100)])
def test_pipeline(tmp_path: Path, own_file: Path, workers: int, batch_rows: int) -> None:
    stage = NearDedup(threshold=0.6, n_grams=2)
    report = Pipeline(stage).run(own_file, tmp_path / "run", workers=workers, batch_rows=batch_rows)
    rows = make_rows({"text": own_texts(own_file)})
    expected = brute_force(known_rows(rows, stage), 0.6)
    assert len(expected) > 50
    assert ledger_of(report) == {row: (score, f"{own_file}:{other}") for row, (score, other) in expected.items()}
    again = Pipeline(stage).run(report.path / "data", tmp_path / "again") if report.path else None
    assert again is not None
    assert again.rows.dropped == 0


def test_row_order_decides(tmp_path: Path) -> None:
    lines = [SEVEN, SEVEN + " eight", SEVEN + " eight nine"]
    stage = NearDedup(threshold=0.7, num_buckets=100, hashes_per_bucket=1)
    assert check(make_rows({"text": lines}), stage, tmp_path).dropped == {1: (3 / 4, 0)}
    assert check(make_rows({"text": lines[::-1]}), stage, tmp_path).dropped == {1: (4 / 5, 0)}
    middle = check(make_rows({"text": [lines[1], lines[0], lines[2]]}), stage, tmp_path)
    assert middle.dropped == {1: (3 / 4, 0), 2: (4 / 5, 0)}


@pytest.mark.parametrize("kind", ["files", "run folder"])
def test_against(tmp_path: Path, own_file: Path, kind: str) -> None:
    texts = own_texts(own_file)
    rng = random.Random(11)
    old = [changed(text or "", rng) for text in rng.choices(texts, k=200)]
    half = len(old) // 2
    files = [
        write_parquet(tmp_path / f"{name}.parquet", [{"n": i, "text": text} for i, text in enumerate(some)])
        for name, some in (("x", old[:half]), ("y", [*old[half:], *old[:3], texts[0]]))
    ]
    against = tuple(map(str, files))
    if kind == "run folder":
        Pipeline(NearDedup(threshold=1)).run(files, tmp_path / "old")
        against = (str(tmp_path / "old"),)
        files = sorted((tmp_path / "old" / "data").glob("*.parquet"))
    stage = NearDedup(threshold=0.6, n_grams=2, against=against)
    report = Pipeline(stage).run(own_file, tmp_path / "run", batch_rows=50)
    outside = []
    for path in files:
        rows = make_rows({"text": pq.read_table(path).column("text").to_pylist()})
        outside += known_rows(rows, stage, [f"{path}:{i}" for i in range(len(rows))], outside=True)
    own = make_rows({"text": texts})
    names = [f"{own_file}:{i}" for i in range(len(own))]
    expected = brute_force([*outside, *known_rows(own, stage, names)], 0.6)
    assert ledger_of(report) == {int(name.rpartition(":")[2]): drop for name, drop in expected.items()}
    partners = [str(partner) for _, partner in expected.values()]
    assert sum(not partner.startswith(str(own_file)) for partner in partners) > 20
    assert sum(partner.startswith(str(own_file)) for partner in partners) > 20


# ------------------------------------------------------------------------------------- what must not grow or swallow


def chain(n_rows: int) -> list[str]:
    """Return rows that each differ from the previous row by one word of fifty."""
    return [" ".join(f"w{j}x" for j in range(i, i + 50)) for i in range(n_rows)]


def nearly_one(n_rows: int) -> list[str]:
    """Return rows that differ from each other by one word of a hundred."""
    words = [f"w{j}x" for j in range(100)]
    return [" ".join([*words[: i % 97], f"x{i}", *words[i % 97 + 1 :]]) for i in range(n_rows)]


def same(n_rows: int) -> list[str]:
    return ["the same"] * n_rows


def template(n_rows: int) -> list[str]:
    """Return rows that share most bands, but no pair reaches the threshold: one text with three variable words."""
    words = [f"w{j}x" for j in range(100)]
    blanks = (5, 39, 73)
    return [" ".join(f"x{i}b{j}" if j in blanks else word for j, word in enumerate(words)) for i in range(n_rows)]


def test_a_template_is_compared_pair_by_pair(tmp_path: Path) -> None:
    answer = check(make_rows({"text": template(300)}), NearDedup(), tmp_path)
    assert answer.dropped == {}
    assert answer.facts["compared"] > 10_000


@pytest.mark.parametrize("make", [chain, nearly_one, same])
def test_hard_cases(tmp_path: Path, make: Any) -> None:
    answer = check(make_rows({"text": make(2000)}), NearDedup(), tmp_path)
    assert len(answer.dropped) > 1000
    assert answer.facts["compared"] < 30_000


HARD = """
import json, sys
from jina_data import NearDedup, Pipeline
report = Pipeline(NearDedup()).run("in.parquet", "run", memory_limit="1GB")
print(json.dumps([report.rows.dropped, report.seconds, report.peak_memory_bytes]))
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("make", "n_rows", "seconds"),
    [(chain, 10_000, 60), (nearly_one, 100_000, 120), (same, 10**6, 180), (template, 30_000, 180)],
)
def test_hard_cases_in_full(tmp_path: Path, make: Any, n_rows: int, seconds: float) -> None:
    write_parquet(tmp_path / "in.parquet", pa.table({"text": make(n_rows)}))
    # A process of its own, so that nothing but the run counts.
    command = [sys.executable, "-c", HARD]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    dropped, took, peak = json.loads(done.stdout)
    print(f"{make.__name__}: {dropped} of {n_rows} dropped, {took} s, {peak / 10**6:.0f} MB")
    assert dropped == 0 if make is template else dropped > n_rows / 2
    assert 10**7 < peak < 10**9
    assert took < seconds


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sets_that_were_compared_leave_memory(tmp_path: Path) -> None:
    from jina_data.kernels.lsh import release_pages

    numbers = np.arange(8 * 10**6, dtype=np.uint64)
    numbers.tofile(tmp_path / "sets.bin")
    values, maps = _mapped(tmp_path / "sets.bin")
    before = resident_bytes(os.getpid())
    total = values.sum()
    touched = resident_bytes(os.getpid())
    release_pages(maps)
    assert touched - before > 0.9 * numbers.nbytes
    assert resident_bytes(os.getpid()) - before < 0.1 * numbers.nbytes
    assert values.sum() == total == numbers.sum()
