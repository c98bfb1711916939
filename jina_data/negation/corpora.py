"""The five sources of the negation data set: their licences, their columns, and which of their rows are pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jina_data.english.paraphrase import RESTATED, antonym_paraphrase
from jina_data.english.texts import detokenised, folded
from jina_data.errors import InputError
from jina_data.negation.raw import Row, Table, open_tables

REASONS = (
    "unreadable",
    "missing_text",
    "no_gold_label",
    "not_entailment",
    "unknown_label",
    "same_text",
    "single_caption",
    "other_half",
    "group_taken",
    "over_limit",
)
"""Why a row gives no pair; docs/negation-data.md tells what each means."""


@dataclass(frozen=True)
class Corpus:
    """A source by its name: the licence of its texts, and whether they come tokenised as in the Penn Treebank."""

    name: str
    license: str | None
    is_tokenised: bool = False


CORPORA = {
    one.name: one
    for one in (
        Corpus("snli", "cc-by-sa-4.0"),
        # Its genres differ (OANC, CC BY 3.0, CC BY-SA 3.0): the one with the most conditions speaks for all.
        Corpus("multi_nli", "cc-by-sa-3.0"),
        Corpus("sentence_compression", None, is_tokenised=True),
        Corpus("simple_wiki", "cc-by-sa-3.0", is_tokenised=True),
        Corpus("coco_captions", "cc-by-4.0"),
        Corpus("pairs", None),
    )
}
"""The sources that can be named; `pairs` is any table of pairs, which may name source and licence itself."""

PAIR_COLUMNS = (
    ("anchor", "entailment"),
    ("anchor", "positive"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("graph.sentence", "compression.text"),
    ("text", "simplified"),
    ("sentence", "compression"),
    ("normal", "simple"),
    ("caption1", "caption2"),
)
"""Columns that hold anchor and entailment, tried in this order; any other names are an error."""

CAPTION_COLUMNS = ("image_id", "caption")
LABEL_COLUMNS = ("gold_label", "label")
ID_COLUMNS = ("source_id", "pairID", "pair_id", "graph.id", "id")
GROUP_COLUMNS = ("group", "captionID", "promptID", "doc_id", "title", "image_id")

ENTAILMENT = frozenset({"entailment", "0"})
NO_LABEL = frozenset({"-", "-1", "", "None"})
OTHER_LABELS = frozenset({"neutral", "contradiction", "1", "2"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair as its source has it, before one of each group is chosen; `caption` alone where pairs are to be made."""

    place: str
    source: str
    source_id: str
    source_license: str | None
    group: str
    once: str
    """What gives one pair at most: the premise, the sentence, the image."""
    anchor: str
    entailment: str | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that gives no pair, and why."""

    source: str
    reason: str
    place: str


@dataclass(frozen=True)
class NamedSource:
    """A source as the user named it: `snli=PATH`."""

    corpus: Corpus
    path: str

    def candidates(self, scratch: Path, *, restate: bool = False) -> Iterator[Candidate | Unusable]:
        """Yield what every row gives: a candidate, or why it gives none. Archives are unpacked into `scratch`.

        With `restate`, each text that has a paraphrase by a negated opposite gives two candidates more.

        Raises:
            InputError: the path holds nothing to read, or a table without the columns of pairs.
        """
        for table in open_tables(self.path, scratch):
            layout = Layout.of(table)
            for row in table.rows(layout.columns):
                yield self._judge(row, layout, table.name)
                if restate:
                    yield from self._restated(row, layout)

    def _judge(self, row: Row, layout: Layout, file: str) -> Candidate | Unusable:
        name = self.corpus.name
        if row.values is None:
            return Unusable(name, "unreadable", row.place)
        values = row.values
        name = _said(values, "source") or name
        anchor, entailment = (self._text(values, column) for column in layout.texts)
        if not anchor or (not entailment and not layout.is_captions):
            return Unusable(name, "missing_text", row.place)
        reason = _label_reason(values.get(layout.label)) if layout.label else None
        if reason is None and not layout.is_captions and folded(anchor) == folded(entailment):
            reason = "same_text"
        if reason is not None:
            return Unusable(name, reason, row.place)
        group = _group(values, layout, anchor)
        return Candidate(
            place=row.place,
            source=name,
            source_id=_id_of(row, values),
            source_license=self._license(values, layout),
            group=group,
            once=group if layout.is_captions else f"text:{folded(anchor)}",
            anchor=anchor,
            entailment=None if layout.is_captions else entailment,
        )

    def _restated(self, row: Row, layout: Layout) -> Iterator[Candidate]:
        """Yield each text of a row with its paraphrase, whatever the row says of the two: plain first, and last."""
        values = row.values or {}
        anchor = self._text(values, layout.texts[0])
        for number, column in enumerate(layout.texts):
            found = antonym_paraphrase(self._text(values, column))
            if found is None:
                continue
            for turn, (first, second) in enumerate(((found.turned, found.plain), (found.plain, found.turned))):
                yield Candidate(
                    place=f"{row.place}{RESTATED}-{number}{turn}",
                    source=_said(values, "source") or self.corpus.name,
                    source_id=_id_of(row, values) + RESTATED,
                    source_license=self._license(values, layout),
                    group=_group(values, layout, anchor),
                    once=f"text:{RESTATED}{turn}{folded(found.plain)}",
                    anchor=first,
                    entailment=second,
                )

    def _license(self, values: Mapping[str, Any], layout: Layout) -> str | None:
        said = (_said(values, "source_license") or _said(values, "license")) if layout.says_source else None
        return said or self.corpus.license

    def _text(self, values: Mapping[str, Any], column: str | None) -> str:
        value = values.get(column) if column else None
        text = " ".join(value.split()) if isinstance(value, str) else ""
        return detokenised(text) if self.corpus.is_tokenised else text


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold what."""

    texts: tuple[str, str | None]
    label: str | None
    group: str | None
    columns: tuple[str, ...]
    says_source: bool

    @property
    def is_captions(self) -> bool:
        """Whether each row is one text, of which two of the same group make a pair."""
        return self.texts[1] is None

    @classmethod
    def of(cls, table: Table) -> Layout:
        """Tell what the columns of a table hold.

        Raises:
            InputError: none of the known names of pairs are among them, or judged pairs lack their label.
        """
        there = set(table.columns)
        pairs = next((names for names in PAIR_COLUMNS if there.issuperset(names)), None)
        if pairs is None and not there.issuperset(CAPTION_COLUMNS):
            raise InputError(
                f"{table.name}: no columns of pairs among {', '.join(table.columns[:12]) or 'no columns'}. Expected "
                f"{', '.join('/'.join(names) for names in PAIR_COLUMNS)}, or image_id and caption. Rename two columns."
            )
        label = next((name for name in LABEL_COLUMNS if name in there), None)
        if pairs == ("premise", "hypothesis") and label is None:
            raise InputError(
                f"{table.name}: premise and hypothesis without a column 'label' or 'gold_label': which of them are "
                "entailments? Name the columns anchor and entailment if all are."
            )
        group = next((name for name in GROUP_COLUMNS if name in there), None)
        says_source = "source" in there and "source_license" in there
        texts = pairs or (CAPTION_COLUMNS[1], None)
        named = [*texts, label, group, *(("source", "source_license") if says_source else ("license",))]
        columns = tuple(dict.fromkeys(name for name in [*named, *ID_COLUMNS] if name and name in there))
        return cls(texts, label if pairs else None, group, columns, says_source or "license" in there)


