"""A checksum of rows in their order, the same however they are cut into batches and whatever holds them in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.read.schema import is_list, is_string


class Checksum:
    """Takes in the rows of a table batch by batch: names and values of columns, nulls, and order count."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, _ColumnSum] = {}

    def add(self, table: pa.Table | pa.RecordBatch) -> None:
        """Take in some more rows."""
        self.rows += table.num_rows
        for name in table.schema.names:
            column = table.column(name)
            known = self._columns.setdefault(name, _ColumnSum())
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                known.add(chunk)

    def hexdigest(self) -> str:
        """Return the checksum of what was taken in so far."""
        total = hashlib.sha256(str(self.rows).encode())
        for name, column in self._columns.items():
            total.update(json.dumps(name).encode() + column.digest())
        return total.hexdigest()


class _ColumnSum:
    """The checksum of a column: one hash over lengths and nulls, one over values, and those of what is nested in it."""

    def __init__(self) -> None:
        self.shape = hashlib.sha256()
        self.values = hashlib.sha256()
        self.inner: dict[str, _ColumnSum] = {}

    def digest(self) -> bytes:
        parts = [self.shape.digest(), self.values.digest()]
        parts += [name.encode() + column.digest() for name, column in self.inner.items()]
        return hashlib.sha256(b"".join(parts)).digest()

    def add(self, array: pa.Array) -> None:
        kind = array.type
        if is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            self._add_bytes(array.cast(pa.large_binary()))
        elif is_list(kind):
            lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), -1)
            self.shape.update(_raw(lengths))
            self._nested("item").add(pc.list_flatten(array))
        elif pa.types.is_struct(kind):
            self.shape.update(_raw(array.is_valid().cast(pa.uint8())))
            for field, inner in zip(kind, array.flatten(), strict=True):
                self._nested(field.name).add(inner)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self.shape.update(_raw(array.is_valid().cast(pa.uint8())))
            self.values.update(_raw(pc.fill_null(array, 0)))
        else:
            self.values.update("".join(f"{value!r}\n" for value in array.to_pylist()).encode())

    def _nested(self, name: str) -> _ColumnSum:
        return self.inner.setdefault(name, _ColumnSum())

    def _add_bytes(self, array: pa.Array) -> None:
        self.shape.update(_raw(pc.fill_null(pc.binary_length(array).cast(pa.int64()), -1)))
        if array.null_count:
            array = pc.fill_null(array, b"")  # a null may have bytes behind it, which are nobody's
        if len(array):
            _, offsets, data = array.buffers()
            ends = memoryview(offsets).cast("q")
            first, last = ends[array.offset], ends[array.offset + len(array)]
            if last > first:
                self.values.update(memoryview(data)[first:last])


def _raw(array: pa.Array) -> bytes:
    """Return the values of a numeric array without nulls as bytes."""
    return bytes(array.to_numpy(zero_copy_only=False).tobytes())


def checksums_differ(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Return the names of the splits of which two lists of rows and checksums say something else."""
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
