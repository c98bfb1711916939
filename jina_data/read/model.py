"""Defines the data model of reading: input files, their ranges, the rows of a range, and unreadable records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa

from jina_data.read.options import InputOptions

ROW_BITS = 40
"""A row id is (index of the file << ROW_BITS) + (number of the row in the file): 2^24 files of 2^40 rows fit uint64."""

RANGE_BYTES = 8 * 2**20
"""Approximate bytes of (decompressed) input in a range."""

RANGE_ROWS = 65_536
"""Maximum number of rows in a range, in every format except JSON lines, where the bytes alone decide."""

SAMPLE_ROWS = 1_000
SAMPLE_BYTES = 2**20
MAX_RECORD_BYTES = 2**28
"""A longer JSON value or CSV record counts as broken."""

RAW_BYTES = 2**20
"""Bytes that are kept of the text of a broken record that reaches to the end of a file."""

ROW = "__row"
"""The column of a parsed range that holds each row's position among the records of the range (int32)."""


DETECTED = InputOptions()
"""The options of a file about which nothing was set."""


@dataclass(frozen=True)
class InputFile:
    """An input file, with all that is needed to read it, resolved once.

    The id of a row is `index << 40 | row in file`: the row in the lower 40 bits, the file above. `options` are what was
    set or detected, by format: `encoding` of text formats; `layout` of json; `delimiter`, `quote`, `escape` and the
    others of `Dialect` of csv and tsv; `id`, `config`, `split`, `revision` and `data_files` of datasets.
    """

    index: int
    name: str
    format: str
    compression: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    settings: InputOptions = DETECTED
    """What the user set."""
    text_columns: tuple[str, ...] = ()
    """Columns with a role: they are read as text, or as lists of texts. A path such as `translation.en` becomes a
    column with that name."""
    partition: tuple[tuple[str, str | int | None], ...] = ()
    """Columns and values from the names of folders (`lang=en/`)."""
    path: str | None = None
    """Where the bytes are, if `name` is only a name: the input is data from memory. It is in no output."""

    def option(self, name: str, default: str = "") -> str:
        """Return the value of an option."""
        return dict(self.options).get(name, default)

    @property
    def notes(self) -> list[str]:
        """What was detected or decided about the file and is worth a line to the user."""
        notes: list[str] = json.loads(self.option("notes", "[]"))
        return notes

    def with_notes(self, notes: Sequence[str]) -> InputFile:
        """Return the file with more notes."""
        if not notes:
            return self
        others = tuple(pair for pair in self.options if pair[0] != "notes")
        return replace(self, options=(*others, ("notes", json.dumps([*self.notes, *notes]))))

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return self.format != "datasets" and (self.path is not None or "://" not in self.name)

    @property
    def local_path(self) -> str:
        """The path of a local file."""
        return self.name if self.path is None else self.path

    def to_json(self) -> dict[str, Any]:
        """Return the file as a JSON object, without `path`."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "path"}
        return {
            **plain,
            "options": dict(self.options),
            "settings": self.settings.to_json(),
            "text_columns": list(self.text_columns),
            "partition": dict(self.partition),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputFile:
        """Read back what `to_json` wrote."""
        return cls(
            **{
                **data,
                "options": tuple(data["options"].items()),
                "settings": InputOptions(**data.get("settings", {})),
                "text_columns": tuple(data.get("text_columns", ())),
                "partition": tuple(data.get("partition", {}).items()),
            }
        )


@dataclass(frozen=True)
class RangeSpec:
    """A range of a file that can be split: bytes of uncompressed JSON lines, rows of Parquet."""

    file_index: int
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Unreadable:
    """A record that could not become a row.

    `row` is its position among the records of its range, `line` counts from 1 at the start of the range, `byte_offset`
    from the start of the decompressed file (both None where a format has none). `raw` is the text in the file; bytes
    that are not UTF-8 are surrogate escapes.
    """

    row: int
    line: int | None
    byte_offset: int | None
    error: str
    raw: str


@dataclass
class ParsedRange:
    """The rows and the unreadable records of a range.

    `rows` holds the columns and `__row`; `row_count` = rows + unreadable; `line_count` is 0 in formats without lines;
    `end` is the start of the next range of the file, for `stream_ranges`.
    """

    number: int
    rows: pa.Table
    unreadable: list[Unreadable]
    row_count: int
    line_count: int
    end: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """What was mended while reading: `padded` short rows, `repeated_headers`, `rules`."""


def as_text(raw: bytes) -> str:
    """Decode without loss: bytes that are not UTF-8 become surrogate escapes."""
    return raw.decode("utf-8", "surrogateescape")
