"""The checks of negatives: the reasons in their order, and kind, flags and scores of accepted negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from jina_data.english.cues import Kind
from jina_data.english.likeness import token_overlap
from jina_data.negation.pairs import Answer, Opinion, Pair
from jina_data.negation.verify import FLAGS, NOT_JUDGED, REASONS, AcceptedTexts, Verifier, VerifyConfig

PAIR = Pair(
    id="pairs-1",
    source="pairs",
    source_id="1",
    source_license=None,
    group="1",
    split="train",
    anchor="Two men in hats are sitting on a bench in the park.",
    entailment="Two men are sitting on a bench.",
    kind="verbal",
)


def answer(negative: str | None, entailment: str | None = None, **changes: object) -> Answer:
    pair = PAIR if entailment is None else replace(PAIR, entailment=entailment, anchor=f"{entailment} Indeed.")
    made = Answer(pair=pair, negative=negative, raw=negative or "", model="m")
    return replace(made, **changes)  # type: ignore[arg-type]


REJECTED: list[tuple[str, Answer]] = [
    ("cut_off", answer("Two men are not sitting on", finish_reason="length")),
    ("filtered", answer(None, finish_reason="content_filter")),
    ("refused", answer(None, refusal="I will not")),
    ("bad_form", answer(None, schema_error="expected a list of 3")),
    ("nothing_written", answer(None, finish_reason="none")),
    ("nothing_written", answer("   ")),
    ("refused", answer("I'm sorry, but I cannot help with that.")),
    ("prompt_echo", answer("Negative: Two men are not sitting on a bench.")),
    ("prompt_echo", answer('{"negative": "Two men are not sitting on a bench."}')),
    ("prompt_echo", answer("Here is the sentence: Two men are not sitting.")),
    ("several_sentences", answer("Two men are not sitting. They stand on a bench.")),
    ("several_sentences", answer("Two men are not sitting\non a bench.")),
    ("wrong_language", answer("Zwei Männer sitzen nicht auf einer Bank im Park.")),
    ("same_as_anchor", answer("two men in hats are sitting on a bench in the park")),
    ("same_as_entailment", answer("Two men are sitting on a bench!")),
    ("length_ratio", answer("Two men sit.", "Two men in large hats sit.")),
    ("length_ratio", answer("Two men are not sitting on a bench because they went home a long while ago today.")),
    ("low_overlap", answer("Nobody is resting outdoors today.")),
    ("reordered", answer("On a bench two men are sitting.")),
    ("trivial_prefix", answer("It is not true that two men are sitting on a bench.", PAIR.entailment + "..")),
    ("trivial_prefix", answer("Not two men sit.", "The men sit today.")),
    ("no_opposition", answer("The two men are sitting on the bench.")),
    (
        "no_opposition",
        answer("Two fish were served on a plate in Rome by us.", "Two men were seated on a bench in Paris by us."),
    ),
    ("double_turn", answer("You're not fat.", "You're thin.")),
    ("double_turn", answer("It is not healthy.", "It is unhealthy.")),
    ("reworded_negation", answer("Two men are not resting on a bench.")),
    ("reworded_negation", answer("She is not plump.", "She is thin.")),
]


@pytest.mark.parametrize(("reason", "example"), REJECTED, ids=lambda value: value if isinstance(value, str) else "")
def test_rejected(reason: str, example: Answer) -> None:
    if reason == "trivial_prefix" and example.negative and example.negative.startswith("It is"):
        example = replace(
            example, pair=replace(example.pair, entailment="Two men in large hats are sitting on a bench in a park.")
        )
    if reason == "trivial_prefix" and example.negative and example.negative.startswith("Not"):
        example = replace(example, negative="Not men sit today.")
    assert Verifier().check(example).reason == reason


ACCEPTED: list[tuple[str, str, Kind, tuple[str, ...]]] = [
    ("Two men are sitting on a bench.", "Two men are not sitting on a bench.", "verbal", ()),
    ("Two men are sitting on a bench.", "No men are sitting on a bench.", "quantifier", ()),
    ("Two men are sitting on a bench.", "Two men are standing on a bench.", "antonym", ()),
    ("Two men are sitting on a bench.", "Two men are sleeping on a bench.", "antonym", ("unlisted_opposite",)),
    ("People are talking underneath a covering.", "People are silent underneath a covering.", "antonym", ()),
    ("The man was happy.", "The man was unhappy.", "affix", ()),
    ("The man was not happy.", "The man was happy.", "removal", ()),
    ("No men are sad.", "No men are not sad.", "verbal", ("second_negation",)),
    ("All men are sitting.", "Not all men are sitting.", "verbal", ()),
    ("Dr. Smith sat on a bench.", "Dr. Smith did not sit on a bench.", "verbal", ()),
]


@pytest.mark.parametrize(("entailment", "negative", "kind", "flags"), ACCEPTED)
def test_accepted(entailment: str, negative: str, kind: Kind, flags: tuple[str, ...]) -> None:
    verdict = Verifier().check(answer(negative, entailment))
    assert (verdict.reason, verdict.kind, tuple(verdict.flags)) == (None, kind, flags), verdict.detail
    assert set(verdict.scores) == {"length_ratio", "token_overlap"}


def test_every_reason_and_flag_is_tested() -> None:
    tested = {reason for reason, _ in REJECTED}
    assert set(REASONS) - tested == {"duplicate_negative", "not_contradiction", "judged_compatible", "unjudged"}
    assert set(FLAGS) - {flag for *_, flags in ACCEPTED for flag in flags} == {"judged"}


def test_duplicates_across_the_run(tmp_path: Path) -> None:
    first = answer("Two men are not sitting on a bench.")
    other = replace(first, pair=replace(PAIR, id="pairs-2"), negative="two men are not sitting on a bench")
    accepted = AcceptedTexts(tmp_path / "seen.sqlite")
    assert [verdict.reason for verdict in Verifier(accepted=accepted).check_all([first, other])] == [
        None,
        "duplicate_negative",
    ]
    accepted.close()
    again = Verifier(accepted=AcceptedTexts(tmp_path / "seen.sqlite"))  # a resumed run
    assert [again.check(negative).reason for negative in (first, other)] == [None, "duplicate_negative"]


def test_a_rejected_negative_is_not_remembered() -> None:
    verifier = Verifier()
    assert verifier.check(answer("The two men are sitting on the bench.")).reason == "no_opposition"
    assert verifier.accepted.owner("The two men are sitting on the bench.") is None


class Sure:
    """A model with the probabilities of a table; 0 for pairs that are not in it."""

    name = "table"

    def __init__(self, table: dict[tuple[str, str], float]) -> None:
        self.table = table
        self.asked: list[tuple[str, str]] = []

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        asked = [
            [(text, answer.negative or "") for text in (answer.pair.entailment, answer.pair.anchor)]
            for answer in answers
        ]
        self.asked += [pair for both in asked for pair in both]
        return [Opinion(min(self.table.get(pair, 0.0) for pair in both)) for both in asked]


NEGATIVE = "Two men are sleeping on a bench."


@pytest.mark.parametrize(
    ("nli", "judge", "reason", "flags"),
    [
        ((0.9, 0.8), None, None, ("unlisted_opposite",)),
        ((0.9, 0.2), None, "not_contradiction", ("unlisted_opposite",)),
        ((0.1, 0.9), (0.9, 0.9), None, ("unlisted_opposite", "judged")),
        ((0.1, 0.9), (0.9, 0.4), "judged_compatible", ("unlisted_opposite",)),
        ((0.9, 0.9), (0.0, 0.0), None, ("unlisted_opposite",)),
        (None, (0.1, 0.1), "judged_compatible", ("unlisted_opposite",)),
        (None, (0.6, 0.7), None, ("unlisted_opposite", "judged")),
    ],
)
def test_models(
    nli: tuple[float, float] | None,
    judge: tuple[float, float] | None,
    reason: str | None,
    flags: tuple[str, ...],
) -> None:
    def model(sure: tuple[float, float] | None) -> Sure | None:
        if sure is None:
            return None
        return Sure({(PAIR.entailment, NEGATIVE): sure[0], (PAIR.anchor, NEGATIVE): sure[1]})

    verdict = Verifier(nli=model(nli), judge=model(judge)).check(answer(NEGATIVE))
    assert (verdict.reason, tuple(verdict.flags)) == (reason, flags)


def test_models_are_asked_only_of_what_words_let_through() -> None:
    nli = Sure({})
    Verifier(nli=nli).check_all([answer(None), answer("The two men are sitting on the bench."), answer(NEGATIVE)])
    assert nli.asked == [(PAIR.entailment, NEGATIVE), (PAIR.anchor, NEGATIVE)]


def test_every_reason_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "negation-data.md").read_text(encoding="utf-8")
    table = page.split("\n## Checks")[1].split("\n### ")[0]
    assert not [reason for reason in (*REASONS, *FLAGS, NOT_JUDGED) if f"`{reason}`" not in table]


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="expected less than max_length_ratio"):
        VerifyConfig(min_length_ratio=2.0)
    with pytest.raises(ValidationError, match="min_lenght"):
        VerifyConfig(min_lenght_ratio=0.5)  # type: ignore[call-arg]
    reworded = answer("Two men are not resting on a bench.")
    assert Verifier(VerifyConfig(allow_reworded=True)).check(reworded).reason is None
    strict = Verifier(VerifyConfig(max_replaced=0))
    assert strict.check(answer(NEGATIVE)).reason == "no_opposition"
    verifier = Verifier(VerifyConfig(prompt_phrases=("sitting on a",)))
    assert verifier.check(answer("Two men are not sitting on a bench.")).reason == "prompt_echo"


def test_other_languages_can_be_named() -> None:
    german = VerifyConfig(languages=("de",))
    german_answer = answer("Zwei Männer sitzen heute nicht auf der Bank.", "Zwei Männer sitzen heute auf der Bank.")
    assert Verifier(german).check(german_answer).reason != "wrong_language"
    assert Verifier(german).check(answer("Two men are not sitting on a bench.")).reason == "wrong_language"


def test_overlap_counts_forms_of_a_word() -> None:
    assert token_overlap("A man walks a dog.", "A man does not walk a dog.") == 1.0
    assert token_overlap("He isn't here.", "He is here.") == pytest.approx(3 / 4)
    assert token_overlap("", "x") == 0.0