def _label_reason(value: Any) -> str | None:
    """Return why a label keeps a pair out, None for an entailment. Numbers are those of the Hub: 0 is entailment."""
    label = str(value).strip().lower() if not isinstance(value, float) else f"{value:g}"
    if label in ENTAILMENT:
        return None
    if value is None or label in NO_LABEL:
        return "no_gold_label"
    return "not_entailment" if label in OTHER_LABELS else "unknown_label"


def _group(values: Mapping[str, Any], layout: Layout, anchor: str) -> str:
    """Return what stays on one side of the split: image, article or prompt where the row names it, else the anchor."""
    said = _said(values, layout.group) if layout.group else None
    if said is None:
        return f"text:{folded(anchor)}"
    if layout.group == "captionID":
        said = said.split("#")[0]
    return said if layout.group == "group" else f"{layout.group}:{said}"


def _id_of(row: Row, values: Mapping[str, Any]) -> str:
    return next((said for column in ID_COLUMNS if (said := _said(values, column))), row.place)


def _said(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    return None if value is None or value == "" else str(value)


def parse_source(text: str) -> NamedSource:
    """Parse `NAME=PATH`.

    Raises:
        InputError: there is no such source, or no path.
    """
    name, is_named, path = text.partition("=")
    if not is_named or not path or not re.fullmatch(r"[A-Za-z_-]+", name):
        raise InputError(f"{text}: expected NAME=PATH, for example snli=snli_1.0.zip. The names: {', '.join(CORPORA)}")
    corpus = CORPORA.get(name.lower().replace("-", "_"))
    if corpus is None:
        raise InputError(
            f"{text}: no source is called {name!r}. The names: {', '.join(CORPORA)}. "
            "Name any other table of pairs with pairs=PATH"
        )
    return NamedSource(corpus, path)
