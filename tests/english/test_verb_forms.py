"""The forms of the listed verbs, compared with those of lemminflect, as written and as read."""

from __future__ import annotations

import pytest

from jina_data.english.verb_forms import VerbForms, base_of, forms_of, gerunds, participles, pasts, thirds, verbs
from jina_data.negation.rules import negate

TAGS = {"third": "VBZ", "past": "VBD", "participle": "VBN", "gerund": "VBG"}
"""The tags of the Penn Treebank for our forms."""

WRITTEN = {
    "blended": "lemminflect only has the archaic blent",
    "bused": "also bussed",
    "leaped": "also leapt",
    "mowed": "also mown",
    "skied": "lemminflect has ski'd",
    "smelled": "also smelt",
    "spoiled": "also spoilt",
    "broadcast": "also broadcasted",
    "forecast": "also forecasted",
    "lain": "lie down; lemminflect has lied, of the other verb with this base",
    "lit": "also lighted",
    "stinging": "lemminflect has sting",
    "mimicked": "lemminflect does not know the verb, and has mimiced",
    "mimicking": "the same: mimicing",
    "programmed": "lemminflect only has the rare programed",
    "programming": "the same: programing",
    "enrolled": "British enrol: lemminflect does not know it, and has enroled",
    "enrolling": "the same: enroling",
}
"""Forms that we write and lemminflect does not have, and why they are correct."""

NOT_READ = {
    "misspelt": "controled controling occured occuring refered refering mimiced mimicing enroled enroling payed tieing "
    "ski'd over-comes over-came over-coming over-took over-takes over-taken over-taking re-built re-builds "
    "re-building under-goes under-went under-gone under-going under-takes under-took under-taken "
    "under-taking off-set off-sets off-setted off-setting offsetted re-does re-did re-done re-doing",
    "two words": "undergoes underwent undergone undergoing offset offsets offsetted offsetting",
    "archaic": "blent blest throve bended betted staid shrunken",
    "of another verb or another meaning": "staves costed flied grinded spitted teared winded",
    "a bird": "dove",
    "rare": "busses focusses instals",
}
"""Forms of lemminflect that we do not read as forms of its verb, by the reason."""


def lemminflect_forms() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return verb, form and spellings of all listed verbs."""
    lemminflect = pytest.importorskip("lemminflect")
    return [(base, form, lemminflect.getInflection(base, tag=tag)) for base in verbs() for form, tag in TAGS.items()]


def test_the_forms_that_are_written_are_those_of_lemminflect() -> None:
    written = {
        getattr(verbs()[base], form)
        for base, form, spellings in lemminflect_forms()
        if getattr(verbs()[base], form) not in spellings
    }
    assert written == set(WRITTEN)


def test_the_forms_of_lemminflect_are_read() -> None:
    tables = {"third": thirds(), "past": pasts(), "gerund": gerunds()}
    excused = {form for forms in NOT_READ.values() for form in forms.split()}
    unread = set()
    for base, form, spellings in lemminflect_forms():
        for spelling in spellings:
            if form == "participle":
                is_read = spelling in participles()
            else:
                # Some forms belong to two verbs: "lay" to lie and lay, "found" to find and found.
                is_read = spelling in tables[form] and base_of(spelling) is not None
            # Rare participles like "bade" and "forbid" are other forms of the same verb.
            if not is_read and spelling not in verbs() and base_of(spelling) != base:
                unread.add(spelling.replace(" ", ""))
    assert unread == excused


@pytest.mark.parametrize(
    "forms",
    [
        VerbForms("carry", "carries", "carried", "carried", "carrying"),
        VerbForms("play", "plays", "played", "played", "playing"),
        VerbForms("tie", "ties", "tied", "tied", "tying"),
        VerbForms("stop", "stops", "stopped", "stopped", "stopping"),
        VerbForms("begin", "begins", "began", "begun", "beginning"),
        VerbForms("have", "has", "had", "had", "having"),
        VerbForms("do", "does", "did", "done", "doing"),
        VerbForms("brag", "brags", "bragged", "bragged", "bragging"),
        VerbForms("embed", "embeds", "embedded", "embedded", "embedding"),
        VerbForms("fulfil", "fulfils", "fulfilled", "fulfilled", "fulfilling"),
        VerbForms("fulfill", "fulfills", "fulfilled", "fulfilled", "fulfilling"),
        VerbForms("incur", "incurs", "incurred", "incurred", "incurring"),
        VerbForms("kidnap", "kidnaps", "kidnapped", "kidnapped", "kidnapping"),
        VerbForms("mimic", "mimics", "mimicked", "mimicked", "mimicking"),
        VerbForms("permit", "permits", "permitted", "permitted", "permitting"),
        VerbForms("program", "programs", "programmed", "programmed", "programming"),
        VerbForms("sum", "sums", "summed", "summed", "summing"),
        VerbForms("travel", "travels", "traveled", "traveled", "traveling"),
        VerbForms("realise", "realises", "realised", "realised", "realising"),
        VerbForms("favour", "favours", "favoured", "favoured", "favouring"),
    ],
)
def test_forms(forms: VerbForms) -> None:
    assert forms_of(forms.base) == forms
    assert {base_of(form) for form in forms} <= {forms.base, "fulfil"}


@pytest.mark.parametrize(
    ("form", "base"),
    [
        *[("travelled", "travel"), ("travelling", "travel"), ("cancelled", "cancel"), ("labelled", "label")],
        *[("focussed", "focus"), ("kidnaped", "kidnap"), ("programed", "program"), ("benefitted", "benefit")],
        *[("burnt", "burn"), ("learnt", "learn"), ("hanged", "hang"), ("proven", "prove"), ("borne", "bear")],
    ],
)
def test_both_spellings_are_read(form: str, base: str) -> None:
    assert base_of(form) == base
    assert form in pasts() or form in participles() or form in gerunds()


@pytest.mark.parametrize(
    ("text", "negative"),
    [
        ("The city did not permit the march.", "The city permitted the march."),
        ("The city permitted the march.", "The city did not permit the march."),
        ("The company incurred a loss.", "The company did not incur a loss."),
        ("The parrot did not mimic the man.", "The parrot mimicked the man."),
        ("She travelled to Rome.", "She did not travel to Rome."),
        ("He did not realise the danger.", "He realised the danger."),
        ("The gang kidnapped a banker.", "The gang did not kidnap a banker."),
        ("They learnt the rules.", "They did not learn the rules."),
    ],
)
def test_negation_uses_the_forms(text: str, negative: str) -> None:
    made = negate(text)
    assert made is not None
    assert made[0] == negative
