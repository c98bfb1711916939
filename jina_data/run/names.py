"""Names of files that are not UTF-8: the form that outputs and messages show; patterns of DuckDB for folders."""

from __future__ import annotations

import glob
import re
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")


def plain_name(name: str) -> str:
    r"""Return a name as valid Unicode: each byte that is not UTF-8 becomes \xNN.

    Python represents such bytes in names of files by lone surrogates, which no output can store.
    """
    return name if name.isascii() else _SURROGATE.sub(_escape, name)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def parquet_in(folder: Path) -> str:
    """Return the pattern with which DuckDB reads the Parquet files of a folder, whose name may have `[`, `*` or `?`."""
    return f"{glob.escape(str(folder))}/*.parquet"
