"""The stage `repeated`: drop rows whose answer is given to many different questions."""

from __future__ import annotations

from typing import ClassVar

import duckdb
import pyarrow as pa
from pydantic import Field
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.kernels.keys import content_keys
from jina_data.stages.base import Collective, Context, RemainingRows, Threshold
from jina_data.stages.rows import Rows, View


class Repeated(Collective):
    """Drop every row with a text that many rows share while their other texts differ, such as a stock answer.

    A text of `role` is dropped if it has at least `min_words` words, and it occurs with at least `min_count` different
    texts of the other roles, and these are at least the share `min_share` of all such combinations. Answers that are
    numbers, yes or no, or labels are shorter than `min_words`. White space and case do not matter.
    """

    name: ClassVar[str] = "repeated"
    reasons: ClassVar[tuple[str, ...]] = ("repeated_text",)

    role: str = "positive"
    min_count: int = Field(default=100, ge=2)
    min_share: float = Field(default=0.01, ge=0, le=1)
    min_words: int = Field(default=4, ge=0)

    @override
    def after(self, view: View) -> View:
        view.one_text(self.role, self.name)
        if not self._others(view):
            raise RecipeError(
                f"stage repeated: the table has no text role besides {self.role}; assign one, such as -c anchor=COLUMN"
            )
        return view

    @override
    def prepare(self) -> None:
        from jina_data.kernels.words import count_words

        count_words(pa.array(["word"], pa.large_string()))

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        return {"score": [Threshold(self.min_count, "below", self.reasons[0])]}

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        from jina_data.kernels.words import count_words

        texts = rows.batch.column(rows.view.one_text(self.role, self.name))
        others = [rows.batch.column(name) for name in self._others(rows.view)]
        key, other = (content_keys(columns, case=True, whitespace=True) for columns in ([texts], others))
        words = count_words(texts.fill_null("").cast(pa.large_string()))
        return {
            "high": pa.array(key[:, 0]),
            "low": pa.array(key[:, 1]),
            "other": pa.array(other[:, 0]),
            "is_long": pa.array(words >= self.min_words),
        }

    @override
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        return remaining.con.sql(f"""
            WITH total AS (SELECT count(DISTINCT (high, low, other)) AS n FROM {remaining.name}),
            stock AS (
                SELECT high, low, count(DISTINCT other) AS n FROM {remaining.name} WHERE is_long GROUP BY high, low
                HAVING count(DISTINCT other) >= {self.min_count}
            )
            SELECT row_id, 0::SMALLINT AS reason, stock.n::DOUBLE AS score, NULL::VARCHAR AS partner,
                NULL::UBIGINT AS partner_row_id
            FROM {remaining.name} JOIN stock USING (high, low), total
            WHERE stock.n >= {self.min_share} * total.n
        """)

    def _others(self, view: View) -> tuple[str, ...]:
        """Return the text columns of the other roles."""
        own = view.roles[self.role]
        return tuple(name for name in view.text_columns if name not in own)
