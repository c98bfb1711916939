"""Provides a finished run of `clean` for publishing: the kept rows with their origin and model scores."""

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
    CardFacts,
    FunnelStep,
    PublishedSource,
    duckdb_config,
    hub_dataset_id,
    public_names,
    public_value,
)
from jina_data.read import ROW as ROW_NUMBER
from jina_data.read import all_ranges, resolve_inputs, settled_schema
from jina_data.roles import LABELS, ROLE_ORDER
from jina_data.run.inputs import license_of
from jina_data.run.names import parquet_in
from jina_data.stages.base import quoted

SCORED = ("language", "consistency", "triplet_margin")
"""The stages whose model scores are published with the rows."""

LANGUAGE_SHARE = 0.05
"""The share of the kept rows that a language needs for the card."""


class CleanRun:
    """A finished run of `clean`: one split with the kept rows, and their file, row, source and scores."""

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
        """The fingerprint in the manifest, a hash of the inputs and settings of the run."""
        return str(self.manifest["fingerprint_sha256"])

    @cached_property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns for training: a pair or triplet, two sentences with their label, or documents."""
        columns: dict[str, Sequence[str]] = self.manifest["roles"]
        for stage in self.manifest["recipe"]["stages"]:
            renamed = (stage.get("select") or {}).get("rename", {})
            columns = {role: [renamed.get(name, name) for name in names] for role, names in columns.items()}
        allowed = ("anchor", "positive", "negative") if "anchor" in columns else ROLE_ORDER
        training = {role: columns[role] for role in ROLE_ORDER if role in allowed and role in columns}
        if set(training) == {"sentence1", "sentence2"}:
            training |= self._label()
        return training

    def _label(self) -> dict[str, Sequence[str]]:
        """Return the label or score column for training: the first numeric column with a usual name, if any."""
        fields = next(self._kept_rows()).schema if self.report.rows.kept else []
        for field in fields:
            if field.name.lower() in LABELS and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
                return {"label" if pa.types.is_integer(field.type) else "score": [field.name]}
        return {}

    def sources(self) -> Sequence[PublishedSource]:
        """Return the sources of the kept rows, with the licenses that the recipe states."""
        licenses = self.manifest["recipe"].get("licenses", {})
        return [
            PublishedSource(part.name, self._public_name(part.name), part.kept, license_of(licenses, part.name))
            for part in self.report.sources
            if part.kept
        ]

    def _public_name(self, name: str) -> str:
        return self._names.get(name, name)

    def facts(self) -> CardFacts:
        """Return the funnel, the recipe, and the limitations of the rows."""
        rows = self.report.rows
        steps = [FunnelStep(stage.name, stage.rows_in, stage.rows_out, stage.dropped) for stage in self.report.stages]
        return CardFacts(
            summary=f"Cleaned with [jina-data](https://github.com/jina-ai/jina-data): {rows.kept:,} of {rows.read:,} "
            "rows were kept. Dropped rows are counted by reason below.",
            steps=[FunnelStep("read", rows.read, rows.read - rows.unreadable, self._unreadable()), *steps],
            unreadable=rows.unreadable,
            recipe=self._recipe(),
            details={"recipe sha256": self.report.recipe_sha256},
            columns=self._meanings(),
            versions=self.report.versions,
            models={public_value(name): value for name, value in self.manifest["models"].items()},
            languages=self._languages(),
            limitations=self._limitations(),
            hub_sources=sorted({hub_id for name in self._names if (hub_id := hub_dataset_id(name))}),
        )

    def _recipe(self) -> str:
        """Return the recipe with the columns that the run used and the seed, and above it the command that uses it."""
        source = self.manifest.get("source")
        columns = {**self.manifest["roles"], **({"source": [source]} if source is not None else {})}
        recipe = {**self.manifest["recipe"], "columns": columns, "seed": self.manifest.get("seed", 0)}
        fingerprint = self.manifest.get("fingerprint", {})
        options = [f"--limit {limit}" for limit in [fingerprint.get("limit")] if limit is not None]
        options += ["--format jsonl"] if fingerprint.get("format") == "jsonl" else []
        command = " ".join(["jina-data clean INPUT... -o DIR -p recipe.yaml", *options])
        text = yaml.safe_dump(public_value(recipe), sort_keys=False, allow_unicode=True, width=100)
        return f"# {command}\n{text}"

    def _unreadable(self) -> dict[str, int]:
        return {"unreadable": self.report.rows.unreadable} if self.report.rows.unreadable else {}

    def _settings(self, stage_name: str) -> list[dict[str, Any]]:
        return [stage[stage_name] for stage in self.manifest["recipe"]["stages"] if stage_name in stage]

    def _languages(self) -> list[str]:
        """Return the languages that the recipe keeps; without a list in it, those of at least 5 % of the kept rows."""
        lists = [settings["languages"] for settings in self._settings("language")]
        named = {language for languages in lists if not isinstance(languages, str) for language in languages or ()}
        return sorted(name for name in named or self._labels() if re.fullmatch(r"[a-z]{2,3}", name))

    def _labels(self) -> set[str]:
        """Return the frequent labels of the last stage `language` among the kept rows."""
        folders = [folder for folder in sorted((self.folder / "scores").glob("*-language")) if any(folder.iterdir())]
        if not folders:
            return set()
        scores = parquet_in(folders[-1])
        with duckdb.connect(config=duckdb_config(self.folder)) as con:
            names = [name for name in con.read_parquet(scores).columns if name.endswith(".language")]
            labels: set[str] = set()
            for name in names:
                found = con.execute(
                    f"SELECT {quoted(name)}, count(*) FROM read_parquet(?) JOIN read_parquet(?) USING (row_id) "
                    f"WHERE kept AND {quoted(name)} IS NOT NULL GROUP BY 1 "
                    f"HAVING count(*) >= {LANGUAGE_SHARE} * {self.report.rows.kept}",
                    [scores, parquet_in(self.folder / "ledger")],
                ).fetchall()
                labels |= {label for label, _ in found}
        return labels

    def _limitations(self) -> list[str]:
        limitations = [
            "The texts come from the sources and were not all reviewed by people. They may contain the errors, biases "
            "and offensive content of the sources.",
        ]
        near = self._settings("near_dedup")
        if near:
            limitations.append(
                f"Near duplicates were detected with MinHash (threshold {near[0]['threshold']}). MinHash misses some "
                "pairs above the threshold; pairs below it were kept."
            )
        if not near and not self._settings("exact_dedup"):
            limitations.append("Duplicates were not removed.")
        if self._settings("language"):
            limitations.append("Languages were identified by a model, which makes errors on short and mixed texts.")
        if not self._settings("decontaminate"):
            limitations.append(
                "The rows were not compared with evaluation sets, so they may contain texts of a benchmark."
            )
        return limitations

    # ------------------------------------------------------------------------------------------------------- rows

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows in order, with their origin and model scores."""
        return join_batches(self._kept_rows(), self._origins())

    def _kept_rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of data/, in Parquet or JSONL."""
        paths = sorted((self.folder / "data").iterdir())
        if paths[0].suffix == ".parquet":
            for path in paths:
                yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)
            return
        files = resolve_inputs([str(path) for path in paths if path.stat().st_size])
        schema = settled_schema(files)
        for file in files:
            for parsed in all_ranges(file, schema):
                if parsed.unreadable:
                    raise RunFolderError(f"{file.name}: {parsed.unreadable[0].error}. Run it again with --overwrite")
                yield from parsed.rows.drop_columns([ROW_NUMBER]).to_batches(BATCH_ROWS)

    def _score_columns(self) -> dict[str, tuple[str, str]]:
        """Return the score columns to publish: the published name, and the folder and column of the scores."""
        columns: dict[str, tuple[str, str]] = {}
        for folder in sorted((self.folder / "scores").glob("*")):
            number, _, stage = folder.name.partition("-")
            for name in pq.read_schema(next(iter(sorted(folder.glob("*.parquet"))))).names[1:]:
                column = f"_{stage}_{name.replace('.', '_')}"
                if stage in SCORED:
                    # A stage that runs twice gets its number in the second name.
                    columns[column if column not in columns else f"{column}_{int(number)}"] = (folder.name, name)
        return columns

    def _meanings(self) -> dict[str, str]:
        origin = {
            FILE: "the input file of the row",
            ROW: "the row number in this file, from 0",
            SOURCE: "the source of the row; see the licences",
        }
        scores = {
            column: f"score of the stage `{folder.partition('-')[2]}`: {name.replace('.', ' ')}"
            for column, (folder, name) in self._score_columns().items()
        }
        return origin | scores

    def _origins(self) -> Iterator[pa.RecordBatch]:
        """Yield file, row, source and scores of the kept rows, in the order of data/."""
        scores = self._score_columns()
        folders = sorted({folder for folder, _ in scores.values()})
        joins = "".join(
            f" LEFT JOIN read_parquet({_literal(parquet_in(self.folder / 'scores' / folder))}) s{n} USING (row_id)"
            for n, folder in enumerate(folders)
        )
        columns = "".join(
            f", s{folders.index(folder)}.{quoted(name)} AS {quoted(column)}"
            for column, (folder, name) in scores.items()
        )
        # The kept rows of the ledger, in order of row_id, are the rows of data/. Left joins keep rows without a score.
        query = (
            f"SELECT file AS {FILE}, row AS {ROW}, source AS {SOURCE}{columns} "
            f"FROM read_parquet({_literal(parquet_in(self.folder / 'ledger'))}) l{joins} WHERE kept ORDER BY l.row_id"
        )
        with duckdb.connect(config=duckdb_config(self.folder)) as con:
            for batch in con.sql(query).to_arrow_reader(BATCH_ROWS):
                yield self._public(batch)

    def _public(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Replace the names of files and sources by their public names."""
        for name in (FILE, SOURCE):
            names = pa.array([self._public_name(value) for value in batch.column(name).to_pylist()], pa.string())
            batch = batch.set_column(batch.schema.get_field_index(name), name, names)
        return batch


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def join_batches(rows: Iterator[pa.RecordBatch], origins: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join the columns of two streams with the same rows and any batch sizes.

    Columns of `origins` that `rows` also has are omitted. At most one batch of each stream is in memory.

    Raises:
        LawError: one stream has more rows than the other.
    """
    slicer = BatchSlicer(origins)
    for batch in rows:
        start = 0
        while start < batch.num_rows:
            added = slicer.take(batch.num_rows - start)
            if added is None:
                raise LawError("the ledger has fewer kept rows than data/")
            part = batch.slice(start, added.num_rows)
            start += added.num_rows
            names = [name for name in added.schema.names if name not in part.schema.names]
            yield pa.RecordBatch.from_arrays(
                [*part.columns, *(added.column(name) for name in names)], names=[*part.schema.names, *names]
            )
    if slicer.take(1) is not None:
        raise LawError("the ledger has more kept rows than data/")


class BatchSlicer:
    """Cuts a stream of batches into slices of at most a given number of rows."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.batches = batches
        self._remainder: pa.RecordBatch | None = None

    def take(self, n_rows: int) -> pa.RecordBatch | None:
        """Return the next rows, at least one and at most `n_rows`; None at the end."""
        while self._remainder is None or not self._remainder.num_rows:
            self._remainder = next(self.batches, None)
            if self._remainder is None:
                return None
        rows = self._remainder.slice(0, n_rows)
        self._remainder = self._remainder.slice(rows.num_rows)
        return rows
