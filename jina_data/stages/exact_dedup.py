"""Drop rows whose content was seen before."""

from __future__ import annotations

from typing import ClassVar, Literal

import duckdb
import pyarrow as pa
from typing_extensions import override

from jina_data.kernels.keys import content_keys
from jina_data.stages.base import Collective, Context, Names, RemainingRows
from jina_data.stages.rows import Rows, View


class ExactDedup(Collective):
    """Keep one row of every set of rows with equal content, by a 128-bit key.

    Content is the texts of `roles` (default: all of them together), or every column with `roles: row`, after folding
    white space and case as Jina Embeddings v1 does (arXiv 2307.11224). The lowest row id of the best source survives:
    `priority` ranks sources, best first; sources it does not name rank behind all that it names.

    `against` names finished runs or files: a row whose content is there falls too, whatever its source. Its partner is
    the first such row outside.
    """

    name: ClassVar[str] = "exact_dedup"
    reasons: ClassVar[tuple[str, ...]] = ("exact_duplicate",)

    roles: tuple[str, ...] | Literal["row"] | None = None
    fold_case: bool = True
    fold_whitespace: bool = True
    priority: tuple[str, ...] = ()
    against: Names = ()

    @override
    def outside(self) -> tuple[str, ...]:
        return self.against

    @override
    def reads(self, view: View) -> tuple[str, ...]:
        return tuple(view.schema.names) if self.roles == "row" else ()

    @override
    def after(self, view: View) -> View:
        self._columns(view)
        return view

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        columns = [rows.batch.column(name) for name in self._columns(rows.view)]
        keys = content_keys(columns, case=self.fold_case, whitespace=self.fold_whitespace)
        out = {"high": pa.array(keys[:, 0]), "low": pa.array(keys[:, 1])}
        if self.priority:
            ranks = {source: rank for rank, source in enumerate(self.priority)}
            out["rank"] = pa.array([ranks.get(source, len(ranks)) for source in rows.sources.to_pylist()], pa.uint16())
        return out

    @override
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        # One number orders the rows of a group: the rank of the source above the row id.
        order = f"(rank::UHUGEINT * {2**64}::UHUGEINT + row_id)" if self.priority else "row_id::UHUGEINT"
        inside = f"""
            WITH survivors AS (SELECT row_id, high, low, {order} AS place FROM {remaining.name}),
            groups AS (SELECT high, low, min(place) AS first FROM survivors GROUP BY high, low HAVING count(*) > 1)
            SELECT row_id, (first % {2**64}::UHUGEINT)::UBIGINT AS partner_row_id
            FROM survivors JOIN groups USING (high, low) WHERE place <> first
        """
        decided = "row_id, 0::SMALLINT AS reason, NULL::DOUBLE AS score"
        if remaining.outside is None:
            return remaining.con.sql(f"SELECT {decided}, NULL::VARCHAR AS partner, partner_row_id FROM ({inside})")
        return remaining.con.sql(f"""
            WITH inside AS ({inside}),
            firsts AS (SELECT high, low, min(place) AS place FROM {remaining.outside.name} GROUP BY high, low),
            outside AS (SELECT row_id, {remaining.outside.sql_row_name("place")} AS partner
                        FROM {remaining.name} JOIN firsts USING (high, low))
            SELECT {decided}, NULL AS partner, partner_row_id FROM inside ANTI JOIN outside USING (row_id)
            UNION ALL SELECT {decided}, partner, NULL AS partner_row_id FROM outside
        """)

    def _columns(self, view: View) -> tuple[str, ...]:
        if self.roles == "row":
            return tuple(view.schema.names)
        roles = view.chosen(self.roles, self.name)
        return tuple(dict.fromkeys(column for role in roles for column in view.roles[role]))
