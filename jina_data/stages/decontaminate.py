"""The stage `decontaminate`: drop training rows that contain a text of evaluation files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike, fspath
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from jina_data.errors import InputError, RecipeError
from jina_data.read import ROW, InputFile, sample_schema
from jina_data.roles import is_text, is_text_list
from jina_data.stages.base import Outcome, RowLocal
from jina_data.stages.reference import read_reference_file, resolve_reference_files
from jina_data.stages.rows import IntArray, Rows, Texts, View, flatten

if TYPE_CHECKING:
    from jina_data.kernels.overlap import OverlapIndex
    from jina_data.kernels.overlap_seeds import Limits

TEXT_COLUMNS = {
    *("text", "content", "body", "title", "abstract", "summary", "headline", "caption", "description", "query"),
    *("queries", "question", "answer", "answers", "claim", "utterance", "context", "passage", "paragraph"),
    *("document", "doc", "sentence", "sentences"),
    *("premise", "hypothesis", "anchor", "positive", "positives", "pos", "negative", "negatives", "neg"),
}
"""Usual names of text columns, for files whose text columns are not given; a number may follow."""

TEXTS_WITH_ANCHOR = frozenset(("entailment", "contradiction", "neutral"))
"""Names of text columns in files with a column `anchor`; in other files they are labels."""

INDEX_BYTES, EXPANSION = 2.5, 4
"""Memory of an index for each byte of text, and bytes of text for each byte of a compressed file, both estimated."""


class Decontaminate(RowLocal):
    """Drop rows that contain a text of the evaluation `files`: all of it, nearly all, or a long run of its words.

    Texts are compared by their words, with case folded, and the signs after each word ("C++", "-5", emoji); ordinary
    punctuation and spaces do not count. A row is dropped if one of its texts meets one of these conditions for an
    evaluation text:

    - it has the same words;
    - it contains all words in a row, if the evaluation text has at least `min_words` words;
    - it contains all words in a row with one word replaced, left out or added, if the evaluation text has at least
      `min_words_changed` words;
    - it shares a run of `n_grams` words (13 as for GPT-3, Brown et al. 2020, arXiv 2005.14165, appendix C).

    The partner is the evaluation row with the largest share of its words in the text, then the longest, then the first.
    The score is that share.

    `columns` are the text columns of the evaluation files; by default, columns with a usual name.
    """

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 2
    reasons: ClassVar[tuple[str, ...]] = ("contaminated",)

    files: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    n_grams: int = Field(default=13, ge=2)
    min_words: int = Field(default=5, ge=1)
    min_words_changed: int = Field(default=8, ge=4)
    roles: tuple[str, ...] | None = None

    @field_validator("files", "columns", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str | PathLike):
            value = (value,)
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("the list is empty; expected at least one name")
            return tuple(fspath(name) if isinstance(name, PurePath) else name for name in value)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words_changed < self.min_words:
            raise ValueError(
                f"min_words_changed ({self.min_words_changed}) is below min_words ({self.min_words}); "
                "a text with a changed word cannot count if the unchanged text does not"
            )
        return self

    @override
    def reference_files(self) -> tuple[str, ...]:
        return self.files

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        for file in self._resolve(again=True):
            self._columns_of(file)
        return view

    @override
    def prepare(self) -> None:
        self._index()

    @override
    def process_bytes(self) -> int:
        sizes = [
            (file.size or 0) * (EXPANSION if file.compression or file.format == "parquet" else 1)
            for file in self._resolve()
        ]
        return int(INDEX_BYTES * sum(sizes))

    @override
    def apply(self, rows: Rows) -> Outcome:
        from jina_data.kernels.overlap_search import KINDS

        index = self._index()
        overlaps = _best_of_rows(index, [rows.texts(role) for role in rows.view.chosen(self.roles, self.name)])
        score = np.full(len(rows), np.nan)
        score[overlaps.rows] = overlaps.shares
        kinds, partners = np.full(len(rows), None, object), np.full(len(rows), None, object)
        kinds[overlaps.rows] = [KINDS[kind] for kind in overlaps.kinds.tolist()]
        partners[overlaps.rows] = [index.row_name(text) for text in overlaps.texts.tolist()]
        outcome = Outcome.keep_all(len(rows))
        outcome.drop(~np.isnan(score), 0, score)
        outcome.scores["overlap"] = pa.array(score, from_pandas=True)
        outcome.scores["kind"] = pa.array(kinds, pa.string())
        outcome.partner = pa.array(partners, pa.string())
        return outcome

    def _resolve(self, *, again: bool = False) -> tuple[InputFile, ...]:
        """Return the evaluation files; only with `again`, when a run is bound, are they looked up on disk again."""
        if again or self.files not in _RESOLVED:
            _RESOLVED[self.files] = resolve_reference_files(self.files)
        return _RESOLVED[self.files]

    def _index(self) -> _ReferenceIndex:
        from jina_data.kernels.overlap_seeds import Limits

        files = tuple((file, self._columns_of(file)) for file in self._resolve())
        with _BUILDING:
            return _build(files, Limits(self.n_grams, self.min_words, self.min_words_changed))

    def _columns_of(self, file: InputFile) -> tuple[str, ...]:
        return _text_columns(file, self.columns)


_RESOLVED: dict[tuple[str, ...], tuple[InputFile, ...]] = {}
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class _RowOverlaps:
    """The H rows with an overlap: the evaluation text, the share of its words, and the kind of overlap (all (H,))."""

    rows: IntArray
    texts: IntArray
    shares: npt.NDArray[np.float64]
    kinds: IntArray


def _best_of_rows(index: _ReferenceIndex, roles: list[Texts]) -> _RowOverlaps:
    """Search the texts of all roles, and return the best overlap of each row."""
    owners, texts, words, kinds = [], [], [], []
    for role in roles:
        overlaps = index.overlaps.search(role.values)
        hit = np.flatnonzero(overlaps.texts >= 0)
        owners.append(role.owner[hit])
        texts.append(overlaps.texts[hit].astype(np.int64))
        words.append(overlaps.words[hit])
        kinds.append(overlaps.kinds[hit].astype(np.int64))
    owner, text, kind = np.concatenate(owners), np.concatenate(texts), np.concatenate(kinds)
    size = np.diff(index.overlaps.words.offsets)[text]
    share = np.concatenate(words) / size
    # By row; within a row the largest share first, then the longest text, the first text, the first kind.
    order = np.lexsort((kind, text, -size, -share, owner))
    rows, first = np.unique(owner[order], return_index=True)
    best = order[first]
    return _RowOverlaps(rows, text[best], share[best], kind[best])


@dataclass(frozen=True)
class _ReferenceIndex:
    """The index of the texts of evaluation files, with the number of the file and the row (T,) of every text."""

    overlaps: OverlapIndex
    names: tuple[str, ...]
    files: npt.NDArray[np.int32]
    rows: IntArray

    def row_name(self, text: int) -> str:
        """Return the row of an indexed text as "file:row"."""
        source = self.overlaps.sources[text]
        return f"{self.names[self.files[source]]}:{self.rows[source]}"


@lru_cache(maxsize=2)
def _build(files: tuple[tuple[InputFile, tuple[str, ...]], ...], limits: Limits) -> _ReferenceIndex:
    from jina_data.kernels.overlap import OverlapIndex

    numbers, rows = [], []

    def texts() -> Iterator[pa.LargeStringArray]:
        for number, (file, columns) in enumerate(files):
            for values, file_rows in _read_texts(file, columns):
                numbers.append(np.full(len(file_rows), number, np.int32))
                rows.append(file_rows)
                yield values

    overlaps = OverlapIndex.build(texts(), limits)
    names = tuple(file.name for file, _ in files)
    return _ReferenceIndex(overlaps, names, np.concatenate(numbers), np.concatenate(rows))


def _read_texts(file: InputFile, columns: tuple[str, ...]) -> Iterator[tuple[pa.LargeStringArray, IntArray]]:
    """Read the texts of a file in order of row and column, with the row of each.

    Raises:
        InputError: a record cannot be read, or the file has no text.
    """
    n_bytes = 0
    for first_row, table in read_reference_file(file, columns):
        texts = flatten([table.column(name).combine_chunks() for name in columns])
        n_bytes += pc.sum(pc.binary_length(texts.values)).as_py() or 0
        yield texts.values, table.column(ROW).to_numpy().astype(np.int64)[texts.owner] + first_row
    if not n_bytes:
        raise InputError(
            f"stage decontaminate: {file.name} has no text (columns {', '.join(columns)}); expected evaluation "
            "texts. Remove the file from `files`, or give its text columns in `columns`"
        )


@lru_cache(maxsize=1024)
def _text_columns(file: InputFile, columns: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return those of `columns` that an evaluation file has, or by default its text columns with a usual name.

    Raises:
        InputError: the file is empty.
        RecipeError: the file has no such column, or one that is not text.
    """
    schema = sample_schema(file)
    existing = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if not schema.names:
        raise InputError(
            f"stage decontaminate: {file.name} is empty; expected evaluation texts. Remove it from `files`"
        )
    texts = {field.name for field in schema if is_text(field.type) or is_text_list(field.type)}
    if columns is None:
        usual = tuple(name for name in schema.names if name in texts and _is_usual(name, schema.names))
        if not usual:
            raise RecipeError(
                f"stage decontaminate: {file.name} has no text column with a usual name; its columns are {existing}. "
                "Give its text columns in `columns`, or remove the file from `files`"
            )
        return usual
    present = tuple(name for name in columns if name in schema.names)
    if not present:
        raise RecipeError(
            f"stage decontaminate: {file.name} has none of the columns {', '.join(columns)}; its columns are "
            f"{existing}. Give at least one column of each file in `columns`, or remove the file from `files`"
        )
    for name in present:
        if name not in texts:
            kind = schema.field(name).type
            raise RecipeError(
                f"stage decontaminate: column {name!r} of {file.name} is {kind}; expected text, or a list of texts"
            )
    return present


def _is_usual(name: str, names: list[str]) -> bool:
    stem = name.casefold().rstrip("0123456789").rstrip("_")
    if stem in TEXTS_WITH_ANCHOR:
        return "anchor" in (other.casefold() for other in names)
    return stem in TEXT_COLUMNS
