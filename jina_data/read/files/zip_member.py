"""Reads the only file of a zip archive. Archives of several files, and zip files that are no archives, are refused."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from jina_data.errors import InputError
from jina_data.read.files.compression import DamagedError

SHOWN_MEMBERS = 5
_IGNORED = ("thumbs.db", "desktop.ini")


def open_member(stored: BinaryIO, name: str) -> tuple[str, BinaryIO]:
    """Open the only file of an archive that can be sought in; return its name in the archive, and its bytes.

    Raises:
        InputError: the archive has no file or several, is encrypted, or is an Office document or another zip format.
        DamagedError: the archive is truncated or damaged.
    """
    try:
        archive = zipfile.ZipFile(stored)
        member = _only_member(archive, name)
        return member.filename, cast(BinaryIO, ZipStream(archive.open(member)))
    except zipfile.BadZipFile as error:
        raise DamagedError(f"zip archive: {error}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{name}: the zip archive could not be opened: {error}. Unpack it, and name the files that it holds."
        ) from error


class ZipStream:
    """The bytes of a member of an archive."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def read(self, n_bytes: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            DamagedError: the archive is damaged.
        """
        try:
            return self._member.read(n_bytes)
        except zipfile.BadZipFile as error:
            raise DamagedError(str(error)) from error

    def close(self) -> None:
        """Close the member."""
        self._member.close()


def _only_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    names = archive.namelist()
    if problem := _other_format(archive, set(names)):
        raise InputError(f"{name}: {problem}")
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_ignored(member.filename)]
    if not members:
        raise InputError(f"{name}: the zip archive holds no files. Fetch or write it again, or leave it out.")
    if len(members) > 1:
        shown = ", ".join(member.filename for member in members[:SHOWN_MEMBERS])
        more = f" and {len(members) - SHOWN_MEMBERS:,} others" if len(members) > SHOWN_MEMBERS else ""
        raise InputError(
            f"{name}: the zip archive holds {len(members):,} files ({shown}{more}); expected one. "
            "Unpack it, and name the folder or the files that you want."
        )
    if members[0].flag_bits & 1:
        raise InputError(f"{name}: the zip archive is encrypted. Unpack it with its password, and name the file.")
    return members[0]


def _is_ignored(member: str) -> bool:
    """Return whether a member is hidden, or was added by macOS or Windows."""
    path = PurePosixPath(member)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return hidden or path.name.lower() in _IGNORED


def _other_format(archive: zipfile.ZipFile, names: set[str]) -> str | None:
    """Return what to do about a file of another format that is a zip archive inside; None for an archive."""
    if "[Content_Types].xml" in names:
        if any(member.startswith("xl/") for member in names):
            return EXCEL
        return "this is an Office document. Save its table as CSV (UTF-8), and name that file."
    if "mimetype" in names:
        kind = archive.read("mimetype")[:60].decode("ascii", "replace")
        return f"this is a document ({kind}). Save its table as CSV (UTF-8), and name that file."
    if names and all(member.endswith(".npy") for member in names):
        return "this is a file of NumPy arrays (.npz). Save them as Parquet, for example with pandas."
    if any(member.endswith("/data.pkl") for member in names):
        return "this is a file of PyTorch (torch.save). Save the data as Parquet or JSON lines."
    return None


EXCEL = (
    "this is an Excel workbook. Save its sheet as CSV (UTF-8) and name that file, or convert it with "
    "`python -c \"import pandas; pandas.read_excel('FILE').to_parquet('FILE.parquet')\"`."
)
