"""The forms of answers: what is unambiguous is used, and everything else is an error in the form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_data.negation.answers import ParsedAnswer, read_answer

NOT = "It is not."

USED = [
    # other text around the object
    'Sure, in {braces}: {"negative": "It is not."} Hope that {helps}!',
    '```JSON5\n{"negative": "It is not."}\n```',
    '~~~\n{"negative": "It is not."}\n~~~\nI changed {is} to {is not}.',
    '**{"negative": "It is not."}**',
    '<answer>{"negative": "It is not."}</answer>',
    '{{"negative": "It is not."}}',
    # several objects, of which one fits
    '{"thought": "the verb"} {"negative": "It is not."}',
    '{"negative": "..."}\n{"negative": "It is not."}',
    '{"negative": "It is not."}\n{"negative": "It is not."}',
    '{"anchor": "A.", "entailment": "B.", "negative": "No."}\n{"negative": "It is not."}',
    # the object inside another one, a list or a string
    '{"result": {"negative": "It is not."}}',
    '[{"negative": "It is not."}]',
    '{"negatives": [{"id": 1, "negative": "It is not."}]}',
    '{"negatives": ["It is not."]}',
    '{"negative": ["It is not."]}',
    '"{\\"negative\\": \\"It is not.\\"}"',
    '{"result": "{\\"negative\\": \\"It is not.\\"}"}',
    '{\\"negative\\": \\"It is not.\\"}',
    # small errors
    '{"Negative": "It is not."}',
    '{"negative": "It is not.",}',
    "{'negative': 'It is not.'}",
    "{'negative': \"It is not.\", 'sure': True}",
    '{negative: "It is not."}',
    "{“negative”: “It is not.”}",
    "{«negative»: «It is not.»}",
    '{"negative": "It is\nnot."}',
    '{"negative": "It is not.\\n"}',
    '{"negative": "It is not."',
    '{"negative": "It is not." "note": "x"}',
    '{"negative": "It is not." // the verb\n}',
    '{"negative": "It is **not**."}',
    '\ufeff{"negative": "It is not."}',
    '{"negative": "It is not."}<|im_end|>',
    # thoughts
    '<think>{"negative": "No."}</think>{"negative": "It is not."}',
    'The verb {"negative": "No."}\n</think>\n\n{"negative": "It is not."}',
    '<thinking>hm</thinking>{"negative": "It is not."}',
    '[THINK]{"negative": "No."}[/THINK]{"negative": "It is not."}',
    '{"negative": "It is not."}\n<think>Was that',
    '<|channel|>analysis<|message|>{"negative": "No."}<|end|><|start|>assistant<|channel|>final<|message|>'
    '{"negative": "It is not."}<|return|>',
    '<|channel|>final <|constrain|>json<|message|>{"negative": "It is not."}',
    'analysisWe write {"negative": "No."}assistantfinal{"negative": "It is not."}',
]


@pytest.mark.parametrize("content", USED)
@pytest.mark.parametrize("form", ["schema", "text"])
def test_an_unambiguous_answer_is_used(content: str, form: str) -> None:
    assert read_answer(content, 1, form) == [ParsedAnswer(NOT, is_closed=True)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "negative"),
    [
        (
            "{'negative': 'The dog isn't there, and it doesn't bark.', 'id': 1}",
            "The dog isn't there, and it doesn't bark.",
        ),
        ("{'negative': 'It isn\\'t.'}", "It isn't."),
        ('{"negative": "He never said "no" twice."}', 'He never said "no" twice.'),
        ('{"negative": "Er sagte nicht „nein"."}', 'Er sagte nicht „nein".'),
        ('{"negative": "The set {a, b} is not } empty."}', "The set {a, b} is not } empty."),
        ('{"negative": "Elle n\\u2019est pas l\\u00e0."}', "Elle n’est pas là."),
        ('{"negative": "2 * 3 * 4 is not 9."}', "2 * 3 * 4 is not 9."),
        ("{„negative“: „Он не дома.“}", "Он не дома."),
        ('```json\n{"negative": "猫不在这里。"}\n```', "猫不在这里。"),
    ],
)
def test_the_text_is_kept_as_it_is(content: str, negative: str) -> None:
    assert read_answer(content, 1, "json")[0].negative == negative


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"negative": "It is', "not a JSON object"),
        ("{'negative': 'It isn't", "not a JSON object"),
        ('{"negative": "He said "no"', "not a JSON object"),  # cut off after a quotation
        ('{"negative": "A."}\n{"negative": "B."}', "2 different negatives for one pair"),
        ("Sure! It is not.", "not a JSON object"),
        ("{negative: It is not.}", "not a JSON object"),
        ('{"negative": "..."}', "negative is a placeholder"),
        ('{"negative": null}', "negative is null, not a string"),
        ('<think>{"negative": "It is not."}', "the answer has thoughts only"),
        ('<|channel|>analysis<|message|>{"negative": "It is not."}', "the answer has thoughts only"),
    ],
)
def test_an_ambiguous_answer_is_an_error(content: str, error: str) -> None:
    assert read_answer(content, 1, "schema") == [ParsedAnswer(None, error)]


MANY = [
    '[{"id": "1", "negative": "a"}, {"ID": 2.0, "Negative": "b"}]',
    '{"id": 2, "negative": "b"}\n{"id": 1, "negative": "a"}',
    '{"1": "a", "2": {"negative": "b"}}',
    '{"negatives": {"2": "b", "1": "a"}}',
    '{"negatives": [{"id": 1, "negative": "a",} {"id": 2, "negative": "b"}]}',
    "{'negatives': [{'id': 1, 'negative': 'a'}, {'id': 2, 'negative': 'b'}]}",
    '{"negatives": [{"id": 1, "negative": "a"}, {"id": 2, "negative": "b"}, {"id": 3, "neg',
]


@pytest.mark.parametrize("content", MANY)
def test_many_negatives_are_assigned_by_number(content: str) -> None:
    assert [parsed.negative for parsed in read_answer(content, 2, "schema")] == ["a", "b"]


def test_the_complete_items_of_an_answer_that_was_cut_off_are_used() -> None:
    content = '{"negatives": [{"id": 1, "negative": "a"}, {"id": 2, "negative": "b'
    first, second = read_answer(content, 2, "schema")
    assert (first.negative, first.is_closed) == ("a", True)
    assert (second.negative, second.is_closed) == (None, False)


LINES = [
    "Sure! Here is the negative:\n\nIt is not.",
    "**Negative:** It is not.",
    "Negative: It is not.\nExplanation: the verb is negated.",
    "```\nIt is not.\n```",
    "- It is not.",
    "**It is not.**",
    "It is not.\n\n(Note: this contradicts the entailment.)",
    "<think>The verb.</think>\n\nIt is not.",
]


@pytest.mark.parametrize("content", LINES)
def test_a_plain_line_is_used(content: str) -> None:
    assert read_answer(content, 1, "text")[0].negative == NOT


@pytest.mark.parametrize(
    "content",
    ["**1.** a\n**2.** b", "Pair 2: b\nPair 1: a", "1.\na\n2.\nb", "[1] a\n[2] b", "(1) a\n(2) b\nNote: 3. is missing"],
)
def test_numbered_lines_in_any_style(content: str) -> None:
    assert [parsed.negative for parsed in read_answer(content, 2, "text")] == ["a", "b"]


def test_a_number_at_the_beginning_of_a_text_is_no_item() -> None:
    assert read_answer("1. FC Nürnberg did not win.", 1, "text")[0].negative == "1. FC Nürnberg did not win."
    readings = read_answer("1. A dog\n3-year-old boys\n2. 20 people", 3, "text")
    assert [parsed.negative for parsed in readings] == ["A dog", "20 people", None]


SENTENCES = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="*_<|…."), min_size=1).filter(
    lambda text: text.strip("\ufeff\u200b\u2060 \t\r\n") == text and text.split() == text.split(" ")
)
WRAPPERS = ["{}", "Sure:\n```json\n{}\n```", "[{}]", '{{"result": {}}}', "<think>hm</think>{}", "{}\nDone."]


@given(SENTENCES, st.sampled_from(WRAPPERS), st.booleans())
def test_any_text_is_read_back_from_any_wrapper(text: str, wrapper: str, is_ascii: bool) -> None:
    content = wrapper.format(json.dumps({"negative": text}, ensure_ascii=is_ascii))
    assert read_answer(content, 1, "schema")[0].negative == text


@given(st.text(alphabet="{}[]\"'\\:, negativ\n1<>/thk`", max_size=60), st.sampled_from([1, 2]))
def test_no_text_breaks_the_reader(content: str, n_pairs: int) -> None:
    assert len(read_answer(content, n_pairs, "text")) == n_pairs
