"""What reading is about: an input file, its ranges, the rows of a range, and the records that cannot be rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

RANGE_BYTES = 8 * 2**20
"""Raw (decompressed) bytes of input that a range holds, about."""

RANGE_ROWS = 65_536
"""Most rows a range holds, in every format but JSON lines, where its bytes alone decide."""

SAMPLE_ROWS = 1_000
SAMPLE_BYTES = 2**20
MAX_RECORD_BYTES = 2**28
"""A JSON value or CSV record that has not ended by then is taken for broken."""

RAW_BYTES = 2**20
"""How much of the raw text is kept of a broken record that swallowed the rest of a file."""

ROW = "__row"
"""The column of a parsed range that holds each row's position among the records of the range (int32)."""


@dataclass(frozen=True)
class InputFile:
    """One input file, with all that has to be known to read it, settled once.

    The id of a row is `index << 40 | row in file`. `options` holds what a format needs: `layout` (array or values) of
    json, `delimiter` and `quoting` (rfc4180 or none) of csv and tsv, `id`, `config`, `split`, `revision` and
    `data_files` of datasets.
    """

    index: int
    name: str
    format: str
    compression: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str, default: str = "") -> str:
        """Return what was settled under a name."""
        return dict(self.options).get(name, default)

    @property
    def is_local(self) -> bool:
        """Tell whether the file lies on this machine."""
        return self.format != "datasets" and "://" not in self.name

    def to_json(self) -> dict[str, Any]:
        """Return the file as a JSON object."""
        return {**asdict(self), "options": dict(self.options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputFile:
        """Read back what `to_json` wrote."""
        return cls(**{**data, "options": tuple(data["options"].items())})


@dataclass(frozen=True)
class RangeSpec:
    """A range of a file that splits: bytes of plain JSON lines, rows of Parquet."""

    file_index: int
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Unreadable:
    """A record that could not become a row.

    `row` is its position among the records of its range, `line` counts from 1 at the start of the range, `byte_offset`
    from the start of the decompressed file (both None where a format has none). `raw` is the text as it stands in the
    file; bytes that are not UTF-8 are surrogate escapes.
    """

    row: int
    line: int | None
    byte_offset: int | None
    error: str
    raw: str


@dataclass
class ParsedRange:
    """The rows of one range, and what in it could not be read.

    `rows` holds the columns and `__row`; `row_count` = rows + unreadable; `line_count` is 0 where lines mean nothing;
    `end` is where the next range of the file starts, for `stream_ranges`.
    """

    number: int
    rows: pa.Table
    unreadable: list[Unreadable]
    row_count: int
    line_count: int
    end: dict[str, int] = field(default_factory=dict)


def as_text(raw: bytes) -> str:
    """Decode losslessly: what is not UTF-8 becomes surrogate escapes."""
    return raw.decode("utf-8", "surrogateescape")
