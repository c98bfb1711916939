"""Licences: what is known of sources, what their licences allow, and which licence a mixture may carry.

Licences go by their ids on the Hub. Nothing is guessed: where no rule below gives an answer, the user has to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from jina_data.errors import LicenseError, UsageError
from jina_data.publish.facts import Source, hub_id

FREE = (
    *("cc0-1.0", "pddl", "unlicense", "wtfpl"),
    *("mit", "isc", "zlib", "bsd", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "artistic-2.0", "ms-pl", "postgresql"),
    *("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by", "cdla-permissive-1.0", "cdla-permissive-2.0"),
    *("etalab-2.0", "mpl-2.0", "epl-2.0", "lgpl-2.1", "lgpl-3.0", "ecl-2.0", "afl-3.0", "bsl-1.0", "ncsa"),
)
"""Licences under which a changed copy may be passed on under terms of one's own, with credit where they ask for it."""

SHARE_ALIKE = (
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl", "cdla-sharing-1.0", "gfdl"),
    *("gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "eupl-1.1", "eupl-1.2", "osl-3.0"),
)
"""Licences under which a changed copy must carry the same licence."""

RESTRICTED = {
    **dict.fromkeys(
        ("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
        "no commercial use",
    ),
    "cc-by-nd-4.0": "no changed copies",
    "cc-by-nc-nd-3.0": "no commercial use, no changed copies",
    "cc-by-nc-nd-4.0": "no commercial use, no changed copies",
    "c-uda": "computational use only",
    "other": "terms that no rule here knows",
    "unknown": "nobody knows what it allows",
}
"""Licences under which the user has to decide, and why."""

KNOWN_LICENSES = (*FREE, *SHARE_ALIKE, *RESTRICTED)

PUBLIC_DOMAIN = ("cc0-1.0", "pddl", "unlicense", "wtfpl")

LATER = {"cc-by-2.0": "cc-by-4.0", "cc-by-2.5": "cc-by-4.0", "cc-by-3.0": "cc-by-4.0", "cc-by-sa-3.0": "cc-by-sa-4.0"}
"""Licences that give way to a later version of themselves where both occur."""


@dataclass(frozen=True)
class KnownSource:
    """A source whose own pages state a licence; `license` is None where they state none."""

    license: str | None
    note: str = ""


_SNLI = KnownSource("cc-by-sa-4.0", "SNLI")
_MULTI_NLI = KnownSource("cc-by-sa-3.0", "MultiNLI: parts under OANC, CC BY 3.0 and CC BY-SA 3.0; the strictest counts")
_COMPRESSION = KnownSource(None, "sentence-compression: no licence stated")
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
"""What is known of sources, by the name that a source column may hold or by the id of a data set on the Hub."""


@dataclass(frozen=True)
class SourceLicense:
    """The licence of a source, None where nobody said, and who said so."""

    source: Source
    license: str | None
    told_by: str

    @property
    def trouble(self) -> str | None:
        """Why the user has to decide about this source; None where there is nothing to decide."""
        if self.license is None:
            return f"no licence known{f' ({self.told_by})' if self.told_by else ''}"
        if self.license not in RESTRICTED:
            return None
        return f"{self.license}, {self.told_by}: {RESTRICTED[self.license]}"


@dataclass(frozen=True)
class Licence:
    """What the repository will carry: one id or several, and the licence of every source."""

    ids: tuple[str, ...]
    by_source: tuple[SourceLicense, ...]
    decided_by_user: bool

    @property
    def warnings(self) -> list[str]:
        """What the user should know of a licence that was decided against what sources state."""
        if not self.decided_by_user:
            return []
        out = [f"{one.source.shown}: {one.trouble}" for one in self.by_source if one.trouble]
        stricter = [one for one in self.by_source if one.license in SHARE_ALIKE and one.license not in self.ids]
        return out + [f"{one.source.shown} asks for {one.license}" for one in stricter]


def check_license(name: str, option: str) -> str:
    """Return the id of a licence, if the Hub knows it.

    Raises:
        UsageError: it does not.
    """
    wanted = name.strip().lower()
    if wanted not in KNOWN_LICENSES:
        near = get_close_matches(wanted, KNOWN_LICENSES, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"{option}: {name!r} is not an id of a licence on the Hub{hint or '.'} Expected one such as cc-by-4.0, "
            "apache-2.0, or `other` for terms of your own"
        )
    return wanted


def parse_source_licenses(assignments: Iterable[str]) -> dict[str, str]:
    """Parse `NAME=ID` as given with --source-license.

    Raises:
        UsageError: no `=`, or an unknown licence.
    """
    found = {}
    for assignment in assignments:
        name, _, license_id = assignment.rpartition("=")
        if not name:
            raise UsageError(f"--source-license {assignment}: expected NAME=ID, for example questions.jsonl=cc-by-4.0")
        found[name] = check_license(license_id, f"--source-license {assignment}")
    return found


def find_source(name: str, sources: Sequence[Source], option: str) -> Source:
    """Return the source that the user named: as the run calls it, as it is shown, or by the last part of its path.

    Raises:
        UsageError: there is none, or several.
    """
    for found in (
        [source for source in sources if source.name == name],
        [source for source in sources if source.shown == name],
        [source for source in sources if source.name.rsplit("/", 1)[-1] == name],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{option} {name}: could be {' or '.join(source.shown for source in found)}; name it in full"
            )
    known = [source.shown for source in sources]
    near = get_close_matches(name, known, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"{option} {name}: no such source.{hint} The sources are {', '.join(known[:20])}")


def settle_licenses(sources: Sequence[Source], stated: Mapping[str, str]) -> tuple[SourceLicense, ...]:
    """Find the licence of every source: as the user states it, as the run does, or as it is known."""
    by_user = {find_source(name, sources, "--source-license").name: license_id for name, license_id in stated.items()}
    out = []
    for source in sources:
        known = KNOWN_SOURCES.get(source.name) or KNOWN_SOURCES.get(hub_id(source.name) or "")
        if source.name in by_user:
            out.append(SourceLicense(source, by_user[source.name], "stated when it was published"))
        elif source.license is not None:
            wanted = source.license.lower()
            is_known = wanted in KNOWN_LICENSES
            told_by = "stated by the run" if is_known else f"stated by the run as {source.license!r}"
            out.append(SourceLicense(source, wanted if is_known else "other", told_by))
        elif known is not None:
            out.append(SourceLicense(source, known.license, known.note))
        else:
            out.append(SourceLicense(source, None, ""))
    return tuple(out)


def combine(licenses: Sequence[SourceLicense], decided: str | None) -> Licence:
    """Return the licence of the mixture.

    Share-alike wins over licences that ask for less; licences that ask for credit stand side by side.

    Raises:
        LicenseError: a source does not allow it, or nobody knows whether it does, or two exclude each other.
    """
    if decided is not None:
        return Licence((decided,), tuple(licenses), decided_by_user=True)
    troubled = [one for one in licenses if one.trouble]
    if troubled:
        raise LicenseError(_refusal(troubled))
    ids = {one.license for one in licenses if one.license is not None}
    ids = {name if LATER.get(name) not in ids else LATER[name] for name in ids}
    shared = sorted(ids & set(SHARE_ALIKE))
    if len(shared) > 1:
        raise LicenseError(
            f"{' and '.join(shared)} each ask that a mixture carries them, which cannot both be. Leave one out with "
            f"--exclude-source, or decide with --license:\n{_lines(licenses)}"
        )
    if shared:
        return Licence((shared[0],), tuple(licenses), decided_by_user=False)
    credited = sorted(ids - set(PUBLIC_DOMAIN)) or sorted(ids)[:1]
    return Licence(tuple(credited), tuple(licenses), decided_by_user=False)


def _refusal(troubled: Sequence[SourceLicense]) -> str:
    first = troubled[0].source.shown
    rows = sum(one.source.rows for one in troubled)
    return (
        f"{rows:,} rows come from sources whose licence has to be decided by you:\n{_lines(troubled)}\n"
        f"State what a source allows (--source-license '{first}=cc-by-4.0'), leave it out "
        f"(--exclude-source '{first}'), or decide for all (--license ID)"
    )


def _lines(licenses: Sequence[SourceLicense]) -> str:
    return "\n".join(
        f"  {one.source.shown}: {one.source.rows:,} rows, {one.trouble or one.license}" for one in licenses
    )
