from __future__ import annotations

import pytest

from jina_data.errors import LicenseError, UsageError
from jina_data.publish.facts import Source
from jina_data.publish.licenses import (
    FREE,
    KNOWN_LICENSES,
    KNOWN_SOURCES,
    LATER,
    RESTRICTED,
    SHARE_ALIKE,
    combine,
    parse_source_licenses,
    settle_licenses,
)


def sources(*licenses: str | None) -> list[Source]:
    return [Source(f"/raw/s{at}.jsonl", f"s{at}.jsonl", 10 + at, license) for at, license in enumerate(licenses)]


COMBINED: list[tuple[list[str], tuple[str, ...]]] = [
    (["mit"], ("mit",)),
    (["cc0-1.0", "cc0-1.0"], ("cc0-1.0",)),
    (["cc0-1.0", "cc-by-4.0"], ("cc-by-4.0",)),
    (["cc-by-3.0", "cc-by-4.0"], ("cc-by-4.0",)),
    (["cc-by-3.0"], ("cc-by-3.0",)),
    (["mit", "apache-2.0"], ("apache-2.0", "mit")),
    (["cc-by-4.0", "cc-by-sa-4.0", "mit"], ("cc-by-sa-4.0",)),
    (["cc-by-sa-3.0", "cc-by-sa-4.0"], ("cc-by-sa-4.0",)),
    (["cc-by-sa-3.0", "cc-by-4.0"], ("cc-by-sa-3.0",)),
    (["CC-BY-4.0"], ("cc-by-4.0",)),
]


@pytest.mark.parametrize(("given", "expected"), COMBINED)
def test_licences_combine(given: list[str], expected: tuple[str, ...]) -> None:
    licence = combine(settle_licenses(sources(*given), {}), None)
    assert licence.ids == expected
    assert licence.warnings == []


REFUSED: list[tuple[list[str | None], str]] = [
    ([None], r"s0\.jsonl: 10 rows, no licence known$"),
    (
        ["mit", None, None],
        r"^23 rows come from sources .*\n  s1\.jsonl: 11 rows, no licence known\n  s2\.jsonl: 12 rows",
    ),
    (["cc-by-nc-4.0"], r"10 rows, cc-by-nc-4\.0, stated by the run: no commercial use$"),
    (["cc-by-nd-4.0"], r"no changed copies"),
    (["unknown"], r"nobody knows what it allows"),
    (["Our Own"], r"other, stated by the run as 'Our Own': terms that no rule here knows"),
    (["cc-by-sa-4.0", "gpl-3.0"], r"cc-by-sa-4\.0 and gpl-3\.0 each ask that a mixture carries them"),
    (["cc-by-sa-4.0", "odbl"], r"cc-by-sa-4\.0 and odbl each ask"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_is_forbidden_or_unknown_is_refused_until_the_user_decides(given: list[str | None], message: str) -> None:
    settled = settle_licenses(sources(*given), {})
    with pytest.raises(LicenseError, match=f"(?m){message}") as raised:
        combine(settled, None)
    assert "--license" in str(raised.value)
    assert "--exclude-source" in str(raised.value)
    licence = combine(settled, "mit")
    assert licence.ids == ("mit",)
    assert licence.decided_by_user
    assert licence.warnings


def test_the_user_states_a_licence_by_any_clear_name_of_a_source() -> None:
    some = [*sources(None, "mit"), Source("/other/s0.jsonl", "other/s0.jsonl", 1)]
    settled = settle_licenses(some, {"/raw/s0.jsonl": "cc0-1.0", "other/s0.jsonl": "odc-by", "s1.jsonl": "isc"})
    assert [one.license for one in settled] == ["cc0-1.0", "isc", "odc-by"]
    assert {one.told_by for one in settled} == {"stated when it was published"}
    alike = [Source("/a/x.csv", "a/x.csv", 1), Source("/b/x.csv", "b/x.csv", 1)]
    with pytest.raises(UsageError, match=r"--source-license x\.csv: could be a/x\.csv or b/x\.csv; name it in full"):
        settle_licenses(alike, {"x.csv": "mit"})


def test_known_sources_have_their_licences() -> None:
    names = [
        "snli",
        "datasets:nyu-mll/multi_nli?split=train",
        "hf://datasets/HuggingFaceFW/fineweb/data/a.parquet",
        "x",
    ]
    settled = settle_licenses([Source(name, name, 1) for name in names], {})
    assert [one.license for one in settled] == ["cc-by-sa-4.0", "cc-by-sa-3.0", "odc-by", None]
    assert settled[1].told_by.startswith("MultiNLI: parts under")


def test_what_a_run_states_wins_over_what_is_known() -> None:
    assert settle_licenses([Source("snli", "snli", 1, "mit")], {})[0].license == "mit"


WRONG = [
    ("mit", r"--source-license mit: expected NAME=ID, for example questions\.jsonl=cc-by-4\.0"),
    (
        "a=cc-by",
        r"--source-license a=cc-by: 'cc-by' is not an id of a licence on the Hub; did you mean odc-by or cc-by-",
    ),
    ("a=", r"'' is not an id of a licence"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_statements_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source_licenses([text])


def test_a_name_may_hold_an_equals_sign() -> None:
    assert parse_source_licenses(["datasets:a/b?split=train=MIT"]) == {"datasets:a/b?split=train": "mit"}


def test_the_tables_agree() -> None:
    assert len(set(KNOWN_LICENSES)) == len(KNOWN_LICENSES) == len(FREE) + len(SHARE_ALIKE) + len(RESTRICTED)
    assert set(LATER) | set(LATER.values()) <= set(KNOWN_LICENSES)
    assert {source.license for source in KNOWN_SOURCES.values()} - {None} <= set(KNOWN_LICENSES)
