"""Run adjacent SQL stages as one DuckDB query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa

from jina_data.errors import RecipeError
from jina_data.stages.base import KEEP, Outcome, Sql, quoted
from jina_data.stages.rows import Rows, View
from jina_data.stages.select import first_line
from jina_data.stages.where import Where

STAGE, REASON, SCORE, HIT = "__row_stage", "__row_reason", "__row_score", "__row_hit"
"""Columns of the query: the number of the stage that dropped a row, its reason and score (all null for a kept row), and
the number of the first check of the current stage that is true (null if there is none)."""


def apply_sql(
    con: duckdb.DuckDBPyConnection, stages: Sequence[Sql], views: Sequence[View], rows: Rows
) -> tuple[list[Outcome], Rows]:
    """Apply S adjacent SQL stages in one query.

    `views` holds S + 1 views: before each stage, and after the last.

    Returns:
        The outcome of each stage over all N rows, and all N rows as they are after the last stage. A row that a stage
        dropped counts as kept in the outcomes of the later stages, with null scores.
    """
    columns, rows_after = _inputs(stages, views, rows)
    con.register("rows", pa.table(columns))
    try:
        result = con.sql(_query(stages, views, list(columns))).to_arrow_table().combine_chunks()
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        expressions = " or ".join(dict.fromkeys(repr(stage.expression) for stage in stages if isinstance(stage, Where)))
        raise RecipeError(
            f"stage where: {expressions} fails on a row: {first_line(error)}. "
            "Write an expression that works for every row, for example with TRY_CAST in place of CAST"
        ) from None
    finally:
        con.unregister("rows")
    stage, reason, score = (result.column(name).to_numpy() for name in (STAGE, REASON, SCORE))
    outcomes = []
    for number in range(len(stages)):
        dropped = stage == number
        names = stages[number].measured(views[number])
        scores = {name: _combine_chunks(result.column(f"__row_{number}:{name}")) for name in names}
        reasons = np.where(dropped, reason, KEEP).astype(np.int16)
        outcomes.append(Outcome(reasons, np.where(dropped, score, np.nan), scores))
    return outcomes, rows_after


def _inputs(stages: Sequence[Sql], views: Sequence[View], rows: Rows) -> tuple[dict[str, pa.Array], Rows]:
    """Return the columns that the query needs, under their names before it, and the rows after the last stage."""
    # The input name of a column is the same in all views, so it links a name after a `select` to the name before.
    names_before = {views[0].input_name(name): name for name in rows.batch.schema.names}
    needed, derived = dict[str, None](), dict[str, pa.Array]()
    current = rows
    for number, stage in enumerate(stages):
        view = views[number]
        needed.update(dict.fromkeys(names_before[view.input_name(name)] for name in stage.reads(view)))
        derived.update(stage.derived(current))
        current = replace(current, batch=stage.project(current.batch), view=views[number + 1])
    position = {"__row": pa.array(np.arange(len(rows), dtype=np.int64))}
    existing = {name: rows.batch.column(rows.batch.schema.get_field_index(name)) for name in needed}
    return position | existing | derived, current


def _query(stages: Sequence[Sql], views: Sequence[View], columns: list[str]) -> str:
    """Return nested SELECTs, one level a stage, which DuckDB runs in one pass.

    A stage tries its checks, and measures, only on rows that no earlier stage dropped (STAGE is null). `columns` are
    those of the current level: the input first, then the projection and measurements of each stage.
    """
    start = f"NULL::SMALLINT AS {STAGE}, NULL::SMALLINT AS {REASON}, NULL::DOUBLE AS {SCORE}"
    query = f"SELECT {', '.join(map(quoted, columns))}, {start} FROM rows"
    for number, (stage, view) in enumerate(zip(stages, views[:-1], strict=True)):
        checks = stage.checks(view)
        hits = " ".join(f"WHEN ({check.condition}) THEN {i}" for i, check in enumerate(checks))
        hit = f"CASE WHEN {STAGE} IS NULL THEN CASE {hits} END END" if checks else "NULL::INTEGER"
        query = f"SELECT *, {hit} AS {HIT} FROM ({query})"
        reasons = " ".join(f"WHEN {i} THEN {check.reason}" for i, check in enumerate(checks))
        scores = " ".join(f"WHEN {i} THEN ({check.score})::DOUBLE" for i, check in enumerate(checks))
        measured = {
            f"__row_{number}:{name}": f"CASE WHEN {STAGE} IS NULL THEN ({expression}) END"
            for name, expression in stage.measured(view).items()
        }
        projection = stage.projection(columns)
        select = [f"{expression} AS {quoted(name)}" for name, expression in (projection | measured).items()]
        select.append(f"CASE WHEN {HIT} IS NOT NULL THEN {number}::SMALLINT ELSE {STAGE} END AS {STAGE}")
        if checks:
            select.append(f"CASE {HIT} {reasons} ELSE {REASON} END::SMALLINT AS {REASON}")
            select.append(f"CASE {HIT} {scores} ELSE {SCORE} END::DOUBLE AS {SCORE}")
        else:
            select += [REASON, SCORE]
        query = f"SELECT {', '.join(select)} FROM ({query})"
        columns = [*projection, *measured]
    filled = [f"coalesce({name}, {default}) AS {name}" for name, default in ((STAGE, -1), (REASON, KEEP))]
    filled.append(f"coalesce({SCORE}, 'nan'::DOUBLE) AS {SCORE}")
    measured_names = [quoted(name) for name in columns if name.startswith("__row_") and name[6].isdigit()]
    return f"SELECT {', '.join([*filled, *measured_names])} FROM ({query}) ORDER BY __row"


def _combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
