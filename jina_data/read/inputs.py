"""Resolves inputs to a list of files: expands folders, patterns and URLs, and detects formats and dialects."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from jina_data.errors import InputError
from jina_data.read import delimited, json_layout, remote
from jina_data.read.model import DETECTED, SAMPLE_BYTES, InputFile
from jina_data.read.options import InputOptions
from jina_data.read.streams import ByteSource, compression_of, open_stored, translate_errors

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd")
SUPPORTED = ".parquet, .jsonl, .json, .csv or .tsv, optionally with .gz or .zst after it"
HUB = "datasets:"


def resolve_inputs(inputs: Sequence[str], settings: InputOptions = DETECTED) -> list[InputFile]:
    """Return the files of inputs, in the order of the inputs; those of a folder or pattern are sorted.

    `settings` are what is known about the files; the rest is detected.

    Raises:
        InputError: an input does not exist, has no files, names a file a second time, or has an unknown format.
        MissingExtraError: the package that reads this kind of URL is not installed.
    """
    files: list[InputFile] = []
    sources: dict[str, str] = {}
    for source in inputs:
        for name in _expand(source):
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
    return files


def _expand(source: str) -> list[str]:
    if source.startswith(HUB):
        return [source]
    if source.startswith("file://"):
        source = source.removeprefix("file://")
    return _expand_url(source) if remote.is_url(source) else _expand_path(str(Path(source).expanduser()))


def _expand_url(source: str) -> list[str]:
    if remote.has_glob(source):
        return _supported_files(source, remote.files_matching(source))
    if format_of(source):
        return [source]
    files = remote.files_under(source)
    if files is None:
        raise _unknown_format(source)
    return _supported_files(source, files)


def _expand_path(source: str) -> list[str]:
    path = Path(source)
    if path.is_dir():
        return _supported_files(source, sorted(_walk(source, set())))
    if path.exists():
        if not format_of(source):
            raise _unknown_format(source)
        return [source]
    if not glob.has_magic(source):
        raise InputError(f"{source}: no such file or folder (the current folder is {Path.cwd()}). Check the path.")
    names: dict[str, str] = {}
    for match in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
        files = sorted(_walk(match, set())) if Path(match).is_dir() and "**" not in source else [match]
        for name in files:
            if Path(name).is_file():
                names.setdefault(os.path.realpath(name), name)
    return _supported_files(source, list(names.values()))


def _supported_files(source: str, names: list[str]) -> list[str]:
    supported = [name for name in names if format_of(name)]
    if supported:
        return supported
    if names:
        raise InputError(
            f"{source}: none of its {len(names)} files has a known format (for example {names[0]}). "
            f"Expected {SUPPORTED}. Convert or rename the files."
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
        elif format_of(entry.name):
            yield entry.path


def format_of(name: str) -> str | None:
    """Return the format for the suffix of a name, None if it is unknown."""
    path = remote.path_of(name).lower()
    for suffix in COMPRESSED_SUFFIXES:
        path = path.removesuffix(suffix)
    return FORMATS.get(PurePosixPath(path).suffix)


def _unknown_format(name: str) -> InputError:
    return InputError(f"{name}: unknown file format. Expected {SUPPORTED}. Convert or rename the file.")


def _resolve(name: str, index: int, settings: InputOptions) -> InputFile:
    if name.startswith(HUB):
        from jina_data.read import hub

        return replace(hub.resolve(name, index), settings=settings)
    file_format = settings.format or format_of(name)
    if file_format is None:
        raise _unknown_format(name)
    file = InputFile(index, name, file_format, settings=settings)
    if file.is_local:
        with translate_errors(name):
            stat = Path(name).stat()
        file = replace(file, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    else:
        size, version = remote.stat_url(name)
        file = replace(file, size=size, etag=version)
    with translate_errors(name), open_stored(file) as stored:
        file = replace(file, compression=compression_of(stored.read(4)))
    return file if file_format == "parquet" else _resolve_text(file)


def _resolve_text(file: InputFile) -> InputFile:
    with ByteSource(file) as source:
        head = source.read(SAMPLE_BYTES)
        at_end = not source.read(1)
    if file.format in ("csv", "tsv"):
        return replace(file, options=tuple(delimited.choose_dialect(head, at_end=at_end, kind=file.format).items()))
    return json_layout.choose_layout(file, head, at_end=at_end)
