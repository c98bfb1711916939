"""Splits rows into train and test so that no text is in both splits.

Rows that share a text, directly or through other rows, form a group, and groups are never split. The texts are those of
anchor and positive, folded. Negatives are ignored, because one passage is often the negative of many anchors.
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
"""Groups fetched from DuckDB at a time."""


class KeyWriter:
    """Writes the keys of the texts of each row, the input of `choose_test`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = pq.ParquetWriter(path, KEY_SCHEMA, compression="zstd")
        self.n_rows = 0

    def add(self, texts: list[list[str]]) -> None:
        """Add the texts of the next rows."""
        rows = [self.n_rows + number for number, row_texts in enumerate(texts) for _ in row_texts]
        keys = text_keys([text for row_texts in texts for text in row_texts])
        self.writer.write_table(pa.table([pa.array(rows, pa.int64()), pa.array(keys)], schema=KEY_SCHEMA))
        self.n_rows += len(texts)

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()


def parse_test_size(text: str) -> float:
    """Parse a fraction below 1, or a number of rows.

    Raises:
        UsageError: the text is neither.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not math.isfinite(value) or value <= 0 or (value >= 1 and not value.is_integer()):
        raise UsageError(f"--test-size {text}: expected a fraction such as 0.05, or a number of rows such as 1000")
    return value


def choose_test(keys: Path, n_rows: int, *, test_size: float, seed: int, folder: Path) -> npt.NDArray[np.int64]:
    """Return the rows of the test split, ascending: whole groups in a seeded order, until the size is reached.

    A group larger than a tenth of the test split stays in train, so that no single text dominates the test. If all
    groups are larger, those of the smallest size are allowed.

    Raises:
        UsageError: the size is out of range, or no group fits into the test split.
    """
    n_test = int(test_size) if test_size >= 1 else round(test_size * n_rows)
    if not 1 <= n_test < n_rows:
        raise UsageError(
            f"--test-size: a test split of {n_test:,} of {n_rows:,} rows; expected at least 1 row and fewer than all"
        )
    with duckdb.connect(config=duckdb_config(folder)) as con:
        con.execute("CREATE TABLE member AS SELECT DISTINCT row, key FROM read_parquet(?)", [str(keys)])
        _label_groups(con)
        chosen = _choose_groups(con, n_test, seed)
        con.execute("CREATE TABLE chosen (label UBIGINT)")
        con.register("labels", pa.table({"label": pa.array(chosen, pa.uint64())}))
        con.execute("INSERT INTO chosen SELECT label FROM labels")
        rows = con.sql("SELECT row FROM groups JOIN chosen USING (label) ORDER BY row").fetchnumpy()["row"]
    if not len(rows):
        raise UsageError(
            f"--test-size: no group of rows with shared texts fits into a test split of {n_test:,} rows; use a larger "
            "size, or omit the option"
        )
    return np.asarray(rows, np.int64)


def _label_groups(con: duckdb.DuckDBPyConnection) -> None:
    """Label each row with the smallest key of its group.

    The groups are the connected components of the graph of rows and texts. Labels are propagated until none changes.
    """
    con.execute("CREATE TABLE shared AS SELECT key FROM member GROUP BY key HAVING count(*) > 1")
    # Only a text that several rows share connects rows, so the propagation needs no other texts.
    con.execute("CREATE TABLE tied AS SELECT row, key FROM member SEMI JOIN shared USING (key)")
    con.execute("CREATE TABLE label AS SELECT key, key AS label FROM shared")
    changed = 1
    while changed:
        # A text takes the smallest label of the texts that share a row with it (`near`), then follows this label, which
        # is a key too, to its label (`far`), so the distance that a label travels about doubles with each round. Labels
        # never increase, and each is the key of a text in the same group.
        con.execute("""
            CREATE OR REPLACE TABLE next AS
            WITH of_row AS (SELECT row, min(label) AS label FROM tied JOIN label USING (key) GROUP BY row),
            near AS (SELECT key, min(of_row.label) AS label FROM tied JOIN of_row USING (row) GROUP BY key)
            SELECT near.key, least(near.label, far.label) AS label FROM near JOIN near far ON near.label = far.key
        """)
        n_changed = con.execute(
            "SELECT count(*) FROM next JOIN label USING (key) WHERE next.label <> label.label"
        ).fetchone()
        changed = n_changed[0] if n_changed else 0
        con.execute("CREATE OR REPLACE TABLE label AS FROM next")
    # A row with a shared text takes the label of its group; any other row is its own group, under its smallest key.
    con.execute("""
        CREATE TABLE groups AS
        WITH of_row AS (SELECT row, min(label) AS label FROM tied JOIN label USING (key) GROUP BY row)
        SELECT row, coalesce(any_value(of_row.label), min(key)) AS label
        FROM member LEFT JOIN of_row USING (row) GROUP BY row
    """)


def _choose_groups(con: duckdb.DuckDBPyConnection, n_test: int, seed: int) -> list[int]:
    """Return the labels of the groups of the test split."""
    con.execute("CREATE TABLE sizes AS SELECT label, count(*) AS n FROM groups GROUP BY label")
    smallest = con.execute("SELECT coalesce(min(n), 0) FROM sizes").fetchone()
    limit = max(n_test // 10, smallest[0] if smallest else 0)
    chosen: list[int] = []
    remaining = n_test
    for label, n_rows in _in_seeded_order(con, limit, seed):
        if n_rows <= remaining:
            chosen.append(label)
            remaining -= n_rows
        if not remaining:
            break
    return chosen


def _in_seeded_order(con: duckdb.DuckDBPyConnection, limit: int, seed: int) -> Iterator[tuple[int, int]]:
    groups = con.execute(
        "SELECT label, n FROM sizes WHERE n <= ? ORDER BY md5(concat(?::BIGINT, ':', label)), label", [limit, seed]
    )
    while block := groups.fetchmany(BLOCK_GROUPS):
        yield from block
