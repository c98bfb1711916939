"""Classifies Arrow types: texts, lists, numbers."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt


def is_string(kind: pa.DataType) -> bool:
    """Return whether a type holds texts, in any encoding."""
    if pt.is_dictionary(kind):
        return is_string(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type holds lists, of any length and offset width."""
    views = pt.is_list_view(kind) or pt.is_large_list_view(kind)
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind) or views)


def is_nested(kind: pa.DataType) -> bool:
    """Return whether a type holds lists, structs or maps."""
    return bool(is_list(kind) or pt.is_struct(kind) or pt.is_map(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a type holds bytes."""
    fixed = pt.is_fixed_size_binary(kind) and not pt.is_decimal(kind)
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind) or fixed)


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type holds integers or floating-point numbers."""
    return bool(pt.is_integer(kind) or pt.is_floating(kind))
