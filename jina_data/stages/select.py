"""The stage `select`: rename, cast, keep or drop columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import duckdb
import pyarrow as pa
from pydantic import model_validator
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.stages.base import Check, Sql, check_distinct_ignoring_case, quoted
from jina_data.stages.rows import View


class Select(Sql):
    """Rename, cast, keep or drop columns. All names are those before this stage.

    A row with a value that cannot be cast is dropped with `cast_failed`: a cast never turns a value into null.
    """

    name: ClassVar[str] = "select"
    reasons: ClassVar[tuple[str, ...]] = ("cast_failed",)

    rename: dict[str, str] = {}
    cast: dict[str, str] = {}
    keep: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _keep_or_drop(self) -> Self:
        if self.keep is not None and self.drop:
            raise ValueError("give keep or drop, not both")
        return self

    @override
    def reads(self, view: View) -> tuple[str, ...]:
        return tuple(self.cast)

    @override
    def after(self, view: View) -> View:
        names = view.schema.names
        for name in (*self.rename, *self.cast, *(self.keep or ()), *self.drop):
            if name not in names:
                raise RecipeError(f"stage select: no column {name!r}; the columns are {', '.join(names)}")
        check_distinct_ignoring_case(view, self.reads(view), self.name)
        kept = self._kept(names)
        for role, columns in view.roles.items():
            if dropped := [column for column in columns if column not in kept]:
                raise RecipeError(f"stage select: column {dropped[0]!r} is the {role}, it cannot be dropped")
        new_names = [self.rename.get(name, name) for name in kept]
        if duplicates := {name for name in new_names if new_names.count(name) > 1}:
            raise RecipeError(f"stage select: two columns would be named {sorted(duplicates)[0]!r}; rename or drop one")
        fields = [pa.field(self.rename.get(name, name), self._type(view.schema.field(name))) for name in kept]
        roles = {role: tuple(self.rename.get(name, name) for name in columns) for role, columns in view.roles.items()}
        source = self.rename.get(view.source, view.source) if view.source in kept else None
        origin = {self.rename.get(name, name): view.input_name(name) for name in kept}
        return View(pa.schema(fields), roles, source, origin)

    @override
    def checks(self, view: View) -> list[Check]:
        return [
            Check(f"{quoted(name)} IS NOT NULL AND TRY_CAST({quoted(name)} AS {kind}) IS NULL", 0)
            for name, kind in self.cast.items()
        ]

    @override
    def projection(self, columns: Sequence[str]) -> dict[str, str]:
        kept = self._kept([name for name in columns if not name.startswith("__row")])
        expressions = {self.rename.get(name, name): self._expression(name) for name in kept}
        return expressions | {name: quoted(name) for name in columns if name.startswith("__row")}

    @override
    def project(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        kept = self._kept(batch.schema.names)
        arrays = [self._cast(batch.column(name), name) if name in self.cast else batch.column(name) for name in kept]
        names = [self.rename.get(name, name) for name in kept]
        if not names:
            return batch.select([])
        return pa.RecordBatch.from_arrays(arrays, names=names)

    def _kept(self, names: Sequence[str]) -> list[str]:
        if self.keep is not None:
            return [name for name in self.keep if name in names]
        return [name for name in names if name not in self.drop]

    def _expression(self, name: str) -> str:
        return f"TRY_CAST({quoted(name)} AS {self.cast[name]})" if name in self.cast else quoted(name)

    def _type(self, column: pa.Field) -> pa.DataType:
        if column.name not in self.cast:
            return column.type
        try:
            return self._cast(pa.array([], column.type), column.name).type
        except duckdb.Error as error:
            kind = self.cast[column.name]
            raise RecipeError(
                f"stage select: cannot cast {column.name!r} ({column.type}) to {kind!r}: {first_line(error)}. "
                "Give a DuckDB type such as VARCHAR, BIGINT, DOUBLE or BOOLEAN."
            ) from None

    def _cast(self, array: pa.Array, name: str) -> pa.Array:
        with duckdb.connect(config={"threads": 1}) as con:
            con.register("cells", pa.table({"value": array}))
            table = con.sql(f"SELECT TRY_CAST(value AS {self.cast[name]}) AS value FROM cells").to_arrow_table()
        column = table.column("value").combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def first_line(error: Exception) -> str:
    """Return the first line of a DuckDB error, without its class."""
    return str(error).split("\n", 1)[0].split(": ", 1)[-1].rstrip("!.")
