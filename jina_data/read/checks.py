"""."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from jina_data.errors import InputError
from jina_data.read import InputFile, all_ranges


def check_parseable(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> None:
    """Refuse a file with content of which nothing could be parsed: it is not what its name says.

    Raises:
        InputError: there is such a file; the message tells what is wrong with its first record.
    """
    for file, schema in zip(files, schemas, strict=True):
        if schema.names or not file.size:
            continue
        parsed = next(all_ranges(file, schema), None)
        for broken in parsed.unreadable[:1] if parsed else ():
            place = "" if broken.line is None else f" (line {broken.line})"
            raise InputError(f"{file.name}: none of its first records can be read; the first{place}: {broken.error}")
