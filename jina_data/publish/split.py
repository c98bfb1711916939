"""Split rows into train and test such that no text is on both sides.

Rows that share a text, directly or over others, are one group, and a group stays together. The texts are those of the
anchor and the positive, folded; a negative may be on both sides, since one passage is often the negative of many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import UsageError
from jina_data.publish.facts import duckdb_config
from jina_data.publish.layout import text_keys

KEY_SCHEMA = pa.schema([("row", pa.int64()), ("key", pa.uint64())])

BLOCK_GROUPS = 10_000


class KeyWriter:
    """Writes the keys of the texts of every row, for `choose_test` to group by."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = pq.ParquetWriter(path, KEY_SCHEMA, compression="zstd")
        self.n_rows = 0

    def add(self, texts: list[list[str]]) -> None:
        """Add the texts of the next rows."""
        owners = [self.n_rows + at for at, row in enumerate(texts) for _ in row]
        keys = text_keys([text for row in texts for text in row])
        self.writer.write_table(pa.table([pa.array(owners, pa.int64()), pa.array(keys)], schema=KEY_SCHEMA))
        self.n_rows += len(texts)

    def close(self) -> None:
        """End the file."""
        self.writer.close()


def parse_test_size(text: str) -> float:
    """Parse a share below 1, or a number of rows.

    Raises:
        UsageError: it is neither.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not math.isfinite(value) or value <= 0 or (value >= 1 and not value.is_integer()):
        raise UsageError(f"--test-size {text}: expected a share such as 0.05, or a number of rows such as 1000")
    return value


def choose_test(keys: Path, n_rows: int, *, test_size: float, seed: int, folder: Path) -> npt.NDArray[np.int64]:
    """Choose the rows of the test split, ascending: whole groups in a seeded order, until the size is reached.

    A group of more than a tenth of the test split stays in train, so that no single text makes up the test.

    Raises:
        UsageError: there are not enough groups for any test row, or none would be left for training.
    """
    wanted = int(test_size) if test_size >= 1 else round(test_size * n_rows)
    if not 1 <= wanted < n_rows:
        raise UsageError(
            f"--test-size: {wanted:,} of {n_rows:,} rows for the test; expected at least 1, and fewer than all"
        )
    with duckdb.connect(config=duckdb_config(folder)) as con:
        con.execute("CREATE TABLE member AS SELECT DISTINCT row, key FROM read_parquet(?)", [str(keys)])
        _group(con)
        chosen = _fill(con, wanted, seed)
        con.execute("CREATE TABLE chosen (label UBIGINT)")
        con.register("labels", pa.table({"label": pa.array(chosen, pa.uint64())}))
        con.execute("INSERT INTO chosen SELECT label FROM labels")
        rows = con.sql("SELECT row FROM groups JOIN chosen USING (label) ORDER BY row").fetchnumpy()["row"]
    if not len(rows):
        raise UsageError(
            f"--test-size: no group of rows that share texts is small enough for a test of {wanted:,} rows; ask for "
            "more, or leave the option out"
        )
    return np.asarray(rows, np.int64)


def _group(con: duckdb.DuckDBPyConnection) -> None:
    """Label every row with the smallest key of its group: the components of the graph of rows and texts."""
    con.execute("CREATE TABLE shared AS SELECT key FROM member GROUP BY key HAVING count(*) > 1")
    # Only texts that several rows share tie anything together; for the others there is nothing to follow.
    con.execute("CREATE TABLE tied AS SELECT row, key FROM member SEMI JOIN shared USING (key)")
    con.execute("CREATE TABLE label AS SELECT key, key AS label FROM shared")
    changed = 1
    while changed:
        # The least label over the rows of a text, then that text's own label: distances halve from round to round.
        con.execute("""
            CREATE OR REPLACE TABLE next AS
            WITH of_row AS (SELECT row, min(label) AS label FROM tied JOIN label USING (key) GROUP BY row),
            near AS (SELECT key, min(of_row.label) AS label FROM tied JOIN of_row USING (row) GROUP BY key)
            SELECT near.key, least(near.label, far.label) AS label FROM near JOIN near far ON near.label = far.key
        """)
        counted = con.execute(
            "SELECT count(*) FROM next JOIN label USING (key) WHERE next.label <> label.label"
        ).fetchone()
        changed = counted[0] if counted else 0
        con.execute("CREATE OR REPLACE TABLE label AS FROM next")
    con.execute("""
        CREATE TABLE groups AS
        WITH of_row AS (SELECT row, min(label) AS label FROM tied JOIN label USING (key) GROUP BY row)
        SELECT row, coalesce(any_value(of_row.label), min(key)) AS label
        FROM member LEFT JOIN of_row USING (row) GROUP BY row
    """)


def _fill(con: duckdb.DuckDBPyConnection, wanted: int, seed: int) -> list[int]:
    """Return the labels of the groups of the test split."""
    con.execute("CREATE TABLE sizes AS SELECT label, count(*) AS n FROM groups GROUP BY label")
    smallest = con.execute("SELECT coalesce(min(n), 0) FROM sizes").fetchone()
    limit = max(wanted // 10, smallest[0] if smallest else 0)
    chosen: list[int] = []
    left = wanted
    for label, n_rows in _in_seeded_order(con, limit, seed):
        if n_rows <= left:
            chosen.append(label)
            left -= n_rows
        if not left:
            break
    return chosen


def _in_seeded_order(con: duckdb.DuckDBPyConnection, limit: int, seed: int) -> Iterator[tuple[int, int]]:
    found = con.execute(
        "SELECT label, n FROM sizes WHERE n <= ? ORDER BY md5(concat(?::BIGINT, ':', label)), label", [limit, seed]
    )
    while block := found.fetchmany(BLOCK_GROUPS):
        yield from block
