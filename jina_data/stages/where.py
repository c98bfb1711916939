"""The stage `where`: keep the rows for which a DuckDB expression is true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.stages.base import Check, Sql, check_distinct_ignoring_case
from jina_data.stages.rows import View
from jina_data.stages.select import first_line

MULTI_ROW = {"WINDOW": "a window function", "SUBQUERY": "a sub-query", "STAR": "*"}
"""Classes of expressions that depend on other rows, or on columns that they do not name."""


class Where(Sql):
    """Keep the rows for which `expression` is true; drop those for which it is false or null.

    The expression may use every column and any DuckDB function of one row. Texts are those that the stages before
    return. Functions of several rows (aggregates, windows, sub-queries) and functions whose result changes between
    calls (random, now) are refused: the result for a row must depend on that row alone.
    """

    name: ClassVar[str] = "where"
    reasons: ClassVar[tuple[str, ...]] = ("filtered",)

    expression: str = Field(min_length=1, pattern=r"\S")

    @override
    def reads(self, view: View) -> tuple[str, ...]:
        by_key = {name.lower(): name for name in view.schema.names}
        return tuple(dict.fromkeys(by_key[name.lower()] for name in self._columns() if name.lower() in by_key))

    @override
    def after(self, view: View) -> View:
        self._check_depends_on_one_row()
        self._check_columns_exist(view)
        check_distinct_ignoring_case(view, self.reads(view), self.name)
        columns = [view.schema.field(name) for name in self.reads(view)]
        with duckdb.connect(config={"threads": 1}) as con:
            con.register("rows", pa.schema(columns or view.schema).empty_table())
            try:
                con.sql(f"SELECT ({self.expression})::BOOLEAN FROM rows").fetchall()
            except duckdb.Error as error:
                names = ", ".join(view.schema.names)
                raise RecipeError(
                    f"stage where: {self.expression!r} cannot be evaluated: {first_line(error)}. "
                    f"The columns are {names}"
                ) from None
        return view

    @override
    def checks(self, view: View) -> list[Check]:
        return [Check(f"NOT coalesce(({self.expression})::BOOLEAN, false)", 0)]

    def _check_depends_on_one_row(self) -> None:
        tree = _parse(self.expression)
        for node in _nodes(tree):
            kind = MULTI_ROW.get(str(node.get("class")))
            if kind is not None:
                raise RecipeError(
                    f"stage where: {self.expression!r} uses {kind}; the result for a row must depend on that row alone"
                )
        functions = {node["function_name"] for node in _nodes(tree) if node.get("class") == "FUNCTION"}
        with duckdb.connect() as con:
            # A name may have several overloads: one aggregate or inconsistent overload is enough to refuse it.
            refused = con.execute(
                "SELECT function_name FROM duckdb_functions() WHERE list_contains(?, function_name) "
                "GROUP BY 1 HAVING bool_or(function_type = 'aggregate') OR bool_or(stability <> 'CONSISTENT') "
                "ORDER BY 1",
                [sorted(functions)],
            ).fetchall()
        if refused:
            raise RecipeError(
                f"stage where: {self.expression!r} uses {refused[0][0]}(), whose result does not depend on that row "
                "alone"
            )

    def _check_columns_exist(self, view: View) -> None:
        """Refuse names that are not columns; DuckDB would evaluate some as functions, such as current_date."""
        existing = {name.lower() for name in view.schema.names}
        for name in self._columns():
            if name.lower() not in existing:
                similar = get_close_matches(name, view.schema.names, 1)
                hint = f" Did you mean {similar[0]!r}?" if similar else ""
                raise RecipeError(
                    f"stage where: {self.expression!r} cannot be evaluated: there is no column {name!r}.{hint} "
                    f"The columns are {', '.join(view.schema.names)}"
                )

    def _columns(self) -> list[str]:
        """Return the column names as written in the expression, without the parameters of lambdas."""
        nodes = list(_nodes(_parse(self.expression)))
        parameters = {name for node in nodes if node.get("class") == "LAMBDA" for name in _names(node["lhs"])}
        return [name for node in nodes for name in _names(node)[:1] if name not in parameters]


@lru_cache(maxsize=64)
def _parse(expression: str) -> Any:
    """Return the syntax tree of an expression, as DuckDB serialises it.

    Raises:
        RecipeError: the text is not exactly one expression.
    """
    with duckdb.connect() as con:
        row = con.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}) FROM rows"]).fetchone()
    assert row is not None
    tree: Any = json.loads(row[0])
    if tree["error"] or len(tree["statements"]) != 1:
        message = tree.get("error_message", "it is more than one expression")
        raise RecipeError(f"stage where: {expression!r} is not an SQL expression: {message}")
    return tree["statements"][0]


def _names(node: Any) -> list[str]:
    """Return the parts of a column name: `meta.lang` is field lang of column meta."""
    return [str(part) for part in node["column_names"]] if node.get("class") == "COLUMN_REF" else []


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a serialised statement."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
