"""Provides the request ledger: requests, their answers and their token counts, in one SQLite file.

An entry is written before a request is sent and after its answer arrives. A request with a stored answer is never sent
again. A request that was in flight when the process was killed or the connection failed is unknown: it may have been
answered and billed. It is counted, and may be sent again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jina_data.errors import RunFolderError
from jina_data.llm.dialect import Completion, Dialect, Request

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, base_url TEXT NOT NULL, state TEXT NOT NULL,
    sends INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0, batch INTEGER,
    most_in INTEGER NOT NULL, most_out INTEGER NOT NULL, prompt_bytes INTEGER NOT NULL,
    content TEXT, finish_reason TEXT, refusal TEXT, served_model TEXT, via TEXT,
    tokens_in INTEGER, tokens_cached INTEGER, tokens_out INTEGER,
    error_kind TEXT, error TEXT, sent_at REAL, ended_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON requests (state);
CREATE INDEX IF NOT EXISTS by_batch ON requests (batch) WHERE batch IS NOT NULL;
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, name TEXT NOT NULL, n_requests INTEGER NOT NULL,
    file_id TEXT, batch_id TEXT, status TEXT, error TEXT, created_at REAL, ended_at REAL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


IN_ROLE = "substr(key, 1, max(instr(key, '-') - 1, 0)) = ?"
"""The SQL condition that a request has a role. Keys are `ROLE-HASH`, or `HASH` for the main role, "" (see
`Endpoint.request`); the hash contains no hyphen."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of the requests to one model so far."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    sends: int = 0
    unknown: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    uncounted: int = 0
    """Answers without token counts."""


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """A batch in the ledger; `state` is prepared, uploaded, created or read."""

    number: int
    state: str
    name: str
    n_requests: int
    file_id: str | None
    batch_id: str | None


