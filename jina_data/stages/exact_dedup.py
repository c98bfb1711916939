"""The stage `exact_dedup`: drop rows whose content equals that of an earlier row."""

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
    white space and case as Jina Embeddings v1 does (arXiv 2307.11224). The row with the lowest row id of the best
    source is kept: `priority` ranks sources, best first; sources that it does not name rank after those that it names.

    `against` names finished runs or files. A row whose content occurs there is dropped too, whatever its source. Its
    partner is the first such reference row.
    """

    name: ClassVar[str] = "exact_dedup"
    reasons: ClassVar[tuple[str, ...]] = ("exact_duplicate",)

    roles: tuple[str, ...] | Literal["row"] | None = None
    fold_case: bool = True
    fold_whitespace: bool = True
    priority: tuple[str, ...] = ()
    against: Names = ()

    @override
    def reference_files(self) -> tuple[str, ...]:
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
        # One 128-bit number orders the rows of a group: the rank of the source in the high half, the row id in the low
        # half. The smallest one of a group is kept, and its low half is the partner of the others.
        order = f"(rank::UHUGEINT * {2**64}::UHUGEINT + row_id)" if self.priority else "row_id::UHUGEINT"
        repeats = f"""
            WITH remaining AS (SELECT row_id, high, low, {order} AS row_order FROM {remaining.name}),
            groups AS (
                SELECT high, low, min(row_order) AS kept FROM remaining GROUP BY high, low HAVING count(*) > 1
            )
            SELECT row_id, (kept % {2**64}::UHUGEINT)::UBIGINT AS partner_row_id
            FROM remaining JOIN groups USING (high, low) WHERE row_order <> kept
        """
        decided = "row_id, 0::SMALLINT AS reason, NULL::DOUBLE AS score"
        if remaining.reference is None:
            return remaining.con.sql(f"SELECT {decided}, NULL::VARCHAR AS partner, partner_row_id FROM ({repeats})")
        # A row that equals a reference row gets that partner only: the anti join removes it from the repeats within the
        # run, so that each row is returned once.
        return remaining.con.sql(f"""
            WITH repeats AS ({repeats}),
            reference AS (
                SELECT high, low, min(packed_row_id) AS packed_row_id FROM {remaining.reference.name} GROUP BY high, low
            ),
            in_reference AS (
                SELECT row_id, {remaining.reference.sql_row_name("packed_row_id")} AS partner
                FROM {remaining.name} JOIN reference USING (high, low)
            )
            SELECT {decided}, NULL AS partner, partner_row_id FROM repeats ANTI JOIN in_reference USING (row_id)
            UNION ALL SELECT {decided}, partner, NULL AS partner_row_id FROM in_reference
        """)

    def _columns(self, view: View) -> tuple[str, ...]:
        if self.roles == "row":
            return tuple(view.schema.names)
        roles = view.chosen(self.roles, self.name)
        return tuple(dict.fromkeys(column for role in roles for column in view.roles[role]))
