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


def apply_sql(
    con: duckdb.DuckDBPyConnection, stages: Sequence[Sql], views: Sequence[View], rows: Rows
) -> tuple[list[Outcome], Rows]:
    """Apply S SQL stages that stand next to each other in one query.

    `views` holds S + 1 views: in front of each stage, and behind the last.

    Returns:
        The outcome of each stage over all N rows (a row that an earlier one dropped is kept by the later ones and has
        null scores there), and all N rows as they are behind the last stage.
    """
    columns, behind = _inputs(stages, views, rows)
    con.register("rows", pa.table(columns))
    try:
        answer = con.sql(_query(stages, views, list(columns))).to_arrow_table().combine_chunks()
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        wrong = " or ".join(dict.fromkeys(repr(stage.expression) for stage in stages if isinstance(stage, Where)))
        raise RecipeError(
            f"stage where: {wrong} fails on a row: {first_line(error)}. "
            "Write it so that it holds for every row, for example with TRY_CAST in place of CAST"
        ) from None
    finally:
        con.unregister("rows")
    stage, reason, score = (answer.column(name).to_numpy() for name in (STAGE, REASON, SCORE))
    outcomes = []
    for number in range(len(stages)):
        mine = stage == number
        names = stages[number].measured(views[number])
        scores = {name: _one_chunk(answer.column(f"__row_{number}:{name}")) for name in names}
        outcomes.append(Outcome(np.where(mine, reason, KEEP).astype(np.int16), np.where(mine, score, np.nan), scores))
    return outcomes, behind


def _inputs(stages: Sequence[Sql], views: Sequence[View], rows: Rows) -> tuple[dict[str, pa.Array], Rows]:
    """Return the columns the query needs, under the names in front of it, and the rows behind the last stage."""
    front = {views[0].input_name(name): name for name in rows.batch.schema.names}
    needed, derived = dict[str, None](), dict[str, pa.Array]()
    current = rows
    for number, stage in enumerate(stages):
        view = views[number]
        needed.update(dict.fromkeys(front[view.input_name(name)] for name in stage.reads(view)))
        derived.update(stage.derived(current))
        current = replace(current, batch=stage.project(current.batch), view=views[number + 1])
    position = {"__row": pa.array(np.arange(len(rows), dtype=np.int64))}
    own = {name: rows.batch.column(rows.batch.schema.get_field_index(name)) for name in needed}
    return position | own | derived, current


def _query(stages: Sequence[Sql], views: Sequence[View], columns: list[str]) -> str:
    """Write one SELECT a stage, each over the one before; DuckDB folds them into one pass."""
    start = f"NULL::SMALLINT AS {STAGE}, NULL::SMALLINT AS {REASON}, NULL::DOUBLE AS {SCORE}"
    query = f"SELECT {', '.join(map(quoted, columns))}, {start} FROM rows"
    for number, (stage, view) in enumerate(zip(stages, views[:-1], strict=True)):
        checks = stage.checks(view)
        hits = " ".join(f"WHEN ({check.condition}) THEN {place}" for place, check in enumerate(checks))
        hit = f"CASE WHEN {STAGE} IS NULL THEN CASE {hits} END END" if checks else "NULL::INTEGER"
        query = f"SELECT *, {hit} AS {HIT} FROM ({query})"
        reasons = " ".join(f"WHEN {place} THEN {check.reason}" for place, check in enumerate(checks))
        scores = " ".join(f"WHEN {place} THEN ({check.score})::DOUBLE" for place, check in enumerate(checks))
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
    filled = [f"coalesce({name}, {none}) AS {name}" for name, none in ((STAGE, -1), (REASON, KEEP))]
    filled.append(f"coalesce({SCORE}, 'nan'::DOUBLE) AS {SCORE}")
    measured_names = [quoted(name) for name in columns if name.startswith("__row_") and name[6].isdigit()]
    return f"SELECT {', '.join([*filled, *measured_names])} FROM ({query}) ORDER BY __row"


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
