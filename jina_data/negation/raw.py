"""Reads the rows of raw source files: the formats of `jina_data.read`, and four more.

These are the text tables of SNLI and MultiNLI (`.txt`), the single JSON object of COCO captions, the parallel files of
Simple Wikipedia (`normal.aligned` and `simple.aligned`), and archives (`.zip`, `.tar.gz`).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.errors import InputError
from jina_data.read import ROW, InputFile, InputOptions, all_ranges, resolve_inputs, sample_schema
from jina_data.read.files.folders import is_table
from jina_data.read.inputs import HUB
from jina_data.read.model import DETECTED
from jina_data.read.streams import translate_errors
from jina_data.run.inputs import InputRun, RunInputs
from jina_data.run.names import plain_name

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
NORMAL, SIMPLE = "normal.aligned", "simple.aligned"
CHUNK_CHARS = 2**20
_ANNOTATIONS = re.compile(r'(?<!\\)"annotations"\s*:\s*\[')
_TO_OBJECT = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class RawRow:
    """A row of a raw file: its location, `file:row` counted from 0, and its values; None if it is unreadable."""

    location: str
    values: Mapping[str, Any] | None
    error: str = ""
    """Why the row is unreadable."""
    source: str | None = None
    """The source of the row in the ledger of the run that it is from."""


@dataclass(frozen=True)
class RawTable:
    """A raw file with its columns. The names of nested columns have a dot, as in `graph.sentence`."""

    name: str
    columns: tuple[str, ...]
    file: Path | InputFile
    run: InputRun | None = None
    """The run whose data this file is, if any."""
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    """The types of columns; those of text files are missing."""

    def rows(self, columns: Sequence[str]) -> Iterator[RawRow]:
        """Yield the rows with the given columns only."""
        if isinstance(self.file, InputFile):
            return _input_rows(self.file, self.name, columns)
        name = _plain_name(self.file.name)
        if name.endswith(".txt"):
            return _text_rows(self.file, self.name, columns)
        return _caption_rows(self.file, self.name) if name.endswith(".json") else _aligned_rows(self.file, self.name)


def open_tables(source: str, scratch: Path, settings: InputOptions = DETECTED) -> Iterator[RawTable]:
    """Yield the tables of a path, folder, pattern, archive, URL or `datasets:ID`.

    The files of an archive are unpacked into `scratch`, one at a time. If an archive has a training part, only that is
    read.

    Raises:
        InputError: there is no file, or its format is not known.
    """
    path = Path(source).expanduser()
    if source.startswith(HUB) or "://" in source:
        files = resolve_inputs([source], settings)
        yield from (_input_table(file, file.name) for file in files)
    elif path.is_file() and path.name.lower().endswith(ARCHIVES):
        with _unpacked(path, scratch) as members:
            for name, member in members:
                yield _table(member, f"{path.name}:{name}", settings)
    elif InputRun.open(source) is None and path.is_dir() and (special_files := _special_files(path)):
        yield from (_table(file, file.name, settings) for file in special_files)
    elif path.is_file():
        yield _table(path, path.name, settings)
    else:
        given = RunInputs.open([source])
        for file in resolve_inputs(given.names, settings):
            table = _input_table(file, file.name.rsplit("/", 1)[-1])
            yield replace(table, run=given.runs[0] if given.runs else None)


def _special_files(folder: Path) -> list[Path]:
    """Return the files of a folder that only this module reads: aligned files, or text tables without other formats."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    aligned = [path for path in files if _plain_name(path.name) == NORMAL]
    tables = [path for path in files if _plain_name(path.name).endswith(".txt") and _is_text_table(path)]
    has_inputs = any(is_table(path.name) for path in files)
    return aligned or ([] if has_inputs else tables)


def _table(path: Path, name: str, settings: InputOptions) -> RawTable:
    name, plain_suffix = plain_name(name), _plain_name(path.name)
    if plain_suffix == SIMPLE:
        path = _sibling(path, SIMPLE, NORMAL)
        plain_suffix = NORMAL
    if plain_suffix == NORMAL:
        return RawTable(name, ("title", "normal", "simple"), path)
    if plain_suffix.endswith(".txt"):
        with _open_text(path) as lines:
            return RawTable(name, tuple(lines.readline().rstrip("\r\n").lstrip("\ufeff").split("\t")), path)
    if plain_suffix.endswith(".json") and _has_annotations(path):
        return RawTable(name, ("image_id", "id", "caption"), path)
    return _input_table(resolve_inputs([str(path)], settings)[0], name)


