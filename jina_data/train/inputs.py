"""What the user named, as Parquet files with roles: run folders, Parquet, and whatever else `clean` reads."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import InputError, UsageError, first_line
from jina_data.roles import bind_roles, parse_roles
from jina_data.train.config import Phase
from jina_data.train.convert import convert, is_parquet

Roles = Mapping[str, tuple[str, ...]]

_URLS = ("datasets:", "hf://", "s3://", "gs://", "http://", "https://", "file://")
_HELD_OUT = "test-"


@dataclass(frozen=True)
class Found:
    """One input: its files, the run folder they are of, and a name for messages and sources."""

    name: str
    files: tuple[Path, ...]
    run: Path | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns of its first file."""
        return read_schema(self.files[0])

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run tells of itself; nothing for plain files."""
        return _read_json(self.run / "manifest.json") if self.run else {}


def find_inputs(inputs: Sequence[str], spool: Path) -> list[Found]:
    """Return what each input is.

    Args:
        inputs: run folders, Parquet files, folders and patterns of them, or anything else that `clean` reads.
        spool: where inputs of other formats are written as Parquet, once.

    Raises:
        InputError: there is nothing, or a file cannot be read.
    """
    found = [_find(given, spool / f"input-{number:03d}.parquet") for number, given in enumerate(inputs)]
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else Found(given.rstrip("/"), one.files, one.run)
        for one, given in zip(found, inputs, strict=True)
    ]


def identities(inputs: Sequence[str]) -> list[list[Any]]:
    """Return what tells inputs from others of the same name: the files with their sizes and times of change."""
    out: list[list[Any]] = []
    for given in inputs:
        path = Path(given).expanduser()
        files = [path] if path.is_file() else _files_below(path)
        files = files or _matching(path)
        out.append([given, *([str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files)])
    return out


def _files_below(path: Path) -> list[Path]:
    folder = path / "data" if (path / "data").is_dir() else path
    return sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []


def _matching(pattern: Path) -> list[Path]:
    found = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return sorted(map(Path, found))


def _find(given: str, spooled: Path) -> Found:
    path = Path(given).expanduser()
    if given.startswith(_URLS):
        return Found(_stem(given), (convert(given, spooled),))
    if (path / "data").is_dir() and any((path / name).is_file() for name in ("manifest.json", "report.json")):
        # negate writes its triplets twice: with all that is known of them, and bare.
        data = path / "data" / "full" if (path / "data" / "full").is_dir() else path / "data"
        files = [file for file in _parquet_in(data) if not file.name.startswith(_HELD_OUT)]
        if not files and any((path / "data").glob("*.jsonl")):
            return Found(path.name, (convert(str(path / "data"), spooled),), run=path)
        return Found(path.resolve().name, _some(files, given), run=path)
    if path.is_dir():
        files = _parquet_in(path)
        return Found(path.resolve().name, tuple(files) or (convert(given, spooled),))
    files = [path] if path.exists() else _matching(path)
    if files and all(map(is_parquet, files)):
        return Found(_stem(given), tuple(files))
    if not files:
        raise InputError(f"{given}: there is no such file or folder. Name a run folder, Parquet files, or a pattern")
    return Found(_stem(given), (convert(given, spooled),))


def _stem(given: str) -> str:
    return Path(given).name.partition(".")[0] or given


def _some(files: Sequence[Path], given: str) -> tuple[Path, ...]:
    if not files:
        raise InputError(f"{given} is a run folder without rows in data/; expected Parquet files there")
    return tuple(files)


def _parquet_in(folder: Path) -> list[Path]:
    inside = (path for path in folder.rglob("*") if is_parquet(path) and path.is_file())
    return sorted(path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet file.

    Raises:
        InputError: it is none.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read as Parquet: {first_line(error)}. Copy it anew, or leave it out"
        ) from None


def bind(found: Found, columns: Sequence[str], phase: Phase) -> tuple[Roles, str | None, str]:
    """Settle which columns play which role, and which one names the source.

    Returns:
        The columns by role (text, or anchor, positive and negative), the source column or None, and what was guessed.

    Raises:
        UsageError: a column is not there, or the roles do not fit the phase.
    """
    wanted = parse_roles(columns)
    manifest = found.manifest
    if not any(role != "source" for role in wanted) and isinstance(manifest.get("roles"), dict):
        told = {role: tuple(names) for role, names in manifest["roles"].items() if names}
        wanted = {**told, **wanted}
    roles, source, said = _bound(found, wanted)
    if "sentence1" in roles and "anchor" not in roles:
        roles |= {"anchor": roles["sentence1"], "positive": roles["sentence2"]}
    if source is None and manifest.get("kind") == "negate" and "source" in found.schema.names:
        source = "source"
    needed = {"mlm": ("text",), "pairs": ("anchor", "positive"), "triplets": ("anchor", "positive", "negative")}[phase]
    if phase == "mlm" and "text" not in roles:
        roles |= {"text": tuple(name for role in ("anchor", "positive") for name in roles.get(role, ()))}
    missing = [role for role in needed if not roles.get(role)]
    if missing:
        raise UsageError(
            f"{found.name}: {phase} needs the role {missing[0]}, and the table has {', '.join(found.schema.names)}. "
            f"Name its column: -c {missing[0]}=COLUMN" + (", or train pairs" if missing == ["negative"] else "")
        )
    return {role: roles[role] for role in needed}, source, said


def _bound(found: Found, wanted: dict[str, tuple[str, ...]]) -> tuple[dict[str, tuple[str, ...]], str | None, str]:
    try:
        return bind_roles(found.schema, wanted)
    except UsageError as error:
        hint = ". To choose rows by a label, clean the table first: jina-data clean has --where"
        raise UsageError(f"{found.name}: {error}{hint if '--where' in str(error) else ''}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
