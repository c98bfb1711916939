"""Opens and lists files at URLs with fsspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from jina_data.errors import InputError, JinaDataError, MissingExtraError
from jina_data.read.network import network_problem

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "jina-data[hub]",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "ssh": "paramiko",
    "sftp": "paramiko",
}
_VERSIONS = (
    *("ETag", "etag", "blob_id", "md5Hash", "generation", "Content-MD5", "Digest"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "created"),
)


def is_url(name: str) -> bool:
    """Return whether an input is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def path_of(name: str) -> str:
    """Return a path, or the path of a web URL without query and fragment, which ends in the suffix of the file."""
    return urlsplit(name).path if _is_web(name) else name


def _is_web(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def is_hidden(relative: str) -> bool:
    """Return whether a path below a folder is hidden: a part of it begins with . or _."""
    return any(part.startswith((".", "_")) for part in relative.split("/"))


def has_glob(name: str) -> bool:
    """Return whether a URL is a pattern; the ? of a web URL begins its query."""
    return any(mark in path_of(name) for mark in ("*", "[")) or ("?" in path_of(name))


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    try:
        yield
    except JinaDataError:
        raise
    except ImportError as error:
        protocol = name.partition("://")[0]
        package = _PACKAGES.get(protocol, "")
        advice = f"pip install '{package}'" if package else str(error)
        raise MissingExtraError(
            f"{name}: reading {protocol}:// requires a package that is not installed: {advice}"
        ) from error
    except Exception as error:
        if (problem := network_problem(error, name)) is not None:
            raise InputError(f"{name}: {problem}.") from error
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{name}: no such file. Check the URL, and that your credentials give access.") from error
        text = str(error) or type(error).__name__
        raise InputError(f"{name}: could not be reached: {text}. Check the URL, network and credentials.") from error


def _file_system(name: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system_and_path: tuple[Any, str] = url_to_fs(name)
    return system_and_path


def open_url(name: str) -> BinaryIO:
    """Open a URL for reading; the file cannot seek if it comes from a web server that only sends whole files."""
    with _translate_errors(name):
        system, path = _file_system(name)
        if _is_web(name) and not _sends_parts(name):
            return cast(BinaryIO, system.open(path, "rb", block_size=0))
        return cast(BinaryIO, system.open(path, "rb"))


@lru_cache(maxsize=1024)
def _sends_parts(name: str) -> bool:
    """Return whether a web server supports range requests; fsspec would only notice after the first block."""
    system, path = _file_system(name)
    with system.open(path, "rb") as stored:
        if not hasattr(stored, "cache"):
            return False
        try:
            return stored.size < 2 or len(stored._fetch_range(1, 2)) == 1
        except ValueError:
            return False


def read_url(name: str) -> bytes:
    """Return the bytes of a small file at a URL."""
    with _translate_errors(name):
        system, path = _file_system(name)
        content: bytes = system.cat_file(path)
        return content


def stat_url(name: str) -> tuple[int | None, str | None]:
    """Return the size of a file, and a string that changes with the file; None for what the server does not report."""
    with _translate_errors(name):
        system, path = _file_system(name)
        info = system.info(path)
        version = next((str(info[key]) for key in _VERSIONS if info.get(key)), None)
        return info.get("size"), version


def files_under(name: str) -> list[str] | None:
    """Return the URLs of the files below a folder, sorted, without hidden ones; None if the URL is no folder."""
    with _translate_errors(name):
        system, path = _file_system(name)
        if not system.isdir(path):
            return None
        relative = {file: file.removeprefix(path).lstrip("/") for file in system.find(path)}
        return _urls(system, [file for file, relative_path in relative.items() if not is_hidden(relative_path)])


def files_matching(name: str) -> list[str]:
    """Return the URLs that match a pattern, sorted, without folders and hidden files."""
    with _translate_errors(name):
        system, path = _file_system(name)
        matches = system.glob(path, detail=True)
        return _urls(
            system,
            [
                path
                for path, info in matches.items()
                if info.get("type") != "directory" and not is_hidden(path.split("/")[-1])
            ],
        )


def _urls(system: Any, paths: list[str]) -> list[str]:
    return sorted(str(system.unstrip_protocol(path)) for path in paths)
