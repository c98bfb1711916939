"""What the user named, as a list of files: folders, patterns and URLs expanded, formats and dialects settled."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from jina_data.errors import InputError
from jina_data.read import delimited, json_text, remote
from jina_data.read.model import SAMPLE_BYTES, InputFile
from jina_data.read.streams import Source, compression_of, failures_told, open_stored

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
PACKED = (".gz", ".zst", ".zstd")
KNOWN = ".parquet, .jsonl, .json, .csv, .tsv, each plain or with .gz or .zst behind it"
HUB = "datasets:"


def resolve_inputs(inputs: Sequence[str]) -> list[InputFile]:
    """Return the files that inputs name, in the order given; folders and patterns sorted.

    Raises:
        InputError: something is missing, empty, named twice or of an unknown format.
        MissingExtraError: a package that reads this kind of address is not installed.
    """
    files: list[InputFile] = []
    seen: dict[str, str] = {}
    for given in inputs:
        for name in _expand(given):
            identity = name if name.startswith(HUB) or remote.is_url(name) else os.path.realpath(name)
            if identity in seen:
                raise InputError(
                    f"{name} is named twice: by {seen[identity]!r} and by {given!r}. "
                    "Its rows would be counted twice: name it once."
                )
            seen[identity] = given
            files.append(_settle(name, len(files)))
    if not files:
        raise InputError("no input was named. Name a file, a folder, a pattern or a URL.")
    return files


def _expand(given: str) -> list[str]:
    if given.startswith(HUB):
        return [given]
    if given.startswith("file://"):
        given = given.removeprefix("file://")
    return _expand_url(given) if remote.is_url(given) else _expand_path(str(Path(given).expanduser()))


def _expand_url(given: str) -> list[str]:
    if remote.has_glob(given):
        return _usable(given, remote.files_matching(given))
    if format_of(given):
        return [given]
    below = remote.files_under(given)
    if below is None:
        raise _unknown(given)
    return _usable(given, below)


def _expand_path(given: str) -> list[str]:
    path = Path(given)
    if path.is_dir():
        return _usable(given, sorted(_walk(given, set())))
    if path.exists():
        if not format_of(given):
            raise _unknown(given)
        return [given]
    if not glob.has_magic(given):
        raise InputError(f"{given}: no such file or folder (the current folder is {Path.cwd()}). Check the path.")
    names: dict[str, str] = {}
    for found in sorted(glob.glob(given, recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute pattern)
        below = sorted(_walk(found, set())) if Path(found).is_dir() and "**" not in given else [found]
        for name in below:
            if Path(name).is_file():
                names.setdefault(os.path.realpath(name), name)
    return _usable(given, list(names.values()))


def _usable(given: str, names: list[str]) -> list[str]:
    usable = [name for name in names if format_of(name)]
    if usable:
        return usable
    if names:
        raise InputError(f"{given}: none of its {len(names)} files is of a known format ({KNOWN}); one is {names[0]}.")
    raise InputError(f"{given}: no file there. Check the path or pattern.")


def _walk(folder: str, above: set[str]) -> Iterator[str]:
    """Yield the files below a folder; links to folders are followed, but never in a circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with failures_told(folder):
        entries = list(os.scandir(folder))
    for entry in entries:
        if remote.is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, above | {real})
        elif format_of(entry.name):
            yield entry.path


def format_of(name: str) -> str | None:
    """Return the format that a name's suffix tells, None for an unknown one."""
    path = remote.path_of(name).lower()
    for packed in PACKED:
        path = path.removesuffix(packed)
    return FORMATS.get(PurePosixPath(path).suffix)


def _unknown(name: str) -> InputError:
    return InputError(f"{name}: the format is not known by its name. Expected {KNOWN}. Convert or rename the file.")


def _settle(name: str, index: int) -> InputFile:
    if name.startswith(HUB):
        from jina_data.read import hub

        return hub.settle(name, index)
    form = format_of(name)
    if form is None:
        raise _unknown(name)
    file = InputFile(index, name, form)
    if file.is_local:
        with failures_told(name):
            stat = Path(name).stat()
        file = replace(file, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    else:
        size, version = remote.stat_url(name)
        file = replace(file, size=size, etag=version)
    with failures_told(name), open_stored(file) as stored:
        file = replace(file, compression=compression_of(stored.read(4)))
    return file if form == "parquet" else _settle_text(file)


def _settle_text(file: InputFile) -> InputFile:
    with Source(file) as source:
        head = source.read(SAMPLE_BYTES)
        at_end = not source.read(1)
    if file.format in ("csv", "tsv"):
        return replace(file, options=tuple(delimited.settle(head, at_end=at_end, kind=file.format).items()))
    layout = json_text.layout_of(head)
    if file.format == "json":
        return replace(file, format="jsonl") if layout == "lines" else replace(file, options=(("layout", layout),))
    if layout == "array" and head.lstrip()[1:].lstrip()[:1] in (b"{", b""):
        raise InputError(f"{file.name}: expected one JSON object a line, found one JSON array. Rename it to .json.")
    return file
