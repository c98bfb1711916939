"""Chooses the data files of a folder, by suffixes and the lists of saved datasets; reads columns from folder names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from jina_data.errors import InputError
from jina_data.read import remote
from jina_data.read.files.compression import SUFFIXES
from jina_data.read.model import InputFile

FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), "arrow"),
    **dict.fromkeys((".jsonl", ".ndjson", ".jl", ".jsonlines"), "jsonl"),
    ".json": "json",
    **dict.fromkeys((".csv", ".psv"), "csv"),
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    ".txt": "text",
}

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

_STATE, _INFO, _DICT = "state.json", "dataset_info.json", "dataset_dict.json"
_DATASETS_CACHE = re.compile(r"cache-[0-9a-f]+(_\d+_of_\d+)?\.arrow")
_NO_DATA = re.compile(
    r"(?i)(dataset_infos?|dataset_dict)\.json|(read.?me|licen[cs]e|copying|notice|authors|changelog|changes|requirements"
    r"|robots|citation|contributing|manifest|(sha|md5)\w*(sums?)?|checksums?)([._-]\w+)?\.txt"
)
"""The names of files that accompany data."""

_FOLDER = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def format_of(name: str) -> str | None:
    """Return the format for the suffix of a name, None if it is unknown."""
    return FORMATS.get(PurePosixPath(_without_compression(name)).suffix)


def is_table(name: str) -> bool:
    """Return whether the suffix of a name is that of a format of tables, which text is not."""
    return format_of(name) not in (None, "text")


def _without_compression(name: str) -> str:
    path = remote.path_of(name).lower()
    while (shorter := PurePosixPath(path)).suffix in SUFFIXES:
        path = str(shorter.with_suffix(""))
    return path


def data_files(source: str, names: Sequence[str], read: Callable[[str], bytes], *, is_folder: bool) -> list[str]:
    """Return the files of a folder or pattern to read, in their order, from all of its files, sorted.

    Shards of saved datasets come in the order of their `state.json`. Text files count only without files of other
    formats, and compressed files without a further suffix only without any of them.
    """
    found = _SavedDatasets(source, names, read, is_folder=is_folder).files()
    candidates = [name for name in found if not _NO_DATA.fullmatch(_base(name))]
    for applies in (is_table, lambda name: format_of(name) == "text", _is_only_compressed):
        if chosen := [name for name in candidates if applies(name)]:
            return chosen
    return []


def _is_only_compressed(name: str) -> bool:
    path = PurePosixPath(remote.path_of(name).lower())
    return path.suffix in SUFFIXES and not PurePosixPath(_without_compression(name)).suffix


def _base(name: str) -> str:
    return PurePosixPath(remote.path_of(name)).name


class _SavedDatasets:
    """The folders of `Dataset.save_to_disk` and `DatasetDict.save_to_disk` among files."""

    def __init__(self, source: str, names: Sequence[str], read: Callable[[str], bytes], *, is_folder: bool) -> None:
        self.names = names
        self.read = read
        known = set(names)
        self.folders = {
            folder
            for name in names
            if (folder := name.removesuffix(f"/{_STATE}")) != name and f"{folder}/{_INFO}" in known
        }
        for name in names if is_folder else ():
            if name.endswith(f"/{_DICT}"):
                self._check_splits(source, name)

    def _check_splits(self, source: str, name: str) -> None:
        splits = self._json(name).get("splits")
        if isinstance(splits, list) and len(splits) > 1:
            folder = name.removesuffix(f"/{_DICT}")
            raise InputError(
                f"{source}: this is a saved dataset with several splits: {', '.join(map(str, splits))}. "
                f"Name one, for example {folder}/{splits[0]}"
            )

    def files(self) -> list[str]:
        """Return the files without those that datasets keeps for itself, and shards in their order."""
        files: list[str] = []
        done: set[str] = set()
        for name in self.names:
            folder = name.rpartition("/")[0]
            if folder in self.folders:
                if folder not in done:
                    files += self._shards(folder)
                    done.add(folder)
            elif not _DATASETS_CACHE.fullmatch(_base(name)):
                files.append(name)
        return files

    def _shards(self, folder: str) -> list[str]:
        name = f"{folder}/{_STATE}"
        state = self._json(name)
        if state.get("_indices_data_files"):
            raise InputError(
                f"{name}: the dataset was saved with its rows in another order, by an old version of datasets. "
                "Load it with datasets.load_from_disk, and save it again."
            )
        shards = [f"{folder}/{entry['filename']}" for entry in state.get("_data_files") or ()]
        if missing := sorted(set(shards) - set(self.names)):
            raise InputError(f"{name} lists {missing[0]}, which is missing. Copy the whole folder again.")
        return shards

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self.read(name))
        except ValueError as error:
            raise InputError(f"{name}: expected JSON: {error}. Copy the folder again.") from error
        return value if isinstance(value, dict) else {}


def partition_of(name: str) -> tuple[tuple[str, str | int | None], ...]:
    """Return the columns in the names of the folders of a path, such as `lang=en`; the last folder of a name counts."""
    columns: dict[str, str | int | None] = {}
    for part in remote.path_of(name).split("/")[:-1]:
        if found := _FOLDER.fullmatch(part):
            value = unquote(found[2])
            columns[unquote(found[1])] = None if value == NULL_PARTITION else value
    return tuple(columns.items())


def with_types(files: Sequence[InputFile]) -> list[InputFile]:
    """Return files whose columns from folder names are integers if all their values in all files are."""
    values: dict[str, list[str | int | None]] = {}
    for file in files:
        for name, value in file.partition:
            values.setdefault(name, []).append(value)
    numeric = {name for name, column in values.items() if all(value is None or _is_int(value) for value in column)}
    return [
        replace(file, partition=tuple((name, _typed(value, name in numeric)) for name, value in file.partition))
        for file in files
    ]


def _is_int(value: str | int) -> bool:
    return _INTEGER.fullmatch(str(value)) is not None and abs(int(value)) < 2**63


def _typed(value: str | int | None, is_number: bool) -> str | int | None:
    return int(value) if is_number and value is not None else value
