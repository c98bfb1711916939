"""Provides the sources of the negation dataset: their licences, their columns, and which of their rows are pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jina_data.english.paraphrase import RESTATED, antonym_paraphrase
from jina_data.english.texts import detokenised, folded
from jina_data.errors import InputError
from jina_data.negation.raw import RawRow, RawTable, open_tables
from jina_data.roles import LABELS

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
"""Why a row is not a pair; docs/negation-data.md describes the reasons."""


@dataclass(frozen=True)
class Corpus:
    """A known source: the licence of its texts, and whether they are tokenised as in the Penn Treebank."""

    name: str
    license: str | None
    is_tokenised: bool = False


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("snli", "cc-by-sa-4.0"),
        # The licences of its genres differ (OANC, CC BY 3.0, CC BY-SA 3.0); this is the most restrictive one.
        Corpus("multi_nli", "cc-by-sa-3.0"),
        Corpus("sentence_compression", None, is_tokenised=True),
        Corpus("simple_wiki", "cc-by-sa-3.0", is_tokenised=True),
        Corpus("coco_captions", "cc-by-4.0"),
        Corpus("pairs", None),
    )
}
"""The known sources; `pairs` is any table of pairs, which may have columns for source and licence."""

PAIR_COLUMNS = (
    ("anchor", "entailment"),
    ("anchor", "positive"),
    ("premise", "entailment"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("graph.sentence", "compression.text"),
    ("text", "simplified"),
    ("sentence", "compression"),
    ("normal", "simple"),
    ("caption1", "caption2"),
)
"""Column names of anchor and entailment, in the order of the search. A table without any of them is an error."""

CAPTION_COLUMNS = ("image_id", "caption")
LABEL_COLUMNS = ("gold_label", "label")
ID_COLUMNS = ("source_id", "pairID", "pair_id", "graph.id", "id")
GROUP_COLUMNS = ("group", "captionID", "promptID", "doc_id", "title", "image_id")

JUDGED_COLUMNS = ("sentence1", "sentence2")
"""Columns that are common to datasets of entailment, paraphrase and similarity, so that numbers may mean anything."""

ENTAILMENT = frozenset({"entailment", "0"})
NO_LABEL = frozenset({"-", "-1", "", "none"})
OTHER_LABELS = frozenset({"neutral", "contradiction", "not_entailment", "1", "2"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may become a pair. `entailment` is None for a caption, which is paired with another one later."""

    location: str
    source: str
    source_id: str
    source_license: str | None
    group: str
    unique_key: str
    """The premise, sentence or image; at most one pair of each is used."""
    anchor: str
    entailment: str | None


@dataclass(frozen=True, slots=True)
class UnusableRow:
    """A row that is not a pair, and the reason."""

    source: str
    reason: str
    location: str


@dataclass(frozen=True)
class NamedSource:
    """A source as given by the user: `snli=PATH`."""

    corpus: Corpus
    path: str

    def candidates(self, scratch: Path, *, restate: bool = False) -> Iterator[Candidate | UnusableRow]:
        """Yield a candidate or an unusable row for each row. Archives are unpacked into `scratch`.

        With `restate`, each text that has a paraphrase by a negated opposite gives two more candidates.

        Raises:
            InputError: the path has no readable files, or a table without columns of pairs.
        """
        for table in open_tables(self.path, scratch):
            source_format = CorpusFormat.of(table)
            for row in table.rows(source_format.columns):
                yield self._candidate(row, source_format)
                if restate:
                    yield from self._restated(row, source_format)

    def _candidate(self, row: RawRow, source_format: CorpusFormat) -> Candidate | UnusableRow:
        name = self.corpus.name
        if row.values is None:
            return UnusableRow(name, "unreadable", row.location)
        values = row.values
        name = _value(values, "source") or name
        anchor, entailment = (self._text(values, column) for column in source_format.texts)
        if not anchor or (not entailment and not source_format.is_captions):
            return UnusableRow(name, "missing_text", row.location)
        reason = None
        if source_format.label:
            if self.corpus.name == "pairs":
                source_format.check_label(values.get(source_format.label), row.location)
            reason = _label_reason(values.get(source_format.label))
        if reason is None and not source_format.is_captions and folded(anchor) == folded(entailment):
            reason = "same_text"
        if reason is not None:
            return UnusableRow(name, reason, row.location)
        group = _group(values, source_format, anchor)
        return Candidate(
            location=row.location,
            source=name,
            source_id=_id_of(row, values),
            source_license=self._license(values, source_format),
            group=group,
            unique_key=group if source_format.is_captions else f"text:{folded(anchor)}",
            anchor=anchor,
            entailment=None if source_format.is_captions else entailment,
        )

    def _restated(self, row: RawRow, source_format: CorpusFormat) -> Iterator[Candidate]:
        """Yield two pairs of each text of a row and its paraphrase, one for each order. The label does not matter."""
        values = row.values or {}
        anchor = self._text(values, source_format.texts[0])
        for number, column in enumerate(source_format.texts):
            paraphrase = antonym_paraphrase(self._text(values, column))
            if paraphrase is None:
                continue
            texts = (paraphrase.turned, paraphrase.plain)
            for order, (first, second) in enumerate((texts, texts[::-1])):
                yield Candidate(
                    location=f"{row.location}{RESTATED}-{number}{order}",
                    source=_value(values, "source") or self.corpus.name,
                    source_id=_id_of(row, values) + RESTATED,
                    source_license=self._license(values, source_format),
                    group=_group(values, source_format, anchor),
                    unique_key=f"text:{RESTATED}{order}{folded(paraphrase.plain)}",
                    anchor=first,
                    entailment=second,
                )

    def _license(self, values: Mapping[str, Any], source_format: CorpusFormat) -> str | None:
        stated = (_value(values, "source_license") or _value(values, "license")) if source_format.has_license else None
        return stated or self.corpus.license

    def _text(self, values: Mapping[str, Any], column: str | None) -> str:
        value = values.get(column) if column else None
        text = " ".join(value.split()) if isinstance(value, str) else ""
        return detokenised(text) if self.corpus.is_tokenised else text


