"""Finds the Parquet files and roles of inputs: run folders, Parquet files, and any other input of `clean`."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, UsageError, first_line
from jina_data.roles import bind_roles, parse_roles
from jina_data.run.inputs import InputRun, check_no_run_below
from jina_data.run.names import plain_name
from jina_data.train.config import Phase
from jina_data.train.convert import convert, is_parquet
from jina_data.train.texts import check_not_empty

Roles = Mapping[str, tuple[str, ...]]

_URLS = ("datasets:", "hf://", "s3://", "gs://", "http://", "https://", "file://")
_HELD_OUT = "test-"


@dataclass(frozen=True)
class TrainInput:
    """One input: its files, their run folder if any, and a name for messages and sources."""

    name: str
    files: tuple[Path, ...]
    run: Path | None = None
    given: InputRun | None = None
    """The run folder with its manifest, if it has one."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the first file."""
        return read_schema(self.files[0])

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the run folder; empty for plain files."""
        return _read_json(self.run / "manifest.json") if self.run else {}


def find_inputs(inputs: Sequence[str], spool: Path) -> list[TrainInput]:
    """Return the files of each input.

    Args:
        inputs: run folders, Parquet files, folders and patterns of them, or any other input of `clean`.
        spool: the folder in which inputs of other formats are written as Parquet, once.

    Raises:
        InputError: there are no files, or a file cannot be read.
    """
    entries = [_find(value, spool / f"input-{number:03d}.parquet") for number, value in enumerate(inputs)]
    names = [entry.name for entry in entries]
    # Names that occur twice are replaced by the full path.
    return [
        entry if names.count(entry.name) == 1 else replace(entry, name=value.rstrip("/"))
        for entry, value in zip(entries, inputs, strict=True)
    ]


def identify_inputs(inputs: Sequence[str]) -> list[list[Any]]:
    """Return the files of inputs with their sizes and modification times, for the fingerprint."""
    out: list[list[Any]] = []
    for value in inputs:
        path = Path(value).expanduser()
        files = [path] if path.is_file() else _files_below(path)
        files = files or _matching(path)
        out.append([value, *([str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files)])
    return out


def _files_below(path: Path) -> list[Path]:
    folder = path / "data" if (path / "data").is_dir() else path
    return sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []


def _matching(pattern: Path) -> list[Path]:
    paths = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return sorted(map(Path, paths))


def _find(value: str, spooled: Path) -> TrainInput:
    """Return the files of one input; other formats are converted to the file `spooled`."""
    path = Path(value).expanduser()
    if value.startswith(_URLS):
        return TrainInput(_stem(value), (convert(value, spooled),))
    if (given := InputRun.open(value)) is not None:
        return _find_run(given, spooled)
    if (path / "data").is_dir() and (path / "report.json").is_file():
        return _find_outputs(path, spooled)
    if path.is_dir():
        check_no_run_below(value)
        files = _parquet_in(path)
        is_usable = bool(files) and all(map(_is_utf8, files))
        return TrainInput(path.resolve().name, tuple(files) if is_usable else (convert(value, spooled),))
    files = [path] if path.exists() else _matching(path)
    if files and all(is_parquet(file) and _is_utf8(file) for file in files):
        return TrainInput(_stem(value), tuple(files))
    if not files:
        raise InputError(f"{value}: there is no such file or folder. Name a run folder, Parquet files, or a pattern")
    return TrainInput(_stem(value), (convert(value, spooled),))


def _find_run(given: InputRun, spooled: Path) -> TrainInput:
    """Return the files of a run; JSON lines are converted."""
    if not given.files:
        raise InputError(f"{given.name} is a run that kept no row, so there is nothing to train on; see its report")
    files = given.files
    if not all(map(is_parquet, files)):
        files = (convert(str(given.path / "data"), spooled),)
    return TrainInput(given.path.resolve().name, files, run=given.path, given=given)


def _find_outputs(path: Path, spooled: Path) -> TrainInput:
    """Return the files of a folder that has the outputs of a run without its manifest."""
    # negate writes its triplets twice: data/full has all columns, the other folders only the texts.
    data = path / "data" / "full" if (path / "data" / "full").is_dir() else path / "data"
    files = [file for file in _parquet_in(data) if not file.name.startswith(_HELD_OUT)]
    if not files and any((path / "data").glob("*.jsonl")):
        return TrainInput(path.name, (convert(str(path / "data"), spooled),), run=path)
    if not files:
        raise InputError(f"{path} is a run folder without rows in data/; expected Parquet files there")
    return TrainInput(path.resolve().name, tuple(files), run=path)


def _is_utf8(path: Path) -> bool:
    """Return whether the Parquet reader of Arrow can open a path."""
    return plain_name(str(path)) == str(path)


def _stem(value: str) -> str:
    return Path(value).name.partition(".")[0] or value


def _parquet_in(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if is_parquet(path) and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet file.

    Raises:
        InputError: it is not a readable Parquet file.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read as Parquet: {first_line(error)}. Copy it again, or leave it out"
        ) from None


def bind_input(entry: TrainInput, columns: Sequence[str], phase: Phase) -> tuple[Roles, str | None, str]:
    """Assign the columns of an input to roles, and find the source column.

    Returns:
        The columns by role (text, or anchor, positive and negative), the source column or None, and a message about
        inferred roles.

    Raises:
        UsageError: a column does not exist, or the roles do not fit the phase.
    """
    assigned = parse_roles(columns)
    carried = entry.given.roles_beside(assigned) if entry.given is not None else {}
    assigned = {**carried, **assigned}
    try:
        roles, source, message = bind_roles(entry.schema, assigned)
    except UsageError as error:
        hint = ". To choose rows by a label, clean the table first: jina-data clean has --where"
        raise UsageError(f"{entry.name}: {error}{hint if '--where' in str(error) else ''}") from None
    if "sentence1" in roles and "anchor" not in roles:
        roles |= {"anchor": roles["sentence1"], "positive": roles["sentence2"]}
    if source is None and entry.given is not None and entry.given.kind == "negate":
        source = "source"
    if not message and entry.given is not None:
        message = entry.given.notice(carried).removeprefix(f"{plain_name(entry.given.name)}: ")
    needed = {"mlm": ("text",), "pairs": ("anchor", "positive"), "triplets": ("anchor", "positive", "negative")}[phase]
    if phase == "mlm" and "text" not in roles:
        roles |= {"text": tuple(name for role in ("anchor", "positive") for name in roles.get(role, ()))}
    missing = [role for role in needed if not roles.get(role)]
    for field in entry.schema:
        if missing and field.name.lower().rstrip("s") == missing[0]:
            check_not_empty(entry.name, [entry.schema], {missing[0]: (field.name,)})
    if missing:
        raise UsageError(
            f"{entry.name}: {phase} needs the role {missing[0]}; the columns are {', '.join(entry.schema.names)}. "
            f"Name the column: -c {missing[0]}=COLUMN" + (", or train pairs" if missing == ["negative"] else "")
        )
    return {role: roles[role] for role in needed}, source, message


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
