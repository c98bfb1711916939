"""Resolves inputs to a list of files: expands folders, patterns and URLs, and detects formats and dialects."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jina_data.errors import InputError
from jina_data.read import remote
from jina_data.read.columnar import arrow, parquet
from jina_data.read.csv_format import delimited
from jina_data.read.encoding import (
    CHUNK_BYTES,
    UTF8,
    check_utf8,
    encoding_by_content,
    encoding_by_mark,
    is_same_encoding,
)
from jina_data.read.files.compression import MAX_LAYERS, compression_of
from jina_data.read.files.content import HEAD_BYTES, binary_format, check_binary, check_content, text_format
from jina_data.read.files.folders import data_files, format_of, partition_of, with_types
from jina_data.read.json_format.layout import choose_layout
from jina_data.read.model import DETECTED, SAMPLE_BYTES, InputFile
from jina_data.read.names import replaced_names
from jina_data.read.options import InputOptions
from jina_data.read.ranges import sample_schema
from jina_data.read.streams import ByteSource, translate_errors
from jina_data.read.text_lines import table_format

SUPPORTED = (
    ".parquet, .jsonl, .json, .csv, .tsv, .txt, .arrow or .feather, optionally with .gz, .zst, .xz, .bz2 or .zip after "
    "it"
)
HUB = "datasets:"

MAX_RENAMED_FILES = 100
"""Files of Parquet and Arrow whose names of columns are compared with the usable ones, for notes."""

CHECKED_BYTES = 2**26
"""Bytes of a compressed or remote file whose encoding is checked first; a local file is checked to its end."""


def resolve_inputs(inputs: Sequence[str | InputFile], settings: InputOptions = DETECTED) -> list[InputFile]:
    """Return the files of inputs, in the order of the inputs; those of a folder or pattern are sorted.

    `settings` are what is known about the files; the rest is detected. An input file stands for itself.

    Raises:
        InputError: an input does not exist, has no files, names a file a second time, or has an unknown format.
        MissingExtraError: the package that reads this kind of URL is not installed.
    """
    files: list[InputFile] = []
    sources: dict[str, str] = {}
    for source in inputs:
        if isinstance(source, InputFile):
            if source.name in sources:
                raise InputError(f"two inputs have the name {source.name!r}. Give each table another name.")
            sources[source.name] = source.name
            files.append(_resolve_file(replace(source, index=len(files), settings=settings)))
            continue
        for name in _expand(source, settings):
            file_id = name if name.startswith(HUB) or remote.is_url(name) else os.path.realpath(name)
            if file_id in sources:
                raise InputError(
                    f"{name} is named twice: by {sources[file_id]!r} and by {source!r}. "
                    "Its rows would be counted twice. Name it once."
                )
            sources[file_id] = source
            files.append(_resolve(name, len(files), settings))
    if not files:
        raise InputError("no input was named. Name a file, a folder, a pattern or a URL.")
    return with_types(files)


def input_notes(files: Sequence[InputFile]) -> list[str]:
    """Return what was detected in files and is unusual, a sentence for each; alike ones of many files are one."""
    names: dict[str, list[str]] = {}
    renamed = {file.index: _renamed_columns(file) for file in _columnar(files)[:MAX_RENAMED_FILES]}
    for file in files:
        encoding = [f"encoding {file.option('encoding')}"] if file.option("encoding") else []
        records = file.option("records") if file.settings.records is None else ""
        path = [f"records {records} (others: --records PATH)"] if records else []
        layout = ["JSON by columns"] if file.option("orientation") else []
        for note in [*encoding, *path, *layout, *file.notes, *renamed.get(file.index, [])]:
            names.setdefault(note, []).append(file.name)
    return [f"{shown[0]}{f' and {len(shown) - 1} more' if shown[1:] else ''}: {note}" for note, shown in names.items()]


def _columnar(files: Sequence[InputFile]) -> list[InputFile]:
    return [file for file in files if file.format in ("parquet", "arrow")]


def _renamed_columns(file: InputFile) -> list[str]:
    return replaced_names((parquet if file.format == "parquet" else arrow).stored_names(file))


def _expand(source: str, settings: InputOptions) -> list[str]:
    if source.startswith(HUB):
        return [source]
    if source.startswith("file://"):
        source = source.removeprefix("file://")
    if remote.is_url(source):
        return _expand_url(source, settings)
    return _expand_path(str(Path(source).expanduser()), settings)


def _expand_url(source: str, settings: InputOptions) -> list[str]:
    if remote.has_glob(source):
        return _supported_files(source, remote.files_matching(source), settings, is_folder=False)
    files = None if format_of(source) else remote.files_under(source)
    return [source] if files is None else _supported_files(source, files, settings, is_folder=True)


def _expand_path(source: str, settings: InputOptions) -> list[str]:
    path = Path(source)
    if path.is_dir():
        return _supported_files(source, sorted(_walk(source, set())), settings, is_folder=True)
    if path.exists():
        return [source]
    if not glob.has_magic(source):
        raise InputError(f"{source}: no such file or folder (the current folder is {Path.cwd()}). Check the path.")
    names: dict[str, str] = {}
    for match in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
        files = sorted(_walk(match, set())) if Path(match).is_dir() and "**" not in source else [match]
        for name in files:
            if Path(name).is_file():
                names.setdefault(os.path.realpath(name), name)
    return _supported_files(source, list(names.values()), settings, is_folder=False)


def _supported_files(source: str, names: list[str], settings: InputOptions, *, is_folder: bool) -> list[str]:
    read = remote.read_url if remote.is_url(source) else (lambda name: Path(name).read_bytes())
    if settings.format is not None and names and not is_folder:
        return names
    supported = data_files(source, names, read, is_folder=is_folder)
    if supported or (settings.format is not None and names):
        return supported or names
    if names:
        raise InputError(
            f"{source}: none of its {len(names)} files has a known format (for example {names[0]}). "
            f"Expected {SUPPORTED}. Convert or rename the files, or set their format: --input-format."
        )
    raise InputError(f"{source}: no file found. Check the path or pattern.")


def _walk(folder: str, ancestors: set[str]) -> Iterator[str]:
    """Yield the files below a folder; links to folders are followed, except to a folder above them."""
    real_path = os.path.realpath(folder)
    if real_path in ancestors:
        return
    with translate_errors(folder):
        entries = list(os.scandir(folder))
    for entry in entries:
        if remote.is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, ancestors | {real_path})
        elif entry.is_file():
            yield entry.path


def _resolve(name: str, index: int, settings: InputOptions) -> InputFile:
    if name.startswith(HUB):
        from jina_data.read import hub

        return replace(hub.resolve(name, index), settings=settings)
    file = InputFile(index, name, "", settings=settings)
    if file.is_local:
        with translate_errors(name):
            stat = Path(name).stat()
        file = replace(file, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    else:
        size, version = remote.stat_url(name)
        file = replace(file, size=size, etag=version)
    return _with_partition(_resolve_file(file))


def _resolve_file(file: InputFile) -> InputFile:
    """Return a file with what its content tells: compression, format, and the options of the format.

    Raises:
        InputError: it holds no data, or its format is not known.
    """
    file, head, member = _with_compression(file)
    settings = file.settings
    is_set = settings.format is not None or settings.header is False or settings.column_names != ()
    check_content(file.name, head, is_set=is_set)
    found = binary_format(head)
    if settings.format and found and settings.format != found:
        raise InputError(
            f"{file.name}: this is {'a Parquet' if found == 'parquet' else 'an Arrow'} file, but its format is set to "
            f"{settings.format}. Leave out --input-format, or set it to {found}."
        )
    file_format = settings.format or found or file.format or _text_format(file, head, member)
    if not head and file_format in (None, "parquet", "arrow"):
        raise InputError(f"{file.name}: the file is empty (0 bytes). Fetch or write it again, or leave it out.")
    if file_format is None:
        raise InputError(
            f"{file.name}: unknown file format. Expected {SUPPORTED}. "
            "Convert or rename the file, or set its format: --input-format."
        )
    file = replace(file, format=file_format)
    if file_format not in ("parquet", "arrow"):
        return _resolve_text(file)
    check_binary(file.name, head, file_format, is_set=settings.format is not None)
    return file


def _with_compression(file: InputFile) -> tuple[InputFile, bytes, str | None]:
    """Return a file with its compression, its first decompressed bytes, and its name in a zip archive."""
    layers: list[str] = []
    member: str | None = None
    while True:
        with ByteSource(file) as source:
            head = source.read(HEAD_BYTES)
            member = source.member or member
        compression = compression_of(head)
        if compression is None or len(layers) == MAX_LAYERS:
            return file, head, member
        layers.append(compression)
        file = replace(file, compression="+".join(layers))


def _text_format(file: InputFile, head: bytes, member: str | None) -> str | None:
    """Return the format by the suffix of the zip member or of the file, unless the content is certainly JSON."""
    by_name = (format_of(member) if member else None) or format_of(file.name)
    if by_name in (None, "csv", "tsv", "text") and text_format(head, is_named=by_name is not None):
        return "json"
    return by_name


def _with_partition(file: InputFile) -> InputFile:
    """Return a file with the columns in the names of its folders; a column of the file itself wins."""
    partition = partition_of(file.name)
    if not partition:
        return file
    names = set(sample_schema(file).names)
    notes = [
        f"column {name} is in the file; the name of the folder is not used" for name, _ in partition if name in names
    ]
    kept = tuple(pair for pair in partition if pair[0] not in names)
    return replace(file, partition=kept).with_notes(notes)


def _with_encoding(file: InputFile) -> InputFile:
    """Return a text file with its encoding, unless it is UTF-8.

    Raises:
        InputError: it is not UTF-8, has no byte order mark, and no encoding is set.
    """
    encoding = file.settings.encoding
    notes: list[str] = []
    with ByteSource(file) as source:
        head = source.read(4)
        if encoding is not None:
            found = encoding_by_content(head + source.read(HEAD_BYTES))
            if found is not None and not is_same_encoding(found, encoding):
                notes.append(f"the text seems to be {found}, but is read as {encoding}, which is set")
        elif (encoding := encoding_by_mark(head)) is None:
            is_cheap = file.is_local and file.compression is None
            check_utf8(file.name, _chunks(source, head, None if is_cheap else CHECKED_BYTES))
    options = () if encoding in (None, UTF8) else (("encoding", str(encoding)),)
    return replace(file, options=(*file.options, *options)).with_notes(notes)


def _chunks(source: ByteSource, head: bytes, n_bytes: int | None) -> Iterator[bytes]:
    part = head + source.read(CHUNK_BYTES)
    while part:
        yield part
        if n_bytes is not None and source.offset >= n_bytes:
            return
        part = source.read(CHUNK_BYTES)


def _resolve_text(file: InputFile) -> InputFile:
    file = _with_encoding(file)
    with ByteSource(file) as source:
        head = source.read(SAMPLE_BYTES)
        at_end = not source.read(1)
    if file.format == "text":
        file = replace(file, format=_format_of_text(file, head, at_end=at_end))
    if file.format == "text":
        return file
    if file.format in ("csv", "tsv"):
        dialect, notes = delimited.resolve_dialect(head, at_end=at_end, file=file)
        return replace(file, options=(*file.options, *dialect.items())).with_notes(notes)
    found = choose_layout(file, head, at_end=at_end)
    earlier = [option for option in file.options if option not in found.options]
    return replace(found, options=(*earlier, *found.options))


def _format_of_text(file: InputFile, head: bytes, *, at_end: bool) -> str:
    """Return the format of a text file: lines, or a table if it looks like one or if an option of tables is set."""
    settings = file.settings
    if settings.format is not None:
        return "text"
    if settings.delimiter is not None:
        return "tsv" if settings.delimiter == "\t" else "csv"
    found = table_format(head, at_end=at_end)
    is_table = settings.header is not None or settings.column_names or settings.quote or settings.escape
    return found or ("csv" if is_table else "text")
