"""Infers the types of columns of JSON values; values that have no common type become text.

A kind is `null`, `bool`, a number, `string`, a list of a kind, or a struct of named kinds. Kinds only widen, and in any
order to the same kind. Every value fits `string`: there, a text stays as it is, and any other value is its JSON text.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.types as pt

from jina_data.arrow.types import is_list, is_string
from jina_data.read.json_format.load import Digits, Spelled, as_json
from jina_data.read.schema import MAX_FIELDS

MAX_DEPTH = 32
"""Maximum depth of lists and structs; what is nested deeper is JSON text. Parquet allows about 48 nested lists."""

MAX_COLUMNS = 10_000

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_EXACT = 2**53
"""Integers up to this size are doubles without loss."""

NEGATIVE, BIG, HUGE, FRACTION = 1, 2, 4, 8
"""What numbers of a kind need: a sign, more than 53 bits, more than 63 bits, or a double."""


@dataclass(frozen=True, eq=False)
class Scalar:
    """A kind without parts. Of a foreign kind (for example a date of a Parquet file), the only JSON value is null."""

    name: str
    type: pa.DataType
    needs: int | None = None
    """Of numbers: what they need, as a sum of `NEGATIVE`, `BIG`, `HUGE` and `FRACTION`."""


@dataclass(frozen=True, eq=False)
class List:
    """A list whose elements are of one kind."""

    element: Kind
    name: ClassVar[str] = "list"

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type."""
        return pa.list_(self.element.type)


