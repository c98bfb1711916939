"""Builds the shards of a dataset repository in a folder, for each config and split, and describes the repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import RunFolderError
from jina_data.progress import Progress
from jina_data.publish.facts import PublishableRun
from jina_data.publish.layout import FULL, ConfigLayout, make_layout
from jina_data.publish.shards import ShardWriter, measure_shards
from jina_data.publish.split import choose_test
from jina_data.publish.survey import Survey, included_rows, survey_rows
from jina_data.read import conform
from jina_data.run.files import remove, sha256_of, write_json

CARD, RECIPE = "README.md", "recipe.yaml"


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository, with its path in the repository."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BuiltSplit:
    """A split of a config: its shards, with their rows, bytes in memory and checksum."""

    name: str
    rows: int
    num_bytes: int
    checksum: str
    files: Sequence[str]


@dataclass(frozen=True)
class BuiltConfig:
    """A config: its columns with types, its splits, and the size of its shards in bytes."""

    name: str
    columns: Mapping[str, str]
    splits: Sequence[BuiltSplit]
    download_size: int


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository in a local folder. The first config is the default config; a model has no configs."""

    folder: Path
    repo_type: str
    repo_id: str
    files: Sequence[RepoFile]
    configs: Sequence[BuiltConfig] = ()
    licenses: Sequence[str] = ()
    findings: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def n_bytes(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the repository as JSON values, without the folder."""
        values = asdict(self)
        del values["folder"]
        return values

    @classmethod
    def from_json(cls, folder: Path, values: Mapping[str, Any]) -> Self:
        """Create a repository from the values of `to_json`."""
        files = [RepoFile(**file) for file in values["files"]]
        configs = [
            BuiltConfig(**{**config, "splits": [BuiltSplit(**split) for split in config["splits"]]})
            for config in values["configs"]
        ]
        return cls(**{**values, "folder": folder, "files": files, "configs": configs})


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The options of a build: excluded sources, size and seed of the test split, and size of a shard."""

    excluded: Sequence[str] = ()
    test_size: float | None = None
    seed: int = 0
    shard_bytes: int = 500_000_000


@dataclass(frozen=True)
class BuiltDataset:
    """The shards of a dataset, with its schemas, the survey of its rows, and the notes for the card."""

    layout: ConfigLayout
    survey: Survey
    configs: Sequence[BuiltConfig]
    schemas: Mapping[str, pa.Schema]
    notes: Sequence[str]


def build_shards(
    run: PublishableRun, target: Path, work: Path, options: BuildOptions, progress: Progress
) -> BuiltDataset:
    """Write the shards of all configs and splits below `target`.

    Raises:
        RunFolderError: no row remains after the exclusion of sources.
        JinaDataError: the rows cannot be split, or `datasets` does not support a type; see `jina_data.errors`.
    """
    keys = work / "keys.parquet" if options.test_size is not None else None
    total = sum(source.rows for source in run.sources())
    with progress.task("scan rows", total) as task:
        survey = survey_rows(run, options.excluded, keys, task)
    n_rows = sum(survey.rows.values())
    if not n_rows:
        raise RunFolderError(f"{run.folder}: no row remains after --exclude-source, so there is nothing to publish")
    test = np.empty(0, np.int64)
    if keys is not None and options.test_size is not None:
        test = choose_test(keys, n_rows, test_size=options.test_size, seed=options.seed, folder=run.folder)
    layout = make_layout(run.roles, survey.schema, survey.nulls)
    with progress.task("write shards", n_rows) as task:
        paths = _write_shards(run, target, options, test, layout=layout, survey=survey, task=task)
    configs = [_built_config(target, name, splits) for name, splits in paths.items()]
    schemas = {name: pq.read_schema(next(iter(splits.values()))[0]) for name, splits in paths.items()}
    return BuiltDataset(layout, survey, configs, schemas, _notes(layout, configs, len(test), options))


ShardPaths = dict[str, dict[str, tuple[Path, ...]]]


def _write_shards(
    run: PublishableRun,
    target: Path,
    options: BuildOptions,
    test: npt.NDArray[np.int64],
    *,
    layout: ConfigLayout,
    survey: Survey,
    task: Any,
) -> ShardPaths:
    schemas = {layout.name: _default_schema(layout, survey.schema), FULL: survey.schema}
    splits = [*run.splits, *(["test"] if len(test) else [])]
    with contextlib.ExitStack() as on_failure:
        writers: dict[tuple[str, str], ShardWriter] = {}
        for name, schema in schemas.items():
            for split in splits:
                writer = ShardWriter(target, name, split, schema=schema, shard_bytes=options.shard_bytes)
                writers[name, split] = writer
                on_failure.callback(writer.discard)
        for split, batch in _split_batches(run, options, test):
            rows = conform(pa.Table.from_batches([batch]), survey.schema)
            writers[FULL, split].add(rows)
            for part in rows.to_batches():
                writers[layout.name, split].add(layout.project(part))
            task.advance(batch.num_rows)
        closed = {key: writer.close() for key, writer in writers.items()}
        on_failure.pop_all()
    return {name: {split: closed[name, split] for split in splits} for name in schemas}


def _default_schema(layout: ConfigLayout, schema: pa.Schema) -> pa.Schema:
    # Projecting an empty batch gives the types of the default config without repeating the rules of the layout.
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    return layout.project(empty).schema


def _split_batches(
    run: PublishableRun, options: BuildOptions, test: npt.NDArray[np.int64]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the rows in order, each batch with the name of its split.

    `test` holds the ascending positions of the test rows in the stream of all included rows.
    """
    start = 0
    for split in run.splits:
        for batch in included_rows(run, split, options.excluded):
            stop = start + batch.num_rows
            test_positions = test[np.searchsorted(test, start) : np.searchsorted(test, stop)] - start
            is_test = np.zeros(batch.num_rows, np.bool_)
            is_test[test_positions] = True
            for name, mask in (("test", is_test), (split, ~is_test)):
                if mask.any():
                    yield name, batch.filter(pa.array(mask)) if not mask.all() else batch
            start = stop


def _built_config(target: Path, name: str, splits: Mapping[str, tuple[Path, ...]]) -> BuiltConfig:
    built = []
    for split, paths in splits.items():
        checksum, n_bytes = measure_shards(paths)
        files = [path.relative_to(target).as_posix() for path in paths]
        built.append(BuiltSplit(split, checksum.rows, n_bytes, checksum.hexdigest(), files))
    first_shard = next(iter(splits.values()))[0]
    columns = {field.name: str(field.type) for field in pq.read_schema(first_shard)}
    size = sum(path.stat().st_size for paths in splits.values() for path in paths)
    return BuiltConfig(name, columns, built, size)


def _notes(layout: ConfigLayout, configs: Sequence[BuiltConfig], n_test: int, options: BuildOptions) -> list[str]:
    """Return notes for users of the dataset: how the configs differ, and how the test split was made."""
    notes = []
    for role in layout.exploded:
        notes.append(f"`{layout.name}` has one row for each {role} of a row in `{FULL}`.")
    default, full = (sum(split.rows for split in config.splits) for config in configs)
    if not layout.exploded and default < full:
        notes.append(f"`{layout.name}` excludes {full - default:,} rows of `{FULL}` with a missing text.")
    if n_test:
        notes.append(
            f"`test` was split by groups (seed {options.seed}): rows that share a text, directly or through other "
            "rows, are in the same split. Texts are compared with case and whitespace folded. Negatives are ignored "
            "and may occur in both splits."
        )
    return notes


def list_files(folder: Path) -> list[RepoFile]:
    """Return the files of a repository, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [RepoFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)) for path in paths]


def save_record(repository: Repository, record: Path, fingerprint: str) -> None:
    """Record that a repository is complete, with the fingerprint of the run and its options."""
    write_json(record, {"fingerprint": fingerprint, "repository": repository.to_json()})


def create_empty(folder: Path) -> None:
    """Create an empty folder, and remove an incomplete repository in it."""
    remove(folder)
    folder.mkdir(parents=True)
