"""A run of `jina-data clean` as something to publish."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from jina_data.clean.report import CleanReport
from jina_data.errors import LawError, RunFolderError
from jina_data.publish.facts import (
    BATCH_ROWS,
    FILE,
    ROW,
    SOURCE,
    Facts,
    Source,
    Step,
    duckdb_config,
    hub_id,
    public_names,
    public_value,
    stated_license,
)
from jina_data.read import ROW as ROW_NUMBER
from jina_data.read import all_ranges, resolve_inputs, sample_schema, unite_schemas
from jina_data.roles import LABELS, ROLE_ORDER
from jina_data.stages.base import quoted

SCORED = ("language", "consistency", "triplet_margin")
"""The stages whose scores go public with the rows: what models said."""


class CleanRun:
    """A finished run of `clean`: one split, the kept rows with their file, row, source and scores."""

    kind = "clean"
    splits: Sequence[str] = ("train",)
    source_column = SOURCE

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.report = CleanReport.load(folder)
        self._names = public_names([file["name"] for file in manifest["inputs"]])

    @property
    def fingerprint(self) -> str:
        """The hash of what decided the rows, which are in the manifest too."""
        return str(self.manifest["fingerprint_sha256"])

    @cached_property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns that training needs: a pair or triplet, two sentences with their label, or documents."""
        bound: dict[str, Sequence[str]] = self.manifest["roles"]
        for stage in self.manifest["recipe"]["stages"]:
            renamed = (stage.get("select") or {}).get("rename", {})
            bound = {role: [renamed.get(name, name) for name in names] for role, names in bound.items()}
        wanted = ("anchor", "positive", "negative") if "anchor" in bound else ROLE_ORDER
        chosen = {role: bound[role] for role in ROLE_ORDER if role in wanted and role in bound}
        if set(chosen) == {"sentence1", "sentence2"}:
            chosen |= self._label()
        return chosen

    def _label(self) -> dict[str, Sequence[str]]:
        """Return the column that training takes as a label, if there is one: numbers, under a name that says so."""
        fields = next(self._kept_rows()).schema if self.report.rows.kept else []
        for field in fields:
            if field.name.lower() in LABELS and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
                return {"label" if pa.types.is_integer(field.type) else "score": [field.name]}
        return {}

    def sources(self) -> Sequence[Source]:
        """Return where the kept rows came from, with the licences that the recipe states."""
        stated = self.manifest["recipe"].get("licenses", {})
        return [
            Source(part.name, self._shown(part.name), part.kept, stated_license(stated, part.name))
            for part in self.report.sources
            if part.kept
        ]

    def _shown(self, name: str) -> str:
        return self._names.get(name, name)

    def facts(self) -> Facts:
        """Return the funnel, the recipe, and what cannot be expected of the rows."""
        rows = self.report.rows
        steps = [Step(stage.name, stage.rows_in, stage.rows_out, stage.dropped) for stage in self.report.stages]
        return Facts(
            what=f"{rows.kept:,} rows kept of {rows.read:,} that were read, by [jina-data](https://github.com/jina-ai/"
            "jina-data). Every row that is not here was dropped for a reason that is counted below.",
            steps=[Step("read", rows.read, rows.read - rows.unreadable, self._unreadable()), *steps],
            unreadable=rows.unreadable,
            recipe=yaml.safe_dump(
                public_value(self.manifest["recipe"]), sort_keys=False, allow_unicode=True, width=100
            ),
            details={"recipe sha256": self.report.recipe_sha256},
            columns=self._meanings(),
            versions=self.report.versions,
            models={public_value(name): value for name, value in self.manifest["models"].items()},
            languages=self._languages(),
            limits=self._limits(),
            hub_sources=sorted({found for name in self._names if (found := hub_id(name))}),
        )

    def _unreadable(self) -> dict[str, int]:
        return {"unreadable": self.report.rows.unreadable} if self.report.rows.unreadable else {}

    def _settings(self, stage_name: str) -> list[dict[str, Any]]:
        return [stage[stage_name] for stage in self.manifest["recipe"]["stages"] if stage_name in stage]

    def _languages(self) -> list[str]:
        named = {language for settings in self._settings("language") for language in settings["languages"] or ()}
        return sorted(name for name in named if re.fullmatch(r"[a-z]{2,3}", name))

    def _limits(self) -> list[str]:
        limits = [
            "The texts are those of the sources. Nobody read them all; errors, bias and offensive content of the "
            "sources are still there.",
        ]
        near = self._settings("near_dedup")
        if near:
            limits.append(
                f"Near duplicates were looked for by MinHash (threshold {near[0]['threshold']}): a few pairs above the "
                "threshold are always missed, and pairs below it were kept on purpose."
            )
        if not near and not self._settings("exact_dedup"):
            limits.append("Duplicates were not looked for.")
        if self._settings("language"):
            limits.append("Languages were told by a model, which errs on short and mixed texts.")
        if not self._settings("decontaminate"):
            limits.append("The rows were not compared with evaluation sets: a text of a benchmark may be among them.")
        return limits

    # ------------------------------------------------------------------------------------------------------- rows

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows in order, with where they came from and what models said of them."""
        return side_by_side(self._kept_rows(), self._places())

    def _kept_rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of data/, whatever its format."""
        paths = sorted((self.folder / "data").iterdir())
        if paths[0].suffix == ".parquet":
            for path in paths:
                yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)
            return
        files = resolve_inputs([str(path) for path in paths if path.stat().st_size])
        schema = unite_schemas([(file.name, sample_schema(file)) for file in files])
        for file in files:
            for parsed in all_ranges(file, schema):
                if parsed.unreadable:
                    raise RunFolderError(f"{file.name}: {parsed.unreadable[0].error}. Run it again, with --overwrite")
                yield from parsed.rows.drop_columns([ROW_NUMBER]).to_batches(BATCH_ROWS)

    def _score_columns(self) -> dict[str, tuple[str, str]]:
        """Return the columns of scores to publish: name to the folder and the name there."""
        found: dict[str, tuple[str, str]] = {}
        for folder in sorted((self.folder / "scores").glob("*")):
            number, _, stage = folder.name.partition("-")
            for name in pq.read_schema(next(iter(sorted(folder.glob("*.parquet"))))).names[1:]:
                column = f"_{stage}_{name.replace('.', '_')}"
                if stage in SCORED:
                    found[column if column not in found else f"{column}_{int(number)}"] = (folder.name, name)
        return found

    def _meanings(self) -> dict[str, str]:
        own = {
            FILE: "the file of the input that the row came from",
            ROW: "the row in that file, from 0",
            SOURCE: "the source of the row; see the licences",
        }
        scores = {
            column: f"what the stage `{folder.partition('-')[2]}` measured: {name.replace('.', ' ')}"
            for column, (folder, name) in self._score_columns().items()
        }
        return own | scores

    def _places(self) -> Iterator[pa.RecordBatch]:
        """Yield file, row, source and scores of the kept rows, in the order of data/."""
        scores = self._score_columns()
        folders = sorted({folder for folder, _ in scores.values()})
        joins = "".join(
            f" LEFT JOIN read_parquet({_literal(self.folder / 'scores' / folder / '*.parquet')}) s{at} USING (row_id)"
            for at, folder in enumerate(folders)
        )
        columns = "".join(
            f", s{folders.index(folder)}.{quoted(name)} AS {quoted(column)}"
            for column, (folder, name) in scores.items()
        )
        query = (
            f"SELECT file AS {FILE}, row AS {ROW}, source AS {SOURCE}{columns} "
            f"FROM read_parquet({_literal(self.folder / 'ledger' / '*.parquet')}) l{joins} WHERE kept ORDER BY l.row_id"
        )
        with duckdb.connect(config=duckdb_config(self.folder)) as con:
            for batch in con.sql(query).to_arrow_reader(BATCH_ROWS):
                yield self._public(batch)

    def _public(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Take the folders of this machine out of the names of files and sources."""
        for name in (FILE, SOURCE):
            shown = pa.array([self._shown(value) for value in batch.column(name).to_pylist()], pa.string())
            batch = batch.set_column(batch.schema.get_field_index(name), name, shown)
        return batch


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def side_by_side(left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put the columns of two streams with the same rows side by side, however they are cut into batches.

    Columns of the right one that the left one has as well are left out. Never more than a batch of each is held.

    Raises:
        LawError: one stream has more rows than the other.
    """
    other = _Cut(right)
    for batch in left:
        at = 0
        while at < batch.num_rows:
            beside = other.take(batch.num_rows - at)
            if beside is None:
                raise LawError("the ledger has fewer kept rows than data/")
            here = batch.slice(at, beside.num_rows)
            at += beside.num_rows
            added = [name for name in beside.schema.names if name not in here.schema.names]
            yield pa.RecordBatch.from_arrays(
                [*here.columns, *(beside.column(name) for name in added)], names=[*here.schema.names, *added]
            )
    if other.take(1) is not None:
        raise LawError("the ledger has more kept rows than data/")


class _Cut:
    """A stream of which as many rows are taken as are wanted, or fewer."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.batches = batches
        self.rest: pa.RecordBatch | None = None

    def take(self, n_rows: int) -> pa.RecordBatch | None:
        """Return up to so many rows, at least one; None at the end."""
        while self.rest is None or not self.rest.num_rows:
            self.rest = next(self.batches, None)
            if self.rest is None:
                return None
        taken = self.rest.slice(0, n_rows)
        self.rest = self.rest.slice(taken.num_rows)
        return taken
