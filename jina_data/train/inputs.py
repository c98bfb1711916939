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

from jina_data.errors import InputError, UsageError
from jina_data.folder import whole_path
from jina_data.roles import bind_roles, parse_roles
from jina_data.train.settings import Phase

Roles = Mapping[str, tuple[str, ...]]

_PARQUET = (".parquet", ".pq")
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
        return Found(_stem(given), (_spool(given, spooled),))
    if (path / "data").is_dir() and any((path / name).is_file() for name in ("manifest.json", "report.json")):
        # negate writes its triplets twice: with all that is known of them, and bare.
        data = path / "data" / "full" if (path / "data" / "full").is_dir() else path / "data"
        files = [file for file in _parquet_in(data) if not file.name.startswith(_HELD_OUT)]
        if not files and any((path / "data").glob("*.jsonl")):
            return Found(path.name, (_spool(str(path / "data"), spooled),), run=path)
        return Found(path.resolve().name, _some(files, given), run=path)
    if path.is_dir():
        files = _parquet_in(path)
        return Found(path.resolve().name, tuple(files) or (_spool(given, spooled),))
    files = [path] if path.exists() else _matching(path)
    if files and all(file.suffix in _PARQUET for file in files):
        return Found(_stem(given), tuple(files))
    if not files:
        raise InputError(f"{given}: there is no such file or folder. Name a run folder, Parquet files, or a pattern")
    return Found(_stem(given), (_spool(given, spooled),))


def _stem(given: str) -> str:
    return Path(given).name.partition(".")[0] or given


def _some(files: Sequence[Path], given: str) -> tuple[Path, ...]:
    if not files:
        raise InputError(f"{given} is a run folder without rows in data/; expected Parquet files there")
    return tuple(files)


def _parquet_in(folder: Path) -> list[Path]:
    inside = (path for path in folder.rglob("*") if path.suffix in _PARQUET and path.is_file())
    return sorted(path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet file.

    Raises:
        InputError: it is none.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}. Copy it anew, or leave it out") from None


def _spool(given: str, target: Path) -> Path:
    """Write an input of another format as Parquet, whole or not at all; one that is there already is taken."""
    if target.exists():
        return target
    from jina_data.read import conform, parse_range, resolve_inputs, sample_schema, split, stream_ranges, unite_schemas

    files = resolve_inputs([given])
    schema = unite_schemas([(file.name, sample_schema(file)) for file in files])
    with whole_path(target) as temporary, pq.ParquetWriter(temporary, schema) as sink:
        for file in files:
            specs = split(file, schema)
            ranges = (
                stream_ranges(file, schema, None, 0)
                if specs is None
                else (parse_range(file, spec, schema) for spec in specs)
            )
            for one in ranges:
                sink.write_table(
                    conform(one.rows.select([n for n in one.rows.column_names if n in schema.names]), schema)
                )
    return target


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


def run_sources(found: Found) -> list[str] | None:
    """Return the source of each row of a run folder's data, from its ledger; None where the run has but one.

    Raises:
        InputError: ledger and data disagree.
    """
    ledger = found.run / "ledger" if found.run else None
    if ledger is None or not ledger.is_dir() or len(_read_json(ledger.parent / "report.json").get("sources", ())) < 2:
        return None
    sources: list[str] = []
    for file in _parquet_in(ledger):
        rows = pq.read_table(file, columns=["kept", "source"])
        sources += rows.filter(rows["kept"])["source"].to_pylist()
    n_rows = sum(pq.read_metadata(file).num_rows for file in found.files)
    if len(sources) != n_rows:
        raise InputError(
            f"{found.run}: the ledger keeps {len(sources):,} rows and data/ holds {n_rows:,}. Clean anew, or name the "
            "files in data/ instead of the folder"
        )
    stems = {source: _stem(source) for source in dict.fromkeys(sources)}
    is_clear = len(set(stems.values())) == len(stems)
    return [stems[source] for source in sources] if is_clear else sources


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
