"""Negation cues: which words count, differences of two texts, and the accuracy of cues alone."""

from __future__ import annotations

import pytest

from jina_data.english.cues import CueClassifier, Kind, cue_accuracy, cues, negation_diff, negators, polarity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He is not here.", ["not"]),
        ("He isn’t here, and can't come.", ["isn't", "can't"]),
        ("Nobody ever said nothing.", ["nobody", "nothing"]),
        ("A man without a hat, never seen", ["without", "never"]),
        ("There is no one; none came. She cannot.", ["no", "none", "cannot"]),
        ("They hardly moved and lack time.", ["hardly", "lack"]),
        ("An unhappy, careless and impatient man dislikes it.", ["unhappy", "careless", "impatient", "dislikes"]),
        ("Non-smokers are homeless and unbothered.", ["non-smokers", "homeless", "unbothered"]),
        # Words that only look like negations.
        ("My uncle is under an important image inside the united university.", []),
        ("Unless the lesson displays a unique district, unite and bless them nonetheless.", []),
        ("until unit union under undergo discuss distance invite into increase irony island", []),
        ("", []),
    ],
)
def test_cues(text: str, expected: list[str]) -> None:
    assert [cue.word for cue in cues(text)] == expected


def test_negators_are_separate_words() -> None:
    assert [cue.word for cue in negators("Not an unhappy man")] == ["not"]
    assert [polarity(text) for text in ("He is here", "He is not here", "He is not unhappy")] == [1, -1, 1]


@pytest.mark.parametrize(
    ("first", "second", "kind", "flips"),
    [
        ("A man is here.", "A man is not here.", "verbal", 1),
        ("A man walks.", "A man doesn't walk.", "verbal", 1),
        ("A man with a hat", "A man without a hat", "verbal", 1),
        ("A man is here.", "No man is here.", "quantifier", 1),
        ("Everyone is here.", "Nobody is here.", "quantifier", 1),
        ("All men are here.", "Few men are here.", "quantifier", 1),
        ("The door is open.", "The door is closed.", "antonym", 1),
        ("People are talking under a roof.", "People are silent under a roof.", "antonym", 1),
        ("He is happy.", "He is unhappy.", "affix", 1),
        ("He is unhappy.", "He is happy.", "affix", 1),
        ("They were bothered.", "They were unbothered.", "affix", 1),
        ("He isn't here.", "He is here.", "removal", 1),
        ("You're thin.", "You're not fat.", "verbal", 2),
        ("It's unhealthy.", "It's not healthy.", "verbal", 2),
        ("He has some money.", "He has any money.", None, 0),
        ("A cat sleeps.", "A tram sleeps.", None, 0),
        ("A man plays.", "A man played.", None, 0),
    ],
)
def test_negation_diff(first: str, second: str, kind: Kind | None, flips: int) -> None:
    diff = negation_diff(first, second)
    assert (diff.kind, diff.flips) == (kind, flips)


def test_replaced_words_are_content_words() -> None:
    assert negation_diff("A cat sleeps on the mat.", "A tram sleeps on a mat.").replaced == (("cat", "tram"),)
    assert negation_diff("A man plays.", "The man is playing.").replaced == ()


def test_cue_accuracy_is_perfect_where_every_negative_has_a_cue() -> None:
    always = [(f"Number {n} is here.", f"Number {n} is not here.") for n in range(200)]
    assert cue_accuracy(always) == 1.0


def test_cue_accuracy_is_chance_without_cues() -> None:
    never = [(f"Door {n} is open.", f"Door {n} is closed.") for n in range(200)]
    assert cue_accuracy(never) == pytest.approx(0.5)


def test_cue_accuracy_of_a_mix_is_between() -> None:
    half = [(f"Door {n} is open.", f"Door {n} is closed." if n % 2 else f"Door {n} is not open.") for n in range(2000)]
    # The half with a cue is predicted correctly; of the rest, two thirds are entailments.
    assert cue_accuracy(half) == pytest.approx(0.75, abs=0.02)


def test_the_order_of_pairs_changes_nothing() -> None:
    pairs = [(f"Door {n} is open.", f"Door {n} is {'not ' * (n % 3 == 0)}closed.") for n in range(300)]
    assert cue_accuracy(pairs) == cue_accuracy(pairs[::-1])
    assert CueClassifier().accuracy() == 0.5
