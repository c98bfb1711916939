"""Resolves run folders that are named as inputs: their data, roles, sources and licences; checks -o against inputs.

Imports no DuckDB, since training uses it.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow.parquet as pq

from jina_data.errors import RunFolderError, UsageError
from jina_data.run.names import plain_name
from jina_data.run.sources import SourceLabels, run_sources, source_names

if TYPE_CHECKING:
    from jina_data.read import InputFile

Roles = dict[str, tuple[str, ...]]

KINDS = ("clean", "mine", "negate")
"""The kinds of runs whose folders hold rows."""

OTHER_KINDS = ("train", "ablate")

FAMILIES = (("text",), ("anchor", "positive", "negative"), ("sentence1", "sentence2"))
"""The roles that belong together: with -c for a role of one family, a run gives no roles of another family."""

HELD_OUT = "test-"


@dataclass(frozen=True)
class InputRun:
    """A finished run whose rows are the input of a command; `name` is the input as the user gave it."""

    name: str
    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, name: str) -> Self | None:
        """Return the run in a folder or in its data/; None if the input is not a run.

        Raises:
            RunFolderError: the run is not finished, or a run of its kind has no rows.
        """
        path = Path(name).expanduser()
        if not path.is_dir():
            return None
        if (manifest := _manifest(path)) is None and path.name == "data":
            path = path.parent
            manifest = _manifest(path)
        if (path / ".work" / "run.json").is_file():
            raise RunFolderError(
                f"{plain_name(name)} holds an unfinished run. Run its command again and let it finish, or name another "
                "input"
            )
        if manifest is None:
            return None
        if manifest["kind"] not in KINDS:
            raise RunFolderError(
                f"{plain_name(name)} is the folder of a run of {manifest['kind']}, which has no rows; expected a run "
                f"of {', '.join(KINDS[:-1])} or {KINDS[-1]}, or files"
            )
        return cls(name, path, manifest)

    @property
    def kind(self) -> str:
        """The command of the run: clean, mine or negate."""
        return str(self.manifest["kind"])

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files with rows, in order; of a run of `negate`, those of the training split if it has rows."""
        shards = [path for path in self._shards() if _has_rows(path)]
        training = [path for path in shards if not path.name.startswith(HELD_OUT)]
        return tuple(training or shards)

    def _shards(self) -> list[Path]:
        data = self.path / "data" / "full" if self.kind == "negate" else self.path / "data"
        return sorted(path for path in data.iterdir() if path.suffix in (".parquet", ".jsonl")) if data.is_dir() else []

    @property
    def n_held_out(self) -> int:
        """The number of rows of the test split, which are not part of the input."""
        return sum(pq.read_metadata(path).num_rows for path in self._shards() if path not in self.files)

    @cached_property
    def roles(self) -> Roles:
        """The columns of data/ by role."""
        if self.kind == "negate":
            return {"anchor": ("anchor",), "positive": ("entailment",), "negative": ("negative",)}
        roles = self.manifest.get("data_roles", self.manifest.get("roles"))
        return {role: tuple(names) for role, names in roles.items() if names} if isinstance(roles, dict) else {}

    @property
    def source(self) -> str | None:
        """The column of data/ with the source of each row; None if only the ledger has the sources."""
        if self.kind == "negate":
            return "source"
        return self.manifest.get("data_source") if "data_roles" in self.manifest else self.manifest.get("source")

    @cached_property
    def licenses(self) -> dict[str, str]:
        """The licences that the run states, by the names of the sources in `labels`."""
        if self.kind == "clean":
            stated = self.manifest.get("recipe", {}).get("licenses", {})
            found = {name: license_of(stated, name) for name in (*self._names, *stated)}
        else:
            found = {source["name"]: source.get("license") for source in self.manifest.get("sources", ())}
        names = source_names(self.path, tuple(found))
        return {name: stated for name, stated in zip(names, found.values(), strict=True) if stated}

    @property
    def _names(self) -> list[str]:
        try:
            report = json.loads((self.path / "report.json").read_text(encoding="utf-8"))
            return [source["name"] for source in report["sources"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def labels(self) -> SourceLabels | None:
        """Return the source of each row of `files`, from the ledger; None if the run has no ledger.

        Raises:
            InputError: the ledger and the data have different numbers of rows.
        """
        return run_sources(self.path, self.files, always=True)

    def roles_beside(self, named: Mapping[str, Sequence[str]]) -> Roles:
        """Return the roles that fit those that the user named, without these."""
        families = [family for family in FAMILIES if set(family) & set(named)]
        return {
            role: columns
            for role, columns in self.roles.items()
            if role not in named and (not families or any(role in family for family in families))
        }

    def notice(self, carried: Mapping[str, tuple[str, ...]]) -> str:
        """Return one line about what the run gives to a command."""
        roles = ", ".join(f"{role} = {', '.join(names)}" for role, names in carried.items())
        held_out = f", without {self.n_held_out:,} rows of its test split" if self.kind == "negate" else ""
        return f"{plain_name(self.name)}: the rows of a run of {self.kind}{held_out}" + (f"; {roles}" if roles else "")


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a command: `names` has the files of runs in place of their folders."""

    names: tuple[str | InputFile, ...]
    runs: tuple[InputRun, ...]
    has_others: bool
    """Whether there are inputs that are not runs."""

    @classmethod
    def open(cls, inputs: Sequence[str | InputFile]) -> Self:
        """Find the runs among inputs; files that were resolved already are none.

        Raises:
            RunFolderError: a run is not finished, has no rows, or is inside an input folder.
        """
        names: list[str | InputFile] = []
        runs: list[InputRun] = []
        for name in inputs:
            if not isinstance(name, str):
                names.append(name)
                continue
            run = InputRun.open(name)
            if run is None:
                check_no_run_below(name)
                names.append(name)
                continue
            if not run.files:
                raise RunFolderError(f"{plain_name(name)} is a run that kept no row; see its report for the reasons")
            runs.append(run)
            names += map(str, run.files)
        return cls(tuple(names), tuple(runs), len(runs) < len(inputs))

    def roles(self, named: Mapping[str, Sequence[str]]) -> Roles:
        """Return the roles that the runs give, apart from those that the user named; with the source column, if any.

        Raises:
            UsageError: the runs have different roles, and the user named none.
        """
        if not self.runs:
            return {}
        found = [run.roles_beside(named) for run in self.runs]
        if any(roles != found[0] for roles in found):
            first, other = self.runs[0], self.runs[next(n for n, roles in enumerate(found) if roles != found[0])]
            raise UsageError(
                f"{plain_name(first.name)} and {plain_name(other.name)} have different columns for the same roles "
                f"({_listed(first.roles)}; {_listed(other.roles)}). Name the columns with -c, or use one run at a time"
            )
        sources = {run.source for run in self.runs}
        source = sources.pop() if len(sources) == 1 and not self.has_others and "source" not in named else None
        return found[0] | ({"source": (source,)} if source is not None else {})

    @property
    def licenses(self) -> dict[str, str]:
        """The licences that the runs state, by source."""
        return {name: stated for run in self.runs for name, stated in run.licenses.items()}

    def notices(self, carried: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Return one line for each run."""
        return [run.notice(carried) for run in self.runs]


def license_of(licenses: Mapping[str, str], name: str) -> str | None:
    """Return the licence that a recipe states for a source, by its name or by the last part of its path."""
    return licenses.get(name, licenses.get(name.rsplit("/", 1)[-1]))


def run_of_file(path: Path) -> InputRun | None:
    """Return the finished run whose data/ holds a file, None for other files."""
    for folder in (path.parent.parent, path.parent.parent.parent):
        if path.is_relative_to(folder / "data") and (manifest := _manifest(folder)) and manifest["kind"] in KINDS:
            return InputRun(str(folder), folder, manifest)
    return None


def check_apart(inputs: Iterable[str | InputFile], output: Path) -> None:
    """Check that the output is not an input, not inside an input folder, and has no input inside it.

    Raises:
        UsageError: it is, so that a later run would read its own output or replace its input.
    """
    out = _real(output)
    for name in inputs:
        if not isinstance(name, str):
            continue
        for path in _local_paths(name):
            real = _real(path)
            if real == out:
                raise UsageError(f"-o {plain_name(str(output))} is also an input. Name another output")
            if real in out.parents and real.is_dir():
                raise UsageError(
                    f"-o {plain_name(str(output))} is inside the input {plain_name(name)}, so the next run would read "
                    "its own output. Name an output outside of the inputs"
                )
            if out in real.parents:
                raise UsageError(
                    f"the input {plain_name(name)} is inside -o {plain_name(str(output))}, where the run would replace "
                    "it. Name another output"
                )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path.expanduser()))


