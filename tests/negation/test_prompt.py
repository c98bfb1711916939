"""The prompt in each form, and the assignment of answers to pairs."""

from __future__ import annotations

import json

import pytest

from jina_data.llm.dialect import FORMS, Dialect, Endpoint, Form, public_url
from jina_data.negation.answers import read_answer
from jina_data.negation.prompt import (
    KIND_WORDS,
    PROMPT_HASH,
    REASON_WORDS,
    Question,
    Rejection,
    messages_for,
    response_format,
)
from jina_data.negation.verify import REASONS
from tests.support.negation import make_pair


def question(n_pairs: int, *rejected: Rejection) -> Question:
    pairs = tuple(make_pair(number) for number in range(n_pairs))
    return Question(tuple(range(n_pairs)), pairs, tuple(rejected for _ in pairs))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_pairs", [1, 3])
def test_a_question_holds_its_pairs_and_its_form(form: Form, n_pairs: int) -> None:
    system, user = messages_for(question(n_pairs), form)
    items = [json.loads(line) for line in user["content"].splitlines()]
    assert [item["entailment"] for item in items] == [make_pair(number).entailment for number in range(n_pairs)]
    assert [item.get("id") for item in items] == ([None] if n_pairs == 1 else [1, 2, 3])
    assert all(kind in system["content"] for kind in KIND_WORDS)
    assert ("JSON object" in system["content"]) is (form != "text")
    parameter = response_format(n_pairs, form)
    assert (parameter or {}).get("type") == {"schema": "json_schema", "json": "json_object", "text": None}[form]


def test_every_reason_has_words_for_the_model() -> None:
    assert set(REASON_WORDS) == set(REASONS)


def test_a_rejection_has_its_reason_and_a_maximum_length() -> None:
    (_, user) = messages_for(question(1, Rejection("x" * 5000, "length_ratio", "9.00, expected 0.6 to 1.6")), "schema")
    (rejection,) = json.loads(user["content"])["rejected"]
    assert rejection["because"] == "it was much longer or shorter than the entailment (9.00, expected 0.6 to 1.6)"
    assert len(rejection["negative"]) == 400


def test_the_hash_is_that_of_the_words() -> None:
    assert len(PROMPT_HASH) == 16
    assert int(PROMPT_HASH, 16)


ONE = [
    ('{"negative": "It is not."}', "It is not.", None),
    ('```json\n{"negative": " It is not. "}\n```', "It is not.", None),
    ('<think>{"negative": "no"}</think>{"negative": "It is not."}', "It is not.", None),
    ('Sure: {"negative": "It is not."} Done.', "It is not.", None),
    ('{"negative": ""}', None, "negative is empty"),
    ('{"negative": 3}', None, "negative is a number, not a string"),
    ('{"answer": "x"}', None, "no key negative; it has answer"),
    ('{"negative": "It is', None, "not a JSON object"),
    ('["It is not."]', "It is not.", None),
    ("", None, "the answer is empty"),
    (None, None, "the answer is empty"),
]


@pytest.mark.parametrize(("content", "negative", "error"), ONE)
def test_one_answer(content: str | None, negative: str | None, error: str | None) -> None:
    (reading,) = read_answer(content, 1, "schema")
    assert (reading.negative, reading.schema_error) == (negative, error)


LINES = [
    ("It is not.", "It is not."),
    ('"It is not."', "It is not."),
    ("Negative: It is not.", "It is not."),
    ("“It is not.”", "It is not."),
    ('"A" is not "B"', '"A" is not "B"'),
    ("It is not.\nIndeed.", "It is not. Indeed."),  # the checks reject more than one sentence
    ('{"negative": "It is not."}', "It is not."),
]


@pytest.mark.parametrize(("content", "negative"), LINES)
def test_one_line(content: str, negative: str) -> None:
    assert read_answer(content, 1, "text")[0].negative == negative


def test_items_are_assigned_by_number_and_never_by_order() -> None:
    items = [{"id": 3, "negative": "c"}, {"id": 1, "negative": "a"}, {"id": 7, "negative": "x"}, {"negative": "y"}]
    readings = read_answer(json.dumps({"negatives": items}), 3, "schema")
    assert [reading.negative for reading in readings] == ["a", None, "c"]
    assert readings[1].schema_error == "no item with id 2; 4 items for 3 pairs"
    twice = read_answer(json.dumps({"negatives": [{"id": 1, "negative": "a"}, {"id": 1, "negative": "b"}]}), 2, "json")
    assert [parsed.schema_error for parsed in twice] == [
        "two items with id 1",
        "no item with id 2; 2 items for 2 pairs",
    ]
    assert all(parsed.schema_error for parsed in read_answer('{"negatives": "x"}', 2, "schema"))


def test_numbered_lines_are_assigned_by_number() -> None:
    readings = read_answer("Here they are:\n2) b\n1. a\n", 3, "text")
    assert [reading.negative for reading in readings] == ["a", "b", None]
    assert readings[2].schema_error == "no item with id 3; 2 items for 3 pairs"


def test_the_key_depends_on_all_that_can_change_an_answer() -> None:
    endpoint = Endpoint(model="m", base_url="http://x/v1")
    first = endpoint.request(question(1), Dialect()).key
    others = [
        Endpoint(model="n", base_url="http://x/v1").request(question(1), Dialect()),
        Endpoint(model="m", base_url="http://y/v1").request(question(1), Dialect()),
        Endpoint(model="m", base_url="http://x/v1", params={"temperature": 0}).request(question(1), Dialect()),
        Endpoint(model="m", base_url="http://x/v1", max_tokens=9).request(question(1), Dialect()),
        endpoint.request(question(1), Dialect("text")),
        endpoint.request(question(2), Dialect()),
        endpoint.request(question(1, Rejection("x", "reordered")), Dialect()),
    ]
    assert len({first, *(other.key for other in others)}) == 1 + len(others)
    assert endpoint.request(question(1), Dialect()).key == first
    assert Endpoint(model="m", base_url="http://me:pw@x/v1/?key=1").request(question(1), Dialect()).key == first


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, "https://api.openai.com/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://me:secret@host:1/v1?api-key=secret#x", "https://host:1/v1"),
    ],
)
def test_addresses_have_no_secrets(address: str | None, expected: str) -> None:
    assert public_url(address) == expected


def test_dialects_are_tried_from_the_strictest() -> None:
    first = Dialect.initial_for("http://x/v1", None)
    assert (first.form, first.bound) == ("schema", "max_tokens")
    assert Dialect.initial_for(None, None).bound == "max_completion_tokens"
    second = first.fallback("response_format is not known", is_fixed=False)
    assert second == Dialect("json", "max_tokens")
    assert first.fallback("use 'max_completion_tokens' for 'max_tokens'", is_fixed=True) == Dialect(
        "schema", "max_completion_tokens", ("max_tokens",)
    )
    assert first.fallback("response_format is not known", is_fixed=True) is None
    assert Dialect("text").fallback("no", is_fixed=False) is None
