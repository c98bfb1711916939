"""Provides the licenses of sources, and the rules that combine them into the license of the dataset.

Licenses are given by their ids on the Hub. Nothing is guessed: if no rule gives an answer, the user must decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from jina_data.errors import LicenseError, UsageError
from jina_data.html.page import n_more
from jina_data.publish.facts import PublishedSource, hub_dataset_id

FREE = (
    *("cc0-1.0", "pddl", "unlicense", "wtfpl"),
    *("mit", "isc", "zlib", "bsd", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "artistic-2.0", "ms-pl", "postgresql"),
    *("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by", "cdla-permissive-1.0", "cdla-permissive-2.0"),
    *("etalab-2.0", "mpl-2.0", "epl-2.0", "lgpl-2.1", "lgpl-3.0", "ecl-2.0", "afl-3.0", "bsl-1.0", "ncsa"),
)
"""Licenses that allow changed copies under other terms, some of them with attribution."""

SHARE_ALIKE = (
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl", "cdla-sharing-1.0", "gfdl"),
    *("gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "eupl-1.1", "eupl-1.2", "osl-3.0"),
)
"""Licenses that require the same license for changed copies."""

RESTRICTED = {
    **dict.fromkeys(
        ("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
        "no commercial use",
    ),
    "cc-by-nd-4.0": "no changed copies",
    "cc-by-nc-nd-3.0": "no commercial use, no changed copies",
    "cc-by-nc-nd-4.0": "no commercial use, no changed copies",
    "c-uda": "computational use only",
    "other": "its terms are not known to jina-data",
    "unknown": "its terms are unknown",
}
"""Licenses that require a decision of the user, and why."""

MAX_LINES = 10
"""The maximum number of sources in a message."""

LICENSE_IDS = (*FREE, *SHARE_ALIKE, *RESTRICTED)

PUBLIC_DOMAIN = ("cc0-1.0", "pddl", "unlicense", "wtfpl")

LATER_VERSION = {
    "cc-by-2.0": "cc-by-4.0",
    "cc-by-2.5": "cc-by-4.0",
    "cc-by-3.0": "cc-by-4.0",
    "cc-by-sa-3.0": "cc-by-sa-4.0",
}
"""Licenses that are replaced by a later version if both occur."""


@dataclass(frozen=True)
class KnownSource:
    """A source with a published license; `license` is None if its publisher states none."""

    license: str | None
    note: str = ""


_SNLI = KnownSource("cc-by-sa-4.0", "SNLI")
_MULTI_NLI = KnownSource("cc-by-sa-3.0", "MultiNLI: parts under OANC, CC BY 3.0 and CC BY-SA 3.0; the strictest counts")
_COMPRESSION = KnownSource(None, "sentence-compression: no license stated")
_SIMPLE_WIKI = KnownSource("cc-by-sa-3.0", "Wikipedia and Simple Wikipedia")
_COCO = KnownSource("cc-by-4.0", "COCO captions")
_FLICKR = KnownSource("other", "Flickr30K terms: research and education, no commercial use")

KNOWN_SOURCES: Mapping[str, KnownSource] = {
    **dict.fromkeys(("snli", "stanfordnlp/snli"), _SNLI),
    **dict.fromkeys(("multi_nli", "mnli", "nyu-mll/multi_nli"), _MULTI_NLI),
    **dict.fromkeys(
        (
            *("sentence_compression", "google-research-datasets/sent_comp"),
            "sentence-transformers/sentence-compression",
        ),
        _COMPRESSION,
    ),
    **dict.fromkeys(("simple_wiki", "sentence-transformers/simple-wiki"), _SIMPLE_WIKI),
    **dict.fromkeys(("coco_captions", "sentence-transformers/coco-captions"), _COCO),
    **dict.fromkeys(("flickr30k", "multi30k", "sentence-transformers/flickr30k-captions"), _FLICKR),
    **dict.fromkeys(("squad", "rajpurkar/squad", "rajpurkar/squad_v2"), KnownSource("cc-by-sa-4.0", "SQuAD")),
    **dict.fromkeys(("hotpot_qa", "hotpotqa/hotpot_qa"), KnownSource("cc-by-sa-4.0", "HotpotQA")),
    **dict.fromkeys(("medquad",), KnownSource("cc-by-4.0", "MedQuAD")),
    **dict.fromkeys(("tldr-pages", "tldr_pages"), KnownSource("cc-by-4.0", "tldr-pages")),
    **dict.fromkeys(("common_voice",), KnownSource("cc0-1.0", "Common Voice sentences")),
    **dict.fromkeys(("HuggingFaceFW/fineweb", "HuggingFaceFW/fineweb-edu"), KnownSource("odc-by", "FineWeb")),
    **dict.fromkeys(("c4", "allenai/c4"), KnownSource("odc-by", "C4")),
}
"""Known sources, by a name in the source column or by the id of a dataset on the Hub."""


@dataclass(frozen=True)
class SourceLicense:
    """The license of a source, None if unknown, and the basis for it."""

    source: PublishedSource
    license: str | None
    basis: str

    @property
    def problem(self) -> str | None:
        """Why the user must decide about this source; None if no decision is needed."""
        if self.license is None:
            return f"no license known{f' ({self.basis})' if self.basis else ''}"
        if self.license not in RESTRICTED:
            return None
        return f"{self.license}, {self.basis}: {RESTRICTED[self.license]}"


@dataclass(frozen=True)
class RepositoryLicense:
    """The license of the repository, one id or several, with the license of each source."""

    ids: tuple[str, ...]
    by_source: tuple[SourceLicense, ...]
    decided_by_user: bool

    @property
    def warnings(self) -> list[str]:
        """The conflicts of a license that the user chose with the licenses of the sources."""
        if not self.decided_by_user:
            return []
        problems = [f"{entry.source.public_name}: {entry.problem}" for entry in self.by_source if entry.problem]
        stricter = [entry for entry in self.by_source if entry.license in SHARE_ALIKE and entry.license not in self.ids]
        lines = problems + [f"{entry.source.public_name} requires {entry.license}" for entry in stricter]
        more = [f"{n:,} more sources have such a problem"] if (n := n_more(lines, MAX_LINES)) else []
        return [*lines[:MAX_LINES], *more]


def check_license(name: str, option: str) -> str:
    """Return the id of a license in lower case.

    Raises:
        UsageError: the id is not a license id of the Hub.
    """
    license_id = name.strip().lower()
    if license_id not in LICENSE_IDS:
        near = get_close_matches(license_id, LICENSE_IDS, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"{option}: {name!r} is not a license id of the Hub{hint or '.'} Expected an id such as cc-by-4.0 or "
            "apache-2.0, or `other` for other terms"
        )
    return license_id


def parse_source_licenses(assignments: Iterable[str]) -> dict[str, str]:
    """Parse the `NAME=ID` values of --source-license.

    Raises:
        UsageError: the `=` is missing, or the license is unknown.
    """
    licenses = {}
    for assignment in assignments:
        name, _, license_id = assignment.rpartition("=")
        if not name:
            raise UsageError(f"--source-license {assignment}: expected NAME=ID, for example questions.jsonl=cc-by-4.0")
        licenses[name] = check_license(license_id, f"--source-license {assignment}")
    return licenses


def find_source(name: str, sources: Sequence[PublishedSource], option: str) -> PublishedSource:
    """Return the source with a name: its name in the run, its public name, or the last part of its path.

    Raises:
        UsageError: no source or several sources have this name.
    """
    for matches in (
        [source for source in sources if source.name == name],
        [source for source in sources if source.public_name == name],
        [source for source in sources if source.name.rsplit("/", 1)[-1] == name],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            candidates = " or ".join(source.public_name for source in matches)
            raise UsageError(f"{option} {name}: could be {candidates}; give the full name")
    names = [source.public_name for source in sources]
    near = get_close_matches(name, names, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"{option} {name}: no such source.{hint} The sources are {', '.join(names[:20])}")


def resolve_licenses(sources: Sequence[PublishedSource], stated: Mapping[str, str]) -> tuple[SourceLicense, ...]:
    """Return the license of each source: stated by the user, else stated by the run, else known."""
    by_user = {find_source(name, sources, "--source-license").name: license_id for name, license_id in stated.items()}
    licenses = []
    for source in sources:
        known_source = KNOWN_SOURCES.get(source.name) or KNOWN_SOURCES.get(hub_dataset_id(source.name) or "")
        if source.name in by_user:
            licenses.append(SourceLicense(source, by_user[source.name], "stated by the publisher"))
        elif source.license is not None:
            license_id = source.license.lower()
            is_known = license_id in LICENSE_IDS
            basis = "stated by the run" if is_known else f"stated by the run as {source.license!r}"
            licenses.append(SourceLicense(source, license_id if is_known else "other", basis))
        elif known_source is not None:
            licenses.append(SourceLicense(source, known_source.license, known_source.note))
        else:
            licenses.append(SourceLicense(source, None, ""))
    return tuple(licenses)


def combine_licenses(licenses: Sequence[SourceLicense], override: str | None) -> RepositoryLicense:
    """Return the license of the dataset: `override` if the user set it, else the combination of `licenses`.

    A share-alike license takes precedence over all others. Licenses that require attribution are listed together.

    Raises:
        LicenseError: a license is unknown or restricted, or two share-alike licenses are incompatible.
    """
    if override is not None:
        return RepositoryLicense((override,), tuple(licenses), decided_by_user=True)
    undecided = [entry for entry in licenses if entry.problem]
    if undecided:
        raise LicenseError(_refusal(undecided))
    ids = {entry.license for entry in licenses if entry.license is not None}
    ids = {name if LATER_VERSION.get(name) not in ids else LATER_VERSION[name] for name in ids}
    share_alike = sorted(ids & set(SHARE_ALIKE))
    if len(share_alike) > 1:
        raise LicenseError(
            f"{' and '.join(share_alike)} are incompatible: each requires its own license for the whole dataset. "
            f"Exclude sources with --exclude-source, or set the license with --license:\n{_lines(licenses)}"
        )
    if share_alike:
        return RepositoryLicense((share_alike[0],), tuple(licenses), decided_by_user=False)
    # The public domain requires nothing, so it is listed only if there is no other license.
    combined = sorted(ids - set(PUBLIC_DOMAIN)) or sorted(ids)[:1]
    return RepositoryLicense(tuple(combined), tuple(licenses), decided_by_user=False)


def _refusal(undecided: Sequence[SourceLicense]) -> str:
    name = undecided[0].source.public_name
    rows = sum(entry.source.rows for entry in undecided)
    return (
        f"{rows:,} rows come from sources whose license you must decide:\n{_lines(undecided)}\n"
        f"State the license of a source (--source-license '{name}=cc-by-4.0'), exclude a source "
        f"(--exclude-source '{name}'), or set the license of the whole dataset (--license ID)"
    )


def _lines(licenses: Sequence[SourceLicense]) -> str:
    shown = (
        sorted(licenses, key=lambda entry: -entry.source.rows)[:MAX_LINES] if n_more(licenses, MAX_LINES) else licenses
    )
    more = [f"  and {n:,} more sources"] if (n := n_more(licenses, MAX_LINES)) else []
    lines = [
        f"  {entry.source.public_name}: {entry.source.rows:,} rows, {entry.problem or entry.license}" for entry in shown
    ]
    return "\n".join([*lines, *more])