@dataclass(frozen=True, eq=False)
class Struct:
    """An object with named fields, in order of first appearance."""

    fields: dict[str, Kind]
    name: ClassVar[str] = "object"

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type."""
        return pa.struct([(name, kind.type) for name, kind in self.fields.items()])


@dataclass(frozen=True, eq=False)
class Fixed:
    """A column whose type is set: a value that does not fit is an error."""

    type: pa.DataType
    name: ClassVar[str] = "set"


Kind = Scalar | List | Struct | Fixed

NULL = Scalar("null", pa.null())
BOOL = Scalar("bool", pa.bool_())
STRING = Scalar("string", pa.string())
TEXT = Scalar("text", pa.string())
"""A column with a role, until a value is a list."""
TEXTS = Scalar("texts", pa.list_(pa.string()))
"""A column with a role of which a value is a list: any other value is a list of one."""


def _number(needs: int) -> Scalar:
    if (needs & NEGATIVE and needs & HUGE) or (needs & FRACTION and needs & (BIG | HUGE)):
        return STRING
    if needs & FRACTION:
        return Scalar("double", pa.float64(), needs)
    return Scalar("uint64", pa.uint64(), needs) if needs & HUGE else Scalar("int64", pa.int64(), needs)


_NUMBERS = [_number(needs) for needs in range(16)]
INT, DOUBLE, UNSIGNED = _NUMBERS[0], _NUMBERS[FRACTION], _NUMBERS[BIG | HUGE]


class MisfitError(ValueError):
    """A value does not fit the type that is set for its column."""


def _is_int(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) and not pt.is_uint64(kind))


_SCALARS = (
    (pt.is_null, NULL),
    (pt.is_boolean, BOOL),
    (_is_int, INT),
    (pt.is_uint64, UNSIGNED),
    (pt.is_floating, DOUBLE),
    (is_string, STRING),
)


def kind_of(kind: pa.DataType) -> Kind:
    """Return the kind of the JSON values that a column of an Arrow type can hold."""
    if is_list(kind):
        return List(kind_of(kind.value_type))
    if pt.is_struct(kind):
        return Struct({child.name: kind_of(child.type) for child in kind})
    foreign = Scalar(str(kind), pa.null())
    return next((scalar for holds, scalar in _SCALARS if holds(kind)), foreign)


def kind_of_schema(
    schema: pa.Schema, text_columns: Collection[str] = (), types: Mapping[str, pa.DataType] | None = None
) -> Struct:
    """Return the kind of the JSON objects that are rows of a schema.

    `text_columns` are columns with a role. `types` are the types that are set.
    """
    fields: dict[str, Kind] = {column.name: kind_of(column.type) for column in schema}
    for name in text_columns:
        if name not in schema.names and set(".[") & set(name):
            continue  # a path into another column
        fields[name] = TEXTS if name in schema.names and is_list(schema.field(name).type) else TEXT
    for name, kind in (types or {}).items():
        fields[name] = STRING if is_string(kind) else Fixed(kind)
    return Struct(fields)


def fit(value: Any, kind: Kind, depth: int = 0) -> Kind:
    """Return the kind of a value and of all values of `kind`; the same object if nothing widens.

    Raises:
        MisfitError: the column has a type that is set, and the value is not of that type.
    """
    if value is None or kind is STRING or kind is TEXTS:
        return kind
    if kind is TEXT:
        return TEXTS if isinstance(value, list) else TEXT
    if isinstance(kind, Fixed):
        _convert(value, kind)
        return kind
    if isinstance(value, dict):
        return _fit_object(value, kind, depth)
    if isinstance(value, list):
        return _fit_list(value, kind, depth)
    return _unite(_scalar_kind(value), kind)


def _unite(value_kind: Scalar, kind: Kind) -> Scalar:
    if value_kind is kind or kind is NULL:
        return value_kind
    if isinstance(kind, Scalar) and value_kind.needs is not None and kind.needs is not None:
        return _NUMBERS[value_kind.needs | kind.needs]
    return STRING


def _scalar_kind(value: Any) -> Scalar:
    if isinstance(value, str | Digits):
        return STRING
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, float):
        return STRING if isinstance(value, Spelled) and math.isinf(value) else DOUBLE
    if not INT64_MIN <= value < 2**64:
        return STRING
    size = BIG | HUGE if value > INT64_MAX else BIG if abs(value) > _EXACT else 0
    return _NUMBERS[size | (NEGATIVE if value < 0 else 0)]


def fit_row(row: dict[str, Any], kind: Struct) -> Struct:
    """Return the kind of a row and of all rows of `kind`.

    Raises:
        MisfitError: a value is not of the type that is set, or there would be too many columns.
    """
    widened = _fit_fields(row, kind, 0)
    if widened is not kind and len(widened.fields) > MAX_COLUMNS:
        raise MisfitError(f"with its keys, the rows would have more than {MAX_COLUMNS:,} columns; are the keys data?")
    return widened


def _fit_object(value: dict[str, Any], kind: Kind, depth: int) -> Kind:
    if kind is NULL:
        kind = Struct({})
    if not isinstance(kind, Struct) or depth > MAX_DEPTH:
        return STRING
    widened = _fit_fields(value, kind, depth)
    return STRING if widened is not kind and len(widened.fields) > MAX_FIELDS else widened


def _fit_fields(value: dict[str, Any], kind: Struct, depth: int) -> Struct:
    widened: dict[str, Kind] = {}
    fields = kind.fields
    for name, field_value in value.items():
        field_kind = fields.get(name)
        try:
            if field_kind is None:
                widened[name] = fit(field_value, NULL, depth + 1)
            elif field_value is not None:
                united = fit(field_value, field_kind, depth + 1)
                if united is not field_kind:
                    widened[name] = united
        except MisfitError as error:
            raise MisfitError(f"column '{name}': {error}") from None
    return Struct(fields | widened) if widened else kind


def _fit_list(value: list[Any], kind: Kind, depth: int) -> Kind:
    if kind is NULL:
        kind = List(NULL)
    if not isinstance(kind, List) or depth > MAX_DEPTH:
        return STRING
    element = kind.element
    for item in value:
        element = fit(item, element, depth + 1)
    return kind if element is kind.element else List(element)


def column(values: list[Any], kind: Kind) -> pa.Array:
    """Return the values of a column as Arrow values; all of them fit the kind."""
    if kind not in (STRING, TEXT, TEXTS) and not isinstance(kind, Fixed):
        try:
            return pa.array(values, kind.type)
        except (pa.ArrowException, OverflowError):
            pass
    return pa.array([_plain(value, kind) for value in values], kind.type)


def _plain(value: Any, kind: Kind) -> Any:
    """Return a value as Arrow takes it for its kind: texts, floats and integers where they are expected."""
    if value is None or isinstance(kind, Scalar):
        return _plain_scalar(value, kind)
    if isinstance(kind, Fixed):
        return _convert(value, kind)
    if isinstance(kind, List):
        return [_plain(part, kind.element) for part in value]
    return {name: _plain(part, kind.fields[name]) for name, part in value.items()}


def _plain_scalar(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind is STRING or kind is TEXT:
        return value if isinstance(value, str) else as_json(value)
    if kind is TEXTS:
        return [_plain_scalar(item, STRING) for item in (value if isinstance(value, list) else [value])]
    return float(value) if pt.is_floating(kind.type) else value


def _convert(value: Any, kind: Fixed) -> Any:
    """Convert a value to the type that is set for its column."""
    spelled = value.text if isinstance(value, Spelled | Digits) else value
    if spelled is None:
        return None
    try:
        if isinstance(spelled, list | dict):
            raise pa.ArrowInvalid("a list or an object")
        if isinstance(spelled, str) or pt.is_boolean(kind.type) != isinstance(spelled, bool):
            spelled = spelled if isinstance(spelled, str) else as_json(spelled)
            return pa.scalar(spelled.strip(), pa.string()).cast(kind.type).as_py()
        return pa.scalar(spelled).cast(kind.type).as_py()
    except (pa.ArrowException, OverflowError):
        text = as_json(value)
        text = text if len(text) <= 60 else text[:57] + "..."
        raise MisfitError(f"{text} is not {kind.type}, the type that is set for this column") from None
