"""Raw files of the sources as rows: what the readers of clean know, and four layouts that they do not.

Those are text tables of SNLI and MultiNLI (`.txt`), the one big object of COCO captions, the parallel files of Simple
Wikipedia (`normal.aligned` beside `simple.aligned`), and archives (`.zip`, `.tar.gz`).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.errors import InputError
from jina_data.read import ROW, InputFile, all_ranges, resolve_inputs, sample_schema
from jina_data.read.inputs import HUB, format_of
from jina_data.read.streams import translate_errors

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
NORMAL, SIMPLE = "normal.aligned", "simple.aligned"
CHUNK_CHARS = 2**20
_ANNOTATIONS = re.compile(r'(?<!\\)"annotations"\s*:\s*\[')
_TO_OBJECT = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Row:
    """One row of a raw file: the place, as `file:row` counted from 0, and its values; None where it has none."""

    place: str
    values: Mapping[str, Any] | None
    error: str = ""
    """Why there are no values."""


@dataclass(frozen=True)
class Table:
    """A raw file with its columns; nested ones are named with a point, as `graph.sentence`."""

    name: str
    columns: tuple[str, ...]
    file: Path | InputFile

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Yield the rows, with these columns alone."""
        if isinstance(self.file, InputFile):
            return _known_rows(self.file, self.name, columns)
        name = _bare(self.file.name)
        if name.endswith(".txt"):
            return _text_rows(self.file, self.name, columns)
        return _caption_rows(self.file, self.name) if name.endswith(".json") else _aligned_rows(self.file, self.name)


def open_tables(given: str, scratch: Path) -> Iterator[Table]:
    """Yield the tables that a path, folder, pattern, archive, URL or `datasets:ID` names.

    Archives are unpacked into `scratch`, one at a time; of an archive only the training part is taken where it has one.

    Raises:
        InputError: there is nothing, or it is of no known format.
    """
    path = Path(given).expanduser()
    if given.startswith(HUB) or "://" in given:
        files = resolve_inputs([given])
        yield from (_known(file, file.name) for file in files)
    elif path.is_file() and path.name.lower().endswith(ARCHIVES):
        with _unpacked(path, scratch) as members:
            for name, member in members:
                yield _table(member, f"{path.name}:{name}")
    elif path.is_dir() and (found := _special_files(path)):
        yield from (_table(file, file.name) for file in found)
    elif path.is_file():
        yield _table(path, path.name)
    else:
        run = path / "data" if (path / "manifest.json").is_file() and (path / "data").is_dir() else None
        yield from (_known(file, file.name.rsplit("/", 1)[-1]) for file in resolve_inputs([str(run or given)]))


def _special_files(folder: Path) -> list[Path]:
    """Return the files of a folder that only this module reads: text tables and aligned files."""
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    aligned = [path for path in inside if _bare(path.name) == NORMAL]
    tables = [path for path in inside if _bare(path.name).endswith(".txt") and _is_text_table(path)]
    known = [path for path in inside if format_of(path.name)]
    return aligned or ([] if known else tables)


def _table(path: Path, name: str) -> Table:
    bare = _bare(path.name)
    if bare == SIMPLE:
        path = _sibling(path, SIMPLE, NORMAL)
        bare = NORMAL
    if bare == NORMAL:
        return Table(name, ("title", "normal", "simple"), path)
    if bare.endswith(".txt"):
        with _text(path) as lines:
            return Table(name, tuple(lines.readline().rstrip("\r\n").lstrip("\ufeff").split("\t")), path)
    if bare.endswith(".json") and _has_annotations(path):
        return Table(name, ("image_id", "id", "caption"), path)
    return _known(resolve_inputs([str(path)])[0], name)


def _known(file: InputFile, name: str) -> Table:
    columns: list[str] = []
    for field in sample_schema(file):
        if pa.types.is_struct(field.type):
            columns += [f"{field.name}.{child.name}" for child in field.type]
        columns.append(field.name)
    return Table(name, tuple(columns), file)