@dataclass(frozen=True)
class CorpusFormat:
    """The columns of a table by their meaning."""

    texts: tuple[str, str | None]
    label: str | None
    group: str | None
    columns: tuple[str, ...]
    has_license: bool

    @property
    def is_captions(self) -> bool:
        """Whether each row is one text, and two texts of the same group make a pair."""
        return self.texts[1] is None

    @classmethod
    def of(cls, table: RawTable) -> CorpusFormat:
        """Determine the meaning of the columns of a table.

        Raises:
            InputError: no columns of pairs are among them, or premise and hypothesis have no label.
        """
        columns = set(table.columns)
        pairs = next((names for names in PAIR_COLUMNS if columns.issuperset(names)), None)
        if pairs is None and not columns.issuperset(CAPTION_COLUMNS):
            raise InputError(
                f"{table.name}: no columns of pairs among {', '.join(table.columns[:12]) or 'no columns'}. Expected "
                f"{', '.join('/'.join(names) for names in PAIR_COLUMNS)}, or image_id and caption. Rename two columns."
            )
        label = next((name for name in LABEL_COLUMNS if name in columns), None)
        if pairs == ("premise", "hypothesis") and label is None:
            raise InputError(
                f"{table.name}: columns premise and hypothesis, but no column 'label' or 'gold_label' that marks the "
                "entailments. If all rows are entailments, rename the columns to anchor and entailment."
            )
        judged = next((name for name in table.columns if name.lower() in LABELS), None)
        if pairs == JUDGED_COLUMNS and label is None and judged is not None:
            raise InputError(
                f"{table.name}: the columns sentence1 and sentence2 come with {judged!r}, so some rows may be pairs of "
                f"texts that do not entail each other. {SELECT_ROWS.format(column=judged)}"
            )
        group = next((name for name in GROUP_COLUMNS if name in columns), None)
        has_source = "source" in columns and "source_license" in columns
        texts = pairs or (CAPTION_COLUMNS[1], None)
        needed = [*texts, label, group, *(("source", "source_license") if has_source else ("license",)), *ID_COLUMNS]
        to_read = tuple(dict.fromkeys(name for name in needed if name and name in columns))
        return cls(texts, label if pairs else None, group, to_read, has_source or "license" in columns)

    def check_label(self, value: Any, location: str) -> None:
        """Check that a label is a word if a number can mean entailment as well as its opposite.

        Raises:
            InputError: it is a number.
        """
        is_number = isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value))
        if self.texts == JUDGED_COLUMNS and is_number and value != -1:
            raise InputError(
                f"{location}: the columns sentence1 and sentence2 have the label {value}. In some datasets 0 marks an "
                f"entailment (RTE), in others 1 marks a paraphrase (MRPC). {SELECT_ROWS.format(column=self.label)}"
            )


SELECT_ROWS = (
    "Select the rows that are entailments first: jina-data clean FILE -o DIR --where CONDITION -c anchor=sentence1 "
    "-c positive=sentence2, with a condition on {column}, and then use pairs=DIR"
)


def _label_reason(value: Any) -> str | None:
    """Return why a pair with a label is unusable, None for an entailment. As on the Hub, 0 is entailment."""
    label = str(value).strip().lower() if not isinstance(value, float) else f"{value:g}"
    if label in ENTAILMENT:
        return None
    if value is None or label in NO_LABEL:
        return "no_gold_label"
    return "not_entailment" if label in OTHER_LABELS else "unknown_label"


def _group(values: Mapping[str, Any], source_format: CorpusFormat, anchor: str) -> str:
    """Return the group, which stays in one split: image, article or prompt if the table has it, else the anchor."""
    group = _value(values, source_format.group) if source_format.group else None
    if group is None:
        return f"text:{folded(anchor)}"
    if source_format.group == "captionID":
        group = group.split("#")[0]
    return group if source_format.group == "group" else f"{source_format.group}:{group}"


def _id_of(row: RawRow, values: Mapping[str, Any]) -> str:
    return next((value for column in ID_COLUMNS if (value := _value(values, column))), row.location)


def _value(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    return None if value is None or value == "" else str(value)


def parse_source(text: str) -> NamedSource:
    """Parse `NAME=PATH`.

    Raises:
        InputError: the source is unknown, or there is no path.
    """
    name, is_named, path = text.partition("=")
    if not is_named or not path or not re.fullmatch(r"[A-Za-z_-]+", name):
        raise InputError(f"{text}: expected NAME=PATH, for example snli=snli_1.0.zip. The names: {', '.join(CORPORA)}")
    corpus = CORPORA.get(name.lower().replace("-", "_"))
    if corpus is None:
        raise InputError(
            f"{text}: unknown source {name!r}. The names: {', '.join(CORPORA)}. "
            "Use pairs=PATH for any other table of pairs"
        )
    return NamedSource(corpus, path)
