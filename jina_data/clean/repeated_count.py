"""Warns about an answer that a run kept for many different questions."""

from __future__ import annotations

import duckdb

from jina_data.clean.plan import Plan
from jina_data.roles import is_text
from jina_data.run.folder import RunFolder
from jina_data.stages.base import literal, quoted
from jina_data.stages.repeated import Repeated

SAMPLED_ROWS = 1_000_000
MIN_CHARS = 20
"""Shorter answers may be labels, numbers, or yes and no."""


def repeated_warnings(con: duckdb.DuckDBPyConnection, plan: Plan, folder: RunFolder, n_kept: int) -> list[str]:
    """Return a warning about the most frequent positive, if many different anchors have it.

    Of more than `SAMPLED_ROWS` kept rows, a sample by content is counted.
    """
    view = plan.views[-1]
    files = sorted(str(path) for path in (folder.out / "data").glob("*.parquet"))
    columns = [view.roles.get(role, ()) for role in ("anchor", "positive")]
    if not files or any(len(names) != 1 or not is_text(view.schema.field(names[0]).type) for names in columns):
        return []
    if any(isinstance(stage, Repeated) for stage in plan.stages):
        return []
    anchor, positive = (quoted(names[0]) for names in columns)
    step = max(1, -(-n_kept // SAMPLED_ROWS))
    limits = Repeated()
    rows = con.execute(
        f"""
        WITH pairs AS (
            SELECT DISTINCT {anchor} AS anchor, {positive} AS positive
            FROM read_parquet([{", ".join(map(literal, files))}]) WHERE hash({anchor}, {positive}) % {step} = 0
        )
        SELECT count(*) * {step} AS n, count(*) / (SELECT count(*) FROM pairs) AS share, positive
        FROM pairs WHERE length(positive) >= {MIN_CHARS} GROUP BY positive
        HAVING count(*) * {step} >= {limits.min_count} AND share >= {limits.min_share} ORDER BY n DESC, positive LIMIT 1
        """
    ).fetchall()
    if not rows:
        return []
    count, share, text = rows[0]
    return [
        f"{count:,} different anchors ({100 * share:.1f} %) have the same positive, '{text[:80]}'. If this is a stock "
        "answer, drop such rows with the stage `repeated`; if it is the right answer to all of them, ignore this"
    ]