class RequestLedger:
    """The requests of a run in one SQLite file next to its outputs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.con = sqlite3.connect(path, isolation_level=None)
            self.con.execute("PRAGMA journal_mode = WAL")
            self.con.execute("PRAGMA synchronous = NORMAL")  # survives a kill; a power failure may lose the last writes
            self.con.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{path} is not a request ledger: {error}. Use another folder") from None
        if self.fact("version") not in (None, VERSION):
            raise RunFolderError(f"{path} was written by another version of jina-data; use another folder")
        self.set_fact("version", VERSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.con.close()

    # ------------------------------------------------------------------------------------------------------- facts

    def fact(self, name: str) -> Any:
        """Return the value stored under a name, or None."""
        row = self.con.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Store a value under a name."""
        self.con.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, json.dumps(value)])

    def dialect(self, model: str, base_url: str, *, with_tried: bool = False) -> Dialect | None:
        """Return the dialect of a server, None if it was not determined yet.

        `with_tried` also returns the last dialect that was tried, if the server never answered.
        """
        value = self.fact(f"dialect {model} {base_url}")
        if value is None and with_tried:
            value = self.fact(f"tried {model} {base_url}")
        return None if value is None else Dialect.from_json(value)

    def set_dialect(self, model: str, base_url: str, dialect: Dialect, *, is_tried: bool = False) -> None:
        """Store the dialect of a server; `is_tried` marks one in which it has not answered yet."""
        self.set_fact(f"{'tried' if is_tried else 'dialect'} {model} {base_url}", dialect.to_json())

    # ------------------------------------------------------------------------------------------------------ writing

    def recover(self) -> int:
        """Mark the requests that an earlier session left in flight as unknown; return their number."""
        cursor = self.con.execute(
            "UPDATE requests SET state = 'unknown', unknown = unknown + 1 WHERE state = 'sent' AND batch IS NULL"
        )
        return cursor.rowcount

    def record_sending(self, request: Request, model: str, base_url: str) -> None:
        """Record that a request is about to be sent."""
        # A request that was sent before keeps its row; only its state, the count of sends and the time change.
        self.con.execute(
            "INSERT INTO requests (key, model, base_url, state, sends, most_in, most_out, prompt_bytes, sent_at) "
            "VALUES (?, ?, ?, 'sent', 1, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET state = 'sent', sends = sends + 1, sent_at = excluded.sent_at",
            [
                *(request.key, model, base_url, request.max_prompt_tokens, request.max_tokens),
                *(request.prompt_bytes, time.time()),
            ],
        )

    def record_answer(self, key: str, completion: Completion, via: str = "online") -> None:
        """Record the answer to a request."""
        self.con.execute(
            "UPDATE requests SET state = 'answered', content = ?, finish_reason = ?, refusal = ?, served_model = ?, "
            "tokens_in = ?, tokens_cached = ?, tokens_out = ?, via = ?, batch = NULL, error_kind = NULL, "
            "error = NULL, ended_at = ? WHERE key = ?",
            [
                *(completion.content, completion.finish_reason, completion.refusal, completion.served_model),
                *(completion.tokens_in, completion.tokens_cached, completion.tokens_out, via, time.time(), key),
            ],
        )

    def record_failure(
        self, key: str, kind: str, error: str, *, is_unknown: bool = False, state: str = "failed"
    ) -> None:
        """Record that a request was not answered, and whether it may have been billed.

        `state` is failed if that is final, waiting if the request is retried, declined if the server refused the
        dialect.
        """
        self.con.execute(
            "UPDATE requests SET state = ?, unknown = unknown + ?, error_kind = ?, error = ?, batch = NULL, "
            "ended_at = ? WHERE key = ?",
            [state, int(is_unknown), kind, error[:500], time.time(), key],
        )

    # ------------------------------------------------------------------------------------------------------ reading

    def is_answered(self, key: str) -> bool:
        """Return whether a request has a stored answer."""
        query = "SELECT 1 FROM requests WHERE key = ? AND state = 'answered'"
        return self.con.execute(query, [key]).fetchone() is not None

    def state(self, key: str) -> str | None:
        """Return the state of a request, None if it was never sent.

        The states: sent, batched, waiting, declined, answered, failed, unknown.
        """
        row = self.con.execute("SELECT state FROM requests WHERE key = ?", [key]).fetchone()
        return None if row is None else row[0]

    def answer(self, key: str) -> Completion | None:
        """Return the stored answer to a request."""
        row = self.con.execute(
            "SELECT content, finish_reason, refusal, served_model, tokens_in, tokens_cached, tokens_out "
            "FROM requests WHERE key = ? AND state = 'answered'",
            [key],
        ).fetchone()
        return None if row is None else Completion(*row)

    def error(self, key: str) -> tuple[str, str] | None:
        """Return the kind and the message of the last error of a request, None if it has none."""
        row = self.con.execute("SELECT error_kind, error FROM requests WHERE key = ?", [key]).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def usage(self, model: str, base_url: str, via: str | None = None, *, role: str = "") -> Usage:
        """Return the counts of the requests to a model in a role; `via` restricts them to online or batch answers."""
        # Requests in a dialect that the server refused count as sends, but not as requests.
        row = self.con.execute(
            "SELECT count(*) FILTER (WHERE state != 'declined'), count(*) FILTER (WHERE state = 'answered'), "
            "count(*) FILTER (WHERE state = 'failed'), "
            "total(sends), total(unknown), total(tokens_in), total(tokens_cached), total(tokens_out), "
            "count(*) FILTER (WHERE state = 'answered' AND (tokens_in IS NULL OR tokens_out IS NULL)) "
            f"FROM requests WHERE model = ? AND base_url = ? AND (? IS NULL OR via = ?) AND {IN_ROLE}",
            [model, base_url, via, via, role],
        ).fetchone()
        return Usage(*map(int, row))

    def unconfirmed_tokens(self, model: str, base_url: str, *, role: str = "") -> tuple[int, int]:
        """Return the maximum tokens, in and out, that may have been billed without a count.

        They belong to sends whose end is unknown, and to answers without token counts.
        """
        # Each unknown send and an uncounted answer may have used the maximum of the request.
        row = self.con.execute(
            "SELECT total(most_in * (unknown + uncounted)), total(most_out * (unknown + uncounted)) FROM "
            "(SELECT *, state = 'answered' AND (tokens_in IS NULL OR tokens_out IS NULL) AS uncounted FROM requests) "
            f"WHERE model = ? AND base_url = ? AND {IN_ROLE}",
            [model, base_url, role],
        ).fetchone()
        return int(row[0]), int(row[1])

    def token_ratio(self, model: str, base_url: str) -> tuple[int, float, float] | None:
        """Return averages of the main role: number of answers, prompt bytes per token, tokens per answer."""
        row = self.con.execute(
            "SELECT count(*), total(prompt_bytes) / total(tokens_in), total(tokens_out) / count(*) FROM requests "
            "WHERE model = ? AND base_url = ? AND state = 'answered' AND tokens_in > 0 AND tokens_out > 0 "
            f"AND {IN_ROLE}",
            [model, base_url, ""],
        ).fetchone()
        return None if not row[0] else (int(row[0]), float(row[1]), float(row[2]))

    # ------------------------------------------------------------------------------------------------------ batches

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes within the block, or none of them."""
        self.con.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.con.execute("ROLLBACK")
            raise
        self.con.execute("COMMIT")

    def new_batch(self, name: str) -> int:
        """Record a batch before its file is uploaded; return its number."""
        row = self.con.execute(
            "INSERT INTO batches (state, name, n_requests, created_at) VALUES ('prepared', ?, 0, ?) RETURNING number",
            [name, time.time()],
        ).fetchone()
        return int(row[0])

    def put_into_batch(self, number: int, key: str) -> None:
        """Record that a request is part of a batch."""
        self.con.execute("UPDATE requests SET state = 'batched', batch = ? WHERE key = ?", [number, key])

    def update_batch(self, number: int, **values: Any) -> None:
        """Update columns of a batch."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        self.con.execute(f"UPDATE batches SET {assignments} WHERE number = ?", [*values.values(), number])

    def open_batches(self) -> list[RequestBatch]:
        """Return the batches whose results were not read yet, in the order of their creation."""
        rows = self.con.execute(
            "SELECT number, state, name, n_requests, file_id, batch_id FROM batches WHERE state != 'read' ORDER BY 1"
        )
        return [RequestBatch(*row) for row in rows.fetchall()]

    def is_in_batch(self, key: str, number: int) -> bool:
        """Return whether a request waits for the result of a batch."""
        query = "SELECT 1 FROM requests WHERE key = ? AND batch = ? AND state = 'batched'"
        return self.con.execute(query, [key, number]).fetchone() is not None

    def batched_requests(self, number: int | None = None) -> Iterator[tuple[str, int, int]]:
        """Yield the requests that wait for a batch, or for any batch: key, maximum tokens in, maximum tokens out."""
        cursor = self.con.execute(
            "SELECT key, most_in, most_out FROM requests WHERE state = 'batched' AND (? IS NULL OR batch = ?) "
            "ORDER BY key",
            [number, number],
        )
        yield from cursor.fetchall()

    def batch_counts(self) -> dict[str, int]:
        """Return the number of batches by status."""
        rows = self.con.execute("SELECT coalesce(status, state), count(*) FROM batches GROUP BY 1 ORDER BY 1")
        return {str(status): int(n) for status, n in rows.fetchall()}
