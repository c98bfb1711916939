"""The stage `language`: keep texts in given languages, as identified by a fastText model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.languages.identify import identify_wanted, label_counts, labels_of, model_path, model_sha256
from jina_data.languages.names import nearest_labels
from jina_data.languages.prose import BEGINNING, has_letters, in_lower_case, prose
from jina_data.languages.scripts import compare_scripts, foreign_letters
from jina_data.stages.base import Outcome, RowLocal, Threshold
from jina_data.stages.rows import BoolArray, FloatArray, IntArray, Rows, Texts, View

WRONG, UNCERTAIN = 0, 1

WELL_KNOWN = 300_000
"""Training texts from which the model knows a language well. It gives other languages less than their share."""
FLOOR_CHARS = (25, 80)
"""The floor rises from nothing to its full height between these numbers of characters."""

MIN_PROBABILITY = 0.1
"""The probability of a label below which the model does not know the language of a text at all."""

SERBO_CROATIAN = ("bs", "hr", "sr")
"""Languages that lid.176 also labels `sh`."""


class _Judged(NamedTuple):
    """The texts of a role as they are judged: T labels, their probability, that of the wanted labels, and the reason.

    `reason` is an index, or -1.
    """

    labels: pa.StringArray
    probability: FloatArray
    wanted: FloatArray
    reason: IntArray


class Language(RowLocal):
    """Drop rows with a text that is not in one of the given languages.

    The probability of the given languages is the sum over their labels. A text is in another language if its label is
    not one of them, and the label has at least `language_threshold`, or the given languages together have less than
    `language_floor`. It is also in another language if its letters belong to scripts that none of the languages uses,
    however short it is. A text is uncertain if it has fewer than `min_chars` characters, or otherwise if the
    probability of the given languages is below `language_threshold`. It is kept, or dropped with `uncertain: drop`.
    `languages: any` accepts every label. Every text of every chosen role must pass.

    Addresses and code do not count, and a text in capitals is judged in lower case. `model` is a fastText model file,
    by default lid.176.ftz, which labels 176 languages by ISO 639 codes.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 2
    reasons: ClassVar[tuple[str, ...]] = ("wrong_language", "uncertain_language")

    languages: tuple[str, ...] | Literal["any"]
    language_threshold: float = Field(default=0.65, ge=0, le=1)
    language_floor: float = Field(default=0.05, ge=0, le=1)
    min_chars: int = Field(default=20, ge=0)
    uncertain: Literal["keep", "drop"] = "keep"
    model: str | None = None
    roles: tuple[str, ...] | None = None

    @field_validator("languages", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return value if value == "any" else tuple(label.strip() for label in value.split(","))
        if not isinstance(value, list | tuple):
            return value
        # YAML 1.1 reads the label of Norwegian, a bare `no`, as false.
        labels = tuple("no" if label is False else label for label in value)
        if not labels:
            raise ValueError(
                "the list of languages is empty; list labels of the model, e.g. [en, de], or write: languages: any"
            )
        if "any" in labels:
            raise ValueError("'any' cannot be in a list; write: languages: any")
        return labels

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        labels = labels_of(self.model)
        for label in () if self.languages == "any" else self.languages:
            if label not in labels:
                file = model_path(self.model).name
                similar = nearest_labels(label, labels)
                hint = f"did you mean {' or '.join(map(repr, similar))}?"
                raise RecipeError(
                    f"stage language: {label!r} is not a label of {file}, which has {len(labels)} labels; "
                    + (hint if similar else f"its labels: {', '.join(labels)}.")
                )
        return view

    @override
    def prepare(self) -> None:
        identify_wanted(pa.array([""], pa.large_string()), (), self.model)

    @override
    def model_hashes(self) -> dict[str, str]:
        return {model_path(self.model).name: model_sha256(self.model)}

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        if self.uncertain == "drop":
            limit = Threshold(self.language_threshold, "above", self.reasons[UNCERTAIN])
        elif self.languages != "any":
            # Below the threshold most texts are kept whatever their label; above, only with a label in `languages`.
            limit = Threshold(self.language_threshold, "below", self.reasons[WRONG])
        else:
            return {}
        return {f"{role}.probability": [limit] for role in view.chosen(self.roles, self.name)}

    @override
    def apply(self, rows: Rows) -> Outcome:
        outcome = Outcome.keep_all(len(rows))
        for role in rows.view.chosen(self.roles, self.name):
            texts = rows.texts(role)
            judged = self._judge(texts.values)
            reason = judged.reason
            decisive = _decisive_text(texts, reason >= 0, len(rows))
            indices = pa.array(decisive, mask=decisive < 0)
            outcome.scores[f"{role}.language"] = judged.labels.take(indices)
            outcome.scores[f"{role}.probability"] = pa.array(judged.probability).take(indices)
            if self.languages != "any":
                outcome.scores[f"{role}.wanted_probability"] = pa.array(judged.wanted).take(indices)
            if not (reason >= 0).any():
                continue
            # Where `decisive` is -1, the last text is read and then masked.
            row_score = np.where(decisive < 0, np.nan, judged.probability[decisive])
            for code in (WRONG, UNCERTAIN):
                outcome.drop((decisive >= 0) & (reason[decisive] == code), code, row_score)
        return outcome

    def _judge(self, values: pa.LargeStringArray) -> _Judged:
        """Identify and judge T texts."""
        texts, is_foreign = self._compare_scripts(prose(values))
        texts = in_lower_case(texts)
        wanted = self._wanted_labels()
        labels, probability, sums = identify_wanted(texts, wanted, self.model)
        chars = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        # A text that is only code or addresses has no language.
        empty = (~has_letters(texts) & has_letters(values)) | labels.is_null().to_numpy(zero_copy_only=False)
        labels = pc.if_else(pa.array(empty), pa.scalar(None, pa.string()), labels)
        probability = np.where(empty, 0.0, probability)
        uncertain = {"keep": -1, "drop": UNCERTAIN}[self.uncertain]
        if self.languages == "any":
            unsure = (chars < self.min_chars) | (probability < self.language_threshold)
            return _Judged(labels, probability, sums, np.where(unsure, uncertain, -1))
        accepted = pc.is_in(labels, value_set=pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)
        accepted |= sums > probability
        floor = self.language_floor * np.interp(chars, FLOOR_CHARS, (0.0, 1.0)) * self._familiarity(wanted)
        wrong = (
            ~empty
            & ~accepted
            & ((probability >= self.language_threshold) | ((sums < floor) & (probability >= MIN_PROBABILITY)))
        )
        unsure = empty | (chars < self.min_chars) | (~wrong & (sums < self.language_threshold))
        reason = np.select([is_foreign, unsure, wrong], [WRONG, uncertain, WRONG], -1)
        return _Judged(labels, probability, np.where(empty, 0.0, sums), reason)

    def _wanted_labels(self) -> tuple[str, ...]:
        """Return the labels of the languages; those of Bosnian, Croatian and Serbian include `sh`."""
        if self.languages == "any":
            return ()
        labels = labels_of(self.model)
        more = ("sh",) if "sh" in labels and set(SERBO_CROATIAN) & set(self.languages) else ()
        return tuple(dict.fromkeys((*self.languages, *more)))

    def _familiarity(self, wanted: Sequence[str]) -> float:
        """Return how well the model knows the languages, from 0 to 1, by the number of its training texts."""
        counts = label_counts(self.model)
        return min(1.0, sum(counts[label] for label in wanted) / WELL_KNOWN)

    def _compare_scripts(self, texts: pa.LargeStringArray) -> tuple[pa.LargeStringArray, BoolArray]:
        """Return which of T texts are in a script of other languages (T,), and the texts without quoted foreign words.

        Words in other scripts are left out of a text if most of its letters are in the scripts of the languages.
        """
        is_other = np.zeros(len(texts), np.bool_)
        pattern = None if self.languages == "any" else foreign_letters(self.languages)
        if pattern is None:
            return texts, is_other
        candidate = pc.match_substring_regex(texts, pattern)
        is_candidate = candidate.to_numpy(zero_copy_only=False)
        scripts = compare_scripts(
            pc.utf8_slice_codeunits(texts.filter(candidate), 0, BEGINNING).to_pylist(), self.languages
        )
        is_other[is_candidate] = scripts.is_other
        quoting = np.zeros(len(texts), np.bool_)
        quoting[is_candidate] = (scripts.foreign_share > 0) & (scripts.foreign_share < 0.5)
        own = pc.replace_substring_regex(texts.filter(pa.array(quoting)), f"{pattern}+", " ")
        return pc.replace_with_mask(texts, pa.array(quoting), own), is_other


def _decisive_text(texts: Texts, failed: BoolArray, n_rows: int) -> IntArray:
    """Return the text whose label a row gets (N,): its first text that failed, else its first text; -1 without text."""
    decisive = np.full(n_rows, -1, np.int64)
    owners, first = np.unique(texts.owner, return_index=True)
    decisive[owners] = first
    failures = np.flatnonzero(failed)
    owners, first = np.unique(texts.owner[failures], return_index=True)
    decisive[owners] = failures[first]
    return decisive