def _input_table(file: InputFile, name: str) -> RawTable:
    schema = sample_schema(file)
    columns: list[str] = []
    for column in schema:
        if pa.types.is_struct(column.type):
            columns += [f"{column.name}.{child.name}" for child in column.type]
        columns.append(column.name)
    return RawTable(plain_name(name), tuple(columns), file, types=dict(zip(schema.names, schema.types, strict=True)))


def _input_rows(file: InputFile, name: str, columns: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a file in a format of `jina_data.read`, and its unreadable records."""
    schema = sample_schema(file)
    start = 0
    for part in all_ranges(file, schema):
        values_by_column = {column: _column(part.rows, column) for column in columns}
        # Row numbers count from the start of the part, and skip unreadable records.
        for index, row in enumerate(part.rows.column(ROW).to_pylist()):
            values = {column: column_values[index] for column, column_values in values_by_column.items()}
            yield RawRow(f"{name}:{start + row}", values)
        yield from (RawRow(f"{name}:{start + bad.row}", None, bad.error) for bad in part.unreadable)
        start += part.row_count


def _column(rows: pa.Table, name: str) -> list[Any]:
    parent, _, child = name.partition(".")
    if name in rows.column_names:
        return list(rows.column(name).to_pylist())
    if parent not in rows.column_names:
        return [None] * rows.num_rows
    return list(pc.struct_field(rows.column(parent), child).to_pylist())


def _text_rows(path: Path, name: str, columns: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a tab-separated table without quoting; its first line has the column names."""
    with _open_text(path) as lines:
        header = lines.readline().rstrip("\r\n").lstrip("\ufeff").split("\t")
        positions = {column: header.index(column) for column in columns}
        min_cells = max(positions.values(), default=0) + 1
        for number, line in enumerate(_lines(lines)):
            cells = line.split("\t")
            if len(cells) < min_cells:
                yield RawRow(f"{name}:{number}", None, f"{len(cells)} columns, expected {len(header)}")
            else:
                yield RawRow(f"{name}:{number}", {column: cells[position] for column, position in positions.items()})


def _aligned_rows(path: Path, name: str) -> Iterator[RawRow]:
    """Yield pairs of a normal and a simple sentence: line N of one file and line N of the other."""
    other = _sibling(path, NORMAL, SIMPLE)
    with _open_text(path) as normals, _open_text(other) as simples:
        simple_lines = _lines(simples)
        number = -1
        for number, line in enumerate(_lines(normals)):
            simple_line = next(simple_lines, None)
            if simple_line is None:
                raise InputError(
                    f"{other}: it ends before line {number + 1:,}, but {path.name} has that line. Download both again."
                )
            normal, simple = line.split("\t"), simple_line.split("\t")
            location = f"{name}:{number}"
            if len(normal) != 3 or len(simple) != 3:
                yield RawRow(location, None, "expected title, paragraph and sentence, separated by tabs")
            else:
                yield RawRow(location, {"title": normal[0], "normal": normal[2], "simple": simple[2]})
        if next(simple_lines, None) is not None:
            raise InputError(
                f"{path}: it ends after line {number + 1:,}, but {other.name} has more lines. Download both again."
            )


def _caption_rows(path: Path, name: str) -> Iterator[RawRow]:
    """Yield the annotations of a COCO captions file one at a time, since the file may be larger than the memory.

    `buffer[offset:]` is the text that was read and not decoded yet. An annotation that does not decode is taken as
    incomplete, and the next chunk is read.
    """
    decode = json.JSONDecoder().raw_decode
    with _open_text(path) as text:
        buffer, offset = _find_annotations(text, name), 0
        number = 0
        while True:
            offset = _TO_OBJECT.match(buffer, offset).end()  # type: ignore[union-attr]
            if buffer.startswith("]", offset):
                return
            try:
                value, end = decode(buffer, offset)
            except ValueError:
                chunk = text.read(CHUNK_CHARS)
                if not chunk:
                    raise InputError(
                        f"{name}: the list of annotations ends after {number:,} captions without a closing bracket. "
                        "Download the file again."
                    ) from None
                buffer, offset = buffer[offset:] + chunk, 0
                continue
            offset = end
            yield RawRow(f"{name}:{number}", value if isinstance(value, dict) else None, "not an object")
            number += 1


def _find_annotations(text: TextIO, name: str) -> str:
    """Read up to the start of the list of annotations; return the text read after its opening bracket."""
    buffer = ""
    while chunk := text.read(CHUNK_CHARS):
        buffer += chunk
        if match := _ANNOTATIONS.search(buffer):
            return buffer[match.end() :]
        buffer = buffer[-100:]  # the key may be split between two chunks
    raise InputError(f'{name}: it has no list "annotations"; expected a captions file of COCO.')


def _has_annotations(path: Path) -> bool:
    """Return whether a JSON file is one object with a first key as in COCO files."""
    with _open_text(path) as text:
        head = text.read(CHUNK_CHARS).lstrip("\ufeff \r\n\t")
    return head.startswith("{") and re.match(r'\{\s*"(info|images|licenses|annotations|type)"\s*:', head) is not None


def _is_text_table(path: Path) -> bool:
    with _open_text(path) as text:
        return "gold_label" in text.readline().split("\t")


def _plain_name(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _sibling(path: Path, suffix: str, other_suffix: str) -> Path:
    sibling = path.with_name(re.sub(re.escape(suffix), other_suffix, path.name, flags=re.IGNORECASE))
    if not sibling.is_file():
        raise InputError(
            f"{path}: {sibling.name} is missing in the same folder; the two files belong together. Add it."
        )
    return sibling


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, plain or gzip by its first bytes; errors name the file."""
    with translate_errors(str(path)), contextlib.ExitStack() as stack:
        with path.open("rb") as stored:
            packed = stored.read(2) == b"\x1f\x8b"
        opened: Any = gzip.open if packed else open
        yield stack.enter_context(opened(path, "rt", encoding="utf-8", newline="\n"))


def _lines(lines: TextIO) -> Iterator[str]:
    for line in lines:
        yield line.rstrip("\r\n")


@contextlib.contextmanager
def _unpacked(path: Path, scratch: Path) -> Iterator[Iterator[tuple[str, Path]]]:
    """Yield an iterator that unpacks the members to read, one at a time, and removes each after its use."""
    with translate_errors(str(path)), contextlib.ExitStack() as stack:
        archive: Any
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            opened = archive.open
        else:
            archive = stack.enter_context(tarfile.open(path))
            names = [entry.name for entry in archive.getmembers() if entry.isfile()]
            opened = archive.extractfile
        selected = members_to_read(names)
        if not selected:
            raise InputError(f"{path}: none of its {len(names)} files has a known format; one is {names[:1]}.")
        yield _extracted(opened, names, selected, scratch)


def _extracted(opened: Any, names: Sequence[str], selected: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    for name in selected:
        paths = []
        sibling = re.sub(NORMAL, SIMPLE, name) if NORMAL in name else None
        for member in [name] if sibling is None or sibling not in names else [name, sibling]:
            path = scratch / PurePosixPath(member).name
            with opened(member) as stored, path.open("wb") as sink:
                while chunk := stored.read(2**20):
                    sink.write(chunk)
            paths.append(path)
        try:
            yield PurePosixPath(name).name, paths[0]
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


def members_to_read(names: Sequence[str]) -> list[str]:
    """Return the members of an archive to read: of the first known format, and the training part if there is one.

    The formats in order: aligned files, COCO captions, formats of `jina_data.read`, text tables.
    """
    visible = [name for name in names if not any(part.startswith((".", "__")) for part in name.split("/"))]
    aligned = [name for name in visible if _plain_name(name).endswith(NORMAL)]
    captions = [name for name in visible if PurePosixPath(name).name.startswith("captions_")]
    tables = [name for name in visible if is_table(name)]
    texts = [name for name in visible if _plain_name(name).endswith(".txt") and "readme" not in name.lower()]
    selected = aligned or captions or tables or texts
    training = [name for name in selected if "train" in PurePosixPath(name).name.lower()]
    return sorted(training or [name for name in selected if "test" not in PurePosixPath(name).name.lower()])
