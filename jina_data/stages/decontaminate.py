"""Drop training rows that hold a text of the files a model will be evaluated on."""

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
"""Names of columns that hold texts, in files of which none are named; a number may follow."""

BESIDE_ANCHOR = frozenset(("entailment", "contradiction", "neutral"))
"""Names that mean a text beside an anchor, and a label elsewhere."""

INDEX_BYTES, PACKED = 2.5, 4
"""What an index takes for each byte of text, and how far Parquet and compression press texts, about."""


class Decontaminate(RowLocal):
    """Drop rows with a text that holds a text of the evaluation `files`: whole, nearly whole, or a long run of it.

    Texts are compared by their words, with case folded; punctuation and spaces do not count. A row falls if one of its
    texts has the same words as an evaluation text; holds all words of one with at least `min_words` in a row; the same
    with one word replaced, left out or added, for one with at least `min_words_changed`; or shares a run of `n_grams`
    words with one (13 as for GPT-3, Brown et al. 2020, arXiv 2005.14165, appendix C). The partner is the evaluation row
    of whose text most was found, then the longest, then the first; the score is the share of its words.

    `columns` are the text columns of the evaluation files; without them they are taken by their usual names.
    """

    name: ClassVar[str] = "decontaminate"
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
                raise ValueError("nothing is named; expected at least one name")
            return tuple(fspath(one) if isinstance(one, PurePath) else one for one in value)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words_changed < self.min_words:
            raise ValueError(
                f"min_words_changed ({self.min_words_changed}) is below min_words ({self.min_words}); a changed text "
                "cannot count where the same text unchanged would not"
            )
        return self

    @override
    def reference_files(self) -> tuple[str, ...]:
        return self.files

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        for file in self._resolve(afresh=True):
            self._columns_of(file)
        return view

    @override
    def prepare(self) -> None:
        self._index()

    @override
    def process_bytes(self) -> int:
        sizes = [
            (file.size or 0) * (PACKED if file.compression or file.format == "parquet" else 1)
            for file in self._resolve()
        ]
        return int(INDEX_BYTES * sum(sizes))

    @override
    def apply(self, rows: Rows) -> Outcome:
        from jina_data.kernels.overlap_search import KINDS

        index = self._index()
        hits = _best_of_rows(index, [rows.texts(role) for role in rows.view.chosen(self.roles, self.name)])
        score = np.full(len(rows), np.nan)
        score[hits.rows] = hits.shares
        kinds, partners = np.full(len(rows), None, object), np.full(len(rows), None, object)
        kinds[hits.rows] = [KINDS[kind] for kind in hits.kinds.tolist()]
        partners[hits.rows] = [index.row_name(text) for text in hits.texts.tolist()]
        outcome = Outcome.keep_all(len(rows))
        outcome.drop(~np.isnan(score), 0, score)
        outcome.scores["overlap"] = pa.array(score, from_pandas=True)
        outcome.scores["kind"] = pa.array(kinds, pa.string())
        outcome.partner = pa.array(partners, pa.string())
        return outcome

    def _resolve(self, *, afresh: bool = False) -> tuple[InputFile, ...]:
        """Return the evaluation files as they were when a run was last bound to them: batches do not look again."""
        if afresh or self.files not in _RESOLVED:
            _RESOLVED[self.files] = resolve_reference_files(self.files)
        return _RESOLVED[self.files]

    def _index(self) -> _Index:
        from jina_data.kernels.overlap_seeds import Limits

        files = tuple((file, self._columns_of(file)) for file in self._resolve())
        with _BUILDING:
            return _build(files, Limits(self.n_grams, self.min_words, self.min_words_changed))

    def _columns_of(self, file: InputFile) -> tuple[str, ...]:
        return _text_columns(file, self.columns)


_RESOLVED: dict[tuple[str, ...], tuple[InputFile, ...]] = {}
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class _Hits:
    """The rows (H,) in which something was found; the given text, the share of its words, and how it was found."""

    rows: IntArray
    texts: IntArray
    shares: npt.NDArray[np.float64]
    kinds: IntArray


