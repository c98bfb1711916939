"""Build the repository of a data set in a folder: shards of every config and split, the card, the recipe."""

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
from jina_data.publish.facts import Publishable, file_sha256
from jina_data.publish.layout import FULL, Layout, make_layout
from jina_data.publish.shards import ShardWriter, measure
from jina_data.publish.split import choose_test
from jina_data.publish.survey import Survey, kept, survey
from jina_data.read import conform
from jina_data.run.files import remove, write_json

CARD, RECIPE = "README.md", "recipe.yaml"


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository, by its path there."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BuiltSplit:
    """A split of a config: its shards, and what is in them."""

    name: str
    rows: int
    num_bytes: int
    checksum: str
    files: Sequence[str]


@dataclass(frozen=True)
class BuiltConfig:
    """A config: its columns with their types, its splits, and the bytes of its shards."""

    name: str
    columns: Mapping[str, str]
    splits: Sequence[BuiltSplit]
    download_size: int


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository as it stands in a folder. The first config is the default one; models have none."""

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
        """The size of all files."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, without the folder."""
        values = asdict(self)
        del values["folder"]
        return values

    @classmethod
    def from_json(cls, folder: Path, values: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        files = [RepoFile(**file) for file in values["files"]]
        configs = [
            BuiltConfig(**{**config, "splits": [BuiltSplit(**split) for split in config["splits"]]})
            for config in values["configs"]
        ]
        return cls(**{**values, "folder": folder, "files": files, "configs": configs})


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How the rows of a run are cut: what is left out, how large test and shards are, and the seed of the split."""

    excluded: Sequence[str] = ()
    test_size: float | None = None
    seed: int = 0
    shard_bytes: int = 500_000_000


@dataclass(frozen=True)
class Built:
    """The shards of a data set, and what was seen on the way."""

    layout: Layout
    seen: Survey
    configs: Sequence[BuiltConfig]
    schemas: Mapping[str, pa.Schema]
    notes: Sequence[str]


def build_shards(run: Publishable, target: Path, work: Path, cut: Cut, progress: Progress) -> Built:
    """Write the shards of all configs and splits below `target`.

    Raises:
        RunFolderError: no row is left.
        JinaDataError: the rows cannot be split or held; see `jina_data.errors`.
    """
    keys = work / "keys.parquet" if cut.test_size is not None else None
    total = sum(source.rows for source in run.sources())
    with progress.task("look at rows", total) as task:
        seen = survey(run, cut.excluded, keys, task)
    n_rows = sum(seen.rows.values())
    if not n_rows:
        raise RunFolderError(f"{run.folder} has no row that is left: there is nothing to publish")
    test = np.empty(0, np.int64)
    if keys is not None and cut.test_size is not None:
        test = choose_test(keys, n_rows, test_size=cut.test_size, seed=cut.seed, folder=run.folder)
    layout = make_layout(run.roles, seen.schema, seen.nulls)
    with progress.task("write shards", n_rows) as task:
        paths = _write(run, target, cut, test, layout=layout, seen=seen, task=task)
    configs = [_built_config(target, name, splits) for name, splits in paths.items()]
    schemas = {name: pq.read_schema(next(iter(splits.values()))[0]) for name, splits in paths.items()}
    return Built(layout, seen, configs, schemas, _notes(layout, configs, len(test), cut))


Paths = dict[str, dict[str, tuple[Path, ...]]]


def _write(
    run: Publishable,
    target: Path,
    cut: Cut,
    test: npt.NDArray[np.int64],
    *,
    layout: Layout,
    seen: Survey,
    task: Any,
) -> Paths:
    schemas = {layout.name: _default_schema(layout, seen.schema), FULL: seen.schema}
    splits = [*run.splits, *(["test"] if len(test) else [])]
    with contextlib.ExitStack() as on_failure:
        writers: dict[tuple[str, str], ShardWriter] = {}
        for name, schema in schemas.items():
            for split in splits:
                writer = ShardWriter(target, name, split, schema=schema, shard_bytes=cut.shard_bytes)
                writers[name, split] = writer
                on_failure.callback(writer.discard)
        for split, batch in _sides(run, cut, test):
            rows = conform(pa.Table.from_batches([batch]), seen.schema)
            writers[FULL, split].add(rows)
            for part in rows.to_batches():
                writers[layout.name, split].add(layout.project(part))
            task.advance(batch.num_rows)
        closed = {key: writer.close() for key, writer in writers.items()}
        on_failure.pop_all()
    return {name: {split: closed[name, split] for split in splits} for name in schemas}


def _default_schema(layout: Layout, schema: pa.Schema) -> pa.Schema:
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    return layout.project(empty).schema


def _sides(run: Publishable, cut: Cut, test: npt.NDArray[np.int64]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the rows with the split they belong to, in order."""
    first = 0
    for split in run.splits:
        for batch in kept(run, split, cut.excluded):
            stop = first + batch.num_rows
            inside = test[np.searchsorted(test, first) : np.searchsorted(test, stop)] - first
            mask = np.zeros(batch.num_rows, np.bool_)
            mask[inside] = True
            for side, chosen in (("test", mask), (split, ~mask)):
                if chosen.any():
                    yield side, batch.filter(pa.array(chosen)) if not chosen.all() else batch
            first = stop


def _built_config(target: Path, name: str, splits: Mapping[str, tuple[Path, ...]]) -> BuiltConfig:
    built = []
    for split, paths in splits.items():
        checksum, n_bytes = measure(paths)
        files = [path.relative_to(target).as_posix() for path in paths]
        built.append(BuiltSplit(split, checksum.rows, n_bytes, checksum.hexdigest(), files))
    first = next(iter(splits.values()))[0]
    columns = {field.name: str(field.type) for field in pq.read_schema(first)}
    size = sum(path.stat().st_size for paths in splits.values() for path in paths)
    return BuiltConfig(name, columns, built, size)


def _notes(layout: Layout, configs: Sequence[BuiltConfig], n_test: int, cut: Cut) -> list[str]:
    """Return what a user of the data set must know of how the configs came about."""
    notes = []
    for role in layout.exploded:
        notes.append(f"`{layout.name}` has one row for each {role} of a row of `{FULL}`.")
    default, full = (sum(split.rows for split in config.splits) for config in configs)
    if not layout.exploded and default < full:
        notes.append(f"`{layout.name}` leaves out {full - default:,} rows of `{FULL}` that lack a text.")
    if n_test:
        notes.append(
            f"`test` was split off by groups (seed {cut.seed}): rows that share a text, directly or over others, are "
            "on one side. Texts are compared with case and white space folded; negatives may be on both sides."
        )
    return notes


def list_files(folder: Path) -> list[RepoFile]:
    """Return the files of a repository, in order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [RepoFile(path.relative_to(folder).as_posix(), path.stat().st_size, file_sha256(path)) for path in paths]


def save(repository: Repository, record: Path, fingerprint: str) -> None:
    """Note that a repository is whole, and what it was made of."""
    write_json(record, {"fingerprint": fingerprint, "repository": repository.to_json()})


def clear(folder: Path) -> None:
    """Remove a repository that is not whole."""
    remove(folder)
    folder.mkdir(parents=True)
