"""Paraphrases by a negated opposite: their grammar, unchanged texts, and the option --restate of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jina_data.english.antonyms import FORBIDDEN_NEXT, PREDICATES, VERBS
from jina_data.english.cues import negators
from jina_data.english.paraphrase import RESTATED, antonym_paraphrase, restated_negative
from jina_data.english.verb_forms import forms_of
from jina_data.negation.config import NegateConfig, RequestConfig
from jina_data.negation.run import negate
from jina_data.negation.sources import read_counts, read_pairs, write_pairs
from tests.support.files import write_jsonl


@pytest.mark.parametrize(
    ("plain", "turned", "opposite", "negated"),
    [
        ("The bus is full.", "The bus is not empty.", "The bus is empty.", "The bus is not full."),
        ("He was asleep", "He was not awake", "He was awake", "He was not asleep"),
        ("She's alive.", "She's not dead.", "She's dead.", "She's not alive."),
        ("I'm sure.", "I'm not unsure.", "I'm unsure.", "I'm not sure."),
        (
            "The test will be easy.",
            ("The test will not be difficult.", "The test will not be hard."),
            ("The test will be difficult.", "The test will be hard."),
            "The test will not be easy.",
        ),
        (
            "The road is wide in the north.",
            "The road is not narrow in the north.",
            "The road is narrow in the north.",
            "The road is not wide in the north.",
        ),
        ("It looks clean.", "It does not look dirty.", "It looks dirty.", "It does not look clean."),
        (
            "The boys liked the soup.",
            "The boys did not dislike the soup.",
            "The boys disliked the soup.",
            "The boys did not like the soup.",
        ),
        (
            "He remembers the name.",
            "He does not forget the name.",
            "He forgets the name.",
            "He does not remember the name.",
        ),
        ("They won the game.", "They did not lose the game.", "They lost the game.", "They did not win the game."),
    ],
)
def test_four_texts(plain: str, turned: str | tuple[str, ...], opposite: str | tuple[str, ...], negated: str) -> None:
    paraphrase = antonym_paraphrase(plain)
    assert paraphrase is not None
    assert (paraphrase.plain, paraphrase.negated) == (plain, negated)
    assert paraphrase.turned == turned if isinstance(turned, str) else paraphrase.turned in turned
    assert paraphrase.opposite == opposite if isinstance(opposite, str) else paraphrase.opposite in opposite


@pytest.mark.parametrize(
    "text",
    [
        "Is the shop open?",
        "The bus is not full.",
        "The shop is open and cheap.",
        "The shop is very full.",
        "The cup is full of tea.",
        "They won the gold medal.",
        "The train passes by.",
        "He lost his keys.",
        "The bus is full. It sells tea.",
        "A man sits on a bench.",
        "The shop is open " + "in the old town " * 6 + "today.",
        "",
    ],
)
def test_texts_without_a_paraphrase(text: str) -> None:
    assert antonym_paraphrase(text) is None


def test_the_two_orders_get_different_negatives() -> None:
    texts = antonym_paraphrase("The bus is full.")
    assert texts is not None
    negatives = {restated_negative(texts.turned, texts.plain), restated_negative(texts.plain, texts.turned)}
    assert negatives == {texts.opposite, texts.negated}
    assert restated_negative("The bus is full.", "The tram is not empty.") is None


def test_every_predicate_makes_four_texts() -> None:
    for word in PREDICATES:
        texts = antonym_paraphrase(f"The thing is {word}.")
        assert texts is not None, word
        assert negators(texts.turned), word
        assert negators(texts.negated), word
        assert not negators(texts.opposite), word
        assert texts.turned.replace(" not ", " ") == texts.opposite
        assert texts.negated.replace(" not ", " ") == texts.plain


def test_the_lists_are_consistent() -> None:
    assert set(FORBIDDEN_NEXT) <= set(PREDICATES)
    assert not [word for word, opposites in PREDICATES.items() if word in opposites]
    assert not [base for pair in VERBS.items() for base in (pair[0], *pair[1]) if forms_of(base) is None]


ROWS = [
    {"premise": "A man waits at a stop.", "hypothesis": "The bus is empty.", "label": "neutral"},
    {"premise": "The bus is full.", "hypothesis": "Many people ride a bus.", "label": "entailment"},
    {"premise": "Two dogs run.", "hypothesis": "Animals run outdoors in the snow.", "label": "entailment"},
]


def test_restated_pairs_need_the_option(tmp_path: Path) -> None:
    source = f"snli={write_jsonl(tmp_path / 'snli.jsonl', ROWS)}"
    write_pairs([source], tmp_path / "plain.parquet")
    write_pairs([source], tmp_path / "more.parquet", restate=True)
    plain, more = (list(read_pairs(tmp_path / f"{name}.parquet")) for name in ("plain", "more"))
    restated = [pair for pair in more if pair.source_id.endswith(RESTATED)]
    assert sorted((pair.anchor, pair.entailment) for pair in restated) == sorted(
        pair
        for plain_text, turned_text in (
            ("The bus is full.", "The bus is not empty."),
            ("The bus is empty.", "The bus is not full."),
        )
        for pair in ((plain_text, turned_text), (turned_text, plain_text))
    )
    assert [pair for pair in more if pair not in restated] == plain
    counts = read_counts(tmp_path / "more.parquet")
    assert counts.rows["snli"] == len(ROWS) + 4 == counts.pairs["snli"] + sum(counts.unusable["snli"].values())
    # All pairs of a premise are in the same split.
    assert len({(pair.group, pair.split) for pair in more}) == len({pair.group for pair in more})


def test_a_run_writes_and_accepts_them(tmp_path: Path) -> None:
    source = f"snli={write_jsonl(tmp_path / 'snli.jsonl', ROWS)}"
    config = NegateConfig(sources=[source], generator="rules", restate=True, test_fraction=0.0)
    negate(replace(config, requests=RequestConfig()), tmp_path / "run")
    rows = pq.read_table(tmp_path / "run" / "data" / "full").to_pylist()
    restated = {
        (row["anchor"], row["entailment"]): row["negative"] for row in rows if row["source_id"].endswith(RESTATED)
    }
    for (anchor, entailment), negative in restated.items():
        paraphrase = antonym_paraphrase(anchor if negators(entailment) else entailment)
        assert paraphrase is not None
        assert {anchor, entailment} == {paraphrase.plain, paraphrase.turned}
        assert negative in (paraphrase.opposite, paraphrase.negated)
    assert len(restated) >= 2  # "The bus is empty." is the negative of one pair and a text of another


def test_the_option_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    source = f"snli={write_jsonl(tmp_path / 'snli.jsonl', ROWS)}"
    plain = NegateConfig(sources=[source], generator="rules").fingerprint()
    more = NegateConfig(sources=[source], generator="rules", restate=True).fingerprint()
    assert "restate" not in plain
    assert more["restate"] == 1
