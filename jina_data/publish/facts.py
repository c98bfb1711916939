"""What publishing needs of a folder, whatever made it.

A kind of run folder becomes publishable by one class with the shape of `Publishable` and a line in `open_folder`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa

from jina_data.errors import RunFolderError
from jina_data.read.remote import is_url

if TYPE_CHECKING:
    pass

WORK_NAME = ".publish"
"""The folder inside a run folder that holds a repository until it is published."""

DUCKDB_BYTES = 2**30
"""What DuckDB may hold at a time; more goes to disk."""

FILE, ROW, SOURCE = "_file", "_row", "_source"
"""The columns that say where a row came from."""


@dataclass(frozen=True)
class Source:
    """Where some rows came from, how many were kept, and what licence a run or a recipe states for it.

    `name` is how the run calls it, `shown` how the public may see it: without the folders of this machine.
    """

    name: str
    shown: str
    rows: int
    license: str | None = None


@dataclass(frozen=True)
class Step:
    """One step of the funnel."""

    name: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card tells of how the rows came about."""

    what: str
    """One or two sentences: what a row is and what was done."""
    steps: Sequence[Step] = ()
    unreadable: int = 0
    recipe: str = ""
    """The settings as YAML, every option spelled out; without the folders of this machine."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Single facts, such as the seed."""
    prompt: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What columns mean that publishing or the run added."""
    versions: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    languages: Sequence[str] = ()
    limits: Sequence[str] = ()
    synthetic: bool = False
    hub_sources: Sequence[str] = ()


class Publishable(Protocol):
    """A finished run whose rows become a data set."""

    folder: Path
    kind: str
    """What made it, as manifest.json says."""
    splits: Sequence[str]
    """The splits that the run made itself; one, `train`, where it made none."""
    source_column: str
    """The column of the rows that names their source, as `Source.shown` has it."""

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The columns that training needs by role, in the order in which training takes them."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes when anything in the run does."""
        ...

    def sources(self) -> Sequence[Source]:
        """Return where the rows came from."""
        ...

    def facts(self) -> Facts:
        """Return what the card tells."""
        ...

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split in order, with all the columns that may go public.

        Types may widen from batch to batch, where the run is not in Parquet.
        """
        ...


def duckdb_config(folder: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return how DuckDB is set up beside a run: bounded memory, and room on the disk of the run."""
    return {
        "threads": 2,
        "memory_limit": f"{DUCKDB_BYTES // 2**20}MiB",
        "temp_directory": str(folder / WORK_NAME / "duckdb"),
    }


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as stored:
        return hashlib.file_digest(stored, "sha256").hexdigest()


def public_names(names: Sequence[str]) -> dict[str, str]:
    """Return how the public may see the names of files: paths of this machine lose the folder they share.

    Addresses lose what may be a password: user, query and fragment. Names of data sets stay as they are.
    """
    local = [name for name in names if not is_url(name) and not name.startswith("datasets:")]
    paths = {name: Path(name).resolve() for name in local}
    shared = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    own = {name: path.relative_to(shared).as_posix() for name, path in paths.items()}
    return {name: own.get(name) or public_url(name) for name in names}


def public_url(name: str) -> str:
    """Return an address without user, password, query and fragment; other names as they are."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def public_value(value: Any) -> Any:
    """Return settings without the folders of this machine: an absolute path keeps its last name."""
    if isinstance(value, dict):
        return {key: public_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [public_value(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "../")) and "\n" not in value:
        return f".../{value.rstrip('/').rsplit('/', 1)[-1]}"
    return public_url(value) if isinstance(value, str) else value


BATCH_ROWS = 4096


def hub_id(name: str) -> str | None:
    """Return the id of the data set on the Hub that an input names, None where it names none."""
    found = re.match(r"(?:datasets:|hf://datasets/)([\w.-]+/[\w.-]+)", name)
    return found[1] if found and not Path(name.removeprefix("datasets:")).exists() else None


def stated_license(stated: Mapping[str, str], name: str) -> str | None:
    """Return the licence that is stated for a source by its name, or by the last part of its path."""
    return stated.get(name, stated.get(name.rsplit("/", 1)[-1]))


def refuse_empty(folder: Path, rows: int) -> None:
    """Refuse to publish nothing.

    Raises:
        RunFolderError: there is not one row.
    """
    if not rows:
        raise RunFolderError(f"{folder} kept no row: there is nothing to publish. Look at why with jina-data inspect")