def _known_rows(file: InputFile, name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a format that clean reads, and the records that cannot be rows."""
    schema = sample_schema(file)
    start = 0
    for part in all_ranges(file, schema):
        taken = {column: _column(part.rows, column) for column in columns}
        numbers = part.rows.column(ROW).to_pylist()
        for index, row in enumerate(numbers):
            yield Row(f"{name}:{start + row}", {column: values[index] for column, values in taken.items()})
        yield from (Row(f"{name}:{start + bad.row}", None, bad.error) for bad in part.unreadable)
        start += part.row_count


def _column(rows: pa.Table, name: str) -> list[Any]:
    parent, _, child = name.partition(".")
    if name in rows.column_names:
        return list(rows.column(name).to_pylist())
    if parent not in rows.column_names:
        return [None] * rows.num_rows
    return list(pc.struct_field(rows.column(parent), child).to_pylist())


def _text_rows(path: Path, name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table with tabs, without quoting: its first line names the columns."""
    with _text(path) as lines:
        header = lines.readline().rstrip("\r\n").lstrip("\ufeff").split("\t")
        places = {column: header.index(column) for column in columns}
        needed = max(places.values(), default=0) + 1
        for number, line in enumerate(_lines(lines)):
            cells = line.split("\t")
            if len(cells) < needed:
                yield Row(f"{name}:{number}", None, f"{len(cells)} columns, expected {len(header)}")
            else:
                yield Row(f"{name}:{number}", {column: cells[place] for column, place in places.items()})


def _aligned_rows(path: Path, name: str) -> Iterator[Row]:
    """Yield sentences with their simple ones: line N of one file goes with line N of the other."""
    other = _sibling(path, NORMAL, SIMPLE)
    with _text(path) as normals, _text(other) as simples:
        simple_lines = _lines(simples)
        number = -1
        for number, line in enumerate(_lines(normals)):
            beside = next(simple_lines, None)
            if beside is None:
                raise InputError(
                    f"{other}: it ends before line {number + 1:,}, which {path.name} has. Fetch both anew."
                )
            normal, simple = line.split("\t"), beside.split("\t")
            place = f"{name}:{number}"
            if len(normal) != 3 or len(simple) != 3:
                yield Row(place, None, "expected title, paragraph and sentence with tabs between them")
            else:
                yield Row(place, {"title": normal[0], "normal": normal[2], "simple": simple[2]})
        if next(simple_lines, None) is not None:
            raise InputError(f"{path}: it ends after line {number + 1:,}, but {other.name} goes on. Fetch both anew.")


def _caption_rows(path: Path, name: str) -> Iterator[Row]:
    """Yield the annotations of a COCO captions file, one at a time: the whole file would not fit everywhere."""
    decode = json.JSONDecoder().raw_decode
    with _text(path) as text:
        buffer, at = _find_annotations(text, name), 0
        number = 0
        while True:
            at = _TO_OBJECT.match(buffer, at).end()  # type: ignore[union-attr]
            if buffer.startswith("]", at):
                return
            try:
                value, end = decode(buffer, at)
            except ValueError:
                more = text.read(CHUNK_CHARS)
                if not more:
                    raise InputError(
                        f"{name}: the list of annotations breaks off after {number:,} captions. Fetch the file again."
                    ) from None
                buffer, at = buffer[at:] + more, 0
                continue
            at = end
            yield Row(f"{name}:{number}", value if isinstance(value, dict) else None, "not an object")
            number += 1


def _find_annotations(text: TextIO, name: str) -> str:
    """Return what stands behind the bracket that opens the list of annotations, so far as it was read."""
    buffer = ""
    while chunk := text.read(CHUNK_CHARS):
        buffer += chunk
        if found := _ANNOTATIONS.search(buffer):
            return buffer[found.end() :]
        buffer = buffer[-100:]
    raise InputError(f'{name}: it has no list "annotations"; expected a captions file of COCO.')


def _has_annotations(path: Path) -> bool:
    """Tell whether a JSON file is one object that begins like those of COCO."""
    with _text(path) as text:
        head = text.read(CHUNK_CHARS).lstrip("\ufeff \r\n\t")
    return head.startswith("{") and re.match(r'\{\s*"(info|images|licenses|annotations|type)"\s*:', head) is not None


def _is_text_table(path: Path) -> bool:
    with _text(path) as text:
        return "gold_label" in text.readline().split("\t")


def _bare(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _sibling(path: Path, own: str, other: str) -> Path:
    beside = path.with_name(re.sub(re.escape(own), other, path.name, flags=re.IGNORECASE))
    if not beside.is_file():
        raise InputError(f"{path}: {beside.name} is not beside it; the two belong together. Put it there.")
    return beside


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """Open a text, plain or .gz, by its first bytes; every failure names it."""
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
    """Unpack the wanted members of an archive, each when it is asked for, and remove them in the end."""
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
        wanted = wanted_members(names)
        if not wanted:
            raise InputError(f"{path}: none of its {len(names)} files is of a known format; one is {names[:1]}.")
        yield _extracted(opened, names, wanted, scratch)


def _extracted(opened: Any, names: Sequence[str], wanted: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    for name in wanted:
        written = []
        beside = re.sub(NORMAL, SIMPLE, name) if NORMAL in name else None
        for one in [name] if beside is None or beside not in names else [name, beside]:
            target = scratch / PurePosixPath(one).name
            with opened(one) as stored, target.open("wb") as sink:
                while chunk := stored.read(2**20):
                    sink.write(chunk)
            written.append(target)
        try:
            yield PurePosixPath(name).name, written[0]
        finally:
            for target in written:
                target.unlink(missing_ok=True)


def wanted_members(names: Sequence[str]) -> list[str]:
    """Return the members of an archive to read: of a known format, JSON lines before text, train before the rest."""
    shown = [name for name in names if not any(part.startswith((".", "__")) for part in name.split("/"))]
    aligned = [name for name in shown if _bare(name).endswith(NORMAL)]
    captions = [name for name in shown if PurePosixPath(name).name.startswith("captions_")]
    tables = [name for name in shown if format_of(name)]
    texts = [name for name in shown if _bare(name).endswith(".txt") and "readme" not in name.lower()]
    found = aligned or captions or tables or texts
    training = [name for name in found if "train" in PurePosixPath(name).name.lower()]
    return sorted(training or [name for name in found if "test" not in PurePosixPath(name).name.lower()])