def _local_paths(name: str) -> Iterator[Path]:
    """Yield the paths that an input names on this machine."""
    name = name.removeprefix("file://")
    if "://" in name or name.startswith("datasets:"):
        return
    path = Path(name).expanduser()
    if path.exists() or not glob.has_magic(name):
        yield path
        return
    yield from map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)


def _listed(roles: Roles) -> str:
    return ", ".join(f"{role} = {', '.join(columns)}" for role, columns in roles.items()) or "none"


def check_no_run_below(name: str) -> None:
    """Check that an input folder has no run inside it, whose dropped rows and ledger would be read as rows.

    Raises:
        RunFolderError: it has.
    """
    path = Path(name.removeprefix("file://")).expanduser()
    if "://" in name or not path.is_dir():
        return
    for folder, folders, _ in os.walk(path):
        if folder != str(path) and _manifest(Path(folder)) is not None:
            raise RunFolderError(
                f"{plain_name(name)} contains the folder of a run, {plain_name(folder)}. Name the files or folders to "
                "read instead; the folder of a run stands for its data"
            )
        folders[:] = [entry for entry in folders if not entry.startswith((".", "_"))]


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished run; None if there is none, or another program wrote it."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_run = isinstance(manifest, dict) and manifest.get("kind") in (*KINDS, *OTHER_KINDS)
    return manifest if is_run else None


def _has_rows(shard: Path) -> bool:
    return pq.read_metadata(shard).num_rows > 0 if shard.suffix == ".parquet" else shard.stat().st_size > 0
