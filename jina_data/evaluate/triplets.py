"""Reads triplets from files in batches: anchor, entailment, one or more negatives, source and kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from jina_data.errors import InputError, UsageError
from jina_data.read import InputFile, all_ranges, resolve_inputs, sample_schema
from jina_data.roles import bind_roles
from jina_data.run.inputs import InputRun

SPLITS = ("test", "train", "all")
UNSPECIFIED = "unsaid"
"""The source or kind of a triplet if the file has none."""


@dataclass(frozen=True, slots=True)
class Triplet:
    """A text, a text that it entails, and texts that contradict both."""

    anchor: str
    entailment: str
    negatives: tuple[str, ...]
    source: str = UNSPECIFIED
    kind: str = UNSPECIFIED


@dataclass
class TripletReader:
    """Reads the triplets of files. After reading, `unusable` is the number of rows that are not triplets."""

    files: list[InputFile]
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    limit: int | None = None
    unusable: int = 0

    @classmethod
    def open(
        cls,
        path: str,
        *,
        roles: Mapping[str, tuple[str, ...]] | None = None,
        split: str | None = None,
        limit: int | None = None,
    ) -> TripletReader:
        """Open a file, folder, pattern, URL, `datasets:ID`, or the run folder of `negate`.

        Args:
            path: what to read. In a run folder, `data/full` is preferred, because it has the sources and kinds.
            roles: the columns of anchor, positive and negative; by default inferred from their names.
            split: the split of a run folder: test, train or all; by default test if it exists.
            limit: maximum number of triplets.

        Raises:
            InputError: there are no files.
            UsageError: a split is given, but the path is not a run folder of `negate`.
        """
        given = InputRun.open(path)
        carried: Mapping[str, tuple[str, ...]] = {}
        if given is not None and given.kind != "negate":
            if split is not None:
                raise _no_split(path, split)
            carried, names = given.roles_beside(roles or {}), list(map(str, given.files))
            if not names:
                raise InputError(f"{path} is a run that kept no row; see its report for the reasons")
        else:
            names = _inputs(path, split)
        return cls(resolve_inputs(names), {**carried, **(roles or {})}, limit)

    def __iter__(self) -> Iterator[Triplet]:
        """Yield the triplets, in order."""
        n_remaining = self.limit if self.limit is not None else 2**62
        self.unusable = 0
        for file in self.files:
            for triplet in self._read_file(file):
                if n_remaining == 0:
                    return
                n_remaining -= 1
                yield triplet

    def _read_file(self, file: InputFile) -> Iterator[Triplet]:
        schema = sample_schema(file)
        roles = _bind_columns(file, schema, self.roles)
        texts = {role: [name for name in roles[role] if name in schema.names] for role in roles}
        for part in all_ranges(file, schema):
            columns = {name: part.rows.column(name).to_pylist() for names in texts.values() for name in names}
            self.unusable += len(part.unreadable)
            for row in range(part.rows.num_rows):
                triplet = _triplet({name: values[row] for name, values in columns.items()}, texts)
                if triplet is None:
                    self.unusable += 1
                else:
                    yield triplet


def _inputs(path: str, split: str | None) -> list[str]:
    folder = Path(path).expanduser() / "data"
    shards = next((shards for name in ("full", "triplet") if (shards := folder / name).is_dir()), None)
    if shards is None:
        if split is not None:
            raise _no_split(path, split)
        return [path]
    names = sorted(str(shard) for shard in shards.glob("*.parquet"))
    tests = [name for name in names if Path(name).name.startswith("test-")]
    chosen = split or ("test" if tests else "all")
    selected = names if chosen == "all" else [name for name in names if Path(name).name.startswith(f"{chosen}-")]
    if not selected:
        raise InputError(f"{shards} has no files {chosen}-*.parquet. Name another --split: {', '.join(SPLITS)}")
    return selected


def _no_split(path: str, split: str) -> UsageError:
    return UsageError(f"{path} is not a run folder of negate, so it has no split {split!r}. Remove --split")


def _bind_columns(file: InputFile, schema: pa.Schema, given: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the columns of each role in a file: the given ones, else inferred from the column names.

    Raises:
        UsageError: anchor, positive or negative is missing.
    """
    requested = {role: tuple(columns) for role, columns in given.items()}
    if given or not {"premise", "hypothesis"} & set(schema.names):
        try:
            roles, _, _ = bind_roles(schema, requested)
        except UsageError as error:
            if given:
                raise UsageError(f"{file.name}: {error}") from None
            roles = {}
    else:
        roles = {}
    if not schema.names:
        raise InputError(f"{file.name} is empty; expected rows with anchor, entailment (or positive) and negative")
    missing = [role for role in ("anchor", "positive", "negative") if role not in roles]
    if missing:
        raise UsageError(
            f"{file.name}: no column for {' and '.join(missing)} among {', '.join(schema.names) or 'no columns'}. "
            "Expected anchor, entailment (or positive) and negative (or negative_1, ...); "
            "or name them: -c anchor=A -c positive=B -c negative=C"
        )
    columns: dict[str, Sequence[str]] = dict(roles)
    columns["source"] = requested.get("source", ("source",))
    columns["kind"] = ("kind",)
    return columns


def _triplet(values: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> Triplet | None:
    """Return the triplet of a row, None if a text is missing."""
    anchor, entailment = values[columns["anchor"][0]], values[columns["positive"][0]]
    negatives: list[str] = []
    for column in columns["negative"]:
        value = values[column]
        negatives += [
            text for text in (value if isinstance(value, list) else [value]) if text and isinstance(text, str)
        ]
    has_texts = isinstance(anchor, str) and isinstance(entailment, str) and anchor.strip() and entailment.strip()
    if not has_texts or not negatives:
        return None
    source, kind = (_label(values, columns[role]) for role in ("source", "kind"))
    return Triplet(anchor, entailment, tuple(negatives), source, kind)


def _label(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    value = values.get(columns[0]) if columns else None
    return UNSPECIFIED if value is None or value == "" else str(value)
