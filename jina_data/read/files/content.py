"""Detects formats by the first bytes of a file, and names files that hold no data that can be read."""

from __future__ import annotations

import json
import re

from jina_data.errors import InputError
from jina_data.read.encoding import BOM
from jina_data.read.files.zip_member import EXCEL

HEAD_BYTES = 2**16

_ARROW_STREAM = b"\xff\xff\xff\xff"
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"|\[\s*\{\s*")')
_HTML = re.compile(rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")
_ANSWERS = (b"404: not found", b"not found", b"entry not found", b"access denied", b"invalid username or password.")
"""What web servers send in place of a file."""

_CONTROL = re.compile(rb"[\x00-\x08]")
_SURE = (b"%PDF-", b"{\\rtf", b"\xff\xd8\xff", b"\x1f\x9d", b"\x89PNG\r\n")

_FETCH = "Fetch the file again, and look at its first lines."
_EXPORT = "Export its tables as CSV (UTF-8) or Parquet, and name those files."
_UNPACK = "Unpack it, and name the folder or the files that you want."
_CONVERT = "Convert it to Parquet, JSON lines or CSV, and name that file."

_OTHER_FORMATS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"SQLite format 3\0", "a SQLite database", _EXPORT),
    (8, b"DUCK", "a DuckDB database", _EXPORT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or Office document", _EXPORT),
    (0, b"{\\rtf", "a document (RTF)", "Save its text as plain text (UTF-8), and name that file."),
    (0, b"%PDF-", "a PDF document", "Extract its text first, and name a file with the text."),
    (0, b"PARE", "a Parquet file with an encrypted footer", "Decrypt it, and name that file."),
    (0, b"FEA1", "a Feather file of version 1", "Read it with pandas, write it as Parquet, and name that file."),
    (0, b"ORC", "an ORC file", _CONVERT),
    (0, b"Obj\x01", "an Avro file", _CONVERT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", _CONVERT),
    (0, b"\x80\x02", "a Python pickle", _CONVERT),
    (0, b"\x80\x03", "a Python pickle", _CONVERT),
    (0, b"\x80\x04\x95", "a Python pickle", _CONVERT),
    (0, b"\x80\x05\x95", "a Python pickle", _CONVERT),
    (0, b"RDX3\n", "a file of R", "Write it as CSV (UTF-8) in R, and name that file."),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1f\x9d", "a file compressed with compress (.Z)", "Decompress it with `uncompress`, and name that file."),
    (0, b"\xff\x06\x00\x00sNaPpY", "a file compressed with snappy", "Decompress it, and name that file."),
    (0, b"\x89PNG\r\n", "an image", "Name files with texts."),
    (0, b"\xff\xd8\xff", "an image", "Name files with texts."),
)
"""Offset and bytes of formats that are not read, what they are, and what to do."""


def binary_format(head: bytes) -> str | None:
    """Return "parquet" or "arrow" if a file certainly has this format."""
    if head.startswith(b"PAR1") and _is_binary(head):
        return "parquet"
    stream_length = int.from_bytes(head[4:8], "little")
    is_stream = head.startswith(_ARROW_STREAM) and len(head) > 8 and stream_length % 8 == 0 and stream_length < 2**31
    return "arrow" if head.startswith(b"ARROW1\0\0") or is_stream else None


def _is_binary(head: bytes) -> bool:
    """Return whether bytes have a control character that is in no text; a text may begin with `PAR1`."""
    return _CONTROL.search(head) is not None


def text_format(head: bytes, *, is_named: bool) -> str | None:
    """Return "json" if a file certainly holds JSON, in lines or not.

    `is_named`: the name is that of another text format, so the first line has to be JSON as a whole.
    """
    if not _JSON.match(head):
        return None
    first_line = head.removeprefix(BOM).lstrip().partition(b"\n")[0]
    return "json" if not is_named or first_line.startswith(b"[") or _is_object(first_line) else None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def check_content(name: str, head: bytes, *, is_set: bool = False) -> None:
    """Check that the first bytes of a file are not those of something else than data.

    `is_set`: the user set the format, so only formats that are certain are refused.

    Raises:
        InputError: the message names what the file is, and what to do.
    """
    if head.startswith((b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")):
        raise InputError(
            f"{name}: this is a Git LFS pointer, not the file itself. Run `git lfs pull` in its repository "
            "(after `git lfs install`), or download the file."
        )
    if len(head) < 1024 and head.lstrip(b"./").startswith((b"annex/objects/", b"git/annex/objects/")):
        raise InputError(
            f"{name}: this is a git-annex pointer, not the file itself. Run `git annex get` in its repository."
        )
    for offset, magic, kind, advice in _OTHER_FORMATS:
        is_sure = magic in _SURE or _is_binary(head)
        if head[offset:].startswith(magic) and is_sure:
            what_to_do = EXCEL.partition(". ")[2] if "Excel" in kind else advice
            raise InputError(f"{name}: this is {kind}, which is not read. {what_to_do}")
    if is_set:
        return
    if _HTML.match(head):
        raise InputError(
            f"{name}: this is an HTML page, perhaps the error page of a web server, saved in place of the data. "
            f"{_FETCH} If it is data, set its format: --input-format."
        )
    if _XML.match(head):
        raise InputError(f"{name}: this is an XML file, which is not read. {_CONVERT}")
    if head.strip().lower() in _ANSWERS:
        answer = head.strip().decode("ascii")
        raise InputError(f"{name}: it holds only the answer of a web server, {answer!r}. {_FETCH}")


def check_binary(name: str, head: bytes, expected: str, *, is_set: bool) -> None:
    """Check that a file that should be Parquet or Arrow is no text.

    `is_set`: the user set the format; otherwise its name has the suffix.

    Raises:
        InputError: the message names what the file is.
    """
    if _is_binary(head):
        return
    kind, right = ("JSON", "json") if text_format(head, is_named=False) else ("text", "csv, tsv or text")
    if is_set:
        raise InputError(
            f"{name}: this is {kind}, but its format is set to {expected}. "
            f"Leave out --input-format, or set it to {right}."
        )
    named = "a Parquet file" if expected == "parquet" else "an Arrow file"
    raise InputError(
        f"{name}: could not be read: this is {kind}, not {named}. Rename it, set its format (--input-format {right}), "
        "or fetch it again."
    )
