from __future__ import annotations

import pytest

from jina_data.errors import LicenseError, UsageError
from jina_data.publish.facts import PublishedSource
from jina_data.publish.licenses import (
    FREE,
    KNOWN_SOURCES,
    LATER_VERSION,
    LICENSE_IDS,
    RESTRICTED,
    SHARE_ALIKE,
    combine_licenses,
    parse_source_licenses,
    resolve_licenses,
)


def sources(*licenses: str | None) -> list[PublishedSource]:
    return [
        PublishedSource(f"/raw/s{number}.jsonl", f"s{number}.jsonl", 10 + number, license)
        for number, license in enumerate(licenses)
    ]


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
def test_licenses_combine(given: list[str], expected: tuple[str, ...]) -> None:
    license_ = combine_licenses(resolve_licenses(sources(*given), {}), None)
    assert license_.ids == expected
    assert license_.warnings == []


REFUSED: list[tuple[list[str | None], str]] = [
    ([None], r"s0\.jsonl: 10 rows, no license known$"),
    (
        ["mit", None, None],
        r"^23 rows come from sources .*\n  s1\.jsonl: 11 rows, no license known\n  s2\.jsonl: 12 rows",
    ),
    (["cc-by-nc-4.0"], r"10 rows, cc-by-nc-4\.0, stated by the run: no commercial use$"),
    (["cc-by-nd-4.0"], r"no changed copies"),
    (["unknown"], r"its terms are unknown"),
    (["Our Own"], r"other, stated by the run as 'Our Own': its terms are not known to jina-data"),
    (["cc-by-sa-4.0", "gpl-3.0"], r"cc-by-sa-4\.0 and gpl-3\.0 are incompatible: each requires its own license"),
    (["cc-by-sa-4.0", "odbl"], r"cc-by-sa-4\.0 and odbl are incompatible"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_restricted_and_unknown_licenses_are_refused_until_the_user_decides(
    given: list[str | None], message: str
) -> None:
    settled = resolve_licenses(sources(*given), {})
    with pytest.raises(LicenseError, match=f"(?m){message}") as raised:
        combine_licenses(settled, None)
    assert "--license" in str(raised.value)
    assert "--exclude-source" in str(raised.value)
    license_ = combine_licenses(settled, "mit")
    assert license_.ids == ("mit",)
    assert license_.decided_by_user
    assert license_.warnings


def test_a_license_is_stated_for_any_unambiguous_name_of_a_source() -> None:
    named = [*sources(None, "mit"), PublishedSource("/other/s0.jsonl", "other/s0.jsonl", 1)]
    settled = resolve_licenses(named, {"/raw/s0.jsonl": "cc0-1.0", "other/s0.jsonl": "odc-by", "s1.jsonl": "isc"})
    assert [entry.license for entry in settled] == ["cc0-1.0", "isc", "odc-by"]
    assert {entry.basis for entry in settled} == {"stated by the publisher"}
    alike = [PublishedSource("/a/x.csv", "a/x.csv", 1), PublishedSource("/b/x.csv", "b/x.csv", 1)]
    with pytest.raises(UsageError, match=r"--source-license x\.csv: could be a/x\.csv or b/x\.csv; give the full name"):
        resolve_licenses(alike, {"x.csv": "mit"})


def test_known_sources_have_their_licenses() -> None:
    names = [
        "snli",
        "datasets:nyu-mll/multi_nli?split=train",
        "hf://datasets/HuggingFaceFW/fineweb/data/a.parquet",
        "x",
    ]
    settled = resolve_licenses([PublishedSource(name, name, 1) for name in names], {})
    assert [entry.license for entry in settled] == ["cc-by-sa-4.0", "cc-by-sa-3.0", "odc-by", None]
    assert settled[1].basis.startswith("MultiNLI: parts under")


def test_a_license_stated_by_the_run_takes_precedence_over_a_known_one() -> None:
    assert resolve_licenses([PublishedSource("snli", "snli", 1, "mit")], {})[0].license == "mit"


WRONG = [
    ("mit", r"--source-license mit: expected NAME=ID, for example questions\.jsonl=cc-by-4\.0"),
    (
        "a=cc-by",
        r"--source-license a=cc-by: 'cc-by' is not a license id of the Hub; did you mean odc-by or cc-by-",
    ),
    ("a=", r"'' is not a license id"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_assignments_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source_licenses([text])


def test_a_name_may_contain_an_equals_sign() -> None:
    assert parse_source_licenses(["datasets:a/b?split=train=MIT"]) == {"datasets:a/b?split=train": "mit"}


def test_the_tables_agree() -> None:
    assert len(set(LICENSE_IDS)) == len(LICENSE_IDS) == len(FREE) + len(SHARE_ALIKE) + len(RESTRICTED)
    assert set(LATER_VERSION) | set(LATER_VERSION.values()) <= set(LICENSE_IDS)
    assert {source.license for source in KNOWN_SOURCES.values()} - {None} <= set(LICENSE_IDS)
