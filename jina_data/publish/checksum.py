"""Provides an order-dependent checksum of rows that does not depend on batch sizes or on string and list types."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.arrow.types import is_list, is_string


class Checksum:
    """A checksum of a table, updated batch by batch, over column names, values, nulls and row order."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, _ColumnSum] = {}

    def add(self, table: pa.Table | pa.RecordBatch) -> None:
        """Add rows."""
        self.rows += table.num_rows
        for name in table.schema.names:
            column = table.column(name)
            checksum = self._columns.setdefault(name, _ColumnSum())
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                checksum.add(chunk)

    def hexdigest(self) -> str:
        """Return the checksum of all rows added so far."""
        total = hashlib.sha256(str(self.rows).encode())
        for name, column in self._columns.items():
            total.update(json.dumps(name).encode() + column.digest())
        return total.hexdigest()


class _ColumnSum:
    """The checksum of a column: a hash of lengths and nulls, a hash of values, and the checksums of nested columns.

    Lengths are hashed apart from values, so that ["ab", ""] and ["a", "b"] differ; a null has the length -1.
    """

    def __init__(self) -> None:
        self.shape = hashlib.sha256()
        self.values = hashlib.sha256()
        self.inner: dict[str, _ColumnSum] = {}

    def digest(self) -> bytes:
        parts = [self.shape.digest(), self.values.digest()]
        parts += [name.encode() + column.digest() for name, column in self.inner.items()]
        return hashlib.sha256(b"".join(parts)).digest()

    def add(self, array: pa.Array) -> None:
        dtype = array.type
        if is_string(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
            self._add_bytes(array.cast(pa.large_binary()))
        elif is_list(dtype):
            lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), -1)
            self.shape.update(_raw(lengths))
            self._nested("item").add(pc.list_flatten(array))
        elif pa.types.is_struct(dtype):
            self.shape.update(_raw(array.is_valid().cast(pa.uint8())))
            for field, inner in zip(dtype, array.flatten(), strict=True):
                self._nested(field.name).add(inner)
        elif pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
            self.shape.update(_raw(array.is_valid().cast(pa.uint8())))
            self.values.update(_raw(pc.fill_null(array, 0)))
        else:
            self.values.update("".join(f"{value!r}\n" for value in array.to_pylist()).encode())

    def _nested(self, name: str) -> _ColumnSum:
        return self.inner.setdefault(name, _ColumnSum())

    def _add_bytes(self, array: pa.Array) -> None:
        self.shape.update(_raw(pc.fill_null(pc.binary_length(array).cast(pa.int64()), -1)))
        if array.null_count:
            array = pc.fill_null(array, b"")  # the buffer may hold bytes under a null
        if len(array):
            _, offsets, data = array.buffers()
            offset_values = memoryview(offsets).cast("q")
            # The values of a slice are contiguous: from the offset of its first value to the end of its last.
            start, stop = offset_values[array.offset], offset_values[array.offset + len(array)]
            if stop > start:
                self.values.update(memoryview(data)[start:stop])


def _raw(array: pa.Array) -> bytes:
    """Return the values of a numeric array without nulls as bytes."""
    return bytes(array.to_numpy(zero_copy_only=False).tobytes())
