"""Shows what every stage does: five small examples for each, with rows, options and results as literals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.embed import cross_encoder
from jina_data.stages import (
    Consistency,
    Decontaminate,
    ExactDedup,
    Language,
    Length,
    NearDedup,
    Normalize,
    Repeated,
    Rules,
    Sample,
    Select,
    Stage,
    TripletMargin,
    Where,
)
from tests.support.files import write_jsonl
from tests.support.scorers import Scripted

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The rows in data/, and for every input row the reason of its drop, or None."""

    kept: list[Row]
    reasons: list[str | None]


class Runner(Protocol):
    def __call__(self, stage: Stage, rows: Sequence[Row], columns: Mapping[str, str] | None = None) -> Result: ...


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Run one stage over rows. Without `columns`, the roles are guessed from the column names."""

    def run_stage(stage: Stage, rows: Sequence[Row], columns: Mapping[str, str] | None = None) -> Result:
        source = write_jsonl(tmp_path / "rows.jsonl", rows)
        Pipeline(stage, columns=columns).run(source, tmp_path / "run")
        ledger = pq.read_table(tmp_path / "run" / "ledger")
        return Result(pq.read_table(tmp_path / "run" / "data").to_pylist(), ledger["reason"].to_pylist())

    return run_stage


def texts(*values: str | None) -> list[Row]:
    return [{"text": value} for value in values]


# select


def test_select_renames_columns(run: Runner) -> None:
    result = run(Select(rename={"body": "text"}), [{"body": "a page", "id": 1}], {"text": "text"})
    assert result.kept == [{"text": "a page", "id": 1}]


def test_select_casts_columns(run: Runner) -> None:
    result = run(Select(cast={"year": "BIGINT"}), [{"text": "a", "year": "1999"}, {"text": "b", "year": None}])
    assert result.kept == [{"text": "a", "year": 1999}, {"text": "b", "year": None}]


def test_select_drops_rows_that_cannot_be_cast(run: Runner) -> None:
    result = run(Select(cast={"year": "BIGINT"}), [{"text": "a", "year": "1999"}, {"text": "b", "year": "unknown"}])
    assert result.reasons == [None, "cast_failed"]


def test_select_keeps_columns_in_the_given_order(run: Runner) -> None:
    result = run(Select(keep=("id", "text")), [{"text": "a page", "html": "<p>a page</p>", "id": 1}])
    assert [list(row.items()) for row in result.kept] == [[("id", 1), ("text", "a page")]]


def test_select_drops_columns(run: Runner) -> None:
    result = run(Select(drop=("html",)), [{"text": "a page", "html": "<p>a page</p>", "id": 1}])
    assert result.kept == [{"text": "a page", "id": 1}]


# where


def test_where_keeps_rows_for_which_the_expression_is_true(run: Runner) -> None:
    rows = [
        {"premise": "A man plays the guitar.", "hypothesis": "A man makes music.", "label": "entailment"},
        {"premise": "A man plays the guitar.", "hypothesis": "A man sleeps.", "label": "contradiction"},
    ]
    columns = {"sentence1": "premise", "sentence2": "hypothesis"}
    assert run(Where(expression="label = 'entailment'"), rows, columns).reasons == [None, "filtered"]


def test_where_drops_rows_for_which_the_expression_is_null(run: Runner) -> None:
    rows: list[Row] = [{"text": "a", "stars": 5}, {"text": "b", "stars": 1}, {"text": "c", "stars": None}]
    assert run(Where(expression="stars >= 3"), rows).reasons == [None, "filtered", "filtered"]


def test_where_can_keep_nulls(run: Runner) -> None:
    rows: list[Row] = [{"text": "a", "stars": 5}, {"text": "b", "stars": 1}, {"text": "c", "stars": None}]
    assert run(Where(expression="stars >= 3 OR stars IS NULL"), rows).reasons == [None, "filtered", None]


def test_where_uses_functions_of_duckdb(run: Runner) -> None:
    result = run(Where(expression="length(text) < 10 AND starts_with(lower(text), 'how')"), texts("How so?", "Why?"))
    assert result.reasons == [None, "filtered"]


def test_where_uses_columns_with_lists(run: Runner) -> None:
    rows = [{"text": "a", "tags": ["news", "sport"]}, {"text": "b", "tags": ["art"]}]
    assert run(Where(expression="list_contains(tags, 'sport')"), rows).reasons == [None, "filtered"]


# normalize


def test_normalize_collapses_white_space(run: Runner) -> None:
    result = run(Normalize(), texts(" one  two\t \r\n\n\n\nthree "))
    assert result.kept == [{"text": "one two\n\nthree"}]


def test_normalize_composes_characters(run: Runner) -> None:
    result = run(Normalize(), texts("cafe\u0301", "ﬁne"))
    assert result.kept == [{"text": "caf\u00e9"}, {"text": "ﬁne"}]


def test_normalize_with_nfkc_replaces_ligatures_and_full_width_letters(run: Runner) -> None:
    result = run(Normalize(unicode="NFKC"), texts("ﬁne", "Ａ"))
    assert result.kept == [{"text": "fine"}, {"text": "A"}]


def test_normalize_repairs_wrong_encodings_and_removes_invisible_characters(run: Runner) -> None:
    result = run(Normalize(), texts("schÃ¶n", "soft\u00adware", "\x1b[31mred\x1b[0m"))
    assert result.kept == [{"text": "schön"}, {"text": "software"}, {"text": "red"}]


def test_normalize_removes_markup_on_request(run: Runner) -> None:
    result = run(Normalize(markup=True), texts("<p>fish &amp; <b>chips</b></p>", "vector<int> a < b"))
    assert result.kept == [{"text": "fish & chips"}, {"text": "vector<int> a < b"}]


# length


def test_length_always_drops_empty_texts(run: Runner) -> None:
    assert run(Length(), texts("a", "", " \n", None)).reasons == [None, "empty", "empty", "empty"]


def test_length_bounds_characters(run: Runner) -> None:
    result = run(Length(min_chars=3, max_chars=5), texts("hi", "hello", "hello!"))
    assert result.reasons == ["too_short", None, "too_long"]


def test_length_bounds_words(run: Runner) -> None:
    result = run(Length(min_words=2), texts("don't", "3.14", "well-known", "北京", "hello !?"))
    assert result.reasons == ["too_short", "too_short", None, None, "too_short"]


def test_length_bounds_the_given_roles(run: Runner) -> None:
    rows = [{"anchor": "pi", "positive": "3.14159"}, {"anchor": "What is pi?", "positive": "a number"}]
    assert run(Length(min_chars=5, roles=("anchor",)), rows).reasons == ["too_short", None]


def test_length_bounds_every_text_of_a_list(run: Runner) -> None:
    rows = [
        {"anchor": "a", "positive": "b", "negatives": ["short", "also short"]},
        {"anchor": "a", "positive": "b", "negatives": ["short", "this one is longer"]},
        {"anchor": "a", "positive": "b", "negatives": []},
    ]
    assert run(Length(max_words=3), rows).reasons == [None, "too_long", "empty"]


# rules


def test_rules_drop_texts_without_letters_on_request(run: Runner) -> None:
    assert run(Rules(no_letters=True), texts("route 66", "12:30", "今天")).reasons == [None, "no_letters", None]


def test_rules_drop_placeholders_and_punctuation_but_no_numbers_and_signs(run: Runner) -> None:
    result = run(Rules(), texts("N/A", "[deleted]", "...", "42 %", "+", "👍", "是"))
    assert result.reasons == ["placeholder", "placeholder", "only_punctuation", None, None, None, None]


def test_rules_drop_identical_pairs(run: Runner) -> None:
    rows = [{"anchor": "What is pi?", "positive": "A number."}, {"anchor": "A  number.", "positive": "a number."}]
    assert run(Rules(), rows).reasons == [None, "identical_pair"]


def test_rules_limit_digits(run: Runner) -> None:
    assert run(Rules(max_digit_ratio=0.5), texts("route 66", "call 555 0199")).reasons == [None, "too_many_digits"]


def test_rules_limit_repeated_characters(run: Runner) -> None:
    assert run(Rules(max_char_run=3), texts("so good", "soooo good")).reasons == [None, "char_run"]


def test_rules_of_gopher_are_for_long_pages(run: Runner) -> None:
    assert run(Rules(gopher_quality=True), texts("How long must an egg boil?")).reasons == ["gopher_short_doc"]


# language


ENGLISH = "This is a plain sentence about the weather in spring."
GERMAN = "Das ist ein einfacher Satz über das Wetter im Frühling."


def test_language_keeps_the_given_languages(run: Runner) -> None:
    assert run(Language(languages=("en",)), texts(ENGLISH, GERMAN)).reasons == [None, "wrong_language"]


def test_language_accepts_several_languages(run: Runner) -> None:
    assert run(Language(languages=("en", "de")), texts(ENGLISH, GERMAN)).reasons == [None, None]


def test_language_keeps_short_texts(run: Runner) -> None:
    assert run(Language(languages=("en",)), texts("Guten Morgen", GERMAN)).reasons == [None, "wrong_language"]


def test_language_drops_short_texts_on_request(run: Runner) -> None:
    result = run(Language(languages=("en",), uncertain="drop"), texts("Good morning", ENGLISH))
    assert result.reasons == ["uncertain_language", None]


def test_language_checks_the_given_roles(run: Runner) -> None:
    rows = [{"anchor": GERMAN, "positive": ENGLISH}, {"anchor": ENGLISH, "positive": GERMAN}]
    assert run(Language(languages=("en",), roles=("positive",)), rows).reasons == [None, "wrong_language"]


def test_language_recognises_other_scripts_in_short_texts(run: Runner) -> None:
    result = run(Language(languages=("en",)), texts("Привет", "你好", "π", "The word привет is Russian."))
    assert result.reasons == ["wrong_language", "wrong_language", None, None]


# exact_dedup


def test_exact_dedup_folds_case_and_white_space(run: Runner) -> None:
    result = run(ExactDedup(), texts("Hello World", "hello  world", "hello, world"))
    assert result.kept == [{"text": "Hello World"}, {"text": "hello, world"}]


def test_exact_dedup_can_compare_case(run: Runner) -> None:
    result = run(ExactDedup(fold_case=False), texts("Polish", "polish", "Polish"))
    assert result.reasons == [None, None, "exact_duplicate"]


def test_exact_dedup_can_keep_one_answer_for_each_question(run: Runner) -> None:
    rows = [{"anchor": "What is pi?", "positive": "A number."}, {"anchor": "What is pi?", "positive": "3.14"}]
    assert run(ExactDedup(roles=("anchor",)), rows).kept == [{"anchor": "What is pi?", "positive": "A number."}]


def test_exact_dedup_can_compare_all_columns(run: Runner) -> None:
    rows = [{"text": "a", "id": 1}, {"text": "a", "id": 2}, {"text": "a", "id": 1}]
    assert run(ExactDedup(roles="row"), rows).reasons == [None, None, "exact_duplicate"]


def test_exact_dedup_can_prefer_a_source(run: Runner) -> None:
    rows = [{"text": "hello", "origin": "web"}, {"text": "Hello", "origin": "books"}]
    result = run(ExactDedup(priority=("books", "web")), rows, {"text": "text", "source": "origin"})
    assert result.kept == [{"text": "Hello", "origin": "books"}]


# near_dedup


def test_near_dedup_ignores_case_and_punctuation(run: Runner) -> None:
    result = run(NearDedup(), texts("The cat sat on the mat.", "the cat sat -- on the MAT!"))
    assert result.reasons == [None, "near_duplicate"]


def test_near_dedup_compares_the_share_of_common_words(run: Runner) -> None:
    rows = texts("brown foxes jump over lazy dogs", "brown foxes jump over lazy cats", "stocks fell sharply on Monday")
    assert run(NearDedup(n_grams=1, threshold=0.6), rows).reasons == [None, "near_duplicate", None]


def test_near_dedup_compares_short_texts_as_a_whole(run: Runner) -> None:
    result = run(NearDedup(), texts("C", "C++", "c++", "restart the server", "restart a server"))
    assert result.reasons == [None, None, "near_duplicate", None, None]


def test_near_dedup_can_compare_short_texts_by_characters(run: Runner) -> None:
    stage = NearDedup(short_text="char_ngrams", threshold=0.4)
    assert run(stage, texts("restart the server", "restart a server")).reasons == [None, "near_duplicate"]


def test_near_dedup_does_not_drop_chains(run: Runner) -> None:
    rows = texts("one two three four five six", "one two three four five SEVEN", "one two three four EIGHT seven")
    assert run(NearDedup(n_grams=1, threshold=0.7), rows).reasons == [None, "near_duplicate", None]


# repeated


STOCK = [{"anchor": f"What is {word}?", "positive": "Ask your doctor about it."} for word in ("gout", "flu", "mumps")]


def test_repeated_drops_stock_answers(run: Runner) -> None:
    rows = [*STOCK, {"anchor": "What is ague?", "positive": "A fever that comes and goes."}]
    assert run(Repeated(min_count=3), rows).reasons == ["repeated_text"] * 3 + [None]


def test_repeated_keeps_answers_to_fewer_questions(run: Runner) -> None:
    assert run(Repeated(min_count=4), STOCK).reasons == [None, None, None]


def test_repeated_counts_different_questions(run: Runner) -> None:
    assert run(Repeated(min_count=3), [STOCK[0], STOCK[0], STOCK[1]]).reasons == [None, None, None]


def test_repeated_keeps_labels_and_numbers(run: Runner) -> None:
    rows = [{"anchor": f"Is {number} even?", "positive": "Yes, it is"} for number in range(3)]
    assert run(Repeated(min_count=3), rows).reasons == [None, None, None]


def test_repeated_needs_a_share_of_the_rows(run: Runner) -> None:
    assert (
        run(
            Repeated(min_count=3, min_share=0.8),
            [
                *STOCK,
                *[
                    {"anchor": f"What is {number}?", "positive": f"The number {number} is a number."}
                    for number in range(3)
                ],
            ],
        ).reasons
        == [None] * 6
    )


# decontaminate


def test_decontaminate_finds_equal_texts(run: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "evaluation.jsonl", texts("What is pi?"))
    stage = Decontaminate(files=(str(tmp_path / "evaluation.jsonl"),))
    assert run(stage, texts("what is PI", "What is pi used for?")).reasons == ["contaminated", None]


def test_decontaminate_finds_contained_texts(run: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "evaluation.jsonl", texts("Swallows fly south in September."))
    stage = Decontaminate(files=(str(tmp_path / "evaluation.jsonl"),))
    rows = texts("As we know, swallows fly south in September or later.", "Swallows fly north in spring.")
    assert run(stage, rows).reasons == ["contaminated", None]


def test_decontaminate_finds_texts_with_one_word_changed(run: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "evaluation.jsonl", texts("The train to Paris leaves from platform nine."))
    stage = Decontaminate(files=(str(tmp_path / "evaluation.jsonl"),))
    rows = texts("The train to Paris leaves from platform seven.", "A train to Paris leaves from platform seven.")
    assert run(stage, rows).reasons == ["contaminated", None]


def test_decontaminate_finds_common_runs_of_words(run: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "evaluation.jsonl", texts("bees remember the angle of the sun and fly home"))
    stage = Decontaminate(files=(str(tmp_path / "evaluation.jsonl"),), n_grams=6)
    rows = texts("Sailors remember the angle of the sun.", "Sailors measure the angle of the sun.")
    assert run(stage, rows).reasons == ["contaminated", None]


def test_decontaminate_ignores_short_phrases_in_longer_texts(run: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "evaluation.jsonl", texts("It is very hot."))
    stage = Decontaminate(files=(str(tmp_path / "evaluation.jsonl"),))
    assert run(stage, texts("It is very hot in August.", "it is very hot")).reasons == [None, "contaminated"]


# consistency


PAIRS = [
    {"anchor": "How long must an egg boil?", "positive": "Boil the egg for eight minutes."},
    {"anchor": "Where does the train to Paris leave?", "positive": "The Paris train leaves from platform nine."},
    {"anchor": "Which tax do small companies pay?", "positive": "Small companies pay tax on their profit."},
]
SWAPPED = [
    {"anchor": "How long must an egg boil?", "positive": "Boil the egg for eight minutes.", "origin": "kitchen"},
    {"anchor": "Where does the train to Paris leave?", "positive": "Small companies pay tax.", "origin": "travel"},
    {"anchor": "Which tax do small companies pay?", "positive": "The Paris train leaves at nine.", "origin": "tax"},
]
"""The last two positives are swapped."""


def test_consistency_keeps_pairs_with_the_closest_positive(run: Runner) -> None:
    assert run(Consistency(top_k=1), PAIRS).reasons == [None, None, None]


def test_consistency_drops_pairs_if_other_positives_are_closer(run: Runner) -> None:
    assert run(Consistency(top_k=1), SWAPPED).reasons == [None, "inconsistent", "inconsistent"]


def test_consistency_keeps_the_top_k_ranks(run: Runner) -> None:
    assert run(Consistency(top_k=3), SWAPPED).reasons == [None, None, None]


def test_consistency_ignores_other_positives_of_the_same_anchor(run: Runner) -> None:
    rows = [
        {"anchor": "How long must an egg boil?", "positive": "Boil the egg for eight minutes."},
        {"anchor": "How long must an egg boil?", "positive": "Eight minutes."},
    ]
    assert run(Consistency(top_k=1), rows).reasons == [None, None]


def test_consistency_can_compare_within_each_source(run: Runner) -> None:
    columns = {"anchor": "anchor", "positive": "positive", "source": "origin"}
    assert run(Consistency(top_k=1, pool_by="source"), SWAPPED, columns).reasons == [None, None, None]


# triplet_margin. The model of these examples is a stub: it scores a pair by the number at the end of the second text.


@pytest.fixture
def stub_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_encoder, "load_pair_scorer", lambda *_: Scripted())
    monkeypatch.setattr(cross_encoder, "pair_scorer_sha256", lambda *_: Scripted.sha256)


@pytest.mark.usefixtures("stub_model")
def test_triplet_margin_keeps_negatives_that_are_clearly_worse(run: Runner) -> None:
    rows = [
        {"anchor": "capital of France", "positive": "Paris 0.9", "negative": "Berlin 0.3"},
        {"anchor": "capital of France", "positive": "Paris 0.9", "negative": "Paris, France 0.8"},
    ]
    assert run(TripletMargin(activation="none", margin=0.2), rows).reasons == [None, "weak_negative"]


@pytest.mark.usefixtures("stub_model")
def test_triplet_margin_compares_sigmoids_by_default(run: Runner) -> None:
    rows = [{"anchor": "capital of France", "positive": "Paris 8.0", "negative": "Paris, France 5.0"}]
    assert run(TripletMargin(), rows).reasons == ["weak_negative"]


@pytest.mark.usefixtures("stub_model")
def test_triplet_margin_removes_weak_negatives_from_lists(run: Runner) -> None:
    rows = [{"anchor": "capital of France", "positive": "Paris 0.9", "negatives": ["Berlin 0.3", "Paris, France 0.8"]}]
    result = run(TripletMargin(activation="none"), rows)
    assert result.kept == [{"anchor": "capital of France", "positive": "Paris 0.9", "negatives": ["Berlin 0.3"]}]


@pytest.mark.usefixtures("stub_model")
def test_triplet_margin_replaces_weak_negatives_in_columns_by_null(run: Runner) -> None:
    rows = [{"anchor": "capital", "positive": "Paris 0.9", "negative_1": "Paris, France 0.8", "negative_2": "Rome 0.1"}]
    result = run(TripletMargin(activation="none"), rows)
    assert result.kept == [
        {"anchor": "capital", "positive": "Paris 0.9", "negative_1": None, "negative_2": "Rome 0.1"},
    ]


@pytest.mark.usefixtures("stub_model")
def test_triplet_margin_keeps_rows_without_negatives(run: Runner) -> None:
    rows = [
        {"anchor": "capital of France", "positive": "Paris 0.9", "negatives": []},
        {"anchor": "capital of France", "positive": "Paris 0.9", "negatives": ["Paris, France 0.8"]},
    ]
    assert run(TripletMargin(activation="none"), rows).reasons == [None, "weak_negative"]


# sample


def test_sample_keeps_exactly_count_rows(run: Runner) -> None:
    result = run(Sample(count=2), texts("a", "b", "c", "d", "e"))
    assert len(result.kept) == 2
    assert result.reasons.count("not_sampled") == 3


def test_sample_keeps_all_rows_if_there_are_fewer(run: Runner) -> None:
    assert run(Sample(count=10), texts("a", "b", "c")).reasons == [None, None, None]


def test_sample_keeps_a_fraction(run: Runner) -> None:
    assert run(Sample(fraction=0), texts("a", "b", "c")).reasons == ["not_sampled", "not_sampled", "not_sampled"]


def test_sample_keeps_or_drops_rows_with_the_same_text_together(run: Runner) -> None:
    result = run(Sample(fraction=0.5), texts("a", "a", "a", "a"))
    assert result.reasons in ([None, None, None, None], ["not_sampled"] * 4)


def test_sample_keeps_the_proportions_of_the_sources(run: Runner) -> None:
    rows = [
        {"text": "a", "origin": "web"},
        {"text": "b", "origin": "web"},
        {"text": "c", "origin": "web"},
        {"text": "d", "origin": "wiki"},
        {"text": "e", "origin": "wiki"},
    ]
    result = run(Sample(weights={"web": 1, "wiki": 1}), rows, {"text": "text", "source": "origin"})
    assert [row["origin"] for row in result.kept] == ["web", "web", "wiki", "wiki"]
