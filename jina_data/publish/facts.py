"""Provides the protocol of a publishable run, the facts on its card, and the public form of names and paths.

To make another kind of run folder publishable, write a class that follows `PublishableRun` and add it to
`open_folder`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa

from jina_data.read.remote import is_url

WORK_NAME = ".publish"
"""The folder inside a run folder that holds a repository until it is published."""

BATCH_ROWS = 4096

DUCKDB_BYTES = 2**30
"""Memory limit of DuckDB; it spills to disk beyond this."""

FILE, ROW, SOURCE = "_file", "_row", "_source"
"""The columns with the origin of a row."""


@dataclass(frozen=True)
class PublishedSource:
    """A source of rows: its names, the number of kept rows, and the license that the run or its recipe states.

    `name` is the name in the run. `public_name` is the name on the card, without local folders.
    """

    name: str
    public_name: str
    rows: int
    license: str | None = None


@dataclass(frozen=True)
class FunnelStep:
    """One step of the funnel: rows in and out, and dropped rows by reason."""

    name: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The facts on a card: how the rows were made."""

    summary: str
    """One or two sentences: what a row is and how it was made."""
    steps: Sequence[FunnelStep] = ()
    unreadable: int = 0
    recipe: str = ""
    """The settings as YAML with every option, without local folders."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further facts by name, such as the seed."""
    prompt: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The meaning of the columns that the run or publishing added."""
    versions: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    languages: Sequence[str] = ()
    limitations: Sequence[str] = ()
    synthetic: bool = False
    hub_sources: Sequence[str] = ()


class PublishableRun(Protocol):
    """A finished run whose rows become a dataset."""

    folder: Path
    kind: str
    """The kind of the run in manifest.json."""
    splits: Sequence[str]
    """The splits of the run; only `train` if the run has none."""
    source_column: str
    """The column with the source of each row, as in `PublishedSource.public_name`."""

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns for training by role, in the order that training expects."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes with any change of the run."""
        ...

    def sources(self) -> Sequence[PublishedSource]:
        """Return the sources of the rows."""
        ...

    def facts(self) -> CardFacts:
        """Return the facts on the card."""
        ...

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split in order, with all columns of the config `full`.

        If the output of the run is not Parquet, types may widen from batch to batch.
        """
        ...


def duckdb_config(folder: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return the settings of DuckDB: bounded memory, and temporary files on the disk of the run."""
    return {
        "threads": 2,
        "memory_limit": f"{DUCKDB_BYTES // 2**20}MiB",
        "temp_directory": str(folder / WORK_NAME / "duckdb"),
    }


def public_names(names: Sequence[str]) -> dict[str, str]:
    """Return the public form of file names: local paths without the folder that they share.

    URLs lose the parts that may hold a password: user, query and fragment. Names of datasets do not change.
    """
    local = [name for name in names if not is_url(name) and not name.startswith("datasets:")]
    paths = {name: Path(name).resolve() for name in local}
    shared = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    relative = {name: path.relative_to(shared).as_posix() for name, path in paths.items()}
    return {name: relative.get(name) or public_url(name) for name in names}


def public_url(name: str) -> str:
    """Return a URL without user, password, query and fragment; return any other name unchanged."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def public_value(value: Any) -> Any:
    """Return settings without local folders: of an absolute path, only the last part is kept."""
    if isinstance(value, dict):
        return {key: public_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [public_value(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "../")) and "\n" not in value:
        return f".../{value.rstrip('/').rsplit('/', 1)[-1]}"
    return public_url(value) if isinstance(value, str) else value


def hub_dataset_id(name: str) -> str | None:
    """Return the id of the dataset on the Hub that an input names, or None."""
    match = re.match(r"(?:datasets:|hf://datasets/)([\w.-]+/[\w.-]+)", name)
    return match[1] if match and not Path(name.removeprefix("datasets:")).exists() else None
