"""Defines the options of input files that are otherwise detected: encoding, CSV dialect, JSON records, types."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from jina_data.errors import UsageError

INPUT_FORMATS = ("parquet", "arrow", "jsonl", "json", "csv", "tsv", "text")

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "json": pa.string(),
}
"""The types that a column can be given; `json` writes lists and objects as JSON text, as `string` does."""

CHARACTERS = {"comma": ",", "semicolon": ";", "tab": "\t", r"\t": "\t", "pipe": "|", "space": " ", "backslash": "\\"}
"""Names of characters that are hard to type in a shell."""

NO_CHARACTER = "none"


def _character(value: Any) -> Any:
    return CHARACTERS.get(value, value) if isinstance(value, str) else value


Character = Annotated[str, BeforeValidator(_character), Field(min_length=1, max_length=1)]


def _check_ascii(value: str) -> str:
    if not value.isascii() or value in "\r\n":
        raise ValueError("expected one ASCII character that is no line break")
    return value


class InputOptions(BaseModel):
    """What is known about the input files. None means: detected from each file.

    `delimiter`, `quote`, `escape`, `header`, `skip_rows` and `column_names` apply to CSV, TSV and tables in text files,
    `records` to JSON, and the others to all formats that they make sense for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["parquet", "arrow", "jsonl", "json", "csv", "tsv", "text"] | None = None
    """The format, whatever the suffix of the name."""
    encoding: str | None = None
    """The encoding of text files: a name that Python knows, such as cp1252 or utf-16."""
    delimiter: Character | None = None
    quote: Character | Literal["none"] | None = None
    escape: Character | Literal["none"] | None = None
    header: bool | None = None
    """Whether the first record holds the column names."""
    skip_rows: int | None = Field(default=None, ge=0)
    """Lines before the header, or before the first record if there is no header."""
    column_names: tuple[str, ...] = ()
    """Names of the columns, in their order; they replace the header."""
    records: str | None = None
    """Path of the records in a JSON document, such as `data[]` or `data[].paragraphs[].qas[]`."""
    explode: str | None = None
    """A column of lists; each item becomes a row, with the other columns repeated."""
    types: dict[str, Literal["string", "int64", "double", "bool", "json"]] = Field(default_factory=dict)
    """Types of columns that are not to be inferred."""

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _ascii(cls, value: str | None) -> str | None:
        return value if value is None or value == NO_CHARACTER else _check_ascii(value)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            codec = codecs.lookup(value)
        except LookupError:
            raise ValueError(
                "expected an encoding that Python knows, such as utf-8, cp1252, utf-16 or gb18030"
            ) from None
        if not getattr(codec, "_is_text_encoding", True):
            raise ValueError("expected a text encoding, such as utf-8, cp1252, utf-16 or gb18030")
        return codec.name

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @classmethod
    def make(cls, **values: Any) -> InputOptions:
        """Make options from values, of which None means: detected.

        Raises:
            UsageError: a value is not valid; the message names the option, the value, and what was expected.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise UsageError("; ".join(problem_text(problem) for problem in error.errors())) from None

    def merged(self, other: InputOptions) -> InputOptions:
        """Return these options, with those that are set in `other` in their place."""
        changed = {name: getattr(other, name) for name in other.model_fields_set}
        if "types" in changed:
            changed["types"] = {**self.types, **changed["types"]}
        return self.model_copy(update=changed)

    def to_json(self) -> dict[str, Any]:
        """Return the options that are set."""
        return self.model_dump(mode="json", exclude_unset=True)


def problem_text(problem: Any) -> str:
    """Return one problem of pydantic as a sentence about an input option."""
    path = [str(part) for part in problem["loc"]]
    name = path[0] if path else "input"
    if problem["type"] == "extra_forbidden":
        return f"input: unknown option {name!r}. Known: {', '.join(InputOptions.model_fields)}"
    if name == "types" and len(path) > 1:
        return f"input: types: {path[1]}: expected {', '.join(TYPES)}, got {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"input: {name}: {message[0].lower()}{message[1:]}, got {problem['input']!r}"
