"""Files behind URLs, through fsspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from jina_data.errors import InputError, JinaDataError, MissingExtraError

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
    """Tell whether an input is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def path_of(name: str) -> str:
    """Return the part of a URL or path that ends in the suffix: query and fragment of web addresses are left out."""
    return urlsplit(name).path if _is_web(name) else name


def _is_web(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def is_hidden(relative: str) -> bool:
    """Tell whether a path below a folder is left out: a part of it begins with . or _."""
    return any(part.startswith((".", "_")) for part in relative.split("/"))


def has_glob(name: str) -> bool:
    """Tell whether a URL is a pattern; the ? of a web address begins its query."""
    return any(mark in path_of(name) for mark in ("*", "[")) or ("?" in path_of(name))


@contextmanager
def _failures_told(name: str) -> Iterator[None]:
    try:
        yield
    except JinaDataError:
        raise
    except ImportError as error:
        protocol = name.partition("://")[0]
        package = _PACKAGES.get(protocol, "")
        advice = f"pip install '{package}'" if package else str(error)
        raise MissingExtraError(f"{name}: reading {protocol}:// needs a package that is missing: {advice}") from error
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file. Check the address, and that your credentials may see it.") from error
    except Exception as error:
        text = str(error) or type(error).__name__
        raise InputError(
            f"{name}: could not be reached: {text}. Check the address, network and credentials."
        ) from error


def _file_system(name: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    found: tuple[Any, str] = url_to_fs(name)
    return found


def open_url(name: str) -> BinaryIO:
    """Open a URL for reading; what comes from a web server that sends whole files only cannot seek."""
    with _failures_told(name):
        system, path = _file_system(name)
        if _is_web(name) and not _sends_parts(name):
            return cast(BinaryIO, system.open(path, "rb", block_size=0))
        return cast(BinaryIO, system.open(path, "rb"))


@lru_cache(maxsize=1024)
def _sends_parts(name: str) -> bool:
    """Tell whether a web server sends a part of a file when asked to; fsspec would find out behind the first block."""
    system, path = _file_system(name)
    with system.open(path, "rb") as stored:
        if not hasattr(stored, "cache"):
            return False
        try:
            return stored.size < 2 or len(stored._fetch_range(1, 2)) == 1
        except ValueError:
            return False


def stat_url(name: str) -> tuple[int | None, str | None]:
    """Return the size of a file, and a string that changes when the file does; None where the server tells neither."""
    with _failures_told(name):
        system, path = _file_system(name)
        info = system.info(path)
        version = next((str(info[key]) for key in _VERSIONS if info.get(key)), None)
        return info.get("size"), version


def files_under(name: str) -> list[str] | None:
    """Return the URLs of all files below a folder that are not hidden, sorted; None if the URL is no folder."""
    with _failures_told(name):
        system, path = _file_system(name)
        if not system.isdir(path):
            return None
        below = {found: found.removeprefix(path).lstrip("/") for found in system.find(path)}
        return _named(system, [found for found, inner in below.items() if not is_hidden(inner)])


def files_matching(name: str) -> list[str]:
    """Return the URLs that match a pattern, sorted; folders and hidden files are left out."""
    with _failures_told(name):
        system, path = _file_system(name)
        found = system.glob(path, detail=True)
        return _named(
            system,
            [
                path
                for path, info in found.items()
                if info.get("type") != "directory" and not is_hidden(path.split("/")[-1])
            ],
        )


def _named(system: Any, paths: list[str]) -> list[str]:
    return sorted(str(system.unstrip_protocol(path)) for path in paths)
