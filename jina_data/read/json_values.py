"""Infers and widens the types of columns of JSON values, and rejects values that do not fit.

A kind is `null`, `bool`, `int64`, `double`, `string`, a list of a kind, or a struct of named kinds. Kinds are
immutable: if one value of a row does not fit, every column keeps its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from jina_data.read.arrow_types import is_list, is_string

MAX_DEPTH = 64
MAX_FIELDS = 1_000
"""Maximum number of fields of a struct. Objects whose keys are data would make a column of every key."""

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, eq=False)
class Scalar:
    """A kind without parts. Of a foreign kind (for example a date of a Parquet file), the only JSON value is null."""

    name: str
    type: pa.DataType


@dataclass(frozen=True, eq=False)
class List:
    """A list whose elements are of one kind."""

    element: Kind

    @property
    def name(self) -> str:
        """The name in messages."""
        return f"list<{self.element.name}>"

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type."""
        return pa.list_(self.element.type)


@dataclass(frozen=True, eq=False)
class Struct:
    """An object with named fields, in order of first appearance."""

    fields: dict[str, Kind]
    name = "object"

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type."""
        return pa.struct([(name, kind.type) for name, kind in self.fields.items()])


Kind = Scalar | List | Struct

NULL = Scalar("null", pa.null())
BOOL = Scalar("bool", pa.bool_())
INT = Scalar("int64", pa.int64())
DOUBLE = Scalar("double", pa.float64())
STRING = Scalar("string", pa.string())


class MisfitError(Exception):
    """A value does not fit its kind. `path` leads from the value up to its column."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path: list[str] = []

    def __str__(self) -> str:
        where = "".join(reversed(self.path)).lstrip(".")
        return f"column {where!r}: {self.args[0]}" if where else str(self.args[0])


def _is_int(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) and not pt.is_uint64(kind))


_SCALARS = ((pt.is_null, NULL), (pt.is_boolean, BOOL), (_is_int, INT), (pt.is_floating, DOUBLE), (is_string, STRING))


def kind_of(kind: pa.DataType) -> Kind:
    """Return the kind of the JSON values that a column of an Arrow type can hold."""
    if is_list(kind):
        return List(kind_of(kind.value_type))
    if pt.is_struct(kind):
        return Struct({child.name: kind_of(child.type) for child in kind})
    foreign = Scalar(str(kind), pa.null())
    return next((scalar for holds, scalar in _SCALARS if holds(kind)), foreign)


def kind_of_schema(schema: pa.Schema) -> Struct:
    """Return the kind of the JSON objects that are rows of a schema."""
    return Struct({column.name: kind_of(column.type) for column in schema})


def fit(value: Any, kind: Kind, depth: int = 0) -> Kind:
    """Return the kind of a value and of all values of `kind`; the same object if nothing widens.

    Raises:
        MisfitError: there is no such kind.
    """
    if value is None:
        return kind
    if isinstance(value, dict):
        return _fit_object(value, kind, depth)
    if isinstance(value, list):
        return _fit_list(value, kind, depth)
    value_kind = _scalar_kind(value)
    if value_kind is kind or (kind is DOUBLE and value_kind is INT):
        return kind
    if kind is NULL or (kind is INT and value_kind is DOUBLE):
        return value_kind
    raise MisfitError(f"expected {kind.name}, found {value_kind.name} {_shorten(value)}")


def _scalar_kind(value: Any) -> Scalar:
    if isinstance(value, str):
        return STRING
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, float):
        return DOUBLE
    if not INT64_MIN <= value <= INT64_MAX:
        raise MisfitError(f"an integer beyond 64 bits: {_shorten(value)}")
    return INT


def _fit_object(value: dict[str, Any], kind: Kind, depth: int) -> Kind:
    if kind is NULL:
        kind = Struct({})
    if not isinstance(kind, Struct):
        raise MisfitError(f"expected {kind.name}, found object {_shorten(value)}")
    if depth > MAX_DEPTH:
        raise MisfitError(TOO_DEEP)
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
            error.path.append(f".{name}")
            raise
    if not widened:
        return kind
    if len(fields | widened) > MAX_FIELDS:
        raise MisfitError(f"an object with more than {MAX_FIELDS:,} different keys in all; are the keys data?")
    return Struct(fields | widened)


def _fit_list(value: list[Any], kind: Kind, depth: int) -> Kind:
    if kind is NULL:
        kind = List(NULL)
    if not isinstance(kind, List):
        raise MisfitError(f"expected {kind.name}, found list {_shorten(value)}")
    if depth > MAX_DEPTH:
        raise MisfitError(TOO_DEEP)
    element = kind.element
    try:
        for item in value:
            element = fit(item, element, depth + 1)
    except MisfitError as error:
        error.path.append("[]")
        raise
    return kind if element is kind.element else List(element)


def as_doubles(value: Any, kind: Kind) -> Any:
    """Return a value with floats where its kind is double; integers beyond 2**53 round to the nearest."""
    if value is None:
        return None
    if kind is DOUBLE:
        return float(value)
    if isinstance(kind, List):
        return [as_doubles(part, kind.element) for part in value]
    if isinstance(kind, Struct):
        return {name: as_doubles(part, kind.fields[name]) for name, part in value.items()}
    return value


def _shorten(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "of many digits"
    return text if len(text) <= 60 else text[:57] + "..."
