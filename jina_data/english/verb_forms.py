"""The forms of common English verbs: enough to insert "does not" before one, and to remove it again."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from jina_data.english.texts import word_set
from jina_data.english.word_lists import read_lines, read_words

_DOUBLING = read_words("doubling_verbs.txt")
"""Regular verbs that double the last consonant before -ed and -ing."""

_EITHER = read_words("either_spelling_verbs.txt")
"""Regular verbs for which both spellings are in use, as in travelled and traveled."""

STATIVE_PARTICIPLES = read_words("stative_participles.txt")
"""Participles that describe a state in a caption without a verb."""


class VerbForms(NamedTuple):
    """The forms of one verb."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str


@cache
def verbs() -> dict[str, VerbForms]:
    """Return the forms of every listed verb by its base: the regular verbs, then the irregular ones."""
    forms = {}
    for base in read_lines("regular_verbs.txt"):
        past = _past(base)
        forms[base] = VerbForms(base, _third(base), past, past, _gerund(base))
    for line in read_lines("irregular_verbs.tsv"):
        base, past, participle = line.split("\t")
        forms[base] = VerbForms(base, _third(base), past, participle, _gerund(base))
    return forms


@cache
def _by_form() -> dict[str, tuple[VerbForms, ...]]:
    """Return the verbs that have a form, by that form, in the order of `verbs()`."""
    by_form: dict[str, list[VerbForms]] = {}
    for forms in verbs().values():
        for form in dict.fromkeys(forms):
            by_form.setdefault(form, []).append(forms)
    for kind in _KINDS:
        for form, forms in _variants(kind).items():
            if forms not in by_form.setdefault(form, []):
                by_form[form].append(forms)
    return {form: tuple(candidates) for form, candidates in by_form.items()}


def base_of(word: str) -> str | None:
    """Return the base form of a verb in any form, None if no listed verb has that form."""
    candidates = _by_form().get(word)
    return candidates[0].base if candidates else None


def forms_of(base: str) -> VerbForms | None:
    """Return the forms of a verb by its base, None if it is not listed."""
    return verbs().get(base)


@cache
def thirds() -> dict[str, VerbForms]:
    """Return the verbs by their third person singular."""
    return {forms.third: forms for forms in verbs().values()}


@cache
def pasts() -> dict[str, VerbForms]:
    """Return the verbs by their past form."""
    # "found" is the past of find, "lay" that of lie, "saw" that of see: irregular verbs come last and replace the
    # regular verbs with the same form.
    return _variants("past") | {forms.past: forms for forms in verbs().values()}


@cache
def gerunds() -> dict[str, VerbForms]:
    """Return the verbs by their form in -ing."""
    return _variants("gerund") | {forms.gerund: forms for forms in verbs().values()}


@cache
def participles() -> frozenset[str]:
    """Return the past participles of all verbs."""
    return frozenset(forms.participle for forms in verbs().values()) | _variants("participle").keys()


_KINDS = ("past", "participle", "gerund")


@cache
def _variants(kind: str) -> dict[str, VerbForms]:
    """Return the verbs by forms of a kind that are as correct as those in `verbs()`; they are read, but not written."""
    variants = {form: verbs()[base] for form, base, kinds in _variant_lines() if kind in kinds.split()}
    for base in _EITHER:
        stem = base if base in _DOUBLING else base + base[-1]
        variants[stem + ("ing" if kind == "gerund" else "ed")] = verbs()[base]
    return variants


def _variant_lines() -> list[tuple[str, str, str]]:
    lines = (line.split("\t") for line in read_lines("verb_variants.tsv"))
    return [(form, base, kinds) for form, base, kinds in lines]


def _third(base: str) -> str:
    if base in ("do", "go", "undergo", "redo", "outdo", "veto"):
        return base + "es"
    if base == "have":
        return "has"
    if base.endswith(("s", "sh", "ch", "x", "z")):
        return base + ("zes" if base == "quiz" else "es")
    return base[:-1] + "ies" if _has_consonant_y(base) else base + "s"


def _past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if _has_consonant_y(base):
        return base[:-1] + "ied"
    return _closed(base) + "ed"


def _gerund(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and len(base) > 2:
        return base[:-1] + "ing"
    return _closed(base) + "ing"


def _closed(base: str) -> str:
    """Return the base as it is written before -ed and -ing: "permitt", "mimick"."""
    if base.endswith("ic"):
        return base + "k"
    return base + (base[-1] if base in _DOUBLING or base in _DOUBLING_IRREGULAR else "")


_DOUBLING_IRREGULAR = word_set(
    """
    begin bet bid cut dig forbid forget get hit let put quit rid run set shed shut sit spin spit split swim win
    upset offset
    """
)


def _has_consonant_y(base: str) -> bool:
    return base.endswith("y") and len(base) > 1 and base[-2] not in "aeiou"