def _best_of_rows(index: _Index, roles: list[Texts]) -> _Hits:
    """Search the texts of some roles, and keep the best of each row."""
    owners, texts, words, kinds = [], [], [], []
    for role in roles:
        found = index.overlaps.search(role.values)
        hit = np.flatnonzero(found.texts >= 0)
        owners.append(role.owner[hit])
        texts.append(found.texts[hit].astype(np.int64))
        words.append(found.words[hit])
        kinds.append(found.kinds[hit].astype(np.int64))
    owner, text, kind = np.concatenate(owners), np.concatenate(texts), np.concatenate(kinds)
    size = np.diff(index.overlaps.words.offsets)[text]
    share = np.concatenate(words) / size
    order = np.lexsort((kind, text, -size, -share, owner))
    rows, first = np.unique(owner[order], return_index=True)
    best = order[first]
    return _Hits(rows, text[best], share[best], kind[best])


@dataclass(frozen=True)
class _Index:
    """The texts of some files, and where they stand: the file and row (T,) of every text there is."""

    overlaps: OverlapIndex
    names: tuple[str, ...]
    files: npt.NDArray[np.int32]
    rows: IntArray

    def row_name(self, text: int) -> str:
        """Return the place of a text as "file:row"."""
        source = self.overlaps.sources[text]
        return f"{self.names[self.files[source]]}:{self.rows[source]}"


@lru_cache(maxsize=2)
def _build(files: tuple[tuple[InputFile, tuple[str, ...]], ...], limits: Limits) -> _Index:
    from jina_data.kernels.overlap import OverlapIndex

    numbers, rows = [], []

    def texts() -> Iterator[pa.LargeStringArray]:
        for number, (file, columns) in enumerate(files):
            for some, places in _read_texts(file, columns):
                numbers.append(np.full(len(places), number, np.int32))
                rows.append(places)
                yield some

    overlaps = OverlapIndex.build(texts(), limits)
    names = tuple(file.name for file, _ in files)
    return _Index(overlaps, names, np.concatenate(numbers), np.concatenate(rows))


def _read_texts(file: InputFile, columns: tuple[str, ...]) -> Iterator[tuple[pa.LargeStringArray, IntArray]]:
    """Read the texts of a file, in order of row and column, with the row of each.

    Raises:
        InputError: a record cannot be read, or there is no text.
    """
    n_bytes = 0
    for first_row, table in read_reference_file(file, columns):
        texts = flatten([table.column(name).combine_chunks() for name in columns])
        n_bytes += pc.sum(pc.binary_length(texts.values)).as_py() or 0
        yield texts.values, table.column(ROW).to_numpy().astype(np.int64)[texts.owner] + first_row
    if not n_bytes:
        raise InputError(
            f"stage decontaminate: {file.name} holds no text (columns {', '.join(columns)}); expected evaluation "
            "texts. Leave the file out of `files`, or name its text columns in `columns`"
        )


@lru_cache(maxsize=1024)
def _text_columns(file: InputFile, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the text columns of an evaluation file: those wanted that it has, else those with a usual name.

    Raises:
        InputError: the file is empty.
        RecipeError: it has no such column, or one that holds no text.
    """
    schema = sample_schema(file)
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if not schema.names:
        raise InputError(
            f"stage decontaminate: {file.name} is empty; expected evaluation texts. Leave it out of `files`"
        )
    texts = {field.name for field in schema if is_text(field.type) or is_text_list(field.type)}
    if wanted is None:
        found = tuple(name for name in schema.names if name in texts and _is_usual(name, schema.names))
        if not found:
            raise RecipeError(
                f"stage decontaminate: {file.name} has no text column of a usual name; its columns are {there}. "
                "Name those that hold texts in `columns`, or leave the file out of `files`"
            )
        return found
    found = tuple(name for name in wanted if name in schema.names)
    if not found:
        raise RecipeError(
            f"stage decontaminate: {file.name} has none of the columns {', '.join(wanted)}; its columns are {there}. "
            "Name at least one column of each file in `columns`, or leave the file out of `files`"
        )
    for name in found:
        if name not in texts:
            kind = schema.field(name).type
            raise RecipeError(
                f"stage decontaminate: column {name!r} of {file.name} is {kind}; expected text, or a list"
            )
    return found


def _is_usual(name: str, names: list[str]) -> bool:
    stem = name.casefold().rstrip("0123456789").rstrip("_")
    if stem in BESIDE_ANCHOR:
        return "anchor" in (other.casefold() for other in names)
    return stem in TEXT_COLUMNS
